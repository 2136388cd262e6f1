//! Loading as much of the tables as a decision can concern, and writing back what it changed.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::{self, NewChange};
use super::rows::{
    DISPATCH, DispatchRow, PAYMENT, PaymentRow, TREATMENT, TreatmentRow, micros, write_dispatch,
    write_payment,
};
use super::{Conn, Statement, in_list, lines, payments};
use crate::core::dispatch::{Dispatch, Phase};
use crate::core::event::{Event, TEXT};
use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::invariant::broken_by;
use crate::core::number::Number;
use crate::core::occupancy::View;
use crate::core::payment::PaymentState;
use crate::core::time::Time;
use crate::core::treatment::{LOADED_OF_PAIR, Treatment, Treatments};
use crate::store::Result;
use crate::store::error::Doing;

/// What a decision is about.
#[derive(Clone, Default, Debug)]
pub(super) struct About {
    pub(super) treatments: BTreeSet<TreatmentId>,
    pub(super) pairs: BTreeSet<(LineId, UserId)>,
    pub(super) numbers: BTreeSet<Number>,
    pub(super) dispatches: BTreeSet<i64>,
    /// Lines whose every open treatment and pending dispatch matters, and every treatment that
    /// was heard of since then.
    pub(super) lines: BTreeMap<LineId, Time>,
}

impl About {
    /// Everything that this event can concern.
    pub(super) fn add_event(&mut self, event: &Event) {
        self.treatments.extend(event.treatment.clone());
        let (Some(line), Some(user)) = (&event.line, &event.user) else { return };
        self.pairs.insert((line.clone(), user.clone()));
        if let Some(movement) = &event.movement {
            self.treatments.extend(movement.treatment.clone());
            self.pairs.extend(movement.line.clone().map(|line| (line, user.clone())));
        }
        if let (Some(TEXT), Some(text)) = (event.message_type, &event.text) {
            self.numbers.extend(Number::find_all(text));
        }
    }
}

/// How many values one statement binds at the most: SQLite takes 32,766, PostgreSQL 65,535.
const VALUES_PER_STATEMENT: usize = 8_000;
/// How often treatments that loaded ones moved to are loaded in turn.
const MOVES_FOLLOWED: usize = 16;

pub(super) async fn load(conn: &mut Conn, about: &About) -> Result<View> {
    let mut found = load_treatments(conn, about).await?;
    let dispatches = load_dispatches(conn, about, &found).await?;
    // A dispatch that came by its number may be on another chat than the event, and so may a
    // treatment that came by its id: whether it lives depends on the others of its chat.
    let chats = dispatches.iter().map(|d| (d.line.clone(), d.user.clone()));
    let chats = chats.chain(found.iter().map(|t| (t.line.clone(), t.user.clone())));
    let more = About {
        treatments: dispatches.iter().filter_map(|d| d.treatment.clone()).collect(),
        pairs: chats.filter(|pair| !about.pairs.contains(pair)).collect(),
        ..About::default()
    };
    found.extend(load_treatments(conn, &more).await?);
    let ids: BTreeSet<String> = dispatches.iter().map(|d| d.payment.as_str().to_owned()).collect();
    let mut view = View { treatments: Treatments::new(found), ..View::default() };
    for chunk in ids.into_iter().collect::<Vec<_>>().chunks(VALUES_PER_STATEMENT) {
        let mut select = Statement::new("SELECT ");
        select.push(PAYMENT).push(" FROM payments p WHERE p.id");
        in_list(&mut select, chunk);
        let rows: Vec<PaymentRow> =
            select.build_query_as().fetch_all(&mut *conn).await.doing("load payments")?;
        for row in rows {
            let payment = row.to_payment()?;
            view.payments.insert(payment.id.clone(), payment);
        }
    }
    view.dispatches = dispatches.into_iter().map(|dispatch| (dispatch.id, dispatch)).collect();
    Ok(view)
}

async fn load_treatments(conn: &mut Conn, about: &About) -> Result<Vec<Treatment>> {
    let mut found = Vec::new();
    let mut wanted: Vec<String> =
        about.treatments.iter().map(|id| id.as_str().to_owned()).collect();
    // Those that are named, and what they moved to.
    for _ in 0..MOVES_FOLLOWED {
        let mut next = Vec::new();
        for chunk in wanted.chunks(VALUES_PER_STATEMENT) {
            let mut select = Statement::new("SELECT ");
            select.push(TREATMENT).push(" FROM treatments t WHERE t.treatment_id");
            in_list(&mut select, chunk);
            let treatments = fetch_treatments(conn, &mut select).await?;
            let moved = treatments.iter().filter_map(|t| t.end.as_ref()?.moved_to.clone());
            next.extend(moved.map(|id| id.as_str().to_owned()));
            found.extend(treatments);
        }
        if next.is_empty() {
            break;
        }
        wanted = next;
    }
    // The open one and the newest ones of every pair.
    let pairs: Vec<&(LineId, UserId)> = about.pairs.iter().collect();
    for chunk in pairs.chunks(VALUES_PER_STATEMENT / 2) {
        for which in [OPEN_OF_PAIR, NEWEST_OF_PAIR] {
            let mut select = pairs_statement(chunk);
            select.push("SELECT ").push(TREATMENT).push(which);
            found.extend(fetch_treatments(conn, &mut select).await?);
        }
    }
    for (line, since) in &about.lines {
        let mut open = Statement::new("SELECT ");
        open.push(TREATMENT).push(" FROM treatments t WHERE t.ended_at IS NULL AND t.line_id = ");
        open.push_bind(line.as_str().to_owned());
        found.extend(fetch_treatments(conn, &mut open).await?);
        let mut heard = Statement::new("SELECT ");
        heard.push(TREATMENT).push(" FROM treatments t WHERE t.heard_at >= ");
        heard.push_bind(since.micros());
        heard.push(" AND t.line_id = ").push_bind(line.as_str().to_owned());
        found.extend(fetch_treatments(conn, &mut heard).await?);
    }
    Ok(found)
}

const OPEN_OF_PAIR: &str = " FROM treatments t JOIN pairs ON t.line_id = pairs.line_id \
     AND t.user_id = pairs.user_id WHERE t.ended_at IS NULL";

/// The [`LOADED_OF_PAIR`] newest: everything from the beginning of the eighth on.
const NEWEST_OF_PAIR: &str = " FROM pairs JOIN treatments t ON t.line_id = pairs.line_id \
     AND t.user_id = pairs.user_id AND t.opened_at >= COALESCE((SELECT u.opened_at \
     FROM treatments u WHERE u.line_id = pairs.line_id AND u.user_id = pairs.user_id \
     ORDER BY u.opened_at DESC LIMIT 1 OFFSET 7), 0)";
const _: () = assert!(LOADED_OF_PAIR == 8, "the offset in NEWEST_OF_PAIR is one less");

/// `WITH pairs(line_id, user_id) AS (VALUES …) `.
pub(super) fn pairs_statement(pairs: &[&(LineId, UserId)]) -> Statement {
    let mut statement = Statement::new("WITH pairs(line_id, user_id) AS (");
    statement.push_values(pairs, |mut row, (line, user)| {
        row.push_bind(line.as_str().to_owned()).push_bind(user.as_str().to_owned());
    });
    statement.push(") ");
    statement
}

pub(super) async fn fetch_treatments(
    conn: &mut Conn,
    select: &mut Statement,
) -> Result<Vec<Treatment>> {
    let rows: Vec<TreatmentRow> =
        select.build_query_as().fetch_all(conn).await.doing("load treatments")?;
    rows.into_iter().map(TreatmentRow::into_treatment).collect()
}

async fn load_dispatches(
    conn: &mut Conn,
    about: &About,
    treatments: &[Treatment],
) -> Result<Vec<Dispatch>> {
    let mut found = Vec::new();
    let select = || {
        let mut select = Statement::new("SELECT ");
        select.push(DISPATCH).push(" FROM dispatches d ");
        select
    };
    let pairs: Vec<&(LineId, UserId)> = about.pairs.iter().collect();
    for chunk in pairs.chunks(VALUES_PER_STATEMENT / 2) {
        let mut active = pairs_statement(chunk);
        active.push("SELECT ").push(DISPATCH).push(
            " FROM dispatches d JOIN pairs ON d.line_id = pairs.line_id \
             AND d.user_id = pairs.user_id \
             WHERE d.phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open')",
        );
        found.extend(fetch_dispatches(conn, &mut active).await?);
    }
    let ids = about.treatments.iter().chain(treatments.iter().map(|t| &t.id));
    let ids: BTreeSet<String> = ids.map(|id| id.as_str().to_owned()).collect();
    for chunk in ids.into_iter().collect::<Vec<_>>().chunks(VALUES_PER_STATEMENT) {
        let mut linked = select();
        linked.push("WHERE d.treatment_id IS NOT NULL AND d.treatment_id");
        in_list(&mut linked, chunk);
        found.extend(fetch_dispatches(conn, &mut linked).await?);
    }
    let numbers: Vec<String> = about.numbers.iter().map(ToString::to_string).collect();
    for chunk in numbers.chunks(VALUES_PER_STATEMENT) {
        let mut named = select();
        named.push("JOIN payments p ON p.id = d.payment_id WHERE p.number");
        in_list(&mut named, chunk);
        found.extend(fetch_dispatches(conn, &mut named).await?);
    }
    for id in &about.dispatches {
        let mut one = select();
        one.push("WHERE d.id = ").push_bind(*id);
        found.extend(fetch_dispatches(conn, &mut one).await?);
    }
    for line in about.lines.keys() {
        let mut pending = select();
        pending.push(
            "WHERE d.phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') AND d.line_id = ",
        );
        pending.push_bind(line.as_str().to_owned());
        found.extend(fetch_dispatches(conn, &mut pending).await?);
    }
    Ok(found)
}

pub(super) async fn fetch_dispatches(
    conn: &mut Conn,
    select: &mut Statement,
) -> Result<Vec<Dispatch>> {
    let rows: Vec<DispatchRow> =
        select.build_query_as().fetch_all(conn).await.doing("load dispatches")?;
    rows.into_iter().map(DispatchRow::into_dispatch).collect()
}

/// Writes what differs from `before`, and brings the lines' states up to date.
pub(super) async fn save(conn: &mut Conn, before: &View, after: &View, now: Time) -> Result<()> {
    debug_assert_eq!(broken_by(before, after), [], "a decision breaks a promise");
    make_way(conn, before, after).await?;
    write_treatments(conn, after).await?;
    let mut lines: BTreeSet<LineId> = after.treatments.lines_touched().clone();
    let mut changed: Vec<&Dispatch> = Vec::new();
    for (id, dispatch) in &after.dispatches {
        let old = before.dispatches.get(id);
        if old != Some(dispatch) {
            lines.insert(dispatch.line.clone());
            lines.extend(old.map(|old| old.line.clone()));
            changed.push(dispatch);
        }
    }
    // A payment has one dispatch that counts and a place one holder: what gives way comes first.
    changed.sort_by_key(|dispatch| match dispatch.phase {
        Phase::Refused | Phase::Undone => 0,
        Phase::Closed => 1,
        _ => 2,
    });
    for dispatch in changed {
        write_dispatch(conn, dispatch).await?;
    }
    let mut news = changed_treatments(before, after, now);
    for (id, payment) in &after.payments {
        if before.payments.get(id) != Some(payment) {
            news.push(write_payment(conn, payment, now).await?);
            // The directory may have changed while it was on its way.
            if before.payments.get(id).is_some_and(|old| old.state != PaymentState::Queued)
                && payment.state == PaymentState::Queued
            {
                payments::mark(conn, id).await?;
            }
            lines::wake_manager(conn, payment, now).await?;
        }
    }
    changes::write(conn, &news).await?;
    lines::refresh(conn, &lines, now).await
}

/// The changes of treatments that others can see.
fn changed_treatments(before: &View, after: &View, now: Time) -> Vec<NewChange> {
    let change = |treatment: &Treatment| {
        let serves =
            after.dispatches.values().filter(|d| d.treatment.as_ref() == Some(&treatment.id));
        let payment = serves.map(|dispatch| &dispatch.payment).min();
        NewChange::of_treatment(before.treatments.by_id(&treatment.id), treatment, payment, now)
    };
    after.treatments.changed().filter_map(change).collect()
}

/// Takes open treatments that change their line away from it first: whoever is written before them
/// may be the same user's new one there.
async fn make_way(conn: &mut Conn, before: &View, after: &View) -> Result<()> {
    let leaving = after.treatments.changed().filter(|treatment| {
        let old = before.treatments.by_id(&treatment.id);
        old.is_some_and(|old| old.is_open() && old.line != treatment.line)
    });
    let ids: Vec<String> = leaving.map(|treatment| treatment.id.as_str().to_owned()).collect();
    for chunk in ids.chunks(VALUES_PER_STATEMENT) {
        let mut update = Statement::new(
            "UPDATE treatments SET ended_at = last_event_at, end_kind = 'moved' \
             WHERE treatment_id",
        );
        in_list(&mut update, chunk);
        update.build().execute(&mut *conn).await.doing("take treatments away from their line")?;
    }
    Ok(())
}

async fn write_treatments(conn: &mut Conn, after: &View) -> Result<()> {
    let mut changed: Vec<&Treatment> = after.treatments.changed().collect();
    // One user has one open treatment on a line: the one that ended is written first.
    changed.sort_by_key(|treatment| treatment.is_open());
    let (ended, open): (Vec<_>, Vec<_>) = changed.into_iter().partition(|t| !t.is_open());
    for group in [ended, open] {
        for chunk in group.chunks(VALUES_PER_STATEMENT / 10) {
            let mut upsert = Statement::new(
                "INSERT INTO treatments (treatment_id, line_id, user_id, opened_at, opener, \
                 last_event_at, heard_at, ended_at, end_kind, moved_to) ",
            );
            upsert.push_values(chunk, |mut row, treatment| {
                let end = treatment.end.as_ref();
                row.push_bind(treatment.id.as_str().to_owned())
                    .push_bind(treatment.line.as_str().to_owned())
                    .push_bind(treatment.user.as_str().to_owned())
                    .push_bind(treatment.opened_at.micros())
                    .push_bind(treatment.opener.as_str())
                    .push_bind(treatment.last_event_at.micros())
                    .push_bind(treatment.heard_at.micros())
                    .push_bind(micros(end.map(|end| end.at)))
                    .push_bind(end.map(|end| end.kind.as_str()))
                    .push_bind(
                        end.and_then(|e| e.moved_to.as_ref()).map(|m| m.as_str().to_owned()),
                    );
            });
            upsert.push(
                " ON CONFLICT (treatment_id) DO UPDATE SET line_id = excluded.line_id, \
                 opened_at = excluded.opened_at, opener = excluded.opener, \
                 last_event_at = excluded.last_event_at, heard_at = excluded.heard_at, \
                 ended_at = excluded.ended_at, end_kind = excluded.end_kind, \
                 moved_to = excluded.moved_to",
            );
            upsert.build().execute(&mut *conn).await.doing("write treatments")?;
        }
    }
    Ok(())
}
