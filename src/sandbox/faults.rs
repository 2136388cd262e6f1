//! What the sandbox does wrong, and the dice that decide when.
//!
//! Invariant: a throw takes the same number of random values whatever the faults are, so the same
//! seed and the same sequence of calls always give the same faults.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::files::FILES_BYTES_MAX;

/// The most events that may overtake one that is held back.
const OVERTAKEN_BY_MAX: u8 = 3;
/// The longest `slow_ms` and `bot_patience_ms` that are accepted: ten minutes.
const SLOW_MS_MAX: u64 = 600_000;
/// Answers of a server that failed.
const SERVER_FAILURES: [u16; 3] = [500, 502, 503];
/// What sets the dice for events apart from those for calls.
const EVENT_SALT: u64 = 0x0065_7665_6e74;

/// What to do wrong from now on; shares are between 0 and 1.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Share of events delivered a second time.
    pub duplicate: f64,
    /// Share of events held back until one to three later ones were delivered.
    pub reorder: f64,
    /// Share of events never delivered.
    pub lose: f64,
    /// Share of calls whose connection closes before the work is done.
    pub drop_before: f64,
    /// Share of calls whose work is done and whose answer is lost with the connection.
    pub drop_after: f64,
    /// Share of calls answered 500, 502 or 503, not done.
    pub status_5xx: f64,
    /// Share of calls answered 429, not done.
    pub status_429: f64,
    /// Milliseconds between the work of a call and its answer.
    pub slow_ms: u64,
    /// Lines whose commands are refused, each with its status.
    pub refuse: BTreeMap<String, u16>,
    /// All hooks are forgotten at once; later ones stay.
    pub forget_hooks: bool,
    /// The platform is down: every call's connection is closed, events wait.
    pub down: bool,
    /// Milliseconds that a user waits for the bot's answer; the sandbox's own if left out.
    pub bot_patience_ms: Option<u64>,
    /// The longest file that is taken, in bytes; the sandbox's own if left out.
    pub file_bytes_max: Option<u64>,
    /// What the dice start from; the sandbox's own seed if left out.
    pub seed: Option<u64>,
}

/// Why a set of faults was not accepted.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum FaultsRefused {
    /// A share is not one.
    #[error("{0} is {1}: expected a share between 0 and 1.")]
    Share(&'static str, f64),
    /// `slow_ms` is out of range.
    #[error("slow_ms is {0}: expected at most {SLOW_MS_MAX}.")]
    Slow(u64),
    /// `bot_patience_ms` is out of range.
    #[error("bot_patience_ms is {0}: expected at most {SLOW_MS_MAX}.")]
    Patience(u64),
    /// `file_bytes_max` is out of range.
    #[error("file_bytes_max is {0}: expected at most {FILES_BYTES_MAX}.")]
    FileBytes(u64),
    /// A status is not a refusal.
    #[error("refuse has status {1} for line {0}: expected a status from 400 to 599.")]
    Status(String, u16),
}

impl Faults {
    /// Checks every range.
    pub fn check(&self) -> Result<(), FaultsRefused> {
        let shares = [
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("lose", self.lose),
            ("drop_before", self.drop_before),
            ("drop_after", self.drop_after),
            ("status_5xx", self.status_5xx),
            ("status_429", self.status_429),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(FaultsRefused::Share(name, *share));
        }
        if self.slow_ms > SLOW_MS_MAX {
            return Err(FaultsRefused::Slow(self.slow_ms));
        }
        if let Some(patience) = self.bot_patience_ms.filter(|ms| *ms > SLOW_MS_MAX) {
            return Err(FaultsRefused::Patience(patience));
        }
        let is_too_long = |bytes: &u64| usize::try_from(*bytes).is_ok_and(|b| b > FILES_BYTES_MAX);
        if let Some(bytes) = self.file_bytes_max.filter(is_too_long) {
            return Err(FaultsRefused::FileBytes(bytes));
        }
        match self.refuse.iter().find(|(_, status)| !(400..=599).contains(*status)) {
            Some((line, status)) => Err(FaultsRefused::Status(line.clone(), *status)),
            None => Ok(()),
        }
    }
}

/// What happens to one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CallFate {
    /// The connection closes before the work.
    DropBefore,
    /// Answered with this status, not done.
    Status(u16),
    /// Done; perhaps late, perhaps without an answer.
    Work {
        /// Between the work and the answer.
        delay: Duration,
        /// Whether the connection closes instead of the answer.
        answer_lost: bool,
    },
}

/// What happens to one event on its way to one hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct EventFate {
    /// Never delivered.
    pub(super) lost: bool,
    /// Delivered again.
    pub(super) duplicated: bool,
    /// Held back until this many later ones were delivered; 0 = not at all.
    pub(super) overtaken_by: u8,
}

/// The faults in force and their dice.
#[derive(Debug)]
pub(super) struct FaultDice {
    faults: Faults,
    calls: StdRng,
    events: StdRng,
}

impl FaultDice {
    /// Nothing goes wrong.
    pub(super) fn new(seed: u64) -> Self {
        Self::with(Faults::default(), seed)
    }

    /// These faults; the dice start anew from the faults' seed, or else from `seed`.
    pub(super) fn with(faults: Faults, seed: u64) -> Self {
        let seed = faults.seed.unwrap_or(seed);
        Self {
            faults,
            calls: StdRng::seed_from_u64(seed),
            events: StdRng::seed_from_u64(seed ^ EVENT_SALT),
        }
    }

    /// The faults in force.
    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Decides about one call.
    pub(super) fn throw_for_call(&mut self) -> CallFate {
        let (faults, rng) = (&self.faults, &mut self.calls);
        let drop_before = strikes(rng, faults.drop_before);
        let status_429 = strikes(rng, faults.status_429);
        let status_5xx = strikes(rng, faults.status_5xx);
        let answer_lost = strikes(rng, faults.drop_after);
        let failure = SERVER_FAILURES.get(rng.random_range(0..SERVER_FAILURES.len()));
        if drop_before {
            CallFate::DropBefore
        } else if status_429 {
            CallFate::Status(429)
        } else if status_5xx {
            CallFate::Status(failure.copied().unwrap_or(500))
        } else {
            CallFate::Work { delay: Duration::from_millis(faults.slow_ms), answer_lost }
        }
    }

    /// Decides about one event.
    pub(super) fn throw_for_event(&mut self) -> EventFate {
        let (faults, rng) = (&self.faults, &mut self.events);
        let lost = strikes(rng, faults.lose);
        let duplicated = strikes(rng, faults.duplicate);
        let reordered = strikes(rng, faults.reorder);
        let behind = rng.random_range(1..=OVERTAKEN_BY_MAX);
        EventFate { lost, duplicated, overtaken_by: if reordered { behind } else { 0 } }
    }
}

/// Whether a fault with this share strikes now.
fn strikes(rng: &mut StdRng, share: f64) -> bool {
    rng.random::<f64>() < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_out_of_range_is_refused_with_its_name() {
        for share in [-0.1, 1.1, f64::NAN] {
            let refused = Faults { lose: share, ..Faults::default() }.check().unwrap_err();
            assert!(refused.to_string().starts_with("lose is "), "{refused}");
        }
    }

    #[test]
    fn a_refusal_must_be_an_error_status() {
        let faults = Faults { refuse: [("L".to_owned(), 200)].into(), ..Faults::default() };
        assert_eq!(faults.check(), Err(FaultsRefused::Status("L".to_owned(), 200)));
    }

    #[test]
    fn a_certain_fault_always_strikes_and_an_absent_one_never() {
        let mut dice = FaultDice::with(Faults { lose: 1.0, ..Faults::default() }, 7);
        for _ in 0..100 {
            let fate = dice.throw_for_event();
            assert_eq!(fate, EventFate { lost: true, duplicated: false, overtaken_by: 0 });
            let done = CallFate::Work { delay: Duration::ZERO, answer_lost: false };
            assert_eq!(dice.throw_for_call(), done);
        }
    }

    #[test]
    fn the_same_seed_throws_the_same_faults() {
        let half = Faults { drop_before: 0.5, reorder: 0.5, seed: Some(3), ..Faults::default() };
        let throws = |seed| {
            let mut dice = FaultDice::with(half.clone(), seed);
            (0..50).map(|_| (dice.throw_for_call(), dice.throw_for_event())).collect::<Vec<_>>()
        };
        assert_eq!(throws(1), throws(2));
    }
}
