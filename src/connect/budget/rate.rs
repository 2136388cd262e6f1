//! The limits themselves, as they are written in the settings.

use std::fmt;
use std::time::Duration;

/// The most calls that one limit may allow: so many points in time are remembered.
pub const CALLS_MAX: u32 = 100_000;

/// So many calls in any window of that length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    calls: u32,
    window: Duration,
}

impl Limit {
    /// The number of calls, from 1 to [`CALLS_MAX`].
    pub const fn calls(self) -> u32 {
        self.calls
    }

    /// The length of the window.
    pub const fn window(self) -> Duration {
        self.window
    }

    /// How long a call counts after it has ended: the window, and a thousandth of it and a
    /// millisecond more, because the platform's clock may run a little slower than ours.
    pub(super) fn rest(self) -> Duration {
        self.window + self.window / 1_000 + Duration::from_millis(1)
    }
}

/// All limits that hold at the same time, for instance `20/s,600/min` (`connect-api.md` 1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rate(Vec<Limit>);

/// Why a text is not a rate. The text of the error says what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RateError {
    /// There is nothing in it.
    #[error("no limit is given; write for instance \"20/s,600/min\"")]
    Empty,
    /// A part has no slash.
    #[error("\"{0}\" is not a limit; write calls/unit, for instance \"20/s\"")]
    NoSlash(String),
    /// What is before the slash is not a number within bounds.
    #[error("\"{0}\" is not a number of calls; expected a whole number from 1 to 100000")]
    Calls(String),
    /// What is after the slash is not a unit.
    #[error("\"{0}\" is not a unit; expected s, min or h")]
    Unit(String),
    /// Two limits have the same window.
    #[error("there are two limits per {0}; keep the one that holds")]
    Twice(&'static str),
}

/// The windows that can be named.
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3_600)];

impl Rate {
    /// Reads limits such as `20/s,600/min`: calls, slash, unit (`s`, `min`, `h`), with commas
    /// between. Blanks around the parts do not matter.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let mut limits: Vec<Limit> = Vec::new();
        if text.trim().is_empty() {
            return Err(RateError::Empty);
        }
        for part in text.split(',').map(str::trim) {
            let (calls, unit) =
                part.split_once('/').ok_or_else(|| RateError::NoSlash(part.to_owned()))?;
            let (calls, unit) = (calls.trim(), unit.trim());
            let calls = calls
                .parse()
                .ok()
                .filter(|calls| (1..=CALLS_MAX).contains(calls))
                .ok_or_else(|| RateError::Calls(calls.to_owned()))?;
            let &(name, secs) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(|| RateError::Unit(unit.to_owned()))?;
            let window = Duration::from_secs(secs);
            if limits.iter().any(|limit| limit.window == window) {
                return Err(RateError::Twice(name));
            }
            limits.push(Limit { calls, window });
        }
        Ok(Self(limits))
    }

    /// The limits, at least one, each with another window.
    pub fn limits(&self) -> &[Limit] {
        &self.0
    }

    /// Limits with windows of any length.
    #[cfg(test)]
    pub(super) fn of(limits: &[(u32, Duration)]) -> Self {
        Self(limits.iter().map(|&(calls, window)| Limit { calls, window }).collect())
    }
}

impl fmt::Display for Rate {
    /// As it is written in the settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, limit) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let secs = limit.window.as_secs();
            let unit = UNITS.iter().find(|unit| unit.1 == secs).map_or("?", |unit| unit.0);
            write!(f, "{comma}{}/{unit}", limit.calls)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_written_in_the_same_form() {
        for (text, written) in [
            ("20/s,600/min", "20/s,600/min"),
            (" 20 / s , 600/ min ", "20/s,600/min"),
            ("1/h", "1/h"),
            ("100000/s", "100000/s"),
        ] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), written);
        }
        let rate = Rate::parse("20/s,600/min").unwrap();
        let limits: Vec<_> = rate.limits().iter().map(|l| (l.calls(), l.window())).collect();
        assert_eq!(limits, [(20, Duration::from_secs(1)), (600, Duration::from_mins(1))]);
    }

    #[test]
    fn what_is_wrong_with_a_rate_is_said_with_the_remedy() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Rate::parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        check("", "no limit is given; write for instance \"20/s,600/min\"");
        check("20", "\"20\" is not a limit; write calls/unit, for instance \"20/s\"");
        check("20/s,", "\"\" is not a limit; write calls/unit, for instance \"20/s\"");
        for calls in ["0", "-1", "x", "", "2.5", "100001", "99999999999"] {
            check(
                &format!("{calls}/s"),
                &format!(
                    "\"{calls}\" is not a number of calls; expected a whole number from 1 to 100000"
                ),
            );
        }
        check("20/sec", "\"sec\" is not a unit; expected s, min or h");
        check("20/s,30/s", "there are two limits per s; keep the one that holds");
    }
}
