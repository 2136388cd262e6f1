//! One broadcast of the platform, as the rules see it.
//!
//! The wire form is read in `connect`; what arrives here is already typed. Fields that the
//! platform leaves out are `None` (`connect-api.md` 3.2, 3.3).

use std::fmt;

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::platform::DirectoryChange;
use crate::core::time::Time;

/// `message_type` of a text message.
pub const TEXT: i64 = 1;
/// `message_type` of a rating given after the close.
pub const RATED: i64 = 17;
/// `message_type` of a file.
pub const FILE: i64 = 70;
/// `message_type` of a system assignment of a specialist.
pub const ASSIGNED: i64 = 80;
/// `message_type` of a specialist who took the treatment himself.
pub const TAKEN: i64 = 81;
/// `message_type` of a close by a specialist.
pub const CLOSED: i64 = 82;
/// `message_type` of the queue: no specialist is free.
pub const QUEUED: i64 = 83;
/// `message_type` of a hand-over to another specialist of the line.
pub const HANDED_OVER: i64 = 84;
/// `message_type` of a specialist who became free for a queued treatment.
pub const SPECIALIST_FREE: i64 = 86;
/// `message_type` of a move to another line, both halves.
pub const MOVED: i64 = 89;
/// `message_type`s of the automatic closes: inactivity, line, subscription, user gone.
pub const CLOSED_AUTOMATICALLY: std::ops::RangeInclusive<i64> = 90..=93;

/// `message_type` of a hand-over by a specialist to the bot.
pub const GIVEN_TO_BOT: i64 = 200;

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
#[derive(Clone, PartialEq, Eq)]
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
    /// `data` of a move (type 89).
    pub movement: Option<Movement>,
    /// `treatment.initialized_at`, where the event carries the treatment.
    pub initialized_at: Option<Time>,
    /// `treatment.current_specialist`, where the event carries the treatment: who closed it (82),
    /// or who has it now (84).
    pub current_specialist: Option<UserId>,
    /// `file` of type 70.
    pub file: Option<SentFile>,
    /// `data.redirect` of type 200: the scenario point that the specialist chose for the bot.
    pub redirect: Option<String>,
    /// What an event of another family than `line` tells of the platform's directory.
    pub directory: Option<Box<DirectoryChange>>,
}

impl fmt::Debug for Event {
    /// Everything but what people wrote, which is nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("family", &self.family)
            .field("source", &self.source)
            .field("message_type", &self.message_type)
            .field("message_id", &self.message_id)
            .field("message_time", &self.message_time)
            .field("line", &self.line)
            .field("user", &self.user)
            .field("author", &self.author)
            .field("treatment", &self.treatment)
            .field("text_chars", &self.text.as_ref().map(|text| text.chars().count()))
            .field("movement", &self.movement)
            .field("initialized_at", &self.initialized_at)
            .field("current_specialist", &self.current_specialist)
            .field("file", &self.file)
            .field("redirect_chars", &self.redirect.as_ref().map(|text| text.chars().count()))
            .field("directory", &self.directory)
            .finish()
    }
}

impl Event {
    /// The specialist who has the treatment from this event on, if it names one.
    ///
    /// Of 80 and 81 it is the author (`connect-api.md` 3.3, 3.4), of 84 the one that the treatment
    /// names. The author of an 80 may be the bot: only who knows the bot's id can tell (3.9).
    pub fn assigned_specialist(&self) -> Option<&UserId> {
        match self.message_type? {
            ASSIGNED | TAKEN => self.author.as_ref(),
            HANDED_OVER => self.current_specialist.as_ref(),
            _ => None,
        }
    }
}

/// A file in a chat (`connect-api.md` 3.7, File). Texts that were empty are `None`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SentFile {
    /// `file_id`.
    pub id: Option<String>,
    /// `file_name`.
    pub name: Option<String>,
    /// `file_path`: where it can be downloaded. Whether that needs our credentials is not
    /// documented.
    pub url: Option<String>,
    /// `file_size`.
    pub bytes: Option<u64>,
    /// `comment`: the words below it.
    pub comment: Option<String>,
    /// `preview_link`: a small picture of an image.
    pub preview_url: Option<String>,
    /// `preview_link_hi`: a larger one.
    pub preview_hi_url: Option<String>,
    /// `preview_hi_sizes`: how large that one is, `500x326`.
    pub preview_hi_size: Option<String>,
}

impl fmt::Debug for SentFile {
    /// Without its name, its words and where it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentFile")
            .field("id", &self.id)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
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
