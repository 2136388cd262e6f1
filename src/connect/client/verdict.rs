//! What a call came to (`connect-api.md` 1.3).
//!
//! Invariant: "surely not done" is said only where it is proven. A timeout or a lost connection
//! after the connection stood proves nothing.

use std::error::Error;

use super::last_look::TooLate;
use crate::connect::wire;
use crate::core::outcome::{Answer, NotDone};
use crate::core::retry::read_retry_after;
use crate::core::time::{Span, Time};

/// The longest wait that the platform may ask of us.
const RETRY_AFTER_MAX: Span = Span::from_secs(600);

/// How much of the platform's own words is kept, in characters.
const WORDS_CHARS_MAX: usize = 500;

/// How much of a failure's causes is kept, in characters.
const CAUSES_CHARS_MAX: usize = 300;

/// An answer of the platform, as far as it was read.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
    /// Why the body is not whole.
    pub(super) broken: Option<String>,
}

/// Judges an answer; `Ok` is the body of a 200.
///
/// Only 200 is success (`connect-api.md` 1.1). A refusal is proven by its status alone, so that a
/// broken body costs it only its words; a success is not, because what cut the answer off may not
/// have been the platform.
pub(super) fn judge_reply(reply: Reply, now: Time) -> Result<Vec<u8>, Answer> {
    match (reply.status, reply.broken) {
        (200, None) => Ok(reply.body),
        (200, Some(detail)) => Err(Answer::Unknown { detail }),
        (401, _) => Err(Answer::NotDone { why: NotDone::Unauthorized, retry_after: None }),
        (429, _) => {
            let retry_after = reply.retry_after;
            let retry_after =
                retry_after.and_then(|text| read_retry_after(&text, now, RETRY_AFTER_MAX));
            Err(Answer::NotDone { why: NotDone::RateLimited, retry_after })
        }
        // A gateway's 408 says that it gave up waiting, not that the work was not done.
        (408, _) => Err(Answer::Unknown { detail: "408, a gateway gave up waiting".to_owned() }),
        (status @ 300..=499, _) => {
            let text = read_words(&reply.body, &reply.content_type);
            Err(Answer::Refused { status, text })
        }
        (status, _) => Err(Answer::Unknown { detail: format!("the platform answered {status}") }),
    }
}

/// Judges a call without an answer.
///
/// `is_connect` is set where the connector failed (name, socket, TLS, its timeout) and nowhere
/// else: a request that was handed to a connection, new or pooled, has another kind of error. A
/// request has no connection of its own before the connector is done, so nothing was sent.
pub(super) fn judge_failure(error: &reqwest::Error) -> Answer {
    if is_too_late(error) {
        return too_late();
    }
    if error.is_connect() {
        let why = NotDone::NeverConnected(causes(error));
        return Answer::NotDone { why, retry_after: None };
    }
    let detail = if error.is_timeout() {
        "no answer within the time a call may take".to_owned()
    } else {
        format!("the connection was lost: {}", causes(error))
    };
    Answer::Unknown { detail }
}

/// Whether the last look at the clock kept the message back: then no byte of it was written.
fn is_too_late(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<TooLate>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// A call whose deadline had come before it was begun.
pub(super) fn too_late() -> Answer {
    Answer::NotDone { why: NotDone::TooLate, retry_after: None }
}

/// A call that was not even made, because the platform could only say no or do something else.
pub(super) fn refused_here(reason: &str) -> Answer {
    Answer::Refused { status: 400, text: format!("not sent: {reason}") }
}

/// One word for the log.
pub(super) fn word(result: &Result<Vec<u8>, Answer>) -> &'static str {
    match result {
        Ok(_) | Err(Answer::Done) => "done",
        Err(Answer::Refused { .. }) => "refused",
        Err(Answer::Unknown { .. }) => "unknown",
        Err(Answer::NotDone { why, .. }) => match why {
            NotDone::NeverConnected(_) => "never connected",
            NotDone::RateLimited => "rate limited",
            NotDone::Unauthorized => "unauthorized",
            NotDone::NoBudget => "no budget",
            NotDone::TooLate => "too late",
            NotDone::NoFile(_) => "no file",
            NotDone::Stopping => "stopping",
        },
    }
}

/// The causes of a failure, without the error's own line: that one repeats the address.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    // Some causes repeat the next one in their own text.
    texts.dedup_by(|later, earlier| earlier.contains(later.as_str()));
    tidy(&texts.join(": "), CAUSES_CHARS_MAX)
}

/// The platform's own words: the text of `{"error": "…"}`, or else the body without its tags.
fn read_words(body: &[u8], content_type: &str) -> String {
    if let Some(words) = wire::read_words(body) {
        return tidy(&words, WORDS_CHARS_MAX);
    }
    let body = String::from_utf8_lossy(body);
    if content_type.contains("html") || body.trim_start().starts_with('<') {
        return tidy(&without_tags(&body), WORDS_CHARS_MAX);
    }
    tidy(&body, WORDS_CHARS_MAX)
}

/// A page as a person would read it, roughly: everything between `<` and `>` is a blank.
fn without_tags(page: &str) -> String {
    let mut inside = false;
    let visible = page.chars().filter_map(|sign| match sign {
        '<' => {
            inside = true;
            Some(' ')
        }
        '>' if inside => {
            inside = false;
            None
        }
        _ => (!inside).then_some(sign),
    });
    visible.collect()
}

/// A text on one line, without control characters, at most so many characters long.
fn tidy(text: &str, chars_max: usize) -> String {
    let clean: String =
        text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ").chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_words(content_type: &str, body: &str, expected: &str) {
        assert_eq!(read_words(body.as_bytes(), content_type), expected);
    }

    #[test]
    fn a_refusal_keeps_the_platforms_words_and_nothing_else() {
        check_words(
            "application/json",
            r#"{"error":"User is not\n a subscriber"}"#,
            "User is not a subscriber",
        );
        check_words("", "", "");
        check_words("text/plain", "a < b\u{1b}[31m\0c\r\n", "a < b [31m c");
        check_words("text/html", "<a href=\"/x/\">Moved</a>.\n<br/>x", "Moved . x");
        check_words("", " <html><head><title>403</title></head>\n<p>No</p> 1 > 0", "403 No 1 > 0");
        check_words("text/html", "cut <a href=", "cut");
        check_words("", &"я".repeat(600), &"я".repeat(500));
        check_words("", r#"{"message":"odd"}"#, r#"{"message":"odd"}"#);
        assert_eq!(read_words(b"\xff\xfe", ""), "\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now = Time::parse_rfc3339("2015-10-21T07:28:00Z").unwrap();
        for (text, secs) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("600", Some(600)),
            ("601", Some(600)),
            ("99999999999999999999999", Some(600)),
            ("9223372036854775807", Some(600)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Fri, 21 Oct 2016 07:00:00 GMT", Some(600)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(
                read_retry_after(text, now, RETRY_AFTER_MAX),
                secs.map(Span::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn every_status_has_its_verdict() {
        let judge = |status, broken: Option<&str>| {
            let broken = broken.map(str::to_owned);
            let (retry_after, content_type) = (None, String::new());
            judge_reply(
                Reply { status, retry_after, content_type, body: b"x".to_vec(), broken },
                Time::default(),
            )
        };
        for status in 100..=999 {
            let expected = match status {
                200 => "done",
                401 => "unauthorized",
                429 => "rate limited",
                408 => "unknown",
                300..=499 => "refused",
                _ => "unknown",
            };
            assert_eq!(word(&judge(status, None)), expected, "{status}");
            let expected = if status == 200 { "unknown" } else { expected };
            assert_eq!(word(&judge(status, Some("cut"))), expected, "{status}, cut off");
        }
    }
}
