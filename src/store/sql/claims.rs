//! Claims of dispatches: one caller at a time, the answers, and claims that ran out.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::dispatches::payment_row;
use super::rows::{
    DISPATCH, DispatchRow, PAYMENT, PaymentRow, word, write_dispatch, write_payment,
};
use super::view::{self, About};
use super::{Conn, Statement, changes, dialect};
use crate::core::dispatch::{Consequence, REFUSAL_REMEMBERED, Rehook, conclude, doubt};
use crate::core::occupancy::settle;
use crate::core::outcome::Answer;
use crate::core::time::Time;
use crate::store::error::Doing;
use crate::store::{ClaimedDispatch, Result, Rules};

/// Expired claims dealt with in one transaction.
const EXPIRED_PER_BATCH: i64 = 256;

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

/// Nothing is sent to a line whose open treatments are not known (any more).
pub(super) const SENDABLE: &str = " AND EXISTS (SELECT 1 FROM lines l \
     WHERE l.line_id = dispatches.line_id AND l.known_at IS NOT NULL AND l.hooked_at IS NOT NULL)";

pub(super) async fn claim(
    conn: &mut Conn,
    owner: &str,
    now: Time,
    lease_until: Time,
    limit: i64,
) -> Result<Vec<ClaimedDispatch>> {
    // Chosen first and updated by their ids: with the choice inside of the UPDATE PostgreSQL may
    // run it once for each row, and claim more than `limit`.
    let mut due =
        Statement::new("SELECT id FROM dispatches WHERE phase = 'reserved' AND due_at <= ");
    due.push_bind(now.micros()).push(SENDABLE);
    due.push(" ORDER BY due_at, id LIMIT ").push_bind(limit).push(dialect::SKIP_LOCKED);
    let ids: Vec<(i64,)> =
        due.build_query_as().fetch_all(&mut *conn).await.doing("find dispatches to claim")?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut update = Statement::new("UPDATE dispatches SET phase = 'sending', owner = ");
    update.push_bind(owner.to_owned());
    update.push(", lease_until = ").push_bind(lease_until.micros());
    // Earlier calls were surely not carried out: only from this one on something can be ours.
    update.push(", fence = fence + 1, claimed_at = ").push_bind(now.micros());
    update.push(" WHERE phase = 'reserved' AND id IN (");
    let mut list = update.separated(", ");
    for (id,) in &ids {
        list.push_bind(*id);
    }
    update.push(")");
    update.build().execute(&mut *conn).await.doing("claim dispatches")?;
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
            lease_until,
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
    wanted.push(") ORDER BY d.lease_until, d.id LIMIT ").push_bind(EXPIRED_PER_BATCH);
    let rows: Vec<DispatchRow> =
        wanted.build_query_as().fetch_all(&mut *conn).await.doing("find claims that ran out")?;
    let found = rows.len();
    let mut changes = Vec::new();
    for row in rows {
        let mut dispatch = row.into_dispatch()?;
        let mut payment = payment_row(conn, &dispatch.payment).await?.to_payment()?;
        let detail = "the sender vanished before the answer came";
        doubt(&mut dispatch, &mut payment, detail, rules.policy.in_doubt_after, now);
        write_dispatch(conn, &dispatch).await?;
        changes.push(write_payment(conn, &payment, now).await?);
    }
    changes::write(conn, &changes).await?;
    Ok(found)
}
