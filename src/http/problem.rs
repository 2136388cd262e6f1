//! Problems: every refusal of the API as `application/problem+json` (RFC 9457).
//!
//! A [`Problem`] is what a handler returns when it cannot do what was asked. Its `code` is stable.
//! What is wrong inside is never told outside: it is logged whole where it becomes a problem, once
//! a second while the database fails everybody.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::store::StoreError;
use crate::telemetry::{self, Chain};

/// When to try again after a failure of ours, in seconds.
const RETRY_AFTER_SECS: &str = "5";
/// Errors of one body that are told at the most.
pub(super) const ERRORS_TOLD: usize = 50;

macro_rules! problem_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problem_codes! {
    /// There is no such address or entry.
    NotFound = "not_found", NOT_FOUND, "Not found";
    /// The address exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// No credentials, or not ones we know.
    Unauthorized = "unauthorized", UNAUTHORIZED, "Not authorised";
    /// A token that may only read.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// The body is not JSON, or not the JSON that is expected at all.
    InvalidJson = "invalid_json", BAD_REQUEST, "Not readable as JSON";
    /// The request itself is broken.
    BadRequest = "bad_request", BAD_REQUEST, "Not a proper request";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "Too slow";
    /// What came behind a cursor is no longer kept.
    CursorGone = "cursor_gone", GONE, "No longer kept";
    /// The body is not declared as JSON.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Not JSON";
    /// The body is too large.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "Too large";
    /// Well-formed, but wrong: see `errors`.
    ValidationFailed = "validation_failed", UNPROCESSABLE_ENTITY, "Something in it is wrong";
    /// The key was used for another payment.
    KeyConflict = "key_conflict", CONFLICT, "The key is taken";
    /// Several lines are open to the user, and the request names none.
    ChooseLine = "choose_line", CONFLICT, "Name the line";
    /// The line is not open to the user.
    LineNotOpen = "line_not_open", CONFLICT, "The line is not open to the user";
    /// The treatment is closed.
    TreatmentClosed = "treatment_closed", CONFLICT, "The treatment is closed";
    /// Somebody else's change of the treatment is under way.
    ActionUnderWay = "action_under_way", CONFLICT, "Another change is under way";
    /// The platform refuses it.
    PlatformRefused = "platform_refused", CONFLICT, "The platform refuses it";
    /// The payment is in a state that does not allow this.
    WrongState = "wrong_state", CONFLICT, "Not possible in this state";
    /// The payment's message is under way at this moment.
    BeingSent = "being_sent", CONFLICT, "Being sent at this moment";
    /// The platform does not answer, or not as it should.
    PlatformUnavailable = "platform_unavailable", BAD_GATEWAY, "The platform does not answer";
    /// As many requests wait for changes as may.
    TooManyWaiting = "too_many_waiting", SERVICE_UNAVAILABLE, "Too many requests wait";
    /// We cannot do it now; try again.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Not available now";
    /// A mistake of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error";
}

/// One thing that is wrong in a body or a query.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct FieldError {
    /// JSON pointer (RFC 6901) into the body, or `?name` for a query parameter.
    pub(super) pointer: String,
    /// A sentence.
    pub(super) message: String,
}

impl FieldError {
    pub(super) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    lines: Vec<NamedLine>,
}

/// A line to choose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct NamedLine {
    line_id: String,
    name: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), lines: Vec::new() }
    }

    /// There is no such entry.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// Everything that is wrong in a body or a query; at least one.
    pub(super) fn validation(mut errors: Vec<FieldError>) -> Self {
        let is_cut = errors.len() > ERRORS_TOLD;
        errors.truncate(ERRORS_TOLD);
        let detail = match errors.as_slice() {
            [only] => only.message.clone(),
            all if is_cut => format!("more than {} fields are wrong, see errors", all.len()),
            all => format!("{} fields are wrong, see errors", all.len()),
        };
        Self { code: Code::ValidationFailed, detail, errors, lines: Vec::new() }
    }

    /// The same with lines to choose from, by id and name.
    pub(super) fn with_lines(mut self, lines: Vec<(String, Option<String>)>) -> Self {
        self.lines = lines.into_iter().map(|(line_id, name)| NamedLine { line_id, name }).collect();
        self
    }

    #[cfg(test)]
    pub(super) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// One thing that is wrong in a body or a query.
    pub(super) fn field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError::new(pointer, message)])
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_contradiction() {
            let error = Chain(&error);
            tracing::error!(%error, "a request was not served: {error}");
        } else {
            telemetry::tell_outage("a request was not served", &error);
        }
        Self::new(Code::Unavailable, "the database is not available; try again")
    }
}

/// The body of a problem; the request id is added where the response passes by.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    lines: &'a [NamedLine],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:freeline:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id: super::log::current_request_id(),
            errors: &self.errors,
            lines: &self.lines,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.code.status(), json).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        match self.code {
            Code::Unavailable | Code::TooManyWaiting => {
                let after = HeaderValue::from_static(RETRY_AFTER_SECS);
                headers.insert(header::RETRY_AFTER, after);
            }
            Code::Unauthorized => {
                let bearer = HeaderValue::from_static("Bearer");
                headers.entry(header::WWW_AUTHENTICATE).or_insert(bearer);
            }
            _ => {}
        }
        response
    }
}
