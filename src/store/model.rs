//! What goes into the store and what comes out of it.

use std::collections::BTreeSet;

use crate::core::dispatch::{Dispatch, Rehook, SendMode};
use crate::core::event::Event;
use crate::core::id::{
    CounterpartyId, LineId, ManagerId, OutgoingId, PaymentId, TreatmentId, UserId,
};
use crate::core::invariant::{self, Breach, Whole};
use crate::core::keyboard::Keyboard;
use crate::core::line::{Line, LineState};
use crate::core::number::Number;
use crate::core::outgoing::{Outgoing, OutgoingKind, OutgoingState};
use crate::core::payment::{Payment, PaymentState};
use crate::core::silence::{Signs, Sureness};
use crate::core::time::{Span, Time};
use crate::core::treatment::{EndKind, Opener, Treatment};
use crate::core::why::{Reason, codes};

/// An event to be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// When it came in.
    pub received_at: Time,
    /// The body as it came.
    pub body: Vec<u8>,
    /// What it says, or why it cannot be read.
    pub event: Result<Event, String>,
}

/// What became of an event that was to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It is new.
    New,
    /// It was delivered before.
    Copy,
}

codes! {
    /// Whether an event was taken into account.
    EventState {
        /// Not looked at yet.
        New = "new",
        /// Taken into account.
        Applied = "applied",
        /// It says nothing about treatments.
        Ignored = "ignored",
        /// It could not be understood; kept for people.
        Quarantined = "quarantined",
    }
}

/// A kept event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRecord {
    /// Its place in the order of arrival.
    pub id: i64,
    /// When it came in first.
    pub received_at: Time,
    /// How often it was delivered.
    pub copies: i64,
    /// Whether it was taken into account.
    pub state: EventState,
    /// Why it could not be understood.
    pub problem: Option<String>,
    /// The body as it came.
    pub body: Vec<u8>,
}

/// Which events to list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct EventFilter {
    /// Only those after this id.
    pub after: i64,
    /// Only those of this line.
    pub line: Option<LineId>,
    /// Only those of this treatment.
    pub treatment: Option<TreatmentId>,
    /// Only those of this type.
    pub message_type: Option<i64>,
    /// Only those with this fate.
    pub state: Option<EventState>,
    /// At most so many.
    pub limit: i64,
}

/// Managers, lines and counterparties, as given by the ERP.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Directory {
    /// The managers.
    pub managers: Vec<Manager>,
    /// Their lines.
    pub lines: Vec<LineEntry>,
    /// The customers.
    pub counterparties: Vec<Counterparty>,
}

/// A manager of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manager {
    /// The client's own key.
    pub id: ManagerId,
    /// Name.
    pub name: String,
    /// Address for notices.
    pub email: String,
    /// Specialist of the platform.
    pub specialist: Option<UserId>,
    /// Whether payments go to this manager.
    pub enabled: bool,
}

/// A line of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineEntry {
    /// The platform's id.
    pub line: LineId,
    /// Name.
    pub name: String,
    /// Whose it is.
    pub manager: ManagerId,
    /// Treatments at once, at least 1.
    pub capacity: i64,
    /// Lines fill in this order.
    pub position: i64,
    /// Whether payments go to it.
    pub enabled: bool,
}

/// A counterparty of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterparty {
    /// The client's own key.
    pub id: CounterpartyId,
    /// Name.
    pub name: String,
    /// Tax number.
    pub inn: Option<String>,
    /// Main manager.
    pub manager: ManagerId,
    /// User a treatment is opened for.
    pub user: Option<UserId>,
}

/// A payment to be taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPayment {
    /// Its id, made for it.
    pub id: PaymentId,
    /// Its number, made for it.
    pub number: Number,
    /// The sender's key.
    pub key: String,
    /// The request in canonical form.
    pub content: String,
    /// Who paid.
    pub counterparty: Option<CounterpartyId>,
    /// Whose it is, if the sender says so.
    pub manager: Option<ManagerId>,
    /// How much, in kopecks (hundredths of the currency).
    pub amount: i64,
    /// Three letters.
    pub currency: String,
    /// When it was paid.
    pub paid_at: Time,
    /// For which order.
    pub order: Option<String>,
    /// For what.
    pub purpose: Option<String>,
    /// 0 to 9, higher first.
    pub priority: i64,
    /// The sender wants it held, for this reason.
    pub hold: Option<String>,
    /// Its data differ from the order, in this way.
    pub mismatch: Option<String>,
    /// The user a treatment is opened for.
    pub user: Option<UserId>,
    /// The specialist to write as.
    pub author: Option<UserId>,
    /// The text to send in place of the template's.
    pub text: Option<String>,
}

/// What became of a payment that was to be taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is new.
    New,
    /// It was taken in before, under this id.
    Same(PaymentId),
    /// Its key was used for another content, under this id.
    Conflict(PaymentId),
}

/// A payment as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentRecord {
    /// What came in.
    pub given: NewPayment,
    /// Where it is.
    pub state: PaymentState,
    /// Why.
    pub reason: Reason,
    /// Whose it is.
    pub manager: Option<ManagerId>,
    /// The user a treatment is or will be opened for.
    pub user: Option<UserId>,
    /// The specialist written as.
    pub author: Option<UserId>,
    /// The line it went to.
    pub line: Option<LineId>,
    /// Its treatment.
    pub treatment: Option<TreatmentId>,
    /// Calls made for it.
    pub attempts: i64,
    /// When it came in.
    pub received_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// When the platform took it.
    pub dispatched_at: Option<Time>,
    /// When its treatment ended.
    pub closed_at: Option<Time>,
    /// When the manager was told that all lines are busy.
    pub notified_at: Option<Time>,
}

/// A payment with its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentDetails {
    /// As it stands.
    pub payment: PaymentRecord,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// Why it is not further.
    pub why: Vec<Reason>,
}

/// One step of a payment's way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimelineEntry {
    /// When.
    pub at: Time,
    /// Where it was afterwards.
    pub state: PaymentState,
    /// Why.
    pub reason: Reason,
}

/// A point in a list that is ordered by time and id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Time of the last entry seen.
    pub at: Time,
    /// Id of the last entry seen.
    pub id: String,
}

/// Which payments to list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct PaymentFilter {
    /// Only those in this state.
    pub state: Option<PaymentState>,
    /// Only those of this manager.
    pub manager: Option<ManagerId>,
    /// Only those of this counterparty.
    pub counterparty: Option<CounterpartyId>,
    /// Only the one with this key.
    pub key: Option<String>,
    /// Only those that changed after this; the list is then ordered by change.
    pub updated_after: Option<Time>,
    /// Only those behind this point.
    pub cursor: Option<Cursor>,
    /// At most so many.
    pub limit: i64,
}

/// What one round of the dispatcher did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DispatchRound {
    /// For whom.
    pub manager: ManagerId,
    /// Which payments were set to which lines.
    pub reserved: Vec<(PaymentId, LineId)>,
    /// Payments that the platform refuses everywhere.
    pub rejected: usize,
    /// Notices written.
    pub notices: usize,
}

/// A dispatch that is ours to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedDispatch {
    /// Its id.
    pub id: i64,
    /// The number of this claim.
    pub fence: i64,
    /// The line to write on.
    pub line: LineId,
    /// The user to write to.
    pub user: UserId,
    /// The specialist to write as.
    pub author: Option<UserId>,
    /// Whether the bot hook is to be set first.
    pub rehook: Rehook,
    /// Until when the claim holds: no call may begin that could end later.
    pub lease_until: Time,
    /// When the line was set aside.
    pub reserved_at: Time,
    /// What to write about.
    pub about: About,
}

/// What a message or a notice is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// The payment as it came in.
    pub payment: NewPayment,
    /// When it came in.
    pub received_at: Time,
    /// The customer's name.
    pub counterparty_name: Option<String>,
    /// The customer's tax number.
    pub inn: Option<String>,
    /// The manager's name.
    pub manager_name: String,
}

codes! {
    /// What is known of one registration of our callback URL.
    HookState {
        /// It is to be set.
        Wanted = "wanted",
        /// It is set to our address with our credentials.
        Set = "set",
        /// It points at somebody else's address.
        Foreign = "foreign",
        /// The platform refuses to set it.
        Refused = "refused",
        /// The line does not permit a bot.
        NotAllowed = "not_allowed",
        /// The platform does not know the line.
        NoSuchLine = "no_such_line",
    }
}

codes! {
    /// The two kinds of registration, as stored.
    StoredHookKind {
        /// All events of a line.
        Line = "line",
        /// The events for the bot of a line.
        Bot = "bot",
    }
}

/// What is known of one hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookRecord {
    /// Which kind.
    pub kind: StoredHookKind,
    /// What is known.
    pub state: HookState,
    /// The address found or set.
    pub url: Option<String>,
    /// Digest of address and credentials when we set it.
    pub fingerprint: Option<String>,
    /// The platform's words.
    pub detail: Option<String>,
    /// When that was found.
    pub checked_at: Time,
}

/// A line of the directory and its hooks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookTarget {
    /// The line.
    pub line: LineId,
    /// Whether all its hooks were set when last looked at.
    pub hooked: bool,
    /// Whether its open treatments were looked at since.
    pub known: bool,
    /// What is known of each.
    pub hooks: Vec<HookRecord>,
}

/// A notice that is ours to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedNotice {
    /// Its id.
    pub id: i64,
    /// The number of this claim.
    pub fence: i64,
    /// The payment's id and the episode: together they name the notice for ever.
    pub payment: PaymentId,
    /// Which time of waiting it is about.
    pub episode: i64,
    /// The manager's address.
    pub recipient: String,
    /// The manager's lines at the moment the payment was due.
    pub lines: Vec<NoticeLine>,
    /// The payment.
    pub about: About,
}

/// A line as a notice tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoticeLine {
    /// Name.
    pub name: String,
    /// State at that moment.
    pub state: LineState,
    /// Since when.
    pub since: Time,
    /// Open treatments.
    pub open: i64,
}

/// What became of a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoticeOutcome {
    /// The mail server took it.
    Sent,
    /// It surely did not: tried again later.
    NotSent(String),
    /// It never will.
    Refused(String),
    /// It may have: never sent again.
    Unknown(String),
}

/// Which lines to list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LineFilter {
    /// Only this one.
    pub line: Option<LineId>,
    /// Only those of this manager.
    pub manager: Option<ManagerId>,
    /// Only those in this state.
    pub state: Option<LineState>,
    /// Only those behind this id.
    pub after: Option<LineId>,
    /// At most so many.
    pub limit: i64,
}

/// A line with its occupancy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineReport {
    /// As the directory has it.
    pub entry: LineEntry,
    /// Whether the directory still has it.
    pub present: bool,
    /// Why it is paused.
    pub paused: Option<String>,
    /// What can be done with it.
    pub state: LineState,
    /// Since when.
    pub since: Time,
    /// When its open treatments were last looked at.
    pub known_at: Option<Time>,
    /// Its signs of life.
    pub signs: Signs,
    /// How long a silence is waited for.
    pub look_after_silence: Span,
    /// Its open treatments.
    pub treatments: Vec<TreatmentRecord>,
    /// Payments it is set aside for.
    pub reservations: Vec<(PaymentId, Time)>,
    /// Its hooks.
    pub hooks: Vec<HookRecord>,
}

/// Which treatments to list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TreatmentFilter {
    /// Only open ones, or only ended ones.
    pub open: Option<bool>,
    /// Only those of this line.
    pub line: Option<LineId>,
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those behind this point.
    pub cursor: Option<Cursor>,
    /// At most so many.
    pub limit: i64,
}

/// A treatment as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreatmentRecord {
    /// Its id.
    pub id: TreatmentId,
    /// Its line.
    pub line: LineId,
    /// Its user.
    pub user: UserId,
    /// When it began, in the platform's time.
    pub opened_at: Time,
    /// Who began it.
    pub opener: Opener,
    /// Its newest event, in the platform's time.
    pub last_event_at: Time,
    /// When and how it ended.
    pub ended: Option<(Time, EndKind)>,
    /// What it goes on in.
    pub moved_to: Option<TreatmentId>,
    /// The payment that opened it.
    pub payment: Option<PaymentId>,
}

/// Counts and ages.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct StatusReport {
    /// Payments by state.
    pub payments: Vec<(PaymentState, i64)>,
    /// Lines by state.
    pub lines: Vec<(LineState, i64)>,
    /// Lines by how sure their state is.
    pub sureness: Vec<(Sureness, i64)>,
    /// The silent line that was sure longest ago, and when that was.
    pub oldest_silence: Option<(LineId, Time)>,
    /// Events by fate.
    pub events: Vec<(EventState, i64)>,
    /// Notices by state.
    pub notices: Vec<(String, i64)>,
    /// When the oldest waiting payment came in.
    pub oldest_waiting: Option<Time>,
    /// When the last event came in.
    pub last_event: Option<Time>,
    /// Hooks by kind and state.
    pub hooks: Vec<(StoredHookKind, HookState, i64)>,
    /// Hooks that need a person.
    pub hook_problems: Vec<(LineId, HookRecord)>,
}

/// What became of the wish for a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lease {
    /// We have it now.
    Ours(PreviousLease),
    /// Somebody else has it.
    Taken {
        /// Until then, unless it is kept anew.
        until: Time,
    },
}

/// Who had a lease before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PreviousLease {
    /// Nobody ever.
    Nobody,
    /// We had it.
    Ourselves,
    /// Somebody whose lease ended then.
    Other {
        /// When it ended.
        until: Time,
    },
}

/// When each worker has something to do by itself.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NextDue {
    /// The dispatcher.
    pub dispatcher: Option<Time>,
    /// The sender.
    pub sender: Option<Time>,
    /// The courier.
    pub courier: Option<Time>,
    /// The notifier.
    pub notifier: Option<Time>,
    /// The reconciler: looks at lines.
    pub reconciler: Option<Time>,
    /// The expirer: claims that run out, and doubts about messages.
    pub claims: Option<Time>,
}

/// What an auditor looks at: everything that is under way and a page of the payments that changed,
/// as they were at one moment.
#[derive(Clone, Default, Debug)]
pub struct Audited {
    /// Payments.
    pub payments: Vec<Payment>,
    /// All dispatches of those payments, and all that are under way.
    pub dispatches: Vec<Dispatch>,
    /// Open treatments, and those of the dispatches.
    pub treatments: Vec<Treatment>,
    /// The lines of the directory.
    pub lines: Vec<Line>,
    /// Users that the platform refused on a line.
    pub refused: BTreeSet<(LineId, UserId)>,
    /// The notices of those payments, each with its episode.
    pub notices: Vec<(PaymentId, i64)>,
    /// Whether the workers had nothing left to look at.
    pub at_rest: bool,
    /// The last payment of the page; `None` when nothing has changed.
    pub next: Option<Cursor>,
    /// Whether more payments than the page holds have changed.
    pub has_more: bool,
}

impl Audited {
    /// Every promise that is broken in it.
    pub fn breaches(&self) -> Vec<Breach> {
        invariant::breaches(&Whole {
            payments: &self.payments,
            dispatches: &self.dispatches,
            treatments: &self.treatments,
            lines: &self.lines,
            refused: &self.refused,
            notices: &self.notices,
            at_rest: self.at_rest,
        })
    }
}

/// Something to be sent into a chat, as it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct NewOutgoing {
    /// Its id, made for it.
    pub id: OutgoingId,
    /// The sender's key, of messages.
    pub key: Option<String>,
    /// The request in canonical form.
    pub content: String,
    /// What is to be done.
    pub kind: OutgoingKind,
    /// The line of the chat.
    pub line: LineId,
    /// The user of the chat.
    pub user: UserId,
    /// The specialist on whose behalf.
    pub author: Option<UserId>,
    /// How messages are written.
    pub mode: SendMode,
    /// The text, or the words beside a file.
    pub text: Option<String>,
    /// Buttons under the message.
    pub keyboard: Option<Keyboard>,
    /// Only a message: no treatment is opened for it.
    pub notification_only: bool,
    /// The line's own rules of closing apply.
    pub general_settings: bool,
    /// The file.
    pub file: Option<FileNamed>,
    /// The treatment that is closed, transferred or assigned.
    pub treatment: Option<TreatmentId>,
    /// Where it is transferred to.
    pub to_line: Option<LineId>,
    /// To whom it is assigned; `None`: to any who is free.
    pub specialist: Option<UserId>,
    /// To any who is free where that specialist is not.
    pub or_any: bool,
}

impl std::fmt::Debug for NewOutgoing {
    /// Everything but what people wrote.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewOutgoing")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("line", &self.line)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A file that was taken in, by the name it is shown with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileNamed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How large it is, in bytes.
    pub bytes: i64,
}

/// What became of something that was to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddedOutgoing {
    /// It is new.
    New,
    /// It was taken in before, under this id.
    Same(OutgoingId),
    /// Its key was used for another content, under this id.
    Conflict(OutgoingId),
    /// Its treatment is over.
    TreatmentOver,
    /// A specialist writes, and nobody says which one.
    NoAuthor,
}

/// Something sent into a chat, as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingRecord {
    /// What came in.
    pub given: NewOutgoing,
    /// Where it is and why.
    pub now: Outgoing,
    /// Calls made for it.
    pub attempts: i64,
    /// When it came in.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

/// Which of them to list, newest first.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct OutgoingFilter {
    /// Only messages, or only what is to become of treatments.
    pub messages: bool,
    /// Only those in this state.
    pub state: Option<OutgoingState>,
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those of this line.
    pub line: Option<LineId>,
    /// Only those of this treatment.
    pub treatment: Option<TreatmentId>,
    /// Only the one with this key.
    pub key: Option<String>,
    /// Only those behind this point.
    pub cursor: Option<Cursor>,
    /// At most so many.
    pub limit: i64,
}

/// Something that is ours to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedOutgoing {
    /// Its place.
    pub seq: i64,
    /// The number of this claim.
    pub fence: i64,
    /// Until when the claim holds: no call may begin that could end later.
    pub lease_until: Time,
    /// Whether the bot hook is to be set first.
    pub rehook: Rehook,
    /// What is to be sent.
    pub given: NewOutgoing,
}

/// A line that is open to a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserLine {
    /// Its id.
    pub line: LineId,
    /// Its name, as far as it is known.
    pub name: Option<String>,
    /// What it is to us, if our directory has it.
    pub ours: Option<LineOfOurs>,
    /// Whether the bot hook on it is ours, so that we may write as the bot.
    pub bot_connected: bool,
    /// Until when it is open to the user.
    pub expires_at: Option<Time>,
}

/// What our directory knows of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineOfOurs {
    /// Whose it is.
    pub manager: ManagerId,
    /// Its occupancy.
    pub state: LineState,
}
