//! Section "Mail": the notices that all lines of a manager are busy.

use lettre::message::Mailbox;
use secrecy::SecretString;
use url::Url;

use crate::config::problem::Problem;
use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{MAIL_FROM, SMTP_URL};

/// How notices are sent.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// The mail server, with user and password if it wants them; fit for `lettre`'s `from_url`.
    pub url: SecretString,
    /// The sender.
    pub from: Mailbox,
}

impl MailSettings {
    /// `None` when neither is set: notices are then only shown.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Reported> {
        let url = reader.optional(&SMTP_URL, parse_smtp_url);
        let from = reader.optional(&MAIL_FROM, parse_sender);
        let problem = match (url?, from?) {
            (Some(url), Some(from)) => return Ok(Some(Self { url, from })),
            (None, None) => return Ok(None),
            (Some(_), None) => Problem::with(
                &MAIL_FROM,
                "is not set, and FREELINE_SMTP_URL is: expected both, or none of them",
            ),
            (None, Some(_)) => Problem::with(
                &SMTP_URL,
                "is not set, and FREELINE_MAIL_FROM is: expected both, or none of them",
            ),
        };
        Err(reader.report(problem))
    }
}

fn parse_smtp_url(text: &str) -> Result<SecretString, Expected> {
    let expected = "expected smtp://… or smtps://…";
    let scheme = ["smtp://", "smtps://"].into_iter().find(|scheme| text.starts_with(scheme));
    let Some(scheme) = scheme else { return Err(expected.to_owned()) };
    let url = Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|it| !it.is_empty()));
    let Some(url) = url else {
        return Err(format!(
            "expected {scheme}host, {scheme}host:port or {scheme}user:password@host; special \
             characters in user and password must be percent-encoded"
        ));
    };
    if url.username().is_empty() != url.password().is_none_or(str::is_empty) {
        return Err(format!(
            "expected both user and password, or none: {scheme}user:password@host"
        ));
    }
    if url.query_pairs().any(|(name, value)| !is_tls_parameter(&name, &value)) {
        return Err("expected no parameter but tls=required or tls=opportunistic".to_owned());
    }
    Ok(SecretString::from(text))
}

fn is_tls_parameter(name: &str, value: &str) -> bool {
    name == "tls" && matches!(value, "required" | "opportunistic")
}

fn parse_sender(text: &str) -> Result<Mailbox, Expected> {
    text.parse().map_err(|_| {
        "expected an address, such as freeline@example.com or Freeline <freeline@example.com>"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::config::reader::read_all;

    #[test]
    fn a_mail_server_is_taken_with_all_it_may_have() {
        for good in [
            "smtp://localhost",
            "smtp://127.0.0.1:2525",
            "smtp://mail.example.com?tls=required",
            "smtps://me%40example.com:p%40ss@mail.example.com:465",
        ] {
            assert!(parse_smtp_url(good).is_ok(), "{good}");
        }
        let check = |text: &str, expected: &str| {
            let reason = parse_smtp_url(text).unwrap_err();
            assert!(reason.starts_with(expected), "{text}: {reason}");
            assert!(!reason.contains("canary"), "{text}: {reason}");
        };
        check("canary", "expected smtp://… or smtps://…");
        check("https://canary", "expected smtp://… or smtps://…");
        check("smtp://", "expected smtp://host,");
        check("smtps://me:canary@", "expected smtps://host,");
        check("smtps://me:canary@host:port", "expected smtps://host,");
        check("smtps://canary@host", "expected both user and password");
        check("smtps://:canary@host", "expected both user and password");
        check("smtp://host?tls=canary", "expected no parameter but");
        check("smtp://host?starttls=required", "expected no parameter but");
    }

    #[test]
    fn the_sender_may_have_a_name() {
        let check = |text: &str, name: Option<&str>| {
            let mailbox = parse_sender(text).unwrap();
            assert_eq!(mailbox.name.as_deref(), name);
            assert_eq!(mailbox.email.to_string(), "freeline@example.com");
        };
        check("freeline@example.com", None);
        check("Freeline <freeline@example.com>", Some("Freeline"));
        check("Оплаты <freeline@example.com>", Some("Оплаты"));
        for bad in ["freeline", "<>", "a@b@c", "a@example.com, b@example.com"] {
            assert!(parse_sender(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn server_and_sender_are_set_both_or_none() {
        let read = |pairs: &[(&str, &str)]| {
            let env: Env = pairs.iter().copied().collect();
            read_all(&env, MailSettings::read)
        };
        let url = ("FREELINE_SMTP_URL", "smtp://localhost");
        let from = ("FREELINE_MAIL_FROM", "freeline@example.com");
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[url, from]).unwrap().is_some());
        let lone = |pair| read(&[pair]).unwrap_err().iter().next().map(|it| it.name.clone());
        assert_eq!(lone(url).as_deref(), Some("FREELINE_MAIL_FROM"));
        assert_eq!(lone(from).as_deref(), Some("FREELINE_SMTP_URL"));
    }
}
