//! Takes kept events into account.

use async_trait::async_trait;

use crate::core::time::Time;
use crate::store::{self, StoreError, bounds::EVENTS_PER_BATCH};
use crate::telemetry::Chain;
use crate::worker::{Parts, Step};

/// Takes kept events into account, in the order they came.
pub struct Intake(pub Parts);

#[async_trait]
impl Step for Intake {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.0;
        match store.apply_events(clock.now(), EVENTS_PER_BATCH).await {
            Err(error) if error.is_contradiction() => {}
            applied => return Ok(applied? > 0),
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
