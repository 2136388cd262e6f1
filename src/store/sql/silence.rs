//! Silence on lines: when each was heard of, and when it is looked at because it no longer is.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::rows::{micros, time};
use super::{Conn, Statement, in_list};
use crate::core::id::LineId;
use crate::core::silence::Watch;
use crate::core::time::Time;
use crate::store::error::Doing;
use crate::store::{Result, Rules};

/// Lines written in one statement.
const LINES_PER_STATEMENT: usize = 500;

/// What happened to a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sign {
    /// What is open on it has changed.
    Changed,
    /// An event that names it came in then.
    Heard(Time),
    /// It was looked at: `known_at` has been written.
    Looked,
}

impl Sign {
    /// This, and an event that came in at `at`.
    pub(super) fn heard(self, at: Time) -> Self {
        match self {
            Self::Heard(before) => Self::Heard(before.max(at)),
            Self::Changed | Self::Looked => Self::Heard(at),
        }
    }
}

#[derive(FromRow, PartialEq)]
struct WatchRow {
    line_id: String,
    known_at: Option<i64>,
    heard_at: Option<i64>,
    quiet_since: Option<i64>,
    quiet_looks: i64,
    look_at: Option<i64>,
    quietest: Option<i64>,
}

impl WatchRow {
    /// What is to be written; `None` if nothing changes.
    fn after(&self, sign: Sign, rules: &Rules) -> Option<(Option<i64>, Watch)> {
        let before = Watch {
            quiet_since: time(self.quiet_since),
            looks: self.quiet_looks,
            look_at: time(self.look_at),
        };
        let heard_at = match sign {
            Sign::Heard(at) => self.heard_at.max(Some(at.micros())),
            Sign::Changed | Sign::Looked => self.heard_at,
        };
        let (quietest, wait) = (time(self.quietest), rules.look_after_silence);
        let after = match (time(self.known_at), sign) {
            // Its first look is due as soon as its hooks are set.
            (None, _) => before,
            (Some(known_at), Sign::Looked) => before.after_look(quietest, known_at, wait),
            (Some(known_at), _) => before.after_events(quietest, known_at, wait),
        };
        (after != before || heard_at != self.heard_at).then_some((heard_at, after))
    }
}

/// Keeps the watch over these lines up to date, in the transaction that gave the signs.
pub(super) async fn watch(
    conn: &mut Conn,
    rules: &Rules,
    signs: &BTreeMap<LineId, Sign>,
) -> Result<()> {
    let lines: Vec<(&LineId, &Sign)> = signs.iter().collect();
    for chunk in lines.chunks(LINES_PER_STATEMENT) {
        let mut wanted = Statement::new(
            "SELECT l.line_id, l.known_at, l.heard_at, l.quiet_since, l.quiet_looks, l.look_at, \
             (SELECT MIN(t.heard_at) FROM treatments t WHERE t.line_id = l.line_id \
             AND t.ended_at IS NULL) AS quietest FROM lines l WHERE l.line_id",
        );
        in_list(&mut wanted, chunk.iter().map(|(line, _)| line));
        let rows: Vec<WatchRow> =
            wanted.build_query_as().fetch_all(&mut *conn).await.doing("load lines to watch")?;
        let written = rows.iter().filter_map(|row| {
            let sign = signs.get(&LineId::from(row.line_id.as_str()))?;
            row.after(*sign, rules).map(|(heard_at, watch)| (&*row.line_id, heard_at, watch))
        });
        write(conn, written.collect()).await?;
    }
    Ok(())
}

async fn write(conn: &mut Conn, watched: Vec<(&str, Option<i64>, Watch)>) -> Result<()> {
    if watched.is_empty() {
        return Ok(());
    }
    let mut update =
        Statement::new("WITH watched (line_id, heard_at, quiet_since, quiet_looks, look_at) AS (");
    update.push_values(watched, |mut row, (line, heard_at, watch)| {
        row.push_bind(line.to_owned())
            .push_bind(heard_at)
            .push_bind(micros(watch.quiet_since))
            .push_bind(watch.looks)
            .push_bind(micros(watch.look_at));
    });
    update.push(
        ") UPDATE lines SET heard_at = watched.heard_at, quiet_since = watched.quiet_since, \
         quiet_looks = watched.quiet_looks, look_at = watched.look_at FROM watched \
         WHERE lines.line_id = watched.line_id",
    );
    update.build().execute(conn).await.doing("write when lines were heard of").map(|_| ())
}
