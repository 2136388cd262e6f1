//! Changes: what others could see of payments, treatments and messages, each time it became
//! something else.

use crate::core::id::{CounterpartyId, LineId, PaymentId, TreatmentId, UserId};
use crate::core::number::Number;
use crate::core::time::{Span, Time};
use crate::core::treatment::EndKind;
use crate::core::why::{Reason, codes};

codes! {
    /// What changed.
    ChangeKind {
        /// A payment.
        Payment = "payment",
        /// A treatment.
        Treatment = "treatment",
        /// A message of a conversation.
        Message = "message",
    }
}

/// One change.
///
/// Promise: the numbers of changes are those of their commits, without gaps. Whoever has read
/// change `n` has missed nothing before it, and nothing before it will ever come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its number; the first one is 1.
    pub seq: i64,
    /// When it happened: by the clock, which may be set back, so it is no order.
    pub at: Time,
    /// What changed.
    pub kind: ChangeKind,
    /// Which one.
    pub id: String,
    /// What it became.
    pub state: String,
    /// What happened to a payment.
    pub reason: Option<Reason>,
    /// How a treatment ended.
    pub end_kind: Option<EndKind>,
    /// The line it is on.
    pub line: Option<LineId>,
    /// The chat's user.
    pub user: Option<UserId>,
    /// The treatment itself, or the one of the payment.
    pub treatment: Option<TreatmentId>,
    /// The treatment in which one that moved goes on.
    pub moved_to: Option<TreatmentId>,
    /// The payment itself, or the one that the treatment serves.
    pub payment: Option<ChangedPayment>,
}

/// What a payment is known by; none of it ever changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedPayment {
    /// Its id.
    pub id: PaymentId,
    /// The number its message carries.
    pub number: Number,
    /// The sender's own name for it.
    pub key: String,
    /// The order it is for.
    pub order: Option<String>,
    /// Who paid.
    pub counterparty: Option<CounterpartyId>,
}

/// From where on changes are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangesFrom {
    /// From the oldest that is kept.
    Oldest,
    /// Those that come after this moment.
    Now,
    /// Those behind this number.
    Behind(i64),
}

/// Changes in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// The oldest first, without gaps.
    pub items: Vec<Change>,
    /// The number to go on behind.
    pub next: i64,
}

/// A change that is ours to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedPush {
    /// What to send.
    pub change: Change,
    /// Goes with the outcome: a claim that somebody else has taken over since is not heard.
    pub fence: i64,
    /// Which try this is; 1 is the first.
    pub tries: i64,
}

/// What was claimed, and what could not be.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ClaimedPushes {
    /// Changes to send now.
    pub pushes: Vec<ClaimedPush>,
    /// Changes that were forgotten before anybody could send them.
    pub lost: i64,
}

/// What came of one try to send a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PushOutcome {
    /// The receiver has it.
    Delivered,
    /// The receiver has it not, or did not say.
    Failed {
        /// What it came to, in a few words.
        detail: String,
        /// How long the receiver wants to be left alone.
        retry_after: Option<Span>,
        /// Whether the receiver was not there, whatever was to be sent.
        is_away: bool,
    },
    /// The receiver wants nothing more.
    Gone,
}

/// A change that is not sent any more unless somebody asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedPush {
    /// What was to be sent.
    pub change: Change,
    /// How often it was tried.
    pub tries: i64,
    /// When it was tried last.
    pub tried_at: Option<Time>,
    /// What the last try came to.
    pub detail: Option<String>,
}

/// How the sending of changes goes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct PushReport {
    /// Changes that are to be sent.
    pub waiting: i64,
    /// When the oldest of them happened.
    pub oldest_waiting: Option<Time>,
    /// Changes that are not sent any more unless somebody asks for it.
    pub parked: i64,
    /// Since when the receiver wants nothing more.
    pub stopped_at: Option<Time>,
}
