//! Whether the process lives, and whether events can come in.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::health::Dependency;
use crate::http::Context;
use crate::telemetry;

/// How long the database may take to show that it writes.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// The process lives; says nothing about anything else.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// 503 only while events could not be stored, or when no more of them should come because of a
/// stop: with the platform or the mail server down they must still come in.
pub(super) async fn ready(State(context): State<Context>) -> Response {
    let database = match tokio::time::timeout(PROBE_WITHIN, context.store.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            telemetry::tell_outage("not ready", &error);
            Some("it does not take writes")
        }
        Err(_) => Some("it does not answer"),
    };
    let stopping = context.tasks.is_stopping();
    let platform = context.health.platform();
    let mail = context.health.mail();
    let is_down = |dependency: &Dependency| matches!(dependency, Dependency::Down { .. });
    let (status, word) = if stopping {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if database.is_some() {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    } else if is_down(&platform) || is_down(&mail) {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "ready")
    };
    let body = json!({
        "status": word,
        "stopping": stopping,
        "database": match database {
            None => json!({ "state": "up" }),
            Some(detail) => json!({ "state": "down", "detail": detail }),
        },
        "platform": show(&platform),
        "mail": if context.mail_configured { show(&mail) } else { json!({ "state": "off" }) },
    });
    (status, Json(body)).into_response()
}

/// A dependency as people read it.
fn show(dependency: &Dependency) -> Value {
    match dependency {
        Dependency::Untried => json!({ "state": "untried" }),
        Dependency::Up { at } => json!({ "state": "up", "at": at.to_string() }),
        Dependency::Down { since, detail } => {
            json!({ "state": "down", "since": since.to_string(), "detail": detail })
        }
    }
}
