//! The platform is down.

use std::collections::BTreeMap;
use std::time::Duration;

use freeline::core::number::Number;
use freeline::core::time::Span;
use freeline::sandbox::Faults;

use super::bench::Bench;
use crate::support::postgres::PostgresServer;
use crate::support::{TestDatabase, World, on_both};

/// How long it is down.
const DOWN: Duration = Duration::from_secs(6);

fn down() -> Faults {
    Faults { down: true, ..Faults::default() }
}

/// How often each payment's message is on the platform.
fn sent(world: &World) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for message in world.sandbox.messages() {
        for number in Number::find_all(&message.text) {
            *sent.entry(number.to_string()).or_default() += 1;
        }
    }
    sent
}

on_both!(a_platform_that_is_down_for_an_hour_delays_payments_and_loses_none);
async fn a_platform_that_is_down_for_an_hour_delays_payments_and_loses_none(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let under_way = world.pay("under-way", "m1").await;
    world.sandbox.set_faults(down()).unwrap();
    let mut ids = vec![under_way];
    for n in 0..6 {
        ids.push(world.pay(&format!("down-{n}"), &format!("m{}", n % 3 + 1)).await);
    }
    world.pass(3_600).await;
    assert_eq!(world.sandbox.message_count(), 0);
    let (status, ready) = world.plain("/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (200, Some("degraded")), "{ready}");
    for id in &ids {
        let payment = world.payment(id).await;
        let entries = payment["timeline"].as_array().expect("a timeline").len();
        assert!(entries < 10, "an hour of tries fills the timeline: {payment}");
    }

    world.sandbox.set_faults(Faults::default()).unwrap();
    world.clock.advance(Span::from_secs(4));
    world.settle().await;
    for id in &ids {
        let payment = world.payment(id).await;
        assert_eq!(payment["state"], "dispatched", "{payment}");
    }
    let sent = sent(&world);
    assert_eq!(sent.len(), ids.len());
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    assert_eq!(world.plain("/readyz").await.1["status"], "ready");
}

on_both!(a_platform_that_is_away_is_asked_about_few_doubts_at_once);
async fn a_platform_that_is_away_is_asked_about_few_doubts_at_once(database: TestDatabase) {
    let world = World::ready(database).await;
    world.sandbox.set_faults(Faults { status_5xx: 1.0, ..Faults::default() }).unwrap();
    let mut ids = Vec::new();
    for n in 0..9 {
        ids.push(world.pay(&format!("k{n}"), &format!("m{}", n % 3 + 1)).await);
    }
    world.pass(60).await;
    for id in &ids {
        assert_eq!(world.state(id).await, "in_doubt");
    }
    // More than the longest wait: all of them are due.
    let before = world.looks();
    world.clock.advance(Span::from_secs(5));
    world.settle().await;
    let asked = world.looks() - before;
    assert!((1..=3).contains(&asked), "{asked} looks");

    world.sandbox.set_faults(Faults::default()).unwrap();
    world.clock.advance(Span::from_secs(5));
    world.settle().await;
    for id in &ids {
        assert_eq!(world.state(id).await, "dispatched");
    }
    assert_eq!(sent(&world).values().sum::<usize>(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_platform_is_down_everything_comes_in() {
    // Its disk is not waited for: whatever else the machine does, it takes everything.
    let server = PostgresServer::start().await;
    let mut bench = Bench::start(&server.url()).await;
    bench.sandbox.set_faults(down()).unwrap();
    bench.press(DOWN).await.none_refused();
    assert_eq!(bench.ready().await, (200, "degraded".to_owned()));
    bench.sandbox.set_faults(Faults::default()).unwrap();
    bench.is_back().await;

    bench.sandbox.set_faults(down()).unwrap();
    bench.press(Duration::from_millis(500)).await.none_refused();
    bench.stops().await;
    bench.sandbox.set_faults(Faults::default()).unwrap();
    bench.service.run().await;
    bench.check().await;
}
