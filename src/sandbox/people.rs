//! Simulated people: specialists who take and close treatments, users who open them.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::core::id::{LineId, UserId};
use crate::lifecycle::Tasks;

use super::config::{line_id, specialist_id, user_id};
use super::handle::SandboxHandle;
use super::model::{Refused, Treatment};
use super::traces::Opening;

/// What users say when they write on their own.
const USER_TEXT: &str = "Добрый день! Подскажите, пожалуйста.";

/// How the people behave.
#[derive(Clone, Debug)]
pub struct PeopleConfig {
    /// Between the opening of a treatment and the moment a specialist takes it.
    pub take_after: RangeInclusive<Duration>,
    /// Between taking a treatment and closing it.
    pub close_after: RangeInclusive<Duration>,
    /// Share of closed treatments that the user rates.
    pub rated: f64,
    /// Between two treatments that users open on their own; `None` = they never do.
    pub users_write_every: Option<RangeInclusive<Duration>>,
    /// What chance is derived from: the same seed, the same behaviour.
    pub seed: u64,
}

impl Default for PeopleConfig {
    fn default() -> Self {
        Self {
            take_after: Duration::from_millis(200)..=Duration::from_secs(1),
            close_after: Duration::from_secs(1)..=Duration::from_secs(4),
            rated: 0.5,
            users_write_every: None,
            seed: 1,
        }
    }
}

/// What somebody is about to do.
enum Intent {
    Take(Treatment),
    Close(Treatment),
    Write,
}

type Waiting = Pin<Box<dyn Future<Output = Intent> + Send>>;

/// All simulated people of one sandbox.
struct People {
    handle: SandboxHandle,
    config: PeopleConfig,
    rng: StdRng,
    intents: FuturesUnordered<Waiting>,
}

/// Lets people live in the sandbox until the stop. Open treatments are taken up too.
pub fn start(handle: SandboxHandle, config: PeopleConfig, tasks: &Tasks) {
    let rng = StdRng::seed_from_u64(config.seed);
    // Watched before the open ones are listed, so that none falls in between.
    let opened = handle.watch_opened();
    let mut people = People { handle, config, rng, intents: FuturesUnordered::new() };
    people.take_up_open_ones();
    people.plan_writing();
    let stopping = tasks.clone();
    tasks.spawn("sandbox people", async move {
        tokio::select! {
            () = people.live(opened) => {}
            () = stopping.stopping() => {}
        }
    });
}

impl People {
    async fn live(mut self, mut opened: broadcast::Receiver<Treatment>) {
        loop {
            tokio::select! {
                treatment = opened.recv() => match treatment {
                    Ok(treatment) => self.plan_taking(treatment),
                    // Some went by unseen; the ones seen twice are taken only once.
                    Err(RecvError::Lagged(_)) => self.take_up_open_ones(),
                    Err(RecvError::Closed) => return,
                },
                Some(intent) = self.intents.next() => {
                    if let Err(error) = self.act(intent).await {
                        tracing::debug!(%error, "somebody in the sandbox came too late");
                    }
                }
            }
        }
    }

    fn take_up_open_ones(&mut self) {
        let open: Vec<Treatment> = self.handle.state().open_treatments().cloned().collect();
        for treatment in open {
            self.plan_taking(treatment);
        }
    }

    fn plan_taking(&mut self, treatment: Treatment) {
        self.plan(self.config.take_after.clone(), Intent::Take(treatment));
    }

    fn plan_writing(&mut self) {
        if let Some(every) = self.config.users_write_every.clone() {
            self.plan(every, Intent::Write);
        }
    }

    /// Does something after a random time.
    fn plan(&mut self, after: RangeInclusive<Duration>, intent: Intent) {
        let pause = self.rng.random_range(after);
        self.intents.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            intent
        }));
    }

    async fn act(&mut self, intent: Intent) -> Result<(), Refused> {
        match intent {
            Intent::Take(treatment) if self.handle.is_open(&treatment) => {
                let taken = self.take(&treatment).await?;
                self.plan(self.config.close_after.clone(), Intent::Close(taken));
            }
            Intent::Close(treatment) if self.handle.is_open(&treatment) => {
                self.handle.close(&treatment.line, &treatment.user, 82).await?;
                if self.rng.random::<f64>() < self.config.rated {
                    let quality = self.rng.random_range(3..=5);
                    self.handle.rate(&treatment.id, quality).await?;
                }
            }
            Intent::Take(_) | Intent::Close(_) => {}
            Intent::Write => {
                self.plan_writing();
                let (line, user) = self.somebody();
                let opening = Opening::by_user(&line, &user).with_text(USER_TEXT);
                self.handle.open(opening).await?;
            }
        }
        Ok(())
    }

    /// The assigned specialist goes on, otherwise any takes the treatment.
    async fn take(&mut self, treatment: &Treatment) -> Result<Treatment, Refused> {
        let Treatment { line, user, .. } = treatment;
        let now = self.handle.find_open(line, user).unwrap_or_else(|| treatment.clone());
        if now.specialist.is_some() {
            return Ok(now);
        }
        let specialists: Vec<_> = (1..=self.handle.config().specialists).collect();
        match specialists.choose(&mut self.rng) {
            Some(number) => self.handle.take(line, user, &specialist_id(*number)).await,
            None => Ok(now),
        }
    }

    /// A random user on a random line.
    fn somebody(&mut self) -> (LineId, UserId) {
        let config = self.handle.config();
        let line = self.rng.random_range(1..=config.lines.max(1));
        // The technical user, number 1, is left to the application where there are others.
        let user = self.rng.random_range(config.users.min(2)..=config.users.max(1));
        (line_id(line), user_id(user))
    }
}
