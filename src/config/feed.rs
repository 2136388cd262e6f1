//! Section "Changes": how long changes are kept, and where they are sent.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::config::duration::within;
use crate::config::problem::Problem;
use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{CHANGES_KEPT, PUSH_SECRET, PUSH_URL};
use crate::feed::PushSecrets;

/// The shortest time that changes are kept.
const KEPT_MIN: Duration = Duration::from_hours(1);
/// The longest time that changes are kept.
const KEPT_MAX: Duration = Duration::from_hours(365 * 24);

/// What becomes of changes.
#[derive(Clone, Debug)]
pub struct FeedSettings {
    /// How long they are kept.
    pub kept: Duration,
    /// Where they are sent; `None`: they are only read.
    pub push: Option<PushSettings>,
}

/// Where changes are sent.
#[derive(Clone)]
pub struct PushSettings {
    /// The receiver: http or https, with a host, perhaps with login and password.
    pub url: SecretString,
    /// What they are signed with.
    pub secrets: PushSecrets,
}

impl fmt::Debug for PushSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSettings").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl FeedSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let kept = reader.or_default(&CHANGES_KEPT, within(KEPT_MIN, KEPT_MAX));
        let push = PushSettings::read(reader);
        Ok(Self { kept: kept?, push: push? })
    }
}

impl PushSettings {
    /// `None` when neither is set.
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Reported> {
        let url = reader.optional(&PUSH_URL, parse_url);
        let secrets = reader.optional(&PUSH_SECRET, parse_secrets);
        let problem = match (url?, secrets?) {
            (Some(url), Some(secrets)) => return Ok(Some(Self { url, secrets })),
            (None, None) => return Ok(None),
            (Some(_), None) => Problem::with(
                &PUSH_SECRET,
                "is not set, and FREELINE_PUSH_URL is: expected both, or none of them",
            ),
            (None, Some(_)) => Problem::with(
                &PUSH_URL,
                "is not set, and FREELINE_PUSH_SECRET is: expected both, or none of them",
            ),
        };
        Err(reader.report(problem))
    }
}

fn parse_url(text: &str) -> Result<SecretString, Expected> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.fragment().is_none()
    });
    match url {
        Some(_) => Ok(SecretString::from(text)),
        None => Err("expected https://host/path or http://host/path, perhaps with \
             user:password@ before the host, special characters in them percent-encoded"
            .to_owned()),
    }
}

fn parse_secrets(text: &str) -> Result<PushSecrets, Expected> {
    PushSecrets::parse(text).ok_or_else(|| {
        "expected whsec_ and base64 of 24 to 64 bytes, or two of them with a space between; \
         `echo whsec_$(openssl rand -base64 32)` makes one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::config::reader::read_all;

    const SECRET: (&str, &str) = ("FREELINE_PUSH_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

    fn read(pairs: &[(&str, &str)]) -> Result<FeedSettings, String> {
        let env: Env = pairs.iter().copied().collect();
        read_all(&env, FeedSettings::read).map_err(|problems| problems.to_string())
    }

    #[test]
    fn address_and_secret_are_set_both_or_none() {
        let url = ("FREELINE_PUSH_URL", "https://me:p%40ss@erp.example.com/hs/freeline");
        assert!(read(&[]).unwrap().push.is_none());
        assert!(read(&[url, SECRET]).unwrap().push.is_some());
        assert!(read(&[url]).unwrap_err().contains("FREELINE_PUSH_SECRET is not set"));
        assert!(read(&[SECRET]).unwrap_err().contains("FREELINE_PUSH_URL is not set"));
    }

    #[test]
    fn a_wrong_address_or_secret_gets_a_sentence_that_does_not_show_it() {
        for bad in ["canary", "ftp://canary/", "https://", "https://canary/#x"] {
            let told = read(&[("FREELINE_PUSH_URL", bad), SECRET]).unwrap_err();
            assert!(told.contains("expected https://host/path"), "{told}");
            assert!(!told.contains("canary"), "{told}");
        }
        let url = ("FREELINE_PUSH_URL", "http://127.0.0.1:81/");
        for bad in ["canary", "whsec_canary", "whsec_Y2FuYXJ5"] {
            let told = read(&[url, ("FREELINE_PUSH_SECRET", bad)]).unwrap_err();
            assert!(told.contains("openssl rand -base64 32"), "{told}");
            assert!(!told.contains(bad), "{told}");
        }
    }
}
