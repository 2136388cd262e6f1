//! Notices: written in the transaction that finds no free line, sent by their own worker.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::changes::{self, NewChange};
use super::claims::{ABOUT, ABOUT_JOINS, AboutRow};
use super::rows::{PAYMENT, word, write_timeline};
use super::{Conn, Statement, dialect, dispatches};
use crate::core::dispatch::{Floor, can_tell_busy};
use crate::core::id::{ManagerId, PaymentId};
use crate::core::line::LineState;
use crate::core::retry::Backoff;
use crate::core::time::Time;
use crate::core::why::{Reason, ReasonCode};
use crate::store::error::Doing;
use crate::store::{ClaimedNotice, NoticeLine, NoticeOutcome, Result, Rules, StoreError};

/// Notices written in one round.
const PER_ROUND: i64 = 64;
/// Lines told of in one notice at the most.
const LINES_TOLD: usize = 50;
/// Expired claims dealt with in one transaction.
const EXPIRED_PER_BATCH: i64 = 256;

/// A line as a notice remembers it.
#[derive(Serialize, Deserialize)]
struct Fact {
    name: String,
    state: String,
    since: i64,
    open: i64,
}

/// Writes a notice for every payment of the manager that is due for the first time and has no
/// line to go to. Answers how many, and whether there are more.
pub(super) async fn write(
    conn: &mut Conn,
    rules: &Rules,
    manager: &ManagerId,
    floor: &Floor,
    now: Time,
) -> Result<(usize, bool)> {
    if !can_tell_busy(floor) {
        return Ok((0, false));
    }
    let waiting: Vec<(String, i64)> = sqlx::query_as(
        "SELECT id, episode FROM payments WHERE state = 'queued' AND noticed < episode AND recheck = 0 \
         AND manager_id = $1 ORDER BY received_at, id LIMIT $2",
    )
    .bind(manager.as_str().to_owned())
    .bind(PER_ROUND)
    .fetch_all(&mut *conn)
    .await
    .doing("find payments without a notice")?;
    if waiting.is_empty() {
        return Ok((0, false));
    }
    let email: String = sqlx::query_scalar("SELECT email FROM managers WHERE id = $1")
        .bind(manager.as_str().to_owned())
        .fetch_one(&mut *conn)
        .await
        .doing("load a manager's address")?;
    let facts = facts(conn, manager).await?;
    let state = if rules.notices_are_sent { "due" } else { "shown" };
    let mut insert = Statement::new(
        "INSERT INTO notices (payment_id, episode, manager_id, facts, state, due_at, created_at, \
         recipient) ",
    );
    insert.push_values(&waiting, |mut row, (payment, episode)| {
        row.push_bind(payment.clone())
            .push_bind(*episode)
            .push_bind(manager.as_str().to_owned())
            .push_bind(facts.clone())
            .push_bind(state)
            .push_bind(now.micros())
            .push_bind(now.micros())
            .push_bind(email.clone());
    });
    insert.push(" ON CONFLICT (payment_id, episode) DO NOTHING");
    insert.build().execute(&mut *conn).await.doing("write notices")?;
    let mut update = Statement::new("UPDATE payments SET noticed = episode WHERE id IN (");
    let mut list = update.separated(", ");
    for (payment, _) in &waiting {
        list.push_bind(payment.clone());
    }
    update.push(")");
    update.build().execute(conn).await.doing("mark payments as noticed")?;
    let full = i64::try_from(waiting.len()).is_ok_and(|n| n == PER_ROUND);
    Ok((waiting.len(), full))
}

async fn facts(conn: &mut Conn, manager: &ManagerId) -> Result<String> {
    let mut wanted = super::lines::select();
    wanted.push("l.manager_id = ").push_bind(manager.as_str().to_owned());
    wanted.push(" AND l.present = 1 ORDER BY l.position, l.line_id");
    let rows = super::lines::load(conn, &mut wanted).await?;
    let facts: Vec<Fact> = rows
        .into_iter()
        .take(LINES_TOLD)
        .map(|row| Fact {
            open: row.open_count,
            since: row.since,
            state: row.state,
            name: row.name,
        })
        .collect();
    serde_json::to_string(&facts)
        .map_err(|_| StoreError::inconsistent("notices", "facts", "not JSON"))
}

#[derive(FromRow)]
struct ClaimRow {
    notice_id: i64,
    fence: i64,
    episode_told: i64,
    recipient: String,
    facts: String,
    #[sqlx(flatten)]
    about: AboutRow,
}

pub(super) async fn claim(
    conn: &mut Conn,
    owner: &str,
    now: Time,
    lease_until: Time,
    limit: i64,
) -> Result<Vec<ClaimedNotice>> {
    // Chosen first, as dispatches are.
    let mut due = Statement::new("SELECT id FROM notices WHERE state = 'due' AND due_at <= ");
    due.push_bind(now.micros());
    due.push(" ORDER BY due_at, id LIMIT ").push_bind(limit).push(dialect::SKIP_LOCKED);
    let ids: Vec<(i64,)> =
        due.build_query_as().fetch_all(&mut *conn).await.doing("find notices to claim")?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut update = Statement::new("UPDATE notices SET state = 'sending', owner = ");
    update.push_bind(owner.to_owned());
    update.push(", lease_until = ").push_bind(lease_until.micros());
    update.push(", fence = fence + 1 WHERE state = 'due' AND id IN (");
    let mut list = update.separated(", ");
    for (id,) in &ids {
        list.push_bind(*id);
    }
    update.push(")");
    update.build().execute(&mut *conn).await.doing("claim notices")?;
    let mut claimed = Vec::with_capacity(ids.len());
    for (id,) in ids {
        let mut wanted = Statement::new(
            "SELECT n.id AS notice_id, n.fence, n.episode AS episode_told, n.recipient, n.facts, ",
        );
        wanted.push(PAYMENT).push(ABOUT);
        wanted.push(" FROM notices n JOIN payments p ON p.id = n.payment_id");
        wanted.push(ABOUT_JOINS).push("WHERE n.id = ").push_bind(id);
        let row: ClaimRow =
            wanted.build_query_as().fetch_one(&mut *conn).await.doing("load a claimed notice")?;
        claimed.push(row.into_claimed()?);
    }
    Ok(claimed)
}

impl ClaimRow {
    fn into_claimed(self) -> Result<ClaimedNotice> {
        let facts: Vec<Fact> = serde_json::from_str(&self.facts)
            .map_err(|_| StoreError::inconsistent("notices", "facts", &self.facts))?;
        let lines = facts.into_iter().map(|fact| {
            Ok(NoticeLine {
                name: fact.name,
                state: word("notices", "facts", &fact.state, LineState::parse)?,
                since: Time::from_micros(fact.since),
                open: fact.open,
            })
        });
        let about = self.about.into_about()?;
        Ok(ClaimedNotice {
            id: self.notice_id,
            fence: self.fence,
            payment: about.payment.id.clone(),
            episode: self.episode_told,
            recipient: self.recipient,
            lines: lines.collect::<Result<Vec<_>>>()?,
            about,
        })
    }
}

pub(super) async fn record(
    conn: &mut Conn,
    notice: i64,
    fence: i64,
    outcome: &NoticeOutcome,
    now: Time,
) -> Result<bool> {
    let claimed: Option<(String, i64)> = sqlx::query_as(
        "SELECT payment_id, failures FROM notices WHERE id = $1 AND fence = $2 \
         AND state = 'sending'",
    )
    .bind(notice)
    .bind(fence)
    .fetch_optional(&mut *conn)
    .await
    .doing("load a claimed notice")?;
    let Some((payment, failures)) = claimed else { return Ok(false) };
    let (state, detail, failures) = match outcome {
        NoticeOutcome::Sent => ("sent", None, failures),
        NoticeOutcome::NotSent(words) => ("due", Some(words), failures + 1),
        NoticeOutcome::Refused(words) => ("refused", Some(words), failures),
        NoticeOutcome::Unknown(words) => ("unknown", Some(words), failures),
    };
    sqlx::query(
        "UPDATE notices SET state = $1, detail = $2, failures = $3, due_at = $4, \
         lease_until = NULL, sent_at = CASE WHEN $1 = 'sent' THEN $5 ELSE sent_at END \
         WHERE id = $6",
    )
    .bind(state)
    .bind(detail.cloned())
    .bind(failures)
    .bind(now.plus(Backoff::MAIL.after(failures)).micros())
    .bind(now.micros())
    .bind(notice)
    .execute(&mut *conn)
    .await
    .doing("write what became of a notice")?;
    let code = match outcome {
        NoticeOutcome::Sent => ReasonCode::Noticed,
        NoticeOutcome::Refused(_) => ReasonCode::NoticeRefused,
        NoticeOutcome::NotSent(_) | NoticeOutcome::Unknown(_) => return Ok(true),
    };
    tell(conn, &payment.into(), Reason::plain(code).saying(detail.map_or("", |d| d)), now).await?;
    Ok(true)
}

/// Puts a notice into its payment's timeline.
async fn tell(conn: &mut Conn, payment: &PaymentId, reason: Reason, now: Time) -> Result<()> {
    let mut payment = dispatches::payment_row(conn, payment).await?.to_payment()?;
    let told = reason.code == ReasonCode::Noticed;
    payment.note(reason);
    if told {
        sqlx::query("UPDATE payments SET notified_at = $1, updated_at = $1 WHERE id = $2")
            .bind(now.micros())
            .bind(payment.id.as_str().to_owned())
            .execute(&mut *conn)
            .await
            .doing("write when a manager was told")?;
    }
    write_timeline(conn, &payment, now).await?;
    changes::write(conn, &[NewChange::of_payment(&payment, now)]).await
}

/// Whoever was sending it has vanished; it may have gone out, and one too many is worse.
pub(super) async fn expire(conn: &mut Conn, now: Time, survivor: Option<&str>) -> Result<usize> {
    let mut update = Statement::new(
        "UPDATE notices SET state = 'unknown', lease_until = NULL, \
         detail = 'the sender vanished before the answer came' WHERE id IN (SELECT id FROM notices \
         WHERE state = 'sending' AND (lease_until <= ",
    );
    update.push_bind(now.micros());
    if let Some(survivor) = survivor {
        update.push(" OR owner <> ").push_bind(survivor.to_owned());
    }
    update.push(") ORDER BY lease_until, id LIMIT ").push_bind(EXPIRED_PER_BATCH).push(")");
    let done = update.build().execute(conn).await.doing("find notices whose sender vanished")?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}
