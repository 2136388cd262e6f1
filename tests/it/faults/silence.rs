//! A connection whose other end is gone, and nobody was told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::bench::Bench;
use crate::support::postgres::PostgresServer;
use crate::support::proxy::Proxy;

/// How long nothing passes: longer than the service waits for any answer.
const SILENT: Duration = Duration::from_secs(11);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_wire_to_postgres_is_noticed() {
    let server = PostgresServer::start().await;
    let wire = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await;
    let mut bench = Bench::start(&PostgresServer::url_at(wire.address().port())).await;
    wire.cut();
    bench.press(SILENT).await.all_refused();
    wire.repair();
    bench.is_back().await;

    wire.cut();
    bench.press(Duration::from_millis(500)).await;
    bench.stops().await;
    wire.repair();
    bench.service.run().await;
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_wire_to_the_platform_puts_messages_in_doubt_and_sends_none_twice() {
    let server = PostgresServer::start().await;
    let mut wire = None;
    let mut bench = Bench::start_behind(&server.url(), async |platform| {
        wire.insert(Proxy::start(platform).await).address()
    })
    .await;
    let wire = wire.expect("a wire");
    wire.cut();
    bench.press(SILENT).await.none_refused();
    assert_eq!(bench.ready().await, (200, "degraded".to_owned()));
    wire.repair();
    bench.is_back().await;

    wire.cut();
    bench.press(Duration::from_millis(500)).await.none_refused();
    bench.stops().await;
    wire.repair();
    bench.service.run().await;
    bench.check().await;
}
