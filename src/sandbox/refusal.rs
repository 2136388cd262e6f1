//! How the platform says no: a status, and almost never a word (`connect-api.md` 1.3, 5.6).

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::core::id::LineId;

use super::gate::status_alone;
use super::model::Refused;
use super::world::Shared;

/// The answer to a command, or its refusal.
pub(super) type Answer = Result<StatusCode, Refusal>;

/// Why a call is not done, as the platform words it: only one case has a body
/// (`connect-api.md` 1.3).
#[derive(Debug)]
pub(super) enum Refusal {
    Malformed,
    Forbidden,
    NotSubscriber,
    TooLarge,
    Told(u16),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST.into_response(),
            Self::Forbidden => StatusCode::FORBIDDEN.into_response(),
            Self::NotSubscriber => {
                let body = json!({"error": Refused::NotSubscriber.to_string()});
                (StatusCode::FORBIDDEN, Json(body)).into_response()
            }
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Self::Told(status) => status_alone(status),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotSubscriber => Self::NotSubscriber,
            _ => Self::Forbidden,
        }
    }
}

/// Reads a body.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Malformed)
}

/// Applies the fault `refuse`.
pub(super) fn refuse_if_told(shared: &Shared, line: &LineId) -> Result<(), Refusal> {
    shared.refusal(line).map_or(Ok(()), |status| Err(Refusal::Told(status)))
}
