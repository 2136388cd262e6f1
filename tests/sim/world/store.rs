//! A store whose every call passes the turnstile, and may fail before or after its commit.

use std::sync::Arc;

use async_trait::async_trait;
use freeline::core::dispatch::Rehook;
use freeline::core::id::{LineId, OutgoingId, PaymentId, TreatmentId, UserId};
use freeline::core::occupancy::Listed;
use freeline::core::outcome::Answer;
use freeline::core::outgoing::{OutgoingCommand, OutgoingCommandRefused};
use freeline::core::payment::{Command, CommandRefused};
use freeline::core::platform::{PlatformLine, Subscription};
use freeline::core::time::{Span, Time};
use freeline::store::{
    Added, AddedOutgoing, Audited, CaughtUp, Changes, ChangesFrom, ClaimedDispatch, ClaimedNotice,
    ClaimedOutgoing, ClaimedPushes, ConversationRecord, Counterparty, Cursor, Directory,
    DispatchRound, EventFilter, EventRecord, HookRecord, HookTarget, Kept, Lease, LineEntry,
    LineFilter, LineReport, Manager, NewEvent, NewOutgoing, NewPayment, NextDue, NoticeOutcome,
    OutgoingFilter, OutgoingRecord, ParkedPush, PaymentDetails, PaymentFilter, PaymentRecord,
    PushOutcome, PushReport, Result, Search, StatusReport, Store, TreatmentFilter, TreatmentRecord,
    UserLine, UtteranceFilter, UtteranceRecord,
};

use super::platform::SharedPlatform;
use super::turnstile::{Fate, Turnstile};

/// What the workers of a replica and the people around it see as the database.
pub(super) struct SimStore {
    /// The real one.
    pub(super) inner: Arc<dyn Store>,
    /// A closed one: it gives the errors.
    pub(super) broken: Arc<dyn Store>,
    pub(super) turnstile: Turnstile,
    /// The platform is told what we have learned: that decides what may be expected of us.
    pub(super) platform: SharedPlatform,
}

/// Passes every method on.
macro_rules! pass_on {
    (@learn $self:ident, $done:ident, record_look $line:ident $listed:ident $($rest:ident)*) => {
        $self.platform.lock().looked_at($line, $listed);
    };
    (@learn $self:ident, $done:ident, claim_dispatches $($rest:ident)*) => {
        $self.platform.lock().claimed(&$done);
    };
    (@learn $self:ident, $done:ident, record_answer $($rest:ident)*) => {
        $self.platform.lock().answer_recorded($done);
    };
    (@learn $self:ident, $done:ident, $name:ident $($rest:ident)*) => {};
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Store for SimStore {
            $(async fn $name(&self, $($arg: $kind),*) -> Result<$out> {
                let fate = self.turnstile.pass(stringify!($name)).await;
                if !matches!(fate, Fate::Fine | Fate::FailsAfter) {
                    return self.broken.$name($($arg),*).await;
                }
                let done = self.inner.$name($($arg),*).await?;
                pass_on!(@learn self, done, $name $($arg)*);
                if fate == Fate::Fine { Ok(done) } else { self.broken.$name($($arg),*).await }
            })+

            async fn close(&self) {}
        }
    };
}

pass_on! {
    fn keep_events(events: &[NewEvent]) -> Vec<Kept>;
    fn apply_events(now: Time, limit: i64) -> usize;
    fn quarantine_oldest(problem: &str) -> ();
    fn list_events(filter: &EventFilter) -> Vec<EventRecord>;
    fn replace_directory(directory: &Directory, now: Time) -> ();
    fn directory() -> Directory;
    fn put_manager(manager: &Manager, now: Time) -> ();
    fn put_line(line: &LineEntry, now: Time) -> bool;
    fn put_counterparty(counterparty: &Counterparty, now: Time) -> bool;
    fn pause_line(line: &LineId, reason: Option<&str>, now: Time) -> bool;
    fn add_payment(payment: &NewPayment, now: Time) -> Added;
    fn command_payment(
        id: &PaymentId,
        command: Command,
        words: &str,
        now: Time
    ) -> Option<std::result::Result<(), CommandRefused>>;
    fn payment(id: &PaymentId) -> Option<PaymentDetails>;
    fn list_payments(filter: &PaymentFilter) -> Vec<PaymentRecord>;
    fn recheck_payments(now: Time, limit: i64) -> usize;
    fn recheck_all() -> ();
    fn dispatch(now: Time) -> Option<DispatchRound>;
    fn claim_dispatches(
        owner: &str,
        now: Time,
        lease_until: Time,
        limit: i64
    ) -> Vec<ClaimedDispatch>;
    fn record_rehook(dispatch: i64, fence: i64, rehook: Rehook) -> ();
    fn record_answer(dispatch: i64, fence: i64, answer: &Answer, now: Time) -> bool;
    fn expire_claims(now: Time, survivor: Option<&str>) -> usize;
    fn lines_to_look_at(now: Time, limit: i64) -> Vec<LineId>;
    fn record_look(line: &LineId, listed: &[Listed], requested_at: Time, now: Time) -> ();
    fn postpone_look(line: &LineId, now: Time) -> ();
    fn forget_occupancy(away: Span, now: Time) -> ();
    fn hook_targets() -> Vec<HookTarget>;
    fn record_hook(line: &LineId, hook: &HookRecord) -> ();
    fn record_hooked(line: &LineId, hooked: bool, now: Time) -> bool;
    fn own_urls(url: &str) -> Vec<String>;
    fn claim_notices(
        owner: &str,
        now: Time,
        lease_until: Time,
        limit: i64
    ) -> Vec<ClaimedNotice>;
    fn record_notice(notice: i64, fence: i64, outcome: &NoticeOutcome, now: Time) -> bool;
    fn expire_notices(now: Time, survivor: Option<&str>) -> usize;
    fn add_outgoing(new: &NewOutgoing, now: Time) -> AddedOutgoing;
    fn outgoing(id: &OutgoingId) -> Option<OutgoingRecord>;
    fn list_outgoing(filter: &OutgoingFilter) -> Vec<OutgoingRecord>;
    fn command_outgoing(
        id: &OutgoingId,
        command: OutgoingCommand,
        words: &str,
        now: Time
    ) -> Option<std::result::Result<(), OutgoingCommandRefused>>;
    fn claim_outgoing(owner: &str, now: Time, lease_until: Time) -> Option<ClaimedOutgoing>;
    fn record_outgoing_rehook(seq: i64, fence: i64, rehook: Rehook) -> ();
    fn record_outgoing_answer(seq: i64, fence: i64, answer: &Answer, now: Time) -> bool;
    fn expire_outgoing(now: Time, survivor: Option<&str>) -> usize;
    fn settle_outgoing(now: Time) -> usize;
    fn lines_of_user(user: &UserId, now: Time) -> Option<Vec<UserLine>>;
    fn put_lines_of_user(
        user: &UserId,
        listed: &[Subscription],
        requested_at: Time
    ) -> bool;
    fn put_platform_lines(lines: &[PlatformLine], now: Time) -> ();
    fn changes(from: ChangesFrom, limit: i64) -> Option<Changes>;
    fn newest_change() -> i64;
    fn forget_changes(before: Time, limit: i64) -> usize;
    fn begin_pushing() -> ();
    fn claim_pushes(now: Time, lease_until: Time, limit: i64) -> ClaimedPushes;
    fn record_push(seq: i64, fence: i64, outcome: &PushOutcome, now: Time) -> bool;
    fn parked_pushes(behind: i64, limit: i64) -> Vec<ParkedPush>;
    fn replay_pushes(seq: Option<i64>, now: Time) -> usize;
    fn next_push_due(now: Time) -> Option<Time>;
    fn push_report() -> Option<PushReport>;
    fn list_lines(filter: &LineFilter) -> Vec<LineReport>;
    fn list_treatments(filter: &TreatmentFilter) -> Vec<TreatmentRecord>;
    fn treatment(id: &TreatmentId) -> Option<TreatmentRecord>;
    fn list_utterances(filter: &UtteranceFilter) -> Vec<UtteranceRecord>;
    fn search_utterances(search: &Search) -> Vec<UtteranceRecord>;
    fn list_conversations(filter: &TreatmentFilter) -> Vec<ConversationRecord>;
    fn catch_up(now: Time, limit: i64) -> CaughtUp;
    fn status(now: Time) -> StatusReport;
    fn audit(after: Option<&Cursor>, again: &[PaymentId], now: Time) -> Audited;
    fn ping() -> ();
    fn acquire_lease(name: &str, owner: &str, now: Time, until: Time) -> Lease;
    fn release_lease(name: &str, owner: &str, now: Time) -> ();
    fn next_due() -> NextDue;
}
