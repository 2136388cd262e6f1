//! The budget of calls: the platform's limits, kept as the platform counts them.
//!
//! The platform allows 20 calls a second and 600 a minute (`connect-api.md` 1.2). When it counts a
//! call is not known, only that it is between the start and the end of the call here. So a permit
//! is taken before a call and rests for one whole window after the call has ended: then no window
//! at the platform can hold more calls than the limit, however long any of them was under way.
//!
//! Invariant: no task and no timer of its own. Who waits looks at the clock himself.
//!
//! Not covered: other processes with the same API user (give each its share), and the calls of
//! this one before it was restarted. The platform answers those with 429.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lifecycle::Tasks;

mod rate;

pub use rate::{CALLS_MAX, Limit, Rate, RateError};

/// How long a call waits for a permit at most.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Who goes first when calls have to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// A message to a chat: before everything else.
    Message,
    /// Hooks and listings: only while no message waits.
    Housekeeping,
}

/// Gives out permits for calls, first come first served within a [`Priority`].
#[derive(Debug)]
pub struct Budget {
    ledger: Mutex<Ledger>,
    /// Rings when a permit comes back or the last waiting message has gone.
    changed: Notify,
    /// Whose turn it is to look at the ledger; tokio's mutex lets in the order of coming.
    message_turn: tokio::sync::Mutex<()>,
    housekeeping_turn: tokio::sync::Mutex<()>,
    wait_max: Duration,
    /// Whose stop closes it.
    tasks: Tasks,
}

impl Budget {
    /// A budget of which nothing is used yet.
    pub fn new(rate: &Rate) -> Arc<Self> {
        Self::with_wait(rate, WAIT_MAX)
    }

    /// A budget whose callers wait at most `wait_max`.
    pub fn with_wait(rate: &Rate, wait_max: Duration) -> Arc<Self> {
        Self::until_stop(rate, wait_max, Tasks::new())
    }

    /// A budget that is closed by the stop of `tasks`: from then on no call begins.
    pub fn until_stop(rate: &Rate, wait_max: Duration, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(rate)),
            changed: Notify::new(),
            message_turn: tokio::sync::Mutex::default(),
            housekeeping_turn: tokio::sync::Mutex::default(),
            wait_max,
            tasks,
        })
    }

    /// Whether no call may begin any more.
    pub fn is_closed(&self) -> bool {
        self.tasks.is_stopping()
    }

    /// Waits for a permit for one call; `None` if there is none within the time a call may wait, or
    /// the budget is closed.
    ///
    /// Dropping the future leaves the queue and uses nothing up.
    pub async fn take(self: &Arc<Self>, priority: Priority) -> Option<Permit> {
        tokio::select! {
            biased;
            () = self.tasks.stopping() => None,
            permit = tokio::time::timeout(self.wait_max, self.wait(priority)) => permit.ok(),
        }
    }

    /// How many calls could start right now.
    pub fn left(&self) -> u32 {
        self.ledger().left(Instant::now())
    }

    /// Waits for the turn, then for room.
    async fn wait(self: &Arc<Self>, priority: Priority) -> Permit {
        let (turn, _waiting) = match priority {
            Priority::Message => (&self.message_turn, Some(WaitingMessage::new(self))),
            Priority::Housekeeping => (&self.housekeeping_turn, None),
        };
        let _turn = turn.lock().await;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no ring is missed, not even one before the first wait.
            changed.as_mut().enable();
            match self.try_take(priority) {
                Ok(permit) => return permit,
                Err(Some(at)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                Err(None) => changed.await,
            }
        }
    }

    /// A permit, or when it is worth looking again; `None`: when something has changed.
    fn try_take(self: &Arc<Self>, priority: Priority) -> Result<Permit, Option<Instant>> {
        let mut ledger = self.ledger();
        if priority == Priority::Housekeeping && ledger.messages_waiting > 0 {
            return Err(None);
        }
        ledger.take(Instant::now())?;
        Ok(Permit { budget: Arc::clone(self), reached: true })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The ledger is whole after every method of its own: a panic elsewhere does not spoil it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to make one call. Dropping it says that the call has ended, in whatever way.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a call that was made"]
pub struct Permit {
    budget: Arc<Budget>,
    /// Whether the platform may have counted the call.
    reached: bool,
}

impl Permit {
    /// The call surely never reached the platform: the permit is free again at once.
    pub fn give_back(mut self) {
        self.reached = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut ledger = self.budget.ledger();
            if self.reached {
                ledger.end(Instant::now());
            } else {
                ledger.give_back();
            }
        }
        self.budget.changed.notify_waiters();
    }
}

/// Counts one waiting message, for as long as it lives.
struct WaitingMessage<'a>(&'a Budget);

impl<'a> WaitingMessage<'a> {
    fn new(budget: &'a Budget) -> Self {
        let mut ledger = budget.ledger();
        ledger.messages_waiting = ledger.messages_waiting.saturating_add(1);
        drop(ledger);
        Self(budget)
    }
}

impl Drop for WaitingMessage<'_> {
    fn drop(&mut self) {
        {
            let mut ledger = self.0.ledger();
            ledger.messages_waiting = ledger.messages_waiting.saturating_sub(1);
        }
        self.0.changed.notify_waiters();
    }
}

/// What is used up, without any waiting: time comes in.
#[derive(Debug)]
struct Ledger {
    accounts: Vec<Account>,
    messages_waiting: usize,
}

impl Ledger {
    fn new(rate: &Rate) -> Self {
        let account = |&limit| Account { limit, running: 0, resting: VecDeque::new() };
        Self { accounts: rate.limits().iter().map(account).collect(), messages_waiting: 0 }
    }

    /// Takes one call out of every account, or says when there may be room: `None` if only the end
    /// of a running call can make some.
    fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        self.settle(now);
        let mut at = Some(now);
        for account in self.accounts.iter().filter(|account| account.left() == 0) {
            at = account.resting.front().and_then(|&free| at.map(|at| at.max(free)));
        }
        if at != Some(now) {
            return Err(at);
        }
        for account in &mut self.accounts {
            account.running = account.running.saturating_add(1);
        }
        Ok(())
    }

    /// A call has ended now.
    fn end(&mut self, now: Instant) {
        for account in &mut self.accounts {
            account.running = account.running.saturating_sub(1);
            account.resting.push_back(now + account.limit.rest());
        }
    }

    /// A call was never made.
    fn give_back(&mut self) {
        for account in &mut self.accounts {
            account.running = account.running.saturating_sub(1);
        }
    }

    fn left(&mut self, now: Instant) -> u32 {
        self.settle(now);
        self.accounts.iter().map(Account::left).min().unwrap_or(0)
    }

    /// Forgets the calls that have rested enough.
    fn settle(&mut self, now: Instant) {
        for account in &mut self.accounts {
            while account.resting.pop_front_if(|free| *free <= now).is_some() {}
        }
    }
}

/// One limit and what is used of it.
#[derive(Debug)]
struct Account {
    limit: Limit,
    /// Calls under way.
    running: u32,
    /// When the ended ones are free again, earliest first.
    resting: VecDeque<Instant>,
}

impl Account {
    fn left(&self) -> u32 {
        let resting = u32::try_from(self.resting.len()).unwrap_or(u32::MAX);
        self.limit.calls().saturating_sub(self.running).saturating_sub(resting)
    }
}

#[cfg(test)]
mod tests;
