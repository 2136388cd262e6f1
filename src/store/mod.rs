//! The database: the truth and the queue.
//!
//! [`Store`] has one method per use case, and each is one transaction. Every method either does
//! all of what it says or nothing. No method waits for anything but the database.
//!
//! Both engines run the same text of SQL: `sql` is compiled once for each, in [`sqlite`] and
//! [`postgres`], which add how to open, to migrate, and to begin a transaction.
//!
//! Invariant: every decision about lines, dispatches and payments is taken in a *serial*
//! transaction. On SQLite that is its one writer, on PostgreSQL an advisory lock, so that no two
//! decisions ever look at the same room.

use async_trait::async_trait;

use crate::core::dispatch::{Policy, Rehook};
use crate::core::event::Event;
use crate::core::id::{LineId, OutgoingId, PaymentId, TreatmentId, UserId};
use crate::core::occupancy::Listed;
use crate::core::outcome::Answer;
use crate::core::outgoing::{OutgoingCommand, OutgoingCommandRefused};
use crate::core::payment::{Command, CommandRefused};
use crate::core::platform::{PlatformLine, Subscription};
use crate::core::time::{Span, Time};

pub use changes::{
    Change, ChangeKind, ChangedPayment, Changes, ChangesFrom, ClaimedPush, ClaimedPushes,
    ParkedPush, PushOutcome, PushReport,
};
pub use error::StoreError;
pub use history::*;
pub use model::*;

mod changes;
mod error;
mod history;
mod model;
pub mod postgres;
pub mod sqlite;

/// Result of a store's method.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What the store needs to know to take decisions inside its transactions.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How messages are written, and how long a doubt waits for its echo.
    pub policy: Policy,
    /// The user treatments are opened for, where neither payment nor counterparty names one.
    pub default_user: Option<UserId>,
    /// The specialist to write as, where neither payment nor manager names one.
    pub default_author: Option<UserId>,
    /// Reads a kept event body; the wire format is known elsewhere.
    pub read_event: fn(&[u8]) -> std::result::Result<Event, String>,
    /// Whether a treatment is handed over to a specialist as soon as its user writes to the bot.
    pub hand_over: bool,
    /// How long a treatment may be open without a sign of life before its line is looked at.
    pub look_after_silence: Span,
    /// Whether notices can be sent; otherwise they are only shown.
    pub notices_are_sent: bool,
}

/// The database behind the application.
#[async_trait]
pub trait Store: Send + Sync {
    // --- events -------------------------------------------------------------------------------

    /// Keeps events as they came, all or none, and recognises copies. They are on disk afterwards.
    async fn keep_events(&self, events: &[NewEvent]) -> Result<Vec<Kept>>;

    /// Takes up to `limit` kept events into account, oldest first, and no more of their bodies than
    /// [`EVENT_BYTES_PER_BATCH`](bounds::EVENT_BYTES_PER_BATCH), but one event at least; answers
    /// how many. None means that there are no more.
    async fn apply_events(&self, now: Time, limit: i64) -> Result<usize>;

    /// Sets the oldest event aside that cannot be taken into account, so that the others can.
    async fn quarantine_oldest(&self, problem: &str) -> Result<()>;

    /// Lists kept events, oldest first.
    async fn list_events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>>;

    // --- directory ----------------------------------------------------------------------------

    /// Makes the directory what is given; what is missing is disabled, not deleted.
    async fn replace_directory(&self, directory: &Directory, now: Time) -> Result<()>;

    /// The directory as it was given.
    async fn directory(&self) -> Result<Directory>;

    /// Adds or replaces one manager.
    async fn put_manager(&self, manager: &Manager, now: Time) -> Result<()>;

    /// Adds or replaces one line; `false` if its manager is not in the directory.
    async fn put_line(&self, line: &LineEntry, now: Time) -> Result<bool>;

    /// Adds or replaces one counterparty; `false` if its manager is not in the directory.
    async fn put_counterparty(&self, counterparty: &Counterparty, now: Time) -> Result<bool>;

    /// Pauses a line with a reason, or resumes it with `None`; `false` if it is not known.
    async fn pause_line(&self, line: &LineId, reason: Option<&str>, now: Time) -> Result<bool>;

    // --- payments -----------------------------------------------------------------------------

    /// Takes a payment in; the same key and content is the same payment.
    async fn add_payment(&self, payment: &NewPayment, now: Time) -> Result<Added>;

    /// Carries out a person's command; `None` if there is no such payment.
    async fn command_payment(
        &self,
        id: &PaymentId,
        command: Command,
        words: &str,
        now: Time,
    ) -> Result<Option<std::result::Result<(), CommandRefused>>>;

    /// One payment with its timeline and reasons.
    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentDetails>>;

    /// Lists payments, oldest first.
    async fn list_payments(&self, filter: &PaymentFilter) -> Result<Vec<PaymentRecord>>;

    /// Looks again at up to `limit` payments whose directory has changed; answers how many.
    async fn recheck_payments(&self, now: Time, limit: i64) -> Result<usize>;

    /// Has every waiting payment looked at again, as after a change of settings.
    async fn recheck_all(&self) -> Result<()>;

    // --- dispatch -----------------------------------------------------------------------------

    /// Hands waiting payments of one due manager to free lines; `None` if no manager is due.
    async fn dispatch(&self, now: Time) -> Result<Option<DispatchRound>>;

    /// Claims up to `limit` due dispatches until `lease_until`.
    async fn claim_dispatches(
        &self,
        owner: &str,
        now: Time,
        lease_until: Time,
        limit: i64,
    ) -> Result<Vec<ClaimedDispatch>>;

    /// Writes down that the bot hook of a claimed dispatch's line was dealt with.
    async fn record_rehook(&self, dispatch: i64, fence: i64, rehook: Rehook) -> Result<()>;

    /// Writes down the answer to a claimed dispatch's call and what follows; `false` if somebody
    /// else has claimed it since, and nothing was written.
    async fn record_answer(
        &self,
        dispatch: i64,
        fence: i64,
        answer: &Answer,
        now: Time,
    ) -> Result<bool>;

    /// Puts dispatches in doubt whose claim has run out, or whose owner is `gone`: everybody but
    /// `Some(owner)`. Answers how many.
    async fn expire_claims(&self, now: Time, survivor: Option<&str>) -> Result<usize>;

    // --- looks at the platform ------------------------------------------------------------------

    /// Lines whose open treatments are to be looked at now, at most `limit`.
    async fn lines_to_look_at(&self, now: Time, limit: i64) -> Result<Vec<LineId>>;

    /// Takes listed open treatments of one line into account, asked for at `requested_at`.
    async fn record_look(
        &self,
        line: &LineId,
        listed: &[Listed],
        requested_at: Time,
        now: Time,
    ) -> Result<()>;

    /// Puts a look off that was not answered.
    async fn postpone_look(&self, line: &LineId, now: Time) -> Result<()>;

    /// Forgets what is open on every line, as after a time in which no event could be received; it
    /// lasted for `away`.
    async fn forget_occupancy(&self, away: Span, now: Time) -> Result<()>;

    // --- hooks --------------------------------------------------------------------------------

    /// Every line of the directory with what is known of its hooks.
    async fn hook_targets(&self) -> Result<Vec<HookTarget>>;

    /// Writes down what was found or done about one hook.
    async fn record_hook(&self, line: &LineId, hook: &HookRecord) -> Result<()>;

    /// Writes down whether a line's hooks are all set: only then its occupancy can be known.
    /// Answers whether that is news; the line is then looked at anew.
    async fn record_hooked(&self, line: &LineId, hooked: bool, now: Time) -> Result<bool>;

    /// Remembers an address as ours and answers all addresses that ever were.
    async fn own_urls(&self, url: &str) -> Result<Vec<String>>;

    // --- into chats ---------------------------------------------------------------------------

    /// Takes something in that is to be sent into a chat; the same key and content, or the same
    /// close or transfer, is the same one.
    async fn add_outgoing(&self, new: &NewOutgoing, now: Time) -> Result<AddedOutgoing>;

    /// One that was sent into a chat.
    async fn outgoing(&self, id: &OutgoingId) -> Result<Option<OutgoingRecord>>;

    /// Lists what was sent into chats, newest first.
    async fn list_outgoing(&self, filter: &OutgoingFilter) -> Result<Vec<OutgoingRecord>>;

    /// Carries out a person's command; `None` if there is no such one.
    async fn command_outgoing(
        &self,
        id: &OutgoingId,
        command: OutgoingCommand,
        words: &str,
        now: Time,
    ) -> Result<Option<std::result::Result<(), OutgoingCommandRefused>>>;

    /// Claims the next that is due and has its chat's turn, until `lease_until`.
    async fn claim_outgoing(
        &self,
        owner: &str,
        now: Time,
        lease_until: Time,
    ) -> Result<Option<ClaimedOutgoing>>;

    /// Writes down that the bot hook of a claimed one's line was dealt with.
    async fn record_outgoing_rehook(&self, seq: i64, fence: i64, rehook: Rehook) -> Result<()>;

    /// Writes down the answer to a claimed one's call; `false` if somebody else has claimed it
    /// since, and nothing was written.
    async fn record_outgoing_answer(
        &self,
        seq: i64,
        fence: i64,
        answer: &Answer,
        now: Time,
    ) -> Result<bool>;

    /// Puts what is being sent in doubt where its claim has run out or its owner is gone.
    async fn expire_outgoing(&self, now: Time, survivor: Option<&str>) -> Result<usize>;

    /// Settles doubts about messages whose echo has not come; answers how many were looked at.
    async fn settle_outgoing(&self, now: Time) -> Result<usize>;

    // --- who may write where --------------------------------------------------------------------

    /// The lines open to a user, ours first; `None` if the platform has to be asked.
    async fn lines_of_user(&self, user: &UserId, now: Time) -> Result<Option<Vec<UserLine>>>;

    /// Writes down what the platform listed for a user when it was asked at `requested_at`; `false`
    /// if an event has told something newer meanwhile, and nothing was written.
    async fn put_lines_of_user(
        &self,
        user: &UserId,
        listed: &[Subscription],
        requested_at: Time,
    ) -> Result<bool>;

    /// Remembers lines that the platform listed.
    async fn put_platform_lines(&self, lines: &[PlatformLine], now: Time) -> Result<()>;

    // --- notices ------------------------------------------------------------------------------

    /// Claims up to `limit` due notices until `lease_until`.
    async fn claim_notices(
        &self,
        owner: &str,
        now: Time,
        lease_until: Time,
        limit: i64,
    ) -> Result<Vec<ClaimedNotice>>;

    /// Writes down what became of a claimed notice; `false` if somebody else has it now.
    async fn record_notice(
        &self,
        notice: i64,
        fence: i64,
        outcome: &NoticeOutcome,
        now: Time,
    ) -> Result<bool>;

    /// Deals with notices whose claim has run out or whose owner is gone: they may have been sent.
    async fn expire_notices(&self, now: Time, survivor: Option<&str>) -> Result<usize>;

    // --- changes ------------------------------------------------------------------------------

    /// At most `limit` changes of payments, treatments and messages, in the order in which they
    /// were committed: whoever goes on behind [`Changes::next`] gets each once and misses none.
    ///
    /// `None` if they begin behind a number that is no longer kept, or that was never given.
    async fn changes(&self, from: ChangesFrom, limit: i64) -> Result<Option<Changes>>;

    /// The number of the newest change; 0 before the first one.
    async fn newest_change(&self) -> Result<i64>;

    /// Forgets up to `limit` of the oldest changes, those from before `before`, but never the
    /// newest one; answers how many.
    async fn forget_changes(&self, before: Time, limit: i64) -> Result<usize>;

    /// Has every change from the next one on sent, unless that was begun before.
    async fn begin_pushing(&self) -> Result<()>;

    /// Claims up to `limit` changes that are to be sent, until `lease_until`: of each object the
    /// oldest that is not parked, and never more than [`bounds::PUSHES_AT_ONCE`] by all replicas.
    async fn claim_pushes(&self, now: Time, lease_until: Time, limit: i64)
    -> Result<ClaimedPushes>;

    /// Writes down what came of a claimed change; `false` if somebody else has it now.
    async fn record_push(
        &self,
        seq: i64,
        fence: i64,
        outcome: &PushOutcome,
        now: Time,
    ) -> Result<bool>;

    /// Changes that are not sent any more, behind this number, the oldest first.
    async fn parked_pushes(&self, behind: i64, limit: i64) -> Result<Vec<ParkedPush>>;

    /// Has one parked change sent again, or the oldest thousand; answers how many. A receiver that
    /// wanted nothing more is tried again.
    async fn replay_pushes(&self, seq: Option<i64>, now: Time) -> Result<usize>;

    /// When the next change is to be sent, if there is one.
    async fn next_push_due(&self, now: Time) -> Result<Option<Time>>;

    /// How the sending of changes goes; `None` if it was never begun.
    async fn push_report(&self) -> Result<Option<PushReport>>;

    // --- reading ------------------------------------------------------------------------------

    /// Lines with their occupancy, by manager and position.
    async fn list_lines(&self, filter: &LineFilter) -> Result<Vec<LineReport>>;

    /// Treatments, newest first.
    async fn list_treatments(&self, filter: &TreatmentFilter) -> Result<Vec<TreatmentRecord>>;

    /// One treatment.
    async fn treatment(&self, id: &TreatmentId) -> Result<Option<TreatmentRecord>>;

    /// What was said in a treatment, or in all treatments that a payment's chat went through: oldest
    /// first.
    async fn list_utterances(&self, filter: &UtteranceFilter) -> Result<Vec<UtteranceRecord>>;

    /// What was said and holds the words looked for: what came in last first.
    async fn search_utterances(&self, search: &Search) -> Result<Vec<UtteranceRecord>>;

    /// All treatments of a user, whatever their line, newest first, with how much was said.
    async fn list_conversations(&self, filter: &TreatmentFilter)
    -> Result<Vec<ConversationRecord>>;

    /// Writes down what was said in up to `limit` events that an older version took into account, and
    /// no more of their bodies than
    /// [`EVENT_BYTES_PER_BATCH`](bounds::EVENT_BYTES_PER_BATCH), but one event at least.
    async fn catch_up(&self, now: Time, limit: i64) -> Result<CaughtUp>;

    /// Counts and ages for the status.
    async fn status(&self, now: Time) -> Result<StatusReport>;

    /// What an auditor looks at: all that is under way, the payments that changed next after
    /// `after`, and `again`; all of it as it was at one moment.
    async fn audit(
        &self,
        after: Option<&Cursor>,
        again: &[PaymentId],
        now: Time,
    ) -> Result<Audited>;

    /// Whether an event could be written now.
    async fn ping(&self) -> Result<()>;

    // --- work that one replica does for all -----------------------------------------------------

    /// Takes or keeps a lease until `until`, unless somebody else has it.
    async fn acquire_lease(&self, name: &str, owner: &str, now: Time, until: Time)
    -> Result<Lease>;

    /// Gives a lease back.
    async fn release_lease(&self, name: &str, owner: &str, now: Time) -> Result<()>;

    /// The earliest time at which one of the workers has something to do by itself.
    async fn next_due(&self) -> Result<NextDue>;

    /// Closes the connections.
    async fn close(&self);
}

/// How long a claim's lease and a page may be, for callers of the store.
pub mod bounds {
    use super::Span;

    /// Events applied in one transaction.
    pub const EVENTS_PER_BATCH: i64 = 256;
    /// Bytes of the bodies of events applied in one transaction, unless a single one is larger: so
    /// much of them is in memory at once.
    pub const EVENT_BYTES_PER_BATCH: i64 = 4 * 1_024 * 1_024;
    /// Payments looked at again in one transaction.
    pub const RECHECKS_PER_BATCH: i64 = 256;
    /// How long a claimed call may take, all its waits together, before its outcome is in doubt:
    /// up to 2 s until it begins, 10 s for its answer, and 1 s to write that down.
    pub const CLAIM_LEASE: Span = Span::from_secs(13);
    /// How long sending a change may take.
    pub const PUSH_LEASE: Span = Span::from_secs(60);
    /// Changes that are being sent at once, by all replicas together.
    pub const PUSHES_AT_ONCE: i64 = 4;
    /// How long handing over a notice may take.
    pub const NOTICE_LEASE: Span = Span::from_secs(90);
    /// Changes forgotten in one transaction.
    pub const FORGOTTEN_PER_BATCH: i64 = 1_000;
    /// Entries on one page of a list at the most.
    pub const PAGE_MAX: i64 = 500;
}
