//! The platform's directory: listings, and the changes that it broadcasts.

use super::Unreadable;
use super::answer::{Listing, NotAList, read_rows, require_id};
use super::pick::{Known, Picked, elements, pick};
use crate::connect::{Competence, Person, PlatformLine, Subscription};
use crate::core::id::{LineId, UserId};
use crate::core::platform::{DirectoryAction, DirectoryChange, DirectoryEntry};

use super::ID_CHARS_MAX;

/// The fields of a line (`connect-api.md` 2.4).
pub(super) const LINE: &[Known] = &[
    Known::nested("line_id", "line.line_id"),
    Known::nested("name", "line.name"),
    Known::nested("allow_bot", "line.allow_bot"),
    Known::nested("hook_bot", "line.hook_bot"),
    Known::nested("hook_line", "line.hook_line"),
];

/// The fields of a user or specialist (`connect-api.md` 3.7, User).
pub(super) const PERSON: &[Known] = &[
    Known::nested("user_id", "user.user_id"),
    Known::nested("name", "user.name"),
    Known::nested("surname", "user.surname"),
    Known::nested("patronymic", "user.patronymic"),
    Known::nested("post", "user.post"),
    Known::nested("phone", "user.phone"),
    Known::nested("email", "user.email"),
];

/// The fields of a subscription, those of an older revision too (`connect-api.md` 3.7).
pub(super) const SUBSCRIPTION: &[Known] = &[
    Known::nested("line_id", "subscription.line_id"),
    Known::nested("user_id", "subscription.user_id"),
    Known::nested("subscription_set", "subscription.subscription_set"),
    Known::nested("subscription_expire_at", "subscription.subscription_expire_at"),
    Known::nested("service_id", "subscription.service_id"),
    Known::nested("service_user_id", "subscription.service_user_id"),
    Known::nested("activate_date", "subscription.activate_date"),
    Known::nested("expires_date", "subscription.expires_date"),
];

/// The fields of a competence (`connect-api.md` 3.7).
pub(super) const COMPETENCE: &[Known] = &[
    Known::nested("line_id", "competence.line_id"),
    Known::nested("specialist_id", "competence.specialist_id"),
    Known::nested("pool_priority", "competence.pool_priority"),
    Known::nested("is_franch_spec", "competence.is_franch_spec"),
];

/// Reads the answer to `GET /v1/line/` (`connect-api.md` 2.4).
///
/// Only `line_id` is required of a row; anything else that is missing or odd takes its plain value:
/// no name, no permission for bots, no hook.
pub fn read_lines(body: &[u8]) -> Result<Listing<PlatformLine>, NotAList> {
    read_rows(body, LINE, line)
}

/// Reads a listing of users or specialists (`connect-api.md` 4.10).
///
/// Only `user_id` is required of a row; anything else that is missing or odd is empty.
pub fn read_people(body: &[u8]) -> Result<Listing<Person>, NotAList> {
    read_rows(body, PERSON, person)
}

/// Reads one user or specialist (`connect-api.md` 4.10), as forgiving as [`read_people`].
pub fn read_person(body: &[u8]) -> Result<Person, Unreadable> {
    pick(body, PERSON).and_then(person)
}

/// Reads the answer to `GET /v1/line/subscriptions/` (`connect-api.md` 4.10).
///
/// The two ids are required of a row; a time that is missing or odd is `None`.
pub fn read_subscriptions(body: &[u8]) -> Result<Listing<Subscription>, NotAList> {
    read_rows(body, SUBSCRIPTION, subscription)
}

/// Reads the answer to `GET /v1/line/competences/` (`connect-api.md` 4.10).
///
/// The two ids are required of a row; a priority that is missing or odd is `None`.
pub fn read_competences(body: &[u8]) -> Result<Listing<Competence>, NotAList> {
    read_rows(body, COMPETENCE, competence)
}

/// Reads the answer to `GET /v1/line/specialists/{line_id}/available/`: an array of ids
/// (`connect-api.md` 4.10).
pub fn read_ids(body: &[u8]) -> Result<Listing<UserId>, NotAList> {
    let mut listing = Listing { rows: Vec::new(), skipped: 0 };
    for element in elements(body).ok_or(NotAList)? {
        match serde_json::from_str::<String>(element) {
            Ok(id) if is_id(&id) => listing.rows.push(UserId::new(id)),
            _ => listing.skipped = listing.skipped.saturating_add(1),
        }
    }
    Ok(listing)
}

/// The change that an event of this family tells, if it can be read (`connect-api.md` 3.6).
///
/// Never an error: no treatment depends on it, and what is kept of it can be listed again.
pub(super) fn read_change(family: Option<&str>, fields: &mut Picked) -> Option<DirectoryChange> {
    let entry = match family? {
        "subscriber" => DirectoryEntry::Person(read_entry(fields, "user", person)?),
        "support_line" => DirectoryEntry::Line(read_entry(fields, "line", line)?),
        "competence" => DirectoryEntry::Competence(read_entry(fields, "competence", competence)?),
        "subscription" => {
            DirectoryEntry::Subscription(read_entry(fields, "subscription", subscription)?)
        }
        _ => return None,
    };
    let action = match fields.id("action").ok().flatten().as_deref() {
        Some("add") => DirectoryAction::Added,
        Some("update") => DirectoryAction::Updated,
        Some("delete") => DirectoryAction::Deleted,
        _ => DirectoryAction::Unknown,
    };
    Some(DirectoryChange { action, entry })
}

fn read_entry<T>(
    fields: &mut Picked,
    name: &str,
    read: fn(Picked) -> Result<T, Unreadable>,
) -> Option<T> {
    read(fields.object(name).ok()??).ok()
}

fn line(mut row: Picked) -> Result<PlatformLine, Unreadable> {
    let mut hook = |name| row.text(name).ok().flatten().filter(|url| !url.is_empty());
    let (hook_bot, hook_line) = (hook("hook_bot"), hook("hook_line"));
    Ok(PlatformLine {
        line: LineId::new(require_id(&mut row, "line_id")?),
        name: row.text("name").ok().flatten().unwrap_or_default(),
        allow_bot: row.truth("allow_bot").ok().flatten().unwrap_or(false),
        hook_line,
        hook_bot,
    })
}

fn person(mut row: Picked) -> Result<Person, Unreadable> {
    let id = UserId::new(require_id(&mut row, "user_id")?);
    let mut text = |name| row.text(name).ok().flatten().unwrap_or_default();
    Ok(Person {
        id,
        name: text("name"),
        surname: text("surname"),
        patronymic: text("patronymic"),
        post: text("post"),
        phone: text("phone"),
        email: text("email"),
    })
}

fn subscription(mut row: Picked) -> Result<Subscription, Unreadable> {
    let mut id = |new, old| match row.id(new)? {
        Some(id) => Ok(id),
        None => require_id(&mut row, old).map_err(|_| missing(new)),
    };
    let (user, line) = (id("user_id", "service_user_id")?, id("line_id", "service_id")?);
    let mut time = |new, old| {
        let new = row.time(new).ok().flatten();
        new.or_else(|| row.time(old).ok().flatten())
    };
    Ok(Subscription {
        user: UserId::new(user),
        line: LineId::new(line),
        set_at: time("subscription_set", "activate_date"),
        expires_at: time("subscription_expire_at", "expires_date"),
    })
}

fn competence(mut row: Picked) -> Result<Competence, Unreadable> {
    Ok(Competence {
        line: LineId::new(require_id(&mut row, "line_id")?),
        specialist: UserId::new(require_id(&mut row, "specialist_id")?),
        pool_priority: row.whole("pool_priority").ok().flatten(),
        is_franch_spec: row.truth("is_franch_spec").ok().flatten().unwrap_or(false),
    })
}

fn missing(name: &'static str) -> Unreadable {
    Unreadable::Field { name, expected: "given" }
}

/// The same bounds as for the ids of objects.
fn is_id(id: &str) -> bool {
    !id.is_empty() && !id.contains('\0') && id.chars().nth(ID_CHARS_MAX).is_none()
}

#[cfg(test)]
mod tests;
