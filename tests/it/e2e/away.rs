//! A time in which nobody could hear the events: then every line is looked at once.

use freeline::core::time::Span;
use freeline::sandbox::{Faults, TECHNICAL_USER_ID, line_id};
use serde_json::Value;

use crate::support::{TestDatabase, World, on_both};

/// How long a service may be away without having missed anything for good.
const GAP_SECS: i64 = 60;

async fn looked_at(world: &World) -> Vec<Value> {
    let lines = world.get("/lines").await;
    lines["items"].as_array().expect("lines").iter().map(|l| l["looked_at"].clone()).collect()
}

/// A payment is on the first line, and its close is lost.
async fn with_a_lost_close(world: &World) -> String {
    let id = world.pay("k", "m1").await;
    world.settle().await;
    let lose = Faults { lose: 1.0, ..Faults::default() };
    world.sandbox.set_faults(lose).unwrap();
    world.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    world.sandbox.set_faults(Faults::default()).unwrap();
    id
}

on_both!(after_a_minute_away_one_call_for_all_lines_finds_what_was_missed);
async fn after_a_minute_away_one_call_for_all_lines_finds_what_was_missed(database: TestDatabase) {
    let world = World::ready(database).await;
    let id = with_a_lost_close(&world).await;
    let (looks, before) = (world.looks(), looked_at(&world).await);
    world.clock.advance(Span::from_secs(GAP_SECS + 1));
    world.settle().await;
    assert_eq!(world.looks(), looks + 1);
    let after = looked_at(&world).await;
    assert!((0..9).all(|n| before[n] != after[n]), "each line was looked at: {after:?}");
    assert_eq!(world.state(&id).await, "closed");
    assert_eq!(world.get("/status").await["lines"]["free"], 9);
}

on_both!(a_process_that_was_down_for_more_than_a_minute_looks_at_all_lines_once);
async fn a_process_that_was_down_for_more_than_a_minute_looks_at_all_lines_once(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let id = with_a_lost_close(&world).await;
    let looks = world.looks();
    world.clock.advance(Span::from_secs(GAP_SECS + 1));
    let world = world.restart().await;
    world.settle().await;
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.state(&id).await, "closed");
    assert_eq!(world.get("/status").await["lines"]["free"], 9);
    world.pass(300).await;
    assert_eq!(world.looks(), looks + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_replica_stays_up_nothing_was_missed_and_nothing_is_looked_at() {
    let world = World::ready(TestDatabase::postgres().await).await;
    let other = world.replica().await;
    let looks = world.looks();
    // Both live: the first one leads, the other one waits.
    for _ in 0..4 {
        world.clock.advance(Span::from_secs(5));
        world.settle().await;
        other.settle().await;
    }
    // The first one is silent for good, the other one takes over.
    for _ in 0..30 {
        world.clock.advance(Span::from_secs(5));
        other.settle().await;
    }
    assert_eq!(world.looks(), looks);
    assert_eq!(world.get("/status").await["lines"]["free"], 9, "still known");
    // It comes back after more than a minute: somebody has led all the time.
    world.settle().await;
    assert_eq!(world.looks(), looks);

    // Now both are away.
    world.clock.advance(Span::from_secs(GAP_SECS + 1));
    other.settle().await;
    assert_eq!(world.looks(), looks + 1);
}
