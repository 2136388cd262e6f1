//! The settings: read once at start, parsed into the types the rest of the crate works with.
//!
//! [`Settings::read`] reports everything that is wrong at once, each problem with the name of its
//! variable and what to do. Commands that need less than everything read less:
//! [`HooksSettings`], [`DatabaseSettings`], [`LogSettings`]. Whatever is read, a name that begins
//! with `FREELINE_` and is not in [`VARIABLES`] is refused: a misspelt setting that is silently
//! ignored costs somebody an evening.
//!
//! Invariant: only this module reads the environment, and no value of a secret is in a
//! [`Problem`] or in the `Debug` text of anything here.
//!
//! To add a setting: a constant in `variables`, a field and its parser in the section's file, a
//! paragraph in `.env.example`. The tests say what was forgotten.

mod connect;
mod database;
mod dispatch;
mod duration;
mod env;
mod feed;
mod hook;
mod http;
mod log;
mod mail;
mod problem;
mod reader;
#[cfg(test)]
mod tests;
mod variables;

pub use connect::ConnectSettings;
pub use database::{Database, SqlitePlace};
pub use dispatch::DispatchSettings;
pub use env::Env;
pub use feed::{FeedSettings, PushSettings};
pub use hook::{HookAuth, HookSettings};
pub use http::{ApiToken, HttpSettings, Role};
pub use log::{LogFilter, LogFormat, LogSettings};
pub use mail::MailSettings;
pub use problem::{Problem, Problems};
pub use variables::{Section, VARIABLES, Variable, settings_table};

use reader::read_all;

/// Everything that `serve` and `check` need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where we listen, and who may call the API.
    pub http: HttpSettings,
    /// Where everything is kept.
    pub database: Database,
    /// The address that the platform sends its events to.
    pub hook: HookSettings,
    /// How the platform's API is called.
    pub connect: ConnectSettings,
    /// How a payment is sent to a line.
    pub dispatch: DispatchSettings,
    /// What becomes of changes.
    pub feed: FeedSettings,
    /// How notices are sent; `None`: they are only shown.
    pub mail: Option<MailSettings>,
    /// What is logged.
    pub log: LogSettings,
}

/// What `hooks` needs: the platform, our callback, and the directory's lines.
#[derive(Clone, Debug)]
pub struct HooksSettings {
    /// Where everything is kept.
    pub database: Database,
    /// The address that the platform sends its events to.
    pub hook: HookSettings,
    /// How the platform's API is called.
    pub connect: ConnectSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// What `migrate` and other work on the database alone need.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// Where everything is kept.
    pub database: Database,
    /// What is logged.
    pub log: LogSettings,
}

impl Settings {
    /// Reads all settings.
    pub fn read(env: &Env) -> Result<Self, Problems> {
        read_all(env, |reader| {
            let http = HttpSettings::read(reader);
            let database = Database::read(reader);
            let hook = HookSettings::read(reader);
            let connect = ConnectSettings::read(reader);
            let dispatch = DispatchSettings::read(reader);
            let feed = FeedSettings::read(reader);
            let mail = MailSettings::read(reader);
            let log = LogSettings::read_from(reader);
            Ok(Self {
                http: http?,
                database: database?,
                hook: hook?,
                connect: connect?,
                dispatch: dispatch?,
                feed: feed?,
                mail: mail?,
                log: log?,
            })
        })
    }
}

impl HooksSettings {
    /// Reads the sections "Database", "Callback", "1C-Connect" and "Log".
    pub fn read(env: &Env) -> Result<Self, Problems> {
        read_all(env, |reader| {
            let database = Database::read(reader);
            let hook = HookSettings::read(reader);
            let connect = ConnectSettings::read(reader);
            let log = LogSettings::read_from(reader);
            Ok(Self { database: database?, hook: hook?, connect: connect?, log: log? })
        })
    }
}

impl DatabaseSettings {
    /// Reads the sections "Database" and "Log".
    pub fn read(env: &Env) -> Result<Self, Problems> {
        read_all(env, |reader| {
            let database = Database::read(reader);
            let log = LogSettings::read_from(reader);
            Ok(Self { database: database?, log: log? })
        })
    }
}

impl LogSettings {
    /// Reads the section "Log".
    pub fn read(env: &Env) -> Result<Self, Problems> {
        read_all(env, Self::read_from)
    }
}
