//! The machine's clock is set by an hour, forward or back.

use freeline::core::time::Span;
use freeline::sandbox::{TECHNICAL_USER_ID, line_id};

use crate::support::{TestDatabase, World, on_both};

const HOUR: Span = Span::from_secs(3_600);
const BACK: Span = Span::from_secs(-3_600);
/// What people may wait for at the most.
const SOON: Span = Span::from_secs(5);

/// Payments in every state, a jump, and new ones: all of them go out, each once.
async fn the_clock_jumps(database: TestDatabase, jump: Span) {
    let world = World::ready(database).await;
    let sent = world.pay("sent", "m1").await;
    world.settle().await;
    assert_eq!(world.state(&sent).await, "dispatched");
    let queued = world.pay("queued", "m1").await;
    // It waits for a line.
    let full: Vec<String> = {
        let mut full = Vec::new();
        for n in 0..4 {
            full.push(world.pay(&format!("full-{n}"), "m2").await);
        }
        full
    };

    world.clock.advance(jump);
    let later = world.pay("later", "m3").await;
    world.settle().await;
    world.clock.advance(SOON);
    world.settle().await;
    for id in [&sent, &queued, &later, &full[0], &full[1], &full[2]] {
        let payment = world.payment(id).await;
        assert_eq!(payment["state"], "dispatched", "{payment}");
    }
    assert_eq!(world.state(&full[3]).await, "queued");

    // A line that frees takes the next one, as ever.
    world.sandbox.close(&line_id(5), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    world.clock.advance(SOON);
    world.settle().await;
    assert_eq!(world.state(&full[3]).await, "dispatched");
    assert_eq!(world.sandbox.message_count(), 7, "each once");
    let (status, ready) = world.plain("/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (200, Some("ready")), "{ready}");
}

on_both!(a_clock_that_is_set_forward_by_an_hour_delays_nothing);
async fn a_clock_that_is_set_forward_by_an_hour_delays_nothing(database: TestDatabase) {
    the_clock_jumps(database, HOUR).await;
}

on_both!(a_clock_that_is_set_back_by_an_hour_delays_nothing);
async fn a_clock_that_is_set_back_by_an_hour_delays_nothing(database: TestDatabase) {
    the_clock_jumps(database, BACK).await;
}
