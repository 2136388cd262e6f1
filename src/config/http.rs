//! Section "HTTP": where we listen, and who may call the API.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::duration::within;
use crate::config::problem::Problem;
use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{API_TOKENS, LISTEN, METRICS_LISTEN, STOP_GRACE};

/// The fewest characters of an API token's secret: 16 random ones cannot be guessed.
const TOKEN_SECRET_CHARS_MIN: usize = 16;

/// The most characters of an API token's name; it is written into every request's log line.
const TOKEN_NAME_CHARS_MAX: usize = 64;

/// The longest that requests are still taken at a stop.
const STOP_GRACE_MAX: Duration = Duration::from_mins(1);

/// Where we listen, and who may call the API.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Address of the callback, the API and the page.
    pub listen: SocketAddr,
    /// Address of `/metrics`; `None` is off.
    pub metrics_listen: Option<SocketAddr>,
    /// Who may call the API; names and secrets are unique.
    pub api_tokens: Vec<ApiToken>,
    /// How long requests are taken after a stop was asked for.
    pub stop_grace: Duration,
}

/// One caller of the API.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// What the caller is called in the log and in a payment's timeline.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// What the caller proves itself with.
    pub secret: SecretString,
}

/// What a caller of the API may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Look at everything.
    Read,
    /// Look at everything and change it.
    Write,
}

impl HttpSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let listen = reader.or_default(&LISTEN, parse_address);
        let metrics_listen = if reader.is_empty(&METRICS_LISTEN) {
            Ok(None)
        } else {
            reader.or_default(&METRICS_LISTEN, parse_address).map(Some)
        };
        let api_tokens = reader.required(&API_TOKENS, parse_tokens);
        let stop_grace = reader.or_default(&STOP_GRACE, within(Duration::ZERO, STOP_GRACE_MAX));
        let (listen, metrics_listen) = (listen?, metrics_listen?);
        // Port 0 is a different port each time.
        if metrics_listen == Some(listen) && listen.port() != 0 {
            let what = format!("is \"{listen}\", as FREELINE_LISTEN is: expected another address");
            return Err(reader.report(Problem::with(&METRICS_LISTEN, what)));
        }
        Ok(Self { listen, metrics_listen, api_tokens: api_tokens?, stop_grace: stop_grace? })
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, Expected> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned()
    })
}

/// Reads `name:role:secret,…`; the reasons name an entry by its place and never quote it, because
/// in a wrong entry any part can be the secret.
fn parse_tokens(text: &str) -> Result<Vec<ApiToken>, Expected> {
    let mut tokens = Vec::new();
    let mut wrong = Vec::new();
    for (place, entry) in (1..).zip(text.split(',').map(str::trim)) {
        match parse_token(entry) {
            Ok(token) => tokens.push(token),
            Err(reason) => wrong.push(format!("entry {place} {reason}")),
        }
    }
    if wrong.is_empty() && !are_unique(tokens.iter().map(|token| token.name.as_str())) {
        wrong.push("two entries have the same name".to_owned());
    }
    if wrong.is_empty() && !are_unique(tokens.iter().map(|token| token.secret.expose_secret())) {
        wrong.push("two entries have the same secret".to_owned());
    }
    if wrong.is_empty() {
        Ok(tokens)
    } else {
        Err(format!("expected name:role:secret, comma separated; {}", wrong.join("; ")))
    }
}

fn parse_token(entry: &str) -> Result<ApiToken, &'static str> {
    let mut parts = entry.splitn(3, ':');
    let (Some(name), Some(role), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("does not have these three parts");
    };
    let is_name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !(1..=TOKEN_NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_name_character) {
        return Err("has a name that is not 1 to 64 letters, digits, dots, dashes or underscores");
    }
    let role = match role {
        "read" => Role::Read,
        "write" => Role::Write,
        _ => return Err("has a role that is neither read nor write"),
    };
    if secret.len() < TOKEN_SECRET_CHARS_MIN {
        return Err("has a secret of fewer than 16 characters");
    }
    if !is_header_text(secret) {
        return Err("has a secret with spaces or characters that are not ASCII");
    }
    Ok(ApiToken { name: name.to_owned(), role, secret: SecretString::from(secret) })
}

/// Whether `text` can stand in an `Authorization` header as it is.
pub(super) fn is_header_text(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}

fn are_unique<'text>(mut texts: impl Iterator<Item = &'text str>) -> bool {
    let mut seen = BTreeSet::new();
    texts.all(|text| seen.insert(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_with_any_colons_in_the_secret() {
        let tokens =
            parse_tokens("erp:write:0123456789abcdef, page:read:a:b:c:0123456789").unwrap();
        let read: Vec<_> = tokens
            .iter()
            .map(|token| (token.name.as_str(), token.role, token.secret.expose_secret()))
            .collect();
        assert_eq!(
            read,
            [("erp", Role::Write, "0123456789abcdef"), ("page", Role::Read, "a:b:c:0123456789")]
        );
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_by_its_place_and_without_its_text() {
        let check = |text: &str, reasons: &str| {
            let expected = format!("expected name:role:secret, comma separated; {reasons}");
            assert_eq!(parse_tokens(text).unwrap_err(), expected, "{text}");
        };
        check("canary", "entry 1 does not have these three parts");
        check(
            "erp:write:0123456789abcdef,x:canary:0123456789abcdef",
            "entry 2 has a role that is neither read nor write",
        );
        check(
            "erp:write:canary,ca nary:read:0123456789abcdef",
            "entry 1 has a secret of fewer than 16 characters; entry 2 has a name that is not 1 \
             to 64 letters, digits, dots, dashes or underscores",
        );
        check(
            "erp:write:0123456789 canary",
            "entry 1 has a secret with spaces or characters that are not ASCII",
        );
        check("erp:write:0123456789abcdef,", "entry 2 does not have these three parts");
        check(
            "erp:write:0123456789abcdef,erp:read:0123456789canary",
            "two entries have the same name",
        );
        check(
            "erp:write:0123456789canary,page:read:0123456789canary",
            "two entries have the same secret",
        );
    }
}
