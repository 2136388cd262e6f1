//! The cost of a statement does not grow with what the tables hold.

use std::collections::BTreeSet;

use freeline::core::search::Query;
use freeline::store::Search;

use crate::support::build::at;
use crate::support::database::TestDatabase;
use crate::support::dump::dump;
use crate::support::history::live;
use crate::support::statements::statements_of;

/// Tables that grow for ever, by the names that statements give them.
const GROWING: [&str; 18] = [
    "payments",
    "p",
    "dispatches",
    "d",
    "treatments",
    "t",
    "u",
    "events",
    "timeline",
    "notices",
    "n",
    "refusals",
    "changes",
    "c",
    "pushes",
    "e",
    "utterances",
    "outgoing",
];

/// The statements of the status count everything; a person looks at it now and then.
const COUNTS: &str = "GROUP BY state";

/// Whether a step reads a growing table from its beginning to its end. An index of some rows only,
/// those that wait, may be read whole.
fn reads_all(step: &str, some_rows: &BTreeSet<String>) -> bool {
    let mut words = step.split_whitespace();
    let (Some("SCAN"), Some(table)) = (words.next(), words.next()) else { return false };
    let index = step.split("INDEX ").nth(1).and_then(|rest| rest.split_whitespace().next());
    GROWING.contains(&table) && !index.is_some_and(|index| some_rows.contains(index))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_long_life_reads_a_growing_table_whole() {
    let db = TestDatabase::sqlite();
    let store = db.open().await;
    let (_, statements) = statements_of(live(&*store, 5, 600)).await;
    assert!(statements.len() > 100, "only {} statements were heard", statements.len());
    let mut direct = db.direct().await;
    let partial = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'";
    let some_rows: BTreeSet<String> = direct.rows(partial).await.concat().into_iter().collect();
    let mut found = Vec::new();
    for statement in &statements {
        let first = statement.split_whitespace().next().unwrap_or_default();
        if !["SELECT", "UPDATE", "DELETE", "INSERT", "WITH"].contains(&first) {
            continue;
        }
        let plan = direct.plan(statement).await;
        if plan.iter().any(|step| reads_all(step, &some_rows)) {
            found.push(format!("{statement}\n    {}", plan.join("\n    ")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_a_queue_is_found_by_its_index_without_sorting() {
    let db = TestDatabase::sqlite();
    let store = db.open().await;
    let (_, statements) = statements_of(live(&*store, 6, 600)).await;
    let mut direct = db.direct().await;
    for (what, index) in [
        ("SELECT id, user_id FROM payments", "payments_waiting"),
        ("SELECT id, episode FROM payments", "payments_unnoticed"),
        ("SELECT id FROM dispatches", "dispatches_reserved"),
        ("SELECT id FROM notices", "notices_due"),
        ("SELECT id FROM managers", "managers_due"),
        ("SELECT id, received_at, body FROM events", "events_new"),
    ] {
        let of_kind = |statement: &&String| one_line(statement).starts_with(what);
        let mut seen = 0;
        for statement in statements.iter().filter(of_kind) {
            seen += 1;
            let plan = direct.plan(statement).await.join("\n");
            assert!(plan.contains(index), "{statement}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{statement}\n{plan}");
        }
        assert!(seen > 0, "nobody ran {what}");
    }
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_on_a_line_is_read_without_its_history() {
    let db = TestDatabase::sqlite();
    let store = db.open().await;
    let (_, statements) = statements_of(live(&*store, 8, 200)).await;
    let mut direct = db.direct().await;
    let mut seen = 0;
    let of_line = "t.line_id = l.line_id AND t.ended_at IS NULL";
    for statement in statements.iter().filter(|statement| one_line(statement).contains(of_line)) {
        seen += 1;
        let plan = direct.plan(statement).await.join("\n");
        assert!(!plan.contains("treatments_pair"), "{statement}\n{plan}");
    }
    assert!(seen >= 2, "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_want_a_look_are_found_by_their_index_however_many_there_are() {
    let db = TestDatabase::sqlite();
    let store = db.open().await;
    let asked = async {
        store.lines_to_look_at(at(0), 9).await.unwrap();
        store.next_due().await.unwrap();
    };
    let ((), statements) = statements_of(asked).await;
    let mut direct = db.direct().await;
    let about_looks = statements.iter().filter(|statement| statement.contains("look_at"));
    let mut seen = 0;
    for statement in about_looks {
        seen += 1;
        let plan = direct.plan(statement).await.join("\n");
        assert!(plan.contains("lines_look"), "{statement}\n{plan}");
        assert!(!plan.lines().any(|step| step.trim() == "SCAN lines"), "{statement}\n{plan}");
    }
    assert_eq!(seen, 2, "{statements:?}");
}

fn one_line(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_a_page_of_anything_sorts_nothing_but_the_page() {
    let db = TestDatabase::sqlite();
    let store = db.open().await;
    live(&*store, 7, 50).await;
    let (_, statements) = statements_of(dump(&*store, at(9_999))).await;
    let mut direct = db.direct().await;
    let partial = "SELECT name FROM sqlite_master WHERE type = 'index'";
    let any_index: BTreeSet<String> = direct.rows(partial).await.concat().into_iter().collect();
    for statement in statements.iter().filter(|text| !one_line(text).contains(COUNTS)) {
        let plan = direct.plan(statement).await;
        let whole = plan.iter().any(|step| reads_all(step, &any_index) && step.contains("USING"));
        assert!(!whole, "{statement}\n{}", plan.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_found_by_their_index_in_the_order_they_came_without_sorting() {
    let db = TestDatabase::sqlite();
    let store = db.open().await;
    live(&*store, 10, 50).await;
    let search = Search {
        query: Query::read("hello \"it is\" -not"),
        user: Some("u1".into()),
        before_event: Some(1_000),
        limit: 10,
        ..Search::default()
    };
    let (_, statements) = statements_of(store.search_utterances(&search)).await;
    let mut direct = db.direct().await;
    let mut seen = 0;
    for statement in statements.iter().filter(|text| one_line(text).contains("MATCH")) {
        seen += 1;
        let plan = direct.plan(statement).await;
        let found = |step: &str| plan.iter().any(|one| one.contains(step));
        assert!(found("SCAN w VIRTUAL TABLE INDEX"), "{plan:#?}");
        assert!(found("SEARCH u USING INTEGER PRIMARY KEY"), "{plan:#?}");
        let inner = plan.iter().take_while(|step| !step.starts_with("SCAN found"));
        assert!(!inner.clone().any(|step| step.contains("TEMP B-TREE")), "{plan:#?}");
    }
    assert_eq!(seen, 1, "{statements:?}");
}

#[tokio::test]
async fn postgresql_finds_words_by_their_index() {
    let db = TestDatabase::postgres().await;
    let store = db.open().await;
    live(&*store, 10, 50).await;
    let mut direct = db.direct().await;
    // So few rows are read faster as a whole.
    direct.run("SET enable_seqscan = off; SET enable_indexscan = off").await.unwrap();
    let wanted = "EXPLAIN SELECT event_id FROM utterances u \
         WHERE u.terms @@ phraseto_tsquery('pg_catalog.russian', 'hello') \
         ORDER BY u.event_id DESC LIMIT 10";
    let plan = direct.rows(wanted).await.concat().join("\n");
    assert!(plan.contains("utterances_terms"), "{plan}");
}
