//! Points in time and spans, as whole microseconds.
//!
//! The core never reads a clock: a [`Time`] always comes in from outside.

use std::fmt;
use std::time::Duration;

/// Microseconds in a second.
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// Later than any moment: what is due then is not due at all.
    pub const NEVER: Self = Self(i64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This time and `span` later; saturates at the end of the range.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// This time and `span` earlier; saturates at the end of the range.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        let micros = self.0.saturating_sub(earlier.0);
        Span(if micros < 0 { 0 } else { micros })
    }

    /// The same time without its fraction of a second.
    ///
    /// `connect-api.md` 1.4: one treatment shows its `initialized_at` with and without fraction.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        Self(self.0.div_euclid(MICROS_PER_SECOND).saturating_mul(MICROS_PER_SECOND))
    }

    /// Parses RFC 3339 with 0 to 9 fractional digits and any offset (`connect-api.md` 1.4).
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_microsecond()))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC with suffix `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time in microseconds, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From microseconds; a negative number becomes zero.
    pub const fn from_micros(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros })
    }

    /// From milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// From seconds; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_micros(secs.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn whole_secs(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// As the standard library's duration.
    pub fn to_duration(self) -> Duration {
        Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }

    /// From the standard library's duration; saturates.
    pub fn from_duration(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Span {
    /// The largest fitting unit with at most one decimal: `850 µs`, `12.5 ms`, `3.2 s`, `2 min 5 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0;
        match micros {
            0..1_000 => write!(f, "{micros} µs"),
            1_000..1_000_000 => write!(f, "{}.{} ms", micros / 1_000, micros % 1_000 / 100),
            1_000_000..60_000_000 => {
                write!(f, "{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000)
            }
            _ => write!(f, "{} min {} s", micros / 60_000_000, micros % 60_000_000 / 1_000_000),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_any_number_of_fractional_digits() {
        let whole = Time::parse_rfc3339("2022-09-16T13:23:18Z").unwrap();
        for text in [
            "2022-09-16T13:23:18.4Z",
            "2022-09-16T13:23:18.488431Z",
            "2022-09-16T13:23:18.488431999Z",
            "2022-09-16T16:23:18.488431999+03:00",
        ] {
            assert_eq!(Time::parse_rfc3339(text).unwrap().whole_second(), whole, "{text}");
        }
    }

    #[test]
    fn the_layout_string_of_the_vendors_documents_is_no_time() {
        assert_eq!(Time::parse_rfc3339("2020-01-05T00:00:00Z07:00"), None);
    }

    #[test]
    fn spans_are_written_in_their_largest_unit() {
        let written = |micros| Span::from_micros(micros).to_string();
        assert_eq!(written(850), "850 µs");
        assert_eq!(written(12_540), "12.5 ms");
        assert_eq!(written(3_250_000), "3.2 s");
        assert_eq!(written(125_000_000), "2 min 5 s");
    }
}
