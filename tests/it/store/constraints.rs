//! What must always be true is refused by the database itself, whatever the code does.

use crate::support::database::{Direct, TestDatabase};
use crate::support::on_both_engines;

const ACTIVE: [&str; 5] = ["reserved", "sending", "in_doubt", "sent", "open"];

/// Three payments, and nothing else.
async fn prepare(db: &TestDatabase) -> Direct {
    let store = db.open().await;
    let mut direct = db.direct().await;
    for n in 1..=3 {
        let insert = format!(
            "INSERT INTO payments (id, number, key, content, amount, currency, paid_at, priority, \
             state, reason, episode, received_at, updated_at) VALUES ('p{n}', 'n{n}', 'k{n}', '', \
             1, 'RUB', 0, 0, 'queued', 'queued', 1, 0, 0)"
        );
        direct.run(&insert).await.unwrap();
    }
    store.close().await;
    direct
}

fn dispatch(payment: &str, (line, user): (&str, &str), slot: &str, phase: &str) -> String {
    format!(
        "INSERT INTO dispatches (payment_id, line_id, user_id, slot, capacity, phase, due_at, \
         created_at, rehook) VALUES ('{payment}', '{line}', '{user}', {slot}, 2, '{phase}', 0, 0, \
         'no')"
    )
}

/// The statement breaks a rule of the database: it is not merely wrong.
async fn refused(direct: &mut Direct, sql: &str) {
    let error = direct.run(sql).await.expect_err(sql);
    let database = error.as_database_error().expect("an answer of the database");
    let kind = database.kind();
    let is_rule = matches!(
        kind,
        sqlx::error::ErrorKind::UniqueViolation
            | sqlx::error::ErrorKind::CheckViolation
            | sqlx::error::ErrorKind::NotNullViolation
            | sqlx::error::ErrorKind::ForeignKeyViolation
    );
    assert!(is_rule, "{sql}: {error}");
}

on_both_engines! {
    async fn a_payment_has_no_second_dispatch_while_one_may_have_been_taken(db) {
        let mut direct = prepare(&db).await;
        for first in ["reserved", "sending", "in_doubt", "sent", "open", "closed"] {
            direct.run(&dispatch("p1", ("a", "u"), "0", first)).await.unwrap();
            for second in ["reserved", "sending", "closed"] {
                refused(&mut direct, &dispatch("p1", ("b", "v"), "NULL", second)).await;
            }
            direct.run("DELETE FROM dispatches").await.unwrap();
        }
        for over in ["refused", "undone", "reserved"] {
            direct.run(&dispatch("p1", ("a", "u"), "0", over)).await.unwrap();
        }
    }

    async fn a_line_has_no_place_over_its_capacity(db) {
        let mut direct = prepare(&db).await;
        refused(&mut direct, &dispatch("p1", ("a", "u"), "2", "reserved")).await;
        refused(&mut direct, &dispatch("p1", ("a", "u"), "-1", "reserved")).await;
        direct.run(&dispatch("p1", ("a", "u"), "1", "reserved")).await.unwrap();
    }

    async fn a_place_on_a_line_is_taken_once(db) {
        let mut direct = prepare(&db).await;
        for phase in ACTIVE {
            direct.run(&dispatch("p1", ("a", "u"), "0", phase)).await.unwrap();
            refused(&mut direct, &dispatch("p2", ("a", "v"), "0", "reserved")).await;
            direct.run(&dispatch("p2", ("a", "v"), "1", "reserved")).await.unwrap();
            direct.run(&dispatch("p3", ("b", "v"), "0", "reserved")).await.unwrap();
            direct.run("DELETE FROM dispatches").await.unwrap();
        }
    }

    async fn a_user_has_one_dispatch_on_a_line(db) {
        let mut direct = prepare(&db).await;
        for phase in ACTIVE {
            direct.run(&dispatch("p1", ("a", "u"), "0", phase)).await.unwrap();
            refused(&mut direct, &dispatch("p2", ("a", "u"), "1", "reserved")).await;
            direct.run(&dispatch("p2", ("b", "u"), "1", "reserved")).await.unwrap();
            direct.run("DELETE FROM dispatches").await.unwrap();
        }
    }

    async fn a_payment_is_told_of_once_in_an_episode(db) {
        let mut direct = prepare(&db).await;
        let notice = |episode| {
            format!(
                "INSERT INTO notices (payment_id, episode, manager_id, recipient, facts, state, \
                 due_at, created_at) VALUES ('p1', {episode}, 'm', 'r', '[]', 'due', 0, 0)"
            )
        };
        direct.run(&notice(1)).await.unwrap();
        refused(&mut direct, &notice(1)).await;
        direct.run(&notice(2)).await.unwrap();
    }

    async fn a_user_has_one_open_treatment_on_a_line(db) {
        let mut direct = prepare(&db).await;
        let treatment = |id: &str, ended: &str| {
            format!(
                "INSERT INTO treatments (treatment_id, line_id, user_id, opened_at, opener, \
                 last_event_at, heard_at, ended_at, end_kind) \
                 VALUES ('{id}', 'a', 'u', 0, 'user', 0, 0, {ended})"
            )
        };
        direct.run(&treatment("t1", "NULL, NULL")).await.unwrap();
        refused(&mut direct, &treatment("t2", "NULL, NULL")).await;
        direct.run(&treatment("t3", "1, 'closed'")).await.unwrap();
        refused(&mut direct, &treatment("t4", "1, NULL")).await;
        refused(&mut direct, &treatment("t5", "NULL, 'closed'")).await;
    }

    async fn a_key_and_a_number_are_used_once(db) {
        let mut direct = prepare(&db).await;
        refused(&mut direct, "UPDATE payments SET key = 'k1' WHERE id = 'p2'").await;
        refused(&mut direct, "UPDATE payments SET number = 'n1' WHERE id = 'p2'").await;
    }

    async fn an_event_that_has_an_identity_is_kept_once(db) {
        let mut direct = prepare(&db).await;
        let event = "INSERT INTO events (received_at, message_id, message_type, event_source, \
             line_id, body, state) SELECT 0, 'm', 1, 'line', 'a', body, 'new' FROM \
             (SELECT CAST('{}' AS BLOB) AS body) AS one";
        let event = match &direct {
            Direct::Sqlite(_) => event.to_owned(),
            Direct::Postgres(_) => event.replace("CAST('{}' AS BLOB)", "CAST('{}' AS BYTEA)"),
        };
        direct.run(&event).await.unwrap();
        refused(&mut direct, &event).await;
    }

    async fn words_that_no_version_writes_are_refused(db) {
        let mut direct = prepare(&db).await;
        for wrong in [
            "UPDATE payments SET state = 'lost' WHERE id = 'p1'",
            "UPDATE payments SET amount = 0 WHERE id = 'p1'",
            "UPDATE payments SET priority = 10 WHERE id = 'p1'",
            "UPDATE payments SET manager_id = 'nobody' WHERE id = 'p1'",
            "UPDATE payments SET content = NULL WHERE id = 'p1'",
        ] {
            refused(&mut direct, wrong).await;
        }
        refused(&mut direct, &dispatch("p1", ("a", "u"), "0", "lost")).await;
        refused(&mut direct, &dispatch("p9", ("a", "u"), "0", "reserved")).await;
    }
}
