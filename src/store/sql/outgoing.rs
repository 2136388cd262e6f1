//! What is sent into chats: taken in, claimed in turn, answered, settled, and read.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::FromRow;

use super::rows::{flag, micros, time, word};
use super::{Conn, Statement, changes, dialect, keyboards};
use crate::core::dispatch::{Rehook, SendMode, proof_after_gap};
use crate::core::id::{LineId, OutgoingId, TreatmentId, UserId};
use crate::core::outcome::Answer;
use crate::core::outgoing::{
    self, ECHO_EXPECTED_WITHIN, Outgoing, OutgoingCommand, OutgoingCommandRefused, OutgoingKind,
    OutgoingReason, OutgoingState,
};
use crate::core::time::{Span, Time};
use crate::store::error::Doing;
use crate::store::{
    AddedOutgoing, ChangeKind, ClaimedOutgoing, FileNamed, NewOutgoing, OutgoingFilter,
    OutgoingRecord, Result, Rules,
};

/// Claims that ran out, and doubts, dealt with in one transaction.
const PER_BATCH: i64 = 256;
/// How many chats one statement asks for at the most.
const CHATS_PER_STATEMENT: usize = 4_000;

const OUTGOING: &str = "o.seq, o.id, o.key, o.content, o.kind, o.line_id, o.user_id, o.author_id, \
     o.mode, o.text, o.keyboard, o.notification_only, o.general_settings, o.file_id, o.file_name, \
     (SELECT f.bytes FROM files f WHERE f.file_id = o.file_id) AS file_bytes, \
     o.treatment_id, o.to_line_id, o.specialist_id, o.or_any, o.state, o.reason, o.words, o.fence, o.due_at, \
     o.lease_until, o.failures, o.attempts, o.claimed_at, o.sent_at, o.proof_at, o.rehook, o.echo, \
     o.created_at, o.updated_at";

#[derive(FromRow)]
struct OutgoingRow {
    seq: i64,
    id: String,
    key: Option<String>,
    content: String,
    kind: String,
    line_id: String,
    user_id: String,
    author_id: Option<String>,
    mode: String,
    text: Option<String>,
    keyboard: Option<String>,
    notification_only: i64,
    general_settings: i64,
    file_id: Option<String>,
    file_name: Option<String>,
    file_bytes: Option<i64>,
    treatment_id: Option<String>,
    to_line_id: Option<String>,
    specialist_id: Option<String>,
    or_any: i64,
    state: String,
    reason: String,
    words: Option<String>,
    fence: i64,
    due_at: i64,
    lease_until: Option<i64>,
    failures: i64,
    attempts: i64,
    claimed_at: Option<i64>,
    sent_at: Option<i64>,
    proof_at: Option<i64>,
    rehook: String,
    echo: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl OutgoingRow {
    fn to_outgoing(&self) -> Result<Outgoing> {
        Ok(Outgoing {
            id: self.id.as_str().into(),
            seq: self.seq,
            kind: word("outgoing", "kind", &self.kind, OutgoingKind::parse)?,
            line: self.line_id.as_str().into(),
            user: self.user_id.as_str().into(),
            author: self.author_id.as_deref().map(Into::into),
            mode: word("outgoing", "mode", &self.mode, parse_mode)?,
            text: self.text.clone(),
            file_name: self.file_name.clone(),
            treatment: self.treatment_id.as_deref().map(Into::into),
            state: word("outgoing", "state", &self.state, OutgoingState::parse)?,
            reason: word("outgoing", "reason", &self.reason, OutgoingReason::parse)?,
            words: self.words.clone(),
            fence: self.fence,
            due_at: Time::from_micros(self.due_at),
            lease_until: time(self.lease_until),
            failures: self.failures,
            claimed_at: time(self.claimed_at),
            sent_at: time(self.sent_at),
            proof_at: time(self.proof_at),
            rehook: word("outgoing", "rehook", &self.rehook, Rehook::parse)?,
            echo: self.echo.clone(),
        })
    }

    fn into_given(self) -> Result<NewOutgoing> {
        let file = match (self.file_id, self.file_name) {
            (Some(id), Some(name)) => {
                Some(FileNamed { id, name, bytes: self.file_bytes.unwrap_or(0) })
            }
            _ => None,
        };
        Ok(NewOutgoing {
            id: self.id.into(),
            key: self.key,
            content: self.content,
            kind: word("outgoing", "kind", &self.kind, OutgoingKind::parse)?,
            line: self.line_id.into(),
            user: self.user_id.into(),
            author: self.author_id.map(Into::into),
            mode: word("outgoing", "mode", &self.mode, parse_mode)?,
            text: self.text,
            keyboard: self.keyboard.as_deref().map(keyboards::read).transpose()?,
            notification_only: self.notification_only == 1,
            general_settings: self.general_settings == 1,
            file,
            treatment: self.treatment_id.map(Into::into),
            to_line: self.to_line_id.map(Into::into),
            specialist: self.specialist_id.map(Into::into),
            or_any: self.or_any == 1,
        })
    }

    fn into_record(self) -> Result<OutgoingRecord> {
        Ok(OutgoingRecord {
            now: self.to_outgoing()?,
            attempts: self.attempts,
            created_at: Time::from_micros(self.created_at),
            updated_at: Time::from_micros(self.updated_at),
            given: self.into_given()?,
        })
    }
}

const fn mode_name(mode: SendMode) -> &'static str {
    match mode {
        SendMode::Bot => "bot",
        SendMode::Specialist => "specialist",
    }
}

pub(super) fn parse_mode(text: &str) -> Option<SendMode> {
    [SendMode::Bot, SendMode::Specialist].into_iter().find(|mode| mode_name(*mode) == text)
}

fn select() -> Statement {
    let mut select = Statement::new("SELECT ");
    select.push(OUTGOING).push(" FROM outgoing o WHERE ");
    select
}

async fn fetch(conn: &mut Conn, wanted: &mut Statement) -> Result<Vec<OutgoingRow>> {
    wanted.build_query_as().fetch_all(conn).await.doing("load what is sent into chats")
}

pub(super) async fn add(
    conn: &mut Conn,
    rules: &Rules,
    new: &NewOutgoing,
    now: Time,
) -> Result<AddedOutgoing> {
    if let Some(before) = given_before(conn, new).await? {
        return Ok(before);
    }
    let mut new = new.clone();
    if new.kind.is_message() && new.mode == SendMode::Specialist && new.author.is_none() {
        new.author = specialist_of(conn, rules, &new.line).await?;
        if new.author.is_none() {
            return Ok(AddedOutgoing::NoAuthor);
        }
    }
    if let Some(treatment) = new.treatment.as_ref().filter(|_| !new.kind.is_message()) {
        let open: (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM treatments WHERE treatment_id = $1 AND ended_at IS NULL",
        )
        .bind(treatment.as_str().to_owned())
        .fetch_one(&mut *conn)
        .await
        .doing("see whether a treatment is open")?;
        if open.0 == 0 {
            return Ok(AddedOutgoing::TreatmentOver);
        }
    }
    let waits: (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM (SELECT 1 FROM outgoing WHERE line_id = $1 AND user_id = $2 \
         AND state IN ('queued', 'sending', 'in_doubt') AND due_at <> $3 LIMIT 1) AS before",
    )
    .bind(new.line.as_str().to_owned())
    .bind(new.user.as_str().to_owned())
    .bind(Time::NEVER.micros())
    .fetch_one(&mut *conn)
    .await
    .doing("see whether something is on its way into a chat")?;
    insert(conn, &new, waits.0 == 0, now).await?;
    note(conn, (&new.id, new.kind, &new.line), OutgoingState::Queued, now).await?;
    Ok(AddedOutgoing::New)
}

/// Who writes on a line when nobody says: the specialist of its manager, else of the settings.
async fn specialist_of(conn: &mut Conn, rules: &Rules, line: &LineId) -> Result<Option<UserId>> {
    let of_line = specialist_of_manager(conn, line).await?;
    Ok(of_line.or_else(|| rules.default_author.clone()))
}

/// The specialist of the manager of a line.
pub(super) async fn specialist_of_manager(
    conn: &mut Conn,
    line: &LineId,
) -> Result<Option<UserId>> {
    let found: Option<(Option<String>,)> = sqlx::query_as(
        "SELECT m.specialist_id FROM lines l JOIN managers m ON m.id = l.manager_id \
         WHERE l.line_id = $1",
    )
    .bind(line.as_str().to_owned())
    .fetch_optional(conn)
    .await
    .doing("look for the specialist of a line")?;
    Ok(found.and_then(|(specialist,)| specialist).map(Into::into))
}

/// The same message by its key; the same close, transfer or assignment while it is on its way, and
/// a close or a transfer that was done.
async fn given_before(conn: &mut Conn, new: &NewOutgoing) -> Result<Option<AddedOutgoing>> {
    let found: Option<(String, String)> = match (&new.key, &new.treatment) {
        (Some(key), _) => sqlx::query_as("SELECT id, content FROM outgoing WHERE key = $1")
            .bind(key.clone())
            .fetch_optional(conn)
            .await
            .doing("look for a message's key")?,
        (None, Some(treatment)) => sqlx::query_as(
            "SELECT id, content FROM outgoing WHERE treatment_id = $1 AND kind = $2 \
             AND (state IN ('queued', 'sending', 'in_doubt') OR (state = 'sent' \
             AND kind IN ('close', 'transfer') AND content = $3)) ORDER BY seq DESC LIMIT 1",
        )
        .bind(treatment.as_str().to_owned())
        .bind(new.kind.as_str())
        .bind(new.content.clone())
        .fetch_optional(conn)
        .await
        .doing("look for the same request")?,
        (None, None) => None,
    };
    Ok(found.map(|(id, content)| {
        let id = OutgoingId::new(id);
        if content == new.content { AddedOutgoing::Same(id) } else { AddedOutgoing::Conflict(id) }
    }))
}

async fn insert(conn: &mut Conn, new: &NewOutgoing, turn: bool, now: Time) -> Result<()> {
    let text = |id: Option<&str>| id.map(str::to_owned);
    let mut insert = Statement::new(
        "INSERT INTO outgoing (id, key, content, kind, line_id, user_id, author_id, mode, text, \
         keyboard, notification_only, general_settings, file_id, file_name, treatment_id, \
         to_line_id, specialist_id, or_any, state, reason, turn, due_at, rehook, created_at, updated_at) \
         VALUES (",
    );
    let mut row = insert.separated(", ");
    row.push_bind(new.id.as_str().to_owned())
        .push_bind(new.key.clone())
        .push_bind(new.content.clone())
        .push_bind(new.kind.as_str())
        .push_bind(new.line.as_str().to_owned())
        .push_bind(new.user.as_str().to_owned())
        .push_bind(text(new.author.as_ref().map(UserId::as_str)))
        .push_bind(mode_name(new.mode))
        .push_bind(new.text.clone())
        .push_bind(new.keyboard.as_ref().map(keyboards::write).transpose()?)
        .push_bind(flag(new.notification_only))
        .push_bind(flag(new.general_settings))
        .push_bind(new.file.as_ref().map(|file| file.id.clone()))
        .push_bind(new.file.as_ref().map(|file| file.name.clone()))
        .push_bind(text(new.treatment.as_ref().map(TreatmentId::as_str)))
        .push_bind(text(new.to_line.as_ref().map(LineId::as_str)))
        .push_bind(text(new.specialist.as_ref().map(UserId::as_str)))
        .push_bind(flag(new.or_any))
        .push_bind(OutgoingState::Queued.as_str())
        .push_bind(OutgoingReason::Accepted.as_str())
        .push_bind(flag(turn))
        .push_bind(now.micros())
        .push_bind(Rehook::No.as_str())
        .push_bind(now.micros())
        .push_bind(now.micros());
    insert.push(")");
    insert.build().execute(conn).await.doing("keep what is to be sent").map(|_| ())
}

/// What a claim looks for.
pub(super) fn claimable(rows: &mut Statement, now: Time) {
    rows.push("outgoing WHERE state = 'queued' AND turn = 1 AND due_at <= ");
    rows.push_bind(now.micros());
}

pub(super) async fn claim(
    conn: &mut Conn,
    owner: &str,
    now: Time,
    lease_until: Time,
) -> Result<Option<ClaimedOutgoing>> {
    // Chosen first and updated by its place, as dispatches are.
    let mut due = Statement::new("SELECT seq FROM ");
    claimable(&mut due, now);
    due.push(" ORDER BY due_at, seq LIMIT 1").push(dialect::SKIP_LOCKED);
    let found: Option<(i64,)> =
        due.build_query_as().fetch_optional(&mut *conn).await.doing("find what is to be sent")?;
    let Some((seq,)) = found else { return Ok(None) };
    sqlx::query(
        "UPDATE outgoing SET state = 'sending', owner = $1, lease_until = $2, fence = fence + 1, \
         attempts = attempts + 1, claimed_at = $3, updated_at = $3 \
         WHERE state = 'queued' AND seq = $4",
    )
    .bind(owner.to_owned())
    .bind(lease_until.micros())
    .bind(now.micros())
    .bind(seq)
    .execute(&mut *conn)
    .await
    .doing("claim what is to be sent")?;
    let row = one(conn, seq).await?;
    let rehook = word("outgoing", "rehook", &row.rehook, Rehook::parse)?;
    let fence = row.fence;
    Ok(Some(ClaimedOutgoing { seq, fence, lease_until, rehook, given: row.into_given()? }))
}

async fn one(conn: &mut Conn, seq: i64) -> Result<OutgoingRow> {
    let mut wanted = select();
    wanted.push("o.seq = ").push_bind(seq);
    wanted.build_query_as().fetch_one(conn).await.doing("load what is sent into a chat")
}

pub(super) async fn record_rehook(
    conn: &mut Conn,
    seq: i64,
    fence: i64,
    rehook: Rehook,
) -> Result<()> {
    sqlx::query(
        "UPDATE outgoing SET rehook = $1 WHERE seq = $2 AND fence = $3 AND state = 'sending'",
    )
    .bind(rehook.as_str())
    .bind(seq)
    .bind(fence)
    .execute(conn)
    .await
    .doing("write that a hook was set")
    .map(|_| ())
}

pub(super) async fn record_answer(
    conn: &mut Conn,
    rules: &Rules,
    (seq, fence): (i64, i64),
    answer: &Answer,
    now: Time,
) -> Result<bool> {
    let before = one(conn, seq).await?.to_outgoing()?;
    if before.fence != fence {
        return Ok(false);
    }
    let mut after = before.clone();
    outgoing::conclude(&mut after, answer, rules.policy.in_doubt_after, now);
    save(conn, &before, &after, now).await?;
    Ok(true)
}

pub(super) async fn expire(
    conn: &mut Conn,
    rules: &Rules,
    now: Time,
    survivor: Option<&str>,
) -> Result<usize> {
    let mut wanted = select();
    wanted.push("o.state = 'sending' AND (o.lease_until <= ").push_bind(now.micros());
    if let Some(survivor) = survivor {
        wanted.push(" OR o.owner <> ").push_bind(survivor.to_owned());
    }
    wanted.push(") ORDER BY o.lease_until, o.seq LIMIT ").push_bind(PER_BATCH);
    let detail = "the sender vanished before the answer came";
    change_all(conn, &mut wanted, now, |one| {
        outgoing::doubt(one, detail, rules.policy.in_doubt_after, now);
    })
    .await
}

const UNFINISHED: &str = "o.state IN ('queued', 'sending', 'in_doubt')";

/// Doubts about messages whose time has come.
pub(super) fn doubtful(rows: &mut Statement, now: Time) {
    rows.push("outgoing o WHERE o.state = 'in_doubt' AND o.kind IN ('text', 'file', 'image') ");
    rows.push("AND o.due_at <= ").push_bind(now.micros());
}

pub(super) async fn settle(conn: &mut Conn, rules: &Rules, now: Time) -> Result<usize> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(OUTGOING).push(" FROM ");
    doubtful(&mut wanted, now);
    wanted.push(" ORDER BY o.due_at, o.seq LIMIT ").push_bind(PER_BATCH);
    let rows = fetch(conn, &mut wanted).await?;
    let found = rows.len();
    for row in rows {
        let before = row.to_outgoing()?;
        let echoes_come = echoes_come(conn, &before).await?;
        let mut after = before.clone();
        outgoing::settle_by_silence(&mut after, echoes_come, rules.policy.in_doubt_after, now);
        save(conn, &before, &after, now).await?;
    }
    Ok(found)
}

/// Whether a message's echo would have been heard: the line's events reach us, and messages in its
/// mode were seen to come back.
async fn echoes_come(conn: &mut Conn, one: &Outgoing) -> Result<bool> {
    let found: (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM lines l JOIN echoes e ON e.mode = $2 \
         WHERE l.line_id = $1 AND l.hooked_at IS NOT NULL",
    )
    .bind(one.line.as_str().to_owned())
    .bind(mode_name(one.mode))
    .fetch_one(conn)
    .await
    .doing("see whether echoes come")?;
    Ok(found.0 > 0)
}

/// Remembers that messages in this mode come back.
pub(super) async fn remember_echo(conn: &mut Conn, mode: SendMode, now: Time) -> Result<()> {
    sqlx::query("INSERT INTO echoes (mode, seen_at) VALUES ($1, $2) ON CONFLICT (mode) DO NOTHING")
        .bind(mode_name(mode))
        .bind(now.micros())
        .execute(conn)
        .await
        .doing("remember that messages come back")
        .map(|_| ())
}

/// What events in these chats can concern: whatever is unfinished, and messages that were taken a
/// short while ago and not seen yet.
pub(super) async fn of_chats(
    conn: &mut Conn,
    chats: &BTreeSet<(LineId, UserId)>,
    now: Time,
) -> Result<BTreeMap<i64, Outgoing>> {
    let mut found = BTreeMap::new();
    let chats: Vec<&(LineId, UserId)> = chats.iter().collect();
    let since = now.minus(ECHO_EXPECTED_WITHIN).micros();
    // Copies for the other kind of hook come within moments of the first.
    let awaited = format!(
        "o.state = 'sent' AND o.echo IS NULL AND o.kind IN ('text', 'file', 'image') \
         AND o.claimed_at >= {since}"
    );
    let echoed = format!("o.echo IS NOT NULL AND o.claimed_at >= {since}");
    for chunk in chats.chunks(CHATS_PER_STATEMENT) {
        let mut wanted = super::view::pairs_statement(chunk);
        for (place, which) in [UNFINISHED, &awaited, &echoed].into_iter().enumerate() {
            wanted.push(if place == 0 { "SELECT " } else { " UNION ALL SELECT " });
            wanted.push(OUTGOING).push(" FROM outgoing o JOIN pairs ON ");
            wanted.push("o.line_id = pairs.line_id AND o.user_id = pairs.user_id WHERE ");
            wanted.push(which);
        }
        for row in fetch(conn, &mut wanted).await? {
            found.insert(row.seq, row.to_outgoing()?);
        }
    }
    Ok(found)
}

/// Writes what differs from `before`.
pub(super) async fn save_all(
    conn: &mut Conn,
    before: &BTreeMap<i64, Outgoing>,
    after: &BTreeMap<i64, Outgoing>,
    now: Time,
) -> Result<bool> {
    let mut changed = false;
    for (seq, one) in after {
        if let Some(old) = before.get(seq).filter(|old| *old != one) {
            save(conn, old, one, now).await?;
            changed = true;
            if old.echo.is_none() && one.echo.is_some() {
                remember_echo(conn, one.mode, now).await?;
            }
        }
    }
    Ok(changed)
}

/// Settles doubts about closes and transfers on a line by a look that was answered: what it shows
/// as open is still to be done.
pub(super) async fn record_look(
    conn: &mut Conn,
    rules: &Rules,
    line: &LineId,
    (requested_at, now): (Time, Time),
) -> Result<()> {
    let mut wanted = select();
    wanted.push("o.state IN ('queued', 'sending', 'in_doubt') AND o.state = 'in_doubt' ");
    wanted.push("AND o.kind IN ('close', 'transfer') AND o.line_id = ");
    wanted.push_bind(line.as_str().to_owned());
    let in_doubt_after = rules.policy.in_doubt_after;
    change_all(conn, &mut wanted, now, |one| {
        outgoing::settle_by_look(one, in_doubt_after, requested_at, now);
    })
    .await
    .map(|_| ())
}

/// Gives doubts time for the events that were missed while nobody could hear.
pub(super) async fn forget(conn: &mut Conn, rules: &Rules, away: Span, now: Time) -> Result<()> {
    let proof_at = proof_after_gap(away, rules.policy.in_doubt_after, now);
    sqlx::query(
        "UPDATE outgoing SET proof_at = $1 WHERE state IN ('sending', 'in_doubt') \
         AND state IN ('queued', 'sending', 'in_doubt') AND (proof_at IS NULL OR proof_at < $1)",
    )
    .bind(proof_at.micros())
    .execute(&mut *conn)
    .await
    .doing("give doubts about messages time for what was missed")?;
    sqlx::query("UPDATE outgoing SET due_at = $1 WHERE state = 'in_doubt' AND due_at < $1")
        .bind(now.plus(rules.policy.in_doubt_after).micros())
        .execute(conn)
        .await
        .doing("give doubts about messages time for their echoes")
        .map(|_| ())
}

pub(super) async fn command(
    conn: &mut Conn,
    id: &OutgoingId,
    (command, words): (OutgoingCommand, &str),
    now: Time,
) -> Result<Option<std::result::Result<(), OutgoingCommandRefused>>> {
    let mut wanted = select();
    wanted.push("o.id = ").push_bind(id.as_str().to_owned());
    let Some(row) = fetch(conn, &mut wanted).await?.pop() else { return Ok(None) };
    let before = row.to_outgoing()?;
    let mut after = before.clone();
    let done = outgoing::command(&mut after, command, words, now);
    if done.is_ok() {
        save(conn, &before, &after, now).await?;
    }
    Ok(Some(done))
}

async fn change_all(
    conn: &mut Conn,
    wanted: &mut Statement,
    now: Time,
    change: impl Fn(&mut Outgoing),
) -> Result<usize> {
    let rows = fetch(conn, wanted).await?;
    let found = rows.len();
    for row in rows {
        let before = row.to_outgoing()?;
        let mut after = before.clone();
        change(&mut after);
        save(conn, &before, &after, now).await?;
    }
    Ok(found)
}

/// Writes one; when it no longer holds its chat's turn, what came in next has it.
async fn save(conn: &mut Conn, before: &Outgoing, after: &Outgoing, now: Time) -> Result<()> {
    if before == after {
        return Ok(());
    }
    let mut update = Statement::new("UPDATE outgoing SET treatment_id = ");
    update.push_bind(after.treatment.as_ref().map(|id| id.as_str().to_owned()));
    update.push(", state = ").push_bind(after.state.as_str());
    update.push(", reason = ").push_bind(after.reason.as_str());
    update.push(", words = ").push_bind(after.words.clone());
    update.push(", due_at = ").push_bind(after.due_at.micros());
    update.push(", lease_until = ").push_bind(micros(after.lease_until));
    update.push(", failures = ").push_bind(after.failures);
    update.push(", sent_at = ").push_bind(micros(after.sent_at));
    update.push(", proof_at = ").push_bind(micros(after.proof_at));
    update.push(", rehook = ").push_bind(after.rehook.as_str());
    update.push(", echo = ").push_bind(after.echo.clone());
    update.push(", updated_at = ").push_bind(now.micros());
    update.push(" WHERE seq = ").push_bind(after.seq);
    update.build().execute(&mut *conn).await.doing("write what became of something sent")?;
    if before.state != after.state {
        note(conn, (&after.id, after.kind, &after.line), after.state, now).await?;
    }
    match (before.holds_turn(), after.holds_turn()) {
        (true, false) => give_turn(conn, &after.line, &after.user).await,
        (false, true) => {
            // What came in later waits for it once more.
            sqlx::query(
                "UPDATE outgoing SET turn = 0 WHERE line_id = $1 AND user_id = $2 AND turn = 1 \
                 AND state = 'queued'",
            )
            .bind(after.line.as_str().to_owned())
            .bind(after.user.as_str().to_owned())
            .execute(&mut *conn)
            .await
            .doing("take the turn in a chat back")?;
            give_turn(conn, &after.line, &after.user).await
        }
        _ => Ok(()),
    }
}

/// Tells whoever follows the changes what a message has become.
async fn note(
    conn: &mut Conn,
    (id, kind, line): (&OutgoingId, OutgoingKind, &LineId),
    state: OutgoingState,
    now: Time,
) -> Result<()> {
    if !kind.is_message() {
        return Ok(());
    }
    let told = state.as_str();
    changes::note(conn, ChangeKind::Message, id.as_str(), Some(line), told, now).await
}

/// Gives the chat's turn to the oldest that is still on its way, once no call is under way there.
async fn give_turn(conn: &mut Conn, line: &LineId, user: &UserId) -> Result<()> {
    sqlx::query(
        "UPDATE outgoing SET turn = 1 WHERE turn = 0 AND seq = (SELECT MIN(n.seq) FROM outgoing n \
         WHERE n.line_id = $1 AND n.user_id = $2 AND n.state IN ('queued', 'sending', 'in_doubt') \
         AND NOT (n.state = 'in_doubt' AND n.due_at = $3)) AND NOT EXISTS (SELECT 1 \
         FROM outgoing s WHERE s.line_id = $1 AND s.user_id = $2 AND s.state = 'sending')",
    )
    .bind(line.as_str().to_owned())
    .bind(user.as_str().to_owned())
    .bind(Time::NEVER.micros())
    .execute(conn)
    .await
    .doing("give the turn in a chat on")
    .map(|_| ())
}

pub(super) async fn details(conn: &mut Conn, id: &OutgoingId) -> Result<Option<OutgoingRecord>> {
    let mut wanted = select();
    wanted.push("o.id = ").push_bind(id.as_str().to_owned());
    fetch(conn, &mut wanted).await?.pop().map(OutgoingRow::into_record).transpose()
}

pub(super) async fn list(conn: &mut Conn, filter: &OutgoingFilter) -> Result<Vec<OutgoingRecord>> {
    let mut wanted = select();
    let kinds = if filter.messages { "o.kind IN" } else { "o.kind NOT IN" };
    wanted.push(kinds).push(" ('text', 'file', 'image')");
    let text = |id: &str| id.to_owned();
    if let Some(state) = filter.state {
        wanted.push(" AND o.state = ").push_bind(state.as_str());
    }
    if let Some(user) = &filter.user {
        wanted.push(" AND o.user_id = ").push_bind(text(user.as_str()));
    }
    if let Some(line) = &filter.line {
        wanted.push(" AND o.line_id = ").push_bind(text(line.as_str()));
    }
    if let Some(treatment) = &filter.treatment {
        wanted.push(" AND o.treatment_id = ").push_bind(text(treatment.as_str()));
    }
    if let Some(key) = &filter.key {
        wanted.push(" AND o.key = ").push_bind(key.clone());
    }
    if let Some(cursor) = &filter.cursor {
        wanted.push(" AND (o.created_at < ").push_bind(cursor.at.micros());
        wanted.push(" OR (o.created_at = ").push_bind(cursor.at.micros());
        wanted.push(" AND o.id < ").push_bind(cursor.id.clone()).push("))");
    }
    wanted.push(" ORDER BY o.created_at DESC, o.id DESC LIMIT ").push_bind(filter.limit);
    fetch(conn, &mut wanted).await?.into_iter().map(OutgoingRow::into_record).collect()
}
