//! The log: where records go and how they look.
//!
//! Everything goes to standard error, one record per line, so that standard output stays free for
//! what a command prints.

pub mod series;

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogSettings};

mod sparse;

pub use sparse::{Sparse, admit_outage, tell_outage};

/// A log, or what counts, is installed in this process already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this process has its telemetry already")]
pub struct AlreadyInstalled;

/// Installs the log of this process: once, at its start.
pub fn install(settings: &LogSettings) -> Result<(), AlreadyInstalled> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    subscriber(settings, io::stderr, io::stderr().is_terminal())
        .try_init()
        .map_err(|_| AlreadyInstalled)
}

/// An error with everything that caused it, in one line: what was attempted, then why it failed.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

type BoxedSubscriber = Box<dyn Subscriber + Send + Sync>;

fn subscriber<W>(settings: &LogSettings, writer: W, is_terminal: bool) -> BoxedSubscriber
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt()
        .with_env_filter(settings.filter.to_env_filter())
        .with_writer(writer);
    match settings.format {
        LogFormat::Json => {
            // The message and the fields stand at the top, where collectors look for them.
            Box::new(log.json().flatten_event(true).with_span_list(false).finish())
        }
        // On a terminal the subscriber's own choice stands: coloured, unless NO_COLOR is set.
        LogFormat::Text if is_terminal => Box::new(log.finish()),
        LogFormat::Text => Box::new(log.with_ansi(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    use super::*;
    use crate::config::Env;

    fn logged(pairs: &[(&str, &str)]) -> String {
        let settings = LogSettings::read(&pairs.iter().copied().collect::<Env>()).unwrap();
        let file = Arc::new(tempfile::tempfile().unwrap());
        tracing::subscriber::with_default(subscriber(&settings, file.clone(), false), || {
            tracing::info!(payment.id = "p1", "payment p1 is sent");
            tracing::debug!("a detail");
        });
        let mut text = String::new();
        (&*file).rewind().unwrap();
        (&*file).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn text_is_one_plain_line_for_each_record_that_passes_the_filter() {
        let text = logged(&[]);
        assert!(
            text.ends_with(
                "  INFO freeline::telemetry::tests: payment p1 is sent payment.id=\"p1\"\n"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn json_is_one_object_for_each_record() {
        let text = logged(&[("FREELINE_LOG_FORMAT", "json"), ("FREELINE_LOG", "debug")]);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["message"], "payment p1 is sent");
        assert_eq!(lines[0]["payment.id"], "p1");
    }
}
