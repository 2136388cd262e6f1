//! What was said before there was a table for it: taken from the kept events, a batch at a time.

use sqlx::FromRow;

use super::{Conn, Statement, utterances};
use crate::core::event::{FILE, TEXT};
use crate::core::time::Time;
use crate::core::utterance::Utterance;
use crate::store::bounds::EVENT_BYTES_PER_BATCH;
use crate::store::error::Doing;
use crate::store::{CaughtUp, EventState, Result, Rules};

/// The row of `catch_ups` that this is about.
const NAME: &str = "utterances";

#[derive(FromRow)]
struct Glance {
    id: i64,
    received_at: i64,
    message_type: Option<i64>,
    state: String,
    bytes: i64,
}

impl Glance {
    fn is_new(&self) -> bool {
        self.state == EventState::New.as_str()
    }

    /// Whether something was said, and it was understood.
    fn tells(&self) -> bool {
        matches!(self.message_type, Some(TEXT | FILE))
            && self.state != EventState::Quarantined.as_str()
    }
}

pub(super) async fn step(
    conn: &mut Conn,
    rules: &Rules,
    now: Time,
    limit: i64,
) -> Result<CaughtUp> {
    let wanted: Option<(i64, i64)> =
        sqlx::query_as("SELECT after_id, until FROM catch_ups WHERE name = $1")
            .bind(NAME)
            .fetch_optional(&mut *conn)
            .await
            .doing("see how far the past was taken over")?;
    let Some((after, until)) = wanted else { return Ok(CaughtUp::Whole) };
    let ahead = glance(conn, after, limit).await?;
    let is_over = ahead.first().map_or(now.micros(), |next| next.received_at) > until;
    if is_over {
        sqlx::query("DELETE FROM catch_ups WHERE name = $1")
            .bind(NAME)
            .execute(conn)
            .await
            .doing("write that the past was taken over")?;
        return Ok(CaughtUp::Whole);
    }
    let batch = batch(ahead, until);
    let Some(last) = batch.last().map(|event| event.id) else { return Ok(CaughtUp::ForNow) };
    let ids: Vec<i64> = batch.iter().filter(|event| event.tells()).map(|event| event.id).collect();
    let said = read(conn, rules, &ids).await?;
    utterances::write(conn, said).await?;
    sqlx::query("UPDATE catch_ups SET after_id = $1 WHERE name = $2")
        .bind(last)
        .bind(NAME)
        .execute(conn)
        .await
        .doing("write how far the past was taken over")?;
    Ok(CaughtUp::Partly)
}

/// The next events, without their bodies.
async fn glance(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<Glance>> {
    let mut next = Statement::new(
        "SELECT id, received_at, message_type, state, CAST(LENGTH(body) AS BIGINT) AS bytes \
         FROM events WHERE id > ",
    );
    next.push_bind(after).push(" ORDER BY id LIMIT ").push_bind(limit);
    next.build_query_as().fetch_all(conn).await.doing("look at events of the past")
}

/// Those that are dealt with now: up to one that is still to be taken into account, which writes down
/// what it tells by itself.
fn batch(ahead: Vec<Glance>, until: i64) -> Vec<Glance> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    for event in ahead {
        if event.is_new() || event.received_at > until {
            break;
        }
        if event.tells() {
            bytes += event.bytes;
        }
        if bytes > EVENT_BYTES_PER_BATCH && !batch.is_empty() {
            break;
        }
        batch.push(event);
    }
    batch
}

/// What these events tell.
async fn read(conn: &mut Conn, rules: &Rules, ids: &[i64]) -> Result<Vec<Utterance>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted = Statement::new("SELECT id, received_at, body FROM events WHERE id IN (");
    let mut list = wanted.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    wanted.push(") ORDER BY id");
    let rows: Vec<(i64, i64, Vec<u8>)> =
        wanted.build_query_as().fetch_all(conn).await.doing("load events of the past")?;
    let said = rows.into_iter().filter_map(|(id, received_at, body)| {
        let event = (rules.read_event)(&body).ok()?;
        Utterance::of(id, &event, Time::from_micros(received_at))
    });
    Ok(said.collect())
}
