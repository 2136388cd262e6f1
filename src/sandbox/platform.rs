//! The platform's own paths: hooks and commands (`connect-api.md` 2 and 4).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use serde::Deserialize;
use url::Url;

use crate::connect::HookKind;
use crate::core::id::{LineId, UserId};

use super::directory;
use super::gate;
use super::hooks::{BackAuth, Hook, parse_kind};
use super::refusal::{Answer, Refusal, read, refuse_if_told};
use super::uploads::{self, Manner, send};
use super::world::Shared;

/// All paths under `/v1`.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let hooks = Router::new()
        .route("/v1/hook/", post(set_hook).delete(delete_line_hooks))
        .route("/v1/hook/{kind}/{id}/", delete(delete_hook));
    let lines = [
        ("/v1/line/send/message", post(send_message)),
        ("/v1/line/send/file", post(uploads::send_file)),
        ("/v1/line/send/image", post(uploads::send_image)),
        ("/v1/line/drop/treatment", post(drop_treatment)),
        ("/v1/line/drop/keyboard", post(drop_keyboard)),
        ("/v1/line/appoint/start", post(appoint_start)),
        ("/v1/line/appoint/spec", post(appoint_specialist)),
        ("/v1/line/reroute", post(reroute)),
        ("/v1/line", get(directory::lines)),
        ("/v1/line/treatment", get(directory::treatments)),
        ("/v1/line/specialists", get(directory::specialists)),
        ("/v1/line/specialist/{id}", get(directory::specialist)),
        ("/v1/line/specialists/{line_id}/available", get(directory::available)),
        ("/v1/line/subscribers", get(directory::subscribers)),
        ("/v1/line/subscriber/{id}", get(directory::subscriber)),
        ("/v1/line/subscriptions", get(directory::subscriptions)),
        ("/v1/line/competences", get(directory::competences)),
    ];
    lines
        .into_iter()
        .fold(hooks, with_or_without_slash)
        .route("/v1/{*rest}", axum::routing::any(elsewhere))
        // The gate has its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(shared), gate::platform))
        .with_state(Arc::clone(shared))
}

/// Paths of lines answer without their last slash too (`connect-api.md` 1.1).
fn with_or_without_slash(
    router: Router<Arc<Shared>>,
    (path, methods): (&'static str, MethodRouter<Arc<Shared>>),
) -> Router<Arc<Shared>> {
    router.route(path, methods.clone()).route(&format!("{path}/"), methods)
}

/// Any other path: redirected to its last slash, or unknown.
async fn elsewhere(uri: Uri) -> Response {
    if uri.path().ends_with('/') {
        return StatusCode::NOT_FOUND.into_response();
    }
    let to = format!("{}/", uri.path());
    let page = format!("<a href=\"{to}\">Moved Permanently</a>.\n");
    let html = (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to), html], page).into_response()
}

#[derive(Deserialize)]
struct SetHook {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    url: String,
    back_auth: Option<BackAuthBody>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum BackAuthBody {
    Bearer { token: String },
    Basic { login: String, password: String },
}

impl From<BackAuthBody> for BackAuth {
    fn from(body: BackAuthBody) -> Self {
        match body {
            BackAuthBody::Bearer { token } => Self::Bearer { token },
            BackAuthBody::Basic { login, password } => Self::Basic { login, password },
        }
    }
}

async fn set_hook(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let SetHook { kind, id, url, back_auth } = read(&body)?;
    let kind = parse_kind(&kind).ok_or(Refusal::Malformed)?;
    let line = id.map(LineId::new);
    let target = Url::parse(&url).map_err(|_| Refusal::Malformed)?;
    if !matches!(target.scheme(), "http" | "https") || (kind == HookKind::Bot && line.is_none()) {
        return Err(Refusal::Malformed);
    }
    let authorization = match back_auth {
        Some(secret) => Some(BackAuth::from(secret).header().ok_or(Refusal::Malformed)?),
        None => None,
    };
    let mut world = shared.world();
    if let Some(line) = &line {
        let known = world.model.require_line(line)?;
        if kind == HookKind::Bot && !known.allow_bot {
            return Err(Refusal::Forbidden);
        }
    }
    world.hooks.set(kind, line, Hook { target, url, authorization });
    world.note_bots();
    Ok(StatusCode::OK)
}

async fn delete_hook(
    State(shared): State<Arc<Shared>>,
    Path((kind, id)): Path<(String, String)>,
) -> Answer {
    let kind = parse_kind(&kind).ok_or(Refusal::Malformed)?;
    let line = LineId::new(id);
    let mut world = shared.world();
    world.model.require_line(&line)?;
    world.hooks.remove(kind, &line);
    world.note_bots();
    Ok(StatusCode::OK)
}

async fn delete_line_hooks(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.world().hooks.remove_all_of_lines();
    StatusCode::OK
}

#[derive(Deserialize)]
struct MessageBody {
    #[serde(flatten)]
    manner: Manner,
    text: String,
}

async fn send_message(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let MessageBody { manner, text } = read(&body)?;
    send(&shared, manner, text, None).await
}

/// A command to the current treatment of a user on a line.
struct Command {
    line: LineId,
    user: UserId,
    author: Option<UserId>,
    specialist: Option<UserId>,
    target: Option<LineId>,
}

/// A command as it is sent.
#[derive(Deserialize)]
struct CommandBody {
    #[serde(rename = "line_id")]
    line: String,
    #[serde(rename = "user_id")]
    user: String,
    #[serde(rename = "author_id")]
    author: Option<String>,
    #[serde(rename = "spec_id")]
    specialist: Option<String>,
    #[serde(rename = "to_line_id")]
    target: Option<String>,
    /// Looked at for its type only: nobody sees it here.
    #[serde(rename = "quote")]
    _quote: Option<String>,
}

/// Reads a command and applies the fault `refuse`.
fn command(shared: &Shared, body: &Bytes) -> Result<Command, Refusal> {
    let body: CommandBody = read(body)?;
    let line = LineId::new(body.line);
    refuse_if_told(shared, &line)?;
    Ok(Command {
        line,
        user: UserId::new(body.user),
        author: body.author.map(UserId::new),
        specialist: body.specialist.map(UserId::new),
        target: body.target.map(LineId::new),
    })
}

async fn drop_treatment(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let Command { line, user, author, .. } = command(&shared, &body)?;
    let done = shared
        .change(|world, now| {
            let events = world.model.drop_treatment(&line, &user, author.as_ref(), now)?;
            Ok((StatusCode::OK, events))
        })
        .await?;
    Ok(done)
}

async fn drop_keyboard(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let Command { line, user, .. } = command(&shared, &body)?;
    shared.world().model.drop_keyboard(&line, &user)?;
    Ok(StatusCode::OK)
}

async fn appoint_start(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let Command { line, user, .. } = command(&shared, &body)?;
    appoint(&shared, &line, &user, None).await
}

async fn appoint_specialist(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let Command { line, user, specialist, author, .. } = command(&shared, &body)?;
    let specialist = specialist.ok_or(Refusal::Malformed)?;
    if let Some(author) = &author {
        shared.world().model.require_specialist(author)?;
    }
    appoint(&shared, &line, &user, Some(&specialist)).await
}

async fn appoint(
    shared: &Shared,
    line: &LineId,
    user: &UserId,
    specialist: Option<&UserId>,
) -> Answer {
    let done = shared
        .change(|world, now| {
            Ok((StatusCode::OK, world.model.appoint(line, user, specialist, now)?))
        })
        .await?;
    Ok(done)
}

async fn reroute(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let Command { line, user, target, .. } = command(&shared, &body)?;
    let target = target.ok_or(Refusal::Malformed)?;
    let done = shared
        .change(|world, now| {
            Ok((StatusCode::OK, world.model.reroute_current(&line, &user, &target, now)?))
        })
        .await?;
    Ok(done)
}
