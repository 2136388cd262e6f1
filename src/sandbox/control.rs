//! The sandbox's own paths under `/sandbox/`: people act, faults are set. Loopback only.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::core::id::{LineId, TreatmentId, UserId};

use super::faults::{Faults, FaultsRefused};
use super::gate::{BODY_BYTES_MAX, loopback_only};
use super::handle::SandboxHandle;
use super::model::Refused;
use super::state::treatment_json;
use super::traces::Opening;

/// What is answered: JSON, or a sentence about what was wrong.
type Answer = Result<Json<Value>, Complaint>;

/// All paths under `/sandbox`.
pub(super) fn router(handle: SandboxHandle) -> Router {
    Router::new()
        .route("/sandbox/state", get(state))
        .route("/sandbox/open", post(open))
        .route("/sandbox/write", post(write))
        .route("/sandbox/close", post(close))
        .route("/sandbox/reroute", post(reroute))
        .route("/sandbox/rate", post(rate))
        .route("/sandbox/press", post(press))
        .route("/sandbox/to_bot", post(to_bot))
        .route("/sandbox/specialist", post(specialist))
        .route("/sandbox/subscribe", post(subscribe))
        .route("/sandbox/overdue", post(overdue))
        .route("/sandbox/faults", post(faults))
        .route("/sandbox/events", post(event))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(loopback_only))
        .with_state(handle)
}

/// A sentence about what was wrong.
struct Complaint {
    status: StatusCode,
    sentence: String,
}

impl IntoResponse for Complaint {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.sentence}))).into_response()
    }
}

impl From<Refused> for Complaint {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::UnknownLine(_)
            | Refused::UnknownTreatment(_)
            | Refused::UnknownSpecialist(_)
            | Refused::NoButton(_) => StatusCode::NOT_FOUND,
            Refused::NothingOpen(..)
            | Refused::StillOpen(_)
            | Refused::NotSubscriber
            | Refused::NotAvailable(_)
            | Refused::NoBot(_)
            | Refused::TooManyUsers => StatusCode::CONFLICT,
            Refused::Quality(_)
            | Refused::NoOpening(_)
            | Refused::NoClosing(_)
            | Refused::NoLine => StatusCode::BAD_REQUEST,
        };
        Self { status, sentence: refused.to_string() }
    }
}

impl From<FaultsRefused> for Complaint {
    fn from(refused: FaultsRefused) -> Self {
        Self { status: StatusCode::BAD_REQUEST, sentence: refused.to_string() }
    }
}

/// Reads a body; unknown fields are refused by name.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Complaint> {
    serde_json::from_slice(body).map_err(|error| Complaint {
        status: StatusCode::BAD_REQUEST,
        sentence: format!("Not understood: {error}."),
    })
}

async fn state(State(handle): State<SandboxHandle>) -> Json<Value> {
    Json(handle.state().to_json())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    line_id: String,
    user_id: String,
    message_type: Option<i64>,
    author_id: Option<String>,
    text: Option<String>,
}

async fn open(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let body: Open = read(&body)?;
    let opening = Opening {
        line: LineId::new(body.line_id),
        user: UserId::new(body.user_id),
        message_type: body.message_type.unwrap_or(1),
        author: body.author_id.map(UserId::new),
        text: body.text,
    };
    let opened = handle.open(opening).await?;
    Ok(Json(treatment_json(&opened)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Write {
    line_id: String,
    user_id: String,
    author_id: Option<String>,
    text: String,
}

async fn write(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Write { line_id, user_id, author_id, text } = read(&body)?;
    let (line, user) = (LineId::new(line_id), UserId::new(user_id));
    let author = author_id.map(UserId::new);
    let written = handle.write(&line, &user, author.as_ref(), &text).await;
    Ok(Json(treatment_json(&written?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    line_id: String,
    user_id: String,
    message_type: Option<i64>,
}

async fn close(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Close { line_id, user_id, message_type } = read(&body)?;
    let (line, user) = (LineId::new(line_id), UserId::new(user_id));
    let closed = handle.close(&line, &user, message_type.unwrap_or(82)).await;
    Ok(Json(treatment_json(&closed?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reroute {
    #[serde(rename = "line_id")]
    from: String,
    #[serde(rename = "user_id")]
    user: String,
    #[serde(rename = "to_line_id")]
    to: String,
}

async fn reroute(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Reroute { from, user, to } = read(&body)?;
    let (line, user) = (LineId::new(from), UserId::new(user));
    let moved = handle.reroute(&line, &user, &LineId::new(to)).await;
    Ok(Json(treatment_json(&moved?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    treatment_id: String,
    quality: i64,
}

async fn rate(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Rate { treatment_id, quality } = read(&body)?;
    let rated = handle.rate(&TreatmentId::new(treatment_id), quality).await;
    Ok(Json(treatment_json(&rated?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Press {
    line_id: String,
    user_id: String,
    text: String,
}

async fn press(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Press { line_id, user_id, text } = read(&body)?;
    let (line, user) = (LineId::new(line_id), UserId::new(user_id));
    let pressed = handle.press(&line, &user, &text).await;
    Ok(Json(treatment_json(&pressed?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToBot {
    line_id: String,
    user_id: String,
    redirect: Option<String>,
}

async fn to_bot(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let ToBot { line_id, user_id, redirect } = read(&body)?;
    let (line, user) = (LineId::new(line_id), UserId::new(user_id));
    let given = handle.give_to_bot(&line, &user, redirect.as_deref()).await;
    Ok(Json(treatment_json(&given?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Available {
    #[serde(rename = "specialist_id")]
    specialist: String,
    available: bool,
}

async fn specialist(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Available { specialist, available } = read(&body)?;
    handle.set_available(&UserId::new(specialist), available).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    line_id: String,
    user_id: String,
    on: bool,
}

async fn subscribe(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let Subscribe { line_id, user_id, on } = read(&body)?;
    handle.subscribe(&LineId::new(line_id), &UserId::new(user_id), on).await?;
    Ok(Json(json!({})))
}

async fn overdue(State(handle): State<SandboxHandle>) -> Json<Value> {
    Json(json!({"handed_over": handle.hand_over_overdue().await}))
}

async fn faults(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let faults: Faults = read(&body)?;
    let shown = json!(faults);
    handle.set_faults(faults)?;
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    body: Map<String, Value>,
}

async fn event(State(handle): State<SandboxHandle>, body: Bytes) -> Answer {
    let RawEvent { body } = read(&body)?;
    handle.broadcast(body).await?;
    Ok(Json(json!({})))
}
