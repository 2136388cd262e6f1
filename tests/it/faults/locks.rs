//! Somebody else's transaction stands still and holds what the service needs.

use std::time::Duration;

use super::bench::{Bench, Seen};
use crate::support::postgres::PostgresServer;

/// How long it stands still: longer than the service waits for a lock.
const STANDS_STILL: Duration = Duration::from_secs(4);

/// Holds a lock in an idle transaction; answers what was seen meanwhile. Whoever wants to see it
/// again stops the service in the middle of it.
async fn held_by_somebody_else(lock: &str, again: bool) -> Seen {
    let server = PostgresServer::start().await;
    let mut bench = Bench::start(&server.url()).await;
    let session = server.idle_in(lock).await;
    let seen = bench.press(STANDS_STILL).await;
    drop(session);
    bench.is_back().await;
    if again {
        let session = server.idle_in(lock).await;
        bench.press(Duration::from_millis(500)).await;
        bench.stops().await;
        drop(session);
        bench.service.run().await;
    }
    bench.check().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_events_locked_the_platform_is_told_to_come_again() {
    let seen = held_by_somebody_else("LOCK TABLE events IN EXCLUSIVE MODE", true).await;
    assert_eq!(seen.events.keys().collect::<Vec<_>>(), [&503], "{seen:?}");
    assert_eq!(seen.ready.iter().map(|(status, _)| status).max(), Some(&503), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_payments_locked_events_still_come_in() {
    let seen = held_by_somebody_else("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE", false).await;
    assert_eq!(seen.events.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
    assert_eq!(seen.payments.keys().collect::<Vec<_>>(), [&503], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_line_locked_events_and_payments_still_come_in() {
    let seen = held_by_somebody_else("SELECT * FROM lines LIMIT 1 FOR UPDATE", false).await;
    assert_eq!(seen.events.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
}

/// All ten connections of the service then wait for the same lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_decisions_held_up_events_still_come_in() {
    let seen = held_by_somebody_else(
        "SELECT pg_advisory_xact_lock(hashtextextended('freeline/decisions/public', 0))",
        true,
    )
    .await;
    assert_eq!(seen.events.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
    assert_eq!(seen.payments.keys().collect::<Vec<_>>(), [&503], "{seen:?}");
    assert!(seen.ready.iter().all(|(status, _)| *status == 200), "{seen:?}");
}
