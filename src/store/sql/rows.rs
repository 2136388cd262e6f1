//! Rows and what they mean. Text that no version of this program writes is an error with the
//! table's and column's name, never a guess.

use sqlx::FromRow;

use super::changes::NewChange;
use super::{Conn, Db};
use crate::core::dispatch::{Dispatch, Phase, Rehook};
use crate::core::line::{Line, Occupancy};
use crate::core::number::Number;
use crate::core::payment::{Payment, PaymentState};
use crate::core::silence::Signs;
use crate::core::time::Time;
use crate::core::treatment::{End, EndKind, Opener, Treatment};
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{Cursor, NewPayment, PaymentRecord, Result, StoreError, TreatmentRecord};

/// A word of one of our enumerations, or an error that names where it stands.
pub(super) fn word<T>(
    table: &'static str,
    column: &'static str,
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    parse(text).ok_or_else(|| StoreError::inconsistent(table, column, text))
}

/// Whether exactly one row was written.
pub(super) fn one_row(done: &<Db as sqlx::Database>::QueryResult) -> bool {
    done.rows_affected() == 1
}

pub(super) fn flag(set: bool) -> i64 {
    i64::from(set)
}

pub(super) fn micros(time: Option<Time>) -> Option<i64> {
    time.map(Time::micros)
}

pub(super) fn time(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

pub(super) const TREATMENT: &str = "t.treatment_id, t.line_id, t.user_id, t.opened_at, t.opener, \
     t.last_event_at, t.heard_at, t.ended_at, t.end_kind, t.moved_to";

#[derive(FromRow)]
pub(super) struct TreatmentRow {
    treatment_id: String,
    line_id: String,
    user_id: String,
    opened_at: i64,
    opener: String,
    last_event_at: i64,
    heard_at: i64,
    ended_at: Option<i64>,
    end_kind: Option<String>,
    moved_to: Option<String>,
}

impl TreatmentRow {
    pub(super) fn into_treatment(self) -> Result<Treatment> {
        let kind = self
            .end_kind
            .as_deref()
            .map(|kind| word("treatments", "end_kind", kind, EndKind::parse));
        let end = match (self.ended_at, kind.transpose()?) {
            (Some(at), Some(kind)) => {
                let moved_to = self.moved_to.map(Into::into);
                Some(End { at: Time::from_micros(at), kind, moved_to })
            }
            _ => None,
        };
        Ok(Treatment {
            id: self.treatment_id.into(),
            line: self.line_id.into(),
            user: self.user_id.into(),
            opened_at: Time::from_micros(self.opened_at),
            opener: word("treatments", "opener", &self.opener, Opener::parse)?,
            last_event_at: Time::from_micros(self.last_event_at),
            heard_at: Time::from_micros(self.heard_at),
            end,
        })
    }
}

/// A treatment with the payment that opened it.
#[derive(FromRow)]
pub(super) struct TreatmentReportRow {
    #[sqlx(flatten)]
    treatment: TreatmentRow,
    payment_id: Option<String>,
}

impl TreatmentReportRow {
    pub(super) fn into_record(self) -> Result<TreatmentRecord> {
        let treatment = self.treatment.into_treatment()?;
        Ok(TreatmentRecord {
            id: treatment.id,
            line: treatment.line,
            user: treatment.user,
            opened_at: treatment.opened_at,
            opener: treatment.opener,
            last_event_at: treatment.last_event_at,
            moved_to: treatment.end.as_ref().and_then(|end| end.moved_to.clone()),
            ended: treatment.end.map(|end| (end.at, end.kind)),
            payment: self.payment_id.map(Into::into),
        })
    }
}

pub(super) const DISPATCH: &str = "d.id, d.payment_id, d.line_id, d.user_id, d.author_id, d.slot, \
     d.capacity, d.phase, d.treatment_id, d.fence, d.due_at, d.lease_until, d.failures, d.claimed_at, \
     d.sent_at, d.rehook, d.echo, d.proof_at";

#[derive(FromRow)]
pub(super) struct DispatchRow {
    id: i64,
    payment_id: String,
    line_id: String,
    user_id: String,
    author_id: Option<String>,
    slot: Option<i64>,
    capacity: i64,
    phase: String,
    treatment_id: Option<String>,
    fence: i64,
    due_at: i64,
    lease_until: Option<i64>,
    failures: i64,
    claimed_at: Option<i64>,
    sent_at: Option<i64>,
    rehook: String,
    echo: Option<String>,
    proof_at: Option<i64>,
}

impl DispatchRow {
    pub(super) fn into_dispatch(self) -> Result<Dispatch> {
        Ok(Dispatch {
            id: self.id,
            payment: self.payment_id.into(),
            line: self.line_id.into(),
            user: self.user_id.into(),
            author: self.author_id.map(Into::into),
            slot: self.slot,
            capacity: self.capacity,
            phase: word("dispatches", "phase", &self.phase, Phase::parse)?,
            treatment: self.treatment_id.map(Into::into),
            fence: self.fence,
            due_at: Time::from_micros(self.due_at),
            lease_until: time(self.lease_until),
            failures: self.failures,
            claimed_at: time(self.claimed_at),
            sent_at: time(self.sent_at),
            rehook: word("dispatches", "rehook", &self.rehook, Rehook::parse)?,
            echo: self.echo,
            proof_at: time(self.proof_at),
        })
    }
}

pub(super) const PAYMENT: &str = "p.id, p.number, p.key, p.content, p.counterparty_id, \
     p.given_manager_id, p.given_user_id, p.given_author_id, p.amount, p.currency, p.paid_at, \
     p.order_ref, p.purpose, p.priority, p.hold, p.mismatch, p.text, p.state, p.reason, \
     p.reason_line_id, p.reason_words, p.hold_code, p.hold_words, p.manager_id, p.user_id, \
     p.author_id, p.line_id, p.treatment_id, p.episode, p.attempts, p.received_at, p.updated_at, \
     p.dispatched_at, p.closed_at, p.notified_at";

#[derive(FromRow)]
pub(super) struct PaymentRow {
    id: String,
    number: String,
    key: String,
    content: String,
    counterparty_id: Option<String>,
    given_manager_id: Option<String>,
    given_user_id: Option<String>,
    given_author_id: Option<String>,
    amount: i64,
    currency: String,
    paid_at: i64,
    order_ref: Option<String>,
    purpose: Option<String>,
    priority: i64,
    hold: Option<String>,
    mismatch: Option<String>,
    text: Option<String>,
    state: String,
    reason: String,
    reason_line_id: Option<String>,
    reason_words: Option<String>,
    hold_code: Option<String>,
    hold_words: Option<String>,
    manager_id: Option<String>,
    user_id: Option<String>,
    author_id: Option<String>,
    line_id: Option<String>,
    treatment_id: Option<String>,
    episode: i64,
    attempts: i64,
    received_at: i64,
    updated_at: i64,
    dispatched_at: Option<i64>,
    closed_at: Option<i64>,
    notified_at: Option<i64>,
}

impl PaymentRow {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Its place in the order of changes.
    pub(super) fn to_cursor(&self) -> Cursor {
        Cursor { at: Time::from_micros(self.updated_at), id: self.id.clone() }
    }

    pub(super) const fn to_received_at(&self) -> Time {
        Time::from_micros(self.received_at)
    }

    fn number(&self) -> Result<Number> {
        word("payments", "number", &self.number, Number::parse)
    }

    fn state(&self) -> Result<PaymentState> {
        word("payments", "state", &self.state, PaymentState::parse)
    }

    fn reason(&self) -> Result<Reason> {
        Ok(Reason {
            code: word("payments", "reason", &self.reason, ReasonCode::parse)?,
            line: self.reason_line_id.clone().map(Into::into),
            words: self.reason_words.clone(),
        })
    }

    /// As the rules see it.
    pub(super) fn to_payment(&self) -> Result<Payment> {
        let hold = self.hold_code.as_deref().map(|code| -> Result<Reason> {
            let code = word("payments", "hold_code", code, ReasonCode::parse)?;
            Ok(Reason { code, line: None, words: self.hold_words.clone() })
        });
        Ok(Payment {
            id: self.id.as_str().into(),
            number: self.number()?,
            state: self.state()?,
            reason: self.reason()?,
            manager: self.manager_id.clone().map(Into::into),
            user: self.user_id.clone().map(Into::into),
            author: self.author_id.clone().map(Into::into),
            hold: hold.transpose()?,
            line: self.line_id.clone().map(Into::into),
            treatment: self.treatment_id.clone().map(Into::into),
            dispatched_at: time(self.dispatched_at),
            closed_at: time(self.closed_at),
            episode: self.episode,
            attempts: self.attempts,
            happened: Vec::new(),
        })
    }

    /// As people see it.
    pub(super) fn into_record(self) -> Result<PaymentRecord> {
        Ok(PaymentRecord {
            state: self.state()?,
            reason: self.reason()?,
            manager: self.manager_id.clone().map(Into::into),
            user: self.user_id.clone().map(Into::into),
            author: self.author_id.clone().map(Into::into),
            line: self.line_id.clone().map(Into::into),
            treatment: self.treatment_id.clone().map(Into::into),
            attempts: self.attempts,
            received_at: Time::from_micros(self.received_at),
            updated_at: Time::from_micros(self.updated_at),
            dispatched_at: time(self.dispatched_at),
            closed_at: time(self.closed_at),
            notified_at: time(self.notified_at),
            given: self.into_given()?,
        })
    }

    /// As it came in.
    pub(super) fn into_given(self) -> Result<NewPayment> {
        Ok(NewPayment {
            number: self.number()?,
            id: self.id.into(),
            key: self.key,
            content: self.content,
            counterparty: self.counterparty_id.map(Into::into),
            manager: self.given_manager_id.map(Into::into),
            amount: self.amount,
            currency: self.currency,
            paid_at: Time::from_micros(self.paid_at),
            order: self.order_ref,
            purpose: self.purpose,
            priority: self.priority,
            hold: self.hold,
            mismatch: self.mismatch,
            user: self.given_user_id.map(Into::into),
            author: self.given_author_id.map(Into::into),
            text: self.text,
        })
    }
}

/// What tells how sure the state of a line is.
#[derive(FromRow)]
pub(super) struct SignsRow {
    hooked_at: Option<i64>,
    pub(super) known_at: Option<i64>,
    heard_at: Option<i64>,
    quiet_since: Option<i64>,
    quiet_looks: i64,
    look_at: Option<i64>,
}

impl SignsRow {
    /// Whether the line's hooks are set and it was looked at since.
    const fn is_known(&self) -> bool {
        self.known_at.is_some() && self.hooked_at.is_some()
    }

    pub(super) fn signs(&self) -> Signs {
        Signs {
            looked_at: time(self.known_at.filter(|_| self.is_known())),
            heard_at: time(self.heard_at),
            quiet_since: time(self.quiet_since),
            looks: self.quiet_looks,
            look_at: time(self.look_at),
        }
    }
}

/// A line with the counts that decide its state.
pub(super) const LINE: &str = "l.line_id, l.name, l.manager_id, l.capacity, l.position, \
     l.enabled, l.present, l.paused, l.hooked_at, l.known_at, l.state, l.since, l.last_used_at, \
     l.heard_at, l.quiet_since, l.quiet_looks, l.look_at, \
     (SELECT COUNT(*) FROM treatments t WHERE t.line_id = l.line_id AND t.ended_at IS NULL) \
         AS open_count, \
     (SELECT COUNT(*) FROM dispatches d WHERE d.line_id = l.line_id \
         AND d.phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') AND d.phase <> 'open' \
        AND NOT (d.phase = 'in_doubt' AND d.slot IS NULL) \
         AND NOT EXISTS (SELECT 1 FROM treatments t WHERE t.line_id = d.line_id \
             AND t.user_id = d.user_id AND t.ended_at IS NULL)) AS reserved_count";

#[derive(FromRow)]
pub(super) struct LineRow {
    pub(super) line_id: String,
    pub(super) name: String,
    pub(super) manager_id: String,
    pub(super) capacity: i64,
    pub(super) position: i64,
    pub(super) enabled: i64,
    pub(super) present: i64,
    pub(super) paused: Option<String>,
    #[sqlx(flatten)]
    pub(super) signs: SignsRow,
    pub(super) state: String,
    pub(super) since: i64,
    pub(super) last_used_at: Option<i64>,
    pub(super) open_count: i64,
    pub(super) reserved_count: i64,
}

impl LineRow {
    pub(super) const fn occupancy(&self) -> Occupancy {
        Occupancy {
            enabled: self.enabled == 1 && self.present == 1,
            paused: self.paused.is_some(),
            known: self.signs.is_known(),
            capacity: self.capacity,
            open: self.open_count,
            reserved: self.reserved_count,
        }
    }

    pub(super) fn to_line(&self) -> Line {
        Line {
            id: self.line_id.as_str().into(),
            name: self.name.clone(),
            manager: self.manager_id.as_str().into(),
            position: self.position,
            last_used_at: time(self.last_used_at),
            occupancy: self.occupancy(),
        }
    }
}

/// Adds what happened to a payment to its timeline.
pub(super) async fn write_timeline(conn: &mut Conn, payment: &Payment, now: Time) -> Result<()> {
    if payment.happened.is_empty() {
        return Ok(());
    }
    let mut insert = super::Statement::new(
        "INSERT INTO timeline (payment_id, at, state, reason, line_id, words) ",
    );
    insert.push_values(&payment.happened, |mut row, (state, reason)| {
        row.push_bind(payment.id.as_str().to_owned())
            .push_bind(now.micros())
            .push_bind(state.as_str())
            .push_bind(reason.code.as_str())
            .push_bind(reason.line.as_ref().map(|line| line.as_str().to_owned()))
            .push_bind(reason.words.clone());
    });
    insert.build().execute(conn).await.doing("write a payment's timeline").map(|_| ())
}

/// Writes down where a payment is, and what happened to it; answers the change that is to be
/// written with those of the same decision.
pub(super) async fn write_payment(
    conn: &mut Conn,
    payment: &Payment,
    now: Time,
) -> Result<NewChange> {
    let text = |line: &str| line.to_owned();
    let done = sqlx::query(
        "UPDATE payments SET state = $1, reason = $2, reason_line_id = $3, reason_words = $4, \
         hold_code = $5, hold_words = $6, manager_id = $7, user_id = $8, author_id = $9, \
         line_id = $10, treatment_id = $11, episode = $12, attempts = $13, dispatched_at = $14, \
         closed_at = $15, updated_at = $16, recheck = 0 WHERE id = $17",
    )
    .bind(payment.state.as_str())
    .bind(payment.reason.code.as_str())
    .bind(payment.reason.line.as_ref().map(|line| text(line.as_str())))
    .bind(payment.reason.words.clone())
    .bind(payment.hold.as_ref().map(|hold| hold.code.as_str()))
    .bind(payment.hold.as_ref().and_then(|hold| hold.words.clone()))
    .bind(payment.manager.as_ref().map(|manager| text(manager.as_str())))
    .bind(payment.user.as_ref().map(|user| text(user.as_str())))
    .bind(payment.author.as_ref().map(|author| text(author.as_str())))
    .bind(payment.line.as_ref().map(|line| text(line.as_str())))
    .bind(payment.treatment.as_ref().map(|treatment| text(treatment.as_str())))
    .bind(payment.episode)
    .bind(payment.attempts)
    .bind(micros(payment.dispatched_at))
    .bind(micros(payment.closed_at))
    .bind(now.micros())
    .bind(text(payment.id.as_str()))
    .execute(&mut *conn)
    .await
    .doing("write a payment")?;
    if !one_row(&done) {
        return Err(StoreError::inconsistent("payments", "id", payment.id.as_str()));
    }
    write_timeline(conn, payment, now).await?;
    Ok(NewChange::of_payment(payment, now))
}

/// Writes down where a dispatch is.
pub(super) async fn write_dispatch(conn: &mut Conn, dispatch: &Dispatch) -> Result<()> {
    let done = sqlx::query(
        "UPDATE dispatches SET line_id = $1, slot = $2, phase = $3, treatment_id = $4, \
         due_at = $5, lease_until = $6, failures = $7, claimed_at = $8, sent_at = $9, \
         rehook = $10, echo = $11 WHERE id = $12",
    )
    .bind(dispatch.line.as_str().to_owned())
    .bind(dispatch.slot)
    .bind(dispatch.phase.as_str())
    .bind(dispatch.treatment.as_ref().map(|treatment| treatment.as_str().to_owned()))
    .bind(dispatch.due_at.micros())
    .bind(micros(dispatch.lease_until))
    .bind(dispatch.failures)
    .bind(micros(dispatch.claimed_at))
    .bind(micros(dispatch.sent_at))
    .bind(dispatch.rehook.as_str())
    .bind(dispatch.echo.clone())
    .bind(dispatch.id)
    .execute(conn)
    .await
    .doing("write a dispatch")?;
    if !one_row(&done) {
        let id = dispatch.id.to_string();
        return Err(StoreError::inconsistent("dispatches", "id", &id));
    }
    Ok(())
}
