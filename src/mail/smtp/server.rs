//! Which mail server to hand mails to: what `FREELINE_SMTP_URL` says.

use std::fmt;

use lettre::transport::smtp::authentication::Credentials;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// Port of plain SMTP between servers, used without a name and password.
const PORT_RELAY: u16 = 25;

/// Port on which programs with a name and password hand mails in.
const PORT_SUBMISSION: u16 = 587;

/// Port of the same with TLS from the first byte.
const PORT_SUBMISSION_TLS: u16 = 465;

/// A mail server and how to speak to it.
#[derive(Clone)]
pub(super) struct Server {
    /// Name or address, without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
    /// TLS from the first byte (`smtps`), rather than by STARTTLS.
    pub(super) implicit_tls: bool,
    pub(super) credentials: Option<Credentials>,
    /// Whether what is sent stays on this machine.
    pub(super) loopback: bool,
}

/// Why an address of a mail server or of the sender cannot be used.
///
/// Never shows the address: a password may stand in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SmtpSetupProblem {
    /// It is no URL of a mail server at all.
    #[error(
        "FREELINE_SMTP_URL is not the address of a mail server: expected smtp://host:port or \
         smtps://user:password@host:port. Characters such as @ : / % in the password must be \
         percent-encoded."
    )]
    NotAUrl,
    /// There is a user without a password or the other way round.
    #[error(
        "FREELINE_SMTP_URL has only one of user and password: \
         write both, as in smtps://user:password@host, or neither."
    )]
    HalfOfTheCredentials,
    /// There is something behind the port.
    #[error(
        "FREELINE_SMTP_URL has a path or options behind the port, which have no meaning here: \
         end it after the host or the port."
    )]
    TooMuch,
    /// TLS cannot be set up on this machine.
    #[error("TLS for the mail server could not be set up: check the machine's CA certificates.")]
    NoTls,
    /// The sender's address cannot be used.
    #[error(
        "FREELINE_MAIL_FROM cannot be used as a sender: expected an address in Latin letters, \
         such as Freeline <freeline@example.com>."
    )]
    BadSender,
}

impl Server {
    /// Reads `smtp://[user:password@]host[:port]` or `smtps://…`.
    ///
    /// The port is 465 for `smtps`, otherwise 587 with a user and 25 without one.
    pub(super) fn parse(url: &SecretString) -> Result<Self, SmtpSetupProblem> {
        let url = Url::parse(url.expose_secret()).map_err(|_| SmtpSetupProblem::NotAUrl)?;
        let implicit_tls = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(SmtpSetupProblem::NotAUrl),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(SmtpSetupProblem::TooMuch);
        }
        // The scheme is not one of the web's, so `url` leaves the kind of host to us.
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = Host::parse(host.ok_or(SmtpSetupProblem::NotAUrl)?)
            .map_err(|_| SmtpSetupProblem::NotAUrl)?;
        let loopback = match &host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        let host = match host {
            Host::Domain(name) => name,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let credentials = credentials(&url)?;
        let default_port = match (implicit_tls, &credentials) {
            (true, _) => PORT_SUBMISSION_TLS,
            (false, Some(_)) => PORT_SUBMISSION,
            (false, None) => PORT_RELAY,
        };
        let port = url.port().unwrap_or(default_port);
        Ok(Self { host, port, implicit_tls, credentials, loopback })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("implicit_tls", &self.implicit_tls)
            .finish_non_exhaustive()
    }
}

/// The user and password that stand in the address.
fn credentials(url: &Url) -> Result<Option<Credentials>, SmtpSetupProblem> {
    let decoded = |text| percent_decoded(text).ok_or(SmtpSetupProblem::NotAUrl);
    match (url.username(), url.password().unwrap_or_default()) {
        ("", "") => Ok(None),
        ("", _) | (_, "") => Err(SmtpSetupProblem::HalfOfTheCredentials),
        (user, password) => Ok(Some(Credentials::new(decoded(user)?, decoded(password)?))),
    }
}

/// `text` with every `%41` replaced by the byte it stands for; `None` if that is no UTF-8 text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Server, SmtpSetupProblem> {
        Server::parse(&SecretString::from(url))
    }

    #[test]
    fn the_usual_addresses_are_read() {
        for (url, host, port, implicit_tls, loopback) in [
            ("smtp://mail.example.com", "mail.example.com", 25, false, false),
            ("smtp://u:p@mail.example.com", "mail.example.com", 587, false, false),
            ("smtps://u:p@mail.example.com/", "mail.example.com", 465, true, false),
            ("smtp://mail.example.com:2525", "mail.example.com", 2525, false, false),
            ("smtp://localhost:25", "localhost", 25, false, true),
            ("smtp://127.0.0.1:1025", "127.0.0.1", 1025, false, true),
            ("smtp://[::1]:1025", "::1", 1025, false, true),
            ("smtp://localhost.example.com", "localhost.example.com", 25, false, false),
        ] {
            let server = parse(url).unwrap();
            assert_eq!(
                (&*server.host, server.port, server.implicit_tls, server.loopback),
                (host, port, implicit_tls, loopback),
                "{url}"
            );
        }
    }

    #[test]
    fn the_password_is_percent_decoded() {
        let server = parse("smtps://freeline%40example.com:a%3Ab%25%D0%B6@h").unwrap();
        let expected = Credentials::new("freeline@example.com".into(), "a:b%ж".into());
        assert_eq!(server.credentials, Some(expected));
    }

    #[test]
    fn faulty_addresses_are_refused_without_showing_them() {
        for (url, problem) in [
            ("", SmtpSetupProblem::NotAUrl),
            ("mail.example.com", SmtpSetupProblem::NotAUrl),
            ("http://hunter2@h", SmtpSetupProblem::NotAUrl),
            ("smtp://", SmtpSetupProblem::NotAUrl),
            ("smtp://u:hunter2%zz@h", SmtpSetupProblem::NotAUrl),
            ("smtp://u:hunter2%@h", SmtpSetupProblem::NotAUrl),
            ("smtp://u:hunter2%ff@h", SmtpSetupProblem::NotAUrl),
            ("smtp://u@h", SmtpSetupProblem::HalfOfTheCredentials),
            ("smtp://:hunter2@h", SmtpSetupProblem::HalfOfTheCredentials),
            ("smtp://u:hunter2@h?tls=required", SmtpSetupProblem::TooMuch),
            ("smtp://h/name", SmtpSetupProblem::TooMuch),
        ] {
            let found = parse(url).unwrap_err();
            assert_eq!(found, problem, "{url}");
            assert!(!found.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn the_password_is_not_shown_for_debugging() {
        let shown = format!("{:?}", parse("smtps://user:hunter2@mail.example.com").unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
    }
}
