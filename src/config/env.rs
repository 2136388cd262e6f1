//! The environment as a plain map: the process's own, and the file `.env` below it.
//!
//! Invariant: nothing else of the crate reads the environment, so a test passes what it likes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fmt, fs, io};

use crate::config::problem::Problem;
use crate::config::variables::PREFIX;

/// The names and values that settings are read from.
#[derive(Clone, Default)]
pub struct Env {
    values: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Env {
    /// The environment of this process, completed by `.env` in the working directory if there is
    /// one. What is set in both keeps the value of the process.
    ///
    /// What cannot be read is remembered and reported with the problems of the settings.
    pub fn from_process() -> Self {
        let mut env = Self::default();
        env.add_process(std::env::vars_os());
        env.add_dotenv(Path::new(".env"));
        env
    }

    /// The value of `name`; an empty one is a value here.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All names that are set.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// What could not be read.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn add_process(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            // A name that is not Unicode cannot be one of ours.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    self.values.insert(name, value);
                }
                Err(_) if name.starts_with(PREFIX) => self.problems.push(Problem {
                    name,
                    what: "has a value that is not UTF-8".to_owned(),
                    remedy: "Set it again as UTF-8 text.".to_owned(),
                }),
                Err(_) => {}
            }
        }
    }

    fn add_dotenv(&mut self, path: &Path) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.problems.push(Problem {
                    name: path.display().to_string(),
                    what: format!("cannot be read: {error}"),
                    remedy: "Make it a readable text file, or take it away.".to_owned(),
                });
                return;
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            match line {
                Ok((name, value)) => {
                    self.values.entry(name).or_insert(value);
                }
                Err(error) => self.problems.push(broken_line(path, text, &error)),
            }
        }
    }
}

/// Names the place and never the text: the line may hold a secret.
fn broken_line(path: &Path, text: &str, error: &dotenvy::Error) -> Problem {
    let line_number = match error {
        dotenvy::Error::LineParse(line, _) => text
            .find(line.as_str())
            .and_then(|at| text.get(..at))
            .map(|before| before.matches('\n').count() + 1),
        _ => None,
    };
    let place = line_number.map_or_else(|| "a line".to_owned(), |number| format!("line {number}"));
    Problem {
        name: path.display().to_string(),
        what: format!("cannot be read at {place}: expected NAME=value"),
        remedy: "Put a value with spaces, #, $ or quotes between single quotes.".to_owned(),
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, problems: Vec::new() }
    }
}

impl fmt::Debug for Env {
    /// The names alone: the values hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_with_dotenv(process: &[(&str, &str)], dotenv: &str) -> Env {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        fs::write(&path, dotenv).unwrap();
        let mut env: Env = process.iter().copied().collect();
        env.add_dotenv(&path);
        env
    }

    #[test]
    fn the_file_completes_the_process_and_never_overrides_it() {
        let env = env_with_dotenv(
            &[("FREELINE_LISTEN", "127.0.0.1:1"), ("FREELINE_METRICS_LISTEN", "")],
            "\u{feff}# comment\nFREELINE_LISTEN=127.0.0.1:2\nFREELINE_METRICS_LISTEN=127.0.0.1:3\n\
             FREELINE_LOG='debug'\n",
        );
        assert_eq!(env.value("FREELINE_LISTEN"), Some("127.0.0.1:1"));
        assert_eq!(env.value("FREELINE_METRICS_LISTEN"), Some(""));
        assert_eq!(env.value("FREELINE_LOG"), Some("debug"));
        assert_eq!(env.problems(), []);
    }

    #[test]
    fn a_broken_line_of_the_file_is_reported_by_number_and_without_its_text() {
        let env = env_with_dotenv(
            &[],
            "FREELINE_LOG=info\n\nFREELINE_HOOK_TOKEN canary\nFREELINE_LISTEN=127.0.0.1:2\n",
        );
        let texts: Vec<_> = env.problems().iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(
            texts[0].ends_with(
                "/.env cannot be read at line 3: expected NAME=value. Put a value with spaces, #, \
                 $ or quotes between single quotes."
            ),
            "{texts:?}"
        );
        assert_eq!(env.value("FREELINE_LISTEN"), Some("127.0.0.1:2"), "the rest is still read");
    }

    #[test]
    fn without_a_file_there_is_nothing_to_report() {
        let mut env = Env::default();
        env.add_dotenv(Path::new("/nowhere/.env"));
        assert_eq!(env.problems(), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_a_problem_only_when_it_is_ours() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![0xff]);
        let mut env = Env::default();
        let variables = [("FREELINE_LOG".into(), broken()), ("OTHER".into(), broken())];
        env.add_process(variables.into_iter());
        let texts: Vec<_> = env.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["FREELINE_LOG has a value that is not UTF-8. Set it again as UTF-8 text."]
        );
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let env = Env::from([("FREELINE_HOOK_TOKEN", "canary")]);
        assert_eq!(format!("{env:?}"), r#"{"FREELINE_HOOK_TOKEN"}"#);
    }
}
