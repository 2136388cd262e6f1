//! Text that people read: what is let into it, how long it gets, how a time looks.
//!
//! Shared by the chat message and by the notices, so that both show a payment alike. Invariant:
//! whatever comes out of [`one_line`] and [`many_lines`] can break neither a chat nor a mail.

use jiff::tz::TimeZoneDatabase;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use crate::core::time::Time;

/// Longest text of a field that somebody else wrote, in characters.
pub const FIELD_CHARS_MAX: usize = 500;

/// Hours that Moscow is ahead of UTC, should the built-in zone data ever lack it.
const MOSCOW_OFFSET_HOURS: i8 = 3;

/// `text` on one line: everything that would break or reorder it becomes one space, and what is
/// longer than `chars_max` ends in `…`.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars().filter(|char| !is_direction_mark(*char)) {
        let breaks = char.is_control() || matches!(char, ' ' | '\u{2028}' | '\u{2029}');
        match breaks {
            true if line.ends_with(' ') => {}
            true => line.push(' '),
            false => line.push(char),
        }
    }
    cut(line.trim(), chars_max)
}

/// `text` with its lines kept: `\n` stays, a tab becomes a space, every other control character
/// goes.
pub fn many_lines(text: &str) -> String {
    let unix = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    let kept = unix.chars().filter_map(|char| match char {
        '\n' => Some('\n'),
        '\t' => Some(' '),
        _ if char.is_control() || is_direction_mark(char) => None,
        _ => Some(char),
    });
    kept.collect::<String>().trim().to_owned()
}

/// `text` as it is, or its beginning and `…` if it is longer than `chars_max`.
pub fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let Some(kept_max) = chars_max.checked_sub(1) else {
        return String::new();
    };
    let kept: String = text.chars().take(kept_max).collect();
    format!("{}…", kept.trim_end())
}

/// `05.03.2026 14:07 МСК`: the time in Moscow, to the minute.
pub fn moscow_time(at: Time) -> String {
    // The built-in data only: a machine's own zone files could be missing or stale, and reading
    // them would be input.
    let moscow = TimeZoneDatabase::bundled()
        .get("Europe/Moscow")
        .unwrap_or_else(|_| jiff::tz::offset(MOSCOW_OFFSET_HOURS).to_time_zone());
    match jiff::Timestamp::from_microsecond(at.micros()) {
        Ok(at) => at.to_zoned(moscow).strftime("%d.%m.%Y %H:%M\u{a0}МСК").to_string(),
        Err(_) => at.to_string(),
    }
}

/// An environment in which a name that does not exist is an error, and in which nothing is
/// escaped, because the result is plain text.
#[expect(clippy::missing_panics_doc, reason = "the syntax is constant and proven by tests")]
pub fn plain_text_templates() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment
}

/// Whether `char` is invisible and changes the order in which its neighbours are shown: with it
/// a payer could write an amount or a name that reads otherwise than it is.
fn is_direction_mark(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stays_one_line() {
        for (text, line) in [
            ("ООО «Ромашка»", "ООО «Ромашка»"),
            ("  a \r\n\t b\0c  ", "a b c"),
            ("Bcc: a@b\r\nX", "Bcc: a@b X"),
            ("12\u{a0}345", "12\u{a0}345"),
            ("a\u{2028}b\u{85}c", "a b c"),
            ("a\u{202e}b\u{2066}c", "abc"),
            ("\u{7}", ""),
        ] {
            assert_eq!(one_line(text, 100), line, "{text:?}");
        }
    }

    #[test]
    fn many_lines_keep_their_line_ends_only() {
        for (text, lines) in [
            ("a\nb", "a\nb"),
            ("a\r\nb\rc", "a\nb\nc"),
            ("a\tb\0c\u{1b}[31m", "a bc[31m"),
            ("\n a \n\n", "a"),
        ] {
            assert_eq!(many_lines(text), lines, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("жизнь", 5), "жизнь");
        assert_eq!(cut("жизнь", 4), "жиз…");
        assert_eq!(cut("а б в", 3), "а…");
        assert_eq!(cut("жизнь", 1), "…");
        assert_eq!(cut("жизнь", 0), "");
    }

    #[test]
    fn times_are_shown_in_moscow() {
        let shown = |text| moscow_time(Time::parse_rfc3339(text).unwrap());
        assert_eq!(shown("2026-03-05T11:07:59.9Z"), "05.03.2026 14:07\u{a0}МСК");
        assert_eq!(shown("2026-12-31T21:30:00Z"), "01.01.2027 00:30\u{a0}МСК");
        // Moscow was four hours ahead until October 2014.
        assert_eq!(shown("2014-07-01T00:00:00Z"), "01.07.2014 04:00\u{a0}МСК");
        assert!(!moscow_time(Time::from_micros(i64::MAX)).is_empty());
    }
}
