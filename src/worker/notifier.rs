//! Sends the notices that all lines of a manager are busy.

use async_trait::async_trait;

use crate::core::line::LineState;
use crate::core::money::{Currency, Money};
use crate::core::time::Time;
use crate::mail::notice::{Notice, NoticeLine, NoticePayment, render_notice};
use crate::mail::{Delivery, Mail, Mailer};
use crate::store::bounds::NOTICE_LEASE;
use crate::store::{self, ClaimedNotice, NoticeOutcome};
use crate::worker::{Parts, Step};

/// Sends notices one after the other.
pub struct Notifier(pub Parts);

impl Notifier {
    async fn send(&self, mailer: &dyn Mailer, claimed: &ClaimedNotice) -> NoticeOutcome {
        let Some((subject, body)) = text(claimed) else {
            return NoticeOutcome::Refused("its text could not be made".to_owned());
        };
        let mail = Mail {
            id: format!("freeline-{}-{}", claimed.payment, claimed.episode),
            to: claimed.recipient.clone(),
            subject,
            body,
        };
        let delivery = tokio::select! {
            biased;
            delivery = mailer.send(&mail) => delivery,
            () = self.0.tasks.late() => {
                return NoticeOutcome::Unknown("the service had to stop meanwhile".to_owned());
            }
        };
        let (outcome, trouble) = match delivery {
            Delivery::Sent => (NoticeOutcome::Sent, None),
            Delivery::NotSent(words) => (NoticeOutcome::NotSent(words.clone()), Some(words)),
            Delivery::Refused(words) => (NoticeOutcome::Refused(words), None),
            Delivery::Unknown(words) => (NoticeOutcome::Unknown(words.clone()), Some(words)),
        };
        self.0.health.mail_answered(trouble.as_deref(), self.0.clock.now());
        outcome
    }
}

fn text(claimed: &ClaimedNotice) -> Option<(String, String)> {
    let given = &claimed.about.payment;
    let notice = Notice {
        payment: NoticePayment {
            number: given.number.to_string(),
            amount: Money::from_kopecks(given.amount).ok()?,
            currency: Currency::parse(&given.currency).ok()?,
            counterparty_name: claimed.about.counterparty_name.clone(),
            inn: claimed.about.inn.clone(),
            order: given.order.clone(),
            purpose: given.purpose.clone(),
            paid_at: given.paid_at,
            received_at: claimed.about.received_at,
            priority: u8::try_from(given.priority).unwrap_or(0),
        },
        manager_name: claimed.about.manager_name.clone(),
        lines: claimed.lines.iter().map(line).collect(),
    };
    match render_notice(&notice) {
        Ok(text) => Some(text),
        Err(problem) => {
            let id = &claimed.payment;
            tracing::error!(payment.id = %id, "the notice for payment {id} has no text: {problem}");
            None
        }
    }
}

fn line(line: &store::NoticeLine) -> NoticeLine {
    let state = match line.state {
        LineState::Free => "свободна",
        LineState::Busy => "занята",
        LineState::Reserved => "отведена под другую оплату",
        LineState::Paused => "приостановлена",
        LineState::Disabled => "отключена",
        LineState::Unknown => "состояние неизвестно",
    };
    NoticeLine {
        name: line.name.clone(),
        state: state.to_owned(),
        since: Some(line.since),
        treatments: usize::try_from(line.open).unwrap_or(0),
    }
}

#[async_trait]
impl Step for Notifier {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, owner, mailer, .. } = &self.0;
        let Some(mailer) = mailer else { return Ok(false) };
        let now = clock.now();
        let claimed = store.claim_notices(owner, now, now.plus(NOTICE_LEASE), 1).await?;
        let Some(claimed) = claimed.first() else { return Ok(false) };
        let outcome = self.send(&**mailer, claimed).await;
        store.record_notice(claimed.id, claimed.fence, &outcome, clock.now()).await?;
        Ok(true)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        match self.0.mailer {
            Some(_) => Ok(self.0.store.next_due().await?.notifier),
            None => Ok(None),
        }
    }
}
