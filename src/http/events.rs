//! Events as they came.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::http::Context;
use crate::http::fields::{Query, one_of};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::readable::Readable;
use crate::store::{EventFilter, EventRecord, EventState};

/// Bytes of the bodies on one page, but for a single larger one: a page of the largest events would
/// not fit into memory.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events read at once for a page.
const EVENTS_AT_ONCE: i64 = 16;

/// A kept event.
#[derive(Serialize)]
pub(super) struct EventOut {
    id: i64,
    received_at: String,
    copies: i64,
    state: &'static str,
    problem: Option<String>,
    /// The body as JSON, or as text where it cannot be read as JSON.
    body: Box<RawValue>,
}

impl From<EventRecord> for EventOut {
    fn from(event: EventRecord) -> Self {
        let is_readable = serde_json::from_slice::<Readable>(&event.body).is_ok();
        let body = Some(&event.body).filter(|_| is_readable);
        // As it came and not as a tree of values, which can take a hundred times as much memory.
        let body = body.and_then(|body| serde_json::from_slice(body).ok());
        let body = body.unwrap_or_else(|| as_text(&event.body));
        Self {
            id: event.id,
            received_at: event.received_at.to_string(),
            copies: event.copies,
            state: event.state.as_str(),
            problem: event.problem,
            body,
        }
    }
}

/// A body as a text of JSON.
fn as_text(body: &[u8]) -> Box<RawValue> {
    // A text can always be written.
    to_raw_value(&String::from_utf8_lossy(body)).unwrap_or_default()
}

/// `GET /events`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<EventOut>>, Problem> {
    let filter = read_filter(query.as_deref())?;
    let (found, limit) = find(&context, filter).await?;
    let cursor = |event: &EventRecord| event.id.to_string();
    Ok(Json(Page::of(found, limit, cursor, Into::into)))
}

/// The events of a page and one more if there is one, with the limit of the page: fewer than were
/// asked for where their bodies are large.
async fn find(context: &Context, filter: EventFilter) -> Result<(Vec<EventRecord>, i64), Problem> {
    let (mut found, mut bytes, mut after) = (Vec::new(), 0_usize, filter.after);
    let mut wanted = filter.limit + 1;
    while wanted > 0 {
        let limit = wanted.min(EVENTS_AT_ONCE);
        let some = EventFilter { after, limit, ..filter.clone() };
        let some = context.store.list_events(&some).await?;
        let count = i64::try_from(some.len()).unwrap_or(limit);
        for event in some {
            (after, bytes) = (event.id, bytes.saturating_add(event.body.len()));
            found.push(event);
            if bytes > PAGE_BYTES_MAX && found.len() > 1 {
                let limit = i64::try_from(found.len() - 1).unwrap_or(filter.limit);
                return Ok((found, limit.min(filter.limit)));
            }
        }
        wanted = if count < limit { 0 } else { wanted - count };
    }
    Ok((found, filter.limit))
}

fn read_filter(query: Option<&str>) -> Result<EventFilter, Problem> {
    let known = ["after", "line_id", "message_type", "state", "limit", "cursor"];
    let query = Query::parse(query, &known);
    let states = one_of(EventState::ALL.iter().map(|state| state.as_str()));
    let filter = EventFilter {
        after: read_after(&query),
        line: query.text("line_id"),
        treatment: None,
        message_type: query.parsed("message_type", "a whole number", |text| text.parse().ok()),
        state: query.parsed("state", &states, EventState::parse),
        limit: page::limit(&query),
    };
    query.finish(filter)
}

/// The event behind which a page begins: `after` and `cursor` mean the same, the later one counts.
fn read_after(query: &Query) -> i64 {
    let id = |text: &str| text.parse().ok().filter(|id| *id >= 0);
    let after: Option<i64> = query.parsed("after", "the id of an event", id);
    let cursor = query.parsed("cursor", "the next_cursor of the page before", id);
    after.max(cursor).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::time::Time;
    use crate::http::problem::FieldError;

    fn event(body: &[u8]) -> EventRecord {
        EventRecord {
            id: 7,
            received_at: Time::from_micros(0),
            copies: 2,
            state: EventState::Quarantined,
            problem: Some("the field line_id is not a text".to_owned()),
            body: body.to_vec(),
        }
    }

    #[test]
    fn a_body_is_shown_as_json_or_else_as_text() {
        let shown = |body: &[u8]| serde_json::to_value(EventOut::from(event(body))).unwrap();
        assert_eq!(
            shown(br#"{"line_id": 5}"#),
            json!({
                "id": 7, "received_at": "1970-01-01T00:00:00Z", "copies": 2,
                "state": "quarantined", "problem": "the field line_id is not a text",
                "body": {"line_id": 5},
            })
        );
        assert_eq!(shown(b"{\xff")["body"], json!("{\u{fffd}"));
    }

    #[test]
    fn a_page_begins_behind_an_event() {
        let query = "after=5&line_id=l1&message_type=82&state=new&limit=3";
        assert_eq!(
            read_filter(Some(query)).unwrap(),
            EventFilter {
                after: 5,
                line: Some("l1".into()),
                treatment: None,
                message_type: Some(82),
                state: Some(EventState::New),
                limit: 3,
            }
        );
        assert_eq!(read_filter(Some("cursor=9")).unwrap().after, 9);
        assert_eq!(read_filter(Some("after=5&cursor=9")).unwrap().after, 9);
        assert_eq!(read_filter(None).unwrap().after, 0);
        assert_eq!(
            read_filter(Some("after=-1&cursor=x&message_type=text")).unwrap_err().errors(),
            [
                FieldError::new("?after", "expected the id of an event"),
                FieldError::new("?cursor", "expected the next_cursor of the page before"),
                FieldError::new("?message_type", "expected a whole number"),
            ]
        );
    }
}
