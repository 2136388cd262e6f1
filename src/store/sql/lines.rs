//! Lines: their states, kept up to date in the transaction that changes what they depend on.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::FromRow;

use super::dispatches::payment_row;
use super::rows::{
    DISPATCH, DispatchRow, LINE, LineRow, TREATMENT, TreatmentReportRow, one_row, time, word,
    write_dispatch, write_payment,
};
use super::{Conn, Statement, changes, hooks, in_list, payments};
use crate::core::dispatch::{Untouched, give_back, surplus};
use crate::core::id::{LineId, ManagerId, PaymentId};
use crate::core::line::LineState;
use crate::core::payment::{Payment, PaymentState};
use crate::core::time::Time;
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{LineEntry, LineFilter, LineReport, Result, Rules, TreatmentRecord};

/// Open treatments and reservations shown of one line at the most.
const SHOWN_PER_LINE: usize = 100;

/// Loads lines with their counts.
pub(super) async fn load(conn: &mut Conn, condition: &mut Statement) -> Result<Vec<LineRow>> {
    condition.build_query_as().fetch_all(conn).await.doing("load lines")
}

/// `SELECT … FROM lines l WHERE `.
pub(super) fn select() -> Statement {
    let mut select = Statement::new("SELECT ");
    select.push(LINE).push(" FROM lines l WHERE ");
    select
}

/// Writes the states of these lines anew, and has the dispatcher look at managers with room.
pub(super) async fn refresh(conn: &mut Conn, lines: &BTreeSet<LineId>, now: Time) -> Result<()> {
    for manager in refresh_states(conn, lines, now).await? {
        make_due(conn, &manager, now).await?;
    }
    Ok(())
}

/// Writes the states of these lines anew; answers the managers for whom that may change something.
pub(super) async fn refresh_states(
    conn: &mut Conn,
    lines: &BTreeSet<LineId>,
    now: Time,
) -> Result<BTreeSet<String>> {
    let mut to_look_at = BTreeSet::new();
    if lines.is_empty() {
        return Ok(to_look_at);
    }
    let mut rows = load_named(conn, lines).await?;
    if return_surplus(conn, &rows, now).await? {
        rows = load_named(conn, lines).await?;
    }
    for row in rows {
        let occupancy = row.occupancy();
        let state = occupancy.state();
        if state.as_str() != row.state {
            sqlx::query("UPDATE lines SET state = $1, since = $2 WHERE line_id = $3")
                .bind(state.as_str())
                .bind(now.micros())
                .bind(row.line_id.clone())
                .execute(&mut *conn)
                .await
                .doing("write a line's state")?;
        }
        // Once a line is known, its manager can be told that it is busy.
        let is_news = row.state == LineState::Unknown.as_str() && state != LineState::Unknown;
        if occupancy.room() > 0 || is_news {
            to_look_at.insert(row.manager_id);
        }
    }
    Ok(to_look_at)
}

async fn load_named(conn: &mut Conn, lines: &BTreeSet<LineId>) -> Result<Vec<LineRow>> {
    let mut wanted = select();
    wanted.push("l.line_id");
    in_list(&mut wanted, lines);
    // What follows from them follows in the same order on both engines.
    wanted.push(" ORDER BY l.line_id");
    load(conn, &mut wanted).await
}

#[derive(FromRow)]
struct UntouchedRow {
    id: i64,
    line_id: String,
    manager_id: Option<String>,
    user_present: i64,
}

/// Gives back the reservations that these lines cannot serve any more; answers whether any was.
async fn return_surplus(conn: &mut Conn, rows: &[LineRow], now: Time) -> Result<bool> {
    if rows.is_empty() {
        return Ok(false);
    }
    let mut wanted = Statement::new(
        "SELECT d.id, d.line_id, p.manager_id, (SELECT COUNT(*) FROM treatments t \
         WHERE t.line_id = d.line_id AND t.user_id = d.user_id AND t.ended_at IS NULL) \
         AS user_present FROM dispatches d JOIN payments p ON p.id = d.payment_id \
         WHERE d.phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') \
         AND d.phase = 'reserved' AND d.line_id",
    );
    in_list(&mut wanted, rows.iter().map(|row| &row.line_id));
    wanted.push(" ORDER BY d.id");
    let found: Vec<UntouchedRow> =
        wanted.build_query_as().fetch_all(&mut *conn).await.doing("load reservations")?;
    let mut any = false;
    for row in rows {
        let of_line = found.iter().filter(|one| one.line_id == row.line_id);
        let untouched = of_line.map(|one| Untouched {
            dispatch: one.id,
            user_present: one.user_present > 0,
            of_manager: one.manager_id.as_ref() == Some(&row.manager_id),
        });
        let untouched: Vec<Untouched> = untouched.collect();
        for (id, code) in surplus(row.occupancy(), &untouched) {
            return_one(conn, id, code, now).await?;
            any = true;
        }
    }
    Ok(any)
}

async fn return_one(conn: &mut Conn, id: i64, code: ReasonCode, now: Time) -> Result<()> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(DISPATCH).push(" FROM dispatches d WHERE d.id = ").push_bind(id);
    let row: DispatchRow =
        wanted.build_query_as().fetch_one(&mut *conn).await.doing("load a reservation")?;
    let mut dispatch = row.into_dispatch()?;
    let mut payment = payment_row(conn, &dispatch.payment).await?.to_payment()?;
    let reason = Reason::on_line(code, dispatch.line.clone());
    give_back(&mut dispatch, &mut payment, reason);
    write_dispatch(conn, &dispatch).await?;
    let change = write_payment(conn, &payment, now).await?;
    changes::write(conn, &[change]).await?;
    // The directory may have changed while it was on its way.
    payments::mark(conn, &payment.id).await?;
    wake_manager(conn, &payment, now).await
}

/// Has the dispatcher look at a manager from `at` on.
pub(super) async fn make_due(conn: &mut Conn, manager: &str, at: Time) -> Result<()> {
    sqlx::query("UPDATE managers SET due_at = $1 WHERE id = $2 AND (due_at IS NULL OR due_at > $1)")
        .bind(at.micros())
        .bind(manager.to_owned())
        .execute(conn)
        .await
        .doing("make a manager due")
        .map(|_| ())
}

/// Has the dispatcher look at the manager of a payment that waits.
pub(super) async fn wake_manager(conn: &mut Conn, payment: &Payment, now: Time) -> Result<()> {
    match &payment.manager {
        Some(manager) if payment.state == PaymentState::Queued => {
            make_due(conn, manager.as_str(), now).await
        }
        _ => Ok(()),
    }
}

pub(super) async fn pause(
    conn: &mut Conn,
    line: &LineId,
    reason: Option<&str>,
    now: Time,
) -> Result<bool> {
    let done = sqlx::query("UPDATE lines SET paused = $1 WHERE line_id = $2")
        .bind(reason.map(ToOwned::to_owned))
        .bind(line.as_str().to_owned())
        .execute(&mut *conn)
        .await
        .doing("pause or resume a line")?;
    refresh(conn, &BTreeSet::from([line.clone()]), now).await?;
    Ok(one_row(&done))
}

pub(super) async fn list(
    conn: &mut Conn,
    rules: &Rules,
    filter: &LineFilter,
) -> Result<Vec<LineReport>> {
    let look_after_silence = rules.look_after_silence;
    let mut wanted = select();
    wanted.push("l.line_id > ");
    wanted.push_bind(filter.after.as_ref().map_or("", LineId::as_str).to_owned());
    if let Some(line) = &filter.line {
        wanted.push(" AND l.line_id = ").push_bind(line.as_str().to_owned());
    }
    if let Some(manager) = &filter.manager {
        wanted.push(" AND l.manager_id = ").push_bind(manager.as_str().to_owned());
    }
    if let Some(state) = filter.state {
        wanted.push(" AND l.state = ").push_bind(state.as_str());
    }
    wanted.push(" ORDER BY l.line_id LIMIT ").push_bind(filter.limit);
    let rows = load(conn, &mut wanted).await?;
    let ids: Vec<String> = rows.iter().map(|row| row.line_id.clone()).collect();
    let mut treatments = open_treatments(conn, &ids).await?;
    let mut reservations = reservations(conn, &ids).await?;
    let mut hooks = hooks::of_lines(conn, &ids).await?;
    rows.into_iter()
        .map(|row| {
            let id = LineId::new(row.line_id.clone());
            Ok(LineReport {
                treatments: treatments.remove(&id).unwrap_or_default(),
                reservations: reservations.remove(&id).unwrap_or_default(),
                hooks: hooks.remove(&id).unwrap_or_default(),
                present: row.present == 1,
                state: word("lines", "state", &row.state, LineState::parse)?,
                since: Time::from_micros(row.since),
                known_at: time(row.signs.known_at),
                signs: row.signs.signs(),
                look_after_silence,
                paused: row.paused,
                entry: LineEntry {
                    line: id,
                    name: row.name,
                    manager: ManagerId::new(row.manager_id),
                    capacity: row.capacity,
                    position: row.position,
                    enabled: row.enabled == 1,
                },
            })
        })
        .collect()
}

async fn open_treatments(
    conn: &mut Conn,
    lines: &[String],
) -> Result<BTreeMap<LineId, Vec<TreatmentRecord>>> {
    let mut by_line: BTreeMap<LineId, Vec<TreatmentRecord>> = BTreeMap::new();
    if lines.is_empty() {
        return Ok(by_line);
    }
    let mut wanted = Statement::new("SELECT ");
    wanted
        .push(TREATMENT)
        .push(super::treatments::PAYMENT_OF)
        .push(" FROM treatments t WHERE t.ended_at IS NULL AND t.line_id");
    in_list(&mut wanted, lines);
    wanted.push(" ORDER BY t.opened_at, t.treatment_id");
    let rows: Vec<TreatmentReportRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load open treatments")?;
    for row in rows {
        let record = row.into_record()?;
        let of_line = by_line.entry(record.line.clone()).or_default();
        if of_line.len() < SHOWN_PER_LINE {
            of_line.push(record);
        }
    }
    Ok(by_line)
}

#[derive(FromRow)]
struct ReservationRow {
    line_id: String,
    payment_id: String,
    created_at: i64,
}

async fn reservations(
    conn: &mut Conn,
    lines: &[String],
) -> Result<BTreeMap<LineId, Vec<(PaymentId, Time)>>> {
    let mut by_line: BTreeMap<LineId, Vec<(PaymentId, Time)>> = BTreeMap::new();
    if lines.is_empty() {
        return Ok(by_line);
    }
    let mut wanted = Statement::new(
        "SELECT line_id, payment_id, created_at FROM dispatches \
         WHERE phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') AND phase <> 'open' \
         AND NOT (phase = 'in_doubt' AND slot IS NULL) AND line_id",
    );
    in_list(&mut wanted, lines);
    wanted.push(" ORDER BY id");
    let rows: Vec<ReservationRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load reservations")?;
    for row in rows {
        let of_line = by_line.entry(LineId::new(row.line_id)).or_default();
        if of_line.len() < SHOWN_PER_LINE {
            of_line.push((row.payment_id.into(), Time::from_micros(row.created_at)));
        }
    }
    Ok(by_line)
}
