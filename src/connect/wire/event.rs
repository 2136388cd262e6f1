//! One broadcast, `connect-api.md` 3.

use super::Unreadable;
use super::pick::{Known, Picked, pick};
use crate::core::event::{Direction, Event, EventSource, MOVED, Movement};
use crate::core::id::{LineId, TreatmentId, UserId};

/// The fields of a broadcast that mean something to us (`connect-api.md` 3.2, 3.3, 3.5, 3.7).
const EVENT: &[Known] = &[
    Known::plain("event_type"),
    Known::plain("event_source"),
    Known::plain("message_type"),
    Known::plain("message_id"),
    Known::plain("message_time"),
    Known::plain("line_id"),
    Known::plain("user_id"),
    Known::plain("author_id"),
    Known::plain("treatment_id"),
    Known::plain("text"),
    Known::object(
        "data",
        &[
            Known::nested("direction", "data.direction"),
            Known::nested("line_id", "data.line_id"),
            Known::nested("treatment_id", "data.treatment_id"),
        ],
    ),
    Known::object("file", &[Known::nested("file_name", "file.file_name")]),
    Known::object("treatment", &[Known::nested("initialized_at", "treatment.initialized_at")]),
];

/// Reads one broadcast.
///
/// Every field may be missing, the envelope too (`connect-api.md` 3.2); absent and null are `None`.
/// Ids are opaque and kept as they are, an empty one is `None`. NUL characters of the text become
/// U+FFFD. An `event_source` other than `line` and `bot` counts as unstated. `data` is looked at
/// only for a move (type 89): with other types it means other things (`connect-api.md` 3.5).
///
/// # Errors
///
/// [`Unreadable::NotAnObject`] is the sender's mistake. [`Unreadable::Field`] is a broadcast that
/// must be kept as it came: a known field has a wrong type, came twice, is longer than
/// [`super::ID_CHARS_MAX`], holds a NUL, or is a time that is none.
pub fn read_event(body: &[u8]) -> Result<Event, Unreadable> {
    let mut fields = pick(body, EVENT)?;
    let message_type = fields.whole("message_type")?;
    let movement = match message_type {
        Some(MOVED) => fields.object("data")?.map(read_movement).transpose()?,
        _ => None,
    };
    // A file that cannot be read must not keep from us what its event says of the treatment.
    let file = fields.object("file").ok().flatten();
    let file_name = file.and_then(|mut file| file.text("file_name").ok().flatten());
    let initialized_at = match fields.object("treatment")? {
        Some(mut treatment) => treatment.time("initialized_at")?,
        None => None,
    };
    Ok(Event {
        family: fields.id("event_type")?,
        source: match fields.id("event_source")?.as_deref() {
            Some("line") => EventSource::Line,
            Some("bot") => EventSource::Bot,
            _ => EventSource::Unstated,
        },
        message_type,
        message_id: fields.id("message_id")?,
        message_time: fields.time("message_time")?,
        line: fields.id("line_id")?.map(LineId::new),
        user: fields.id("user_id")?.map(UserId::new),
        author: fields.id("author_id")?.map(UserId::new),
        treatment: fields.id("treatment_id")?.map(TreatmentId::new),
        text: fields.text("text")?,
        file_name,
        movement,
        initialized_at,
    })
}

/// Reads the other side of a move.
fn read_movement(mut data: Picked) -> Result<Movement, Unreadable> {
    Ok(Movement {
        direction: match data.id("direction")?.as_deref() {
            Some("to") => Direction::To,
            Some("from") => Direction::From,
            _ => Direction::Elsewhere,
        },
        line: data.id("line_id")?.map(LineId::new),
        treatment: data.id("treatment_id")?.map(TreatmentId::new),
    })
}

#[cfg(test)]
mod tests;
