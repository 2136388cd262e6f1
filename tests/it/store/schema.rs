//! The schema is the same on both engines, but for what each searches words in: `utterances_words`
//! here, `utterances.terms` there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::database::{Direct, TestDatabase};

/// What one engine has, in words that both would use.
async fn described(db: &TestDatabase) -> (BTreeSet<String>, BTreeSet<String>) {
    db.open().await.close().await;
    let mut direct = db.direct().await;
    let (columns, indexes) = match &direct {
        Direct::Sqlite(_) => (SQLITE_COLUMNS, SQLITE_INDEXES),
        Direct::Postgres(_) => (POSTGRES_COLUMNS, POSTGRES_INDEXES),
    };
    let columns = direct.rows(columns).await.iter().map(|row| row.join(" ")).collect();
    let indexes = direct.rows(indexes).await.iter().map(|row| index(&row[0])).collect();
    (columns, indexes)
}

const SQLITE_COLUMNS: &str = "SELECT t.name, c.name, \
     CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'BLOB' THEN 'bytea' ELSE lower(c.type) END, \
     CASE WHEN c.\"notnull\" = 1 OR c.pk > 0 THEN 'not null' ELSE 'null' END, \
     CASE WHEN c.pk > 0 THEN 'key ' || c.pk ELSE '' END \
     FROM sqlite_master t JOIN pragma_table_info(t.name) c \
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '_sqlx%' \
     AND t.name NOT LIKE 'utterances_words%'";

const POSTGRES_COLUMNS: &str = "SELECT c.table_name::text, c.column_name::text, \
     c.data_type::text, \
     CASE c.is_nullable WHEN 'NO' THEN 'not null' ELSE 'null' END, \
     COALESCE((SELECT 'key ' || k.ordinal_position FROM information_schema.key_column_usage k \
     JOIN information_schema.table_constraints t ON t.constraint_name = k.constraint_name \
     AND t.table_schema = k.table_schema AND t.constraint_type = 'PRIMARY KEY' \
     WHERE k.table_schema = c.table_schema AND k.table_name = c.table_name \
     AND k.column_name = c.column_name), '') \
     FROM information_schema.columns c WHERE c.table_schema = current_schema() \
     AND c.table_name NOT LIKE '_sqlx%' AND c.column_name <> 'terms'";

const SQLITE_INDEXES: &str =
    "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL";

const POSTGRES_INDEXES: &str = "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i \
     JOIN pg_class c ON c.oid = i.indexrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = current_schema() AND c.relname <> 'utterances_terms' AND NOT EXISTS (SELECT 1 FROM pg_constraint o \
     WHERE o.conindid = i.indexrelid AND o.contype IN ('p', 'u'))";

/// An index in one spelling: PostgreSQL adds casts and brackets and has another word for a list.
fn index(sql: &str) -> String {
    let mut text = sql.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    if let Some((before, columns)) = text.split_once(" using btree ")
        && let Some((name, table)) = before.split_once(" on ")
    {
        let table = table.rsplit('.').next().expect("a table");
        text = format!("{name} on {table} {columns}");
    }
    for (theirs, ours) in [
        ("\"", ""),
        ("::text[]", ""),
        ("::text", ""),
        ("<> all", "not in"),
        ("= any", "in"),
        ("array[", ""),
        ("]", ""),
        ("(", " "),
        (")", " "),
        (",", " "),
    ] {
        text = text.replace(theirs, ours);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn both_engines_have_the_same_tables_and_columns() {
    let (sqlite, postgres) = (TestDatabase::sqlite(), TestDatabase::postgres().await);
    let (sqlite, postgres) = (described(&sqlite).await.0, described(&postgres).await.0);
    assert!(sqlite.len() > 50, "{sqlite:?}");
    assert_eq!(sqlite, postgres);
}

#[tokio::test]
async fn both_engines_have_the_same_indexes() {
    let (sqlite, postgres) = (TestDatabase::sqlite(), TestDatabase::postgres().await);
    let (sqlite, postgres) = (described(&sqlite).await.1, described(&postgres).await.1);
    assert!(sqlite.len() > 20, "{sqlite:?}");
    assert_eq!(sqlite, postgres);
}

#[test]
fn both_engines_have_the_same_migrations() {
    let names = |engine: &str| -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
        let files = std::fs::read_dir(folder).expect("a folder of migrations");
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[tokio::test]
async fn text_is_compared_by_its_bytes_whatever_the_databases_language() {
    let db = TestDatabase::postgres().await;
    db.open().await.close().await;
    let mut direct = db.direct().await;
    let of_language = "SELECT c.table_name || '.' || c.column_name \
         FROM information_schema.columns c \
         WHERE c.table_schema = current_schema() AND c.table_name NOT LIKE '_sqlx%' \
         AND c.data_type = 'text' AND c.collation_name IS DISTINCT FROM 'C'";
    assert_eq!(direct.rows(of_language).await, Vec::<Vec<String>>::new());
}

#[tokio::test]
async fn a_database_is_opened_again_with_what_it_holds() {
    use crate::support::build::{NOW, line, payment};
    use crate::support::steps::{add, furnish};
    for db in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        store.close().await;
        drop(store);
        let store = db.open().await;
        assert!(store.payment(&"payment-1".into()).await.unwrap().is_some());
    }
}
