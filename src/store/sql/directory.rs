//! The directory: managers, lines, counterparties.

use std::collections::BTreeSet;

use super::rows::flag;
use super::{Conn, lines, payments};
use crate::core::id::LineId;
use crate::core::time::Time;
use crate::store::error::Doing;
use crate::store::{Counterparty, Directory, LineEntry, Manager, Result};

pub(super) async fn replace(conn: &mut Conn, directory: &Directory, now: Time) -> Result<()> {
    for statement in [
        "UPDATE managers SET present = 0",
        "UPDATE lines SET present = 0",
        "UPDATE counterparties SET present = 0",
    ] {
        sqlx::query(statement).execute(&mut *conn).await.doing("take the old directory away")?;
    }
    for manager in &directory.managers {
        upsert_manager(conn, manager).await?;
    }
    for line in &directory.lines {
        upsert_line(conn, line, now).await?;
    }
    for counterparty in &directory.counterparties {
        upsert_counterparty(conn, counterparty).await?;
    }
    // A line that comes back later is a new one: nobody looked after its hooks meanwhile.
    for statement in [
        "UPDATE lines SET hooked_at = NULL, known_at = NULL, look_at = NULL, look_failures = 0, \
         quiet_since = NULL, quiet_looks = 0 WHERE present = 0",
        "DELETE FROM hooks WHERE line_id IN (SELECT line_id FROM lines WHERE present = 0)",
    ] {
        sqlx::query(statement).execute(&mut *conn).await.doing("forget lines that left")?;
    }
    payments::mark_all(conn).await?;
    settle(conn, now).await
}

/// What follows from any change of the directory. Payments whose counterparty or manager has
/// changed were marked before: they are looked at again in batches.
async fn settle(conn: &mut Conn, now: Time) -> Result<()> {
    let all: Vec<String> = sqlx::query_scalar("SELECT line_id FROM lines ORDER BY line_id")
        .fetch_all(&mut *conn)
        .await
        .doing("list the lines")?;
    let all: Vec<LineId> = all.into_iter().map(Into::into).collect();
    for chunk in all.chunks(LINES_PER_STATEMENT) {
        lines::refresh(conn, &chunk.iter().cloned().collect::<BTreeSet<_>>(), now).await?;
    }
    sqlx::query("UPDATE managers SET due_at = $1 WHERE due_at IS NULL OR due_at > $1")
        .bind(now.micros())
        .execute(conn)
        .await
        .doing("make the managers due")
        .map(|_| ())
}

/// How many lines are written anew in one statement.
const LINES_PER_STATEMENT: usize = 1_000;

pub(super) async fn put_manager(conn: &mut Conn, manager: &Manager, now: Time) -> Result<()> {
    upsert_manager(conn, manager).await?;
    payments::mark_all(conn).await?;
    settle(conn, now).await
}

pub(super) async fn put_line(conn: &mut Conn, line: &LineEntry, now: Time) -> Result<bool> {
    if !has_manager(conn, line.manager.as_str()).await? {
        return Ok(false);
    }
    upsert_line(conn, line, now).await?;
    settle(conn, now).await?;
    Ok(true)
}

pub(super) async fn put_counterparty(
    conn: &mut Conn,
    counterparty: &Counterparty,
    now: Time,
) -> Result<bool> {
    if !has_manager(conn, counterparty.manager.as_str()).await? {
        return Ok(false);
    }
    upsert_counterparty(conn, counterparty).await?;
    payments::mark_counterparty(conn, &counterparty.id).await?;
    settle(conn, now).await?;
    Ok(true)
}

async fn has_manager(conn: &mut Conn, id: &str) -> Result<bool> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT present FROM managers WHERE id = $1 AND present = 1")
            .bind(id.to_owned())
            .fetch_optional(conn)
            .await
            .doing("look for a manager")?;
    Ok(found.is_some())
}

async fn upsert_manager(conn: &mut Conn, manager: &Manager) -> Result<()> {
    sqlx::query(
        "INSERT INTO managers (id, name, email, specialist_id, enabled, present) \
         VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
         email = excluded.email, specialist_id = excluded.specialist_id, \
         enabled = excluded.enabled, present = 1",
    )
    .bind(manager.id.as_str().to_owned())
    .bind(manager.name.clone())
    .bind(manager.email.clone())
    .bind(manager.specialist.as_ref().map(|id| id.as_str().to_owned()))
    .bind(flag(manager.enabled))
    .execute(conn)
    .await
    .doing("write a manager")
    .map(|_| ())
}

async fn upsert_line(conn: &mut Conn, line: &LineEntry, now: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO lines (line_id, name, manager_id, capacity, position, enabled, present, \
         state, since) VALUES ($1, $2, $3, $4, $5, $6, 1, 'unknown', $7) \
         ON CONFLICT (line_id) DO UPDATE SET name = excluded.name, \
         manager_id = excluded.manager_id, capacity = excluded.capacity, \
         position = excluded.position, enabled = excluded.enabled, present = 1",
    )
    .bind(line.line.as_str().to_owned())
    .bind(line.name.clone())
    .bind(line.manager.as_str().to_owned())
    .bind(line.capacity)
    .bind(line.position)
    .bind(flag(line.enabled))
    .bind(now.micros())
    .execute(conn)
    .await
    .doing("write a line")
    .map(|_| ())
}

async fn upsert_counterparty(conn: &mut Conn, counterparty: &Counterparty) -> Result<()> {
    sqlx::query(
        "INSERT INTO counterparties (id, name, inn, manager_id, user_id, present) \
         VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
         inn = excluded.inn, manager_id = excluded.manager_id, user_id = excluded.user_id, \
         present = 1",
    )
    .bind(counterparty.id.as_str().to_owned())
    .bind(counterparty.name.clone())
    .bind(counterparty.inn.clone())
    .bind(counterparty.manager.as_str().to_owned())
    .bind(counterparty.user.as_ref().map(|id| id.as_str().to_owned()))
    .execute(conn)
    .await
    .doing("write a counterparty")
    .map(|_| ())
}

type ManagerRow = (String, String, String, Option<String>, i64);
type LineRow = (String, String, String, i64, i64, i64);
type CounterpartyRow = (String, String, Option<String>, String, Option<String>);

pub(super) async fn load(conn: &mut Conn) -> Result<Directory> {
    let managers: Vec<ManagerRow> = sqlx::query_as(
        "SELECT id, name, email, specialist_id, enabled FROM managers WHERE present = 1 ORDER BY id",
    )
    .fetch_all(&mut *conn)
    .await
    .doing("load the managers")?;
    let lines: Vec<LineRow> = sqlx::query_as(
        "SELECT line_id, name, manager_id, capacity, position, enabled FROM lines \
         WHERE present = 1 ORDER BY line_id",
    )
    .fetch_all(&mut *conn)
    .await
    .doing("load the lines")?;
    let counterparties: Vec<CounterpartyRow> = sqlx::query_as(
        "SELECT id, name, inn, manager_id, user_id FROM counterparties WHERE present = 1 \
         ORDER BY id",
    )
    .fetch_all(conn)
    .await
    .doing("load the counterparties")?;
    let manager = |(id, name, email, specialist, enabled): ManagerRow| Manager {
        id: id.into(),
        name,
        email,
        specialist: specialist.map(Into::into),
        enabled: enabled == 1,
    };
    let line = |(line, name, manager, capacity, position, enabled): LineRow| LineEntry {
        line: line.into(),
        name,
        manager: manager.into(),
        capacity,
        position,
        enabled: enabled == 1,
    };
    let counterparty = |(id, name, inn, manager, user): CounterpartyRow| Counterparty {
        id: id.into(),
        name,
        inn,
        manager: manager.into(),
        user: user.map(Into::into),
    };
    Ok(Directory {
        managers: managers.into_iter().map(manager).collect(),
        lines: lines.into_iter().map(line).collect(),
        counterparties: counterparties.into_iter().map(counterparty).collect(),
    })
}
