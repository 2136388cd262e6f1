//! One line in the log for each request, and the id that ties it to everything it caused.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::http::Context;
use crate::http::auth::Caller;
use crate::telemetry::admit_outage;

/// Header of the request id, as nginx sets it and as we answer it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from a caller.
const REQUEST_ID_CHARS: usize = 64;
/// From this long on a request is worth a line at `info`, whatever it answered.
const SLOW: Duration = Duration::from_secs(1);

/// How long a request has waited because it was asked to: no slowness of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited(pub(super) Duration);

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that is being served, for problems.
pub(super) fn current_request_id() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Gives the request an id, answers it in the response, and writes the line.
pub(super) async fn log_request(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let id = match given.filter(|id| is_sane(id)) {
        Some(id) => id.to_owned(),
        None => context.ids.uuid(context.clock.now()),
    };
    let method = request.method().clone();
    // The template, never the path: a path may hold somebody's ids, a query their data.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let began = Instant::now();
    let mut response = CURRENT.scope(id.clone(), next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let caller = response.extensions().get::<Caller>().map_or("-", |caller| &caller.0);
    let route = route.as_deref().unwrap_or("(no such route)");
    let (status, took) = (response.status().as_u16(), began.elapsed());
    let duration_ms = took.as_millis();
    // While the database is away everybody waits and is refused for the same reason.
    let is_refused = status == StatusCode::SERVICE_UNAVAILABLE.as_u16();
    let waited = response.extensions().get::<Waited>().map_or(Duration::ZERO, |waited| waited.0);
    let is_slow = took.saturating_sub(waited) >= SLOW;
    let is_common = is_refused || (status < 500 && is_slow);
    let is_worth_it = if is_common { admit_outage().is_some() } else { status >= 500 };
    if is_worth_it {
        tracing::warn!(request.id = %id, %method, route, status, duration_ms, caller, "{method} {route} {status}");
    } else if is_refused || is_event(route) {
        // Thousands a second may come: they are counted, not told one by one.
        tracing::debug!(request.id = %id, %method, route, status, duration_ms, "{method} {route} {status}");
    } else {
        tracing::info!(request.id = %id, %method, route, status, duration_ms, caller, "{method} {route} {status}");
    }
    response
}

fn is_event(route: &str) -> bool {
    route.starts_with(super::routes::CALLBACK)
}

/// An id that may stand in a log line and a header.
fn is_sane(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= REQUEST_ID_CHARS && id.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_outside_is_taken_only_when_it_cannot_forge_a_log_line() {
        assert!(is_sane("4f1c-77.a_B"));
        for bad in ["", "a b", "a\nb", "идентификатор", "a\"b", &"x".repeat(65)] {
            assert!(!is_sane(bad), "{bad:?}");
        }
    }
}
