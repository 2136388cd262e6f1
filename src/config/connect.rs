//! Section "1C-Connect": the platform's API.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::config::hook::{parse_http_url, parse_login, parse_password};
use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{CONNECT_LOGIN, CONNECT_PASSWORD, CONNECT_RATE, CONNECT_URL};

/// The most limits that make one budget.
const RATES_MAX: usize = 8;

/// The most calls of one limit.
const CALLS_MAX: u32 = 1_000_000;

/// How the platform's API is called.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    /// Its address, to which the paths of the calls are added.
    pub url: Url,
    /// The login of our API user.
    pub login: String,
    /// The password of our API user.
    pub password: SecretString,
    /// The budget of calls: every one of these limits holds; at least one.
    pub rate: Vec<RateLimit>,
}

/// At most so many calls in so much time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// How many calls, at least one.
    pub calls: u32,
    /// In how much time.
    pub per: Duration,
}

impl ConnectSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let url = reader.or_default(&CONNECT_URL, parse_url);
        let login = reader.required(&CONNECT_LOGIN, parse_login);
        let password = reader.required(&CONNECT_PASSWORD, parse_password);
        let rate = reader.or_default(&CONNECT_RATE, RateLimit::parse_list);
        Ok(Self { url: url?, login: login?, password: password?, rate: rate? })
    }
}

impl RateLimit {
    /// Reads limits such as `20/s,600/min`.
    fn parse_list(text: &str) -> Result<Vec<Self>, Expected> {
        let limits: Option<Vec<_>> =
            text.split(',').map(|limit| Self::parse(limit.trim())).collect();
        limits.filter(|limits| limits.len() <= RATES_MAX).ok_or_else(|| {
            "expected calls in a unit of time (s, min, h), comma separated, such as 20/s,600/min"
                .to_owned()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (calls, unit) = text.split_once('/')?;
        let calls = calls.parse().ok().filter(|calls| (1..=CALLS_MAX).contains(calls))?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "min" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return None,
        };
        Some(Self { calls, per })
    }
}

fn parse_url(text: &str) -> Result<Url, Expected> {
    parse_http_url(text).filter(|url| url.query().is_none() && url.fragment().is_none()).ok_or_else(
        || {
            "expected an address without user and parameters, such as https://push.1c-connect.com"
                .to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_as_all_of_its_limits() {
        let limit = |calls, secs| RateLimit { calls, per: Duration::from_secs(secs) };
        let check = |text, limits: &[RateLimit]| {
            assert_eq!(RateLimit::parse_list(text).as_deref(), Ok(limits), "{text}");
        };
        check("20/s,600/min", &[limit(20, 1), limit(600, 60)]);
        check("1/h, 2/s", &[limit(1, 3_600), limit(2, 1)]);
        for bad in ["", "20", "20/", "0/s", "-1/s", "20/s,", "20/m", "1000001/s", "20 / s"] {
            assert!(RateLimit::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_platforms_address_may_have_a_path_and_nothing_behind_it() {
        assert_eq!(parse_url("http://127.0.0.1:9000").unwrap().as_str(), "http://127.0.0.1:9000/");
        assert!(parse_url("https://host/prefix/").is_ok());
        for bad in ["push.1c-connect.com", "https://host/?a=b", "https://host/#a", "https://a@host"]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
