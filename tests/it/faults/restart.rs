//! PostgreSQL goes away for some seconds and comes back.

use std::time::Duration;

use super::bench::Bench;
use crate::support::postgres::{PostgresServer, Stop};

/// How long it is away.
const AWAY: Duration = Duration::from_secs(4);

async fn postgres_is_restarted(how: Stop) {
    let server = PostgresServer::start().await;
    let mut bench = Bench::start(&server.url()).await;
    server.stop(how);
    bench.press(AWAY).await.all_refused();
    server.run();
    bench.is_back().await;

    server.stop(how);
    bench.press(Duration::from_millis(500)).await;
    bench.stops().await;
    server.run();
    bench.service.run().await;
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgres_is_borne() {
    postgres_is_restarted(Stop::Fast).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_postgres_is_borne() {
    postgres_is_restarted(Stop::Crash).await;
}
