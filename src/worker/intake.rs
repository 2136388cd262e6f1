//! Takes kept events into account, and what was said in those that an older version took.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::core::time::{Span, Time};
use crate::store::{self, CaughtUp, StoreError, bounds::EVENTS_PER_BATCH};
use crate::telemetry::Chain;
use crate::worker::{Parts, Step};

/// How often it is looked whether processes of an older version have left something, while an update
/// may still be under way.
const CATCH_UP_EVERY: Span = Span::from_secs(60);

/// Takes kept events into account, in the order they came.
pub struct Intake {
    parts: Parts,
    /// When the past is looked at next; `None` when all of it is taken over.
    catch_up_at: Mutex<Option<Time>>,
}

impl Intake {
    /// Has looked at nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self { parts, catch_up_at: Mutex::new(Some(Time::default())) }
    }

    /// Takes over some of what was said before it was written down: only when nothing new waits.
    async fn catch_up(&self) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.parts;
        let now = clock.now();
        let due = *self.catch_up_at.lock().unwrap_or_else(PoisonError::into_inner);
        if due.is_none_or(|due| due > now) {
            return Ok(false);
        }
        let next = match store.catch_up(now, EVENTS_PER_BATCH).await? {
            CaughtUp::Partly => return Ok(true),
            CaughtUp::ForNow => Some(now.plus(CATCH_UP_EVERY)),
            CaughtUp::Whole => None,
        };
        *self.catch_up_at.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(false)
    }
}

#[async_trait]
impl Step for Intake {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.parts;
        match store.apply_events(clock.now(), EVENTS_PER_BATCH).await {
            Err(error) if error.is_contradiction() => {}
            applied => {
                return if applied? > 0 { Ok(true) } else { self.catch_up().await };
            }
        }
        // One event in the batch contradicts what is known: alone it must not stop the others.
        match store.apply_events(clock.now(), 1).await {
            Err(error) if error.is_contradiction() => {
                log_contradiction(&error);
                store.quarantine_oldest("it contradicts what is known").await?;
                Ok(true)
            }
            applied => Ok(applied? > 0),
        }
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        Ok(None)
    }
}

fn log_contradiction(error: &StoreError) {
    let error = Chain(error);
    tracing::error!(%error, "an event is set aside, it contradicts what is known: {error}");
}
