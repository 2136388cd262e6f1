//! Payments: taken in, held, released, and read.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::dispatches::{load_floor, load_present};
use super::rows::{PAYMENT, PaymentRow, micros, word, write_dispatch, write_payment};
use super::{Conn, Statement, changes, lines};
use crate::core::dispatch::{Phase, SendMode, obstacles};
use crate::core::id::{CounterpartyId, LineId, PaymentId};
use crate::core::payment::{
    Command, CommandRefused, Follow, Known, Payment, PaymentState, Standing, admit, command,
};
use crate::core::time::Time;
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{
    Added, NewPayment, PaymentDetails, PaymentFilter, PaymentRecord, Result, Rules, TimelineEntry,
};

/// Entries of one payment's timeline shown at the most, the oldest first.
const TIMELINE_SHOWN: i64 = 1_000;

pub(super) async fn add(
    conn: &mut Conn,
    rules: &Rules,
    new: &NewPayment,
    now: Time,
) -> Result<Added> {
    let before: Option<(String, String)> =
        sqlx::query_as("SELECT id, content FROM payments WHERE key = $1")
            .bind(new.key.clone())
            .fetch_optional(&mut *conn)
            .await
            .doing("look for a payment's key")?;
    if let Some((id, content)) = before {
        let id = PaymentId::new(id);
        let same = content == new.content;
        return Ok(if same { Added::Same(id) } else { Added::Conflict(id) });
    }
    let hold = match (&new.hold, &new.mismatch) {
        // A release lifts both: whoever releases has to be shown both.
        (Some(hold), Some(mismatch)) => {
            let words = format!("{hold}; the notification differs from the order: {mismatch}");
            Some(Reason::plain(ReasonCode::HeldOnArrival).saying(words))
        }
        (Some(words), None) => Some(Reason::plain(ReasonCode::HeldOnArrival).saying(words)),
        (None, Some(words)) => Some(Reason::plain(ReasonCode::Mismatch).saying(words)),
        (None, None) => None,
    };
    let mut payment = Payment {
        id: new.id.clone(),
        number: new.number.clone(),
        state: PaymentState::Held,
        reason: Reason::plain(ReasonCode::Queued),
        manager: None,
        user: None,
        author: None,
        hold,
        line: None,
        treatment: None,
        dispatched_at: None,
        closed_at: None,
        episode: 0,
        attempts: 0,
        happened: Vec::new(),
    };
    let standing = standing(conn, rules, &Named::of(new)).await?;
    insert(conn, new, now).await?;
    admit(&mut payment, &standing, ReasonCode::Queued);
    let change = write_payment(conn, &payment, now).await?;
    changes::write(conn, &[change]).await?;
    lines::wake_manager(conn, &payment, now).await?;
    Ok(Added::New)
}

async fn insert(conn: &mut Conn, new: &NewPayment, now: Time) -> Result<()> {
    let mut insert = Statement::new(
        "INSERT INTO payments (id, number, key, content, counterparty_id, given_manager_id, \
         given_user_id, given_author_id, amount, currency, paid_at, order_ref, purpose, priority, \
         hold, mismatch, text, state, reason, episode, received_at, updated_at) VALUES (",
    );
    let mut row = insert.separated(", ");
    row.push_bind(new.id.as_str().to_owned())
        .push_bind(new.number.as_str().to_owned())
        .push_bind(new.key.clone())
        .push_bind(new.content.clone())
        .push_bind(new.counterparty.as_ref().map(|id| id.as_str().to_owned()))
        .push_bind(new.manager.as_ref().map(|id| id.as_str().to_owned()))
        .push_bind(new.user.as_ref().map(|id| id.as_str().to_owned()))
        .push_bind(new.author.as_ref().map(|id| id.as_str().to_owned()))
        .push_bind(new.amount)
        .push_bind(new.currency.clone())
        .push_bind(new.paid_at.micros())
        .push_bind(new.order.clone())
        .push_bind(new.purpose.clone())
        .push_bind(new.priority)
        .push_bind(new.hold.clone())
        .push_bind(new.mismatch.clone())
        .push_bind(new.text.clone())
        .push_bind(PaymentState::Held.as_str())
        .push_bind(ReasonCode::Queued.as_str())
        .push_bind(0_i64)
        .push_bind(now.micros())
        .push_bind(now.micros());
    insert.push(")");
    insert.build().execute(conn).await.doing("keep a payment").map(|_| ())
}

/// What a payment itself names.
struct Named {
    counterparty: Option<String>,
    manager: Option<String>,
    user: Option<String>,
    author: Option<String>,
}

impl Named {
    fn of(new: &NewPayment) -> Self {
        Self {
            counterparty: new.counterparty.as_ref().map(|id| id.as_str().to_owned()),
            manager: new.manager.as_ref().map(|id| id.as_str().to_owned()),
            user: new.user.as_ref().map(|id| id.as_str().to_owned()),
            author: new.author.as_ref().map(|id| id.as_str().to_owned()),
        }
    }
}

#[derive(FromRow)]
struct ManagerRow {
    enabled: i64,
    present: i64,
    specialist_id: Option<String>,
}

/// What directory and settings say about a payment.
async fn standing(conn: &mut Conn, rules: &Rules, named: &Named) -> Result<Standing> {
    let counterparty: Option<(String, Option<String>)> = match &named.counterparty {
        Some(id) => sqlx::query_as(
            "SELECT manager_id, user_id FROM counterparties WHERE id = $1 AND present = 1",
        )
        .bind(id.clone())
        .fetch_optional(&mut *conn)
        .await
        .doing("look for a counterparty")?,
        None => None,
    };
    let main_manager = counterparty.as_ref().map(|(manager, _)| manager.clone());
    let manager_id = named.manager.clone().or(main_manager);
    let manager: Option<ManagerRow> = match &manager_id {
        Some(id) => {
            sqlx::query_as("SELECT enabled, present, specialist_id FROM managers WHERE id = $1")
                .bind(id.clone())
                .fetch_optional(conn)
                .await
                .doing("look for a manager")?
        }
        None => None,
    };
    let default =
        |id: &Option<crate::core::id::UserId>| id.as_ref().map(|id| id.as_str().to_owned());
    let user = named.user.clone().or_else(|| counterparty.as_ref()?.1.clone());
    let author = named.author.clone().or_else(|| manager.as_ref()?.specialist_id.clone());
    Ok(Standing {
        counterparty: match (&named.counterparty, &counterparty) {
            (None, _) => Known::NotNamed,
            (Some(id), Some(_)) => Known::Yes(id.as_str().into()),
            (Some(id), None) => Known::No(id.as_str().into()),
        },
        manager_enabled: manager.as_ref().is_some_and(|m| m.enabled == 1 && m.present == 1),
        manager: match (manager_id, &manager) {
            (None, _) => Known::NotNamed,
            (Some(id), Some(_)) => Known::Yes(id.into()),
            (Some(id), None) => Known::No(id.into()),
        },
        user: user.or_else(|| default(&rules.default_user)).map(Into::into),
        author: author.or_else(|| default(&rules.default_author)).map(Into::into),
        author_required: rules.policy.mode == SendMode::Specialist,
    })
}

async fn readmit(
    conn: &mut Conn,
    rules: &Rules,
    payment: &mut Payment,
    named: &Named,
    released: ReasonCode,
) -> Result<bool> {
    let standing = standing(conn, rules, named).await?;
    Ok(admit(payment, &standing, released))
}

pub(super) async fn recheck(
    conn: &mut Conn,
    rules: &Rules,
    now: Time,
    limit: i64,
) -> Result<usize> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(" FROM payments p WHERE recheck = 1 ORDER BY received_at, id LIMIT ");
    wanted.push_bind(limit);
    let rows: Vec<PaymentRow> =
        wanted.build_query_as().fetch_all(&mut *conn).await.doing("load payments to look at")?;
    let found = rows.len();
    let mut changes = Vec::new();
    for row in rows {
        let mut payment = row.to_payment()?;
        let named = Named::of(&row.into_given()?);
        if readmit(conn, rules, &mut payment, &named, ReasonCode::DirectoryChanged).await? {
            changes.push(write_payment(conn, &payment, now).await?);
            lines::wake_manager(conn, &payment, now).await?;
        } else {
            sqlx::query("UPDATE payments SET recheck = 0 WHERE id = $1")
                .bind(payment.id.as_str().to_owned())
                .execute(&mut *conn)
                .await
                .doing("mark a payment as looked at")?;
            // While it was marked the dispatcher passed it over.
            lines::wake_manager(conn, &payment, now).await?;
        }
    }
    changes::write(conn, &changes).await?;
    Ok(found)
}

pub(super) async fn mark_all(conn: &mut Conn) -> Result<()> {
    sqlx::query("UPDATE payments SET recheck = 1 WHERE state IN ('held', 'queued')")
        .execute(conn)
        .await
        .doing("have the waiting payments looked at")
        .map(|_| ())
}

/// Has the waiting payments of one counterparty looked at again.
pub(super) async fn mark_counterparty(conn: &mut Conn, id: &CounterpartyId) -> Result<()> {
    sqlx::query(
        "UPDATE payments SET recheck = 1 WHERE state IN ('held', 'queued') \
         AND counterparty_id = $1",
    )
    .bind(id.as_str().to_owned())
    .execute(conn)
    .await
    .doing("have the payments of a counterparty looked at")
    .map(|_| ())
}

/// Has one payment looked at again.
pub(super) async fn mark(conn: &mut Conn, id: &PaymentId) -> Result<()> {
    sqlx::query("UPDATE payments SET recheck = 1 WHERE id = $1")
        .bind(id.as_str().to_owned())
        .execute(conn)
        .await
        .doing("have a payment looked at")
        .map(|_| ())
}

pub(super) async fn command_one(
    conn: &mut Conn,
    rules: &Rules,
    id: &PaymentId,
    what: Command,
    words: &str,
    now: Time,
) -> Result<Option<std::result::Result<(), CommandRefused>>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(" FROM payments p WHERE p.id = ").push_bind(id.as_str().to_owned());
    let row: Option<PaymentRow> =
        wanted.build_query_as().fetch_optional(&mut *conn).await.doing("load a payment")?;
    let Some(row) = row else { return Ok(None) };
    let mut payment = row.to_payment()?;
    let before = payment.clone();
    let active = active_dispatch(conn, id).await?;
    let may_be_sent = active.as_ref().is_some_and(|dispatch| dispatch.phase != Phase::Reserved);
    let follow = match command(&mut payment, what, words, may_be_sent) {
        Ok(follow) => follow,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    let named = Named::of(&row.into_given()?);
    let is_retried = what == Command::Retry && payment.state == PaymentState::Queued;
    if is_retried {
        // A person has looked after it: what was refused before may be allowed now.
        forget_refusals(conn, &payment).await?;
    }
    readmit(conn, rules, &mut payment, &named, ReasonCode::Released).await?;
    let mut touched = BTreeSet::new();
    if let (Follow::GiveBack, Some(mut dispatch)) = (follow, active) {
        dispatch.phase = Phase::Undone;
        dispatch.lease_until = None;
        write_dispatch(conn, &dispatch).await?;
        touched.insert(dispatch.line);
    }
    if payment != before {
        let change = write_payment(conn, &payment, now).await?;
        changes::write(conn, &[change]).await?;
    }
    if payment != before || is_retried {
        lines::wake_manager(conn, &payment, now).await?;
    }
    lines::refresh(conn, &touched, now).await?;
    Ok(Some(Ok(())))
}

async fn active_dispatch(
    conn: &mut Conn,
    payment: &PaymentId,
) -> Result<Option<crate::core::dispatch::Dispatch>> {
    let mut wanted = Statement::new("SELECT ");
    wanted
        .push(super::rows::DISPATCH)
        .push(" FROM dispatches d WHERE phase NOT IN ('refused', 'undone') AND d.payment_id = ");
    wanted.push_bind(payment.as_str().to_owned());
    let row: Option<super::rows::DispatchRow> =
        wanted.build_query_as().fetch_optional(conn).await.doing("load a payment's dispatch")?;
    row.map(super::rows::DispatchRow::into_dispatch).transpose()
}

async fn forget_refusals(conn: &mut Conn, payment: &Payment) -> Result<()> {
    sqlx::query(
        "DELETE FROM refusals WHERE user_id = $1 \
         AND line_id IN (SELECT line_id FROM lines WHERE manager_id = $2)",
    )
    .bind(payment.user.as_ref().map(|user| user.as_str().to_owned()))
    .bind(payment.manager.as_ref().map(|manager| manager.as_str().to_owned()))
    .execute(conn)
    .await
    .doing("forget refusals")
    .map(|_| ())
}

#[derive(FromRow)]
struct TimelineRow {
    at: i64,
    state: String,
    reason: String,
    line_id: Option<String>,
    words: Option<String>,
}

pub(super) async fn details(conn: &mut Conn, id: &PaymentId) -> Result<Option<PaymentDetails>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(" FROM payments p WHERE p.id = ").push_bind(id.as_str().to_owned());
    let row: Option<PaymentRow> =
        wanted.build_query_as().fetch_optional(&mut *conn).await.doing("load a payment")?;
    let Some(row) = row else { return Ok(None) };
    let rows: Vec<TimelineRow> = sqlx::query_as(
        "SELECT at, state, reason, line_id, words FROM timeline WHERE payment_id = $1 \
         ORDER BY id LIMIT $2",
    )
    .bind(id.as_str().to_owned())
    .bind(TIMELINE_SHOWN)
    .fetch_all(&mut *conn)
    .await
    .doing("load a payment's timeline")?;
    let timeline = rows.into_iter().map(|row| {
        Ok(TimelineEntry {
            at: Time::from_micros(row.at),
            state: word("timeline", "state", &row.state, PaymentState::parse)?,
            reason: Reason {
                code: word("timeline", "reason", &row.reason, ReasonCode::parse)?,
                line: row.line_id.map(LineId::new),
                words: row.words,
            },
        })
    });
    let timeline = timeline.collect::<Result<Vec<_>>>()?;
    let payment = row.into_record()?;
    let why = why(conn, &payment).await?;
    Ok(Some(PaymentDetails { payment, timeline, why }))
}

/// For a waiting payment, what stands in its way on each line; else why it is where it is.
async fn why(conn: &mut Conn, payment: &PaymentRecord) -> Result<Vec<Reason>> {
    let mut why = vec![payment.reason.clone()];
    if let (PaymentState::Queued, Some(manager), Some(user)) =
        (payment.state, &payment.manager, &payment.user)
    {
        let mut floor = load_floor(conn, manager, payment.updated_at).await?;
        load_present(conn, &mut floor).await?;
        why.extend(obstacles(&floor, user));
    }
    Ok(why)
}

pub(super) async fn list(conn: &mut Conn, filter: &PaymentFilter) -> Result<Vec<PaymentRecord>> {
    let order = if filter.updated_after.is_some() { "updated_at" } else { "received_at" };
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(" FROM payments p WHERE 1 = 1");
    if let Some(state) = filter.state {
        wanted.push(" AND p.state = ").push_bind(state.as_str());
    }
    if let Some(manager) = &filter.manager {
        wanted.push(" AND p.manager_id = ").push_bind(manager.as_str().to_owned());
    }
    if let Some(counterparty) = &filter.counterparty {
        wanted.push(" AND p.counterparty_id = ").push_bind(counterparty.as_str().to_owned());
    }
    if let Some(key) = &filter.key {
        wanted.push(" AND p.key = ").push_bind(key.clone());
    }
    if let Some(after) = micros(filter.updated_after) {
        wanted.push(" AND p.updated_at > ").push_bind(after);
    }
    if let Some(cursor) = &filter.cursor {
        wanted.push(" AND (p.").push(order).push(" > ").push_bind(cursor.at.micros());
        wanted.push(" OR (p.").push(order).push(" = ").push_bind(cursor.at.micros());
        wanted.push(" AND p.id > ").push_bind(cursor.id.clone()).push("))");
    }
    wanted.push(" ORDER BY p.").push(order).push(", p.id LIMIT ").push_bind(filter.limit);
    let rows: Vec<PaymentRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("list payments")?;
    rows.into_iter().map(PaymentRow::into_record).collect()
}
