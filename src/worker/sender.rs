//! Sends the messages of dispatches.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::connect::{HookKind, OutgoingMessage, SendMode};
use crate::core::dispatch::{CARRIED_OUT_WITHIN, Rehook};
use crate::core::money::{Currency, Money};
use crate::core::outcome::{Answer, NotDone};
use crate::core::time::{Span, Time};
use crate::message::{MessageData, MessageTemplate};
use crate::store::bounds::CLAIM_LEASE;
use crate::store::{self, About, ClaimedDispatch};
use crate::wake::{Wake, Worker};
use crate::worker::{Parts, Step};

/// Messages under way at once in one process: each is one lane that claims, sends, records.
pub const LANES: usize = 8;

/// How long before the end of a claim its call must have begun: the call's own time limit, and a
/// second to write its answer down.
pub const CALL_MAX: Span = Span::from_secs(11);
/// How long after its claim a call may begin.
pub const BEGUN_WITHIN: Span = Span::from_micros(CLAIM_LEASE.micros() - CALL_MAX.micros());

/// The time limit of a call, [`Timeouts`](crate::connect::client::Timeouts).
const ANSWERED_WITHIN: Span = Span::from_secs(10);
const _: () = assert!(
    CARRIED_OUT_WITHIN.micros() >= CLAIM_LEASE.micros() + ANSWERED_WITHIN.micros(),
    "a look must not prove absent what the platform may still carry out"
);

/// One lane: claims one dispatch at a time.
pub struct Sender {
    parts: Parts,
    mode: SendMode,
    wake: Wake,
    /// Answers that the database did not take yet, at most one for each lane: a lane claims nothing
    /// new before they are written down.
    unwritten: Mutex<Vec<Heard>>,
}

/// The answer to a claimed call.
struct Heard {
    claimed: ClaimedDispatch,
    answer: Answer,
}

impl Sender {
    /// A lane that writes in this mode.
    pub const fn new(parts: Parts, mode: SendMode, wake: Wake) -> Self {
        Self { parts, mode, wake, unwritten: Mutex::new(Vec::new()) }
    }

    async fn send(&self, claimed: ClaimedDispatch) -> store::Result<()> {
        let answer = self.answer(&claimed).await?;
        log_answer(&claimed, &answer);
        self.write_down(Heard { claimed, answer }).await
    }

    async fn answer(&self, claimed: &ClaimedDispatch) -> store::Result<Answer> {
        let message = self.message(claimed);
        Ok(match self.rehook(claimed).await? {
            Some(answer) => answer,
            // Setting the hook took long: not even a permit is asked for.
            None if self.parts.clock.now() >= message.deadline => {
                Answer::NotDone { why: NotDone::TooLate, retry_after: None }
            }
            None => self.call(&message).await,
        })
    }

    /// Writes an answer down; if that fails it is kept, and the next step tries again. Only a crash
    /// in between leaves a doubt.
    async fn write_down(&self, heard: Heard) -> store::Result<()> {
        let Parts { store, clock, .. } = &self.parts;
        let Heard { claimed, answer } = &heard;
        match store.record_answer(claimed.id, claimed.fence, answer, clock.now()).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let (line, payment) = (&claimed.line, &claimed.about.payment.id);
                tracing::warn!(
                    payment.id = %payment, line.id = %line, fence = claimed.fence,
                    "the answer for payment {payment} came after its claim had run out"
                );
                Ok(())
            }
            Err(error) => {
                self.unwritten().push(heard);
                Err(error)
            }
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one unwritten answer; the lock is not held meanwhile.
    fn next_unwritten(&self) -> Option<Heard> {
        self.unwritten().pop()
    }

    /// The one call. When a stop cannot wait for its answer any longer, it is in doubt: written
    /// down now, the doubt is settled by whoever runs next and waits for no lease.
    async fn call(&self, message: &OutgoingMessage) -> Answer {
        tokio::select! {
            biased;
            answer = self.parts.chat.send_message(message) => answer,
            () = self.parts.tasks.late() => Answer::Unknown {
                detail: "the service had to stop before the answer came".to_owned(),
            },
        }
    }

    /// Sets the bot hook where it was found missing; an answer means that no message may go out.
    async fn rehook(&self, claimed: &ClaimedDispatch) -> store::Result<Option<Answer>> {
        if claimed.rehook != Rehook::Wanted {
            return Ok(None);
        }
        let set = tokio::select! {
            biased;
            set = self.parts.chat.set_hook(HookKind::Bot, &claimed.line) => set,
            () = self.parts.tasks.late() => {
                Answer::NotDone { why: NotDone::Stopping, retry_after: None }
            }
        };
        match set {
            // Refused or not: the message is tried once more, and a further refusal is meant.
            Answer::Done | Answer::Refused { .. } => {
                let store = &self.parts.store;
                store.record_rehook(claimed.id, claimed.fence, Rehook::Done).await?;
                Ok(None)
            }
            not_done @ Answer::NotDone { .. } => Ok(Some(not_done)),
            // Setting a hook twice does no harm: nothing is in doubt but the hook.
            Answer::Unknown { detail } => Ok(Some(Answer::NotDone {
                why: NotDone::NeverConnected(format!("setting the bot hook: {detail}")),
                retry_after: None,
            })),
        }
    }

    fn message(&self, claimed: &ClaimedDispatch) -> OutgoingMessage {
        OutgoingMessage {
            line: claimed.line.clone(),
            user: claimed.user.clone(),
            author: claimed.author.clone(),
            mode: self.mode,
            notification_only: false,
            // Without it the platform would close the treatment after an hour (connect-api.md 4.1).
            general_settings: true,
            keyboard: None,
            text: self.text(&claimed.about),
            deadline: claimed.lease_until.minus(CALL_MAX),
        }
    }

    fn text(&self, about: &About) -> String {
        let Some(data) = message_data(about) else { return about.payment.number.to_string() };
        self.parts.template.render(&data).unwrap_or_else(|problem| {
            // The template was tried out at start; a payment must go out all the same.
            let id = &about.payment.id;
            tracing::error!(payment.id = %id, "the template fails for payment {id}: {problem}");
            MessageTemplate::built_in().render(&data).unwrap_or_else(|_| data.number.clone())
        })
    }
}

/// What a template may speak of.
fn message_data(about: &About) -> Option<MessageData> {
    let given = &about.payment;
    Some(MessageData {
        number: given.number.to_string(),
        amount: Money::from_kopecks(given.amount).ok()?,
        currency: Currency::parse(&given.currency).ok()?,
        counterparty_name: about.counterparty_name.clone(),
        inn: about.inn.clone(),
        order: given.order.clone(),
        purpose: given.purpose.clone(),
        paid_at: given.paid_at,
        manager_name: about.manager_name.clone(),
        text: given.text.clone(),
    })
}

fn log_answer(claimed: &ClaimedDispatch, answer: &Answer) {
    let (line, payment) = (&claimed.line, &claimed.about.payment.id);
    match answer {
        Answer::Done => tracing::info!(
            payment.id = %payment, line.id = %line,
            "the platform took the message of payment {payment} on line {line}"
        ),
        // The platform's words may quote what it was sent: the payment's timeline has them.
        Answer::Refused { status, .. } => tracing::warn!(
            payment.id = %payment, line.id = %line, status,
            "the platform refused payment {payment} on line {line} with {status}"
        ),
        // Health tells once that the platform is down; not once for each try.
        Answer::NotDone { .. } => tracing::debug!(
            payment.id = %payment, line.id = %line,
            "payment {payment} was not taken on line {line}, it is tried again"
        ),
        Answer::Unknown { detail } => tracing::warn!(
            payment.id = %payment, line.id = %line, detail,
            "payment {payment} on line {line} is in doubt: {detail}"
        ),
    }
}

#[async_trait]
impl Step for Sender {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, owner, .. } = &self.parts;
        while let Some(heard) = self.next_unwritten() {
            self.write_down(heard).await?;
        }
        let now = clock.now();
        let mut claimed = store.claim_dispatches(owner, now, now.plus(CLAIM_LEASE), 1).await?;
        let Some(claimed) = claimed.pop() else { return Ok(false) };
        // There may be more: let another lane look while this one waits for the platform.
        self.wake.ring(Worker::Sender);
        self.send(claimed).await?;
        Ok(true)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        Ok(self.parts.store.next_due().await?.sender)
    }
}
