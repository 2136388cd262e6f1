//! Forgets what is kept for a time only, in batches.

use async_trait::async_trait;

use crate::core::time::{Span, Time};
use crate::store::{self, bounds::FORGOTTEN_PER_BATCH};
use crate::worker::{Parts, Step};

/// Forgets old changes. Each replica may: one that finds nothing old takes no lock.
pub struct Janitor {
    /// What it works with.
    pub parts: Parts,
    /// How long changes are kept.
    pub changes_kept: Span,
}

#[async_trait]
impl Step for Janitor {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.parts;
        let before = clock.now().minus(self.changes_kept);
        Ok(store.forget_changes(before, FORGOTTEN_PER_BATCH).await? > 0)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        // What is kept for days is not looked for to the second: each tick will do.
        Ok(None)
    }
}
