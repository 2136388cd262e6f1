//! What is to become of a treatment: closed, transferred to another line, assigned to a specialist.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use crate::core::id::{LineId, OutgoingId, TreatmentId, UserId};
use crate::core::outgoing::{OutgoingCommand, OutgoingKind};
use crate::http::Context;
use crate::http::fields::{Errors, Fields, Query, TEXT_CHARS, parse_json, path_id};
use crate::http::outgoing::{self, OutgoingOut};
use crate::http::page::{self, Page};
use crate::http::payments::read_reason;
use crate::http::problem::{Code, Problem};
use crate::http::users;
use crate::store::{NewOutgoing, OutgoingFilter, OutgoingRecord};

/// Where they can be asked for.
const ADDRESS: &str = "/api/v1/actions";

/// What is asked for.
#[derive(Default)]
struct Asked {
    author: Option<UserId>,
    to_line: Option<LineId>,
    quote: Option<String>,
    specialist: Option<UserId>,
}

/// Reads a body that may be empty.
fn read(
    body: &[u8],
    known: &[&str],
    ask: impl FnOnce(&Fields<'_>) -> Option<Asked>,
) -> Result<Asked, Problem> {
    let value = if body.is_empty() { json!({}) } else { parse_json(body)? };
    let errors = Errors::default();
    let asked = Fields::of(&value, "", known, &errors).and_then(|fields| ask(&fields));
    errors.finish(asked).map_err(Problem::validation)
}

/// `POST /treatments/{treatment_id}/close`.
pub(super) async fn close(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked = read(&body, &["author_id"], |fields| {
        Some(Asked { author: fields.id("author_id"), ..Asked::default() })
    })?;
    take_in(&context, &headers, path_id(treatment_id, "treatment")?, OutgoingKind::Close, asked)
        .await
}

/// `POST /treatments/{treatment_id}/transfer`.
pub(super) async fn transfer(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked = read(&body, &["to_line_id", "quote"], |fields| {
        let to_line = fields.required_id("to_line_id");
        let quote = fields.text("quote", TEXT_CHARS);
        Some(Asked { to_line: Some(to_line?), quote, ..Asked::default() })
    })?;
    take_in(&context, &headers, path_id(treatment_id, "treatment")?, OutgoingKind::Transfer, asked)
        .await
}

/// `POST /treatments/{treatment_id}/assign`.
pub(super) async fn assign(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked = read(&body, &["specialist_id", "author_id"], |fields| {
        let (author, specialist) = (fields.id("author_id"), fields.id("specialist_id"));
        Some(Asked { author, specialist, ..Asked::default() })
    })?;
    take_in(&context, &headers, path_id(treatment_id, "treatment")?, OutgoingKind::Assign, asked)
        .await
}

async fn take_in(
    context: &Context,
    headers: &HeaderMap,
    treatment: TreatmentId,
    kind: OutgoingKind,
    asked: Asked,
) -> Result<Response, Problem> {
    let known = context.store.treatment(&treatment).await?;
    let known = known.ok_or_else(|| Problem::not_found("treatment"))?;
    if let Some(to) = &asked.to_line {
        if *to == known.line && known.ended.is_none() {
            let message = "the treatment is on this line already";
            return Err(Problem::field("/to_line_id", message));
        }
        if known.ended.is_none() {
            users::must_be_open(context, &known.user, to).await?;
        }
    }
    let new = NewOutgoing {
        id: OutgoingId::new(context.ids.uuid(context.clock.now())),
        key: None,
        content: content(&asked)?,
        kind,
        line: known.line,
        user: known.user,
        author: asked.author,
        mode: context.default_mode,
        text: asked.quote,
        keyboard: None,
        notification_only: false,
        general_settings: false,
        file: None,
        treatment: Some(treatment),
        to_line: asked.to_line,
        specialist: asked.specialist,
        or_any: false,
    };
    outgoing::take_in(context, headers, new, ADDRESS).await
}

/// What is asked for, in the form in which two requests are compared.
fn content(asked: &Asked) -> Result<String, Problem> {
    let content: Value = json!({
        "author_id": asked.author.as_ref().map(UserId::as_str),
        "to_line_id": asked.to_line.as_ref().map(LineId::as_str),
        "quote": asked.quote,
        "specialist_id": asked.specialist.as_ref().map(UserId::as_str),
    });
    serde_json::to_string(&content)
        .map_err(|_| Problem::new(Code::Internal, "the request could not be taken in"))
}

/// `GET /actions`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<OutgoingOut>>, Problem> {
    let query = Query::parse(query.as_deref(), &["treatment_id", "limit", "cursor"]);
    let filter = OutgoingFilter {
        messages: false,
        treatment: query.text("treatment_id"),
        cursor: page::cursor(&query),
        limit: page::limit(&query),
        ..OutgoingFilter::default()
    };
    let filter = query.finish(filter)?;
    let wanted = OutgoingFilter { limit: filter.limit + 1, ..filter.clone() };
    let found = context.store.list_outgoing(&wanted).await?;
    let cursor = |record: &OutgoingRecord| page::after(record.created_at, record.given.id.as_str());
    Ok(Json(Page::of(found, filter.limit, cursor, Into::into)))
}

/// `GET /actions/{id}`.
pub(super) async fn show(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<OutgoingOut>, Problem> {
    Ok(Json(outgoing::find(&context, &path_id(id, "action")?).await?.into()))
}

/// `POST /actions/{id}/cancel`.
pub(super) async fn cancel(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<OutgoingOut>, Problem> {
    let id = path_id(id, "action")?;
    outgoing::command(&context, &id, OutgoingCommand::Cancel, &read_reason(&body)?).await
}

/// `POST /actions/{id}/retry`.
pub(super) async fn retry(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<OutgoingOut>, Problem> {
    let id = path_id(id, "action")?;
    outgoing::command(&context, &id, OutgoingCommand::Retry, &read_reason(&body)?).await
}
