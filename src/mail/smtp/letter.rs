//! A mail in the form in which it goes over the wire.
//!
//! Invariant: nothing of a mail can add a header, a recipient or a command: addresses are parsed,
//! the subject is one line, and line ends are CRLF throughout.

use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, SinglePart};

use crate::core::time::Time;
use crate::mail::Mail;
use crate::text::{many_lines, one_line};

/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 500;

/// The last microsecond that a `Date` header can show: the end of the year 9999.
const DATE_MICROS_MAX: i64 = 253_402_300_799_999_999;

/// A mail ready to be handed over.
pub(super) struct Letter {
    /// Whom it is for.
    pub(super) recipient: Address,
    /// Headers and body, all ASCII, without the line end that belongs to the end mark.
    pub(super) content: Vec<u8>,
}

/// Builds the letter; the error says why it never can be.
pub(super) fn compose(mail: &Mail, from: &Mailbox, now: Time) -> Result<Letter, &'static str> {
    let recipient =
        ascii_address(&mail.to).ok_or("The recipient's address is not a valid e-mail address.")?;
    let message = Message::builder()
        .message_id(Some(format!("<{}@{}>", message_id(&mail.id), from.email.domain())))
        .date(date(now))
        .from(from.clone())
        .to(Mailbox::new(None, recipient.clone()))
        .subject(one_line(&mail.subject, SUBJECT_CHARS_MAX))
        // RFC 3834: no absence notes in return, please.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        // With whole line ends already: lettre would insert them one by one, in quadratic time.
        .singlepart(SinglePart::plain(many_lines(&mail.body).replace('\n', "\r\n")))
        .map_err(|_| "The mail could not be put together.")?;
    let mut content = message.formatted();
    // The end mark of SMTP begins with a line end of its own.
    if content.ends_with(b"\r\n") {
        content.truncate(content.len().saturating_sub(2));
    }
    Ok(Letter { recipient, content })
}

/// Reads an address; a domain in other letters is written in ASCII (`xn--…`), a local part in
/// other letters is refused, because few servers take it.
pub(super) fn ascii_address(text: &str) -> Option<Address> {
    if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return None;
    }
    let (user, domain) = text.rsplit_once('@')?;
    if !user.is_ascii() {
        return None;
    }
    if domain.is_ascii() {
        return Address::new(user, domain).ok();
    }
    Address::new(user, url::Host::parse(domain).ok()?.to_string()).ok()
}

/// `id` without anything that has a meaning in a `Message-ID`.
fn message_id(id: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char } else { '-' };
    id.chars().map(plain).collect()
}

/// `now` within the years that a `Date` header can show.
fn date(now: Time) -> SystemTime {
    let micros = u64::try_from(now.micros().clamp(0, DATE_MICROS_MAX)).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            id: "0198-abc".into(),
            to: "ivanova@example.com".into(),
            subject: "Busy".into(),
            body: "first\nsecond\r\n.\nlast\n".into(),
        }
    }

    fn composed(mail: &Mail) -> String {
        let from = "Freeline <freeline@example.org>".parse().unwrap();
        let now = Time::parse_rfc3339("2026-03-05T11:07:00Z").unwrap();
        String::from_utf8(compose(mail, &from, now).unwrap_or_else(|e| panic!("{e}")).content)
            .unwrap()
    }

    #[test]
    fn the_letter_is_written_out_in_full() {
        assert_eq!(
            composed(&mail()),
            "Message-ID: <0198-abc@example.org>\r\n\
             Date: Thu, 05 Mar 2026 11:07:00 +0000\r\n\
             From: Freeline <freeline@example.org>\r\n\
             To: ivanova@example.com\r\n\
             Subject: Busy\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 7bit\r\n\
             \r\n\
             first\r\nsecond\r\n.\r\nlast"
        );
    }

    #[test]
    fn no_field_can_add_a_header() {
        let sly = Mail {
            id: "x>\r\nBcc: evil@example.com\r\n".into(),
            subject: "a\r\nBcc: evil@example.com\r\n\r\nb".into(),
            ..mail()
        };
        let content = composed(&sly);
        let (head, _body) = content.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
        assert!(head.contains("Subject: a Bcc: evil@example.com b\r\n"), "{head}");
        assert!(head.contains("<x---Bcc--evil-example-com--@example.org>"), "{head}");
    }

    #[test]
    fn everything_on_the_wire_is_ascii_with_whole_line_ends() {
        let russian = Mail {
            subject: "Все линии заняты: ".repeat(30),
            body: "Здравствуйте!\n\0\u{b}ж\r.\rж\n".repeat(50),
            ..mail()
        };
        let content = composed(&russian);
        assert!(content.is_ascii());
        let without_line_ends = content.replace("\r\n", "");
        assert!(!without_line_ends.contains(['\r', '\n', '\0']));
        assert!(content.lines().all(|line| line.len() < 998), "{content}");
    }

    #[test]
    fn addresses_are_plain_or_refused() {
        let written = |text| ascii_address(text).map(|address| address.to_string());
        assert_eq!(written("a.b+c@example.com").unwrap(), "a.b+c@example.com");
        assert_eq!(written("a@пример.рф").unwrap(), "a@xn--e1afmkfd.xn--p1ai");
        for text in [
            "",
            "a",
            "@",
            "a@",
            "@b.ru",
            "a b@c.ru",
            "a@b.ru,c@d.ru",
            "a@b.ru>\r\nRCPT TO:<c@d.ru",
            "a@b.ru\n",
            "a@b.ru> SIZE=1",
            "<a@b.ru>",
            "Имя <a@b.ru>",
            "иван@b.ru",
            "a\0@b.ru",
            "a>b@c.ru",
            "a@b@c.ru",
        ] {
            assert_eq!(written(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_date_out_of_range_does_no_harm() {
        let from = "freeline@example.org".parse().unwrap();
        for micros in [i64::MIN, -1, i64::MAX] {
            assert!(compose(&mail(), &from, Time::from_micros(micros)).is_ok());
        }
    }
}
