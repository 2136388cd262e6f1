//! The wire format of 1C-Connect: reads events and answers, writes requests.
//!
//! Reading is tolerant: unknown fields and codes pass, absent and null mean the same, and one bad
//! row of a listing never costs the others. What is known but has a form that cannot be trusted is
//! named, so that the caller can keep the body and show what is wrong with it.
//!
//! Invariant: nothing in here panics, whatever the bytes; and no content of a body is ever part of
//! an error.

mod answer;
mod directory;
mod event;
mod pick;
mod request;

pub use answer::{Listing, NotAList, read_treatments};
pub use directory::{
    read_competences, read_ids, read_lines, read_people, read_person, read_subscriptions,
};
pub use event::read_event;
pub use request::{appoint, command, drop_treatment, file_meta, reroute, send_message, set_hook};

pub(super) use answer::read_words;

/// The longest id that is taken, in characters; the platform's own have 36.
pub const ID_CHARS_MAX: usize = 128;

/// The deepest nesting that is read, the same limit that `serde_json` has.
///
/// A kept body is read again by others, and those must be able to.
pub const DEPTH_MAX: usize = 127;

/// Why a body is not an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not a JSON object in UTF-8, or nested deeper than [`DEPTH_MAX`]: nothing to keep.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A JSON object with a known field of a form that cannot be used: to be kept as it came.
    #[error("the field {name} is not {expected}")]
    Field {
        /// The field, with a dot before what is nested.
        name: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
}
