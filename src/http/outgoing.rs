//! What is sent into chats, as the API shows it, and the wait for it.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::core::dispatch::SendMode;
use crate::core::id::OutgoingId;
use crate::core::outgoing::{OutgoingCommand, OutgoingCommandRefused, OutgoingState};
use crate::core::time::{Span, Time};
use crate::http::Context;
use crate::http::problem::{Code, Problem};
use crate::store::{AddedOutgoing, NewOutgoing, OutgoingRecord};

/// The longest wait that a request may ask for, in seconds: less than nginx waits for an answer.
const WAIT_SECS_MAX: i64 = 30;
/// How often it is looked whether it was sent, while nobody rings.
const LOOK_EVERY: Span = Span::from_millis(200);
/// How a wait is asked for (RFC 7240, section 4.3).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// What of that was heeded (RFC 7240, section 3).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A message, or a change of a treatment, as it stands.
#[derive(Serialize)]
pub(super) struct OutgoingOut {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    kind: &'static str,
    state: &'static str,
    reason: String,
    reason_code: &'static str,
    line_id: String,
    user_id: String,
    author_id: Option<String>,
    #[serde(flatten)]
    about: AboutOut,
    treatment_id: Option<String>,
    attempts: i64,
    created_at: String,
    updated_at: String,
    sent_at: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AboutOut {
    Message {
        mode: &'static str,
        text: Option<String>,
        keyboard: Option<Vec<Vec<ButtonOut>>>,
        notification_only: bool,
        general_settings: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<FileOut>,
        seen: bool,
    },
    Treatment {
        #[serde(skip_serializing_if = "Option::is_none")]
        to_line_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        quote: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        specialist_id: Option<String>,
    },
}

#[derive(Serialize)]
struct ButtonOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    text: String,
}

#[derive(Serialize)]
struct FileOut {
    #[serde(rename = "file_name")]
    name: String,
    #[serde(rename = "file_size")]
    bytes: i64,
}

/// The words of the API for how a message is written.
pub(super) const fn mode_name(mode: SendMode) -> &'static str {
    match mode {
        SendMode::Bot => "bot",
        SendMode::Specialist => "specialist",
    }
}

impl From<OutgoingRecord> for OutgoingOut {
    fn from(record: OutgoingRecord) -> Self {
        let OutgoingRecord { given, now, attempts, created_at, updated_at } = record;
        let reason = now.reason.sentence();
        let reason = match &now.words {
            Some(words) => format!("{reason}: {words}"),
            None => reason.to_owned(),
        };
        let about = if given.kind.is_message() {
            let button = |b: crate::core::keyboard::Button| ButtonOut { id: b.id, text: b.text };
            AboutOut::Message {
                mode: mode_name(given.mode),
                text: given.text,
                keyboard: given.keyboard.map(|keyboard| {
                    let rows = keyboard.0.into_iter();
                    rows.map(|row| row.into_iter().map(button).collect()).collect()
                }),
                notification_only: given.notification_only,
                general_settings: given.general_settings,
                file: given.file.map(|file| FileOut { name: file.name, bytes: file.bytes }),
                seen: now.echo.is_some(),
            }
        } else {
            AboutOut::Treatment {
                to_line_id: given.to_line.map(|id| id.to_string()),
                quote: given.text,
                specialist_id: given.specialist.map(|id| id.to_string()),
            }
        };
        Self {
            id: given.id.to_string(),
            key: given.key,
            kind: given.kind.as_str(),
            state: now.state.as_str(),
            reason,
            reason_code: now.reason.as_str(),
            line_id: given.line.to_string(),
            user_id: given.user.to_string(),
            author_id: given.author.map(|id| id.to_string()),
            about,
            treatment_id: now.treatment.map(|id| id.to_string()),
            attempts,
            created_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
            sent_at: now.sent_at.map(|at: Time| at.to_string()),
        }
    }
}

/// Takes one in and answers: at once, or when it was sent within the wait that was asked for.
///
/// `address` is where it can be asked for afterwards, without its id.
pub(super) async fn take_in(
    context: &Context,
    headers: &HeaderMap,
    new: NewOutgoing,
    address: &str,
) -> Result<Response, Problem> {
    let wait = preferred_wait(headers)?;
    let (id, is_new) = match context.store.add_outgoing(&new, context.clock.now()).await? {
        AddedOutgoing::New => (new.id, true),
        AddedOutgoing::Same(id) => (id, false),
        AddedOutgoing::Conflict(id) => return Err(conflict(new.key.as_deref(), &id)),
        AddedOutgoing::TreatmentOver => {
            let detail = "the treatment is closed already; nothing was changed";
            return Err(Problem::new(Code::TreatmentClosed, detail));
        }
        AddedOutgoing::NoAuthor => {
            let message = "it is required in mode specialist: the line's manager has no \
                           specialist_id, and FREELINE_DISPATCH_AUTHOR_ID is not set";
            return Err(Problem::field("/author_id", message));
        }
    };
    let record = match wait {
        Some(wait) => sent_within(context, &id, wait).await?,
        None => find(context, &id).await?,
    };
    let location = format!("{address}/{id}");
    if wait.is_some() && record.now.state == OutgoingState::Rejected {
        let out = OutgoingOut::from(record);
        let detail = format!("{}; see {location}", out.reason);
        return Err(Problem::new(Code::PlatformRefused, detail));
    }
    let status = match (is_new, record.now.state) {
        (_, state) if state.is_unfinished() => StatusCode::ACCEPTED,
        (true, _) => StatusCode::CREATED,
        (false, _) => StatusCode::OK,
    };
    let mut response =
        (status, [(header::LOCATION, location)], Json(OutgoingOut::from(record))).into_response();
    if wait.is_some() {
        let applied = HeaderValue::from_static("wait");
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

fn conflict(key: Option<&str>, id: &OutgoingId) -> Problem {
    if let Some(key) = key {
        let detail = format!("the key \"{key}\" was used for the message {id}, which differs");
        return Problem::new(Code::KeyConflict, detail);
    }
    let detail = format!("{id} is under way for this treatment, and differs; wait for it");
    Problem::new(Code::ActionUnderWay, detail)
}

/// How long the request is willing to wait: `Prefer: wait=5`.
fn preferred_wait(headers: &HeaderMap) -> Result<Option<Span>, Problem> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    for preference in values.flat_map(|value| value.split([',', ';'])) {
        let Some((name, value)) = preference.split_once('=') else { continue };
        if !name.trim().eq_ignore_ascii_case("wait") {
            continue;
        }
        let secs: Option<i64> = value.trim().trim_matches('"').parse().ok();
        let Some(secs) = secs.filter(|secs| (0..=WAIT_SECS_MAX).contains(secs)) else {
            let detail = format!(
                "Prefer: wait={} cannot be heeded; give whole seconds from 0 to {WAIT_SECS_MAX}",
                value.trim().chars().take(20).collect::<String>()
            );
            return Err(Problem::new(Code::BadRequest, detail));
        };
        return Ok(Some(Span::from_secs(secs)));
    }
    Ok(None)
}

/// The record as soon as something became of it, at the latest after the wait or at a stop.
async fn sent_within(
    context: &Context,
    id: &OutgoingId,
    wait: Span,
) -> Result<OutgoingRecord, Problem> {
    let deadline = tokio::time::Instant::now() + wait.to_duration();
    loop {
        let record = find(context, id).await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let is_waiting = matches!(record.now.state, OutgoingState::Queued | OutgoingState::Sending);
        if !is_waiting || left.is_zero() || context.tasks.is_stopping() {
            return Ok(record);
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_EVERY.to_duration())) => {}
            () = context.tasks.stopping() => {}
        }
    }
}

pub(super) async fn find(context: &Context, id: &OutgoingId) -> Result<OutgoingRecord, Problem> {
    context.store.outgoing(id).await?.ok_or_else(|| Problem::not_found("message"))
}

/// Carries out a person's command and answers what it came to.
pub(super) async fn command(
    context: &Context,
    id: &OutgoingId,
    command: OutgoingCommand,
    words: &str,
) -> Result<Json<OutgoingOut>, Problem> {
    let now = context.clock.now();
    match context.store.command_outgoing(id, command, words, now).await? {
        None => Err(Problem::not_found("message")),
        Some(Err(refused)) => {
            let code = match refused {
                OutgoingCommandRefused::BeingSent => Code::BeingSent,
                OutgoingCommandRefused::WrongState { .. } => Code::WrongState,
            };
            Err(Problem::new(code, refused.to_string()))
        }
        Some(Ok(())) => Ok(Json(find(context, id).await?.into())),
    }
}
