//! Section "Log": what is written, and in which form.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::{LOG, LOG_FORMAT};

/// What PostgreSQL remarks to each of its sessions, and what the pool says of each connection that it
/// throws away: a server that is stopped would fill the log with them, and whoever needed the
/// connection tells of it himself. Who wants them names them.
const QUIET: &str = "sqlx::postgres::notice=off,sqlx_core::pool=off";

/// What is logged, and in which form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogSettings {
    /// What is logged.
    pub filter: LogFilter,
    /// In which form.
    pub format: LogFormat,
}

/// Which records are written: `info`, or also by part, `info,freeline::worker=debug`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter(String);

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

impl LogSettings {
    pub(super) fn read_from(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let filter = reader.or_default(&LOG, LogFilter::parse);
        let format = reader.or_default(&LOG_FORMAT, parse_format);
        Ok(Self { filter: filter?, format: format? })
    }
}

impl LogFilter {
    fn parse(text: &str) -> Result<Self, Expected> {
        let expected = "expected error, warn, info, debug, trace or off, or by part, such as \
                        info,freeline::worker=debug";
        // EnvFilter takes almost any text for the name of a part of the program, and then logs
        // that part alone: a slip such as "inof" or "info debug" would silence all the rest.
        let is_meant = |directive: &str| match directive.split_once(['=', '[']) {
            Some((part, _)) => !part.contains(char::is_whitespace),
            None => !directive.is_empty() && directive.parse::<LevelFilter>().is_ok(),
        };
        let is_valid = text.split(',').all(is_meant) && EnvFilter::builder().parse(text).is_ok();
        if is_valid { Ok(Self(text.to_owned())) } else { Err(expected.to_owned()) }
    }

    /// The filter for `tracing-subscriber`.
    pub fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(format!("{QUIET},{}", self.0))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

fn parse_format(text: &str) -> Result<LogFormat, Expected> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_and_what_differs_from_it() {
        for good in ["info", "OFF", "info,freeline::worker=debug", "warn,[request{id=1}]=trace"] {
            assert!(LogFilter::parse(good).is_ok(), "{good}");
        }
        for bad in ["inof", "info,", "info,freeline", "freeline=loud", "info freeline=debug", "="] {
            assert!(LogFilter::parse(bad).is_err(), "{bad}");
        }
    }
}
