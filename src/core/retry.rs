//! When to try again: pure schedules, written into rows so that a restart loses none.

use crate::core::time::Span;

/// Waiting times between tries: doubling from `first` up to `longest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Span,
    /// The longest wait.
    pub longest: Span,
}

impl Backoff {
    /// For calls that did not reach the platform: they cost it nothing, and payments wait.
    pub const ABSENT: Self = Self { first: Span::from_millis(500), longest: Span::from_secs(4) };
    /// For calls to the platform that were surely not carried out.
    pub const PLATFORM: Self = Self { first: Span::from_millis(500), longest: Span::from_secs(30) };
    /// For notices while the mail server does not take them.
    pub const MAIL: Self = Self { first: Span::from_secs(5), longest: Span::from_secs(600) };
    /// For looks at a line while the platform does not answer them; few are made at once.
    pub const LOOK: Self = Self { first: Span::from_secs(1), longest: Span::from_secs(4) };

    /// The wait after `failures` failures in a row (1 = the first), never over `longest`.
    #[must_use]
    pub fn after(self, failures: i64) -> Span {
        // 2^30 times half a second is beyond every `longest` in use.
        let doublings = failures.saturating_sub(1).clamp(0, 30);
        let wait = self.first.micros().saturating_mul(1_i64 << doublings);
        Span::from_micros(wait.min(self.longest.micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_overflow() {
        let waits = [1, 2, 3, 7, 8, i64::MAX].map(|failures| Backoff::PLATFORM.after(failures));
        let millis = [500, 1_000, 2_000, 30_000, 30_000, 30_000].map(Span::from_millis);
        assert_eq!(waits, millis);
    }
}
