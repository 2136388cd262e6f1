//! When to try again: pure schedules, written into rows so that a restart loses none.

use jiff::fmt::rfc2822::DateTimeParser;

use crate::core::time::{Span, Time};

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

    /// For changes that the receiver did not take: [`PUSH_TRIES_MAX`] tries take a day.
    pub const PUSH: Self = Self { first: Span::from_secs(5), longest: Span::from_secs(10_800) };

    /// The wait after `failures` failures in a row (1 = the first), never over `longest`.
    #[must_use]
    pub fn after(self, failures: i64) -> Span {
        // 2^30 times half a second is beyond every `longest` in use.
        let doublings = failures.saturating_sub(1).clamp(0, 30);
        let wait = self.first.micros().saturating_mul(1_i64 << doublings);
        Span::from_micros(wait.min(self.longest.micros()))
    }
}

/// How often a change is sent at the most: then a person has to say when it is worth another try.
pub const PUSH_TRIES_MAX: i64 = 19;

/// `Retry-After`: seconds or a date (RFC 9110, 10.2.3), at most `longest`; `None` if it is neither.
pub fn read_retry_after(text: &str, now: Time, longest: Span) -> Option<Span> {
    let text = text.trim();
    let span = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        text.parse().map_or(longest, Span::from_secs)
    } else {
        let date = DateTimeParser::new().parse_timestamp(text).ok()?;
        Time::from_micros(date.as_microsecond()).since(now)
    };
    Some(span.min(longest))
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

    #[test]
    fn the_tries_of_a_change_take_about_a_day() {
        let secs: i64 = (1..PUSH_TRIES_MAX).map(|n| Backoff::PUSH.after(n).whole_secs()).sum();
        assert_eq!(secs, 85_275, "23.7 hours");
    }
}
