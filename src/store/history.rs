//! What was said, for reading.

use crate::core::dispatch::SendMode;
use crate::core::id::{LineId, OutgoingId, PaymentId, TreatmentId, UserId};
use crate::core::search::Query;
use crate::core::time::Time;
use crate::core::utterance::Utterance;
use crate::store::TreatmentRecord;

/// Something said, and how it got there if it is ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UtteranceRecord {
    /// What was said.
    pub said: Utterance,
    /// The message of ours that it is.
    pub outgoing: Option<(OutgoingId, SendMode)>,
    /// The payment of ours that it is about.
    pub payment: Option<PaymentId>,
}

/// Whose conversation it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Conversation {
    /// That of one treatment.
    Treatment(TreatmentId),
    /// That of a payment: its treatment, and those that were moved to become it.
    Payment(PaymentId),
}

/// Which part of a conversation to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UtteranceFilter {
    /// Whose.
    pub of: Conversation,
    /// Only what came in after this event.
    pub after_event: i64,
    /// Only what was said behind this point: its time and event.
    pub cursor: Option<(Time, i64)>,
    /// At most so many.
    pub limit: i64,
}

/// What to look for in all that was said.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Search {
    /// The words.
    pub query: Query,
    /// Only in the chats of this user.
    pub user: Option<UserId>,
    /// Only on this line.
    pub line: Option<LineId>,
    /// Only what was said then or later.
    pub from: Option<Time>,
    /// Only what was said before.
    pub to: Option<Time>,
    /// Only what came in before this event.
    pub before_event: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// A treatment and how much was said in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConversationRecord {
    /// The treatment.
    pub treatment: TreatmentRecord,
    /// Texts and files.
    pub messages: i64,
    /// When the last of them was written.
    pub last_message_at: Option<Time>,
}

/// Whether a table that was made later holds what was there before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaughtUp {
    /// Some was written; there may be more.
    Partly,
    /// All that is there; processes of an older version may be about to add some.
    ForNow,
    /// All.
    Whole,
}
