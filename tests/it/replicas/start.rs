//! Replicas that start in the same moment, or while another is at a migration.

use std::time::Duration;

use freeline::lifecycle::Tasks;
use freeline::sandbox::SandboxConfig;
use freeline::store::postgres::PostgresStore;
use freeline::wake::Wake;
use sqlx::{Connection as _, PgConnection};

use super::{Cluster, directory};
use crate::support::TestDatabase;
use crate::support::database::rules;
use crate::support::process::Service;

/// Longer than any other statement of a replica may wait for a lock.
const A_LONG_MIGRATION: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_on_an_empty_database_all_come_up() {
    let mut cluster = Cluster::prepare(4, SandboxConfig::quick(), &[]).await;
    for replica in &mut cluster.replicas {
        replica.spawn();
    }
    futures::future::join_all(cluster.replicas.iter_mut().map(Service::answers)).await;
    cluster.furnish(&directory(), 9).await;
    let applied = cluster.count("SELECT count(*) FROM _sqlx_migrations WHERE success").await;
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres"));
    assert_eq!(applied, u64::try_from(files.unwrap().count()).unwrap());
    assert_eq!((cluster.hooks_set(), cluster.looks()), (18, 1));
    cluster.leader();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_waits_with_its_start_while_another_is_at_a_long_migration() {
    let database = TestDatabase::postgres().await;
    database.open().await.close().await;
    let mut other = PgConnection::connect(&database.url()).await.unwrap();
    let mut migration = other.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE _sqlx_migrations, payments IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *migration)
        .await
        .unwrap();
    let (url, tasks) = (database.url(), Tasks::new());
    let mut opening = std::pin::pin!(PostgresStore::open(&url, rules(), Wake::default(), &tasks));
    let early = tokio::time::timeout(A_LONG_MIGRATION, &mut opening).await;
    assert!(early.is_err(), "it did not wait: {:?}", early.map(|opened| opened.map(drop)));
    migration.commit().await.unwrap();
    opening.await.expect("it opens as soon as the other is done");
    tasks.stop();
}
