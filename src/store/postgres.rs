//! PostgreSQL: for several replicas.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::lifecycle::Tasks;
use crate::store::error::{Doing, StoreError};
use crate::store::{Result, Rules};
use crate::telemetry;
use crate::wake::{Wake, Worker};

/// Connections of one replica, beside those for events and the one that listens.
const CONNECTIONS: u32 = 10;
/// Connections of one replica that only keep events.
const CONNECTIONS_FOR_EVENTS: u32 = 2;
/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a statement may wait for a lock, in milliseconds: somebody else's forgotten
/// transaction must not stop us for ever, and whoever waits for us is answered before he gives up.
const LOCK_WAIT_MS: &str = "3000";
/// How long a migration may wait for a lock, in milliseconds: another replica, started in the same
/// moment, may be at a long one.
const MIGRATION_WAIT_MS: &str = "600000";
/// How long a transaction of ours may stand still, in milliseconds: a replica that vanished in the
/// middle of one must not stop the others.
const IDLE_IN_TRANSACTION_MS: &str = "5000";
/// How long a use case may take: a connection whose other end vanished without a word would hold it
/// for ever. More than its waits for a connection and a lock together.
const WITHIN: Duration = Duration::from_secs(8);
/// The same for one that may have as much to do as the directory is large.
const LARGE_WITHIN: Duration = Duration::from_mins(2);
/// How long a sound connection may take to answer that it is one.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// From this long on a statement is told as slow, at `debug`: the request or the worker that waits
/// for it is told anyway.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);
/// The channel on which replicas ring for each other's workers.
const CHANNEL: &str = "freeline_wake";
/// Wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// After so long a silence the connection that listens is asked whether it still is one.
const SILENCE: Duration = Duration::from_secs(5);

type Db = sqlx::Postgres;

mod dialect {
    use crate::core::search::{PREFIX_CHARS_MIN, Query};

    /// Keeps a claim from being taken by two.
    pub(super) const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";
    /// Locks rows in the order in which they are read.
    pub(super) const FOR_UPDATE: &str = " FOR UPDATE";
    /// The order of arrival, where words are looked for.
    pub(super) const SEARCH_PLACE: &str = "u.event_id";

    /// ` FROM` utterances `WHERE` these words are.
    ///
    /// Words find all their forms, and words of some letters also longer ones that begin with them;
    /// quotations the same words in any form, beside each other. None of the functions that read
    /// words can be given wrong ones: [`Query`] leaves only letters, digits and blanks in them.
    pub(super) fn push_search(statement: &mut sqlx::QueryBuilder<super::Db>, query: &Query) {
        statement.push(" FROM utterances u WHERE u.terms @@ (");
        let terms = query.terms(false).chain(query.terms(true));
        for (place, term) in terms.enumerate() {
            statement.push(if place == 0 { "" } else { " && " });
            statement.push(if term.is_unwanted { "!! (" } else { "(" });
            statement.push("phraseto_tsquery('pg_catalog.russian', ");
            statement.push_bind(term.words.clone()).push(")");
            let is_one = !term.is_quoted && !term.words.contains(' ');
            if is_one && term.words.chars().count() >= PREFIX_CHARS_MIN {
                statement.push(" || to_tsquery('pg_catalog.simple', ");
                statement.push_bind(format!("{}:*", term.words)).push(")");
            }
            statement.push(")");
        }
        statement.push(")");
    }
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

    /// A use case within its time.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let ended = tokio::time::timeout(WITHIN, work).await;
        ended.unwrap_or_else(|_| Err(StoreError::silent("go on")))
    }

    /// A large use case within its time.
    async fn bounded_large<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let ended = tokio::time::timeout(LARGE_WITHIN, work).await;
        ended.unwrap_or_else(|_| Err(StoreError::silent("go on")))
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
        if !wake.is_empty() {
            let names: Vec<String> = wake.iter().map(|worker| worker.name().to_owned()).collect();
            let tell = "SELECT pg_notify($1, current_schema() || ' ' || worker) \
                 FROM UNNEST($2) AS worker";
            sqlx::query(tell)
                .bind(CHANNEL)
                .bind(names)
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
        let options = options.application_name("freeline");
        let options = options.log_slow_statements(log::LevelFilter::Debug, SLOW_STATEMENT);
        migrate(&options).await?;
        let options = options.options([
            ("lock_timeout", LOCK_WAIT_MS),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
        ]);
        let events = pool_of(CONNECTIONS_FOR_EVENTS).connect_lazy_with(options.clone());
        let pool = pool_of(CONNECTIONS).connect_lazy_with(options.clone());
        tasks.spawn("wake listener", listen(options, wake.clone(), tasks.clone()));
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

/// A pool whose connections are known to be sound when they are handed out.
fn pool_of(size: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        // A longer wait fails, and is told by whoever waited.
        .acquire_slow_threshold(PATIENCE)
        // The pool's own test has no limit of time: a connection without another end would keep its
        // place for ever.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(async move { Ok(answers(connection).await) }))
        .after_release(|connection, _| Box::pin(async move { Ok(answers(connection).await) }))
}

/// Whether there still is somebody at the other end.
async fn answers(connection: &mut PgConnection) -> bool {
    let answered = tokio::time::timeout(ANSWERS_WITHIN, connection.ping()).await;
    matches!(answered, Ok(Ok(()))) && !connection.is_in_transaction()
}

/// Rings for our workers when another replica has something for them. The timers make up for
/// whatever is missed while the connection is lost.
async fn listen(options: PgConnectOptions, wake: Wake, tasks: Tasks) {
    while !tasks.is_stopping() {
        let error = tokio::select! {
            error = listen_until_lost(&options, &wake) => error,
            () = tasks.stopping() => return,
        };
        telemetry::tell_outage("cannot listen to the other replicas", &error);
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            () = tasks.stopping() => return,
        }
    }
}

/// Listens for as long as the connection lasts; answers why it ended.
async fn listen_until_lost(options: &PgConnectOptions, wake: &Wake) -> sqlx::Error {
    let ended: std::result::Result<(), sqlx::Error> = async {
        // A pool of its own, thrown away with its connection: one that died keeps no place of the
        // others.
        let own = pool_of(1).connect_lazy_with(options.clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        in_time(listener.listen(CHANNEL)).await?;
        let current = sqlx::query_scalar("SELECT current_schema()");
        let schema: String = in_time(current.fetch_one(&mut listener)).await?;
        // Whatever was rung for until now was not heard.
        for worker in Worker::ALL {
            wake.ring(worker);
        }
        loop {
            let Ok(told) = tokio::time::timeout(SILENCE, listener.try_recv()).await else {
                in_time(sqlx::query("SELECT 1").execute(&mut listener)).await?;
                continue;
            };
            let Some(told) = told? else { return Ok(()) };
            if let Some((theirs, worker)) = told.payload().rsplit_once(' ')
                && theirs == schema
                && let Some(worker) = Worker::parse(worker)
            {
                wake.ring(worker);
            }
        }
    }
    .await;
    ended
        .err()
        .unwrap_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into())
}

/// A question that a sound connection answers at once.
async fn in_time<T>(
    asking: impl Future<Output = std::result::Result<T, sqlx::Error>>,
) -> std::result::Result<T, sqlx::Error> {
    let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
    tokio::time::timeout(ANSWERS_WITHIN, asking).await.unwrap_or_else(|_| late())
}
