//! Takes kept events into account.

use async_trait::async_trait;

use crate::core::time::Time;
use crate::store::{self, bounds::EVENTS_PER_BATCH};
use crate::worker::{Parts, Step};

/// Takes kept events into account, in the order they came.
pub struct Intake(pub Parts);

#[async_trait]
impl Step for Intake {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.0;
        Ok(store.apply_events(clock.now(), EVENTS_PER_BATCH).await? > 0)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        Ok(None)
    }
}
