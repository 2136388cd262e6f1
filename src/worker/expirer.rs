//! Notices callers that vanished, and echoes that do not come: a claim that was not answered for
//! becomes a doubt, and a doubt whose time has come is settled.
//!
//! Every replica does this for all, and nothing here waits for anything but the database: however
//! slow the platform and the mail server are, and whoever leads, a claim is taken over when it ends.

use async_trait::async_trait;

use crate::core::time::{Span, Time};
use crate::store::{self, bounds::CLAIM_LEASE};
use crate::worker::{Parts, Step, TAKEN_OVER_WITHIN, TICK};

/// For the transaction in which a claim ends, and the way to it.
const MARGIN: Span = Span::from_secs(2);
const _: () = assert!(
    CLAIM_LEASE.micros() + MARGIN.micros() <= TAKEN_OVER_WITHIN.micros(),
    "a claim ends too late to be taken over in time"
);
const _: () = assert!(
    TICK.as_secs() < CLAIM_LEASE.whole_secs().unsigned_abs(),
    "a claim made by another replica is seen before it ends"
);

/// Ends claims that ran out, and doubts that silence settles.
pub struct Expirer {
    parts: Parts,
    /// SQLite has one process at a time: whoever else claimed something is gone.
    is_alone: bool,
}

impl Expirer {
    /// That of one process, which may be the only one.
    pub const fn new(parts: Parts, is_alone: bool) -> Self {
        Self { parts, is_alone }
    }
}

#[async_trait]
impl Step for Expirer {
    async fn step(&self) -> store::Result<bool> {
        let Parts { store, clock, owner, .. } = &self.parts;
        let survivor = self.is_alone.then_some(&**owner);
        let now = clock.now();
        let dispatches = store.expire_claims(now, survivor).await?;
        if dispatches > 0 {
            tracing::warn!("{dispatches} payments are in doubt: their sender vanished");
        }
        let sent = store.expire_outgoing(now, survivor).await?;
        if sent > 0 {
            tracing::warn!("{sent} messages or actions are in doubt: their sender vanished");
        }
        let settled = store.settle_outgoing(now).await?;
        let notices = store.expire_notices(now, survivor).await?;
        Ok(dispatches + sent + settled + notices > 0)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        Ok(self.parts.store.next_due().await?.claims)
    }
}
