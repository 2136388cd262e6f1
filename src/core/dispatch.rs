//! Dispatches: one try to send one payment to one line, which is also the line's reservation.
//!
//! [`choose`] decides which waiting payments go to which lines; [`conclude`] decides what follows
//! from the answer of the platform.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::id::{LineId, PaymentId, TreatmentId, UserId};
use crate::core::line::{Line, LineState, Occupancy};
use crate::core::outcome::{Answer, NotDone, hook_suspected};
use crate::core::payment::{Payment, PaymentState};
use crate::core::time::{Span, Time};
use crate::core::why::{Reason, ReasonCode, codes};

/// How long a refusal of a user on a line is remembered.
pub const REFUSAL_REMEMBERED: Span = Span::from_secs(3_600);

/// How long to wait for the treatment of a message that the platform took, before one look.
pub const TREATMENT_EXPECTED_WITHIN: Span = Span::from_secs(120);

/// How long after its claim the platform may still carry out a call that we have given up.
///
/// The call ends with its claim, 13 s at the most. Then the platform may be at work on it for as
/// long as an answer is waited for, 10 s; and the clocks of two replicas may differ by a little.
/// Before that a look that does not find the message proves nothing, however soon it was made.
pub const CARRIED_OUT_WITHIN: Span = Span::from_secs(25);

/// After a time without our hearing this short the platform repeats whatever it could not deliver:
/// its second and last repetition was seen 35 s after the first try at the earliest
/// (`connect-api.md` 3.1).
pub const BRIDGED_BY_REPEATS: Span = Span::from_secs(30);

/// How many times as long as a fresh doubt one waits whose echo may be among the repeated events:
/// two minutes by default, and repeated events were seen up to 74 s late (`connect-api.md` 0).
pub const REPEATS_TAKE: i64 = 4;

/// Since when a look can prove absent what was being sent while nobody could hear for `away`.
///
/// Its treatment may have opened and closed meanwhile, so that no list shows it, and the events
/// that tell of it are still to be repeated. When they may be lost for good, no look ever proves it.
pub fn proof_after_gap(away: Span, in_doubt_after: Span, now: Time) -> Time {
    if away > BRIDGED_BY_REPEATS {
        return Time::NEVER;
    }
    now.plus(Span::from_micros(in_doubt_after.micros().saturating_mul(REPEATS_TAKE)))
}

/// How a message is written into a chat (`connect-api.md` 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendMode {
    /// The bot writes, on behalf of a specialist if one is named.
    Bot,
    /// The specialist writes: `bot_as_spec` is set.
    Specialist,
}

codes! {
    /// Where a dispatch is on its way.
    Phase {
        /// The line is set aside; nothing was sent.
        Reserved = "reserved",
        /// A call is under way, or was when its caller vanished.
        Sending = "sending",
        /// The call ended and nobody knows how.
        InDoubt = "in_doubt",
        /// The platform took the message; its treatment was not seen yet.
        Sent = "sent",
        /// Its treatment is open.
        Open = "open",
        /// Its treatment is over.
        Closed = "closed",
        /// The platform refused it.
        Refused = "refused",
        /// It was surely not sent and will not be.
        Undone = "undone",
    }
}

impl Phase {
    /// Whether the line is set aside for it and its treatment is not known yet.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Reserved | Self::Sending | Self::InDoubt | Self::Sent)
    }

    /// Whether it holds its slot on the line.
    pub const fn is_active(self) -> bool {
        self.is_pending() || matches!(self, Self::Open)
    }
}

codes! {
    /// What is known of the bot hook in the course of one dispatch.
    Rehook {
        /// It was not suspected.
        No = "no",
        /// It is to be set before the next try.
        Wanted = "wanted",
        /// It was set; a further refusal is meant.
        Done = "done",
    }
}

/// One try to send one payment to one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dispatch {
    /// Its id.
    pub id: i64,
    /// The payment it is for.
    pub payment: PaymentId,
    /// The line; follows the treatment when that moves.
    pub line: LineId,
    /// The user.
    pub user: UserId,
    /// The specialist written as.
    pub author: Option<UserId>,
    /// Which of the line's places it holds; `None` when a move or the platform put it beyond them,
    /// and when only a person can settle its doubt.
    pub slot: Option<i64>,
    /// How many places the line had when this one was set aside.
    pub capacity: i64,
    /// Where it is.
    pub phase: Phase,
    /// Its treatment.
    pub treatment: Option<TreatmentId>,
    /// Goes up with every claim: an answer that comes with an older number is not ours any more.
    pub fence: i64,
    /// When it may be claimed, or looked after.
    pub due_at: Time,
    /// Until when a claim holds.
    pub lease_until: Option<Time>,
    /// Calls in a row that were surely not carried out; in doubt, looks that proved nothing.
    pub failures: i64,
    /// When it was last claimed, in our time: calls before were surely not carried out.
    pub claimed_at: Option<Time>,
    /// When the platform said that it took it.
    pub sent_at: Option<Time>,
    /// Since when a look can prove that the platform did not take it, where that is not told by the
    /// time of its call alone: see [`proof_after_gap`].
    pub proof_at: Option<Time>,
    /// The bot hook.
    pub rehook: Rehook,
    /// `message_id` of its echo: both kinds of hook deliver the same echo.
    pub echo: Option<String>,
}

impl Dispatch {
    /// Whether its doubt is one that no look can settle, only its echo or a person: it no longer
    /// keeps others from its line.
    pub const fn needs_person(&self) -> bool {
        matches!(self.phase, Phase::InDoubt) && self.slot.is_none()
    }
}

/// A payment that waits, as much of it as a choice needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Its id.
    pub payment: PaymentId,
    /// The user a treatment is opened for.
    pub user: UserId,
}

/// What a choice looks at: the lines of one manager and the head of their queue.
#[derive(Clone, Debug)]
pub struct Floor {
    /// All lines of the manager.
    pub lines: Vec<Line>,
    /// The waiting payments, in the order they leave.
    pub waiting: Vec<Waiting>,
    /// Users that the platform refused on a line, with its words, as long as that is remembered.
    pub refused: BTreeMap<(LineId, UserId), String>,
    /// Users that have an open treatment or a dispatch on a line.
    pub present: BTreeSet<(LineId, UserId)>,
}

/// What was decided for one waiting payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// It goes to this line.
    Line(LineId),
    /// The platform refuses its user on every enabled line; in its words.
    RefusedEverywhere(String),
    /// It has to wait.
    Waits,
}

/// Decides for each waiting payment, in order, and takes the room it gives away.
pub fn choose(floor: &mut Floor) -> Vec<(PaymentId, Choice)> {
    floor.lines.sort_by(|a, b| {
        (a.position, a.last_used_at, &a.id).cmp(&(b.position, b.last_used_at, &b.id))
    });
    let waiting = std::mem::take(&mut floor.waiting);
    waiting.into_iter().map(|one| (one.payment.clone(), choose_for(floor, &one))).collect()
}

fn choose_for(floor: &mut Floor, one: &Waiting) -> Choice {
    let pair = |line: &Line| (line.id.clone(), one.user.clone());
    let fits = |line: &&mut Line| {
        line.occupancy.room() > 0
            && !floor.refused.contains_key(&pair(line))
            && !floor.present.contains(&pair(line))
    };
    if let Some(line) = floor.lines.iter_mut().find(fits) {
        line.occupancy.reserved += 1;
        let id = line.id.clone();
        floor.present.insert((id.clone(), one.user.clone()));
        return Choice::Line(id);
    }
    let mut enabled = floor.lines.iter().filter(|line| line.occupancy.enabled).peekable();
    if enabled.peek().is_none() {
        return Choice::Waits;
    }
    let words: Option<Vec<&String>> = enabled.map(|line| floor.refused.get(&pair(line))).collect();
    match words {
        Some(words) => Choice::RefusedEverywhere(words.first().map_or("", |w| w).to_owned()),
        None => Choice::Waits,
    }
}

/// Users who can go to no line that has room, and are not refused everywhere either: their payments
/// need not be looked at. Whoever else waits either goes or is rejected.
pub fn stuck(floor: &Floor) -> BTreeSet<UserId> {
    let with_room: Vec<&Line> = floor.lines.iter().filter(|l| l.occupancy.room() > 0).collect();
    let enabled: Vec<&Line> = floor.lines.iter().filter(|l| l.occupancy.enabled).collect();
    let is_refused =
        |line: &Line, user: &UserId| floor.refused.contains_key(&(line.id.clone(), user.clone()));
    let is_present =
        |line: &Line, user: &UserId| floor.present.contains(&(line.id.clone(), user.clone()));
    let users: BTreeSet<&UserId> =
        floor.refused.keys().chain(&floor.present).map(|(_, user)| user).collect();
    users
        .into_iter()
        .filter(|user| with_room.iter().all(|l| is_refused(l, user) || is_present(l, user)))
        .filter(|user| !enabled.iter().all(|line| is_refused(line, user)))
        .cloned()
        .collect()
}

/// Whether those who still wait can be told that all lines are busy: before the first look at the
/// lines nobody knows.
pub fn can_tell_busy(floor: &Floor) -> bool {
    let mut enabled = floor.lines.iter().filter(|line| line.occupancy.enabled).peekable();
    enabled.peek().is_none() || enabled.any(|line| line.occupancy.known)
}

/// Why a waiting payment does not go to a line, one reason for each line of its manager.
pub fn obstacles(floor: &Floor, user: &UserId) -> Vec<Reason> {
    if floor.lines.is_empty() {
        return vec![Reason::plain(ReasonCode::NoLines)];
    }
    let why = |line: &Line| {
        let pair = (line.id.clone(), user.clone());
        let code = match line.occupancy.state() {
            LineState::Disabled => ReasonCode::LineDisabled,
            LineState::Paused => ReasonCode::LinePaused,
            LineState::Unknown => ReasonCode::LineUnknown,
            LineState::Busy => ReasonCode::LineBusy,
            LineState::Reserved => ReasonCode::LineIsReserved,
            LineState::Free if floor.refused.contains_key(&pair) => ReasonCode::UserRefused,
            LineState::Free if floor.present.contains(&pair) => ReasonCode::UserOnLine,
            LineState::Free => return None,
        };
        let reason = Reason::on_line(code, line.id.clone());
        Some(match floor.refused.get(&pair) {
            Some(words) if code == ReasonCode::UserRefused => reason.saying(words),
            _ => reason,
        })
    };
    floor.lines.iter().filter_map(why).collect()
}

/// What a conclusion needs to know beside the dispatch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How messages are written.
    pub mode: SendMode,
    /// How long to wait for an echo before looking at the line.
    pub in_doubt_after: Span,
}

/// What else has to be written down after a conclusion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// The user is not wanted on this line: remembered with the platform's words.
    RememberRefusal(String),
}

/// Draws the conclusion from the answer to the call of a claimed dispatch.
///
/// The caller has checked the fencing number. If an echo was faster than the answer, the dispatch
/// is no longer `Sending` and the answer changes nothing.
pub fn conclude(
    dispatch: &mut Dispatch,
    payment: &mut Payment,
    answer: &Answer,
    policy: Policy,
    now: Time,
) -> Consequence {
    // The answer may come after its claim had run out: it is still the answer to that call.
    let is_news = match dispatch.phase {
        Phase::Sending => true,
        Phase::InDoubt => !matches!(answer, Answer::Unknown { .. }),
        _ => false,
    };
    if !is_news {
        if *answer == Answer::Done && dispatch.sent_at.is_none() {
            dispatch.sent_at = Some(now);
        }
        return Consequence::Nothing;
    }
    dispatch.lease_until = None;
    let consequence = match answer {
        Answer::Done => {
            taken(dispatch, payment, now, Reason::plain(ReasonCode::MessageTaken));
            Consequence::Nothing
        }
        Answer::NotDone { why, retry_after } => {
            not_done(dispatch, payment, why, *retry_after, now);
            Consequence::Nothing
        }
        Answer::Unknown { detail } => {
            doubt(dispatch, payment, detail, policy.in_doubt_after, now);
            Consequence::Nothing
        }
        Answer::Refused { status, text } => {
            refused(dispatch, payment, (*status, text), policy.mode, now)
        }
    };
    // Its place may be somebody else's by now.
    if dispatch.phase == Phase::Reserved && dispatch.slot.is_none() {
        give_back(dispatch, payment, payment.reason.clone());
    }
    consequence
}

/// A reservation for which nothing was sent yet, as the line sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Untouched {
    /// Its dispatch.
    pub dispatch: i64,
    /// Its user has an open treatment on the line by now, and it does not count as reserved.
    pub user_present: bool,
    /// The line is still one of the payment's manager.
    pub of_manager: bool,
}

/// Which of a line's untouched reservations, oldest first, it cannot serve any more, and why:
/// somebody else was faster, or a person has changed the line. Their payments find another line.
pub fn surplus(occupancy: Occupancy, untouched: &[Untouched]) -> Vec<(i64, ReasonCode)> {
    let unfit = |one: &Untouched| match occupancy.state() {
        LineState::Disabled => Some(ReasonCode::LineDisabled),
        LineState::Paused => Some(ReasonCode::LinePaused),
        // Nobody hears what happens there, and nobody knows for how long.
        LineState::Unknown => Some(ReasonCode::LineUnknown),
        _ if one.user_present => Some(ReasonCode::UserOnLine),
        _ if !one.of_manager => Some(ReasonCode::LineOfOther),
        _ => None,
    };
    let mut returned: Vec<(i64, ReasonCode)> =
        untouched.iter().filter_map(|one| Some((one.dispatch, unfit(one)?))).collect();
    let fit = || untouched.iter().filter(|one| unfit(one).is_none());
    let leaving = untouched.iter().filter(|one| unfit(one).is_some() && !one.user_present).count();
    let wanted = occupancy.open + occupancy.reserved - i64::try_from(leaving).unwrap_or(i64::MAX);
    let over = usize::try_from(wanted - occupancy.capacity).unwrap_or(0);
    returned.extend(fit().rev().take(over).map(|one| (one.dispatch, ReasonCode::LineBusy)));
    returned
}

/// Gives an untouched reservation back: its payment waits for a line again.
pub fn give_back(dispatch: &mut Dispatch, payment: &mut Payment, reason: Reason) {
    dispatch.phase = Phase::Undone;
    dispatch.lease_until = None;
    payment.become_(PaymentState::Queued, reason);
}

/// The platform has the message.
fn taken(dispatch: &mut Dispatch, payment: &mut Payment, now: Time, reason: Reason) {
    dispatch.phase = Phase::Sent;
    dispatch.sent_at = Some(now);
    dispatch.due_at = now.plus(TREATMENT_EXPECTED_WITHIN);
    payment.line = Some(dispatch.line.clone());
    payment.dispatched_at = payment.dispatched_at.or(Some(now));
    payment.become_(PaymentState::Dispatched, Reason { line: payment.line.clone(), ..reason });
}

fn not_done(
    dispatch: &mut Dispatch,
    payment: &mut Payment,
    why: &NotDone,
    retry_after: Option<Span>,
    now: Time,
) {
    dispatch.phase = Phase::Reserved;
    let backoff = why.backoff();
    dispatch.failures += i64::from(backoff.is_some());
    let wait = backoff.map_or(Span::ZERO, |backoff| backoff.after(dispatch.failures));
    dispatch.due_at = now.plus(retry_after.unwrap_or(Span::ZERO).max(wait));
    let reason =
        Reason::on_line(ReasonCode::TryAgain, dispatch.line.clone()).saying(why.to_string());
    // A platform that is down for an hour must not fill the timeline: one entry says it all.
    if payment.reason.code == ReasonCode::TryAgain {
        payment.reason = reason;
    } else {
        payment.become_(PaymentState::Sending, reason);
    }
}

/// From now on only an echo or a look can tell.
pub fn doubt(
    dispatch: &mut Dispatch,
    payment: &mut Payment,
    detail: &str,
    in_doubt_after: Span,
    now: Time,
) {
    dispatch.phase = Phase::InDoubt;
    dispatch.lease_until = None;
    // From here on they count looks that prove nothing.
    dispatch.failures = 0;
    dispatch.due_at = now.plus(in_doubt_after);
    let reason = Reason::on_line(ReasonCode::OutcomeUnknown, dispatch.line.clone());
    payment.become_(PaymentState::InDoubt, reason.saying(detail));
}

fn refused(
    dispatch: &mut Dispatch,
    payment: &mut Payment,
    (status, text): (u16, &str),
    mode: SendMode,
    now: Time,
) -> Consequence {
    let words = if text.is_empty() { format!("{status}") } else { format!("{status}, {text}") };
    let on_line = |code| Reason::on_line(code, dispatch.line.clone()).saying(words.clone());
    let is_first = mode == SendMode::Bot && dispatch.rehook == Rehook::No;
    if is_first && hook_suspected(status, text) {
        dispatch.phase = Phase::Reserved;
        dispatch.rehook = Rehook::Wanted;
        dispatch.due_at = now;
        payment.become_(PaymentState::Sending, on_line(ReasonCode::HookMissing));
        return Consequence::Nothing;
    }
    dispatch.phase = Phase::Refused;
    // 400, 413 and 422 speak of the message itself: no other line would take it.
    if matches!(status, 400 | 413 | 422) {
        payment.become_(PaymentState::Rejected, on_line(ReasonCode::RefusedForGood));
        return Consequence::Nothing;
    }
    payment.become_(PaymentState::Queued, on_line(ReasonCode::LineRefused));
    Consequence::RememberRefusal(words)
}

#[cfg(test)]
mod tests;
