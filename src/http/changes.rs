//! Changes of payments and treatments, one after the other.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::time::Instant;

use crate::feed::ChangeOut;
use crate::http::Context;
use crate::http::fields::Query;
use crate::http::follow::WAITING_MAX;
use crate::http::log::Waited;
use crate::http::page;
use crate::http::problem::{Code, Problem};
use crate::store::{Change, Changes, ChangesFrom};

/// The longest wait, in seconds: shorter than the minute after which proxies lose patience.
const WAIT_SECS_MAX: u64 = 50;

/// Changes in their order, and where to go on.
#[derive(Serialize)]
struct ChangesOut {
    items: Vec<ChangeOut>,
    /// Always there: the same as before when nothing came.
    next_cursor: String,
}

impl From<Changes> for ChangesOut {
    fn from(changes: Changes) -> Self {
        let next_cursor = changes.next.to_string();
        Self { items: changes.items.into_iter().map(Change::into).collect(), next_cursor }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    from: ChangesFrom,
    limit: i64,
    wait: Duration,
}

/// `GET /changes`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let asked = read(query.as_deref())?;
    let began = Instant::now();
    // Before anything is read: what comes after that must not be missed.
    let mut place = if asked.wait.is_zero() { None } else { context.follow.place() };
    let mut found = find(&context, asked.from, asked.limit).await?;
    let mut waited = Duration::ZERO;
    if found.items.is_empty() && !asked.wait.is_zero() {
        let Some(place) = &mut place else { return Err(too_many()) };
        let waits = Instant::now();
        while found.items.is_empty() && place.wait(found.next, began + asked.wait).await {
            found = find(&context, ChangesFrom::Behind(found.next), asked.limit).await?;
        }
        waited = waits.elapsed();
    }
    Ok((Extension(Waited(waited)), Json(ChangesOut::from(found))).into_response())
}

async fn find(context: &Context, from: ChangesFrom, limit: i64) -> Result<Changes, Problem> {
    context.store.changes(from, limit).await?.ok_or_else(|| {
        Problem::new(
            Code::CursorGone,
            "what came behind this cursor is no longer kept, or the database is not the one it is \
             of: GET /api/v1/changes?after=now and keep its next_cursor, read the lists of \
             payments and treatments anew, then go on behind that cursor",
        )
    })
}

fn too_many() -> Problem {
    let detail =
        format!("{WAITING_MAX} requests wait for changes already; try again, or ask without wait");
    Problem::new(Code::TooManyWaiting, detail)
}

fn read(query: Option<&str>) -> Result<Asked, Problem> {
    let query = Query::parse(query, &["after", "limit", "wait"]);
    let expected = "the next_cursor of an answer before, or now";
    let from = query.parsed("after", expected, |text| match text {
        "now" => Some(ChangesFrom::Now),
        _ => text.parse().ok().filter(|seq| *seq >= 0).map(ChangesFrom::Behind),
    });
    let expected = format!("a whole number of seconds from 0 to {WAIT_SECS_MAX}");
    let wait = query.parsed("wait", &expected, |text| {
        text.parse().ok().filter(|secs| *secs <= WAIT_SECS_MAX).map(Duration::from_secs)
    });
    let asked = Asked {
        from: from.unwrap_or(ChangesFrom::Oldest),
        limit: page::limit(&query),
        wait: wait.unwrap_or_default(),
    };
    query.finish(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::FieldError;

    #[test]
    fn a_reader_says_behind_what_how_many_and_how_long() {
        let all = Asked { from: ChangesFrom::Oldest, limit: 100, wait: Duration::ZERO };
        assert_eq!(read(None).unwrap(), all);
        let behind = Asked {
            from: ChangesFrom::Behind(7),
            limit: 3,
            wait: Duration::from_secs(WAIT_SECS_MAX),
        };
        assert_eq!(read(Some("after=7&limit=3&wait=50")).unwrap(), behind);
        assert_eq!(read(Some("after=now")).unwrap().from, ChangesFrom::Now);
        assert_eq!(read(Some("after=")).unwrap(), all);
    }

    #[test]
    fn what_cannot_be_a_cursor_or_a_wait_gets_a_sentence() {
        for bad in ["-1", "1.5", "x", "NOW", "99999999999999999999"] {
            assert_eq!(
                read(Some(&format!("after={bad}"))).unwrap_err().errors(),
                [FieldError::new("?after", "expected the next_cursor of an answer before, or now")]
            );
        }
        for bad in ["51", "-1", "1.5", "1s", "x"] {
            assert_eq!(
                read(Some(&format!("wait={bad}"))).unwrap_err().errors(),
                [FieldError::new("?wait", "expected a whole number of seconds from 0 to 50")]
            );
        }
    }
}
