//! Section "1C-Connect": the platform's API.

use secrecy::SecretString;
use url::Url;

use crate::config::hook::{parse_http_url, parse_login, parse_password};
use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{CONNECT_LOGIN, CONNECT_PASSWORD, CONNECT_RATE, CONNECT_URL};
use crate::connect::budget::Rate;

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
    pub rate: Rate,
}

impl ConnectSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let url = reader.or_default(&CONNECT_URL, parse_url);
        let login = reader.required(&CONNECT_LOGIN, parse_login);
        let password = reader.required(&CONNECT_PASSWORD, parse_password);
        let rate = reader.or_default(&CONNECT_RATE, parse_rate);
        Ok(Self { url: url?, login: login?, password: password?, rate: rate? })
    }
}

fn parse_rate(text: &str) -> Result<Rate, Expected> {
    Rate::parse(text).map_err(|_| {
        "expected calls in a unit of time (s, min, h), comma separated, such as 20/s,600/min"
            .to_owned()
    })
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
    fn the_platforms_address_may_have_a_path_and_nothing_behind_it() {
        assert_eq!(parse_url("http://127.0.0.1:9000").unwrap().as_str(), "http://127.0.0.1:9000/");
        assert!(parse_url("https://host/prefix/").is_ok());
        for bad in ["push.1c-connect.com", "https://host/?a=b", "https://host/#a", "https://a@host"]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
