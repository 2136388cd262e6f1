//! One broadcast of the platform, as the rules see it.
//!
//! The wire form is read in `connect`; what arrives here is already typed. Fields that the
//! platform leaves out are `None` (`connect-api.md` 3.2, 3.3).

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;

/// `message_type` of a text message.
pub const TEXT: i64 = 1;
/// `message_type` of a rating given after the close.
pub const RATED: i64 = 17;
/// `message_type` of a file.
pub const FILE: i64 = 70;
/// `message_type` of a system assignment of a specialist.
pub const ASSIGNED: i64 = 80;
/// `message_type` of a close by a specialist.
pub const CLOSED: i64 = 82;
/// `message_type` of a move to another line, both halves.
pub const MOVED: i64 = 89;
/// `message_type`s of the automatic closes: inactivity, line, subscription, user gone.
pub const CLOSED_AUTOMATICALLY: std::ops::RangeInclusive<i64> = 90..=93;

/// Which kind of hook a copy of an event was produced for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventSource {
    /// The hook of all events of a line.
    Line,
    /// The hook of a line's bot.
    Bot,
    /// The event did not say: bot events may come without their envelope (`connect-api.md` 3.2).
    Unstated,
}

/// One event, typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// `event_type`: `line`, `subscriber`, `support_line`, …; `None` when it was left out.
    pub family: Option<String>,
    /// `event_source`.
    pub source: EventSource,
    /// `message_type`, the code table of `connect-api.md` 3.4.
    pub message_type: Option<i64>,
    /// `message_id`; several events may share one.
    pub message_id: Option<String>,
    /// `message_time`: when it happened on the platform, not when it was delivered.
    pub message_time: Option<Time>,
    /// `line_id`.
    pub line: Option<LineId>,
    /// `user_id`: always the client user, never the specialist.
    pub user: Option<UserId>,
    /// `author_id`: who caused it, user or specialist.
    pub author: Option<UserId>,
    /// `treatment_id`.
    pub treatment: Option<TreatmentId>,
    /// `text`; for type 80 it is XML that names the assigned specialist.
    pub text: Option<String>,
    /// `file.file_name`, where the event is about a file (type 70).
    pub file_name: Option<String>,
    /// `data` of a move (type 89).
    pub movement: Option<Movement>,
    /// `treatment.initialized_at`, where the event carries the treatment.
    pub initialized_at: Option<Time>,
}

/// The other side of a move to another line (`connect-api.md` 3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Movement {
    /// Whether the other side is where it went or where it came from.
    pub direction: Direction,
    /// The line of the other side.
    pub line: Option<LineId>,
    /// The treatment of the other side; left out in the 2022 recording.
    pub treatment: Option<TreatmentId>,
}

/// `data.direction` of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The event stands on the source; `data` names the target.
    To,
    /// The event stands on the target; `data` names the source.
    From,
    /// To or from another company (`to_fran`, `to_vendor`) or a word we do not know.
    Elsewhere,
}
