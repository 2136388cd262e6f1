//! Changes: written in the transaction that makes them, read in the order of the commits.
//!
//! Invariant: the numbers of changes are those of their commits, without gaps. A number is the
//! newest one and one more, drawn in a serial transaction: the one before has been committed by
//! then, or was never there. A writer that is not serial breaks the primary key, not the order.

use sqlx::FromRow;

use super::rows::word;
use super::{Conn, Statement};
use crate::core::id::{LineId, PaymentId, TreatmentId, UserId};
use crate::core::number::Number;
use crate::core::payment::Payment;
use crate::core::time::Time;
use crate::core::treatment::{EndKind, Treatment};
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{Change, ChangeKind, ChangedPayment, Changes, ChangesFrom, Result};

/// Changes written with one statement: 13 values each, of which SQLite takes 32,766.
const PER_STATEMENT: usize = 500;

/// A change that is not written yet.
#[derive(Clone, Debug)]
#[must_use = "whoever follows the changes misses one that is not written"]
pub(super) struct NewChange {
    at: Time,
    kind: ChangeKind,
    id: String,
    state: &'static str,
    reason: Option<&'static str>,
    reason_line: Option<LineId>,
    reason_words: Option<String>,
    line: Option<LineId>,
    user: Option<UserId>,
    treatment: Option<TreatmentId>,
    payment: Option<PaymentId>,
    moved_to: Option<TreatmentId>,
}

impl NewChange {
    /// A payment as it stands now. What happened to it last is the reason.
    pub(super) fn of_payment(payment: &Payment, at: Time) -> Self {
        let reason: &Reason = payment.happened.last().map_or(&payment.reason, |(_, reason)| reason);
        Self {
            at,
            kind: ChangeKind::Payment,
            id: payment.id.as_str().to_owned(),
            state: payment.state.as_str(),
            reason: Some(reason.code.as_str()),
            reason_line: reason.line.clone(),
            reason_words: reason.words.clone(),
            line: payment.line.clone(),
            user: payment.user.clone(),
            treatment: payment.treatment.clone(),
            payment: Some(payment.id.clone()),
            moved_to: None,
        }
    }

    /// A treatment that is not what it was `before`; `None` if nobody could see a difference. That
    /// something was said in it is a change of the conversation, not of the treatment.
    pub(super) fn of_treatment(
        before: Option<&Treatment>,
        treatment: &Treatment,
        payment: Option<&PaymentId>,
        at: Time,
    ) -> Option<Self> {
        let seen = |treatment: &Treatment| {
            let end = treatment.end.as_ref().map(|end| (end.kind, end.moved_to.clone()));
            (treatment.line.clone(), end)
        };
        if before.is_some_and(|before| seen(before) == seen(treatment)) {
            return None;
        }
        Some(Self {
            at,
            kind: ChangeKind::Treatment,
            id: treatment.id.as_str().to_owned(),
            state: if treatment.is_open() { "open" } else { "closed" },
            reason: treatment.end.as_ref().map(|end| end.kind.as_str()),
            reason_line: None,
            reason_words: None,
            line: Some(treatment.line.clone()),
            user: Some(treatment.user.clone()),
            treatment: Some(treatment.id.clone()),
            payment: payment.cloned(),
            moved_to: treatment.end.as_ref().and_then(|end| end.moved_to.clone()),
        })
    }
}

/// Writes one change of something of `kind` that has no more to tell than its state.
///
/// Must be called in a serial transaction, whose use case rings for `Worker::Feed`.
pub(super) async fn note(
    conn: &mut Conn,
    kind: ChangeKind,
    id: &str,
    line: Option<&LineId>,
    state: &'static str,
    at: Time,
) -> Result<()> {
    let change = NewChange {
        at,
        kind,
        id: id.to_owned(),
        state,
        reason: None,
        reason_line: None,
        reason_words: None,
        line: line.cloned(),
        user: None,
        treatment: None,
        payment: None,
        moved_to: None,
    };
    write(conn, &[change]).await
}

/// Writes changes down, in this order.
///
/// Must be called in a serial transaction, whose use case rings for `Worker::Feed`.
pub(super) async fn write(conn: &mut Conn, changes: &[NewChange]) -> Result<()> {
    for chunk in changes.chunks(PER_STATEMENT) {
        let mut insert = Statement::new(
            "WITH newest AS (SELECT COALESCE(MAX(seq), 0) AS seq FROM changes), \
             noted (n, at, kind, id, state, reason, reason_line_id, reason_words, line_id, \
             user_id, treatment_id, payment_id, moved_to) AS (",
        );
        insert.push_values((1_i64..).zip(chunk), |mut row, (n, change)| {
            let id = |id: &str| id.to_owned();
            row.push_bind(n)
                .push_bind(change.at.micros())
                .push_bind(change.kind.as_str())
                .push_bind(change.id.clone())
                .push_bind(change.state)
                .push_bind(change.reason)
                .push_bind(change.reason_line.as_ref().map(|line| id(line.as_str())))
                .push_bind(change.reason_words.clone())
                .push_bind(change.line.as_ref().map(|line| id(line.as_str())))
                .push_bind(change.user.as_ref().map(|user| id(user.as_str())))
                .push_bind(change.treatment.as_ref().map(|one| id(one.as_str())))
                .push_bind(change.payment.as_ref().map(|one| id(one.as_str())))
                .push_bind(change.moved_to.as_ref().map(|one| id(one.as_str())));
        });
        insert.push(
            ") INSERT INTO changes (seq, at, kind, id, state, reason, reason_line_id, \
             reason_words, line_id, user_id, treatment_id, payment_id, moved_to) \
             SELECT newest.seq + noted.n, at, kind, id, state, reason, reason_line_id, \
             reason_words, line_id, user_id, treatment_id, payment_id, moved_to FROM newest, noted",
        );
        insert.build().execute(&mut *conn).await.doing("write down what changed")?;
    }
    Ok(())
}

/// A change with the names of its payment.
pub(super) const CHANGE: &str = "c.seq, c.at, c.kind, c.id, c.state, c.reason, c.reason_line_id, \
     c.reason_words, c.line_id, c.user_id, c.treatment_id, c.moved_to, p.id AS payment_id, \
     p.number, p.key, p.order_ref, p.counterparty_id \
     FROM changes c LEFT JOIN payments p ON p.id = c.payment_id";

#[derive(FromRow)]
pub(super) struct ChangeRow {
    seq: i64,
    at: i64,
    kind: String,
    id: String,
    state: String,
    reason: Option<String>,
    reason_line_id: Option<String>,
    reason_words: Option<String>,
    line_id: Option<String>,
    user_id: Option<String>,
    treatment_id: Option<String>,
    moved_to: Option<String>,
    payment_id: Option<String>,
    number: Option<String>,
    key: Option<String>,
    order_ref: Option<String>,
    counterparty_id: Option<String>,
}

impl ChangeRow {
    pub(super) fn into_change(self) -> Result<Change> {
        let payment = match (self.payment_id, self.number, self.key) {
            (Some(id), Some(number), Some(key)) => Some(ChangedPayment {
                id: id.into(),
                number: word("payments", "number", &number, Number::parse)?,
                key,
                order: self.order_ref,
                counterparty: self.counterparty_id.map(Into::into),
            }),
            _ => None,
        };
        let kind = word("changes", "kind", &self.kind, ChangeKind::parse)?;
        let code = |of| self.reason.as_deref().filter(|_| kind == of);
        let reason = code(ChangeKind::Payment).map(|code| -> Result<Reason> {
            Ok(Reason {
                code: word("changes", "reason", code, ReasonCode::parse)?,
                line: self.reason_line_id.map(Into::into),
                words: self.reason_words,
            })
        });
        let end_kind =
            code(ChangeKind::Treatment).map(|kind| word("changes", "reason", kind, EndKind::parse));
        Ok(Change {
            seq: self.seq,
            at: Time::from_micros(self.at),
            kind,
            id: self.id,
            state: self.state,
            reason: reason.transpose()?,
            end_kind: end_kind.transpose()?,
            line: self.line_id.map(Into::into),
            user: self.user_id.map(Into::into),
            treatment: self.treatment_id.map(Into::into),
            moved_to: self.moved_to.map(Into::into),
            payment,
        })
    }
}

/// The number of the newest change; 0 before the first one.
pub(super) async fn newest(conn: &mut Conn) -> Result<i64> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(seq) FROM changes")
        .fetch_one(conn)
        .await
        .doing("find the newest change")?;
    Ok(newest.unwrap_or(0))
}

pub(super) async fn read(
    conn: &mut Conn,
    from: ChangesFrom,
    limit: i64,
) -> Result<Option<Changes>> {
    let behind = match from {
        ChangesFrom::Oldest => None,
        ChangesFrom::Now => {
            return Ok(Some(Changes { items: Vec::new(), next: newest(conn).await? }));
        }
        ChangesFrom::Behind(behind) => Some(behind),
    };
    let mut wanted = Statement::new("SELECT ");
    wanted.push(CHANGE).push(" WHERE c.seq > ").push_bind(behind.unwrap_or(0));
    wanted.push(" ORDER BY c.seq LIMIT ").push_bind(limit);
    let rows: Vec<ChangeRow> =
        wanted.build_query_as().fetch_all(&mut *conn).await.doing("read changes")?;
    let items = rows.into_iter().map(ChangeRow::into_change).collect::<Result<Vec<_>>>()?;
    let begin = match (behind, items.first()) {
        // There are no gaps: what is missing between the two was forgotten.
        (Some(behind), Some(first)) if first.seq > behind + 1 => return Ok(None),
        // A number that was never given: it is of another database, or of a lost part of this one.
        (Some(behind), None) if behind > newest(conn).await? => return Ok(None),
        (Some(behind), _) => behind,
        (None, _) => 0,
    };
    let next = items.last().map_or(begin, |last| last.seq);
    Ok(Some(Changes { items, next }))
}

/// Forgets at most `limit` of the oldest changes, those from before `before`; never the newest one,
/// whose number the next one counts on from. Answers how many.
pub(super) async fn forget(conn: &mut Conn, before: Time, limit: i64) -> Result<usize> {
    let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT seq, at FROM changes ORDER BY seq LIMIT $1")
        .bind(limit.saturating_add(1))
        .fetch_all(&mut *conn)
        .await
        .doing("look at the oldest changes")?;
    // From the first that is kept on all are: else there would be a gap, should a clock have been
    // set back.
    let kept = rows.iter().find(|(_, at)| *at >= before.micros()).or_else(|| rows.last());
    let Some((kept, _)) = kept else { return Ok(0) };
    super::pushes::forget(conn, *kept).await?;
    let done = sqlx::query("DELETE FROM changes WHERE seq < $1")
        .bind(*kept)
        .execute(conn)
        .await
        .doing("forget old changes")?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}
