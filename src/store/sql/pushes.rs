//! Changes on their way to a receiver: in the order of their numbers for each object.
//!
//! `pushing` says up to which change they were taken in, `pushes` holds those that are neither
//! delivered nor still to be taken in. What is delivered is deleted.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::changes::{CHANGE, ChangeRow};
use super::rows::time;
use super::{Conn, Statement};
use crate::core::retry::{Backoff, PUSH_TRIES_MAX};
use crate::core::time::{Span, Time};
use crate::store::bounds::PUSHES_AT_ONCE;
use crate::store::error::Doing;
use crate::store::{
    Change, ClaimedPush, ClaimedPushes, ParkedPush, PushOutcome, PushReport, Result,
};

/// Changes taken in within one transaction.
const TAKEN_IN_PER_BATCH: i64 = 64;
/// Changes that may be taken in and not delivered; the others wait where they are.
const UNDER_WAY_MAX: i64 = 1_000;
/// Parked changes sent again within one transaction.
const REPLAYED_PER_BATCH: i64 = 1_000;

/// Of each object the oldest that is not parked.
const FIRST_OF_ITS_OBJECT: &str = " AND NOT EXISTS (SELECT 1 FROM pushes e \
     WHERE e.state <> 'parked' AND e.object = u.object AND e.seq < u.seq)";

/// Begins with the next change, unless it was begun before.
pub(super) async fn begin(conn: &mut Conn) -> Result<()> {
    let newest = super::changes::newest(conn).await?;
    sqlx::query("INSERT INTO pushing (id, seq) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
        .bind(newest)
        .execute(conn)
        .await
        .doing("begin to send changes")
        .map(|_| ())
}

#[derive(FromRow)]
struct PushingRow {
    seq: i64,
    stopped_at: Option<i64>,
}

async fn pushing(conn: &mut Conn) -> Result<Option<PushingRow>> {
    sqlx::query_as("SELECT seq, stopped_at FROM pushing WHERE id = 1")
        .fetch_optional(conn)
        .await
        .doing("see how far the sending of changes has come")
}

pub(super) async fn claim(
    conn: &mut Conn,
    now: Time,
    lease_until: Time,
    limit: i64,
) -> Result<ClaimedPushes> {
    let Some(PushingRow { seq, stopped_at: None }) = pushing(conn).await? else {
        return Ok(ClaimedPushes::default());
    };
    let lost = take_in(conn, seq, now).await?;
    park_vanished(conn, now).await?;
    let under_way: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM pushes WHERE state = 'sending' AND state <> 'parked' AND due_at > $1",
    )
    .bind(now.micros())
    .fetch_one(&mut *conn)
    .await
    .doing("count the changes that are being sent")?;
    let mut due = Statement::new(
        "SELECT u.seq, u.fence, u.tries FROM pushes u WHERE u.state <> 'parked' AND u.due_at <= ",
    );
    due.push_bind(now.micros()).push(FIRST_OF_ITS_OBJECT);
    due.push(" ORDER BY u.due_at, u.seq LIMIT ");
    due.push_bind(limit.min(PUSHES_AT_ONCE - under_way).max(0));
    let due: Vec<(i64, i64, i64)> =
        due.build_query_as().fetch_all(&mut *conn).await.doing("find changes to send")?;
    if due.is_empty() {
        return Ok(ClaimedPushes { pushes: Vec::new(), lost });
    }
    let mut update = Statement::new("UPDATE pushes SET state = 'sending', fence = fence + 1, ");
    update.push("tries = tries + 1, tried_at = ").push_bind(now.micros());
    update.push(", due_at = ").push_bind(lease_until.micros()).push(" WHERE seq IN (");
    let mut numbers = update.separated(", ");
    for (seq, ..) in &due {
        numbers.push_bind(*seq);
    }
    update.push(")");
    update.build().execute(&mut *conn).await.doing("claim changes to send")?;
    let mut changes = changes_of(conn, due.iter().map(|(seq, ..)| *seq)).await?;
    let claimed = due.into_iter().filter_map(|(seq, fence, tries)| {
        let change = changes.remove(&seq)?;
        Some(ClaimedPush { change, fence: fence + 1, tries: tries + 1 })
    });
    Ok(ClaimedPushes { pushes: claimed.collect(), lost })
}

/// Takes changes behind `seq` in; answers how many were forgotten before.
async fn take_in(conn: &mut Conn, seq: i64, now: Time) -> Result<i64> {
    let under_way: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pushes WHERE state <> 'parked'")
        .fetch_one(&mut *conn)
        .await
        .doing("count the changes that are under way")?;
    let room = TAKEN_IN_PER_BATCH.min(UNDER_WAY_MAX - under_way);
    if room <= 0 {
        return Ok(0);
    }
    let taken: Vec<(i64, String)> = sqlx::query_as(
        "SELECT seq, kind || ' ' || id FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(seq)
    .bind(room)
    .fetch_all(&mut *conn)
    .await
    .doing("find changes that are to be sent")?;
    let (Some((first, _)), Some((last, _))) = (taken.first(), taken.last()) else { return Ok(0) };
    let mut insert = Statement::new("INSERT INTO pushes (seq, object, state, due_at) ");
    insert.push_values(&taken, |mut row, (seq, object)| {
        row.push_bind(*seq).push_bind(object.clone()).push_bind("waiting").push_bind(now.micros());
    });
    insert.build().execute(&mut *conn).await.doing("take in changes that are to be sent")?;
    sqlx::query("UPDATE pushing SET seq = $1 WHERE id = 1")
        .bind(*last)
        .execute(conn)
        .await
        .doing("write how far the sending of changes has come")?;
    Ok(first - seq - 1)
}

/// Whoever was sending it has vanished, and it was the last try.
async fn park_vanished(conn: &mut Conn, now: Time) -> Result<()> {
    sqlx::query(
        "UPDATE pushes SET state = 'parked', detail = 'the sender vanished before the answer came' \
         WHERE state = 'sending' AND state <> 'parked' AND due_at <= $1 AND tries >= $2",
    )
    .bind(now.micros())
    .bind(PUSH_TRIES_MAX)
    .execute(conn)
    .await
    .doing("park changes whose sender vanished")
    .map(|_| ())
}

async fn changes_of(
    conn: &mut Conn,
    seqs: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, Change>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(CHANGE).push(" WHERE c.seq IN (");
    let mut list = wanted.separated(", ");
    for seq in seqs {
        list.push_bind(seq);
    }
    wanted.push(")");
    let rows: Vec<ChangeRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load changes to send")?;
    rows.into_iter().map(|row| row.into_change().map(|change| (change.seq, change))).collect()
}

pub(super) async fn record(
    conn: &mut Conn,
    seq: i64,
    fence: i64,
    outcome: &PushOutcome,
    now: Time,
) -> Result<bool> {
    let tries: Option<i64> = sqlx::query_scalar(
        "SELECT tries FROM pushes WHERE seq = $1 AND fence = $2 AND state = 'sending'",
    )
    .bind(seq)
    .bind(fence)
    .fetch_optional(&mut *conn)
    .await
    .doing("load a change that was sent")?;
    let Some(tries) = tries else { return Ok(false) };
    match outcome {
        PushOutcome::Delivered => delivered(conn, seq, now).await?,
        PushOutcome::Failed { detail, retry_after, is_away } => {
            let state = if tries < PUSH_TRIES_MAX { "waiting" } else { "parked" };
            let asked = retry_after.unwrap_or(Span::ZERO).min(Backoff::PUSH.longest);
            let due_at = now.plus(Backoff::PUSH.after(tries).max(asked));
            set_aside(conn, seq, state, due_at, *is_away, detail).await?;
        }
        PushOutcome::Gone => {
            let detail = "the receiver wants nothing more (410)";
            set_aside(conn, seq, "parked", now, false, detail).await?;
            sqlx::query("UPDATE pushing SET stopped_at = $1 WHERE stopped_at IS NULL")
                .bind(now.micros())
                .execute(conn)
                .await
                .doing("stop sending changes")?;
        }
    }
    Ok(true)
}

/// The receiver is there: what failed because it was not is tried at once.
async fn delivered(conn: &mut Conn, seq: i64, now: Time) -> Result<()> {
    sqlx::query("DELETE FROM pushes WHERE seq = $1")
        .bind(seq)
        .execute(&mut *conn)
        .await
        .doing("write that a change was delivered")?;
    sqlx::query(
        "UPDATE pushes SET due_at = $1, is_away = 0 \
         WHERE is_away = 1 AND state = 'waiting' AND state <> 'parked' AND due_at > $1",
    )
    .bind(now.micros())
    .execute(conn)
    .await
    .doing("try again what the receiver was not there for")
    .map(|_| ())
}

async fn set_aside(
    conn: &mut Conn,
    seq: i64,
    state: &'static str,
    due_at: Time,
    is_away: bool,
    detail: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE pushes SET state = $1, due_at = $2, is_away = $3, detail = $4 WHERE seq = $5",
    )
    .bind(state)
    .bind(due_at.micros())
    .bind(i64::from(is_away))
    .bind(detail.to_owned())
    .bind(seq)
    .execute(conn)
    .await
    .doing("write what became of a change that was sent")
    .map(|_| ())
}

#[derive(FromRow)]
struct ParkedRow {
    seq: i64,
    tries: i64,
    tried_at: Option<i64>,
    detail: Option<String>,
}

pub(super) async fn parked(conn: &mut Conn, behind: i64, limit: i64) -> Result<Vec<ParkedPush>> {
    let rows: Vec<ParkedRow> = sqlx::query_as(
        "SELECT seq, tries, tried_at, detail FROM pushes WHERE state = 'parked' AND seq > $1 \
         ORDER BY seq LIMIT $2",
    )
    .bind(behind)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await
    .doing("list parked changes")?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut changes = changes_of(conn, rows.iter().map(|row| row.seq)).await?;
    let parked = rows.into_iter().filter_map(|row| {
        Some(ParkedPush {
            change: changes.remove(&row.seq)?,
            tries: row.tries,
            tried_at: time(row.tried_at),
            detail: row.detail,
        })
    });
    Ok(parked.collect())
}

/// Sends one parked change again, or the oldest of all; a person says that the receiver is there.
/// Answers how many.
pub(super) async fn replay(conn: &mut Conn, seq: Option<i64>, now: Time) -> Result<usize> {
    let mut update =
        Statement::new("UPDATE pushes SET state = 'waiting', tries = 0, is_away = 0, due_at = ");
    update.push_bind(now.micros());
    update.push(" WHERE seq IN (SELECT seq FROM pushes WHERE state = 'parked'");
    if let Some(seq) = seq {
        update.push(" AND seq = ").push_bind(seq);
    }
    update.push(" ORDER BY seq LIMIT ").push_bind(REPLAYED_PER_BATCH).push(")");
    let done = update.build().execute(&mut *conn).await.doing("send parked changes again")?;
    let replayed = usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
    if seq.is_none() || replayed > 0 {
        sqlx::query("UPDATE pushing SET stopped_at = NULL WHERE stopped_at IS NOT NULL")
            .execute(conn)
            .await
            .doing("go on with sending changes")?;
    }
    Ok(replayed)
}

/// When the next change is to be sent; `None` while there is none, or the receiver wants none.
pub(super) async fn next_due(conn: &mut Conn, now: Time) -> Result<Option<Time>> {
    let Some(PushingRow { stopped_at: None, .. }) = pushing(conn).await? else { return Ok(None) };
    let (under_way, first_ends): (i64, Option<i64>) = sqlx::query_as(
        "SELECT COUNT(*), MIN(due_at) FROM pushes \
         WHERE state = 'sending' AND state <> 'parked' AND due_at > $1",
    )
    .bind(now.micros())
    .fetch_one(&mut *conn)
    .await
    .doing("find when a change's claim ends")?;
    if under_way >= PUSHES_AT_ONCE {
        return Ok(time(first_ends));
    }
    let mut due = Statement::new("SELECT MIN(u.due_at) FROM pushes u WHERE u.state <> 'parked'");
    due.push(FIRST_OF_ITS_OBJECT);
    let due: (Option<i64>,) =
        due.build_query_as().fetch_one(conn).await.doing("find when a change is to be sent")?;
    Ok(time(due.0))
}

pub(super) async fn report(conn: &mut Conn) -> Result<Option<PushReport>> {
    let Some(PushingRow { seq, stopped_at }) = pushing(conn).await? else { return Ok(None) };
    let (taken_in, first): (i64, Option<i64>) =
        sqlx::query_as("SELECT COUNT(*), MIN(seq) FROM pushes WHERE state <> 'parked'")
            .fetch_one(&mut *conn)
            .await
            .doing("count the changes that are under way")?;
    let parked: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pushes WHERE state = 'parked'")
        .fetch_one(&mut *conn)
        .await
        .doing("count parked changes")?;
    let newest = super::changes::newest(conn).await?;
    let oldest: Option<i64> = sqlx::query_scalar("SELECT at FROM changes WHERE seq = $1")
        .bind(first.unwrap_or(seq + 1))
        .fetch_optional(conn)
        .await
        .doing("find the oldest change that is to be sent")?;
    Ok(Some(PushReport {
        // Numbers have no gaps.
        waiting: taken_in + (newest - seq).max(0),
        oldest_waiting: time(oldest),
        parked,
        stopped_at: time(stopped_at),
    }))
}

/// Forgets changes that are to be sent together with what is forgotten of the changes.
pub(super) async fn forget(conn: &mut Conn, kept: i64) -> Result<()> {
    sqlx::query("DELETE FROM pushes WHERE seq < $1")
        .bind(kept)
        .execute(conn)
        .await
        .doing("forget changes that were to be sent")
        .map(|_| ())
}
