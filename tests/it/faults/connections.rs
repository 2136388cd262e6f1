//! PostgreSQL runs, but its connections are ended or used up.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};

use super::bench::Bench;
use crate::support::postgres::PostgresServer;
use crate::support::process::LOOK_EVERY;

/// Refusals in a row after which a server has no connection left.
const REFUSALS: usize = 20;
/// How long it lasts.
const LASTS: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_from_outside_are_opened_anew() {
    let server = PostgresServer::start().await;
    let mut bench = Bench::start(&server.url()).await;
    let mut admin = server.admin().await;
    let ending = async {
        for _ in 0..4 {
            // The one that listens and those that hold locks too.
            assert!(server.end_sessions(&mut admin).await > 1);
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    tokio::join!(bench.press(LASTS), ending);
    server.end_sessions(&mut admin).await;
    bench.is_back().await;
    server.end_sessions(&mut admin).await;
    bench.stops().await;
    bench.service.run().await;
    bench.check().await;
}

/// Takes every connection that the server has to give, those of the service too.
async fn use_up(server: &PostgresServer) -> Vec<PgConnection> {
    let mut admin = server.admin().await;
    // No new ones for the service while those of before are ended: a race for them would have no end.
    let only = |limit: i32| format!("ALTER ROLE service CONNECTION LIMIT {limit}");
    sqlx::raw_sql(AssertSqlSafe(only(0))).execute(&mut admin).await.expect("a limit");
    while server.end_sessions(&mut admin).await > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (mut taken, mut refused) = (Vec::new(), 0);
    // Whoever is refused has a place for a moment: only many refusals in a row say that none is left.
    while refused < REFUSALS {
        if let Some(session) = server.others().await {
            taken.push(session);
            refused = 0;
        } else {
            refused += 1;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    sqlx::raw_sql(AssertSqlSafe(only(-1))).execute(&mut admin).await.expect("no limit");
    // Its place would be free again.
    taken.push(admin);
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_free_connection_is_borne() {
    let server = PostgresServer::start().await;
    let mut bench = Bench::start(&server.url()).await;
    let taken = use_up(&server).await;
    bench.press(LASTS).await.all_refused();
    drop(taken);
    bench.is_back().await;

    let taken = use_up(&server).await;
    bench.press(Duration::from_millis(500)).await;
    bench.stops().await;
    drop(taken);
    bench.service.run().await;
    bench.check().await;
}
