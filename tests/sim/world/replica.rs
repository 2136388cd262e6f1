//! One process of the program: its real workers, and the steps they are in the middle of.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use freeline::clock::Clock;
use freeline::connect::{Chat, SendMode};
use freeline::core::time::Span;
use freeline::health::Health;
use freeline::lifecycle::Tasks;
use freeline::mail::Mailer;
use freeline::message::MessageTemplate;
use freeline::store::{self, Store};
use freeline::wake::Wake;
use freeline::worker::dispatcher::Dispatcher;
use freeline::worker::expirer::Expirer;
use freeline::worker::hooks::HookPolicy;
use freeline::worker::intake::Intake;
use freeline::worker::notifier::Notifier;
use freeline::worker::reconciler::Reconciler;
use freeline::worker::sender::Sender;
use freeline::worker::{Gate, Parts, Step};

use super::plan::WORKERS;
use super::platform::HOOK_URL;
use super::turnstile::{Calls, Fate, Turnstile};

/// How often the hooks are compared.
pub(super) const CHECK_EVERY: Span = Span::from_secs(600);

/// What a replica works with.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) store: Arc<dyn Store>,
    pub(super) chat: Arc<dyn Chat>,
    pub(super) mailer: Arc<dyn Mailer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) mode: SendMode,
    pub(super) is_alone: bool,
}

type Going = Pin<Box<dyn Future<Output = store::Result<bool>> + Send>>;

pub(super) struct Replica {
    workers: [Arc<dyn Step>; WORKERS.len()],
    going: [Option<Going>; WORKERS.len()],
    reconciler: Arc<Reconciler>,
}

/// What came of a worker's going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Went {
    /// It stands before another call.
    Stands,
    /// It did something.
    Did,
    /// There was nothing to do.
    Nothing,
    /// The database failed.
    Failed,
}

impl Replica {
    /// Starts a process under a name that no other has or had.
    pub(super) fn start(around: &Around, owner: &str) -> Self {
        let parts = Parts {
            store: Arc::clone(&around.store),
            chat: Arc::clone(&around.chat),
            mailer: Some(Arc::clone(&around.mailer)),
            clock: Arc::clone(&around.clock),
            health: Arc::new(Health::default()),
            template: Arc::new(MessageTemplate::built_in()),
            owner: owner.into(),
            gate: Gate::default(),
            tasks: Tasks::new(),
        };
        let policy = HookPolicy {
            url: HOOK_URL.to_owned(),
            fingerprint: "our credentials".to_owned(),
            takeover: false,
            mode: around.mode,
        };
        let reconciler =
            Arc::new(Reconciler::new(parts.clone(), policy, CHECK_EVERY, around.is_alone));
        let sender = Arc::new(Sender::new(parts.clone(), around.mode, Wake::default()));
        Self {
            workers: [
                Arc::new(Intake::new(parts.clone())),
                Arc::new(Dispatcher(parts.clone())),
                Arc::<Sender>::clone(&sender),
                sender,
                Arc::new(Notifier(parts.clone())),
                Arc::<Reconciler>::clone(&reconciler),
                Arc::new(Expirer::new(parts, around.is_alone)),
            ],
            going: std::array::from_fn(|_| None),
            reconciler,
        }
    }

    /// Lets a worker make so many calls.
    pub(super) async fn go(&mut self, worker: usize, turnstile: &Turnstile, calls: Calls) -> Went {
        let going = self.going[worker].get_or_insert_with(|| {
            let step = Arc::clone(&self.workers[worker]);
            Box::pin(async move { step.step().await })
        });
        let ended = turnstile.resume(going.as_mut(), calls).await;
        let Some(ended) = ended else { return Went::Stands };
        self.going[worker] = None;
        match ended {
            Ok(true) => Went::Did,
            Ok(false) => Went::Nothing,
            Err(_) => Went::Failed,
        }
    }

    /// Whether a worker is in the middle of a step.
    pub(super) const fn is_going(&self, worker: usize) -> bool {
        self.going[worker].is_some()
    }

    /// Gives the lease back, as at a stop that was asked for; the steps under way are ended first.
    pub(super) async fn stop(mut self, turnstile: &Turnstile) {
        for worker in 0..WORKERS.len() {
            if self.going[worker].is_some() {
                self.go(worker, turnstile, Calls::ALL).await;
            }
        }
        // If that fails the lease runs out by itself.
        drop(turnstile.run(self.reconciler.resign(), Fate::Fine).await);
    }
}
