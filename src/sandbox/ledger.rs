//! What the sandbox took: messages, and calls by method and path.

use std::collections::{BTreeMap, VecDeque};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::{Span, Time};

use super::config::RateLimits;
use super::files::FileRecord;
use super::sending::MessageFlags;

/// How many messages are kept, newest first to stay.
pub const MESSAGES_MAX: usize = 100_000;
/// How many different calls are counted apart.
pub const CALLS_MAX: usize = 1_000;
/// What further ones are counted as.
pub const OTHER_CALLS: &str = "other";

/// A message that the platform took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageRecord {
    /// When it came.
    pub at: Time,
    /// Its line.
    pub line: LineId,
    /// The user of the chat.
    pub user: UserId,
    /// Who it was written for; `None` = the bot itself.
    pub author: Option<UserId>,
    /// Its text; of a file the comment, empty if there is none.
    pub text: String,
    /// The file it carried.
    pub file: Option<FileRecord>,
    /// Its modes.
    pub flags: MessageFlags,
    /// The treatment it went into; `None` if it was a mere notification.
    pub treatment: Option<TreatmentId>,
}

/// The newest messages, counted from the first ever.
#[derive(Debug, Default)]
pub(super) struct MessageLog {
    kept: VecDeque<MessageRecord>,
    forgotten: usize,
}

impl MessageLog {
    /// Keeps a message, forgets the oldest beyond the bound.
    pub(super) fn keep(&mut self, message: MessageRecord) {
        self.kept.push_back(message);
        if self.kept.len() > MESSAGES_MAX {
            self.kept.pop_front();
            self.forgotten += 1;
        }
    }

    /// How many there ever were.
    pub(super) fn count(&self) -> usize {
        self.forgotten + self.kept.len()
    }

    /// The first message at or after `position` that is kept, with its position.
    pub(super) fn at_or_after(&self, position: usize) -> Option<(usize, MessageRecord)> {
        let position = position.max(self.forgotten);
        let message = self.kept.get(position - self.forgotten)?;
        Some((position, message.clone()))
    }

    /// Everything kept, oldest first.
    pub(super) fn all(&self) -> Vec<MessageRecord> {
        self.kept.iter().cloned().collect()
    }
}

/// Calls by method and path.
#[derive(Debug, Default)]
pub(super) struct CallCounts(BTreeMap<String, u64>);

impl CallCounts {
    /// Counts one call.
    pub(super) fn count(&mut self, call: String) {
        let is_counted = self.0.contains_key(&call) || self.0.len() < CALLS_MAX;
        let call = if is_counted { call } else { OTHER_CALLS.to_owned() };
        *self.0.entry(call).or_insert(0) += 1;
    }

    /// How many there were.
    pub(super) fn of(&self, call: &str) -> u64 {
        self.0.get(call).copied().unwrap_or(0)
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        self.0.clone()
    }
}

/// The budget of calls, as sliding windows over the calls let through.
#[derive(Debug)]
pub(super) struct RateWindow {
    limits: Option<RateLimits>,
    taken: VecDeque<Time>,
}

impl RateWindow {
    /// Nothing taken yet.
    pub(super) fn new(limits: Option<RateLimits>) -> Self {
        Self { limits, taken: VecDeque::new() }
    }

    /// Whether one more call fits in; if so it is taken.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let Some(limits) = self.limits else {
            return true;
        };
        let minute = Span::from_secs(60);
        while self.taken.front().is_some_and(|at| now.since(*at) >= minute) {
            self.taken.pop_front();
        }
        let second = Span::from_secs(1);
        let recent = self.taken.iter().rev().take_while(|at| now.since(**at) < second).count();
        if recent >= limits.per_second || self.taken.len() >= limits.per_minute {
            return false;
        }
        self.taken.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_slides_with_the_clock() {
        let mut window = RateWindow::new(Some(RateLimits { per_second: 2, per_minute: 3 }));
        let at = |millis| Time::default().plus(Span::from_millis(millis));
        let taken = [0, 500, 900, 1_000, 2_500, 60_000].map(|millis| window.take(at(millis)));
        assert_eq!(taken, [true, true, false, true, false, true]);
    }

    #[test]
    fn calls_beyond_the_bound_are_counted_together() {
        let mut calls = CallCounts::default();
        (0..CALLS_MAX + 5).for_each(|number| calls.count(format!("GET /{number}/")));
        assert_eq!(calls.of(OTHER_CALLS), 5);
    }
}
