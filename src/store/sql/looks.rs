//! Looks at the platform: which lines want one, and what it showed.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{DISPATCH, DispatchRow, one_row};
use super::silence::{self, Sign};
use super::view::{self, About};
use super::{Conn, Statement, events, lines, outgoing, subscriptions};
use crate::core::dispatch::{Dispatch, proof_after_gap};
use crate::core::id::LineId;
use crate::core::occupancy::{LOOK_ANEW_AFTER, Listed, Snapshot, View, apply_snapshot};
use crate::core::outgoing::settle_by_treatments;
use crate::core::retry::Backoff;
use crate::core::time::{Span, Time};
use crate::store::bounds::EVENTS_PER_BATCH;
use crate::store::error::Doing;
use crate::store::{Result, Rules};

/// What the index of dispatches that wait for a look covers.
const WAITS_FOR_LOOK: &str = "(phase = 'in_doubt' OR (phase = 'sent' AND treatment_id IS NULL))";

pub(super) async fn due(conn: &mut Conn, now: Time, limit: i64) -> Result<Vec<LineId>> {
    let mut wanted =
        Statement::new("SELECT line_id FROM lines WHERE look_at IS NOT NULL AND look_at <= ");
    wanted.push_bind(now.micros());
    wanted.push(" UNION SELECT line_id FROM dispatches WHERE ").push(WAITS_FOR_LOOK);
    wanted.push(" AND due_at <= ").push_bind(now.micros());
    wanted.push(" UNION SELECT line_id FROM outgoing WHERE state = 'in_doubt' ");
    wanted.push("AND kind IN ('close', 'transfer') AND due_at <= ").push_bind(now.micros());
    wanted.push(" ORDER BY 1 LIMIT ").push_bind(limit);
    let rows: Vec<(String,)> =
        wanted.build_query_as().fetch_all(conn).await.doing("list lines to look at")?;
    Ok(rows.into_iter().map(|(line,)| line.into()).collect())
}

pub(super) async fn record(
    conn: &mut Conn,
    rules: &Rules,
    line: &LineId,
    listed: &[Listed],
    requested_at: Time,
    now: Time,
) -> Result<()> {
    // A look must not prove absent what waits among the events that were not taken in yet.
    while events::apply(conn, rules, now, EVENTS_PER_BATCH).await? > 0 {}
    let pairs = listed.iter().map(|one| (line.clone(), one.user.clone()));
    let pending = pending(conn, line).await?;
    // What was heard after the request is newer than its answer, and a doubt also looks at what
    // its user opened and closed on the line since the call.
    let since = pending.iter().filter_map(|one| one.claimed_at).fold(requested_at, Time::min);
    let mut about = About {
        treatments: listed.iter().map(|one| one.treatment.clone()).collect(),
        pairs: pairs.collect(),
        lines: BTreeMap::from([(line.clone(), since)]),
        ..About::default()
    };
    about.pairs.extend(pending.into_iter().map(|one| (one.line, one.user)));
    let before = view::load(conn, &about).await?;
    let mut after = before.clone();
    let is_whole = apply_snapshot(&mut after, &Snapshot { line, listed, requested_at }, now);
    view::save(conn, &before, &after, now).await?;
    settle_sent(conn, rules, line, &after, (requested_at, now)).await?;
    // What the manager has to be told of waits until the lines are known, paused ones too.
    let news: Option<String> = sqlx::query_scalar(
        "SELECT manager_id FROM lines WHERE line_id = $1 AND known_at IS NULL \
         AND hooked_at IS NOT NULL AND hooked_at <= $2",
    )
    .bind(line.as_str().to_owned())
    .bind(requested_at.micros())
    .fetch_optional(&mut *conn)
    .await
    .doing("see whether a line becomes known")?;
    if let Some(manager) = news {
        lines::make_due(conn, &manager, now).await?;
    }
    // A look that was asked for before the hooks were set says nothing about what came between.
    let known = sqlx::query(
        "UPDATE lines SET known_at = $1, look_failures = 0 \
         WHERE line_id = $2 AND hooked_at IS NOT NULL AND hooked_at <= $1",
    )
    .bind(requested_at.micros())
    .bind(line.as_str().to_owned())
    .execute(&mut *conn)
    .await
    .doing("write that a line was looked at")?;
    if one_row(&known) {
        silence::watch(conn, rules, &BTreeMap::from([(line.clone(), Sign::Looked)])).await?;
    }
    if !is_whole {
        look_again(conn, line, now.plus(LOOK_ANEW_AFTER)).await?;
    }
    lines::refresh(conn, &BTreeSet::from([line.clone()]), now).await
}

/// What the look tells of closes and transfers on the line.
async fn settle_sent(
    conn: &mut Conn,
    rules: &Rules,
    line: &LineId,
    after: &View,
    when: (Time, Time),
) -> Result<()> {
    let chats = after.treatments.all().filter(|treatment| treatment.line == *line);
    let chats = chats.map(|treatment| (line.clone(), treatment.user.clone())).collect();
    let known = outgoing::of_chats(conn, &chats, when.1).await?;
    let mut settled = known.clone();
    settle_by_treatments(&mut settled, &after.treatments, when.1);
    outgoing::save_all(conn, &known, &settled, when.1).await?;
    outgoing::record_look(conn, rules, line, when).await
}

/// Has a known line looked at once more, at the latest then.
async fn look_again(conn: &mut Conn, line: &LineId, at: Time) -> Result<()> {
    sqlx::query(
        "UPDATE lines SET look_at = $1 WHERE line_id = $2 AND known_at IS NOT NULL \
         AND (look_at IS NULL OR look_at > $1)",
    )
    .bind(at.micros())
    .bind(line.as_str().to_owned())
    .execute(conn)
    .await
    .doing("have a line looked at once more")
    .map(|_| ())
}

async fn pending(conn: &mut Conn, line: &LineId) -> Result<Vec<Dispatch>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(DISPATCH).push(" FROM dispatches d WHERE ");
    wanted.push("d.phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') AND d.line_id = ");
    wanted.push_bind(line.as_str().to_owned());
    let rows: Vec<DispatchRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load a line's dispatches")?;
    rows.into_iter().map(DispatchRow::into_dispatch).collect()
}

pub(super) async fn postpone(conn: &mut Conn, line: &LineId, now: Time) -> Result<()> {
    // A doubt may be on a line that the directory does not have: then it counts for itself.
    let mut counts = Statement::new(
        "SELECT MAX(failed) FROM (SELECT look_failures AS failed FROM lines WHERE line_id = ",
    );
    counts.push_bind(line.as_str().to_owned());
    counts.push(" UNION ALL SELECT failures AS failed FROM dispatches WHERE ").push(WAITS_FOR_LOOK);
    counts.push(" AND line_id = ").push_bind(line.as_str().to_owned()).push(") AS of_both");
    let failures: (Option<i64>,) =
        counts.build_query_as().fetch_one(&mut *conn).await.doing("count the looks that failed")?;
    let failures = failures.0.unwrap_or(0) + 1;
    let next = now.plus(Backoff::LOOK.after(failures));
    sqlx::query(
        "UPDATE lines SET look_failures = $1, \
         look_at = CASE WHEN look_at <= $4 THEN $2 ELSE look_at END WHERE line_id = $3",
    )
    .bind(failures)
    .bind(next.micros())
    .bind(line.as_str().to_owned())
    .bind(now.micros())
    .execute(&mut *conn)
    .await
    .doing("put a look off")?;
    let mut doubts = Statement::new("UPDATE dispatches SET failures = failures + 1, due_at = ");
    doubts.push_bind(next.micros());
    doubts.push(" WHERE ").push(WAITS_FOR_LOOK).push(" AND due_at <= ").push_bind(now.micros());
    doubts.push(" AND line_id = ").push_bind(line.as_str().to_owned());
    doubts.build().execute(&mut *conn).await.doing("put a doubt's look off")?;
    sqlx::query(
        "UPDATE outgoing SET due_at = $1 WHERE state = 'in_doubt' AND due_at <= $2 \
         AND kind IN ('close', 'transfer') AND line_id = $3",
    )
    .bind(next.micros())
    .bind(now.micros())
    .bind(line.as_str().to_owned())
    .execute(conn)
    .await
    .doing("put the look for a close or a transfer off")
    .map(|_| ())
}

pub(super) async fn forget(conn: &mut Conn, rules: &Rules, away: Span, now: Time) -> Result<()> {
    let proof_at = proof_after_gap(away, rules.policy.in_doubt_after, now);
    sqlx::query(
        "UPDATE dispatches SET proof_at = $1 \
         WHERE phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') \
         AND phase IN ('sending', 'in_doubt') \
         AND (proof_at IS NULL OR proof_at < $1)",
    )
    .bind(proof_at.micros())
    .execute(&mut *conn)
    .await
    .doing("give doubts time for the events that were missed")?;
    // The platform repeats what it could not deliver: echoes get the time that a fresh doubt has.
    let grace = now.plus(rules.policy.in_doubt_after);
    sqlx::query("UPDATE dispatches SET due_at = $1 WHERE phase = 'in_doubt' AND due_at < $1")
        .bind(grace.micros())
        .execute(&mut *conn)
        .await
        .doing("give doubts time for their echoes")?;
    outgoing::forget(conn, rules, away, now).await?;
    subscriptions::forget(conn).await?;
    // As if the hooks were set only now: a look asked for before cannot tell of what was missed.
    sqlx::query(
        "UPDATE lines SET known_at = NULL, look_failures = 0, quiet_since = NULL, quiet_looks = 0, \
         look_at = CASE WHEN hooked_at IS NULL THEN NULL ELSE $1 END, \
         hooked_at = CASE WHEN hooked_at IS NULL THEN NULL ELSE $1 END WHERE present = 1",
    )
    .bind(now.micros())
    .execute(&mut *conn)
    .await
    .doing("forget what is open on the lines")?;
    let all: Vec<String> = sqlx::query_scalar("SELECT line_id FROM lines WHERE present = 1")
        .fetch_all(&mut *conn)
        .await
        .doing("list the lines of the directory")?;
    lines::refresh(conn, &all.into_iter().map(Into::into).collect(), now).await
}
