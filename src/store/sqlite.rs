//! SQLite: the embedded default, for one process.
//!
//! One connection writes, others read. WAL with `synchronous=FULL`: a committed event survives a
//! loss of power. A lock file keeps a second process out.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::store::error::{Doing, StoreError};
use crate::store::{Result, Rules};
use crate::wake::{Wake, Worker};

/// Connections that read beside the one that writes.
const READERS: u32 = 4;
/// How long to wait for a connection, or for a lock of another process.
const PATIENCE: Duration = Duration::from_secs(5);
/// From this long on a statement is told as slow, at `debug`: while a disk is slow all of them are,
/// and the requests that wait for them are told anyway.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);

type Db = sqlx::Sqlite;

mod dialect {
    use crate::core::search::{PREFIX_CHARS_MIN, Query, Term};

    /// Keeps a claim from being taken by two; one writer needs no such thing.
    pub(super) const SKIP_LOCKED: &str = "";
    /// Locks rows in the order in which they are read.
    pub(super) const FOR_UPDATE: &str = "";
    /// The order of arrival, where words are looked for.
    pub(super) const SEARCH_PLACE: &str = "w.rowid";

    /// ` FROM` utterances `WHERE` these words are.
    ///
    /// Words of some letters also find longer ones that begin with them; quotations only themselves.
    /// Every word stands in quotation marks: nothing in it means anything to FTS5.
    pub(super) fn push_search(statement: &mut sqlx::QueryBuilder<super::Db>, query: &Query) {
        let term = |term: &Term| {
            let last = term.words.split(' ').next_back().unwrap_or_default();
            let is_beginning = !term.is_quoted && last.chars().count() >= PREFIX_CHARS_MIN;
            format!("\"{}\"{}", term.words, if is_beginning { " *" } else { "" })
        };
        let wanted: Vec<String> = query.terms(false).map(term).collect();
        let mut words = format!("({})", wanted.join(" AND "));
        for unwanted in query.terms(true) {
            words.push_str(" NOT ");
            words.push_str(&term(unwanted));
        }
        // The words first, in the order of arrival: as many are read as fit on the page.
        statement.push(
            " FROM utterances_words w CROSS JOIN utterances u ON u.event_id = w.rowid \
             WHERE w.utterances_words MATCH ",
        );
        statement.push_bind(words);
    }
}

#[expect(clippy::duplicate_mod, reason = "the shared SQL is compiled once per engine")]
#[path = "sql/mod.rs"]
mod sql;

pub use sql::SqlStore as SqliteStore;

/// The connections of one database file.
#[derive(Debug)]
struct Engine {
    writer: sqlx::SqlitePool,
    readers: sqlx::SqlitePool,
    wake: Wake,
    lock: Mutex<Option<std::fs::File>>,
}

impl Engine {
    async fn write(&self) -> Result<sqlx::Transaction<'static, Db>> {
        // A deferred transaction that reads before it writes fails when another one wrote meanwhile.
        self.writer.begin_with("BEGIN IMMEDIATE").await.doing("begin a transaction")
    }

    /// A transaction that keeps events.
    async fn intake(&self) -> Result<sqlx::Transaction<'static, Db>> {
        self.write().await
    }

    async fn serial(&self) -> Result<sqlx::Transaction<'static, Db>> {
        self.write().await
    }

    /// A use case; a file does not fall silent as a connection may.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        work.await
    }

    /// The same for a large one.
    async fn bounded_large<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        work.await
    }

    async fn read(&self) -> Result<sqlx::pool::PoolConnection<Db>> {
        self.readers.acquire().await.doing("get a connection to read")
    }

    /// A transaction that only reads, and sees all as it is at its first statement.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, Db>> {
        self.readers.begin().await.doing("begin to read")
    }

    /// Commits, then rings for the workers that have something to look at.
    async fn commit(&self, tx: sqlx::Transaction<'static, Db>, wake: &[Worker]) -> Result<()> {
        tx.commit().await.doing("commit")?;
        for worker in wake {
            self.wake.ring(*worker);
        }
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Whoever still holds this store can do nothing with it: another process may have the file.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl SqliteStore {
    /// Opens the file, creates it when it is not there, and brings its schema up to date.
    pub async fn open(path: &Path, rules: Rules, wake: Wake) -> Result<Self> {
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        Self::connect(options, Some(lock), READERS, rules, wake).await
    }

    /// Opens a database that lives in memory under `name` and is gone afterwards.
    pub async fn open_in_memory(name: &str, rules: Rules, wake: Wake) -> Result<Self> {
        let url = format!("sqlite:file:{name}?mode=memory&cache=shared");
        let options = SqliteConnectOptions::from_str(&url).doing("name a database in memory")?;
        Self::connect(options, None, 0, rules, wake).await
    }

    async fn connect(
        options: SqliteConnectOptions,
        lock: Option<std::fs::File>,
        readers: u32,
        rules: Rules,
        wake: Wake,
    ) -> Result<Self> {
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .log_slow_statements(log::LevelFilter::Debug, SLOW_STATEMENT);
        let pool = |size| {
            let options = options.clone();
            async move {
                SqlitePoolOptions::new()
                    .max_connections(size)
                    .min_connections(1)
                    .acquire_timeout(PATIENCE)
                    // A longer wait fails, and is told by whoever waited.
                    .acquire_slow_threshold(PATIENCE)
                    .idle_timeout(None)
                    .before_acquire(|connection, _| {
                        // A full disk ends a transaction at its commit, and the connection goes on
                        // believing that it is in one: it would refuse every other, for ever.
                        let is_sound = !connection.is_in_transaction();
                        Box::pin(async move { Ok(is_sound) })
                    })
                    .max_lifetime(None)
                    .connect_with(options)
                    .await
                    .doing("open the SQLite database")
            }
        };
        let writer = pool(1).await?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.doing("migrate the database")?;
        // In memory readers would see uncommitted rows of the shared cache: they share the writer.
        let readers = if readers == 0 { writer.clone() } else { pool(readers).await? };
        Ok(Self::new(Engine { writer, readers, wake, lock: Mutex::new(lock) }, rules))
    }
}

/// Two processes on one file would each believe that the other's claims are its own leftovers.
fn lock(path: &Path) -> Result<std::fs::File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = std::path::PathBuf::from(name);
    let doing = "lock the SQLite database";
    let file = std::fs::File::create(&name).map_err(|error| {
        let words = format!("{} cannot be written: {error}", name.display());
        StoreError::refused(doing, words)
    })?;
    file.try_lock().map_err(|_| {
        let words = format!(
            "{} is in use by another freeline. One process at a time may use an SQLite database; \
             stop the other one, or use PostgreSQL for several",
            path.display()
        );
        StoreError::refused(doing, words)
    })?;
    Ok(file)
}
