//! Events: kept as they came, then taken into account.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::rows::{micros, word};
use super::silence::{self, Sign};
use super::view::{self, About};
use super::{Conn, Statement, dialect, holdings, outgoing, subscriptions, utterances};
use crate::core::event::{Event, EventSource};
use crate::core::id::LineId;
use crate::core::occupancy::{Verdict, View, apply_event};
use crate::core::outgoing::{hear, settle_by_treatments};
use crate::core::time::Time;
use crate::core::utterance::Utterance;
use crate::store::bounds::EVENT_BYTES_PER_BATCH;
use crate::store::error::Doing;
use crate::store::{EventFilter, EventRecord, EventState, Kept, NewEvent, Result, Rules};

const fn source_name(source: EventSource) -> &'static str {
    match source {
        EventSource::Line => "line",
        EventSource::Bot => "bot",
        EventSource::Unstated => "unstated",
    }
}

/// One statement for all: with 256 events it is the commit that costs, not the rows.
pub(super) async fn keep(conn: &mut Conn, events: &[NewEvent]) -> Result<Vec<Kept>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut insert = Statement::new(
        "INSERT INTO events (received_at, message_id, message_type, event_source, event_type, \
         message_time, line_id, user_id, author_id, treatment_id, body, state, problem) ",
    );
    let id = |text: &str| Some(text.to_owned());
    insert.push_values(events, |mut row, new| {
        let event = new.event.as_ref().ok();
        let state = if event.is_some() { EventState::New } else { EventState::Quarantined };
        let source = event.map_or(EventSource::Unstated, |event| event.source);
        row.push_bind(new.received_at.micros())
            .push_bind(event.and_then(|e| e.message_id.clone()))
            .push_bind(event.and_then(|e| e.message_type))
            .push_bind(source_name(source))
            .push_bind(event.and_then(|e| e.family.clone()))
            .push_bind(event.and_then(|e| micros(e.message_time)))
            .push_bind(event.and_then(|e| e.line.as_ref()).and_then(|l| id(l.as_str())))
            .push_bind(event.and_then(|e| e.user.as_ref()).and_then(|u| id(u.as_str())))
            .push_bind(event.and_then(|e| e.author.as_ref()).and_then(|a| id(a.as_str())))
            .push_bind(event.and_then(|e| e.treatment.as_ref()).and_then(|t| id(t.as_str())))
            .push_bind(new.body.clone())
            .push_bind(state.as_str())
            .push_bind(new.event.as_ref().err().cloned());
    });
    insert.push(
        " ON CONFLICT (message_id, message_type, event_source, line_id) \
         WHERE message_id IS NOT NULL AND message_type IS NOT NULL AND line_id IS NOT NULL \
         DO NOTHING RETURNING message_id, message_type, event_source, line_id",
    );
    let inserted: Vec<CopyKey> =
        insert.build_query_as().fetch_all(&mut *conn).await.doing("keep events")?;
    let mut inserted: Vec<Option<CopyKey>> = inserted.into_iter().map(Some).collect();
    let mut kept = Vec::with_capacity(events.len());
    let mut copies: BTreeMap<i64, i64> = BTreeMap::new();
    for new in events {
        let key = CopyKey::of(new);
        let is_new = match &key {
            None => true,
            // Each inserted row stands for the first of its copies in this batch.
            Some(key) => inserted.iter_mut().any(|row| row.take_if(|row| row == key).is_some()),
        };
        if let Some(key) = key.filter(|_| !is_new) {
            *copies.entry(original(conn, &key).await?).or_default() += 1;
        }
        kept.push(if is_new { Kept::New } else { Kept::Copy });
    }
    // In the order of their ids, as `apply` locks them: neither ever waits for the other twice.
    for (id, more) in copies {
        count_copies(conn, id, more).await?;
    }
    Ok(kept)
}

/// What makes two deliveries copies of one event (`design.md` 6).
#[derive(FromRow, PartialEq, Eq)]
struct CopyKey {
    message_id: Option<String>,
    message_type: Option<i64>,
    event_source: String,
    line_id: Option<String>,
}

impl CopyKey {
    fn of(new: &NewEvent) -> Option<Self> {
        let event = new.event.as_ref().ok()?;
        Some(Self {
            message_id: Some(event.message_id.clone()?),
            message_type: Some(event.message_type?),
            event_source: source_name(event.source).to_owned(),
            line_id: Some(event.line.as_ref()?.as_str().to_owned()),
        })
    }
}

/// The kept event that one with this key is a copy of.
async fn original(conn: &mut Conn, key: &CopyKey) -> Result<i64> {
    sqlx::query_scalar(
        "SELECT id FROM events WHERE message_id = $1 AND message_type = $2 \
         AND event_source = $3 AND line_id = $4",
    )
    .bind(key.message_id.clone())
    .bind(key.message_type)
    .bind(key.event_source.clone())
    .bind(key.line_id.clone())
    .fetch_one(conn)
    .await
    .doing("find what an event is a copy of")
}

async fn count_copies(conn: &mut Conn, id: i64, more: i64) -> Result<()> {
    sqlx::query("UPDATE events SET copies = copies + $1 WHERE id = $2")
        .bind(more)
        .bind(id)
        .execute(conn)
        .await
        .doing("count the copies of an event")
        .map(|_| ())
}

#[derive(FromRow)]
struct NewRow {
    id: i64,
    received_at: i64,
    body: Vec<u8>,
}

/// The oldest new events of a batch, up to the last that still fits into it. Their lengths are known
/// without their bodies, which are loaded only then.
const OLDEST_NEW: &str = "SELECT id, received_at, body FROM events WHERE state = 'new' AND id <= (\
     SELECT COALESCE(MAX(id), 0) FROM (\
     SELECT id, bytes, SUM(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS bytes_so_far FROM (\
     SELECT id, LENGTH(body) AS bytes FROM events WHERE state = 'new' ORDER BY id LIMIT ";

pub(super) async fn apply(conn: &mut Conn, rules: &Rules, now: Time, limit: i64) -> Result<usize> {
    let mut wanted = Statement::new(OLDEST_NEW);
    wanted.push_bind(limit).push(") AS oldest) AS summed WHERE bytes_so_far = bytes ");
    wanted.push("OR bytes_so_far <= ").push_bind(EVENT_BYTES_PER_BATCH);
    wanted.push(") ORDER BY id").push(dialect::FOR_UPDATE);
    let rows: Vec<NewRow> =
        wanted.build_query_as().fetch_all(&mut *conn).await.doing("load new events")?;
    if rows.is_empty() {
        return Ok(0);
    }
    let read: Vec<(i64, Time, std::result::Result<Event, String>)> = rows
        .into_iter()
        .map(|row| (row.id, Time::from_micros(row.received_at), (rules.read_event)(&row.body)))
        .collect();
    let mut about = About::default();
    for (_, _, event) in &read {
        if let Ok(event) = event {
            about.add_event(event);
        }
    }
    let before = view::load(conn, &about).await?;
    let mut after = before.clone();
    let mut fates: Vec<(i64, EventState)> = Vec::with_capacity(read.len());
    for (id, heard_at, event) in &read {
        let fate = match event {
            Ok(event) => match apply_event(&mut after, event, *heard_at) {
                Verdict::Applied => EventState::Applied,
                Verdict::Ignored => EventState::Ignored,
                Verdict::Quarantined => EventState::Quarantined,
            },
            Err(_) => EventState::Quarantined,
        };
        fates.push((*id, fate));
    }
    view::save(conn, &before, &after, now).await?;
    for (_, heard_at, event) in &read {
        if let Ok(event) = event {
            subscriptions::hear(conn, event, *heard_at).await?;
        }
    }
    let understood: Vec<(i64, Event)> = read
        .iter()
        .filter_map(|(id, _, event)| Some((*id, event.as_ref().ok()?.clone())))
        .collect();
    holdings::hear(conn, rules, &understood, (&before, &after), now).await?;
    hear_of_sent(conn, rules, &about, &read, (&before, &after), now).await?;
    silence::watch(conn, rules, &signs(&read, &after)).await?;
    utterances::write(conn, said(&read, &fates)).await?;
    for fate in [EventState::Applied, EventState::Ignored, EventState::Quarantined] {
        let ids = fates.iter().filter(|(_, one)| *one == fate).map(|(id, _)| *id);
        write_fate(conn, &ids.collect::<Vec<_>>(), fate).await?;
    }
    Ok(fates.len())
}

/// What the events tell that was said; of one that was not understood nothing is taken over.
fn said(
    read: &[(i64, Time, std::result::Result<Event, String>)],
    fates: &[(i64, EventState)],
) -> Vec<Utterance> {
    let understood =
        read.iter().zip(fates).filter(|(_, (_, fate))| *fate != EventState::Quarantined);
    let one = |((id, heard_at, event), _): (&(i64, Time, _), _)| {
        let event: &std::result::Result<Event, String> = event;
        Utterance::of(*id, event.as_ref().ok()?, *heard_at)
    };
    understood.filter_map(one).collect()
}

/// Takes into account what the events tell of messages, closes and transfers.
async fn hear_of_sent(
    conn: &mut Conn,
    rules: &Rules,
    about: &About,
    read: &[(i64, Time, std::result::Result<Event, String>)],
    (before, after): (&View, &View),
    now: Time,
) -> Result<()> {
    let has_echo = after.dispatches.values().any(|dispatch| {
        let old = before.dispatches.get(&dispatch.id);
        dispatch.echo.is_some() && old.is_some_and(|old| old.echo.is_none())
    });
    if has_echo {
        outgoing::remember_echo(conn, rules.policy.mode, now).await?;
    }
    let known = outgoing::of_chats(conn, &about.pairs, now).await?;
    if known.is_empty() {
        return Ok(());
    }
    let mut heard = known.clone();
    for (_, heard_at, event) in read {
        if let Ok(event) = event {
            hear(&mut heard, event, *heard_at);
        }
    }
    settle_by_treatments(&mut heard, &after.treatments, now);
    outgoing::save_all(conn, &known, &heard, now).await.map(|_| ())
}

/// The lines that the events name, heard of when the last of them came in, and those on which
/// something changed.
fn signs(
    read: &[(i64, Time, std::result::Result<Event, String>)],
    after: &View,
) -> BTreeMap<LineId, Sign> {
    let changed = after.treatments.changed().map(|treatment| &treatment.line);
    let touched = after.treatments.lines_touched().iter().chain(changed);
    let mut signs: BTreeMap<LineId, Sign> =
        touched.map(|line| (line.clone(), Sign::Changed)).collect();
    for (_, heard_at, event) in read {
        let Ok(event) = event else { continue };
        let other = event.movement.as_ref().and_then(|movement| movement.line.as_ref());
        for line in event.line.iter().chain(other) {
            let sign = signs.entry(line.clone()).or_insert(Sign::Changed);
            *sign = sign.heard(*heard_at);
        }
    }
    signs
}

async fn write_fate(conn: &mut Conn, ids: &[i64], fate: EventState) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut update = Statement::new("UPDATE events SET state = ");
    update.push_bind(fate.as_str());
    if fate == EventState::Quarantined {
        update.push(", problem = ").push_bind("it lacks a field that its type needs");
    }
    update.push(" WHERE state = 'new' AND id IN (");
    let mut list = update.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    update.push(")");
    update.build().execute(conn).await.doing("write what became of events").map(|_| ())
}

pub(super) async fn quarantine_oldest(conn: &mut Conn, problem: &str) -> Result<()> {
    sqlx::query(
        "UPDATE events SET state = 'quarantined', problem = $1 \
         WHERE id = (SELECT MIN(id) FROM events WHERE state = 'new')",
    )
    .bind(problem.to_owned())
    .execute(conn)
    .await
    .doing("set an event aside")
    .map(|_| ())
}

#[derive(FromRow)]
struct EventRow {
    id: i64,
    received_at: i64,
    copies: i64,
    state: String,
    problem: Option<String>,
    body: Vec<u8>,
}

pub(super) async fn list(conn: &mut Conn, filter: &EventFilter) -> Result<Vec<EventRecord>> {
    let mut select = Statement::new(
        "SELECT id, received_at, copies, state, problem, body FROM events WHERE id > ",
    );
    select.push_bind(filter.after);
    if let Some(line) = &filter.line {
        select.push(" AND line_id = ").push_bind(line.as_str().to_owned());
    }
    if let Some(treatment) = &filter.treatment {
        select.push(" AND treatment_id = ").push_bind(treatment.as_str().to_owned());
    }
    if let Some(message_type) = filter.message_type {
        select.push(" AND message_type = ").push_bind(message_type);
    }
    if let Some(state) = filter.state {
        select.push(" AND state = ").push_bind(state.as_str());
    }
    select.push(" ORDER BY id LIMIT ").push_bind(filter.limit);
    let rows: Vec<EventRow> = select.build_query_as().fetch_all(conn).await.doing("list events")?;
    rows.into_iter()
        .map(|row| {
            Ok(EventRecord {
                id: row.id,
                received_at: Time::from_micros(row.received_at),
                copies: row.copies,
                state: word("events", "state", &row.state, EventState::parse)?,
                problem: row.problem,
                body: row.body,
            })
        })
        .collect()
}
