//! What a call to the platform came to, and what follows for a dispatch.

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
