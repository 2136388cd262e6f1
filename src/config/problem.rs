//! What is wrong with the settings, in words that say what to do.

use std::fmt;

use crate::config::variables::{CONNECT_LOGIN, HOOK_LOGIN, Variable};

/// The longest piece of a value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// Everything that is wrong with the settings, at least one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `found`, unless there is nothing in it.
    pub(super) fn check(found: Vec<Problem>) -> Result<(), Self> {
        if found.is_empty() { Ok(()) } else { Err(Self(found)) }
    }

    /// The problems, in the order of the table of variables.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    /// A heading and one line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 problem with the settings:")?,
            count => write!(f, "{count} problems with the settings:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

impl std::error::Error for Problems {}

/// One thing that is wrong with the settings.
///
/// Invariant: it never holds the value of a secret, nor a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The variable or the file that it is about.
    pub name: String,
    /// What is wrong, to be read after the name.
    pub what: String,
    /// What to do about it, a sentence.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}. {}", self.name, self.what, self.remedy)
    }
}

impl Problem {
    /// A problem with `variable`; the remedy is to set it right.
    pub(super) fn with(variable: &Variable, what: impl Into<String>) -> Self {
        let remedy = format!(
            "Set it in the environment or in .env; see .env.example, section \"{}\".",
            variable.section
        );
        Self { name: variable.name.to_owned(), what: what.into(), remedy }
    }

    /// `variable` is set to `value`, which is not what was `expected`.
    pub(super) fn wrong_value(variable: &Variable, value: &str, expected: &str) -> Self {
        // A wrong login is most often login:password, pasted as one.
        let may_hold_password = [CONNECT_LOGIN, HOOK_LOGIN].contains(variable);
        if variable.secret || may_hold_password {
            let what = format!("has a value that cannot be used (not shown): {expected}");
            return Self::with(variable, what);
        }
        Self::with(variable, format!("is {}: {expected}", shown(value)))
    }

    /// `variable` must be set and is not.
    pub(super) fn missing(variable: &Variable) -> Self {
        Self::with(variable, format!("is not set and is required: {}", variable.help_en))
    }

    /// `name` looks like a setting of ours and is none.
    pub(super) fn unknown(name: &str, meant: Option<&Variable>) -> Self {
        let what = match meant {
            Some(meant) => format!("is not a setting (did you mean {}?)", meant.name),
            None => "is not a setting".to_owned(),
        };
        let remedy = "Correct the name or take it out; .env.example lists all settings.".to_owned();
        Self { name: name.to_owned(), what, remedy }
    }
}

/// `value` as it is shown to people: quoted, on one line, bounded, and without the user and
/// password that an address can carry.
fn shown(value: &str) -> String {
    let without_password = match value.rsplit_once('@') {
        Some((before, host)) if before.contains(':') => format!("…@{host}"),
        _ => value.to_owned(),
    };
    let cut: String = without_password.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cut.len() < without_password.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_quoted_bounded_and_without_a_password() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(shown("https://me:canary@host/"), r#""…@host/""#);
        assert_eq!(shown("me:can@ary@host"), r#""…@host""#);
        assert_eq!(shown("freeline@"), r#""freeline@""#);
        assert_eq!(shown(&"я".repeat(121)), format!("\"{}\"…", "я".repeat(120)));
    }
}
