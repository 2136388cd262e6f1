//! Which lines are open to which user, asked once and kept fresh by events.

use sqlx::FromRow;

use super::rows::{flag, micros, one_row, time, word};
use super::{Conn, Statement};
use crate::core::event::Event;
use crate::core::id::UserId;
use crate::core::line::LineState;
use crate::core::platform::{DirectoryAction, DirectoryEntry, PlatformLine, Subscription};
use crate::core::time::{Span, Time};
use crate::store::error::Doing;
use crate::store::{LineOfOurs, Result, UserLine};

/// How long a list is believed that no event has changed: an event may have been lost.
const BELIEVED_FOR: Span = Span::from_secs(3_600);
/// Lines told of at the most.
const LINES_MAX: i64 = 1_000;
/// Lines written by one statement.
const LINES_PER_STATEMENT: usize = 1_000;

#[derive(FromRow)]
struct UserLineRow {
    line_id: String,
    expires_at: Option<i64>,
    our_name: Option<String>,
    platform_name: Option<String>,
    manager_id: Option<String>,
    state: Option<String>,
    our_bots: i64,
}

/// The lines open to a user, ours first; `None` if they have to be asked for.
pub(super) async fn of_user(
    conn: &mut Conn,
    user: &UserId,
    now: Time,
) -> Result<Option<Vec<UserLine>>> {
    let known: (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM subscribers WHERE user_id = $1 AND asked_at > $2")
            .bind(user.as_str().to_owned())
            .bind(now.minus(BELIEVED_FOR).micros())
            .fetch_one(&mut *conn)
            .await
            .doing("see whether a user's lines are known")?;
    if known.0 == 0 {
        return Ok(None);
    }
    let rows: Vec<UserLineRow> = sqlx::query_as(
        "SELECT s.line_id, s.expires_at, l.name AS our_name, p.name AS platform_name, \
         l.manager_id, l.state, (SELECT COUNT(*) FROM hooks h \
         WHERE h.line_id = s.line_id AND h.kind = 'bot' AND h.state = 'set') \
         + (SELECT COUNT(*) FROM own_urls u WHERE u.url = p.hook_bot) AS our_bots \
         FROM subscriptions s LEFT JOIN lines l ON l.line_id = s.line_id AND l.present = 1 \
         LEFT JOIN platform_lines p ON p.line_id = s.line_id \
         WHERE s.user_id = $1 AND (s.expires_at IS NULL OR s.expires_at > $2) \
         ORDER BY CASE WHEN l.line_id IS NULL THEN 1 ELSE 0 END, l.position, s.line_id LIMIT $3",
    )
    .bind(user.as_str().to_owned())
    .bind(now.micros())
    .bind(LINES_MAX)
    .fetch_all(conn)
    .await
    .doing("list the lines open to a user")?;
    rows.into_iter().map(UserLineRow::into_line).collect::<Result<Vec<_>>>().map(Some)
}

impl UserLineRow {
    fn into_line(self) -> Result<UserLine> {
        let ours = match (self.manager_id, self.state) {
            (Some(manager), Some(state)) => Some(LineOfOurs {
                manager: manager.into(),
                state: word("lines", "state", &state, LineState::parse)?,
            }),
            _ => None,
        };
        Ok(UserLine {
            line: self.line_id.into(),
            name: self.our_name.or(self.platform_name),
            ours,
            bot_connected: self.our_bots > 0,
            expires_at: time(self.expires_at),
        })
    }
}

/// Writes down what the platform listed for a user when it was asked at `requested_at`; `false` if
/// an event has told something newer meanwhile, and nothing was written.
pub(super) async fn put(
    conn: &mut Conn,
    user: &UserId,
    listed: &[Subscription],
    requested_at: Time,
) -> Result<bool> {
    let is_newest = sqlx::query(
        "INSERT INTO subscribers (user_id, asked_at, changed_at) VALUES ($1, $2, $2) \
         ON CONFLICT (user_id) DO UPDATE SET asked_at = excluded.asked_at \
         WHERE subscribers.changed_at <= excluded.asked_at",
    )
    .bind(user.as_str().to_owned())
    .bind(requested_at.micros())
    .execute(&mut *conn)
    .await
    .doing("write that a user's lines are known")?;
    if !one_row(&is_newest) {
        return Ok(false);
    }
    sqlx::query("DELETE FROM subscriptions WHERE user_id = $1")
        .bind(user.as_str().to_owned())
        .execute(&mut *conn)
        .await
        .doing("forget the lines open to a user")?;
    for one in listed.iter().filter(|one| one.user == *user) {
        write(conn, one).await?;
    }
    Ok(true)
}

async fn write(conn: &mut Conn, one: &Subscription) -> Result<()> {
    sqlx::query(
        "INSERT INTO subscriptions (user_id, line_id, expires_at) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, line_id) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(one.user.as_str().to_owned())
    .bind(one.line.as_str().to_owned())
    .bind(micros(one.expires_at))
    .execute(conn)
    .await
    .doing("write that a line is open to a user")
    .map(|_| ())
}

/// Takes what an event tells of the platform's directory into account.
pub(super) async fn hear(conn: &mut Conn, event: &Event, heard_at: Time) -> Result<()> {
    let Some(change) = &event.directory else { return Ok(()) };
    let is_gone = change.action == DirectoryAction::Deleted;
    match &change.entry {
        DirectoryEntry::Subscription(one) => {
            touch(conn, &one.user, heard_at).await?;
            if is_gone {
                sqlx::query("DELETE FROM subscriptions WHERE user_id = $1 AND line_id = $2")
                    .bind(one.user.as_str().to_owned())
                    .bind(one.line.as_str().to_owned())
                    .execute(conn)
                    .await
                    .doing("write that a line is no longer open to a user")?;
            } else {
                write(conn, one).await?;
            }
        }
        DirectoryEntry::Person(person) if is_gone => {
            touch(conn, &person.id, heard_at).await?;
            sqlx::query("DELETE FROM subscriptions WHERE user_id = $1")
                .bind(person.id.as_str().to_owned())
                .execute(conn)
                .await
                .doing("forget a user's lines")?;
        }
        DirectoryEntry::Line(line) if is_gone => {
            for table in ["platform_lines", "subscriptions"] {
                let mut delete = Statement::new("DELETE FROM ");
                delete.push(table).push(" WHERE line_id = ");
                delete.push_bind(line.line.as_str().to_owned());
                delete.build().execute(&mut *conn).await.doing("forget a line of the platform")?;
            }
        }
        DirectoryEntry::Line(line) => put_lines(conn, std::slice::from_ref(line), heard_at).await?,
        DirectoryEntry::Person(_) | DirectoryEntry::Competence(_) => {}
    }
    Ok(())
}

/// An answer that was asked for before this is older than the event.
async fn touch(conn: &mut Conn, user: &UserId, heard_at: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO subscribers (user_id, changed_at) VALUES ($1, $2) ON CONFLICT (user_id) \
         DO UPDATE SET changed_at = excluded.changed_at",
    )
    .bind(user.as_str().to_owned())
    .bind(heard_at.micros())
    .execute(conn)
    .await
    .doing("write that a user's lines have changed")
    .map(|_| ())
}

/// Remembers lines of the platform.
pub(super) async fn put_lines(conn: &mut Conn, lines: &[PlatformLine], now: Time) -> Result<()> {
    for chunk in lines.chunks(LINES_PER_STATEMENT) {
        let mut upsert = Statement::new(
            "INSERT INTO platform_lines (line_id, name, allow_bot, hook_bot, seen_at) ",
        );
        upsert.push_values(chunk, |mut row, line| {
            row.push_bind(line.line.as_str().to_owned())
                .push_bind(line.name.clone())
                .push_bind(flag(line.allow_bot))
                .push_bind(line.hook_bot.clone())
                .push_bind(now.micros());
        });
        upsert.push(
            " ON CONFLICT (line_id) DO UPDATE SET name = excluded.name, \
             allow_bot = excluded.allow_bot, hook_bot = excluded.hook_bot, \
             seen_at = excluded.seen_at",
        );
        upsert.build().execute(&mut *conn).await.doing("remember lines of the platform")?;
    }
    Ok(())
}

/// After a time in which nobody could hear, every list is asked for anew.
pub(super) async fn forget(conn: &mut Conn) -> Result<()> {
    sqlx::query("UPDATE subscribers SET asked_at = NULL")
        .execute(conn)
        .await
        .doing("forget which lines are open to whom")
        .map(|_| ())
}
