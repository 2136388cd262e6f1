//! What every call under `/v1` passes before and after its work: authentication, budget, faults.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::connection::Peer;
use super::faults::CallFate;
use super::uploads;
use super::world::Shared;

/// The largest body that is read.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// Lets a call of the platform's API through, or not.
pub(super) async fn platform(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    shared.count_call(format!("{} {}/", parts.method, parts.uri.path().trim_end_matches('/')));
    // Read whole, because a connection is only noticed to be cut when nothing is left to read.
    let carries_file = uploads::PATHS.contains(&parts.uri.path().trim_end_matches('/'));
    let file_bytes = if carries_file { shared.file_bytes_max() } else { 0 };
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX.saturating_add(file_bytes)).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if shared.is_down() {
        match peer.cut().await {}
    }
    if !is_authenticated(&shared, &parts.headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !shared.take_from_budget() {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let (delay, answer_lost) = match shared.throw_for_call() {
        CallFate::DropBefore => match peer.cut().await {},
        CallFate::Status(status) => return status_alone(status),
        CallFate::Work { delay, answer_lost } => (delay, answer_lost),
    };
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    if answer_lost {
        match peer.cut().await {}
    }
    pause(&shared, delay.saturating_add(shared.config.latency)).await;
    answer
}

/// Lets only this machine command the sandbox.
pub(super) async fn loopback_only(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.addr.ip().to_canonical().is_loopback() {
        next.run(request).await
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}

/// An answer without a body.
pub(super) fn status_alone(status: u16) -> Response {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

/// Waits, but not beyond a stop.
async fn pause(shared: &Shared, delay: Duration) {
    if delay.is_zero() {
        return;
    }
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = shared.tasks.stopping() => {}
    }
}

fn is_authenticated(shared: &Shared, headers: &HeaderMap) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = sent.and_then(|value| value.strip_prefix("Basic "));
    let decoded = encoded.and_then(|value| BASE64_STANDARD.decode(value).ok());
    let expected = format!("{}:{}", shared.config.login, shared.config.password);
    decoded.is_some_and(|decoded| decoded == expected.as_bytes())
}
