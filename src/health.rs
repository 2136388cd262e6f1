//! What is known of the services we depend on, as the last call to each left it.

use std::sync::{Mutex, PoisonError};

use crate::core::time::Time;

/// One service we depend on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Dependency {
    /// It was not called yet.
    #[default]
    Untried,
    /// It answered.
    Up {
        /// When it last did.
        at: Time,
    },
    /// It does not answer.
    Down {
        /// Since when.
        since: Time,
        /// What the last try came to.
        detail: String,
    },
}

/// What is known of the platform and the mail server.
#[derive(Debug, Default)]
pub struct Health {
    platform: Mutex<Dependency>,
    mail: Mutex<Dependency>,
}

impl Health {
    /// The platform.
    pub fn platform(&self) -> Dependency {
        read(&self.platform)
    }

    /// The mail server.
    pub fn mail(&self) -> Dependency {
        read(&self.mail)
    }

    /// A call to the platform ended: with nothing to complain of, or with this.
    pub fn platform_answered(&self, trouble: Option<&str>, now: Time) {
        write(&self.platform, "the platform", trouble, now);
    }

    /// A call to the mail server ended: with nothing to complain of, or with this.
    pub fn mail_answered(&self, trouble: Option<&str>, now: Time) {
        write(&self.mail, "the mail server", trouble, now);
    }
}

fn read(dependency: &Mutex<Dependency>) -> Dependency {
    dependency.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Logs only when it goes down or comes back: an hour of trouble is two lines.
fn write(dependency: &Mutex<Dependency>, name: &str, trouble: Option<&str>, now: Time) {
    let mut known = dependency.lock().unwrap_or_else(PoisonError::into_inner);
    let next = match (trouble, &*known) {
        (None, Dependency::Down { since, .. }) => {
            tracing::info!("{name} answers again after {}", now.since(*since));
            Dependency::Up { at: now }
        }
        (None, Dependency::Untried | Dependency::Up { .. }) => Dependency::Up { at: now },
        (Some(detail), Dependency::Down { since, .. }) => {
            Dependency::Down { since: *since, detail: detail.to_owned() }
        }
        (Some(detail), Dependency::Untried | Dependency::Up { .. }) => {
            tracing::warn!("{name} does not answer: {detail}");
            Dependency::Down { since: now, detail: detail.to_owned() }
        }
    };
    *known = next;
}
