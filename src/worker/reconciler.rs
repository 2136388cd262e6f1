//! Keeps us and the platform of one mind: hooks, the first look at the lines, doubts, silences.
//!
//! One replica does this for all, the one that holds the lease.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::connect::OpenTreatment;
use crate::core::id::LineId;
use crate::core::occupancy::Listed;
use crate::core::retry::Backoff;
use crate::core::time::{Span, Time};
use crate::store::{self, HookTarget, Lease, PreviousLease};
use crate::worker::hooks::{self, HookPolicy, Synced};
use crate::worker::{Parts, Step, TAKEN_OVER_WITHIN};

/// The lease of this work.
const LEASE: &str = "reconciler";
/// How long the lease holds without being kept: a replica that dies is replaced within this time.
const LEASE_FOR: Span = Span::from_secs(10);
const _: () = assert!(LEASE_FOR.micros() < TAKEN_OVER_WITHIN.micros(), "it ends too late");
/// When a kept lease is kept anew.
const KEEP_AFTER: Span = Span::from_secs(3);
/// When a replica that may not dispatch yet asks again who leads.
const ASK_AFTER: Span = Span::from_secs(1);
/// When nobody held the lease for this long, events may have been lost for good.
const GAP: Span = Span::from_secs(60);
/// After so many looks in a row without an answer the others are put off too: the platform is away,
/// and each look may wait long for it.
const UNANSWERED_MAX: usize = 3;
/// Lines looked at in one step.
const LOOKS_PER_STEP: i64 = 10_000;

/// Sets hooks, looks at lines, settles doubts.
pub struct Reconciler {
    parts: Parts,
    policy: HookPolicy,
    check_every: Span,
    started_at: Time,
    /// SQLite has one process at a time: whoever else claimed something is gone.
    is_alone: bool,
    state: Arc<Mutex<State>>,
}

/// When hooks are compared next, and how often that failed in a row.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    hooks_at: Time,
    failures: i64,
    kept_at: Time,
    leads: bool,
    /// When the lease of the replica that leads ends, unless it keeps it.
    others_until: Option<Time>,
    /// How often looks were put off unseen: the next round begins with another line.
    rounds: usize,
}

impl Reconciler {
    /// A reconciler of a process that started now.
    pub fn new(parts: Parts, policy: HookPolicy, check_every: Span, is_alone: bool) -> Self {
        let started_at = parts.clock.now();
        let state = Arc::new(Mutex::new(State::default()));
        Self { parts, policy, check_every, started_at, is_alone, state }
    }

    /// Gives the lease back, so that another replica need not wait for its end.
    pub async fn resign(&self) -> store::Result<()> {
        let Parts { store, clock, .. } = &self.parts;
        store.release_lease(LEASE, self.owner(), clock.now()).await
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether this replica does the work; takes the lease over when its holder is gone.
    async fn leads(&self) -> store::Result<bool> {
        let Parts { store, clock, gate, .. } = &self.parts;
        let now = clock.now();
        let before = self.state();
        if before.leads && now.since(before.kept_at) < KEEP_AFTER {
            return Ok(true);
        }
        let lease = store.acquire_lease(LEASE, self.owner(), now, now.plus(LEASE_FOR)).await?;
        let is_kept =
            matches!(lease, Lease::Ours(_)) && before.leads && now.since(before.kept_at) < GAP;
        self.change(|state| {
            // A lead that is new is ours only once what was missed is forgotten: should that fail,
            // the next step takes it over once more.
            state.leads = is_kept;
            state.kept_at = now;
        });
        match lease {
            Lease::Taken { until } => {
                self.change(|state| state.others_until = Some(until));
                if self.was_there_since_our_start(until) {
                    gate.open();
                }
                return Ok(false);
            }
            Lease::Ours(_) if is_kept => return Ok(true),
            // An open gate says that somebody led at a time when we could hear the events already.
            Lease::Ours(PreviousLease::Other { until })
                if !self.is_alone
                    && (gate.is_open() || self.was_there_since_our_start(until))
                    // Its holder is known to have been there when it was kept, not until its end.
                    && now.since(until.minus(LEASE_FOR)) < GAP => {}
            Lease::Ours(previous) => {
                store.forget_occupancy(away(&previous, before, now), now).await?;
            }
        }
        self.change(|state| {
            state.leads = true;
            state.hooks_at = now;
        });
        gate.open();
        tracing::info!("this process keeps the hooks and looks at the lines from now on");
        Ok(true)
    }

    /// Whether a lease that ends then was kept at a time when we could hear the events ourselves:
    /// between its holder and us nothing was missed.
    fn was_there_since_our_start(&self, until: Time) -> bool {
        until.minus(LEASE_FOR) >= self.started_at
    }

    /// The name on the lease: the only process need not wait for its predecessor's lease to end.
    fn owner(&self) -> &str {
        if self.is_alone { "the only process" } else { &self.parts.owner }
    }

    /// Compares the hooks when it is time, or when a line has none yet.
    async fn sync_hooks(&self, targets: &[HookTarget]) -> store::Result<bool> {
        let now = self.parts.clock.now();
        let state = self.state();
        let is_new = |target: &&HookTarget| target.hooks.len() < self.policy.kinds().len();
        let new: Vec<HookTarget> = targets.iter().filter(is_new).cloned().collect();
        let is_time = state.hooks_at <= now;
        if targets.is_empty() {
            self.change(|state| state.hooks_at = now.plus(self.check_every));
        }
        if targets.is_empty() || (!is_time && (new.is_empty() || state.failures > 0)) {
            return Ok(false);
        }
        let wanted = if is_time { targets } else { &new };
        let tick = self.keep_lease();
        let synced = hooks::sync(&self.parts, &self.policy, wanted, &tick).await?;
        let now = self.parts.clock.now();
        self.change(|state| match synced {
            Synced::Whole => {
                state.failures = 0;
                state.hooks_at = now.plus(self.check_every);
            }
            Synced::Partly => {
                state.failures += 1;
                state.hooks_at = now.plus(Backoff::LOOK.after(state.failures));
            }
        });
        Ok(synced == Synced::Whole)
    }

    /// Keeps the lease while a long step goes on; answers whether this replica still has it.
    fn keep_lease(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, store::Result<bool>> + Send + Sync + use<> {
        let Parts { store, clock, .. } = self.parts.clone();
        let owner: Arc<str> = self.owner().into();
        let state = Arc::clone(&self.state);
        move || {
            let now = clock.now();
            let known = *state.lock().unwrap_or_else(PoisonError::into_inner);
            let since = now.since(known.kept_at);
            if since < KEEP_AFTER {
                return futures::future::ready(Ok(known.leads)).boxed();
            }
            if since >= GAP {
                // This process stood still: the next step takes the lease anew, and knows why.
                return futures::future::ready(Ok(false)).boxed();
            }
            let (store, owner, state) =
                (Arc::clone(&store), Arc::clone(&owner), Arc::clone(&state));
            let keep = async move {
                let lease = store.acquire_lease(LEASE, &owner, now, now.plus(LEASE_FOR)).await?;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.leads = matches!(lease, Lease::Ours(_));
                state.kept_at = now;
                Ok(state.leads)
            };
            keep.boxed()
        }
    }

    /// Looks at the lines that want it: all at once when none of them was looked at before, one by
    /// one to settle a doubt (`design.md` 3, point 7) or to break a silence.
    async fn look(&self, targets: &[HookTarget]) -> store::Result<bool> {
        let Parts { store, clock, .. } = &self.parts;
        let due = store.lines_to_look_at(clock.now(), LOOKS_PER_STEP).await?;
        let is_first =
            |line: &LineId| targets.iter().any(|t| t.line == *line && t.hooked && !t.known);
        let (first, mut doubts): (Vec<LineId>, Vec<LineId>) = due.into_iter().partition(is_first);
        let mut settled = false;
        match first.as_slice() {
            [] => {}
            [line] => settled |= self.look_at(Some(line), &first).await?,
            _ => settled |= self.look_at(None, &first).await?,
        }
        let tick = self.keep_lease();
        let turn = self.state().rounds.checked_rem(doubts.len()).unwrap_or(0);
        doubts.rotate_left(turn);
        let mut unanswered = 0;
        for line in &doubts {
            if !tick().await? {
                return Ok(false);
            }
            if unanswered >= UNANSWERED_MAX {
                store.postpone_look(line, clock.now()).await?;
                continue;
            }
            let answered = self.look_at(Some(line), std::slice::from_ref(line)).await?;
            unanswered = if answered { 0 } else { unanswered + 1 };
            settled |= answered;
        }
        if unanswered >= UNANSWERED_MAX {
            self.change(|state| state.rounds = state.rounds.wrapping_add(UNANSWERED_MAX));
        }
        Ok(settled)
    }

    /// One call, whose answer is taken into account for `lines`.
    async fn look_at(&self, asked: Option<&LineId>, lines: &[LineId]) -> store::Result<bool> {
        let Parts { store, chat, clock, .. } = &self.parts;
        let requested_at = clock.now();
        let answer = chat.list_treatments(asked).await;
        let now = clock.now();
        let tick = self.keep_lease();
        for line in lines {
            // Many lines take long: the lease is kept meanwhile, or the rest is somebody else's.
            if !tick().await? {
                return Ok(false);
            }
            match &answer {
                Ok(listed) => {
                    let listed = of_line(listed, line);
                    store.record_look(line, &listed, requested_at, now).await?;
                }
                Err(_) => store.postpone_look(line, now).await?,
            }
        }
        Ok(answer.is_ok())
    }

    /// What the one replica does that holds the lease.
    async fn reconcile(&self) -> store::Result<bool> {
        let store = &*self.parts.store;
        let synced = self.sync_hooks(&store.hook_targets().await?).await?;
        // Hooks that were just set make their lines want a first look.
        let looked = self.look(&store.hook_targets().await?).await?;
        Ok(synced || looked)
    }
}

/// How long nobody can have heard anything, at the most.
fn away(previous: &PreviousLease, before: State, now: Time) -> Span {
    match previous {
        PreviousLease::Nobody => Span::ZERO,
        PreviousLease::Other { until } => now.since(until.minus(LEASE_FOR)),
        // We stood still, or we are back before the lease of our last life has ended.
        PreviousLease::Ourselves if before.leads => now.since(before.kept_at),
        PreviousLease::Ourselves => LEASE_FOR,
    }
}

fn of_line(listed: &[OpenTreatment], line: &LineId) -> Vec<Listed> {
    let rows = listed.iter().filter(|row| row.line == *line).map(|row| Listed {
        treatment: row.treatment.clone(),
        user: row.user.clone(),
        initialized_at: row.initialized_at,
    });
    rows.collect()
}

#[async_trait]
impl Step for Reconciler {
    async fn step(&self) -> store::Result<bool> {
        if !self.leads().await? {
            return Ok(false);
        }
        // Whatever it is at can be broken off: hooks are set anew, looks are asked for anew.
        tokio::select! {
            biased;
            () = self.parts.tasks.stopping() => Ok(false),
            did = self.reconcile() => did,
        }
    }

    async fn next_due(&self) -> store::Result<Option<Time>> {
        let state = self.state();
        if !state.leads {
            // Tried again when it ends, at the next tick of the timer, or soon while it is not
            // known yet whether somebody led since our start.
            let soon = (!self.parts.gate.is_open()).then(|| state.kept_at.plus(ASK_AFTER));
            return Ok(state.others_until.into_iter().chain(soon).min());
        }
        let due = self.parts.store.next_due().await?;
        let ours = [state.hooks_at, state.kept_at.plus(KEEP_AFTER)];
        Ok(due.reconciler.into_iter().chain(ours).min())
    }
}
