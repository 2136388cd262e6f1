//! The workers: they take no input, are woken or time out, and look at the tables.
//!
//! Each has a `step` that does what is due now and answers whether there was anything; tests call
//! it by hand, production calls it in a loop. Every effect is a row that was written together with
//! its cause, so a worker that dies loses nothing: the next step, here or in another replica, goes
//! on.
//!
//! Invariant: no worker holds a transaction across a call to the outside. It claims with a lease
//! and a fencing number, calls, and writes the outcome down guarded by that number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::connect::Chat;
use crate::core::time::{Span, Time};
use crate::health::Health;
use crate::lifecycle::Tasks;
use crate::mail::Mailer;
use crate::message::MessageTemplate;
use crate::store::{self, Store, StoreError};
use crate::telemetry;
use crate::wake::{Wake, Worker};

pub mod auditor;
pub mod courier;
pub mod dispatcher;
pub mod expirer;
pub mod hooks;
pub mod intake;
pub mod janitor;
pub mod notifier;
pub mod pusher;
pub mod reconciler;
pub mod sender;

/// How long after a replica is gone another has taken over what it was at, its calls to the platform
/// included; the hand-over of a mail may take longer ([`NOTICE_LEASE`](store::bounds::NOTICE_LEASE)).
pub const TAKEN_OVER_WITHIN: Span = Span::from_secs(15);
/// The longest a worker sleeps without being woken: what a lost wake-up can cost.
const TICK: Duration = Duration::from_secs(5);
/// The pause after the database failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What the workers work with.
#[derive(Clone)]
pub struct Parts {
    /// The tables.
    pub store: Arc<dyn Store>,
    /// The platform.
    pub chat: Arc<dyn Chat>,
    /// The mail server; `None` while notices are only shown.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is known of the services we depend on.
    pub health: Arc<Health>,
    /// The text of messages.
    pub template: Arc<MessageTemplate>,
    /// This process, as it signs its claims: no two processes have one name.
    pub owner: Arc<str>,
    /// Whether what the tables say of the lines can be believed.
    pub gate: Gate,
    /// Whether a stop was asked for.
    pub tasks: Tasks,
}

/// Closed from the start of the process until it is clear that the lines' states are not those of
/// a time before which nobody heard the events any more.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    is_open: Arc<AtomicBool>,
    wake: Wake,
}

impl Gate {
    /// A closed one that rings when it opens.
    pub fn new(wake: Wake) -> Self {
        Self { is_open: Arc::default(), wake }
    }

    /// From now on payments may be handed out; rings for the dispatcher, which has waited for it.
    pub fn open(&self) {
        if !self.is_open.swap(true, Ordering::AcqRel) {
            self.wake.ring(Worker::Dispatcher);
        }
    }

    /// Whether payments may be handed out.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}

/// One worker.
#[async_trait]
pub trait Step: Send + Sync {
    /// Does what is due now; answers whether there was anything to do.
    async fn step(&self) -> store::Result<bool>;

    /// When it has something to do by itself.
    async fn next_due(&self) -> store::Result<Option<Time>>;
}

/// Steps a worker for as long as the application runs.
pub async fn run(
    kind: Worker,
    step: Arc<dyn Step>,
    clock: Arc<dyn Clock>,
    wake: Wake,
    tasks: Tasks,
) {
    while !tasks.is_stopping() {
        let pause = match rest(&*step, &*clock).await {
            Ok(None) => continue,
            Ok(Some(pause)) => pause,
            Err(error) => {
                log_failure(kind, &error);
                // Not even a ring shortens this: whoever rings would fill the log.
                tokio::select! {
                    () = tokio::time::sleep(AFTER_FAILURE) => {}
                    () = tasks.stopping() => {}
                }
                continue;
            }
        };
        tokio::select! {
            () = wake.rung(kind) => {}
            () = tokio::time::sleep(pause) => {}
            () = tasks.stopping() => {}
        }
    }
}

fn log_failure(kind: Worker, error: &StoreError) {
    telemetry::tell_outage(&format!("the {} could not go on", kind.name()), error);
}

/// Steps once; answers how long to rest, `None` if there may be more to do.
async fn rest(step: &dyn Step, clock: &dyn Clock) -> store::Result<Option<Duration>> {
    if step.step().await? {
        return Ok(None);
    }
    let due = step.next_due().await?;
    Ok(Some(due.map_or(TICK, |due| due.since(clock.now()).to_duration().min(TICK))))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_gate_that_opens_rings_for_the_dispatcher_once() {
        let wake = Wake::default();
        let gate = Gate::new(wake.clone());
        let has_rung = || wake.rung(Worker::Dispatcher).now_or_never().is_some();
        assert!(!gate.is_open() && !has_rung());
        gate.open();
        assert!(gate.is_open() && has_rung());
        gate.open();
        assert!(!has_rung(), "it was open already");
    }
}
