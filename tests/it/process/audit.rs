//! The account at the end: nothing lost, nothing twice, nothing left over.

use std::collections::{BTreeMap, BTreeSet};

use freeline::core::number::Number;
use freeline::sandbox::SandboxHandle;

use super::town::Paid;
use crate::support::TestDatabase;
use crate::support::database::Direct;
use crate::support::relay::Seen;

/// What must not be in the tables of a service at rest, each with the promise that it breaks.
const BREACHES: [(&str, &str); 7] = [
    (
        "an event was not taken into account",
        "SELECT CAST(id AS TEXT) FROM events WHERE state NOT IN ('applied', 'ignored')",
    ),
    (
        "a reservation is left over",
        "SELECT payment_id FROM dispatches \
         WHERE phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open')",
    ),
    ("a line is set aside for nothing", "SELECT line_id FROM lines WHERE state = 'reserved'"),
    ("a payment is not closed", "SELECT key FROM payments WHERE state <> 'closed'"),
    (
        "a payment is closed and its message is not known, or is known twice",
        "SELECT p.key FROM payments p WHERE 1 <> (SELECT COUNT(*) FROM dispatches d \
         WHERE d.payment_id = p.id AND d.phase = 'closed')",
    ),
    (
        "a line's state does not fit its treatments",
        "SELECT l.line_id FROM lines l WHERE (l.state = 'busy') <> (l.capacity <= \
         (SELECT COUNT(*) FROM treatments t WHERE t.line_id = l.line_id AND t.ended_at IS NULL))",
    ),
    (
        "more messages were written down than calls",
        "SELECT p.key FROM payments p WHERE p.attempts < (SELECT COUNT(*) FROM dispatches d \
         WHERE d.payment_id = p.id AND d.echo IS NOT NULL)",
    ),
];

/// How often the number of each payment stands in a message on the platform.
pub(super) fn messages(sandbox: &SandboxHandle) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for message in sandbox.messages() {
        for number in Number::find_all(&message.text) {
            *sent.entry(number.to_string()).or_default() += 1;
        }
    }
    sent
}

/// Every payment that was acknowledged is on the platform once, and nothing else is.
pub(super) fn messages_fit(paid: &BTreeMap<String, Paid>, sandbox: &SandboxHandle) {
    let sent = messages(sandbox);
    let twice: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
    let numbers: BTreeSet<&String> = paid.values().map(|one| &one.number).collect();
    assert_eq!(numbers.len(), paid.len(), "two payments have one number");
    assert_eq!(numbers, sent.keys().collect(), "every number, and no other");
}

/// The tables of a service that was stopped hold all that it acknowledged, and no breach.
pub(super) async fn tables_fit(
    database: &TestDatabase,
    paid: &BTreeMap<String, Paid>,
    seen: &Seen,
) -> Doubts {
    let mut tables = database.direct().await;
    events_fit(&mut tables, database.takes_replicas(), seen).await;
    payments_fit(&mut tables, paid).await;
    for (what, statement) in BREACHES {
        let rows = tables.rows(statement).await;
        assert!(rows.is_empty(), "{what}: {rows:?}");
    }
    Doubts::count(&mut tables).await
}

async fn events_fit(tables: &mut Direct, is_postgres: bool, seen: &Seen) {
    assert_eq!(seen.wrong, [], "an event is answered with 200 or 503");
    let body = if is_postgres { "convert_from(body, 'UTF8')" } else { "CAST(body AS TEXT)" };
    let statement = format!(
        "SELECT message_id, CAST(message_type AS TEXT), event_source, line_id, {body} FROM events"
    );
    let mut kept = BTreeMap::new();
    for row in tables.rows(&statement).await {
        let [message, code, source, line, body] = row.try_into().expect("five columns");
        let before = kept.insert([message, code, source, line], body);
        assert_eq!(before, None, "one event is kept twice");
    }
    let lost: Vec<_> =
        seen.acknowledged.iter().filter(|(key, body)| kept.get(*key) != Some(*body)).collect();
    assert!(lost.is_empty(), "answered with 200, yet not on disk as it came: {lost:?}");
}

async fn payments_fit(tables: &mut Direct, paid: &BTreeMap<String, Paid>) {
    let statement = "SELECT key, number, id, CAST(amount AS TEXT), order_ref FROM payments";
    let mut kept = BTreeMap::new();
    for row in tables.rows(statement).await {
        let [key, number, id, kopecks, order] = row.try_into().expect("five columns");
        let (rubles, rest) = kopecks.split_at(kopecks.len() - 2);
        kept.insert(key, Paid { number, id, amount: format!("{rubles}.{rest}"), order });
    }
    assert_eq!(&kept, paid, "the payments on disk are those that were acknowledged");
}

/// What the timelines tell of doubts.
#[derive(Debug)]
pub(super) struct Doubts {
    /// Payments that were ever in doubt.
    pub(super) payments: usize,
    /// How they came about or ended, each with its count.
    pub(super) reasons: BTreeMap<String, String>,
}

impl Doubts {
    async fn count(tables: &mut Direct) -> Self {
        let payments = "SELECT DISTINCT payment_id FROM timeline WHERE state = 'in_doubt'";
        let payments = tables.rows(payments).await.len();
        let reasons = "SELECT reason, CAST(COUNT(*) AS TEXT) FROM timeline GROUP BY reason";
        let reasons = tables.rows(reasons).await.into_iter();
        let reasons = reasons.map(|row| (row[0].clone(), row[1].clone())).collect();
        Self { payments, reasons }
    }
}
