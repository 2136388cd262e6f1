//! The SQL of both engines, compiled once for each.
//!
//! `super` is the engine: it names `Db`, opens and commits transactions, and holds the few words
//! of SQL that differ in its `dialect`. One file a subject; every function takes the connection of
//! a transaction that its caller began.

use async_trait::async_trait;

use super::{Db, Engine, dialect};
use crate::core::dispatch::Rehook;
use crate::core::id::{LineId, OutgoingId, PaymentId, TreatmentId, UserId};
use crate::core::occupancy::Listed;
use crate::core::outcome::Answer;
use crate::core::outgoing::{OutgoingCommand, OutgoingCommandRefused};
use crate::core::payment::{Command, CommandRefused};
use crate::core::platform::{PlatformLine, Subscription};
use crate::core::time::{Span, Time};
use crate::store::bounds::EVENTS_PER_BATCH;
use crate::store::error::Doing;
use crate::store::{
    Added, AddedOutgoing, Audited, CaughtUp, Changes, ChangesFrom, ClaimedDispatch, ClaimedNotice,
    ClaimedOutgoing, ClaimedPushes, ConversationRecord, Counterparty, Cursor, Directory,
    DispatchRound, EventFilter, EventRecord, HookRecord, HookTarget, Kept, Lease, LineEntry,
    LineFilter, LineReport, Manager, NewEvent, NewOutgoing, NewPayment, NextDue, NoticeOutcome,
    OutgoingFilter, OutgoingRecord, ParkedPush, PaymentDetails, PaymentFilter, PaymentRecord,
    PushOutcome, PushReport, Result, Rules, Search, StatusReport, Store, TreatmentFilter,
    TreatmentRecord, UserLine, UtteranceFilter, UtteranceRecord,
};
use crate::wake::Worker;

mod audit;
mod catch_up;
mod changes;
mod claims;
mod directory;
mod dispatches;
mod events;
mod holdings;
mod hooks;
mod keyboards;
mod leases;
mod lines;
mod looks;
mod notices;
mod outgoing;
mod payments;
mod pushes;
mod rows;
mod silence;
mod status;
mod subscriptions;
mod treatments;
mod utterances;
mod view;

/// A connection of this engine.
type Conn = <Db as sqlx::Database>::Connection;
/// A statement put together from parts; values are always bound.
type Statement = sqlx::QueryBuilder<Db>;

/// Whoever looks at what follows from most decisions: payments and lines may have changed.
const DECIDED: &[Worker] = &[Worker::Dispatcher, Worker::Feed];
/// Who has something to look at after events were taken into account.
const HEARD: &[Worker] = &[Worker::Dispatcher, Worker::Courier, Worker::Feed];
/// Who has something to look at after something was or is to be sent into a chat.
const SENT: &[Worker] = &[Worker::Courier, Worker::Feed];

/// The store on this engine.
#[derive(Debug)]
pub struct SqlStore {
    engine: Engine,
    rules: Rules,
}

impl SqlStore {
    pub(super) const fn new(engine: Engine, rules: Rules) -> Self {
        Self { engine, rules }
    }

    /// Whether there is anything to do, asked without standing in line for a serial transaction:
    /// a worker that was woken for nothing must not keep the others waiting.
    async fn has_any(&self, rows: impl FnOnce(&mut Statement) + Send) -> Result<bool> {
        let mut found = Statement::new("SELECT COUNT(*) FROM (SELECT 1 FROM ");
        rows(&mut found);
        found.push(" LIMIT 1) AS found");
        let looking = async {
            let mut conn = self.engine.read().await?;
            let found: (i64,) = found
                .build_query_as()
                .fetch_one(&mut *conn)
                .await
                .doing("see whether there is anything to do")?;
            Ok(found.0 > 0)
        };
        self.engine.bounded(looking).await
    }
}

/// ` IN (…)` of these values, each of them bound.
fn in_list(statement: &mut Statement, values: impl IntoIterator<Item = impl ToString>) {
    statement.push(" IN (");
    let mut list = statement.separated(", ");
    for value in values {
        list.push_bind(value.to_string());
    }
    statement.push(")");
}

/// Claims that have run out, or whose owner is not the survivor.
fn vanished(rows: &mut Statement, table: &str, now: Time, survivor: Option<&str>) {
    rows.push(table).push(" = 'sending' AND (lease_until <= ").push_bind(now.micros());
    if let Some(survivor) = survivor {
        rows.push(" OR owner <> ").push_bind(survivor.to_owned());
    }
    rows.push(")");
}

/// What `serial!` does, still to be awaited.
macro_rules! deciding {
    ($store:expr, $wake:expr, if |$result:pat_param| $worth:expr, |$conn:ident| $body:expr) => {
        async {
            let mut tx = $store.engine.serial().await?;
            let $conn = &mut *tx;
            let result = $body.await?;
            let $result = &result;
            let wake: &[Worker] = if $worth { $wake } else { &[] };
            $store.engine.commit(tx, wake).await?;
            Ok(result)
        }
    };
}

/// Runs `$body` in a serial transaction and commits, ringing for `$wake`, but only
/// `if` its result is worth it: a worker that rings for itself over nothing would never rest.
macro_rules! serial {
    ($store:expr, $wake:expr, |$conn:ident| $body:expr) => {
        serial!($store, $wake, if |_| true, |$conn| $body)
    };
    ($store:expr, $wake:expr, if |$result:pat_param| $worth:expr, |$conn:ident| $body:expr) => {
        $store.engine.bounded(deciding!($store, $wake, if |$result| $worth, |$conn| $body)).await
    };
}

/// The same for what may be as much as the directory is large.
macro_rules! serial_large {
    ($store:expr, $wake:expr, |$conn:ident| $body:expr) => {
        $store.engine.bounded_large(deciding!($store, $wake, if |_| true, |$conn| $body)).await
    };
}

/// Reads with `$body`.
macro_rules! read {
    ($store:expr, |$conn:ident| $body:expr) => {{
        let reading = async {
            let mut conn = $store.engine.read().await?;
            let $conn = &mut *conn;
            $body.await
        };
        $store.engine.bounded(reading).await
    }};
}

#[async_trait]
impl Store for SqlStore {
    async fn keep_events(&self, events: &[NewEvent]) -> Result<Vec<Kept>> {
        let keeping = async {
            let mut tx = self.engine.intake().await?;
            let kept = events::keep(&mut tx, events).await?;
            self.engine.commit(tx, &[Worker::Intake]).await?;
            Ok(kept)
        };
        self.engine.bounded(keeping).await
    }

    async fn apply_events(&self, now: Time, limit: i64) -> Result<usize> {
        if !self
            .has_any(|rows| {
                rows.push("events WHERE state = 'new'");
            })
            .await?
        {
            return Ok(0);
        }
        serial!(self, HEARD, if |applied| *applied > 0, |conn| events::apply(
            conn,
            &self.rules,
            now,
            limit
        ))
    }

    async fn quarantine_oldest(&self, problem: &str) -> Result<()> {
        serial!(self, &[], |conn| events::quarantine_oldest(conn, problem))
    }

    async fn list_events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>> {
        read!(self, |conn| events::list(conn, filter))
    }

    async fn replace_directory(&self, directory: &Directory, now: Time) -> Result<()> {
        let wake = &[Worker::Dispatcher, Worker::Reconciler, Worker::Feed];
        serial_large!(self, wake, |conn| { directory::replace(conn, directory, now) })
    }

    async fn directory(&self) -> Result<Directory> {
        read!(self, |conn| directory::load(conn))
    }

    async fn put_manager(&self, manager: &Manager, now: Time) -> Result<()> {
        serial!(self, DECIDED, |conn| directory::put_manager(conn, manager, now))
    }

    async fn put_line(&self, line: &LineEntry, now: Time) -> Result<bool> {
        let wake = &[Worker::Dispatcher, Worker::Reconciler, Worker::Feed];
        serial!(self, wake, |conn| directory::put_line(conn, line, now))
    }

    async fn put_counterparty(&self, counterparty: &Counterparty, now: Time) -> Result<bool> {
        serial!(self, DECIDED, |conn| directory::put_counterparty(conn, counterparty, now))
    }

    async fn pause_line(&self, line: &LineId, reason: Option<&str>, now: Time) -> Result<bool> {
        serial!(self, DECIDED, |conn| lines::pause(conn, line, reason, now))
    }

    async fn add_payment(&self, payment: &NewPayment, now: Time) -> Result<Added> {
        serial!(self, DECIDED, |conn| payments::add(conn, &self.rules, payment, now))
    }

    async fn command_payment(
        &self,
        id: &PaymentId,
        command: Command,
        words: &str,
        now: Time,
    ) -> Result<Option<std::result::Result<(), CommandRefused>>> {
        serial!(self, DECIDED, |conn| payments::command_one(
            conn,
            &self.rules,
            id,
            command,
            words,
            now
        ))
    }

    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentDetails>> {
        read!(self, |conn| payments::details(conn, id))
    }

    async fn list_payments(&self, filter: &PaymentFilter) -> Result<Vec<PaymentRecord>> {
        read!(self, |conn| payments::list(conn, filter))
    }

    async fn recheck_payments(&self, now: Time, limit: i64) -> Result<usize> {
        if !self
            .has_any(|rows| {
                rows.push("payments WHERE recheck = 1");
            })
            .await?
        {
            return Ok(0);
        }
        serial!(self, DECIDED, if |done| *done > 0, |conn| payments::recheck(
            conn,
            &self.rules,
            now,
            limit
        ))
    }

    async fn recheck_all(&self) -> Result<()> {
        serial_large!(self, &[Worker::Dispatcher], |conn| payments::mark_all(conn))
    }

    async fn dispatch(&self, now: Time) -> Result<Option<DispatchRound>> {
        if !self
            .has_any(|rows| {
                rows.push("managers WHERE due_at IS NOT NULL AND due_at <= ")
                    .push_bind(now.micros());
            })
            .await?
        {
            return Ok(None);
        }
        let wake = &[Worker::Sender, Worker::Notifier, Worker::Feed];
        serial!(self, wake, if |round| round.is_some(), |conn| dispatches::round(
            conn,
            &self.rules,
            now
        ))
    }

    async fn claim_dispatches(
        &self,
        owner: &str,
        now: Time,
        lease_until: Time,
        limit: i64,
    ) -> Result<Vec<ClaimedDispatch>> {
        if !self
            .has_any(|rows| {
                rows.push("dispatches WHERE phase = 'reserved' AND due_at <= ")
                    .push_bind(now.micros());
                rows.push(claims::SENDABLE);
            })
            .await?
        {
            return Ok(Vec::new());
        }
        serial!(self, &[], |conn| claims::claim(conn, owner, now, lease_until, limit))
    }

    async fn record_rehook(&self, dispatch: i64, fence: i64, rehook: Rehook) -> Result<()> {
        serial!(self, &[], |conn| claims::record_rehook(conn, dispatch, fence, rehook))
    }

    async fn record_answer(
        &self,
        dispatch: i64,
        fence: i64,
        answer: &Answer,
        now: Time,
    ) -> Result<bool> {
        let wake = match answer {
            Answer::Done => &[Worker::Feed][..],
            Answer::NotDone { .. } | Answer::Refused { .. } => {
                &[Worker::Sender, Worker::Dispatcher, Worker::Feed][..]
            }
            Answer::Unknown { .. } => &[Worker::Reconciler, Worker::Feed][..],
        };
        serial!(self, wake, |conn| claims::record_answer(
            conn,
            &self.rules,
            dispatch,
            fence,
            answer,
            now
        ))
    }

    async fn expire_claims(&self, now: Time, survivor: Option<&str>) -> Result<usize> {
        if !self.has_any(|rows| vanished(rows, "dispatches WHERE phase", now, survivor)).await? {
            return Ok(0);
        }
        let wake = &[Worker::Reconciler, Worker::Feed];
        serial!(self, wake, if |n| *n > 0, |conn| claims::expire_claims(
            conn,
            &self.rules,
            now,
            survivor
        ))
    }

    async fn lines_to_look_at(&self, now: Time, limit: i64) -> Result<Vec<LineId>> {
        read!(self, |conn| looks::due(conn, now, limit))
    }

    async fn record_look(
        &self,
        line: &LineId,
        listed: &[Listed],
        requested_at: Time,
        now: Time,
    ) -> Result<()> {
        // What waits is taken in first, a batch after the other as ever: in the transaction of the
        // look a large backlog would keep all others out.
        while self.apply_events(now, EVENTS_PER_BATCH).await? > 0 {}
        let wake = &[Worker::Dispatcher, Worker::Sender, Worker::Courier, Worker::Feed];
        serial!(self, wake, |conn| looks::record(
            conn,
            &self.rules,
            line,
            listed,
            requested_at,
            now
        ))
    }

    async fn postpone_look(&self, line: &LineId, now: Time) -> Result<()> {
        serial!(self, &[], |conn| looks::postpone(conn, line, now))
    }

    async fn forget_occupancy(&self, away: Span, now: Time) -> Result<()> {
        serial_large!(self, &[Worker::Reconciler, Worker::Feed], |conn| looks::forget(
            conn,
            &self.rules,
            away,
            now
        ))
    }

    async fn hook_targets(&self) -> Result<Vec<HookTarget>> {
        read!(self, |conn| hooks::targets(conn))
    }

    async fn record_hook(&self, line: &LineId, hook: &HookRecord) -> Result<()> {
        serial!(self, &[], |conn| hooks::record(conn, line, hook))
    }

    async fn record_hooked(&self, line: &LineId, hooked: bool, now: Time) -> Result<bool> {
        let wake = &[Worker::Reconciler, Worker::Dispatcher, Worker::Feed];
        serial!(self, wake, if |changed| *changed, |conn| hooks::record_hooked(
            conn, line, hooked, now
        ))
    }

    async fn own_urls(&self, url: &str) -> Result<Vec<String>> {
        serial!(self, &[], |conn| hooks::own_urls(conn, url))
    }

    async fn add_outgoing(&self, new: &NewOutgoing, now: Time) -> Result<AddedOutgoing> {
        serial!(self, SENT, |conn| outgoing::add(conn, &self.rules, new, now))
    }

    async fn outgoing(&self, id: &OutgoingId) -> Result<Option<OutgoingRecord>> {
        read!(self, |conn| outgoing::details(conn, id))
    }

    async fn list_outgoing(&self, filter: &OutgoingFilter) -> Result<Vec<OutgoingRecord>> {
        read!(self, |conn| outgoing::list(conn, filter))
    }

    async fn command_outgoing(
        &self,
        id: &OutgoingId,
        command: OutgoingCommand,
        words: &str,
        now: Time,
    ) -> Result<Option<std::result::Result<(), OutgoingCommandRefused>>> {
        let how = (command, words);
        serial!(self, SENT, |conn| outgoing::command(conn, id, how, now))
    }

    async fn claim_outgoing(
        &self,
        owner: &str,
        now: Time,
        lease_until: Time,
    ) -> Result<Option<ClaimedOutgoing>> {
        if !self.has_any(|rows| outgoing::claimable(rows, now)).await? {
            return Ok(None);
        }
        serial!(self, &[], |conn| outgoing::claim(conn, owner, now, lease_until))
    }

    async fn record_outgoing_rehook(&self, seq: i64, fence: i64, rehook: Rehook) -> Result<()> {
        serial!(self, &[], |conn| outgoing::record_rehook(conn, seq, fence, rehook))
    }

    async fn record_outgoing_answer(
        &self,
        seq: i64,
        fence: i64,
        answer: &Answer,
        now: Time,
    ) -> Result<bool> {
        let wake = &[Worker::Courier, Worker::Reconciler, Worker::Feed];
        let claim = (seq, fence);
        serial!(self, wake, |conn| outgoing::record_answer(conn, &self.rules, claim, answer, now))
    }

    async fn expire_outgoing(&self, now: Time, survivor: Option<&str>) -> Result<usize> {
        if !self.has_any(|rows| vanished(rows, "outgoing WHERE state", now, survivor)).await? {
            return Ok(0);
        }
        serial!(self, SENT, |conn| outgoing::expire(conn, &self.rules, now, survivor))
    }

    async fn settle_outgoing(&self, now: Time) -> Result<usize> {
        if !self.has_any(|rows| outgoing::doubtful(rows, now)).await? {
            return Ok(0);
        }
        // Its echo may be among the events that were not taken in yet.
        while self.apply_events(now, EVENTS_PER_BATCH).await? > 0 {}
        serial!(self, SENT, |conn| outgoing::settle(conn, &self.rules, now))
    }

    async fn lines_of_user(&self, user: &UserId, now: Time) -> Result<Option<Vec<UserLine>>> {
        read!(self, |conn| subscriptions::of_user(conn, user, now))
    }

    async fn put_lines_of_user(
        &self,
        user: &UserId,
        listed: &[Subscription],
        requested_at: Time,
    ) -> Result<bool> {
        serial!(self, &[], |conn| subscriptions::put(conn, user, listed, requested_at))
    }

    async fn put_platform_lines(&self, lines: &[PlatformLine], now: Time) -> Result<()> {
        serial!(self, &[], |conn| subscriptions::put_lines(conn, lines, now))
    }

    async fn claim_notices(
        &self,
        owner: &str,
        now: Time,
        lease_until: Time,
        limit: i64,
    ) -> Result<Vec<ClaimedNotice>> {
        if !self
            .has_any(|rows| {
                rows.push("notices WHERE state = 'due' AND due_at <= ").push_bind(now.micros());
            })
            .await?
        {
            return Ok(Vec::new());
        }
        serial!(self, &[], |conn| notices::claim(conn, owner, now, lease_until, limit))
    }

    async fn record_notice(
        &self,
        notice: i64,
        fence: i64,
        outcome: &NoticeOutcome,
        now: Time,
    ) -> Result<bool> {
        serial!(self, &[Worker::Feed], |conn| notices::record(conn, notice, fence, outcome, now))
    }

    async fn expire_notices(&self, now: Time, survivor: Option<&str>) -> Result<usize> {
        if !self.has_any(|rows| vanished(rows, "notices WHERE state", now, survivor)).await? {
            return Ok(0);
        }
        serial!(self, &[], |conn| notices::expire(conn, now, survivor))
    }

    async fn list_lines(&self, filter: &LineFilter) -> Result<Vec<LineReport>> {
        read!(self, |conn| lines::list(conn, &self.rules, filter))
    }

    async fn list_treatments(&self, filter: &TreatmentFilter) -> Result<Vec<TreatmentRecord>> {
        read!(self, |conn| treatments::list(conn, filter))
    }

    async fn treatment(&self, id: &TreatmentId) -> Result<Option<TreatmentRecord>> {
        read!(self, |conn| treatments::one(conn, id))
    }

    async fn changes(&self, from: ChangesFrom, limit: i64) -> Result<Option<Changes>> {
        read!(self, |conn| changes::read(conn, from, limit))
    }

    async fn newest_change(&self) -> Result<i64> {
        read!(self, |conn| changes::newest(conn))
    }

    async fn forget_changes(&self, before: Time, limit: i64) -> Result<usize> {
        if !self
            .has_any(|rows| {
                rows.push("changes WHERE seq = (SELECT MIN(seq) FROM changes)");
                rows.push(" AND seq < (SELECT MAX(seq) FROM changes) AND at < ");
                rows.push_bind(before.micros());
            })
            .await?
        {
            return Ok(0);
        }
        serial!(self, &[], |conn| changes::forget(conn, before, limit))
    }

    async fn begin_pushing(&self) -> Result<()> {
        serial!(self, &[Worker::Pusher], |conn| pushes::begin(conn))
    }

    async fn claim_pushes(
        &self,
        now: Time,
        lease_until: Time,
        limit: i64,
    ) -> Result<ClaimedPushes> {
        if !self
            .has_any(|rows| {
                rows.push("(SELECT seq FROM changes WHERE seq > (SELECT seq FROM pushing) ");
                rows.push("UNION ALL SELECT seq FROM pushes WHERE state <> 'parked' ");
                rows.push("AND due_at <= ").push_bind(now.micros()).push(") AS due ");
                rows.push("WHERE NOT EXISTS (SELECT 1 FROM pushing WHERE stopped_at IS NOT NULL)");
            })
            .await?
        {
            return Ok(ClaimedPushes::default());
        }
        serial!(self, &[], |conn| pushes::claim(conn, now, lease_until, limit))
    }

    async fn record_push(
        &self,
        seq: i64,
        fence: i64,
        outcome: &PushOutcome,
        now: Time,
    ) -> Result<bool> {
        // A place is free, and the next change of the same object may be sent.
        serial!(self, &[Worker::Pusher], |conn| pushes::record(conn, seq, fence, outcome, now))
    }

    async fn parked_pushes(&self, behind: i64, limit: i64) -> Result<Vec<ParkedPush>> {
        read!(self, |conn| pushes::parked(conn, behind, limit))
    }

    async fn replay_pushes(&self, seq: Option<i64>, now: Time) -> Result<usize> {
        serial!(self, &[Worker::Pusher], |conn| pushes::replay(conn, seq, now))
    }

    async fn next_push_due(&self, now: Time) -> Result<Option<Time>> {
        read!(self, |conn| pushes::next_due(conn, now))
    }

    async fn push_report(&self) -> Result<Option<PushReport>> {
        read!(self, |conn| pushes::report(conn))
    }

    async fn list_utterances(&self, filter: &UtteranceFilter) -> Result<Vec<UtteranceRecord>> {
        read!(self, |conn| utterances::list(conn, filter))
    }

    async fn search_utterances(&self, search: &Search) -> Result<Vec<UtteranceRecord>> {
        if search.query.finds_nothing() {
            return Ok(Vec::new());
        }
        read!(self, |conn| utterances::search(conn, search))
    }

    async fn list_conversations(
        &self,
        filter: &TreatmentFilter,
    ) -> Result<Vec<ConversationRecord>> {
        read!(self, |conn| treatments::list_conversations(conn, filter))
    }

    async fn catch_up(&self, now: Time, limit: i64) -> Result<CaughtUp> {
        if !self
            .has_any(|rows| {
                rows.push("catch_ups");
            })
            .await?
        {
            return Ok(CaughtUp::Whole);
        }
        serial!(self, &[], |conn| catch_up::step(conn, &self.rules, now, limit))
    }

    async fn status(&self, now: Time) -> Result<StatusReport> {
        read!(self, |conn| status::report(conn, &self.rules, now))
    }

    async fn audit(
        &self,
        after: Option<&Cursor>,
        again: &[PaymentId],
        now: Time,
    ) -> Result<Audited> {
        let auditing = async {
            let mut tx = self.engine.snapshot().await?;
            audit::load(&mut tx, after, again, now).await
        };
        self.engine.bounded(auditing).await
    }

    async fn ping(&self) -> Result<()> {
        let touching = async {
            let mut tx = self.engine.intake().await?;
            status::touch(&mut tx).await?;
            self.engine.commit(tx, &[]).await
        };
        self.engine.bounded(touching).await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        owner: &str,
        now: Time,
        until: Time,
    ) -> Result<Lease> {
        serial!(self, &[], |conn| leases::acquire(conn, name, owner, now, until))
    }

    async fn release_lease(&self, name: &str, owner: &str, now: Time) -> Result<()> {
        serial!(self, &[Worker::Reconciler], |conn| leases::release(conn, name, owner, now))
    }

    async fn next_due(&self) -> Result<NextDue> {
        read!(self, |conn| status::next_due(conn))
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}
