//! What a failed step of the conversation means, in words that name nobody.

use std::error::Error as _;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::response::Severity;

use crate::mail::Delivery;
use crate::text::one_line;

/// Longest text of a server that is passed on, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// The steps at which a server speaks of the recipient or of the mail itself.
pub(super) const RCPT_TO: &str = "RCPT TO";
pub(super) const DATA: &str = "DATA";
pub(super) const CONTENT: &str = "the content";

/// Refusals that ask for another sign-in (RFC 4954).
const SIGN_IN: [u16; 3] = [530, 535, 538];

/// A part of an address that is at least this long is looked for inside words too.
const PART_CHARS_MIN: usize = 4;

/// How a conversation with the server failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said no, for now (4xx), or not to this mail but to us: other settings, here or
    /// there, change that.
    NotNow(String),
    /// The server said no to this mail, for good (5xx).
    Never(String),
    /// There was no answer that could be understood.
    NoAnswer(String),
}

impl Failure {
    /// What an error of lettre at `step` means; `addresses` are kept out of the text.
    pub(super) fn of(step: &str, error: &Error, addresses: &[&Address]) -> Self {
        let said = || error.source().map(ToString::to_string).unwrap_or_default();
        match error.status() {
            Some(code) => {
                let text = format!(
                    "The mail server answered {code} to {step}: {}",
                    without_addresses(&said(), addresses)
                );
                let is_final = code.severity == Severity::PermanentNegativeCompletion;
                if is_final && is_about_the_mail(step, u16::from(code), &said()) {
                    Self::Never(text)
                } else {
                    Self::NotNow(text)
                }
            }
            // The text of a malformed answer could be anything, so it is left out.
            None if error.is_response() => Self::NoAnswer(format!(
                "The mail server closed the connection or broke the protocol at {step}."
            )),
            None => Self::NoAnswer(format!(
                "The connection to the mail server failed at {step}: {}",
                without_addresses(&said(), addresses)
            )),
        }
    }

    /// Whether the server is still there to be said goodbye to.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(self, Self::NoAnswer(_))
    }

    /// What became of the mail, when the whole content has gone out or has not.
    pub(super) fn delivery(self, content_is_out: bool) -> Delivery {
        match (self, content_is_out) {
            (Self::Never(text), _) => Delivery::Refused(text),
            (Self::NotNow(text), _) | (Self::NoAnswer(text), false) => Delivery::NotSent(text),
            (Self::NoAnswer(text), true) => Delivery::Unknown(text),
        }
    }
}

/// Whether a refusal at `step` is of this mail. Before the recipient is named it is of us: a wrong
/// password, a sender that may not write here. A recipient is also refused where we may not relay
/// (status `5.7.1`, RFC 3463) or have not signed in.
fn is_about_the_mail(step: &str, code: u16, said: &str) -> bool {
    match step {
        RCPT_TO => {
            let is_policy = |word: &str| word.starts_with("5.7.") && is_enhanced_status(word);
            !SIGN_IN.contains(&code) && !said.split_whitespace().any(is_policy)
        }
        DATA | CONTENT => true,
        _ => false,
    }
}

/// What a server says often repeats the address; every word that could be part of one goes.
fn without_addresses(said: &str, addresses: &[&Address]) -> String {
    let parts: Vec<String> = addresses
        .iter()
        .flat_map(|address| [address.user(), address.domain()])
        .map(str::to_lowercase)
        .collect();
    let names_nobody = |word: &&str| {
        let word = word.to_lowercase();
        let bare = word.trim_matches(|char: char| !char.is_alphanumeric());
        let is_part = |part: &String| {
            bare == part || (part.chars().count() >= PART_CHARS_MIN && word.contains(part.as_str()))
        };
        is_enhanced_status(&word) || !(word.contains('@') || parts.iter().any(is_part))
    };
    let words: Vec<&str> = said.split_whitespace().filter(names_nobody).collect();
    one_line(&words.join(" "), TEXT_CHARS_MAX)
}

/// Whether `word` is a status such as `5.1.1` (RFC 3463).
fn is_enhanced_status(word: &str) -> bool {
    let numbers: Vec<&str> = word.split('.').collect();
    let is_number =
        |text: &&str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    numbers.len() == 3 && numbers.iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_loses_everything_of_an_address() {
        let to: Address = "Ivanova.M@shop.example".parse().unwrap();
        let short: Address = "5@b.ru".parse().unwrap();
        for (said, kept) in [
            ("5.1.1 User unknown", "5.1.1 User unknown"),
            ("5.1.1 <ivanova.m@shop.example>: unknown", "5.1.1 unknown"),
            ("5.1.1 mailbox ivanova.m is full", "5.1.1 mailbox is full"),
            ("5.1.1 'IVANOVA.M' at host.shop.example.", "5.1.1 at"),
            ("other@elsewhere.example failed", "failed"),
            ("wait (5) minutes", "wait minutes"),
            ("bad\u{1b}[31m  things\u{0}", "bad [31m things"),
        ] {
            assert_eq!(without_addresses(said, &[&to, &short]), kept, "{said:?}");
        }
        assert_eq!(without_addresses(&"word ".repeat(500), &[&to]).chars().count(), TEXT_CHARS_MAX);
    }
}
