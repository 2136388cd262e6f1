//! What a call to the platform came to, and what follows for a dispatch.

use std::fmt;

use crate::core::retry::Backoff;
use crate::core::time::Span;

/// What is known about a command after the call ended.
///
/// The four are exhaustive: either the work was done, or it surely was not and may be repeated, or
/// it was refused, or nobody knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 200: the platform took it.
    Done,
    /// The work was surely not done and the same call may be made again.
    NotDone {
        /// Why it was not done.
        why: NotDone,
        /// How long the platform asked us to wait, if it did.
        retry_after: Option<Span>,
    },
    /// The platform looked at it and said no.
    Refused {
        /// HTTP status, 300 to 499 without 401 and 429.
        status: u16,
        /// The platform's own words, at most 500 characters; may be empty.
        text: String,
    },
    /// A timeout, a lost answer, any 5xx: the work may have been done.
    Unknown {
        /// What happened to the call, for people.
        detail: String,
    },
}

/// Why a call was surely not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotDone {
    /// No connection came up: nothing was sent.
    NeverConnected(String),
    /// 429: refused before any work.
    RateLimited,
    /// 401: our credentials were not taken.
    Unauthorized,
    /// The budget of calls had no room within the time a call may wait.
    NoBudget,
    /// It was not begun: its claim would have run out before its end.
    TooLate,
    /// The file to be sent cannot be opened, or is not what it was said to be; the text is for
    /// people.
    NoFile(String),
    /// We are about to stop and begin no call any more.
    Stopping,
}

impl NotDone {
    /// How the next tries are put off; what we ourselves lack says nothing about the platform.
    pub const fn backoff(&self) -> Option<Backoff> {
        match self {
            Self::NoBudget | Self::TooLate | Self::Stopping => None,

            Self::NeverConnected(_) => Some(Backoff::ABSENT),
            // A disk that does not give a file may come back as well.
            Self::RateLimited | Self::Unauthorized | Self::NoFile(_) => Some(Backoff::PLATFORM),
        }
    }
}

impl fmt::Display for NotDone {
    /// For people, as part of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverConnected(detail) => write!(f, "no connection came up ({detail})"),
            Self::RateLimited => f.write_str("429, too many calls"),
            Self::Unauthorized => f.write_str("401, our credentials were refused"),
            Self::NoBudget => f.write_str("our budget of calls is used up"),
            Self::TooLate => f.write_str("it was not begun, its claim was about to run out"),
            Self::NoFile(detail) => write!(f, "the file could not be sent ({detail})"),
            Self::Stopping => f.write_str("the service was about to stop"),
        }
    }
}

/// Whether a refusal may mean that the line has no bot hook.
///
/// What a missing one answers is not documented, 403 most likely; the recorded 403 of a user who is
/// not subscribed names the subscriber (`connect-api.md` 5.6).
pub fn hook_suspected(status: u16, text: &str) -> bool {
    status == 403 && !text.to_ascii_lowercase().contains("subscriber")
}
