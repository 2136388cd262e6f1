//! Sends what people and the ERP want sent: messages, files, closes, transfers, assignments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::connect::{ChatAddress, HookKind, OutgoingMessage};
use crate::core::dispatch::Rehook;
use crate::core::id::UserId;
use crate::core::outcome::{Answer, NotDone};
use crate::core::outgoing::OutgoingKind;
use crate::core::time::Time;
use crate::store::bounds::CLAIM_LEASE;
use crate::store::{self, ClaimedOutgoing};
use crate::wake::{Wake, Worker};
use crate::worker::sender::CALL_MAX;
use crate::worker::{Parts, Step};

/// Calls under way at once in one process: each is one lane that claims, calls, records.
///
/// Fewer than for payments: they share the budget, and payments come first.
pub const LANES: usize = 4;

/// One lane: claims one at a time.
pub struct Courier {
    parts: Parts,
    wake: Wake,
    /// Answers that the database did not take yet, at most one for each lane.
    unwritten: Mutex<Vec<Heard>>,
}

/// The answer to a claimed call.
struct Heard {
    claimed: ClaimedOutgoing,
    answer: Answer,
}

impl Courier {
    /// A lane.
    pub const fn new(parts: Parts, wake: Wake) -> Self {
        Self { parts, wake, unwritten: Mutex::new(Vec::new()) }
    }

    async fn send(&self, claimed: ClaimedOutgoing) -> store::Result<()> {
        let answer = self.answer(&claimed).await?;
        log_answer(&claimed, &answer);
        self.write_down(Heard { claimed, answer }).await
    }

    async fn answer(&self, claimed: &ClaimedOutgoing) -> store::Result<Answer> {
        if let Some(answer) = self.rehook(claimed).await? {
            return Ok(answer);
        }
        if self.parts.clock.now() >= claimed.lease_until.minus(CALL_MAX) {
            return Ok(Answer::NotDone { why: NotDone::TooLate, retry_after: None });
        }
        // When a stop cannot wait for the answer any longer, it is in doubt, and written down.
        Ok(tokio::select! {
            biased;
            answer = self.call(claimed) => answer,
            () = self.parts.tasks.late() => Answer::Unknown {
                detail: "the service had to stop before the answer came".to_owned(),
            },
        })
    }

    /// The one call.
    async fn call(&self, claimed: &ClaimedOutgoing) -> Answer {
        let given = &claimed.given;
        let chat = &self.parts.chat;
        let at = ChatAddress { line: given.line.clone(), user: given.user.clone() };
        match (given.kind, &given.to_line, &given.specialist) {
            (OutgoingKind::Close, ..) => chat.drop_treatment(&at, given.author.as_ref()).await,
            (OutgoingKind::Transfer, Some(to), _) => {
                chat.reroute(&at, to, given.text.as_deref()).await
            }
            (OutgoingKind::Assign, _, Some(specialist)) if given.or_any => {
                self.appoint_or_any(&at, specialist).await
            }
            (OutgoingKind::Assign, _, Some(specialist)) => {
                chat.appoint(&at, specialist, given.author.as_ref()).await
            }
            (OutgoingKind::Assign, _, None) => chat.appoint_any(&at).await,
            _ => chat.send_message(&message(claimed)).await,
        }
    }

    /// Gives the treatment to this specialist if he is available, else to any who is free. Neither
    /// does harm when it is done twice.
    async fn appoint_or_any(&self, at: &ChatAddress, specialist: &UserId) -> Answer {
        let chat = &self.parts.chat;
        match chat.available_specialists(&at.line).await {
            Ok(available) if available.contains(specialist) => {
                match chat.appoint(at, specialist, None).await {
                    // He was available a moment ago.
                    Answer::Refused { .. } => chat.appoint_any(at).await,
                    answer => answer,
                }
            }
            Err(not_done @ Answer::NotDone { .. }) => not_done,
            Ok(_) | Err(_) => chat.appoint_any(at).await,
        }
    }

    /// Writes an answer down; if that fails it is kept, and the next step tries again. Only a crash
    /// in between leaves a doubt.
    async fn write_down(&self, heard: Heard) -> store::Result<()> {
        let Parts { store, clock, .. } = &self.parts;
        let ClaimedOutgoing { seq, fence, given, .. } = &heard.claimed;
        match store.record_outgoing_answer(*seq, *fence, &heard.answer, clock.now()).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let id = &given.id;
                tracing::warn!(
                    outgoing.id = %id, fence,
                    "the answer for {id} came after its claim had run out"
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

    fn next_unwritten(&self) -> Option<Heard> {
        self.unwritten().pop()
    }

    /// Sets the bot hook where it was found missing; an answer means that no call may be made.
    async fn rehook(&self, claimed: &ClaimedOutgoing) -> store::Result<Option<Answer>> {
        if claimed.rehook != Rehook::Wanted {
            return Ok(None);
        }
        let set = tokio::select! {
            biased;
            set = self.parts.chat.set_hook(HookKind::Bot, &claimed.given.line) => set,
            () = self.parts.tasks.late() => {
                Answer::NotDone { why: NotDone::Stopping, retry_after: None }
            }
        };
        match set {
            // Refused or not: it is tried once more, and a further refusal is meant.
            Answer::Done | Answer::Refused { .. } => {
                let (store, seq, fence) = (&self.parts.store, claimed.seq, claimed.fence);
                store.record_outgoing_rehook(seq, fence, Rehook::Done).await?;
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
}

fn message(claimed: &ClaimedOutgoing) -> OutgoingMessage {
    let given = &claimed.given;
    OutgoingMessage {
        line: given.line.clone(),
        user: given.user.clone(),
        author: given.author.clone(),
        mode: given.mode,
        text: given.text.clone().unwrap_or_default(),
        keyboard: given.keyboard.clone(),
        notification_only: given.notification_only,
        general_settings: given.general_settings,
        deadline: claimed.lease_until.minus(CALL_MAX),
    }
}

fn log_answer(claimed: &ClaimedOutgoing, answer: &Answer) {
    let (id, kind, line) = (&claimed.given.id, claimed.given.kind, &claimed.given.line);
    match answer {
        Answer::Done => tracing::info!(
            outgoing.id = %id, line.id = %line, "the platform took {kind} {id} on line {line}"
        ),
        // The platform's words may quote what it was sent: the record has them.
        Answer::Refused { status, .. } => tracing::warn!(
            outgoing.id = %id, line.id = %line, status,
            "the platform refused {kind} {id} on line {line} with {status}"
        ),
        // Health tells once that the platform is down; not once for each try.
        Answer::NotDone { .. } => tracing::debug!(
            outgoing.id = %id, line.id = %line, "{kind} {id} was not taken, it is tried again"
        ),
        Answer::Unknown { detail } => tracing::warn!(
            outgoing.id = %id, line.id = %line, detail,
            "nobody knows whether the platform took {kind} {id} on line {line}: {detail}"
        ),
    }
}

#[async_trait]
impl Step for Courier {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, owner, .. } = &self.parts;
        while let Some(heard) = self.next_unwritten() {
            self.write_down(heard).await?;
        }
        let now = clock.now();
        let claimed = store.claim_outgoing(owner, now, now.plus(CLAIM_LEASE)).await?;
        let Some(claimed) = claimed else { return Ok(false) };
        // There may be more: let another lane look while this one waits for the platform.
        self.wake.ring(Worker::Courier);
        self.send(claimed).await?;
        Ok(true)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        Ok(self.parts.store.next_due().await?.courier)
    }
}
