//! Changes that are not sent to the receiver any more unless a person asks for it.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use crate::feed::ChangeOut;
use crate::http::Context;
use crate::http::fields::Query;
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::store::ParkedPush;

/// A change that was tried as often as it may be.
#[derive(Serialize)]
pub(super) struct ParkedOut {
    seq: i64,
    tries: i64,
    tried_at: Option<String>,
    detail: Option<String>,
    change: ChangeOut,
}

impl From<ParkedPush> for ParkedOut {
    fn from(parked: ParkedPush) -> Self {
        Self {
            seq: parked.change.seq,
            tries: parked.tries,
            tried_at: parked.tried_at.map(|at| at.to_string()),
            detail: parked.detail,
            change: parked.change.into(),
        }
    }
}

/// How many are sent again.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub(super) struct ReplayedOut {
    replayed: usize,
}

/// `GET /changes/parked`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ParkedOut>>, Problem> {
    let query = Query::parse(query.as_deref(), &["limit", "cursor"]);
    let seq = |text: &str| text.parse().ok().filter(|seq| *seq >= 0);
    let behind = query.parsed("cursor", "the next_cursor of the page before", seq);
    let asked = (behind.unwrap_or(0), page::limit(&query));
    let (behind, limit) = query.finish(asked)?;
    let found = context.store.parked_pushes(behind, limit + 1).await?;
    let cursor = |parked: &ParkedPush| parked.change.seq.to_string();
    Ok(Json(Page::of(found, limit, cursor, Into::into)))
}

/// `POST /changes/parked/replay`.
pub(super) async fn replay_all(
    State(context): State<Context>,
) -> Result<Json<ReplayedOut>, Problem> {
    let replayed = context.store.replay_pushes(None, context.clock.now()).await?;
    Ok(Json(ReplayedOut { replayed }))
}

/// `POST /changes/parked/{seq}/replay`.
pub(super) async fn replay_one(
    State(context): State<Context>,
    Path(seq): Path<String>,
) -> Result<Json<ReplayedOut>, Problem> {
    let nothing = || Problem::not_found("parked change");
    let seq: i64 = seq.parse().map_err(|_| nothing())?;
    match context.store.replay_pushes(Some(seq), context.clock.now()).await? {
        0 => Err(nothing()),
        replayed => Ok(Json(ReplayedOut { replayed })),
    }
}
