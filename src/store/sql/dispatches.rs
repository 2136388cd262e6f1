//! Dispatches: handing payments to lines, claiming the calls, writing down their answers.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::FromRow;

use super::rows::{
    DISPATCH, DispatchRow, PAYMENT, PaymentRow, word, write_dispatch, write_payment,
};
use super::view::{self, About};
use super::{Conn, Statement, dialect, lines, notices};
use crate::core::dispatch::{
    Choice, Consequence, Floor, REFUSAL_REMEMBERED, Rehook, Waiting, choose, conclude, doubt,
};
use crate::core::id::{LineId, ManagerId, PaymentId, UserId};
use crate::core::occupancy::settle;
use crate::core::outcome::Answer;
use crate::core::payment::PaymentState;
use crate::core::time::Time;
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{ClaimedDispatch, DispatchRound, Result, Rules, StoreError};

/// Waiting payments looked at in one statement: a round costs the same however many wait.
const PAGE: i64 = 64;
/// Pages looked at in one round, should the payments at the head be the ones that cannot go.
const PAGES: usize = 16;
/// Expired claims dealt with in one transaction.
const EXPIRED_PER_BATCH: i64 = 256;

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
    let mut blocked: BTreeSet<UserId> = BTreeSet::new();
    let mut again_at = None;
    for page in 1..=PAGES {
        if floor.lines.iter().all(|line| line.occupancy.room() == 0) {
            break;
        }
        floor.waiting = waiting(conn, &round.manager, &blocked).await?;
        let full = i64::try_from(floor.waiting.len()).is_ok_and(|n| n == PAGE);
        load_present(conn, &mut floor).await?;
        let users: BTreeMap<PaymentId, UserId> =
            floor.waiting.iter().map(|one| (one.payment.clone(), one.user.clone())).collect();
        for (payment, choice) in choose(&mut floor) {
            match choice {
                Choice::Line(line) => {
                    reserve(conn, &payment, &line, now).await?;
                    round.reserved.push((payment, line));
                }
                Choice::RefusedEverywhere(words) => {
                    reject(conn, &payment, &words, now).await?;
                    round.rejected += 1;
                }
                Choice::Waits => blocked.extend(users.get(&payment).cloned()),
            }
        }
        if !full {
            break;
        }
        if page == PAGES {
            again_at = Some(now);
        }
    }
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
    wanted.push(" AND l.present = 1");
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
    blocked: &BTreeSet<UserId>,
) -> Result<Vec<Waiting>> {
    let mut wanted =
        Statement::new("SELECT id, user_id FROM payments WHERE state = 'queued' AND manager_id = ");
    wanted.push_bind(manager.as_str().to_owned());
    if !blocked.is_empty() {
        wanted.push(" AND user_id NOT IN (");
        let mut list = wanted.separated(", ");
        for user in blocked {
            list.push_bind(user.as_str().to_owned());
        }
        wanted.push(")");
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

/// Which of the waiting users already have a treatment or a dispatch on which of the lines.
pub(super) async fn load_present(conn: &mut Conn, floor: &mut Floor) -> Result<()> {
    let users: BTreeSet<&UserId> = floor.waiting.iter().map(|one| &one.user).collect();
    if users.is_empty() || floor.lines.is_empty() {
        return Ok(());
    }
    for table in [
        "SELECT line_id, user_id FROM treatments WHERE ended_at IS NULL AND line_id IN (",
        "SELECT line_id, user_id FROM dispatches \
         WHERE phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') AND line_id IN (",
    ] {
        let mut wanted = Statement::new(table);
        let mut list = wanted.separated(", ");
        for line in &floor.lines {
            list.push_bind(line.id.as_str().to_owned());
        }
        wanted.push(") AND user_id IN (");
        let mut list = wanted.separated(", ");
        for user in &users {
            list.push_bind(user.as_str().to_owned());
        }
        wanted.push(")");
        let rows: Vec<(String, String)> =
            wanted.build_query_as().fetch_all(&mut *conn).await.doing("load who is on a line")?;
        let pairs = rows.into_iter().map(|(line, user)| (line.into(), user.into()));
        floor.present.extend(pairs);
    }
    Ok(())
}

async fn reserve(conn: &mut Conn, payment: &PaymentId, line: &LineId, now: Time) -> Result<()> {
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

async fn reject(conn: &mut Conn, payment: &PaymentId, words: &str, now: Time) -> Result<()> {
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

#[derive(FromRow)]
struct ClaimRow {
    dispatch_id: i64,
    fence: i64,
    to_line: String,
    to_user: String,
    as_author: Option<String>,
    rehook: String,
    created_at: i64,
    #[sqlx(flatten)]
    about: AboutRow,
}

/// A payment with the names that go with it.
#[derive(FromRow)]
pub(super) struct AboutRow {
    #[sqlx(flatten)]
    payment: PaymentRow,
    counterparty_name: Option<String>,
    inn: Option<String>,
    manager_name: Option<String>,
}

/// The columns of [`AboutRow`] and the joins they need, of `payments p`.
pub(super) const ABOUT: &str =
    ", c.name AS counterparty_name, c.inn AS inn, m.name AS manager_name";
pub(super) const ABOUT_JOINS: &str = " LEFT JOIN counterparties c ON c.id = p.counterparty_id \
     LEFT JOIN managers m ON m.id = p.manager_id ";

impl AboutRow {
    pub(super) fn into_about(self) -> Result<crate::store::About> {
        let received_at = self.payment.to_received_at();
        Ok(crate::store::About {
            payment: self.payment.into_given()?,
            received_at,
            counterparty_name: self.counterparty_name,
            inn: self.inn,
            manager_name: self.manager_name.unwrap_or_default(),
        })
    }
}

pub(super) async fn claim(
    conn: &mut Conn,
    owner: &str,
    now: Time,
    lease_until: Time,
    limit: i64,
) -> Result<Vec<ClaimedDispatch>> {
    // The condition stands in the outer WHERE too: without it PostgreSQL may claim a row twice.
    let mut update = Statement::new("UPDATE dispatches SET phase = 'sending', owner = ");
    update.push_bind(owner.to_owned());
    update.push(", lease_until = ").push_bind(lease_until.micros());
    update.push(", fence = fence + 1, claimed_at = COALESCE(claimed_at, ");
    update.push_bind(now.micros());
    update.push(") WHERE phase = 'reserved' AND id IN (SELECT id FROM dispatches ");
    update.push("WHERE phase = 'reserved' AND due_at <= ").push_bind(now.micros());
    update.push(" ORDER BY due_at, id LIMIT ").push_bind(limit).push(dialect::SKIP_LOCKED);
    update.push(") RETURNING id");
    let ids: Vec<(i64,)> =
        update.build_query_as().fetch_all(&mut *conn).await.doing("claim dispatches")?;
    let mut claimed = Vec::with_capacity(ids.len());
    for (id,) in ids {
        let mut wanted = Statement::new(
            "SELECT d.id AS dispatch_id, d.fence, d.line_id AS to_line, d.user_id AS to_user, \
             d.author_id AS as_author, d.rehook, d.created_at, ",
        );
        wanted.push(PAYMENT).push(ABOUT);
        wanted.push(" FROM dispatches d JOIN payments p ON p.id = d.payment_id");
        wanted.push(ABOUT_JOINS).push("WHERE d.id = ").push_bind(id);
        let row: ClaimRow =
            wanted.build_query_as().fetch_one(&mut *conn).await.doing("load a claimed dispatch")?;
        sqlx::query("UPDATE payments SET attempts = attempts + 1 WHERE id = $1")
            .bind(row.about.payment.id().to_owned())
            .execute(&mut *conn)
            .await
            .doing("count a call")?;
        claimed.push(ClaimedDispatch {
            id: row.dispatch_id,
            fence: row.fence,
            line: row.to_line.into(),
            user: row.to_user.into(),
            author: row.as_author.map(Into::into),
            rehook: word("dispatches", "rehook", &row.rehook, Rehook::parse)?,
            reserved_at: Time::from_micros(row.created_at),
            about: row.about.into_about()?,
        });
    }
    Ok(claimed)
}

pub(super) async fn record_rehook(
    conn: &mut Conn,
    dispatch: i64,
    fence: i64,
    rehook: Rehook,
) -> Result<()> {
    sqlx::query(
        "UPDATE dispatches SET rehook = $1 WHERE id = $2 AND fence = $3 AND phase = 'sending'",
    )
    .bind(rehook.as_str())
    .bind(dispatch)
    .bind(fence)
    .execute(conn)
    .await
    .doing("write that a hook was set")
    .map(|_| ())
}

pub(super) async fn record_answer(
    conn: &mut Conn,
    rules: &Rules,
    id: i64,
    fence: i64,
    answer: &Answer,
    now: Time,
) -> Result<bool> {
    let about = About { dispatches: BTreeSet::from([id]), ..About::default() };
    let before = view::load(conn, &about).await?;
    let mut after = before.clone();
    let Some(dispatch) = after.dispatches.get_mut(&id).filter(|d| d.fence == fence) else {
        return Ok(false);
    };
    let Some(payment) = after.payments.get_mut(&dispatch.payment) else { return Ok(false) };
    let consequence = conclude(dispatch, payment, answer, rules.policy, now);
    if let Consequence::RememberRefusal(words) = consequence {
        sqlx::query(
            "INSERT INTO refusals (line_id, user_id, words, until) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (line_id, user_id) DO UPDATE SET words = excluded.words, \
             until = excluded.until",
        )
        .bind(dispatch.line.as_str().to_owned())
        .bind(dispatch.user.as_str().to_owned())
        .bind(words)
        .bind(now.plus(REFUSAL_REMEMBERED).micros())
        .execute(&mut *conn)
        .await
        .doing("remember a refusal")?;
    }
    // Its treatment may have been seen before the answer came.
    settle(&mut after, now);
    view::save(conn, &before, &after, now).await?;
    Ok(true)
}

pub(super) async fn expire_claims(
    conn: &mut Conn,
    rules: &Rules,
    now: Time,
    survivor: Option<&str>,
) -> Result<usize> {
    let mut wanted = Statement::new("SELECT ");
    wanted
        .push(DISPATCH)
        .push(" FROM dispatches d WHERE d.phase = 'sending' AND (d.lease_until <= ");
    wanted.push_bind(now.micros());
    if let Some(survivor) = survivor {
        wanted.push(" OR d.owner <> ").push_bind(survivor.to_owned());
    }
    wanted.push(") ORDER BY d.id LIMIT ").push_bind(EXPIRED_PER_BATCH);
    let rows: Vec<DispatchRow> =
        wanted.build_query_as().fetch_all(&mut *conn).await.doing("find claims that ran out")?;
    let found = rows.len();
    for row in rows {
        let mut dispatch = row.into_dispatch()?;
        let mut payment = payment_row(conn, &dispatch.payment).await?.to_payment()?;
        let detail = "the sender vanished before the answer came";
        doubt(&mut dispatch, &mut payment, detail, rules.policy.in_doubt_after, now);
        write_dispatch(conn, &dispatch).await?;
        write_payment(conn, &payment, now).await?;
    }
    Ok(found)
}
