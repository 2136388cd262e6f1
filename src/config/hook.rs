//! Section "Callback": the address that the platform sends its events to.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::config::duration::within;
use crate::config::http::is_header_text;
use crate::config::problem::Problem;
use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{
    HOOK_AUTH, HOOK_CHECK_EVERY, HOOK_LOGIN, HOOK_PASSWORD, HOOK_TAKEOVER, HOOK_TOKEN, HOOK_URL,
};

const CHECK_EVERY_MIN: Duration = Duration::from_secs(10);
const CHECK_EVERY_MAX: Duration = Duration::from_hours(24);

/// The address that the platform sends its events to.
#[derive(Clone, Debug)]
pub struct HookSettings {
    /// The public URL, exactly as it was given: it is compared with what the platform lists.
    pub url: String,
    /// What the platform must send with every event.
    pub auth: HookAuth,
    /// Whether a hook that points at somebody else's address is replaced.
    pub takeover: bool,
    /// How often the platform's list of hooks is compared with ours.
    pub check_every: Duration,
}

/// What the platform must send with every event (`back_auth`).
#[derive(Clone, Debug)]
pub enum HookAuth {
    /// `Authorization: Bearer …`.
    Bearer(SecretString),
    /// `Authorization: Basic …`.
    Basic {
        /// The login, without a colon.
        login: String,
        /// The password.
        password: SecretString,
    },
    /// Nothing: whoever knows the URL can send events.
    None,
}

impl HookSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let url = reader.required(&HOOK_URL, parse_hook_url);
        let auth = HookAuth::read(reader);
        let takeover = reader.or_default(&HOOK_TAKEOVER, parse_yes_or_no);
        let check_every =
            reader.or_default(&HOOK_CHECK_EVERY, within(CHECK_EVERY_MIN, CHECK_EVERY_MAX));
        Ok(Self { url: url?, auth: auth?, takeover: takeover?, check_every: check_every? })
    }
}

impl HookAuth {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let token = reader.optional(&HOOK_TOKEN, parse_token);
        let login = reader.optional(&HOOK_LOGIN, parse_login);
        let password = reader.optional(&HOOK_PASSWORD, parse_password);
        let auth = reader.optional(&HOOK_AUTH, parse_auth);
        let problem = match (token?, login?, password?, auth?) {
            (Some(token), None, None, None) => return Ok(Self::Bearer(token)),
            (None, Some(login), Some(password), None) => {
                return Ok(Self::Basic { login, password });
            }
            (None, None, None, Some(NoAuth)) => return Ok(Self::None),
            (None, Some(_), None, None) => {
                Problem::with(&HOOK_PASSWORD, "is not set, and FREELINE_HOOK_LOGIN is")
            }
            (None, None, Some(_), None) => {
                Problem::with(&HOOK_LOGIN, "is not set, and FREELINE_HOOK_PASSWORD is")
            }
            (None, None, None, None) => Problem::with(
                &HOOK_TOKEN,
                "is not set: expected a token, or FREELINE_HOOK_LOGIN and FREELINE_HOOK_PASSWORD, \
                 or FREELINE_HOOK_AUTH=none to take events from anybody",
            ),
            (Some(_), _, _, None) => Problem::with(
                &HOOK_TOKEN,
                "is set beside FREELINE_HOOK_LOGIN or FREELINE_HOOK_PASSWORD: expected one kind",
            ),
            (_, _, _, Some(NoAuth)) => Problem::with(
                &HOOK_AUTH,
                "is \"none\" beside a token, login or password: expected one or the other",
            ),
        };
        Err(reader.report(problem))
    }
}

/// `FREELINE_HOOK_AUTH=none` was said.
struct NoAuth;

fn parse_auth(text: &str) -> Result<NoAuth, Expected> {
    match text {
        "none" => Ok(NoAuth),
        _ => Err("expected none, or nothing".to_owned()),
    }
}

fn parse_hook_url(text: &str) -> Result<String, Expected> {
    let expected = "expected the whole public address, such as https://host/connect/hook/";
    match parse_http_url(text) {
        Some(url) if url.fragment().is_none() => Ok(text.to_owned()),
        _ => Err(expected.to_owned()),
    }
}

/// Reads an absolute `http` or `https` URL that carries no user and password.
///
/// Stricter than the URL standard, which would pass over spaces and missing slashes in silence.
pub(super) fn parse_http_url(text: &str) -> Option<Url> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let is_plain = !rest.starts_with('/') && !text.chars().any(|c| c.is_whitespace() || c == '\\');
    let url = Url::parse(text).ok().filter(|_| is_plain)?;
    (url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn parse_token(text: &str) -> Result<SecretString, Expected> {
    if is_header_text(text) {
        Ok(SecretString::from(text))
    } else {
        Err("expected ASCII characters without spaces".to_owned())
    }
}

/// Reads the login of basic authentication.
pub(super) fn parse_login(text: &str) -> Result<String, Expected> {
    if text.contains(':') || text.chars().any(char::is_control) {
        Err("expected a login without colons and line breaks".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Reads the password of basic authentication.
pub(super) fn parse_password(text: &str) -> Result<SecretString, Expected> {
    if text.chars().any(char::is_control) {
        Err("expected a password without line breaks".to_owned())
    } else {
        Ok(SecretString::from(text))
    }
}

pub(super) fn parse_yes_or_no(text: &str) -> Result<bool, Expected> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::config::reader::read_all;

    #[test]
    fn a_hook_url_is_kept_exactly_and_must_be_whole() {
        for good in ["https://host/connect/hook/", "http://10.0.0.1:8080", "https://host/%7Ea?b=c"]
        {
            assert_eq!(parse_hook_url(good).as_deref(), Ok(good));
        }
        for bad in [
            "host/connect/hook/",
            "//host/",
            "ftp://host/",
            "https:/host/",
            "https:///host/",
            "https://",
            " https://host/",
            "https://host/a b",
            "https://user:secret@host/",
            "https://host/#part",
        ] {
            assert!(parse_hook_url(bad).is_err(), "{bad}");
        }
    }

    fn auth(pairs: &[(&str, &str)]) -> String {
        let env: Env = pairs.iter().copied().collect();
        match read_all(&env, HookAuth::read) {
            Ok(HookAuth::Bearer(_)) => "bearer".to_owned(),
            Ok(HookAuth::Basic { login, .. }) => format!("basic {login}"),
            Ok(HookAuth::None) => "none".to_owned(),
            Err(problems) => {
                let lines = problems.iter().map(|it| format!("{} {}\n", it.name, it.what));
                lines.collect::<Vec<_>>().concat()
            }
        }
    }

    #[test]
    fn exactly_one_kind_of_authentication_is_taken() {
        let token = ("FREELINE_HOOK_TOKEN", "canary");
        let login = ("FREELINE_HOOK_LOGIN", "me");
        let password = ("FREELINE_HOOK_PASSWORD", "canary");
        let none = ("FREELINE_HOOK_AUTH", "none");
        assert_eq!(auth(&[token]), "bearer");
        assert_eq!(auth(&[login, password]), "basic me");
        assert_eq!(auth(&[none]), "none");
        let refused = [
            vec![],
            vec![login],
            vec![password],
            vec![token, login],
            vec![token, login, password],
            vec![token, none],
            vec![password, none],
            vec![("FREELINE_HOOK_AUTH", "bearer")],
            vec![("FREELINE_HOOK_TOKEN", "ca nary")],
        ];
        let texts: String = refused.iter().map(|pairs| auth(pairs)).collect::<Vec<_>>().concat();
        assert_eq!(
            texts,
            "\
FREELINE_HOOK_TOKEN is not set: expected a token, or FREELINE_HOOK_LOGIN and FREELINE_HOOK_PASSWORD, or FREELINE_HOOK_AUTH=none to take events from anybody
FREELINE_HOOK_PASSWORD is not set, and FREELINE_HOOK_LOGIN is
FREELINE_HOOK_LOGIN is not set, and FREELINE_HOOK_PASSWORD is
FREELINE_HOOK_TOKEN is set beside FREELINE_HOOK_LOGIN or FREELINE_HOOK_PASSWORD: expected one kind
FREELINE_HOOK_TOKEN is set beside FREELINE_HOOK_LOGIN or FREELINE_HOOK_PASSWORD: expected one kind
FREELINE_HOOK_AUTH is \"none\" beside a token, login or password: expected one or the other
FREELINE_HOOK_AUTH is \"none\" beside a token, login or password: expected one or the other
FREELINE_HOOK_AUTH is \"bearer\": expected none, or nothing
FREELINE_HOOK_TOKEN has a value that cannot be used (not shown): expected ASCII characters without spaces
"
        );
    }
}
