//! Hooks: what is known of the registrations of our callback URL.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::FromRow;

use super::lines;
use super::rows::word;
use super::{Conn, Statement, in_list};
use crate::core::id::LineId;
use crate::core::time::Time;
use crate::store::error::Doing;
use crate::store::{HookRecord, HookState, HookTarget, Result, StoredHookKind};

#[derive(FromRow)]
pub(super) struct HookRow {
    line_id: String,
    kind: String,
    state: String,
    url: Option<String>,
    fingerprint: Option<String>,
    detail: Option<String>,
    checked_at: i64,
}

impl HookRow {
    pub(super) fn into_record(self) -> Result<(LineId, HookRecord)> {
        let record = HookRecord {
            kind: word("hooks", "kind", &self.kind, StoredHookKind::parse)?,
            state: word("hooks", "state", &self.state, HookState::parse)?,
            url: self.url,
            fingerprint: self.fingerprint,
            detail: self.detail,
            checked_at: Time::from_micros(self.checked_at),
        };
        Ok((self.line_id.into(), record))
    }
}

/// Hooks of these lines, or of all with an empty list.
pub(super) async fn of_lines(
    conn: &mut Conn,
    lines: &[String],
) -> Result<BTreeMap<LineId, Vec<HookRecord>>> {
    let mut wanted = Statement::new(
        "SELECT line_id, kind, state, url, fingerprint, detail, checked_at FROM hooks",
    );
    if !lines.is_empty() {
        wanted.push(" WHERE line_id");
        in_list(&mut wanted, lines);
    }
    wanted.push(" ORDER BY line_id, kind");
    let rows: Vec<HookRow> = wanted.build_query_as().fetch_all(conn).await.doing("load hooks")?;
    let mut by_line: BTreeMap<LineId, Vec<HookRecord>> = BTreeMap::new();
    for row in rows {
        let (line, record) = row.into_record()?;
        by_line.entry(line).or_default().push(record);
    }
    Ok(by_line)
}

pub(super) async fn targets(conn: &mut Conn) -> Result<Vec<HookTarget>> {
    let rows: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT line_id, hooked_at, known_at FROM lines WHERE present = 1 ORDER BY line_id",
    )
    .fetch_all(&mut *conn)
    .await
    .doing("list the lines of the directory")?;
    let mut hooks = of_lines(conn, &[]).await?;
    let targets = rows.into_iter().map(|(line, hooked_at, known_at)| {
        let line = LineId::new(line);
        let hooks = hooks.remove(&line).unwrap_or_default();
        HookTarget { line, hooked: hooked_at.is_some(), known: known_at.is_some(), hooks }
    });
    Ok(targets.collect())
}

pub(super) async fn record(conn: &mut Conn, line: &LineId, hook: &HookRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO hooks (line_id, kind, state, url, fingerprint, detail, checked_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (line_id, kind) DO UPDATE SET state = excluded.state, url = excluded.url, \
         fingerprint = excluded.fingerprint, detail = excluded.detail, \
         checked_at = excluded.checked_at",
    )
    .bind(line.as_str().to_owned())
    .bind(hook.kind.as_str())
    .bind(hook.state.as_str())
    .bind(hook.url.clone())
    .bind(hook.fingerprint.clone())
    .bind(hook.detail.clone())
    .bind(hook.checked_at.micros())
    .execute(conn)
    .await
    .doing("write what is known of a hook")
    .map(|_| ())
}

pub(super) async fn record_hooked(
    conn: &mut Conn,
    line: &LineId,
    hooked: bool,
    now: Time,
) -> Result<bool> {
    // What opened and closed while the hooks were not set was not heard: look anew.
    let statement = if hooked {
        "UPDATE lines SET hooked_at = $1, known_at = NULL, look_at = $1, look_failures = 0, \
         quiet_since = NULL, quiet_looks = 0 WHERE line_id = $2 AND hooked_at IS NULL"
    } else {
        "UPDATE lines SET hooked_at = NULL, known_at = NULL, look_at = NULL, \
         look_failures = $1 * 0, quiet_since = NULL, quiet_looks = 0 WHERE line_id = $2 AND hooked_at IS NOT NULL"
    };
    let done = sqlx::query(statement)
        .bind(now.micros())
        .bind(line.as_str().to_owned())
        .execute(&mut *conn)
        .await
        .doing("write whether a line's hooks are set")?;
    lines::refresh(conn, &BTreeSet::from([line.clone()]), now).await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn own_urls(conn: &mut Conn, url: &str) -> Result<Vec<String>> {
    sqlx::query("INSERT INTO own_urls (url) VALUES ($1) ON CONFLICT (url) DO NOTHING")
        .bind(url.to_owned())
        .execute(&mut *conn)
        .await
        .doing("remember our address")?;
    sqlx::query_scalar("SELECT url FROM own_urls ORDER BY url")
        .fetch_all(conn)
        .await
        .doing("list our addresses")
}
