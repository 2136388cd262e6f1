//! Reads variables one by one and keeps every problem on the way.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::env::Env;
use crate::config::problem::{Problem, Problems};
use crate::config::variables::{FILE_SUFFIX, PREFIX, VARIABLES, Variable, suggest};

/// The largest file that a secret is read from.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Says that a value could not be had and that the reason is already among the problems.
///
/// It lets a section read all its variables first and give up (`?`) only then, so that nothing
/// stays unreported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reported(());

/// What a parser found wrong: what was expected, never the value itself.
pub(super) type Expected = String;

/// Reads settings with `read` and reports all problems together.
pub(super) fn read_all<T>(
    env: &Env,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Reported>,
) -> Result<T, Problems> {
    let mut reader = Reader { env, problems: env.problems().to_vec() };
    reader.refuse_unknown_names();
    let settings = read(&mut reader);
    Problems::check(reader.problems)?;
    Ok(settings.expect("what is not read is reported, and nothing was reported"))
}

/// The environment that is being read, and the problems found so far.
pub(super) struct Reader<'env> {
    env: &'env Env,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The value of a variable that has a default in the table.
    pub(super) fn or_default<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Result<T, Reported> {
        let default = || SecretString::from(variable.default.unwrap_or_default());
        let value = self.raw(variable)?.unwrap_or_else(default);
        self.parse(variable, &value, parse)
    }

    /// The value of a variable that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Result<Option<T>, Reported> {
        match self.raw(variable)? {
            Some(value) => self.parse(variable, &value, parse).map(Some),
            None => Ok(None),
        }
    }

    /// The value of a variable that must be there.
    pub(super) fn required<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Result<T, Reported> {
        match self.raw(variable)? {
            Some(value) => self.parse(variable, &value, parse),
            None => Err(self.report(Problem::missing(variable))),
        }
    }

    /// Whether the variable is there and has nothing in it.
    pub(super) fn is_empty(&self, variable: &Variable) -> bool {
        self.env.value(variable.name) == Some("")
    }

    /// Adds a problem.
    pub(super) fn report(&mut self, problem: Problem) -> Reported {
        self.problems.push(problem);
        Reported(())
    }

    fn parse<T>(
        &mut self,
        variable: &Variable,
        value: &SecretString,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Result<T, Reported> {
        let value = value.expose_secret();
        parse(value)
            .map_err(|expected| self.report(Problem::wrong_value(variable, value, &expected)))
    }

    /// The text of the variable, or of the file that it names. Empty is the same as not set.
    fn raw(&mut self, variable: &Variable) -> Result<Option<SecretString>, Reported> {
        let set = |name: &str| self.env.value(name).filter(|value| !value.is_empty());
        let direct = set(variable.name).map(SecretString::from);
        let Some(file_variable) = variable.file_name() else { return Ok(direct) };
        let Some(path) = set(&file_variable) else { return Ok(direct) };
        if direct.is_some() {
            let what = format!("and {file_variable} are both set: expected one of them");
            return Err(self.report(Problem::with(variable, what)));
        }
        match read_bounded(Path::new(path), SECRET_BYTES_MAX) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    let what = format!("names {path:?}, a file with nothing in it");
                    let problem = Problem { name: file_variable, ..Problem::with(variable, what) };
                    return Err(self.report(problem));
                }
                Ok(Some(SecretString::from(text)))
            }
            Err(error) => {
                let what = format!("names {path:?}, a file that cannot be read: {error}");
                let problem = Problem { name: file_variable, ..Problem::with(variable, what) };
                Err(self.report(problem))
            }
        }
    }

    fn refuse_unknown_names(&mut self) {
        for name in self.env.names().filter(|name| name.starts_with(PREFIX)) {
            let is_known = VARIABLES.iter().any(|variable| {
                variable.name == name || variable.file_name().is_some_and(|file| file == name)
            });
            if !is_known {
                self.problems.push(unknown_name(name));
            }
        }
    }
}

fn unknown_name(name: &str) -> Problem {
    let of_a_file = name
        .strip_suffix(FILE_SUFFIX)
        .and_then(|stem| VARIABLES.iter().find(|variable| variable.name == stem));
    match of_a_file {
        Some(variable) => Problem {
            name: name.to_owned(),
            ..Problem::with(
                variable,
                format!(
                    "is not a setting: only secrets come from files, {} does not",
                    variable.name
                ),
            )
        },
        None => Problem::unknown(name, suggest(name)),
    }
}

/// The text of a file that has at most `bytes_max` bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(bytes_max.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= bytes_max) {
        Ok(text)
    } else {
        Err(io::Error::other(format!("it has more than {} KiB", bytes_max / 1024)))
    }
}
