//! Hands waiting payments to free lines.

use async_trait::async_trait;

use crate::core::time::Time;
use crate::store::{self, bounds::RECHECKS_PER_BATCH};
use crate::worker::{Parts, Step};

/// Hands the payments of one due manager after the other to their lines.
pub struct Dispatcher(pub Parts);

#[async_trait]
impl Step for Dispatcher {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.0;
        // What the directory says comes first: a payment must not go to the wrong manager.
        if store.recheck_payments(clock.now(), RECHECKS_PER_BATCH).await? > 0 {
            return Ok(true);
        }
        if !self.0.gate.is_open() {
            return Ok(false);
        }
        let Some(round) = store.dispatch(clock.now()).await? else { return Ok(false) };
        for (payment, line) in &round.reserved {
            tracing::info!(
                payment.id = %payment, line.id = %line, manager.id = %round.manager,
                "line {line} is set aside for payment {payment}"
            );
        }
        if round.rejected > 0 {
            let (rejected, manager) = (round.rejected, &round.manager);
            tracing::warn!(manager.id = %manager, "{rejected} payments of {manager} are refused everywhere");
        }
        Ok(true)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        let due = self.0.store.next_due().await?.dispatcher;
        Ok(due.filter(|_| self.0.gate.is_open()))
    }
}
