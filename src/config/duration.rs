//! Lengths of time as people write them: `500ms`, `30s`, `2m` or `2min`, `1h`, `30d`.

use std::time::Duration;

use crate::config::reader::Expected;

/// What is longer than this is written in days.
const DAY: Duration = Duration::from_hours(24);

/// A parser of lengths of time between `shortest` and `longest`.
pub(super) fn within(
    shortest: Duration,
    longest: Duration,
) -> impl FnOnce(&str) -> Result<Duration, Expected> {
    move |text| {
        parse(text).filter(|length| (shortest..=longest).contains(length)).ok_or_else(|| {
            let such_as = if longest > DAY { "12h or 30d" } else { "500ms, 30s, 2m or 1h" };
            let (shortest, longest) = (written(shortest), written(longest));
            format!("expected a time from {shortest} to {longest}, such as {such_as}")
        })
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

/// In the largest unit that needs no fraction.
fn written(length: Duration) -> String {
    let (millis, secs) = (length.as_millis(), length.as_secs());
    match millis {
        0 => "0s".to_owned(),
        _ if !millis.is_multiple_of(1_000) => format!("{millis}ms"),
        _ if !secs.is_multiple_of(60) => format!("{secs}s"),
        _ if !secs.is_multiple_of(3_600) => format!("{}m", secs / 60),
        _ if length <= DAY || !secs.is_multiple_of(86_400) => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_unit() {
        let check = |text, expected_ms| {
            assert_eq!(parse(text), Some(Duration::from_millis(expected_ms)), "{text}");
        };
        check("500ms", 500);
        check("30s", 30_000);
        check("2m", 120_000);
        check("2min", 120_000);
        check("1h", 3_600_000);
        check("30d", 2_592_000_000);
        for bad in ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "5w", "99999999999999999999s", "5с"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_outside_its_bounds_is_refused_with_the_bounds() {
        let check = |text| within(Duration::from_millis(100), Duration::from_hours(1))(text);
        assert!(check("100ms").is_ok());
        assert!(check("1h").is_ok());
        for bad in ["99ms", "61min"] {
            assert_eq!(
                check(bad).unwrap_err(),
                "expected a time from 100ms to 1h, such as 500ms, 30s, 2m or 1h"
            );
        }
        let long = within(Duration::from_hours(24), Duration::from_hours(48))("3d");
        assert_eq!(long.unwrap_err(), "expected a time from 24h to 2d, such as 12h or 30d");
    }
}
