//! The callback URL: what the platform posts to.
//!
//! 200 with an empty body says that the event is on disk. Whatever goes wrong on our side is 503:
//! the platform repeats what it could not deliver. A 4xx is only for what is not an event at all.

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::connect::wire::{self, Unreadable};
use crate::http::Context;
use crate::http::problem::{Code, Problem};
use crate::store::NewEvent;

/// The largest event body.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Takes one event in.
pub(super) async fn receive(State(context): State<Context>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !context.callback.admits(&parts.headers) {
        let detail = "the credentials are not those the hook was registered with";
        let mut response = Problem::new(Code::Unauthorized, detail).into_response();
        let challenge = HeaderValue::from_static(context.callback.challenge());
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    match take_in(&context, &parts.headers, body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn take_in(context: &Context, headers: &HeaderMap, body: Body) -> Result<(), Problem> {
    if !is_json(headers) {
        let detail = "an event is JSON: send Content-Type: application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    if super::routes::is_encoded(headers) {
        return Err(Problem::new(Code::UnsupportedMediaType, super::routes::NOT_ENCODED));
    }
    let body = read(body).await?;
    let event = match wire::read_event(&body) {
        Ok(event) => Ok(event),
        Err(Unreadable::NotAnObject) => {
            return Err(Problem::new(Code::InvalidJson, "an event is one JSON object"));
        }
        // Kept as it came, and shown to people: nothing that came in is dropped.
        Err(unreadable @ Unreadable::Field { .. }) => Err(unreadable.to_string()),
    };
    let event = NewEvent { received_at: context.clock.now(), body, event };
    context.keeper.keep(event).await.map_err(|_| {
        Problem::new(Code::Unavailable, "the event could not be stored; send it again")
    })
}

/// The platform's header is not documented: none at all is taken for JSON.
fn is_json(headers: &HeaderMap) -> bool {
    match headers.get(header::CONTENT_TYPE) {
        None => true,
        Some(value) => value.to_str().is_ok_and(super::routes::is_json_type),
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    // What says that it is too large is not waited for.
    let stated = HttpBody::size_hint(&body).lower();
    if stated > u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        // The connection broke: nobody reads the answer, and the platform sends it again.
        Err(_) => Err(Problem::new(Code::BadRequest, "the body did not arrive whole")),
    }
}

fn too_large() -> Problem {
    Problem::new(Code::BodyTooLarge, format!("an event has at most {BODY_BYTES_MAX} bytes"))
}
