//! The database of a life: SQLite in memory, or a schema of PostgreSQL that is emptied for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use freeline::connect::SendMode;
use freeline::lifecycle::Tasks;
use freeline::store::postgres::PostgresStore;
use freeline::store::sqlite::SqliteStore;
use freeline::store::{Rules, Store};
use freeline::wake::Wake;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::database::{Direct, TestDatabase, rules};

/// Replicas at the most.
pub(super) const REPLICAS_MAX: usize = 3;

/// Which database.
pub(super) enum Engine {
    Sqlite { broken: Arc<dyn Store> },
    Postgres(Postgres),
}

/// A schema, and the stores of all replicas on it, for each mode: they are opened once.
pub(super) struct Postgres {
    database: TestDatabase,
    tasks: Tasks,
    url: String,
    stores: Vec<(SendMode, Vec<Arc<dyn Store>>)>,
    broken: Arc<dyn Store>,
}

/// What a life is lived in.
pub(super) struct Place {
    /// One store for each replica.
    pub(super) stores: Vec<Arc<dyn Store>>,
    /// A closed one.
    pub(super) broken: Arc<dyn Store>,
    /// A connection past them.
    pub(super) direct: Direct,
}

fn rules_for(mode: SendMode) -> Rules {
    let mut rules = rules();
    rules.policy.mode = mode;
    rules
}

/// A store that refuses everything: it was closed.
async fn broken() -> Arc<dyn Store> {
    let store = memory(&new_name(), SendMode::Bot).await;
    store.close().await;
    store
}

/// Databases in memory are known by name in the whole process.
fn new_name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("freeline_sim_{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

async fn memory(name: &str, mode: SendMode) -> Arc<dyn Store> {
    let store = SqliteStore::open_in_memory(name, rules_for(mode), Wake::default()).await;
    Arc::new(store.expect("SQLite opens"))
}

impl Engine {
    pub(super) async fn sqlite() -> Self {
        Self::Sqlite { broken: broken().await }
    }

    pub(super) async fn postgres() -> Self {
        let database = TestDatabase::postgres().await;
        // Nothing here survives a loss of power anyway.
        let url = format!("{}%20-c%20synchronous_commit%3Doff", database.url());
        let tasks = Tasks::new();
        let (stores, broken) = (Vec::new(), broken().await);
        Self::Postgres(Postgres { database, tasks, url, stores, broken })
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// An empty database.
    pub(super) async fn place(&mut self, mode: SendMode) -> Place {
        match self {
            Self::Sqlite { broken } => {
                let name = new_name();
                let store = memory(&name, mode).await;
                let url = format!("sqlite:file:{name}?mode=memory&cache=shared");
                let direct = SqliteConnection::connect(&url).await.expect("a second connection");
                Place {
                    stores: vec![store; REPLICAS_MAX],
                    broken: Arc::clone(broken),
                    direct: Direct::Sqlite(direct),
                }
            }
            Self::Postgres(postgres) => postgres.place(mode).await,
        }
    }
}

impl Postgres {
    async fn place(&mut self, mode: SendMode) -> Place {
        if !self.stores.iter().any(|(of, _)| *of == mode) {
            let mut stores: Vec<Arc<dyn Store>> = Vec::new();
            for _ in 0..REPLICAS_MAX {
                let rules = rules_for(mode);
                let opened = PostgresStore::open(&self.url, rules, Wake::default(), &self.tasks);
                stores.push(Arc::new(opened.await.expect("PostgreSQL opens")));
            }
            self.stores.push((mode, stores));
        }
        let connection = PgConnection::connect(&self.url).await.expect("a second connection");
        let mut direct = Direct::Postgres(connection);
        let tables = direct
            .rows(
                "SELECT string_agg(table_name::text, ', ') FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_name <> '_sqlx_migrations'",
            )
            .await;
        let tables = &tables[0][0];
        let empty = format!("TRUNCATE {tables} RESTART IDENTITY");
        direct.run(&empty).await.expect("the tables are emptied");
        let stores = self.stores.iter().find(|(of, _)| *of == mode).expect("they were opened");
        Place { stores: stores.1.clone(), broken: Arc::clone(&self.broken), direct }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.tasks.stop();
        // The schema goes with it.
        let _: &TestDatabase = &self.database;
    }
}
