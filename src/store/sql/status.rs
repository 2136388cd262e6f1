//! Counts, ages, and what is due next.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::Conn;
use super::hooks::HookRow;
use super::rows::{SignsRow, time, word};
use crate::core::id::LineId;
use crate::core::line::LineState;
use crate::core::payment::PaymentState;
use crate::core::silence::Sureness;
use crate::core::time::Time;
use crate::store::error::Doing;
use crate::store::{EventState, HookState, NextDue, Result, Rules, StatusReport, StoredHookKind};

/// Hooks that need a person, listed at the most.
const HOOK_PROBLEMS: i64 = 100;

pub(super) async fn report(conn: &mut Conn, rules: &Rules, now: Time) -> Result<StatusReport> {
    let mut report = StatusReport::default();
    (report.sureness, report.oldest_silence) = sureness(conn, rules, now).await?;
    for (state, n) in
        counts(conn, "SELECT state, COUNT(*) FROM payments GROUP BY state ORDER BY state").await?
    {
        report.payments.push((word("payments", "state", &state, PaymentState::parse)?, n));
    }
    let lines = "SELECT state, COUNT(*) FROM lines WHERE present = 1 GROUP BY state ORDER BY state";
    for (state, n) in counts(conn, lines).await? {
        report.lines.push((word("lines", "state", &state, LineState::parse)?, n));
    }
    // Events that are done are counted by the metrics: a million rows are not counted here.
    let events = "SELECT 'new', COUNT(*) FROM events WHERE state = 'new' UNION ALL \
         SELECT 'quarantined', COUNT(*) FROM events WHERE state = 'quarantined'";
    for (state, n) in counts(conn, events).await? {
        report.events.push((word("events", "state", &state, EventState::parse)?, n));
    }
    report.notices =
        counts(conn, "SELECT state, COUNT(*) FROM notices GROUP BY state ORDER BY state").await?;
    report.oldest_waiting =
        one_time(conn, "SELECT MIN(received_at) FROM payments WHERE state = 'queued'").await?;
    report.last_event = one_time(
        conn,
        "SELECT MAX(received_at) FROM events WHERE id = (SELECT MAX(id) FROM events)",
    )
    .await?;
    let hooks: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT kind, state, COUNT(*) FROM hooks GROUP BY kind, state ORDER BY kind, state",
    )
    .fetch_all(&mut *conn)
    .await
    .doing("count the hooks")?;
    for (kind, state, n) in hooks {
        let kind = word("hooks", "kind", &kind, StoredHookKind::parse)?;
        report.hooks.push((kind, word("hooks", "state", &state, HookState::parse)?, n));
    }
    let problems: Vec<HookRow> = sqlx::query_as(
        "SELECT line_id, kind, state, url, fingerprint, detail, checked_at FROM hooks \
         WHERE state NOT IN ('set', 'wanted') ORDER BY line_id, kind LIMIT $1",
    )
    .bind(HOOK_PROBLEMS)
    .fetch_all(&mut *conn)
    .await
    .doing("list the hooks that need a person")?;
    for row in problems {
        report.hook_problems.push(row.into_record()?);
    }
    Ok(report)
}

#[derive(FromRow)]
struct LineSignsRow {
    line_id: String,
    #[sqlx(flatten)]
    signs: SignsRow,
}

/// Lines by how sure their state is, and the silent one that was sure longest ago.
async fn sureness(conn: &mut Conn, rules: &Rules, now: Time) -> Result<SurenessCounts> {
    let rows: Vec<LineSignsRow> = sqlx::query_as(
        "SELECT line_id, hooked_at, known_at, heard_at, quiet_since, quiet_looks, look_at \
         FROM lines \
         WHERE present = 1 ORDER BY line_id",
    )
    .fetch_all(conn)
    .await
    .doing("see how sure the states of the lines are")?;
    let mut counts: BTreeMap<Sureness, i64> = BTreeMap::new();
    let mut oldest: Option<(LineId, Time)> = None;
    for row in rows {
        let (sureness, sure_at) = row.signs.signs().sureness(now, rules.look_after_silence);
        *counts.entry(sureness).or_default() += 1;
        if let (Sureness::Silent, Some(sure_at)) = (sureness, sure_at)
            && oldest.as_ref().is_none_or(|(_, before)| sure_at < *before)
        {
            oldest = Some((row.line_id.into(), sure_at));
        }
    }
    Ok((counts.into_iter().collect(), oldest))
}

type SurenessCounts = (Vec<(Sureness, i64)>, Option<(LineId, Time)>);

async fn counts(conn: &mut Conn, statement: &'static str) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(statement).fetch_all(conn).await.doing("count rows")
}

async fn one_time(conn: &mut Conn, statement: &'static str) -> Result<Option<Time>> {
    let found: Option<i64> =
        sqlx::query_scalar(statement).fetch_one(conn).await.doing("find a time")?;
    Ok(time(found))
}

pub(super) async fn next_due(conn: &mut Conn) -> Result<NextDue> {
    Ok(NextDue {
        dispatcher: one_time(conn, "SELECT MIN(due_at) FROM managers WHERE due_at IS NOT NULL")
            .await?,
        sender: {
            let mut due = super::Statement::new(
                "SELECT MIN(due_at) FROM dispatches WHERE phase = 'reserved'",
            );
            due.push(super::claims::SENDABLE);
            let found: (Option<i64>,) =
                due.build_query_as().fetch_one(&mut *conn).await.doing("find a time")?;
            time(found.0)
        },
        courier: one_time(
            conn,
            "SELECT MIN(due_at) FROM outgoing WHERE state = 'queued' AND turn = 1",
        )
        .await?,
        notifier: one_time(conn, "SELECT MIN(due_at) FROM notices WHERE state = 'due'").await?,
        claims: one_time(
            conn,
            "SELECT MIN(until) FROM (SELECT MIN(lease_until) AS until FROM dispatches \
             WHERE phase = 'sending' UNION ALL SELECT MIN(lease_until) AS until FROM notices \
             WHERE state = 'sending' UNION ALL SELECT MIN(lease_until) AS until FROM outgoing \
             WHERE state = 'sending' UNION ALL SELECT MIN(due_at) AS until FROM outgoing \
             WHERE state = 'in_doubt' AND kind IN ('text', 'file', 'image')) AS all_of_them",
        )
        .await?,
        reconciler: one_time(
            conn,
            "SELECT MIN(due) FROM (SELECT MIN(look_at) AS due FROM lines WHERE look_at IS NOT NULL \
             UNION ALL SELECT MIN(due_at) AS due FROM dispatches \
             WHERE (phase = 'in_doubt' OR (phase = 'sent' AND treatment_id IS NULL)) \
             UNION ALL SELECT MIN(due_at) AS due FROM outgoing WHERE state = 'in_doubt' \
             AND kind IN ('close', 'transfer')) \
             AS all_of_them",
        )
        .await?,
    })
}

/// Writes a row that nobody reads: proves that events could be stored.
pub(super) async fn touch(conn: &mut Conn) -> Result<()> {
    sqlx::query(
        "INSERT INTO leases (name, owner, until) VALUES ('ping', '', 0) \
         ON CONFLICT (name) DO UPDATE SET until = leases.until + 1",
    )
    .execute(conn)
    .await
    .doing("write to the database")
    .map(|_| ())
}
