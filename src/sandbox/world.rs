//! Everything one sandbox shares between its calls, and the one way to change it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::{Span, Time};
use crate::lifecycle::Tasks;

use super::config::SandboxConfig;
use super::delivery::Outbox;
use super::faults::{CallFate, FaultDice, Faults, FaultsRefused};
use super::files::Files;
use super::hooks::{COPIES_PER_EVENT_MAX, Hooks};
use super::ledger::{CallCounts, MessageLog, MessageRecord, RateWindow};
use super::model::{Broadcast, Model, Refused, Treatment};
use super::sending::{Sent, Taken};

/// How many events one change causes at most.
const EVENTS_PER_CHANGE_MAX: usize = 4;
/// How many newly opened treatments an onlooker may lag behind.
const OPENED_MAX: usize = 1_024;

/// What changes under the lock.
#[derive(Debug)]
pub(super) struct World {
    pub(super) model: Model,
    pub(super) hooks: Hooks,
    pub(super) dice: FaultDice,
    pub(super) messages: MessageLog,
    pub(super) calls: CallCounts,
    window: RateWindow,
}

impl World {
    /// The registrations of bots have changed: users get to other bots first.
    pub(super) fn note_bots(&mut self) {
        self.model.bot_lines = self.hooks.bot_lines();
    }

    /// How long a user waits for the bot's answer.
    fn bot_patience(&self, config: &SandboxConfig) -> Span {
        let told = self.dice.faults().bot_patience_ms.map(Duration::from_millis);
        Span::from_duration(told.unwrap_or(config.bot_patience))
    }
}

/// One sandbox.
pub(super) struct Shared {
    pub(super) config: SandboxConfig,
    pub(super) tasks: Tasks,
    clock: Arc<dyn Clock>,
    world: Mutex<World>,
    outbox: Outbox,
    down: watch::Sender<bool>,
    opened: broadcast::Sender<Treatment>,
    message_count: watch::Sender<usize>,
    /// When the bot's time is over for the user who waits longest.
    bot_due: watch::Sender<Option<Time>>,
}

impl Shared {
    /// The inhabitants that `config` asks for; nothing happened yet.
    pub(super) fn new(
        config: SandboxConfig,
        base: String,
        tasks: &Tasks,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let down = watch::Sender::new(false);
        let outbox = super::delivery::start(&config, down.subscribe(), tasks)?;
        let mut model = Model::new(&config);
        model.files = Files::at(base);
        let world = World {
            model,
            hooks: Hooks::default(),
            dice: FaultDice::new(config.seed),
            messages: MessageLog::default(),
            calls: CallCounts::default(),
            window: RateWindow::new(config.rate_limits),
        };
        Ok(Self {
            config,
            tasks: tasks.clone(),
            clock,
            world: Mutex::new(world),
            outbox,
            down,
            opened: broadcast::Sender::new(OPENED_MAX),
            message_count: watch::Sender::new(0),
            bot_due: watch::Sender::new(None),
        })
    }

    /// The world, to look at or to change without causing events.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world and broadcasts the events of the change.
    ///
    /// Room for the events is waited for before, so that the order in which they are posted is
    /// the order of the changes.
    pub(super) async fn change<T>(
        &self,
        change: impl FnOnce(&mut World, Time) -> Result<(T, Vec<Broadcast>), Refused>,
    ) -> Result<T, Refused> {
        let room = self.outbox.reserve(EVENTS_PER_CHANGE_MAX * COPIES_PER_EVENT_MAX).await;
        let mut world = self.world();
        let (changed, events) = change(&mut world, self.clock.now())?;
        let World { hooks, dice, .. } = &mut *world;
        let copies = events.iter().flat_map(|event| hooks.copies(event, dice)).collect::<Vec<_>>();
        let wanted = copies.into_iter().filter(|copy| !copy.is_lost());
        // After the stop there is no room and nothing is delivered.
        for (permit, copy) in room.into_iter().flatten().zip(wanted) {
            self.outbox.post(permit, copy);
        }
        for treatment in world.model.newly_opened.drain(..) {
            // Nobody looking on is no failure.
            self.opened.send(treatment).unwrap_or_default();
        }
        self.note_due(&world);
        Ok(changed)
    }

    /// Takes a message as the platform does, and keeps it.
    pub(super) async fn send_message(&self, sent: Sent) -> Result<(), Refused> {
        let keep = |world: &mut World, now: Time| {
            let (Taken { treatment, file }, events) = world.model.send(&sent, now)?;
            let Sent { line, user, author, text, flags, .. } = sent;
            let record =
                MessageRecord { at: now, line, user, author, text, file, flags, treatment };
            world.messages.keep(record);
            Ok((world.messages.count(), events))
        };
        let count = self.change(keep).await?;
        self.message_count.send_if_modified(|known| {
            let is_newer = count > *known;
            *known = count.max(*known);
            is_newer
        });
        Ok(())
    }

    /// Counts a call that arrived.
    pub(super) fn count_call(&self, call: String) {
        self.world().calls.count(call);
    }

    /// Whether the budget has room for one more call; if so it is taken.
    pub(super) fn take_from_budget(&self) -> bool {
        let now = self.clock.now();
        self.world().window.take(now)
    }

    /// What happens to a call.
    pub(super) fn throw_for_call(&self) -> CallFate {
        self.world().dice.throw_for_call()
    }

    /// The status that commands to this line are refused with, if they are.
    pub(super) fn refusal(&self, line: &LineId) -> Option<u16> {
        self.world().dice.faults().refuse.get(line.as_str()).copied()
    }

    /// Whether the platform is down.
    pub(super) fn is_down(&self) -> bool {
        *self.down.borrow()
    }

    /// Puts these faults in the place of the ones in force.
    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), FaultsRefused> {
        faults.check()?;
        let mut world = self.world();
        if faults.forget_hooks {
            world.hooks.forget();
            world.note_bots();
        }
        self.down.send_replace(faults.down);
        world.dice = FaultDice::with(faults, self.config.seed);
        self.note_due(&world);
        Ok(())
    }

    /// Forgets all hooks now; later ones stay.
    pub(super) fn forget_hooks(&self) {
        let mut world = self.world();
        world.hooks.forget();
        world.note_bots();
    }

    /// The longest file that is taken, in bytes.
    pub(super) fn file_bytes_max(&self) -> usize {
        let told = self.world().dice.faults().file_bytes_max;
        told.map_or(self.config.file_bytes_max, |told| usize::try_from(told).unwrap_or(usize::MAX))
    }

    /// Hands every user over whom the bot has let wait too long; how many.
    pub(super) async fn hand_over_overdue(&self) -> usize {
        let config = &self.config;
        self.repeat(|world, now| {
            let patience = world.bot_patience(config);
            world.model.hand_over_overdue(patience, now)
        })
        .await
    }

    /// Gives queued treatments to specialists while one is free; how many.
    pub(super) async fn serve_queue(&self) -> usize {
        self.repeat(|world, now| world.model.serve_queue(now)).await
    }

    /// Changes one treatment after the other until there is none to be changed.
    async fn repeat(
        &self,
        change: impl Fn(&mut World, Time) -> (Option<Treatment>, Vec<Broadcast>) + Sync,
    ) -> usize {
        let mut count = 0;
        while let Ok(Some(_)) = self.change(|world, now| Ok(change(world, now))).await {
            count += 1;
        }
        count
    }

    /// When somebody's wait for the bot is over, kept up to date.
    fn note_due(&self, world: &World) {
        let patience = world.bot_patience(&self.config);
        let due = world.model.first_unanswered().map(|since| since.plus(patience));
        let runs = self.config.bot_timer || world.dice.faults().bot_patience_ms.is_some();
        let due = due.filter(|_| runs);
        self.bot_due.send_if_modified(|known| std::mem::replace(known, due) != due);
    }

    /// Hands users over by itself, as the clock goes on.
    pub(super) async fn watch_bots(&self) {
        let mut bot_due = self.bot_due.subscribe();
        loop {
            let due = *bot_due.borrow_and_update();
            let left = due.map(|due| due.since(self.clock.now()).to_duration());
            tokio::select! {
                changed = bot_due.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {
                    self.hand_over_overdue().await;
                }
            }
        }
    }

    /// Waits until no event is waiting, held back or under delivery.
    pub(super) async fn quiesce(&self) {
        self.outbox.quiesce().await;
    }

    /// Treatments as they open from now on.
    pub(super) fn watch_opened(&self) -> broadcast::Receiver<Treatment> {
        self.opened.subscribe()
    }

    /// How many messages were ever taken, as it grows.
    pub(super) fn watch_messages(&self) -> watch::Receiver<usize> {
        self.message_count.subscribe()
    }

    /// The open treatment of the user on the line.
    pub(super) fn find_open(&self, line: &LineId, user: &UserId) -> Option<Treatment> {
        self.world().model.require_open(line, user).ok().map(Treatment::from)
    }

    /// Whether this very treatment is still open.
    pub(super) fn is_open(&self, line: &LineId, user: &UserId, treatment: &TreatmentId) -> bool {
        self.find_open(line, user).is_some_and(|found| found.id == *treatment)
    }
}
