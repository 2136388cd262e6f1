//! A database of one's own for each test, taken away at its end however it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freeline::connect::wire::read_event;
use freeline::core::dispatch::{Policy, SendMode};
use freeline::core::time::Span;
use freeline::ids::{Ids, RandomIds};
use freeline::lifecycle::Tasks;
use freeline::store::postgres::PostgresStore;
use freeline::store::sqlite::SqliteStore;
use freeline::store::{Rules, Store};
use freeline::wake::Wake;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// An empty database of one engine.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    place: Place,
    tasks: Tasks,
}

#[derive(Debug)]
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Schema),
}

/// A schema of its own, dropped when this is.
#[derive(Debug)]
struct Schema {
    server: String,
    name: String,
}

impl TestDatabase {
    /// A file in a directory that goes away with it.
    pub(crate) fn sqlite() -> Self {
        let place = Place::Sqlite(tempfile::tempdir().expect("a temporary directory"));
        Self { place, tasks: Tasks::new() }
    }

    /// A schema in the server that `tests/run` starts.
    #[expect(clippy::disallowed_methods, reason = "a test has no settings")]
    pub(crate) async fn postgres() -> Self {
        let server = std::env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL is not set: run the tests with tests/run, which starts a PostgreSQL",
        );
        let name = format!("test_{:016x}", RandomIds::from_system().random());
        let mut connection = PgConnection::connect(&server).await.expect("PostgreSQL answers");
        let create = format!("CREATE SCHEMA {name}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.expect("a schema");
        let place = Place::Postgres(Schema { server, name });
        Self { place, tasks: Tasks::new() }
    }

    /// Its address, as in `FREELINE_DATABASE_URL`.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::Sqlite(dir) => format!("sqlite:{}", dir.path().join("freeline.db").display()),
            Place::Postgres(schema) => {
                let mark = if schema.server.contains('?') { '&' } else { '?' };
                format!("{}{mark}options=-c%20search_path%3D{}", schema.server, schema.name)
            }
        }
    }

    /// Whether a second store may be opened on it: a replica.
    pub(crate) const fn takes_replicas(&self) -> bool {
        matches!(self.place, Place::Postgres(_))
    }

    /// Opens a store on it.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.open_with(rules()).await
    }

    /// Opens a store on it with rules of its own. On PostgreSQL several can be open at once.
    pub(crate) async fn open_with(&self, rules: Rules) -> Arc<dyn Store> {
        self.open_ringing(rules, Wake::default()).await
    }

    /// Opens a store on it that rings these bells.
    pub(crate) async fn open_ringing(&self, rules: Rules, wake: Wake) -> Arc<dyn Store> {
        match &self.place {
            Place::Sqlite(dir) => {
                let path = dir.path().join("freeline.db");
                Arc::new(SqliteStore::open(&path, rules, wake).await.expect("SQLite opens"))
            }
            Place::Postgres(_) => {
                let store = PostgresStore::open(&self.url(), rules, wake, &self.tasks).await;
                Arc::new(store.expect("PostgreSQL opens"))
            }
        }
    }

    /// Two stores that share it where the engine permits, else the same one twice.
    pub(crate) async fn open_twice(&self) -> [Arc<dyn Store>; 2] {
        let first = self.open().await;
        let second = if self.takes_replicas() { self.open().await } else { Arc::clone(&first) };
        [first, second]
    }

    /// Makes the tables as the version before the migration `next` left them, and answers a
    /// connection to them.
    pub(crate) async fn before(&self, next: &str) -> Direct {
        let engine = if self.takes_replicas() { "postgres" } else { "sqlite" };
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
        let some = tempfile::tempdir().expect("a temporary directory");
        for file in std::fs::read_dir(all).expect("the migrations") {
            let file = file.expect("a migration");
            let name = file.file_name().into_string().expect("its name");
            if *name < *next {
                std::fs::copy(file.path(), some.path().join(name)).expect("a copy of it");
            }
        }
        let migrator = Migrator::new(some.path()).await.expect("migrations");
        let url = self.url();
        if self.takes_replicas() {
            let mut connection = PgConnection::connect(&url).await.expect("a connection");
            migrator.run(&mut connection).await.expect("old tables");
            Direct::Postgres(connection)
        } else {
            let url = format!("{url}?mode=rwc");
            let mut connection = SqliteConnection::connect(&url).await.expect("a new file");
            migrator.run(&mut connection).await.expect("old tables");
            Direct::Sqlite(connection)
        }
    }

    /// A connection past the store.
    pub(crate) async fn direct(&self) -> Direct {
        match &self.place {
            Place::Sqlite(_) => Direct::Sqlite(
                SqliteConnection::connect(&self.url()).await.expect("a second connection"),
            ),
            Place::Postgres(_) => Direct::Postgres(
                PgConnection::connect(&self.url()).await.expect("a second connection"),
            ),
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Drop for Schema {
    /// On a thread of its own: the test's runtime may be unwinding.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut connection = PgConnection::connect(&server).await?;
                // A transaction that a panic left open must not stop the tests.
                let words = format!("SET lock_timeout = '10s'; DROP SCHEMA {name} CASCADE");
                sqlx::raw_sql(AssertSqlSafe(words)).execute(&mut connection).await
            })
        });
        match dropping.join() {
            Ok(Ok(_)) => {}
            other => eprintln!("the schema {} stays behind: {other:?}", self.name),
        }
    }
}

/// The rules that tests run under, unless they are about others.
pub(crate) fn rules() -> Rules {
    Rules {
        policy: Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) },
        default_user: None,
        default_author: None,
        read_event: |body| read_event(body).map_err(|error| error.to_string()),
        hand_over: true,
        look_after_silence: Span::from_secs(7_200),
        notices_are_sent: true,
    }
}

/// A connection past the store, for what the store would never do.
#[derive(Debug)]
pub(crate) enum Direct {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Direct {
    /// Runs statements.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()),
            Self::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()),
        }
    }

    /// The rows of a statement whose columns are all text.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await.expect("rows");
                rows.iter().map(texts).collect()
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await.expect("rows");
                rows.iter().map(texts).collect()
            }
        }
    }

    /// How SQLite would run a statement, one step a line.
    pub(crate) async fn plan(&mut self, statement: &str) -> Vec<String> {
        let Self::Sqlite(connection) = self else { panic!("only SQLite's plans are looked at") };
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let steps = sqlx::query_as(explain).fetch_all(connection).await.expect(statement);
        steps.into_iter().map(|(_, _, _, step): (i64, i64, i64, String)| step).collect()
    }
}

fn texts<R: sqlx::Row>(row: &R) -> Vec<String>
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    (0..row.len()).map(|at| row.get::<Option<String>, _>(at).unwrap_or_default()).collect()
}

/// How long a test waits for something that comes at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
