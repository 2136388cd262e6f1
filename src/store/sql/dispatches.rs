//! Dispatches: handing payments to lines.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::changes::{self, NewChange};
use super::rows::{PAYMENT, PaymentRow, write_payment};
use super::{Conn, Statement, in_list, lines, notices};
use crate::core::dispatch::{Choice, Floor, Waiting, choose, stuck};
use crate::core::id::{LineId, ManagerId, PaymentId, UserId};
use crate::core::payment::PaymentState;
use crate::core::time::Time;
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{DispatchRound, Result, Rules, StoreError};

/// Waiting payments looked at in one statement: a round costs the same however many wait.
const PAGE: i64 = 64;
/// Pages looked at in one round; each of them sends or rejects at least one payment.
const PAGES: usize = 16;
/// Hands waiting payments of the manager who is due to free lines.
pub(super) async fn round(
    conn: &mut Conn,
    rules: &Rules,
    now: Time,
) -> Result<Option<DispatchRound>> {
    let due: Option<String> = sqlx::query_scalar(
        "SELECT id FROM managers WHERE due_at IS NOT NULL AND due_at <= $1 \
         ORDER BY due_at, id LIMIT 1",
    )
    .bind(now.micros())
    .fetch_optional(&mut *conn)
    .await
    .doing("find a manager who is due")?;
    let Some(manager) = due.map(ManagerId::new) else { return Ok(None) };
    let mut round = DispatchRound { manager, reserved: Vec::new(), rejected: 0, notices: 0 };
    let mut floor = load_floor(conn, &round.manager, now).await?;
    load_present(conn, &mut floor).await?;
    let mut again_at = None;
    let mut changes = Vec::new();
    for page in 1..=PAGES {
        if floor.lines.iter().all(|line| line.occupancy.room() == 0) {
            break;
        }
        floor.waiting = waiting(conn, &round.manager, &stuck(&floor)).await?;
        let full = i64::try_from(floor.waiting.len()).is_ok_and(|n| n == PAGE);
        for (payment, choice) in choose(&mut floor) {
            match choice {
                Choice::Line(line) => {
                    changes.push(reserve(conn, &payment, &line, now).await?);
                    round.reserved.push((payment, line));
                }
                Choice::RefusedEverywhere(words) => {
                    changes.push(reject(conn, &payment, &words, now).await?);
                    round.rejected += 1;
                }
                Choice::Waits => {}
            }
        }
        if !full {
            break;
        }
        if page == PAGES {
            again_at = Some(now);
        }
    }
    changes::write(conn, &changes).await?;
    let (written, more) = notices::write(conn, rules, &round.manager, &floor, now).await?;
    round.notices = written;
    if more {
        again_at = Some(now);
    }
    let next = match again_at {
        Some(at) => Some(at),
        None => next_refusal_end(conn, &round.manager, now).await?,
    };
    sqlx::query("UPDATE managers SET due_at = $1 WHERE id = $2")
        .bind(next.map(Time::micros))
        .bind(round.manager.as_str().to_owned())
        .execute(&mut *conn)
        .await
        .doing("write when a manager is due next")?;
    let touched: BTreeSet<LineId> = round.reserved.iter().map(|(_, line)| line.clone()).collect();
    // The lines' rooms were taken into account already: their manager need not be due for them.
    lines::refresh_states(conn, &touched, now).await?;
    Ok(Some(round))
}

/// The lines of a manager, and who is refused on them.
pub(super) async fn load_floor(conn: &mut Conn, manager: &ManagerId, now: Time) -> Result<Floor> {
    let mut wanted = lines::select();
    wanted.push("l.manager_id = ").push_bind(manager.as_str().to_owned());
    wanted.push(" AND l.present = 1 ORDER BY l.position, l.line_id");
    let rows = lines::load(conn, &mut wanted).await?;
    let refused: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT r.line_id, r.user_id, r.words FROM refusals r JOIN lines l \
         ON l.line_id = r.line_id WHERE l.manager_id = $1 AND r.until > $2",
    )
    .bind(manager.as_str().to_owned())
    .bind(now.micros())
    .fetch_all(conn)
    .await
    .doing("load refusals")?;
    let refused =
        refused.into_iter().map(|(line, user, words)| ((line.into(), user.into()), words));
    Ok(Floor {
        lines: rows.iter().map(super::rows::LineRow::to_line).collect(),
        waiting: Vec::new(),
        refused: refused.collect(),
        present: BTreeSet::new(),
    })
}

#[derive(FromRow)]
struct WaitingRow {
    id: String,
    user_id: Option<String>,
}

async fn waiting(
    conn: &mut Conn,
    manager: &ManagerId,
    stuck: &BTreeSet<UserId>,
) -> Result<Vec<Waiting>> {
    let mut wanted = Statement::new(
        "SELECT id, user_id FROM payments WHERE state = 'queued' AND recheck = 0 AND manager_id = ",
    );
    wanted.push_bind(manager.as_str().to_owned());
    if !stuck.is_empty() {
        wanted.push(" AND user_id NOT");
        in_list(&mut wanted, stuck);
    }
    wanted.push(" ORDER BY priority DESC, received_at, id LIMIT ").push_bind(PAGE);
    let rows: Vec<WaitingRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load waiting payments")?;
    rows.into_iter()
        .map(|row| {
            let user = row.user_id.ok_or_else(|| {
                StoreError::inconsistent("payments", "user_id", "null while queued")
            })?;
            Ok(Waiting { payment: row.id.into(), user: user.into() })
        })
        .collect()
}

/// Who already has a treatment or a dispatch on which of the lines.
pub(super) async fn load_present(conn: &mut Conn, floor: &mut Floor) -> Result<()> {
    if floor.lines.is_empty() {
        return Ok(());
    }
    for table in [
        "SELECT line_id, user_id FROM treatments WHERE ended_at IS NULL AND line_id",
        "SELECT line_id, user_id FROM dispatches \
         WHERE phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') \
         AND NOT (phase = 'in_doubt' AND slot IS NULL) AND line_id",
    ] {
        let mut wanted = Statement::new(table);
        in_list(&mut wanted, floor.lines.iter().map(|line| &line.id));
        let rows: Vec<(String, String)> =
            wanted.build_query_as().fetch_all(&mut *conn).await.doing("load who is on a line")?;
        let pairs = rows.into_iter().map(|(line, user)| (line.into(), user.into()));
        floor.present.extend(pairs);
    }
    Ok(())
}

async fn reserve(
    conn: &mut Conn,
    payment: &PaymentId,
    line: &LineId,
    now: Time,
) -> Result<NewChange> {
    let row = payment_row(conn, payment).await?;
    let mut payment = row.to_payment()?;
    let user = payment
        .user
        .clone()
        .ok_or_else(|| StoreError::inconsistent("payments", "user_id", "null while queued"))?;
    let (capacity, taken) = slots(conn, line).await?;
    let slot = (0..capacity).find(|slot| !taken.contains(slot));
    sqlx::query("UPDATE lines SET last_used_at = $1 WHERE line_id = $2")
        .bind(now.micros())
        .bind(line.as_str().to_owned())
        .execute(&mut *conn)
        .await
        .doing("write when a line was used")?;
    sqlx::query(
        "INSERT INTO dispatches (payment_id, line_id, user_id, author_id, slot, capacity, phase, \
         due_at, created_at, rehook) VALUES ($1, $2, $3, $4, $5, $6, 'reserved', $7, $7, 'no')",
    )
    .bind(payment.id.as_str().to_owned())
    .bind(line.as_str().to_owned())
    .bind(user.as_str().to_owned())
    .bind(payment.author.as_ref().map(|author| author.as_str().to_owned()))
    .bind(slot)
    .bind(capacity)
    .bind(now.micros())
    .execute(&mut *conn)
    .await
    .doing("set a line aside for a payment")?;
    let reason = Reason::on_line(ReasonCode::LineReserved, line.clone());
    payment.become_(PaymentState::Sending, reason);
    write_payment(conn, &payment, now).await
}

/// A line's capacity, and which of its places are taken.
async fn slots(conn: &mut Conn, line: &LineId) -> Result<(i64, Vec<i64>)> {
    let capacity: i64 = sqlx::query_scalar("SELECT capacity FROM lines WHERE line_id = $1")
        .bind(line.as_str().to_owned())
        .fetch_one(&mut *conn)
        .await
        .doing("load a line's capacity")?;
    let taken: Vec<i64> = sqlx::query_scalar(
        "SELECT slot FROM dispatches WHERE slot IS NOT NULL \
         AND phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') AND line_id = $1",
    )
    .bind(line.as_str().to_owned())
    .fetch_all(conn)
    .await
    .doing("load a line's places")?;
    Ok((capacity, taken))
}

async fn reject(conn: &mut Conn, payment: &PaymentId, words: &str, now: Time) -> Result<NewChange> {
    let mut payment = payment_row(conn, payment).await?.to_payment()?;
    let reason = Reason::plain(ReasonCode::RefusedForGood).saying(words);
    payment.become_(PaymentState::Rejected, reason);
    write_payment(conn, &payment, now).await
}

pub(super) async fn payment_row(conn: &mut Conn, id: &PaymentId) -> Result<PaymentRow> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(" FROM payments p WHERE p.id = ").push_bind(id.as_str().to_owned());
    wanted.build_query_as().fetch_one(conn).await.doing("load a payment")
}

/// When a refusal is forgotten that may keep a waiting payment of this manager from a line.
async fn next_refusal_end(conn: &mut Conn, manager: &ManagerId, now: Time) -> Result<Option<Time>> {
    let until: Option<i64> = sqlx::query_scalar(
        "SELECT MIN(r.until) FROM refusals r JOIN lines l ON l.line_id = r.line_id \
         WHERE l.manager_id = $1 AND r.until > $2",
    )
    .bind(manager.as_str().to_owned())
    .bind(now.micros())
    .fetch_one(conn)
    .await
    .doing("find when a refusal is forgotten")?;
    Ok(until.map(Time::from_micros))
}
