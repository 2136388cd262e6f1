//! One broadcast, `connect-api.md` 3.

use super::pick::{Known, Picked, pick};
use super::{Unreadable, directory};
use crate::core::event::{
    Direction, Event, EventSource, FILE, GIVEN_TO_BOT, MOVED, Movement, SentFile,
};
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
            Known::nested("redirect", "data.redirect"),
        ],
    ),
    Known::object(
        "treatment",
        &[
            Known::nested("initialized_at", "treatment.initialized_at"),
            Known::nested("current_specialist", "treatment.current_specialist"),
        ],
    ),
    Known::object(
        "file",
        &[
            Known::nested("file_id", "file.file_id"),
            Known::nested("file_name", "file.file_name"),
            Known::nested("file_path", "file.file_path"),
            Known::nested("file_size", "file.file_size"),
            Known::nested("comment", "file.comment"),
            Known::nested("preview_link", "file.preview_link"),
            Known::nested("preview_link_hi", "file.preview_link_hi"),
            Known::nested("preview_hi_sizes", "file.preview_hi_sizes"),
        ],
    ),
    Known::plain("action"),
    Known::object("user", directory::PERSON),
    Known::object("line", directory::LINE),
    Known::object("competence", directory::COMPETENCE),
    Known::object("subscription", directory::SUBSCRIPTION),
];

/// Reads one broadcast.
///
/// Every field may be missing, the envelope too (`connect-api.md` 3.2); absent and null are `None`.
/// Ids are opaque and kept as they are, an empty one is `None`. NUL characters of the text become
/// U+FFFD. An `event_source` other than `line` and `bot` counts as unstated. `data` is looked at
/// only for a move (type 89) and a hand-over to the bot (200): with other types it means other
/// things (`connect-api.md` 3.5).
///
/// What no treatment depends on costs nothing but itself when it has an odd form: the current
/// specialist, the file, the redirect, a change of the directory.
///
/// # Errors
///
/// [`Unreadable::NotAnObject`] is the sender's mistake. [`Unreadable::Field`] is a broadcast that
/// must be kept as it came: a known field has a wrong type, came twice, is longer than
/// [`super::ID_CHARS_MAX`], holds a NUL, or is a time that is none.
pub fn read_event(body: &[u8]) -> Result<Event, Unreadable> {
    let mut fields = pick(body, EVENT)?;
    let message_type = fields.whole("message_type")?;
    let (mut movement, mut redirect, mut file) = (None, None, None);
    match message_type {
        Some(MOVED) => movement = fields.object("data")?.map(read_movement).transpose()?,
        Some(GIVEN_TO_BOT) => {
            redirect = fields.object("data").ok().flatten().and_then(read_redirect);
        }
        Some(FILE) => file = fields.object("file").ok().flatten().map(read_file),
        _ => {}
    }
    let (mut initialized_at, mut current_specialist) = (None, None);
    if let Some(mut treatment) = fields.object("treatment")? {
        initialized_at = treatment.time("initialized_at")?;
        current_specialist = treatment.id("current_specialist").ok().flatten().map(UserId::new);
    }
    let family = fields.id("event_type")?;
    let directory = directory::read_change(family.as_deref(), &mut fields).map(Box::new);
    Ok(Event {
        family,
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
        movement,
        initialized_at,
        current_specialist,
        file,
        redirect,
        directory,
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

/// Reads the scenario point of a hand-over to the bot.
fn read_redirect(mut data: Picked) -> Option<String> {
    filled(&mut data, "redirect")
}

/// Reads what is known of a file.
fn read_file(mut file: Picked) -> SentFile {
    SentFile {
        id: file.id("file_id").ok().flatten(),
        name: filled(&mut file, "file_name"),
        url: filled(&mut file, "file_path"),
        bytes: file.whole("file_size").ok().flatten().and_then(|size| u64::try_from(size).ok()),
        comment: filled(&mut file, "comment"),
        preview_url: filled(&mut file, "preview_link"),
        preview_hi_url: filled(&mut file, "preview_link_hi"),
        preview_hi_size: filled(&mut file, "preview_hi_sizes"),
    }
}

/// A text that is one and not empty.
fn filled(fields: &mut Picked, name: &str) -> Option<String> {
    fields.text(name).ok().flatten().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
