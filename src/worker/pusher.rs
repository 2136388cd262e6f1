//! Sends changes to the receiver that the settings name.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use crate::core::retry::PUSH_TRIES_MAX;
use crate::core::time::Time;
use crate::feed::Receiver;
use crate::store::bounds::PUSH_LEASE;
use crate::store::{self, ClaimedPush, PushOutcome};
use crate::telemetry::Sparse;
use crate::wake::{Wake, Worker};
use crate::worker::{Parts, Step};

/// Sends one change after the other; several run beside each other, in each replica.
pub struct Pusher {
    parts: Parts,
    receiver: Option<Arc<Receiver>>,
    wake: Wake,
    told: Mutex<Sparse>,
}

impl Pusher {
    /// Without a receiver it never does anything.
    pub fn new(parts: Parts, receiver: Option<Arc<Receiver>>, wake: Wake) -> Self {
        Self { parts, receiver, wake, told: Mutex::default() }
    }

    async fn send(&self, receiver: &Receiver, claimed: &ClaimedPush) -> PushOutcome {
        let Parts { clock, tasks, .. } = &self.parts;
        tokio::select! {
            biased;
            outcome = receiver.send(&claimed.change, clock.now()) => outcome,
            () = tasks.late() => PushOutcome::Failed {
                detail: "the service had to stop meanwhile".to_owned(),
                retry_after: None,
                is_away: true,
            },
        }
    }

    /// One line a second, however many changes are parked at once.
    fn tell(&self, claimed: &ClaimedPush, outcome: &PushOutcome) {
        let (seq, tries) = (claimed.change.seq, claimed.tries);
        match outcome {
            PushOutcome::Delivered => {
                tracing::debug!(change.seq = seq, tries, "change {seq} is delivered");
            }
            PushOutcome::Gone => tracing::error!(
                change.seq = seq,
                "the receiver of changes answered 410: nothing more is sent to it until somebody \
                 asks for it (POST /api/v1/changes/parked/replay)"
            ),
            PushOutcome::Failed { detail, .. } if tries < PUSH_TRIES_MAX => tracing::debug!(
                change.seq = seq,
                tries,
                "change {seq} is not delivered, it is tried again: {detail}"
            ),
            PushOutcome::Failed { detail, .. } => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(left_out) = told.admit(Instant::now()) {
                    tracing::error!(
                        change.seq = seq,
                        tries,
                        left_out,
                        "change {seq} is parked after {tries} tries: {detail}"
                    );
                }
            }
        }
    }
}

#[async_trait]
impl Step for Pusher {
    async fn step(&self) -> store::Result<bool> {
        let Some(receiver) = &self.receiver else { return Ok(false) };
        let Parts { store, clock, tasks, .. } = &self.parts;
        if tasks.is_stopping() {
            return Ok(false);
        }
        let now = clock.now();
        let claimed = store.claim_pushes(now, now.plus(PUSH_LEASE), 1).await?;
        if claimed.lost > 0 {
            let lost = claimed.lost;
            tracing::error!(lost, "{lost} changes were forgotten before they could be sent");
        }
        let Some(claimed) = claimed.pushes.first() else { return Ok(false) };
        // There may be more: let another one look while this one waits for the receiver.
        self.wake.ring(Worker::Pusher);
        let outcome = self.send(receiver, claimed).await;
        self.tell(claimed, &outcome);
        let seq = claimed.change.seq;
        store.record_push(seq, claimed.fence, &outcome, clock.now()).await?;
        Ok(true)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        match self.receiver {
            Some(_) => self.parts.store.next_push_due(self.parts.clock.now()).await,
            None => Ok(None),
        }
    }
}
