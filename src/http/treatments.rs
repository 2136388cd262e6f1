//! Treatments and what was said in them.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;
use serde_json::Value;

use crate::core::event::{FILE, TEXT};
use crate::core::id::TreatmentId;
use crate::http::Context;
use crate::http::events::read_after;
use crate::http::fields::{Query, path_id};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::store::{EventFilter, EventRecord, TreatmentFilter, TreatmentRecord};

/// Events read at once while messages are looked for: bodies may be large.
const EVENTS_AT_ONCE: i64 = 100;
/// How many events before a page are looked at for the first copy of what stands on it: the copies
/// for the line's and for the bot's hook come within moments of each other.
const COPIES_WITHIN: i64 = 10_000;

/// A treatment as it stands.
#[derive(Serialize)]
pub(super) struct TreatmentOut {
    treatment_id: String,
    line_id: String,
    user_id: String,
    state: &'static str,
    opened_at: String,
    opener: &'static str,
    last_event_at: String,
    closed_at: Option<String>,
    end_kind: Option<&'static str>,
    moved_to: Option<String>,
    payment_id: Option<String>,
}

impl From<TreatmentRecord> for TreatmentOut {
    fn from(treatment: TreatmentRecord) -> Self {
        Self {
            treatment_id: treatment.id.to_string(),
            line_id: treatment.line.to_string(),
            user_id: treatment.user.to_string(),
            state: if treatment.ended.is_some() { "closed" } else { "open" },
            opened_at: treatment.opened_at.to_string(),
            opener: treatment.opener.as_str(),
            last_event_at: treatment.last_event_at.to_string(),
            closed_at: treatment.ended.map(|(at, _)| at.to_string()),
            end_kind: treatment.ended.map(|(_, kind)| kind.as_str()),
            moved_to: treatment.moved_to.map(|id| id.to_string()),
            payment_id: treatment.payment.map(|id| id.to_string()),
        }
    }
}

/// `GET /treatments`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<TreatmentOut>>, Problem> {
    let filter = read_filter(query.as_deref())?;
    let wanted = TreatmentFilter { limit: filter.limit + 1, ..filter.clone() };
    let found = context.store.list_treatments(&wanted).await?;
    let cursor =
        |treatment: &TreatmentRecord| page::after(treatment.opened_at, treatment.id.as_str());
    Ok(Json(Page::of(found, filter.limit, cursor, Into::into)))
}

fn read_filter(query: Option<&str>) -> Result<TreatmentFilter, Problem> {
    let query = Query::parse(query, &["state", "line_id", "user_id", "limit", "cursor"]);
    let open = query.parsed("state", "open or closed", |state| match state {
        "open" => Some(true),
        "closed" => Some(false),
        _ => None,
    });
    let filter = TreatmentFilter {
        open,
        line: query.text("line_id"),
        user: query.text("user_id"),
        cursor: page::cursor(&query),
        limit: page::limit(&query),
    };
    query.finish(filter)
}

/// `GET /treatments/{treatment_id}`.
pub(super) async fn show(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
) -> Result<Json<TreatmentOut>, Problem> {
    Ok(Json(one(&context, &path_id(treatment_id, "treatment")?).await?.into()))
}

async fn one(context: &Context, id: &TreatmentId) -> Result<TreatmentRecord, Problem> {
    context.store.treatment(id).await?.ok_or_else(|| Problem::not_found("treatment"))
}

/// A message of a treatment.
#[derive(PartialEq, Debug, Serialize)]
pub(super) struct MessageOut {
    event_id: i64,
    message_id: Option<String>,
    message_type: i64,
    at: Option<String>,
    author_id: Option<String>,
    text: Option<String>,
    file: Option<FileOut>,
}

#[derive(PartialEq, Debug, Serialize)]
struct FileOut {
    #[serde(rename = "file_name")]
    name: Option<String>,
    #[serde(rename = "file_path")]
    path: Option<String>,
    #[serde(rename = "file_size")]
    size: Option<i64>,
}

impl MessageOut {
    /// The message that an event tells of, if it tells of one.
    fn of(event: &EventRecord) -> Option<Self> {
        let body: Value = serde_json::from_slice(&event.body).ok()?;
        let text = |from: &Value, name: &str| Some(from.get(name)?.as_str()?.to_owned());
        let message_type = body.get("message_type")?.as_i64()?;
        if !matches!(message_type, TEXT | FILE) {
            return None;
        }
        let file = body.get("file").filter(|file| file.is_object()).map(|file| FileOut {
            name: text(file, "file_name"),
            path: text(file, "file_path"),
            size: file.get("file_size").and_then(Value::as_i64),
        });
        Some(Self {
            event_id: event.id,
            message_id: text(&body, "message_id"),
            message_type,
            at: text(&body, "message_time"),
            author_id: text(&body, "author_id"),
            text: text(&body, "text"),
            file,
        })
    }
}

/// `GET /treatments/{treatment_id}/messages`.
pub(super) async fn messages(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<MessageOut>>, Problem> {
    let treatment = path_id(treatment_id, "treatment")?;
    let query = Query::parse(query.as_deref(), &["after", "limit", "cursor"]);
    let asked = (read_after(&query), page::limit(&query));
    let (after, limit) = query.finish(asked)?;
    one(&context, &treatment).await?;
    let found = collect(&context, treatment, after, limit + 1).await?;
    let cursor = |message: &MessageOut| message.event_id.to_string();
    Ok(Json(Page::of(found, limit, cursor, |message| message)))
}

/// At most `wanted` messages of a treatment behind the event `after`, each once.
async fn collect(
    context: &Context,
    treatment: TreatmentId,
    after: i64,
    wanted: i64,
) -> Result<Vec<MessageOut>, Problem> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut filter = EventFilter {
        after: after.saturating_sub(COPIES_WITHIN).max(0),
        treatment: Some(treatment),
        limit: EVENTS_AT_ONCE,
        ..EventFilter::default()
    };
    let mut conversation = Conversation::behind(after);
    loop {
        let events = context.store.list_events(&filter).await?;
        for event in &events {
            conversation.hear(event);
            if conversation.messages.len() >= wanted {
                return Ok(conversation.messages);
            }
        }
        match events.last() {
            Some(last) if i64::try_from(events.len()) == Ok(EVENTS_AT_ONCE) => {
                filter.after = last.id;
            }
            _ => return Ok(conversation.messages),
        }
    }
}

/// Messages in the order of their events.
struct Conversation {
    after: i64,
    heard: BTreeSet<(String, i64)>,
    messages: Vec<MessageOut>,
}

impl Conversation {
    const fn behind(after: i64) -> Self {
        Self { after, heard: BTreeSet::new(), messages: Vec::new() }
    }

    /// Takes an event; a copy that was made for the other hook is passed over.
    fn hear(&mut self, event: &EventRecord) {
        let Some(message) = MessageOut::of(event) else { return };
        if let Some(id) = &message.message_id
            && !self.heard.insert((id.clone(), message.message_type))
        {
            return;
        }
        if event.id > self.after {
            self.messages.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::time::Time;
    use crate::core::treatment::{EndKind, Opener};
    use crate::http::problem::FieldError;
    use crate::store::{Cursor, EventState};

    fn event(id: i64, body: &Value) -> EventRecord {
        EventRecord {
            id,
            received_at: Time::from_micros(0),
            copies: 1,
            state: EventState::Applied,
            problem: None,
            body: body.to_string().into_bytes(),
        }
    }

    fn text(id: i64, message_id: &str) -> EventRecord {
        event(id, &json!({"message_type": 1, "message_id": message_id, "text": "x"}))
    }

    fn heard(after: i64, events: &[EventRecord]) -> Vec<i64> {
        let mut conversation = Conversation::behind(after);
        for event in events {
            conversation.hear(event);
        }
        conversation.messages.iter().map(|message| message.event_id).collect()
    }

    #[test]
    fn a_treatment_is_open_until_it_ended() {
        let at = Time::from_micros(0);
        let mut treatment = TreatmentRecord {
            id: "t1".into(),
            line: "l1".into(),
            user: "u1".into(),
            opened_at: at,
            opener: Opener::User,
            last_event_at: at,
            ended: None,
            moved_to: None,
            payment: None,
        };
        let epoch = "1970-01-01T00:00:00Z";
        let mut expected = json!({
            "treatment_id": "t1", "line_id": "l1", "user_id": "u1", "state": "open",
            "opened_at": epoch, "opener": "user", "last_event_at": epoch, "closed_at": null,
            "end_kind": null, "moved_to": null, "payment_id": null,
        });
        let shown = |treatment: &TreatmentRecord| {
            serde_json::to_value(TreatmentOut::from(treatment.clone())).unwrap()
        };
        assert_eq!(shown(&treatment), expected);
        treatment.ended = Some((at, EndKind::Moved));
        treatment.moved_to = Some("t2".into());
        expected["state"] = "closed".into();
        expected["closed_at"] = epoch.into();
        expected["end_kind"] = "moved".into();
        expected["moved_to"] = "t2".into();
        assert_eq!(shown(&treatment), expected);
    }

    #[test]
    fn a_file_is_a_message_too() {
        let body = json!({
            "message_type": 70, "message_id": "m1", "message_time": "2022-09-16T13:23:18.4Z",
            "author_id": "u1", "text": null,
            "file": {"file_id": "f", "file_name": "scan.png", "file_path": "https://f/",
                "file_size": 12345, "preview_link": ""},
        });
        assert_eq!(
            serde_json::to_value(MessageOut::of(&event(7, &body))).unwrap(),
            json!({
                "event_id": 7, "message_id": "m1", "message_type": 70,
                "at": "2022-09-16T13:23:18.4Z", "author_id": "u1", "text": null,
                "file": {"file_name": "scan.png", "file_path": "https://f/", "file_size": 12345},
            })
        );
        assert_eq!(MessageOut::of(&event(8, &json!({"message_type": 82}))), None);
        assert_eq!(MessageOut::of(&event(8, &json!([]))), None);
    }

    #[test]
    fn the_copies_for_both_hooks_are_one_message() {
        let events = [text(1, "a"), text(2, "b"), text(3, "a"), text(4, "b"), text(5, "c")];
        assert_eq!(heard(0, &events), [1, 2, 5]);
        // The first copy stood on the page before.
        assert_eq!(heard(2, &events), [5]);
        assert_eq!(heard(1, &events), [2, 5]);
    }

    #[test]
    fn messages_without_an_id_are_not_taken_for_copies() {
        let nameless = json!({"message_type": 1, "text": "x"});
        assert_eq!(heard(0, &[event(1, &nameless), event(2, &nameless)]), [1, 2]);
    }

    #[test]
    fn a_list_is_filtered_and_a_cursor_goes_there_and_back() {
        let at = Time::from_micros(-5);
        let query = format!("state=closed&line_id=l1&user_id=u1&cursor={}", page::after(at, "t1"));
        assert_eq!(
            read_filter(Some(&query)).unwrap(),
            TreatmentFilter {
                open: Some(false),
                line: Some("l1".into()),
                user: Some("u1".into()),
                cursor: Some(Cursor { at, id: "t1".to_owned() }),
                limit: 100,
            }
        );
        assert_eq!(
            read_filter(Some("state=ended")).unwrap_err().errors(),
            [FieldError::new("?state", "expected open or closed")]
        );
    }
}
