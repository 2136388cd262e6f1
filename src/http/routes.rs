//! Every route, and what stands around it.

use std::any::Any;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::http::problem::{Code, Problem};
use crate::http::{
    Context, actions, arrival, auth, callback, changes, directory, events, health, history, lines,
    log, messages, parked, payments, status, treatments, users,
};

/// Where the platform posts its events.
pub(super) const CALLBACK: &str = "/connect/hook";
/// The largest body of the API.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The largest directory.
const DIRECTORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The whole HTTP side.
pub fn router(context: Context) -> Router {
    let callback_slash = format!("{CALLBACK}/");
    Router::new()
        .route(CALLBACK, post(callback::receive))
        .route(&callback_slash, post(callback::receive))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .nest("/api/v1", api(&context))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(problems_only))
        .layer(from_fn(arrival::body_in_time))
        .layer(from_fn_with_state(context.clone(), say_goodbye))
        .layer(from_fn_with_state(context.clone(), log::log_request))
        .with_state(context)
}

fn api(context: &Context) -> Router<Context> {
    let directory_limit = DefaultBodyLimit::max(DIRECTORY_BYTES_MAX);
    Router::new()
        .route("/directory", get(directory::show).put(directory::replace).layer(directory_limit))
        .route("/managers", get(directory::list_managers))
        .route("/managers/{id}", get(directory::show_manager).put(directory::put_manager))
        .route("/counterparties", get(directory::list_counterparties))
        .route(
            "/counterparties/{id}",
            get(directory::show_counterparty).put(directory::put_counterparty),
        )
        .route("/lines", get(lines::list))
        .route("/lines/{line_id}", get(lines::show).put(directory::put_line))
        .route("/lines/{line_id}/pause", post(lines::pause))
        .route("/lines/{line_id}/resume", post(lines::resume))
        .route("/payments", get(payments::list).post(payments::create))
        .route("/payments/{id}", get(payments::show))
        .route("/payments/{id}/messages", get(history::of_payment))
        .route("/payments/{id}/hold", post(payments::hold))
        .route("/payments/{id}/release", post(payments::release))
        .route("/payments/{id}/cancel", post(payments::cancel))
        .route("/payments/{id}/retry", post(payments::retry))
        .route("/messages", get(messages::list).post(messages::create))
        .route("/messages/{id}", get(messages::show))
        .route("/messages/{id}/cancel", post(messages::cancel))
        .route("/messages/{id}/retry", post(messages::retry))
        .route("/actions", get(actions::list))
        .route("/actions/{id}", get(actions::show))
        .route("/actions/{id}/cancel", post(actions::cancel))
        .route("/actions/{id}/retry", post(actions::retry))
        .route("/users/{user_id}/lines", get(users::lines))
        .route("/users/{user_id}/treatments", get(history::of_user))
        .route("/treatments", get(treatments::list))
        .route("/treatments/{treatment_id}/close", post(actions::close))
        .route("/treatments/{treatment_id}/transfer", post(actions::transfer))
        .route("/treatments/{treatment_id}/assign", post(actions::assign))
        .route("/treatments/{treatment_id}", get(treatments::show))
        .route("/treatments/{treatment_id}/messages", get(history::of_treatment))
        .route("/changes", get(changes::list))
        .route("/changes/parked", get(parked::list))
        .route("/changes/parked/replay", post(parked::replay_all))
        .route("/changes/parked/{seq}/replay", post(parked::replay_one))
        .route("/search/messages", get(history::search))
        .route("/events", get(events::list))
        .route("/status", get(status::show))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(require_json))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // What says that it is larger than anything that is read is not waited for.
        .layer(RequestBodyLimitLayer::new(DIRECTORY_BYTES_MAX))
        .layer(from_fn_with_state(context.clone(), auth::require_token))
}

async fn no_such_route() -> Problem {
    Problem::new(Code::NotFound, "there is no such address; the API is under /api/v1")
}

async fn no_such_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this address does not take this method, see Allow")
}

/// Whether a content type says JSON.
pub(super) fn is_json_type(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Bodies of the API are JSON and say so; an empty one need not.
async fn require_json(request: Request, next: Next) -> Response {
    let has_body = matches!(*request.method(), Method::POST | Method::PUT);
    if has_body && !says_json(request.headers()) {
        let detail = "send Content-Type: application/json";
        return Problem::new(Code::UnsupportedMediaType, detail).into_response();
    }
    if has_body && is_encoded(request.headers()) {
        return Problem::new(Code::UnsupportedMediaType, NOT_ENCODED).into_response();
    }
    next.run(request).await
}

/// What is told to whoever sends a compressed body.
pub(super) const NOT_ENCODED: &str = "send the body as it is, without Content-Encoding";

/// Whether a body has to be unpacked first: a small one could unpack to anything.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let plain = |value: &HeaderValue| {
        let value = value.as_bytes().trim_ascii();
        value.is_empty() || value.eq_ignore_ascii_case(b"identity")
    };
    !headers.get_all(header::CONTENT_ENCODING).iter().all(plain)
}

fn says_json(headers: &HeaderMap) -> bool {
    let is_empty = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0")
        || !(headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING));
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    is_empty || content_type.is_some_and(is_json_type)
}

/// Refusals that axum makes by itself become problems too, and a failure of ours on the callback
/// is one that the platform repeats.
async fn problems_only(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let is_callback = path.is_some_and(|path| path.as_str().starts_with(CALLBACK));
    let response = next.run(request).await;
    let status = response.status();
    if is_callback && status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        let detail = "the event could not be stored; send it again";
        return Problem::new(Code::Unavailable, detail).into_response();
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == "application/problem+json") {
        return response;
    }
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Code::BodyTooLarge, "the body is too large").into_response()
        }
        status if status.is_client_error() => {
            Problem::new(Code::BadRequest, "the request cannot be read").into_response()
        }
        _ => response,
    }
}

/// At a stop nobody should keep his connection for a next request.
async fn say_goodbye(State(context): State<Context>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if context.tasks.is_stopping() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A mistake of ours is a problem like any other; its cause stays inside.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "without a text".to_owned());
    tracing::error!(panic = text, "a handler panicked: {text}");
    Problem::new(Code::Internal, "internal error").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type_whatever_stands_behind_it() {
        for yes in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
            assert!(is_json_type(yes), "{yes}");
        }
        for no in ["", "text/plain", "application/jsonp", "text/json+x", "image/x+json"] {
            assert!(!is_json_type(no), "{no}");
        }
    }
}
