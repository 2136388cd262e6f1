//! PostgreSQL: for several replicas.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::lifecycle::Tasks;
use crate::store::error::Doing;
use crate::store::{Result, Rules};
use crate::telemetry::Chain;
use crate::wake::{Wake, Worker};

/// Connections of one replica.
const CONNECTIONS: u32 = 10;
/// Connections of one replica that only keep events.
const CONNECTIONS_FOR_EVENTS: u32 = 2;
/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a statement may wait for a lock, in milliseconds: somebody else's forgotten
/// transaction must not stop us for ever.
const LOCK_WAIT_MS: &str = "5000";
/// How long a migration may wait for a lock, in milliseconds: another replica, started in the same
/// moment, may be at a long one.
const MIGRATION_WAIT_MS: &str = "600000";
/// How long a transaction of ours may stand still, in milliseconds.
const IDLE_IN_TRANSACTION_MS: &str = "10000";
/// The channel on which replicas ring for each other's workers.
const CHANNEL: &str = "freeline_wake";
/// Wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

type Db = sqlx::Postgres;

mod dialect {
    /// Keeps a claim from being taken by two.
    pub(super) const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";
    /// Locks rows in the order in which they are read.
    pub(super) const FOR_UPDATE: &str = " FOR UPDATE";
}

#[expect(clippy::duplicate_mod, reason = "the shared SQL is compiled once per engine")]
#[path = "sql/mod.rs"]
mod sql;

pub use sql::SqlStore as PostgresStore;

/// The connections to one database.
#[derive(Debug)]
struct Engine {
    pool: sqlx::PgPool,
    /// Events have connections of their own: decisions that wait for each other must not keep
    /// them out.
    events: sqlx::PgPool,
    wake: Wake,
}

impl Engine {
    async fn write(&self) -> Result<sqlx::Transaction<'static, Db>> {
        self.pool.begin().await.doing("begin a transaction")
    }

    /// One decision at a time over all replicas, as on SQLite.
    async fn serial(&self) -> Result<sqlx::Transaction<'static, Db>> {
        self.alone(self.write().await?, "decisions").await
    }

    /// One batch of events at a time: replicas that keep the same events in another order would
    /// wait for each other for ever, and an id would be seen before a smaller one.
    async fn intake(&self) -> Result<sqlx::Transaction<'static, Db>> {
        let tx = self.events.begin().await.doing("begin a transaction for events")?;
        self.alone(tx, "events").await
    }

    /// A transaction that only one of all replicas is in.
    async fn alone(
        &self,
        mut tx: sqlx::Transaction<'static, Db>,
        subject: &'static str,
    ) -> Result<sqlx::Transaction<'static, Db>> {
        // The lock is of the schema, so that two Freelines in one database do not wait for each
        // other.
        sqlx::query(
            "SELECT pg_advisory_xact_lock(hashtextextended(\
             'freeline/' || $1 || '/' || current_schema(), 0))",
        )
        .bind(subject)
        .execute(&mut *tx)
        .await
        .doing("wait for the other replicas")?;
        Ok(tx)
    }

    async fn read(&self) -> Result<sqlx::pool::PoolConnection<Db>> {
        self.pool.acquire().await.doing("get a connection to read")
    }

    /// A transaction that only reads, and sees all as it is at its first statement.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, Db>> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.pool.begin_with(begin).await.doing("begin to read")
    }

    /// Commits, and rings for the workers here and in the other replicas.
    async fn commit(&self, mut tx: sqlx::Transaction<'static, Db>, wake: &[Worker]) -> Result<()> {
        for worker in wake {
            sqlx::query("SELECT pg_notify($1, current_schema() || ' ' || $2)")
                .bind(CHANNEL)
                .bind(worker.name())
                .execute(&mut *tx)
                .await
                .doing("tell the other replicas")?;
        }
        tx.commit().await.doing("commit")?;
        for worker in wake {
            self.wake.ring(*worker);
        }
        Ok(())
    }

    async fn close(&self) {
        self.events.close().await;
        self.pool.close().await;
    }
}

impl PostgresStore {
    /// Connects, brings the schema up to date, and listens to the other replicas.
    pub async fn open(url: &str, rules: Rules, wake: Wake, tasks: &Tasks) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).doing("read the PostgreSQL address")?;
        let options = options.application_name("freeline").options([
            ("lock_timeout", LOCK_WAIT_MS),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
        ]);
        let pool = |size| PgPoolOptions::new().max_connections(size).acquire_timeout(PATIENCE);
        let events = pool(CONNECTIONS_FOR_EVENTS).connect_lazy_with(options.clone());
        migrate(&options).await?;
        let pool = pool(CONNECTIONS).connect_with(options).await.doing("connect to PostgreSQL")?;
        tasks.spawn("wake listener", listen(pool.clone(), wake.clone(), tasks.clone()));
        Ok(Self::new(Engine { pool, events, wake }, rules))
    }
}

/// Brings the schema up to date, one replica after the other.
async fn migrate(options: &PgConnectOptions) -> Result<()> {
    let options = options.clone().options([("lock_timeout", MIGRATION_WAIT_MS)]);
    let connected = PgConnection::connect_with(&options).await;
    let mut connection = connected.doing("connect to PostgreSQL")?;
    let migrations = sqlx::migrate!("migrations/postgres");
    migrations.run(&mut connection).await.doing("migrate the database")?;
    connection.close().await.doing("close a connection")
}

/// Rings for our workers when another replica has something for them. The timers make up for
/// whatever is missed while the connection is lost.
async fn listen(pool: sqlx::PgPool, wake: Wake, tasks: Tasks) {
    while !tasks.is_stopping() {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            let schema: String =
                sqlx::query_scalar("SELECT current_schema()").fetch_one(&pool).await?;
            loop {
                let told = listener.recv().await?;
                if let Some((theirs, worker)) = told.payload().rsplit_once(' ')
                    && theirs == schema
                    && let Some(worker) = Worker::parse(worker)
                {
                    wake.ring(worker);
                }
            }
        };
        let ended: std::result::Result<(), sqlx::Error> = tokio::select! {
            ended = listening => ended,
            () = tasks.stopping() => return,
        };
        if let Err(error) = ended {
            let error = Chain(&error);
            tracing::warn!(%error, "cannot listen to the other replicas: {error}");
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            () = tasks.stopping() => return,
        }
    }
}
