//! What was said: in a treatment, for a payment, to a user, and wherever certain words are.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use crate::core::dispatch::SendMode;
use crate::core::event::SentFile;
use crate::core::id::{PaymentId, TreatmentId, UserId};
use crate::core::search::{QUERY_CHARS_MAX, Query as Wanted, snippet};
use crate::http::Context;
use crate::http::fields::{Query, path_id};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::treatments::{self, TreatmentOut};
use crate::store::{
    self, Conversation, ConversationRecord, Search, Store, TreatmentFilter, UtteranceFilter,
    UtteranceRecord,
};

/// Bytes of the texts on one page, but for a single larger one: a page of the largest messages would
/// not fit into memory.
const PAGE_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Messages read at once for a page.
const MESSAGES_AT_ONCE: i64 = 32;

/// Something that was said.
#[derive(PartialEq, Debug, Serialize)]
pub(super) struct MessageOut {
    event_id: i64,
    message_id: Option<String>,
    message_type: i64,
    line_id: String,
    user_id: String,
    treatment_id: Option<String>,
    at: String,
    heard_at: String,
    author_id: Option<String>,
    author: &'static str,
    text: Option<String>,
    file: Option<FileOut>,
    delivered: Option<DeliveredOut>,
}

/// A file, with the platform's names.
#[derive(PartialEq, Debug, Serialize)]
struct FileOut {
    #[serde(rename = "file_id")]
    id: Option<String>,
    #[serde(rename = "file_name")]
    name: Option<String>,
    #[serde(rename = "file_path")]
    path: Option<String>,
    #[serde(rename = "file_size")]
    size: Option<u64>,
    comment: Option<String>,
    #[serde(rename = "preview_link")]
    preview: Option<String>,
    #[serde(rename = "preview_link_hi")]
    preview_hi: Option<String>,
    preview_hi_sizes: Option<String>,
}

/// How a message of ours got there.
#[derive(PartialEq, Debug, Serialize)]
struct DeliveredOut {
    outgoing_id: Option<String>,
    mode: Option<&'static str>,
    payment_id: Option<String>,
}

impl From<SentFile> for FileOut {
    fn from(file: SentFile) -> Self {
        Self {
            id: file.id,
            name: file.name,
            path: file.url,
            size: file.bytes,
            comment: file.comment,
            preview: file.preview_url,
            preview_hi: file.preview_hi_url,
            preview_hi_sizes: file.preview_hi_size,
        }
    }
}

impl From<UtteranceRecord> for MessageOut {
    fn from(record: UtteranceRecord) -> Self {
        let UtteranceRecord { said, outgoing, payment } = record;
        let is_ours = outgoing.is_some() || payment.is_some();
        let mode = outgoing.as_ref().map(|(_, mode)| match mode {
            SendMode::Bot => "bot",
            SendMode::Specialist => "specialist",
        });
        Self {
            event_id: said.event,
            message_id: said.message_id,
            message_type: said.message_type,
            line_id: said.line.to_string(),
            user_id: said.user.to_string(),
            treatment_id: said.treatment.map(|id| id.to_string()),
            at: said.at.to_string(),
            heard_at: said.heard_at.to_string(),
            author_id: said.author.map(|id| id.to_string()),
            author: said.speaker.as_str(),
            text: said.text,
            file: said.file.map(Into::into),
            delivered: is_ours.then(|| DeliveredOut {
                outgoing_id: outgoing.map(|(id, _)| id.to_string()),
                mode,
                payment_id: payment.map(|id| id.to_string()),
            }),
        }
    }
}

/// Something that was said and found.
#[derive(Serialize)]
pub(super) struct HitOut {
    #[serde(flatten)]
    message: MessageOut,
    snippet: String,
}

/// Which messages stand on a page.
enum Asked {
    Of(UtteranceFilter),
    Found(Search),
}

impl Asked {
    /// At most so many of them.
    async fn read(
        &mut self,
        store: &dyn Store,
        wanted: i64,
    ) -> store::Result<Vec<UtteranceRecord>> {
        match self {
            Self::Of(filter) => {
                filter.limit = wanted;
                store.list_utterances(filter).await
            }
            Self::Found(search) => {
                search.limit = wanted;
                store.search_utterances(search).await
            }
        }
    }

    /// From now on only those behind this one.
    fn go_on_behind(&mut self, last: &UtteranceRecord) {
        let last = &last.said;
        match self {
            Self::Of(filter) => filter.cursor = Some((last.at, last.event)),
            Self::Found(search) => search.before_event = Some(last.event),
        }
    }
}

/// The messages of a page and one more if there is one, with the limit of the page: fewer than were
/// asked for where their texts are large.
async fn read_page(
    context: &Context,
    mut asked: Asked,
    limit: i64,
) -> Result<(Vec<UtteranceRecord>, i64), Problem> {
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    let mut wanted = limit + 1;
    while wanted > 0 {
        let now = wanted.min(MESSAGES_AT_ONCE);
        let some = asked.read(&*context.store, now).await?;
        let count = i64::try_from(some.len()).unwrap_or(now);
        if let Some(last) = some.last() {
            asked.go_on_behind(last);
        }
        for record in some {
            let size = record.said.text.as_ref().map_or(0, String::len);
            if bytes.saturating_add(size) > PAGE_BYTES_MAX && !found.is_empty() {
                let shown = i64::try_from(found.len()).unwrap_or(limit);
                found.push(record);
                return Ok((found, shown.min(limit)));
            }
            bytes = bytes.saturating_add(size);
            found.push(record);
        }
        if count < now {
            break;
        }
        wanted -= count;
    }
    Ok((found, limit))
}

/// `GET /treatments/{treatment_id}/messages`.
pub(super) async fn of_treatment(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<MessageOut>>, Problem> {
    let id: TreatmentId = path_id(treatment_id, "treatment")?;
    let filter = read_part(query.as_deref(), Conversation::Treatment(id.clone()))?;
    treatments::one(&context, &id).await?;
    conversation(&context, filter).await
}

/// `GET /payments/{id}/messages`.
pub(super) async fn of_payment(
    State(context): State<Context>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<MessageOut>>, Problem> {
    let id: PaymentId = path_id(id, "payment")?;
    let filter = read_part(query.as_deref(), Conversation::Payment(id.clone()))?;
    let known = context.store.payment(&id).await?;
    known.ok_or_else(|| Problem::not_found("payment"))?;
    conversation(&context, filter).await
}

fn read_part(query: Option<&str>, of: Conversation) -> Result<UtteranceFilter, Problem> {
    let query = Query::parse(query, &["after", "limit", "cursor"]);
    let id = |text: &str| text.parse().ok().filter(|id| *id >= 0);
    let filter = UtteranceFilter {
        of,
        after_event: query.parsed("after", "the id of an event", id).unwrap_or(0),
        cursor: page::numbered_cursor(&query),
        limit: page::limit(&query),
    };
    query.finish(filter)
}

async fn conversation(
    context: &Context,
    filter: UtteranceFilter,
) -> Result<Json<Page<MessageOut>>, Problem> {
    let limit = filter.limit;
    let (found, limit) = read_page(context, Asked::Of(filter), limit).await?;
    let cursor = |last: &UtteranceRecord| page::after(last.said.at, &last.said.event.to_string());
    Ok(Json(Page::of(found, limit, cursor, Into::into)))
}

/// `GET /search/messages`.
pub(super) async fn search(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<HitOut>>, Problem> {
    let search = read_search(query.as_deref())?;
    let (wanted, limit) = (search.query.clone(), search.limit);
    let (found, limit) = read_page(&context, Asked::Found(search), limit).await?;
    let cursor = |last: &UtteranceRecord| page::after_name(&last.said.event.to_string());
    let show = |record: UtteranceRecord| {
        let snippet = snippet(&record.said.words(), &wanted);
        HitOut { message: record.into(), snippet }
    };
    Ok(Json(Page::of(found, limit, cursor, show)))
}

fn read_search(query: Option<&str>) -> Result<Search, Problem> {
    let known = ["q", "user_id", "line_id", "from", "to", "limit", "cursor"];
    let query = Query::parse(query, &known);
    let typed = query.required_text("q", QUERY_CHARS_MAX);
    let search = Search {
        query: typed.map(Wanted::read).unwrap_or_default(),
        user: query.text("user_id"),
        line: query.text("line_id"),
        from: query.time("from"),
        to: query.time("to"),
        before_event: page::number_cursor(&query),
        limit: page::limit(&query),
    };
    query.finish(search)
}

/// A treatment of a user.
#[derive(Serialize)]
pub(super) struct ConversationOut {
    #[serde(flatten)]
    treatment: TreatmentOut,
    messages: i64,
    last_message_at: Option<String>,
}

impl From<ConversationRecord> for ConversationOut {
    fn from(conversation: ConversationRecord) -> Self {
        Self {
            treatment: conversation.treatment.into(),
            messages: conversation.messages,
            last_message_at: conversation.last_message_at.map(|at| at.to_string()),
        }
    }
}

/// `GET /users/{user_id}/treatments`.
pub(super) async fn of_user(
    State(context): State<Context>,
    Path(user_id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ConversationOut>>, Problem> {
    let user: UserId = path_id(user_id, "user")?;
    let query = Query::parse(query.as_deref(), &["limit", "cursor"]);
    let asked = (page::cursor(&query), page::limit(&query));
    let (cursor, limit) = query.finish(asked)?;
    let filter = TreatmentFilter {
        user: Some(user),
        cursor,
        limit: limit + 1,
        ..TreatmentFilter::default()
    };
    let found = context.store.list_conversations(&filter).await?;
    let cursor = |last: &ConversationRecord| {
        page::after(last.treatment.opened_at, last.treatment.id.as_str())
    };
    Ok(Json(Page::of(found, limit, cursor, Into::into)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::event::{FILE, TEXT};
    use crate::core::time::Time;
    use crate::core::utterance::{Speaker, Utterance};
    use crate::http::problem::FieldError;

    fn said() -> UtteranceRecord {
        UtteranceRecord {
            said: Utterance {
                event: 7,
                line: "l".into(),
                user: "u".into(),
                message_id: Some("m".to_owned()),
                message_type: TEXT,
                treatment: Some("t".into()),
                at: Time::from_micros(0),
                heard_at: Time::from_micros(0),
                author: Some("s".into()),
                speaker: Speaker::Specialist,
                text: Some("x".to_owned()),
                file: None,
            },
            outgoing: Some(("o".into(), SendMode::Bot)),
            payment: None,
        }
    }

    #[test]
    fn a_message_tells_who_wrote_it_and_how_ours_got_there() {
        let epoch = "1970-01-01T00:00:00Z";
        let mut expected = json!({
            "event_id": 7, "message_id": "m", "message_type": 1, "line_id": "l", "user_id": "u",
            "treatment_id": "t", "at": epoch, "heard_at": epoch, "author_id": "s",
            "author": "specialist", "text": "x", "file": null,
            "delivered": {"outgoing_id": "o", "mode": "bot", "payment_id": null},
        });
        assert_eq!(serde_json::to_value(MessageOut::from(said())).unwrap(), expected);
        let mut theirs = said();
        (theirs.outgoing, theirs.said.message_type) = (None, FILE);
        theirs.said.file = Some(SentFile {
            name: Some("scan.png".to_owned()),
            url: Some("https://f/".to_owned()),
            bytes: Some(12_345),
            preview_url: Some("https://f/small".to_owned()),
            ..SentFile::default()
        });
        expected["message_type"] = FILE.into();
        expected["delivered"] = json!(null);
        expected["file"] = json!({
            "file_id": null, "file_name": "scan.png", "file_path": "https://f/",
            "file_size": 12_345, "comment": null, "preview_link": "https://f/small",
            "preview_link_hi": null, "preview_hi_sizes": null,
        });
        assert_eq!(serde_json::to_value(MessageOut::from(theirs)).unwrap(), expected);
    }

    #[test]
    fn a_search_needs_words_and_takes_no_more_than_a_person_types() {
        let wrong = |query: &str| read_search(Some(query)).unwrap_err().errors().to_vec();
        assert_eq!(wrong("limit=1"), [FieldError::new("?q", "it is required")]);
        assert_eq!(
            wrong(&format!("q={}", "x".repeat(10_000))),
            [FieldError::new("?q", "it has 10000 characters; at most 500 may be")]
        );
        assert_eq!(wrong("q=a%00b")[0], FieldError::new("?q", "it holds a NUL character"));
        let expected = "expected a time such as 2026-03-05T11:07:00Z";
        assert_eq!(wrong("q=x&from=5"), [FieldError::new("?from", expected)]);
        let found = read_search(Some("q=x&to=1970-01-01T00:00:05Z&user_id=u&cursor=Nw")).unwrap();
        assert_eq!(found.query, Wanted::read("x"));
        assert_eq!((found.to, found.before_event), (Some(Time::from_micros(5_000_000)), Some(7)));
    }

    #[test]
    fn a_part_of_a_conversation_is_found_by_the_cursor_of_the_page_before() {
        let of = || Conversation::Treatment("t".into());
        let query = format!("after=3&limit=9&cursor={}", page::after(Time::from_micros(-5), "7"));
        let expected = UtteranceFilter {
            of: of(),
            after_event: 3,
            cursor: Some((Time::from_micros(-5), 7)),
            limit: 9,
        };
        assert_eq!(read_part(Some(&query), of()).unwrap(), expected);
        assert!(read_part(Some("cursor=MCBh"), of()).is_err());
    }
}
