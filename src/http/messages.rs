//! Messages into chats: written once, in order, and followed until they are there.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use crate::core::dispatch::SendMode;
use crate::core::id::{LineId, OutgoingId, UserId};
use crate::core::keyboard::{Button, Keyboard, KeyboardError};
use crate::core::outgoing::{OutgoingCommand, OutgoingKind, OutgoingState};
use crate::http::Context;
use crate::http::fields::{Errors, Fields, Query, TEXT_CHARS, one_of, parse_json, path_id};
use crate::http::outgoing::{self, OutgoingOut, mode_name};
use crate::http::page::{self, Page};
use crate::http::payments::read_reason;
use crate::http::problem::{Code, Problem};
use crate::http::users;
use crate::store::{NewOutgoing, OutgoingFilter, OutgoingRecord};

/// The fields of a message that comes in.
const MESSAGE: &[&str] = &[
    "key",
    "user_id",
    "line_id",
    "text",
    "author_id",
    "keyboard",
    "mode",
    "notification_only",
    "general_settings",
];
const BUTTON: &[&str] = &["id", "text"];
/// Where messages can be asked for.
const ADDRESS: &str = "/api/v1/messages";

/// What a message says, in the order and form in which two of them are compared.
#[derive(Serialize)]
struct Content<'a> {
    user_id: &'a str,
    line_id: Option<&'a str>,
    text: &'a str,
    author_id: Option<&'a str>,
    keyboard: Option<&'a Value>,
    mode: &'static str,
    notification_only: bool,
    general_settings: bool,
}

/// A message as it was asked for; the line may still be open.
struct Asked {
    key: String,
    user: UserId,
    line: Option<LineId>,
    text: String,
    author: Option<UserId>,
    keyboard: Option<Keyboard>,
    mode: SendMode,
    notification_only: bool,
    general_settings: bool,
}

fn read(value: &Value, default_mode: SendMode) -> Result<Asked, Problem> {
    let errors = Errors::default();
    let asked = asked(value, default_mode, &errors);
    errors.finish(asked).map_err(Problem::validation)
}

fn asked(value: &Value, default_mode: SendMode, errors: &Errors) -> Option<Asked> {
    let fields = Fields::of(value, "", MESSAGE, errors)?;
    let key = fields.required_id("key");
    let user = fields.required_id("user_id");
    let line = fields.id("line_id");
    let text = fields.required_text("text", TEXT_CHARS);
    let author = fields.id("author_id");
    let keyboard = keyboard(value, &fields, errors);
    let expected = "\"bot\" or \"specialist\"";
    let mode = fields.parsed("mode", expected, default_mode, parse_mode);
    let notification_only = fields.flag("notification_only", false);
    let is_bot = mode == Some(SendMode::Bot) && notification_only != Some(true);
    let general_settings = fields.flag("general_settings", is_bot);
    // connect-api.md 4.1: a keyboard belongs to the bot's mode of the call.
    if keyboard.is_some() && !is_bot {
        let message = "buttons need mode bot without notification_only";
        fields.wrong("keyboard", message);
    }
    if general_settings == Some(true) && !is_bot {
        let message = "it means something only in mode bot without notification_only";
        fields.wrong("general_settings", message);
    }
    Some(Asked {
        key: key?,
        user: user?,
        line,
        text: text?,
        author,
        keyboard,
        mode: mode?,
        notification_only: notification_only?,
        general_settings: general_settings?,
    })
}

fn parse_mode(text: &str) -> Result<SendMode, String> {
    let mut known = [SendMode::Bot, SendMode::Specialist].into_iter();
    let found = known.find(|mode| mode_name(*mode) == text);
    found.ok_or_else(|| format!("\"{text}\" is no mode; expected \"bot\" or \"specialist\""))
}

/// Rows of buttons; `None` as well where something is wrong, which is told.
fn keyboard(value: &Value, fields: &Fields<'_>, errors: &Errors) -> Option<Keyboard> {
    let given = value.get("keyboard").filter(|given| !given.is_null())?;
    let Some(rows) = given.as_array().filter(|rows| rows.iter().all(Value::is_array)) else {
        fields.wrong("keyboard", "expected rows of buttons: [[{\"text\": \"Yes\"}, …], …]");
        return None;
    };
    let mut keyboard = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let mut buttons = Vec::new();
        for (column, button) in row.as_array().into_iter().flatten().enumerate() {
            let at = format!("/keyboard/{place}/{column}");
            let fields = Fields::of(button, &at, BUTTON, errors)?;
            let text = fields.required_text("text", TEXT_CHARS)?;
            buttons.push(Button { id: fields.id("id"), text });
        }
        keyboard.push(buttons);
    }
    let keyboard = Keyboard(keyboard);
    if let Err(error) = keyboard.check() {
        let at = match error {
            KeyboardError::Empty | KeyboardError::Rows => "/keyboard".to_owned(),
            KeyboardError::Row { row } => format!("/keyboard/{row}"),
            KeyboardError::Text { row, button } | KeyboardError::Twice { row, button } => {
                format!("/keyboard/{row}/{button}/text")
            }
            KeyboardError::Id { row, button } => format!("/keyboard/{row}/{button}/id"),
        };
        errors.add(at, error.to_string());
        return None;
    }
    Some(keyboard)
}

/// `POST /messages`.
pub(super) async fn create(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let value = parse_json(&body)?;
    let asked = read(&value, context.default_mode)?;
    let said = content(&asked, value.get("keyboard").filter(|keyboard| !keyboard.is_null()))?;
    let line = line_of(&context, &asked).await?;
    let id = OutgoingId::new(context.ids.uuid(context.clock.now()));
    let new = NewOutgoing {
        id,
        key: Some(asked.key),
        content: said,
        kind: OutgoingKind::Text,
        line,
        user: asked.user,
        author: asked.author,
        mode: asked.mode,
        text: Some(asked.text),
        keyboard: asked.keyboard,
        notification_only: asked.notification_only,
        general_settings: asked.general_settings,
        file: None,
        treatment: None,
        to_line: None,
        specialist: None,
        or_any: false,
    };
    outgoing::take_in(&context, &headers, new, ADDRESS).await
}

fn content(asked: &Asked, keyboard: Option<&Value>) -> Result<String, Problem> {
    let content = Content {
        user_id: asked.user.as_str(),
        line_id: asked.line.as_ref().map(LineId::as_str),
        text: &asked.text,
        author_id: asked.author.as_ref().map(UserId::as_str),
        keyboard,
        mode: mode_name(asked.mode),
        notification_only: asked.notification_only,
        general_settings: asked.general_settings,
    };
    serde_json::to_string(&content).map_err(|error| {
        tracing::error!(%error, "a message could not be written as JSON");
        Problem::new(Code::Internal, "the message could not be taken in")
    })
}

/// The line that was asked for, else that of the message which came in with this key before, else
/// the only one that is open to the user.
async fn line_of(context: &Context, asked: &Asked) -> Result<LineId, Problem> {
    if let Some(line) = &asked.line {
        return Ok(line.clone());
    }
    let by_key = OutgoingFilter {
        messages: true,
        key: Some(asked.key.clone()),
        limit: 1,
        ..OutgoingFilter::default()
    };
    match context.store.list_outgoing(&by_key).await?.pop() {
        Some(before) => Ok(before.given.line),
        None => users::only_line(context, &asked.user).await,
    }
}

/// `GET /messages`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<OutgoingOut>>, Problem> {
    let known = ["state", "user_id", "line_id", "treatment_id", "key", "limit", "cursor"];
    let query = Query::parse(query.as_deref(), &known);
    let states = one_of(OutgoingState::ALL.iter().map(|state| state.as_str()));
    let filter = OutgoingFilter {
        messages: true,
        state: query.parsed("state", &states, OutgoingState::parse),
        user: query.text("user_id"),
        line: query.text("line_id"),
        treatment: query.text("treatment_id"),
        key: query.text("key"),
        cursor: page::cursor(&query),
        limit: page::limit(&query),
    };
    let filter = query.finish(filter)?;
    let wanted = OutgoingFilter { limit: filter.limit + 1, ..filter.clone() };
    let found = context.store.list_outgoing(&wanted).await?;
    let cursor = |record: &OutgoingRecord| page::after(record.created_at, record.given.id.as_str());
    Ok(Json(Page::of(found, filter.limit, cursor, Into::into)))
}

/// `GET /messages/{id}`.
pub(super) async fn show(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<OutgoingOut>, Problem> {
    Ok(Json(outgoing::find(&context, &path_id(id, "message")?).await?.into()))
}

/// `POST /messages/{id}/cancel`.
pub(super) async fn cancel(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<OutgoingOut>, Problem> {
    let id = path_id(id, "message")?;
    outgoing::command(&context, &id, OutgoingCommand::Cancel, &read_reason(&body)?).await
}

/// `POST /messages/{id}/retry`.
pub(super) async fn retry(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<OutgoingOut>, Problem> {
    let id = path_id(id, "message")?;
    outgoing::command(&context, &id, OutgoingCommand::Retry, &read_reason(&body)?).await
}
