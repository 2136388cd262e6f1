//! The auditor: checks what must always be true against the tables, and never repairs anything.
//!
//! Each process audits for itself: it only reads. What is under way is looked at as a whole, what
//! is over a page at a time, so that an audit costs the same however many payments there are.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::core::id::PaymentId;
use crate::core::invariant::Breach;
use crate::core::time::{Span, Time};
use crate::findings::Findings;
use crate::store::{self, Cursor};
use crate::worker::{Parts, Step};

/// Between two audits: a breach is known within a minute.
const AUDIT_EVERY: Span = Span::from_secs(60);
/// The same while payments that changed are left to be looked at.
const AUDIT_ON_AFTER: Span = Span::from_secs(1);

/// Looks at everything that is under way, and at what has changed since the last look.
pub struct Auditor {
    parts: Parts,
    findings: Arc<Findings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_at: Time,
    after: Option<Cursor>,
}

impl Auditor {
    /// Has looked at nothing yet.
    pub fn new(parts: Parts, findings: Arc<Findings>) -> Self {
        Self { parts, findings, state: Mutex::default() }
    }

    /// Looks now; answers what is broken.
    pub async fn audit(&self) -> store::Result<Vec<Breach>> {
        let Parts { store, clock, .. } = &self.parts;
        let again: Vec<PaymentId> =
            self.findings.report().findings.iter().filter_map(|one| payment(&one.breach)).collect();
        let after = self.state.lock().unwrap_or_else(PoisonError::into_inner).after.clone();
        let audited = store.audit(after.as_ref(), &again, clock.now()).await?;
        let breaches = audited.breaches();
        let now = clock.now();
        self.findings.replace(&breaches, now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.next_at = now.plus(if audited.has_more { AUDIT_ON_AFTER } else { AUDIT_EVERY });
        if audited.next.is_some() {
            state.after = audited.next;
        }
        Ok(breaches)
    }

    fn next_at(&self) -> Time {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).next_at
    }
}

/// The payment that has to be looked at again to see whether the promise holds again.
fn payment(breach: &Breach) -> Option<PaymentId> {
    match breach {
        Breach::SentTwice(payment)
        | Breach::MayGoOutAgain(payment)
        | Breach::StateUnfounded(payment, _)
        | Breach::HeldByNothing(payment, _)
        | Breach::WaitsForNothing(payment, _)
        | Breach::NoticedTwice(payment, _) => Some(payment.clone()),
        Breach::OverCapacity(_)
        | Breach::PlaceShared(..)
        | Breach::ChatShared(..)
        | Breach::OpenTwice(..) => None,
    }
}

#[async_trait]
impl Step for Auditor {
    async fn step(&self) -> store::Result<bool> {
        if self.next_at() <= self.parts.clock.now() {
            self.audit().await?;
        }
        Ok(false)
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        Ok(Some(self.next_at()))
    }
}
