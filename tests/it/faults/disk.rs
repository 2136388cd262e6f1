//! The disk is full.

use std::time::Duration;

use super::bench::Bench;
use crate::support::TestDatabase;
use crate::support::postgres::{PostgresServer, limit_files};

/// How long it is full.
const FULL: Duration = Duration::from_secs(3);
/// The size that no file of the service can go beyond: its log still fits, its tables do not.
const FULL_AT_BYTES: u64 = 64 * 1024;
/// Events after which a disk without room has refused one.
const EVENTS_MAX: usize = 1_000;
/// An event that takes room.
const LARGE: usize = 200_000;

/// Sends events until one is refused.
async fn fill(bench: &Bench, bytes: usize) {
    for _ in 0..EVENTS_MAX {
        if bench.send_event(bytes).await == 503 {
            return;
        }
    }
    panic!("nothing was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_sqlite_refuses_and_loses_nothing() {
    let database = TestDatabase::sqlite();
    let mut bench = Bench::start(&database.url()).await;
    limit_files(&bench.service.pid().to_string(), Some(FULL_AT_BYTES), None);
    fill(&bench, 16).await;
    bench.press(FULL).await.all_refused();
    limit_files(&bench.service.pid().to_string(), None, None);
    bench.is_back().await;

    limit_files(&bench.service.pid().to_string(), Some(FULL_AT_BYTES), None);
    fill(&bench, 16).await;
    bench.stops().await;
    bench.service.run().await;
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgres_refuses_what_has_no_room_and_loses_nothing() {
    let server = PostgresServer::start().await;
    let mut bench = Bench::start(&server.url()).await;
    server.fill_disk(true).await;
    fill(&bench, LARGE).await;
    // What still finds room in the files that are there comes in.
    let (seen, refused) = tokio::join!(bench.press(FULL), bench.send_event(LARGE));
    assert_eq!(refused, 503);
    assert_eq!(seen.events.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
    server.fill_disk(false).await;
    bench.is_back().await;
    assert_eq!(bench.send_event(LARGE).await, 200);

    server.fill_disk(true).await;
    fill(&bench, LARGE).await;
    bench.stops().await;
    server.fill_disk(false).await;
    bench.service.run().await;
    bench.check().await;
}
