//! What people and the ERP send into a chat: messages, files, and what is to become of a treatment.
//!
//! Everything of one chat leaves in the order in which it came in, one at a time: the platform acts
//! on the user's current treatment on a line (`connect-api.md` 4), so "write, then close" must not
//! arrive as "close, then write".
//!
//! [`conclude`] decides what follows from the platform's answer, [`hear`] what follows from its
//! events, [`settle_by_silence`] what follows when none came.

use std::collections::BTreeMap;
use std::fmt;

use crate::core::dispatch::{CARRIED_OUT_WITHIN, REPEATS_TAKE, Rehook, SendMode};
use crate::core::event::{self, Event};
use crate::core::id::{LineId, OutgoingId, TreatmentId, UserId};
use crate::core::outcome::{Answer, hook_suspected};
use crate::core::retry::Backoff;
use crate::core::time::{Span, Time};
use crate::core::treatment::{CLOCKS_APART_MAX, EndKind, Treatments};
use crate::core::why::codes;

/// How long after its call the echo of a message that the platform took is waited for.
pub const ECHO_EXPECTED_WITHIN: Span = Span::from_secs(600);

/// Calls in a row whose outcome nobody knows, of what does no harm when it is done twice.
pub const HARMLESS_REPEATS_MAX: i64 = 10;

codes! {
    /// What is to be done in a chat.
    OutgoingKind {
        /// Write a text.
        Text = "text",
        /// Send a file.
        File = "file",
        /// Send an image.
        Image = "image",
        /// Close the treatment.
        Close = "close",
        /// Move the treatment to another line.
        Transfer = "transfer",
        /// Give the treatment to a specialist, or to any who is free.
        Assign = "assign",
    }
}

impl OutgoingKind {
    /// Whether it is a message: the user sees it, and it comes back as an echo.
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Text | Self::File | Self::Image)
    }

    /// Whether it may be done twice: the second time changes nothing.
    pub const fn is_harmless_twice(self) -> bool {
        matches!(self, Self::Assign)
    }
}

codes! {
    /// Where it is on its way.
    OutgoingState {
        /// It waits for its turn.
        Queued = "queued",
        /// A call is under way, or was when its caller vanished.
        Sending = "sending",
        /// The call ended and nobody knows how.
        InDoubt = "in_doubt",
        /// The platform took it.
        Sent = "sent",
        /// It was refused for good.
        Rejected = "rejected",
        /// A person took it back.
        Cancelled = "cancelled",
    }
}

impl OutgoingState {
    /// Whether something may still become of it.
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::Queued | Self::Sending | Self::InDoubt)
    }
}

codes! {
    /// Why it is where it is.
    OutgoingReason {
        /// It came in.
        Accepted = "accepted",
        /// The platform surely did not take it; it is tried again.
        TryAgain = "try_again",
        /// The bot hook seems to be missing; it is set, and the message is sent once more.
        HookMissing = "hook_missing",
        /// The platform refused it.
        Refused = "refused",
        /// The platform took it.
        Taken = "taken",
        /// It came back as an event.
        EchoSeen = "echo_seen",
        /// An event or a look shows that it was done.
        EffectSeen = "effect_seen",
        /// Nobody knows whether the platform took it.
        OutcomeUnknown = "outcome_unknown",
        /// It did not come back within the time in which it would have.
        ProvenAbsent = "proven_absent",
        /// Nothing can tell any more whether the platform took it.
        NeedsPerson = "needs_person",
        /// Its treatment was over before.
        TreatmentOver = "treatment_over",
        /// A person wants it sent again.
        RetriedByPerson = "retried_by_person",
        /// A person took it back.
        CancelledByPerson = "cancelled_by_person",
    }
}

impl OutgoingReason {
    /// An English sentence without its full stop.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Accepted => "waits for its turn",
            Self::TryAgain => "the platform did not take it, it is tried again",
            Self::HookMissing => "refused, the bot hook is set anew and it is sent once more",
            Self::Refused => "the platform refuses it",
            Self::Taken => "the platform took it",
            Self::EchoSeen => "it was seen on the platform",
            Self::EffectSeen => "its effect was seen on the platform",
            Self::OutcomeUnknown => "nobody knows whether the platform took it",
            Self::ProvenAbsent => "it did not come back, so the platform did not take it",
            Self::NeedsPerson => {
                "nothing can tell whether the platform took it, look into the chat and say retry \
                 or cancel"
            }
            Self::TreatmentOver => "its treatment was over before",
            Self::RetriedByPerson => "a person wants it sent again",
            Self::CancelledByPerson => "cancelled by a person",
        }
    }
}

/// One thing to be done in a chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its id.
    pub id: OutgoingId,
    /// Its place: what came in later has a higher one.
    pub seq: i64,
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
    /// Name of the file.
    pub file_name: Option<String>,
    /// The treatment it is about; of a message, the one it was seen in.
    pub treatment: Option<TreatmentId>,
    /// Where it is.
    pub state: OutgoingState,
    /// Why.
    pub reason: OutgoingReason,
    /// The platform's or a person's own words to that.
    pub words: Option<String>,
    /// Goes up with every claim: an answer with an older number is not ours any more.
    pub fence: i64,
    /// When it may be claimed; in doubt, when it is to be settled.
    pub due_at: Time,
    /// Until when a claim holds.
    pub lease_until: Option<Time>,
    /// Calls in a row that came to nothing.
    pub failures: i64,
    /// When it was last claimed, in our time.
    pub claimed_at: Option<Time>,
    /// When the platform said that it took it, or showed it.
    pub sent_at: Option<Time>,
    /// Since when its absence proves something, where that is not told by its call alone.
    pub proof_at: Option<Time>,
    /// The bot hook.
    pub rehook: Rehook,
    /// `message_id` of its echo: both kinds of hook deliver the same one.
    pub echo: Option<String>,
}

impl fmt::Debug for Outgoing {
    /// Everything but what people wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("line", &self.line)
            .field("user", &self.user)
            .field("state", &self.state)
            .field("reason", &self.reason)
            .field("fence", &self.fence)
            .field("due_at", &self.due_at)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Whether only a person can say what became of it: what came in later need not wait for it.
    pub fn needs_person(&self) -> bool {
        self.state == OutgoingState::InDoubt && self.due_at == Time::NEVER
    }

    /// Whether what came in later for its chat has to wait for it.
    pub fn holds_turn(&self) -> bool {
        self.state.is_unfinished() && !self.needs_person()
    }

    fn become_(&mut self, state: OutgoingState, reason: OutgoingReason, words: Option<String>) {
        self.state = state;
        self.reason = reason;
        self.words = words.filter(|words| !words.is_empty());
        self.lease_until = None;
    }

    fn be_sent(&mut self, reason: OutgoingReason, now: Time) {
        self.become_(OutgoingState::Sent, reason, None);
        self.sent_at = self.sent_at.or(Some(now));
    }
}

/// Draws the conclusion from the answer to the call of a claimed one. The caller has checked the
/// fencing number; what an event was faster to tell stands.
pub fn conclude(one: &mut Outgoing, answer: &Answer, in_doubt_after: Span, now: Time) {
    let is_news = match one.state {
        OutgoingState::Sending => true,
        OutgoingState::InDoubt => !matches!(answer, Answer::Unknown { .. }),
        _ => false,
    };
    if !is_news {
        return;
    }
    match answer {
        Answer::Done => one.be_sent(OutgoingReason::Taken, now),
        Answer::NotDone { why, retry_after } => {
            let backoff = why.backoff();
            one.failures += i64::from(backoff.is_some());
            let wait = backoff.map_or(Span::ZERO, |backoff| backoff.after(one.failures));
            one.become_(OutgoingState::Queued, OutgoingReason::TryAgain, Some(why.to_string()));
            one.due_at = now.plus(retry_after.unwrap_or(Span::ZERO).max(wait));
        }
        Answer::Unknown { detail } => doubt(one, detail, in_doubt_after, now),
        Answer::Refused { status, text } => refused(one, *status, text, now),
    }
}

/// From now on only what is heard of it can tell.
pub fn doubt(one: &mut Outgoing, detail: &str, in_doubt_after: Span, now: Time) {
    if one.kind.is_harmless_twice() {
        one.failures += 1;
        if one.failures >= HARMLESS_REPEATS_MAX {
            let words = Some(detail.to_owned());
            one.become_(OutgoingState::Rejected, OutgoingReason::OutcomeUnknown, words);
            return;
        }
        one.become_(OutgoingState::Queued, OutgoingReason::TryAgain, Some(detail.to_owned()));
        one.due_at = now.plus(Backoff::PLATFORM.after(one.failures));
        return;
    }
    let words = Some(detail.to_owned());
    one.become_(OutgoingState::InDoubt, OutgoingReason::OutcomeUnknown, words);
    one.failures = 0;
    one.due_at = now.plus(in_doubt_after);
}

fn refused(one: &mut Outgoing, status: u16, text: &str, now: Time) {
    let words = if text.is_empty() { format!("{status}") } else { format!("{status}, {text}") };
    // Close, transfer and assign act as the bot too (`connect-api.md` 5.6).
    let as_bot = one.mode == SendMode::Bot || !one.kind.is_message();
    if as_bot && one.rehook == Rehook::No && hook_suspected(status, text) {
        one.rehook = Rehook::Wanted;
        one.become_(OutgoingState::Queued, OutgoingReason::HookMissing, Some(words));
        one.due_at = now;
        return;
    }
    one.become_(OutgoingState::Rejected, OutgoingReason::Refused, Some(words));
}

/// Takes one event of a chat into account: our own message that came back.
///
/// `chat` holds what was sent into the chats at hand: whatever is unfinished, and messages that
/// were taken within [`ECHO_EXPECTED_WITHIN`].
pub fn hear(chat: &mut BTreeMap<i64, Outgoing>, event: &Event, heard_at: Time) {
    let (Some(line), Some(user)) = (&event.line, &event.user) else { return };
    // For a text or a file the user himself wrote, he is the author (`connect-api.md` 3.9).
    let by_user = event.author.as_ref() == Some(user);
    if by_user || !matches!(event.message_type, Some(event::TEXT | event::FILE)) {
        return;
    }
    let here = |one: &Outgoing| one.line == *line && one.user == *user;
    let is_known = |one: &Outgoing| event.message_id.is_some() && one.echo == event.message_id;
    if let Some(known) = chat.values_mut().find(|one| here(one) && is_known(one)) {
        // The copy for the other kind of hook may be the one that names the treatment.
        known.treatment = known.treatment.take().or_else(|| event.treatment.clone());
        return;
    }
    let written_at = event.message_time.unwrap_or(heard_at).min(heard_at);
    // Oldest first: of two messages with the same words, the older came back first.
    let echoed = chat.values_mut().find(|one| {
        here(one) && one.echo.is_none() && is_awaited(one, written_at) && is_same(one, event)
    });
    if let Some(one) = echoed {
        one.echo.clone_from(&event.message_id);
        one.treatment.clone_from(&event.treatment);
        if one.state == OutgoingState::Sent {
            one.reason = OutgoingReason::EchoSeen;
        } else {
            one.be_sent(OutgoingReason::EchoSeen, heard_at);
        }
    }
}

/// Whether its echo may be one written then.
fn is_awaited(one: &Outgoing, written_at: Time) -> bool {
    let Some(claimed_at) = one.claimed_at else { return false };
    let was_called = match one.state {
        OutgoingState::Sending | OutgoingState::InDoubt => true,
        // Not taken, said the platform; and yet here it is.
        OutgoingState::Queued => one.fence > 0,
        OutgoingState::Sent => written_at <= claimed_at.plus(ECHO_EXPECTED_WITHIN),
        OutgoingState::Rejected | OutgoingState::Cancelled => false,
    };
    was_called && written_at.plus(CLOCKS_APART_MAX) >= claimed_at
}

/// Whether an event tells of what this message says, by whom it says it.
fn is_same(one: &Outgoing, event: &Event) -> bool {
    let by_author = match (&one.author, &event.author) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    };
    let says = match (one.kind, event.message_type) {
        (OutgoingKind::Text, Some(event::TEXT)) => {
            same_words(one.text.as_deref(), event.text.as_deref())
        }
        (OutgoingKind::File | OutgoingKind::Image, Some(event::FILE)) => {
            let name = event.file.as_ref().and_then(|file| file.name.as_deref());
            same_words(one.file_name.as_deref(), name)
        }
        _ => false,
    };
    by_author && says
}

/// Whether two texts have the same words: blanks at line ends and kinds of line ends may change on
/// the way.
fn same_words(ours: Option<&str>, theirs: Option<&str>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.split_whitespace().eq(theirs.split_whitespace()),
        _ => false,
    }
}

/// Brings what is to become of treatments in line with what became of them.
pub fn settle_by_treatments(
    chat: &mut BTreeMap<i64, Outgoing>,
    treatments: &Treatments,
    now: Time,
) {
    for one in chat.values_mut().filter(|one| !one.kind.is_message() && one.state.is_unfinished()) {
        let treatment = one.treatment.as_ref().and_then(|id| treatments.by_id(id));
        let Some(end) = treatment.and_then(|treatment| treatment.end.as_ref()) else { continue };
        let was_called = one.state != OutgoingState::Queued || one.fence > 0;
        let is_effect = match one.kind {
            OutgoingKind::Close => was_called,
            OutgoingKind::Transfer => was_called && end.kind == EndKind::Moved,
            _ => false,
        };
        if is_effect {
            one.be_sent(OutgoingReason::EffectSeen, now);
        } else {
            one.become_(OutgoingState::Rejected, OutgoingReason::TreatmentOver, None);
        }
    }
}

/// Settles a doubt about a close or a transfer by a look at its line, asked for at `requested_at`,
/// that shows its treatment as open.
pub fn settle_by_look(one: &mut Outgoing, in_doubt_after: Span, requested_at: Time, now: Time) {
    if one.state != OutgoingState::InDoubt || one.kind.is_message() || one.due_at > requested_at {
        return;
    }
    if requested_at < provable(one, Span::ZERO) {
        one.due_at = provable(one, Span::ZERO).max(now.plus(in_doubt_after));
        return;
    }
    one.become_(OutgoingState::Queued, OutgoingReason::ProvenAbsent, None);
    one.due_at = now;
}

/// Settles a doubt about a message whose time has come and whose echo did not.
///
/// The platform delivers what we could not take in again (`connect-api.md` 3.1), so the absence of
/// an echo proves something, but only where echoes are known to come: `echoes_come` says that the
/// line's events reach us and that a message in the same mode was seen to come back.
pub fn settle_by_silence(one: &mut Outgoing, echoes_come: bool, in_doubt_after: Span, now: Time) {
    if one.state != OutgoingState::InDoubt || !one.kind.is_message() || one.due_at > now {
        return;
    }
    let repeats = Span::from_micros(in_doubt_after.micros().saturating_mul(REPEATS_TAKE));
    let provable = provable(one, repeats);
    if !echoes_come || provable == Time::NEVER {
        let words = one.words.clone();
        one.become_(OutgoingState::InDoubt, OutgoingReason::NeedsPerson, words);
        one.due_at = Time::NEVER;
    } else if now < provable {
        one.due_at = provable;
    } else {
        one.become_(OutgoingState::Queued, OutgoingReason::ProvenAbsent, None);
        one.due_at = now;
    }
}

/// Since when the absence of an effect proves that the call was not carried out.
fn provable(one: &Outgoing, repeats: Span) -> Time {
    let wait = CARRIED_OUT_WITHIN.max(repeats);
    let carried_out = one.claimed_at.map(|claimed_at| claimed_at.plus(wait));
    carried_out.max(one.proof_at).unwrap_or(one.due_at)
}

/// What a person may do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutgoingCommand {
    /// Take it back, or be content with what is known.
    Cancel,
    /// Send a rejected one again, or one in doubt after a look into the chat.
    Retry,
}

/// Why a command cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutgoingCommandRefused {
    /// It is under way at this moment.
    #[error("it is being sent at this moment; try again in a few seconds")]
    BeingSent,
    /// It is past the point where this could be done.
    #[error("it is {}, and {command} is possible only while it is {allowed}", state.as_str())]
    WrongState {
        /// Where it is.
        state: OutgoingState,
        /// What was asked.
        command: &'static str,
        /// Where it would have to be.
        allowed: &'static str,
    },
}

/// Carries out a person's command. Repeating one that has its effect already changes nothing.
pub fn command(
    one: &mut Outgoing,
    command: OutgoingCommand,
    words: &str,
    now: Time,
) -> Result<(), OutgoingCommandRefused> {
    use OutgoingState as S;
    let words = Some(words.to_owned());
    match (command, one.state) {
        (OutgoingCommand::Cancel, S::Cancelled) | (OutgoingCommand::Retry, S::Queued) => {}
        (OutgoingCommand::Cancel | OutgoingCommand::Retry, S::Sending) => {
            return Err(OutgoingCommandRefused::BeingSent);
        }
        (OutgoingCommand::Cancel, S::Queued | S::InDoubt | S::Rejected) => {
            one.become_(S::Cancelled, OutgoingReason::CancelledByPerson, words);
        }
        (OutgoingCommand::Retry, S::InDoubt | S::Rejected) => {
            one.become_(S::Queued, OutgoingReason::RetriedByPerson, words);
            one.rehook = Rehook::No;
            one.failures = 0;
            one.due_at = now;
        }
        (OutgoingCommand::Cancel, state) => {
            let allowed = "queued, in_doubt or rejected";
            return Err(OutgoingCommandRefused::WrongState { state, command: "cancel", allowed });
        }
        (OutgoingCommand::Retry, state) => {
            let allowed = "in_doubt or rejected";
            return Err(OutgoingCommandRefused::WrongState { state, command: "retry", allowed });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
