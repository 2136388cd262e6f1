//! What an event or a list of open treatments does to treatments, dispatches and payments.

use std::collections::BTreeMap;

use crate::core::dispatch::{CARRIED_OUT_WITHIN, Dispatch, Phase, TREATMENT_EXPECTED_WITHIN};
use crate::core::event::{self, Direction, Event, EventSource, Movement};
use crate::core::id::{LineId, PaymentId, TreatmentId, UserId};
use crate::core::number::Number;
use crate::core::payment::{Payment, PaymentState};
use crate::core::time::{Span, Time};
use crate::core::treatment::{CLOCKS_APART_MAX, EndKind, Opener, Sign, Treatment, Treatments};
use crate::core::why::{Reason, ReasonCode, codes};

/// What the rules look at: the store loads as much of it as the events at hand can concern.
#[derive(Clone, Default, Debug)]
pub struct View {
    /// Treatments that the events name, and those of the same users on the same lines.
    pub treatments: Treatments,
    /// Dispatches of the numbers, treatments, and (line, user) pairs that the events name.
    pub dispatches: BTreeMap<i64, Dispatch>,
    /// The payments of those dispatches.
    pub payments: BTreeMap<PaymentId, Payment>,
}

codes! {
    /// What became of an event.
    Verdict {
        /// It was taken into account.
        Applied = "applied",
        /// It says nothing about treatments.
        Ignored = "ignored",
        /// It lacks what its type needs; kept for people to look at.
        Quarantined = "quarantined",
    }
}

/// Takes one event into account, heard at `heard_at` in our time.
pub fn apply_event(view: &mut View, event: &Event, heard_at: Time) -> Verdict {
    let about_lines = event.family.as_deref().is_none_or(|family| family == "line");
    let Some(message_type) = event.message_type.filter(|_| about_lines) else {
        return Verdict::Ignored;
    };
    let (Some(line), Some(user)) = (&event.line, &event.user) else {
        // Mailings and tickets need not name a chat; anything else must.
        return match message_type {
            2 | 121..=124 => Verdict::Ignored,
            _ => Verdict::Quarantined,
        };
    };
    // Our clock may have been set back since a call was made: what is heard after it is after it.
    let calls = view.dispatches.values().filter(|d| d.phase.is_active() && d.user == *user);
    let after_calls = calls.filter_map(|dispatch| dispatch.claimed_at).fold(heard_at, Time::max);
    let sign = Sign {
        line: line.clone(),
        user: user.clone(),
        at: believable(event.message_time, heard_at),
        initialized_at: event.initialized_at,
        opener: opener(event),
        heard_at: after_calls,
    };
    let verdict = apply_sign(view, event, message_type, &sign);
    if message_type == event::TEXT {
        apply_echo(view, event, &sign);
    }
    settle(view, heard_at);
    verdict
}

/// How much later than it was heard something may have happened: clocks differ.
const AHEAD_MAX: Span = Span::from_secs(3_600);

/// When something happened that somebody says happened at `told`.
///
/// A time far ahead is not believed: every later event of the same chat would be older than it,
/// and a busy line would look free until that time has come.
pub fn believable(told: Option<Time>, heard_at: Time) -> Time {
    told.filter(|told| *told <= heard_at.plus(AHEAD_MAX)).unwrap_or(heard_at)
}

/// Who opened a treatment whose first event this is.
fn opener(event: &Event) -> Opener {
    match (&event.author, event.message_type) {
        (_, Some(event::MOVED)) => Opener::Moved,
        // Type 80 names the assigned specialist, yet it is the user who began.
        (_, Some(event::ASSIGNED)) => Opener::User,
        (Some(author), _) if Some(author) == event.user.as_ref() => Opener::User,
        (Some(_), _) => Opener::Specialist,
        (None, _) => Opener::Unknown,
    }
}

fn apply_sign(view: &mut View, event: &Event, message_type: i64, sign: &Sign) -> Verdict {
    let treatments = &mut view.treatments;
    // Without the treatment's id only the bot's copies mean "the one of this user on this line".
    let by_pair = event.treatment.is_none() && event.source != EventSource::Line;
    match (message_type, &event.treatment) {
        (event::RATED, Some(id)) => treatments.rate(id, sign),
        (event::CLOSED, Some(id)) => treatments.end(id, sign, EndKind::Closed, None),
        (code, Some(id)) if event::CLOSED_AUTOMATICALLY.contains(&code) => {
            treatments.end(id, sign, EndKind::Closed, None);
        }
        (event::MOVED, id) => return apply_move(view, id.as_ref(), event.movement.as_ref(), sign),
        (event::TEXT | event::FILE, Some(id)) => treatments.written_in(id, sign),
        (_, Some(id)) => treatments.touch(id, sign),
        (event::RATED, None) => {}
        (code, None) if code == event::CLOSED || event::CLOSED_AUTOMATICALLY.contains(&code) => {
            if !by_pair {
                return Verdict::Quarantined;
            }
            treatments.end_pair(sign, EndKind::Closed, None);
        }
        (code, None) if by_pair => {
            treatments.touch_pair(sign, opens_without_id(code));
        }
        (_, None) => return Verdict::Ignored,
    }
    Verdict::Applied
}

/// Whether an event without a treatment's id can be the first of a new treatment.
const fn opens_without_id(message_type: i64) -> bool {
    matches!(message_type, 1 | 20 | 50 | 51 | 70 | 80 | 81 | 83 | 84 | 86 | 200)
}

/// Either half of a move updates both lines (`connect-api.md` 3.5).
fn apply_move(
    view: &mut View,
    id: Option<&TreatmentId>,
    movement: Option<&Movement>,
    sign: &Sign,
) -> Verdict {
    let treatments = &mut view.treatments;
    let Some(movement) = movement else {
        return Verdict::Quarantined;
    };
    let other_side =
        |line: &LineId| Sign { line: line.clone(), initialized_at: None, ..sign.clone() };
    match movement.direction {
        Direction::To => {
            let target = movement.treatment.clone();
            let source = match id {
                Some(id) => {
                    treatments.end(id, sign, EndKind::Moved, target.clone());
                    Some(id.clone())
                }
                None => treatments.end_pair(sign, EndKind::Moved, target.clone()),
            };
            match (&movement.line, &target) {
                (Some(line), Some(target)) => treatments.touch(target, &other_side(line)),
                (Some(line), None) => await_on_line(view, source.as_ref(), line, sign.heard_at),
                (None, _) => {}
            }
        }
        Direction::From => {
            let target = match id {
                Some(id) => {
                    treatments.touch(id, sign);
                    Some(id.clone())
                }
                None => treatments.touch_pair(sign, true),
            };
            match (&movement.line, &movement.treatment) {
                (Some(line), Some(source)) => {
                    treatments.end(source, &other_side(line), EndKind::Moved, target);
                }
                (None, Some(source)) => treatments.end(source, sign, EndKind::Moved, target),
                (Some(line), None) => {
                    let source = other_side(line);
                    if let Some(target) = &target {
                        treatments.moved_from_pair(&source, target);
                    }
                    treatments.end_pair(&source, EndKind::Moved, target);
                }
                (None, None) => {}
            }
        }
        // Moves between companies are not documented; the treatment is kept as it is.
        Direction::Elsewhere => match id {
            Some(id) => treatments.touch(id, sign),
            None => return Verdict::Ignored,
        },
    }
    Verdict::Applied
}

/// The treatment goes on under an unknown id on `line`: its dispatch waits for it there.
fn await_on_line(view: &mut View, source: Option<&TreatmentId>, line: &LineId, now: Time) {
    let goes_on = source
        .and_then(|id| view.treatments.by_id(id))
        .and_then(|treatment| treatment.end.as_ref())
        .is_some_and(|end| end.moved_to.is_some());
    if goes_on {
        return;
    }
    let moved = view.dispatches.values_mut().find(|dispatch| {
        dispatch.phase.is_active() && source.is_some() && dispatch.treatment.as_ref() == source
    });
    if let Some(dispatch) = moved {
        dispatch.phase = Phase::Sent;
        dispatch.treatment = None;
        dispatch.line = line.clone();
        dispatch.slot = None;
        dispatch.due_at = now.plus(TREATMENT_EXPECTED_WITHIN);
    }
}

/// A text that carries numbers of ours, written by anybody but the user, is our message come back.
fn apply_echo(view: &mut View, event: &Event, sign: &Sign) {
    let Some(text) = &event.text else { return };
    if event.author.as_ref() == Some(&sign.user) {
        return;
    }
    for number in Number::find_all(text) {
        let payment = view.payments.values().find(|payment| payment.number == number);
        let Some(payment) = payment.map(|payment| payment.id.clone()) else { continue };
        let of_payment = || view.dispatches.values().filter(|d| d.payment == payment);
        let seen = of_payment().find(|d| event.message_id.is_some() && d.echo == event.message_id);
        if let Some(seen) = seen.map(|dispatch| dispatch.id) {
            relink(view, seen, event.treatment.as_ref());
            continue;
        }
        // The newest try at this chat that went out and whose echo was not heard yet: the one whose
        // treatment the echo names, else one that is not linked to a treatment yet.
        let unheard = of_payment().filter(|d| {
            let here = d.line == sign.line && d.user == sign.user;
            here && d.echo.is_none() && d.claimed_at.is_some()
        });
        let named = event.treatment.as_ref().and_then(|id| view.treatments.follow(id));
        let is_in_it = |d: &Dispatch| {
            named.is_some_and(|treatment| d.treatment.as_ref() == Some(&treatment.id))
        };
        let chosen = unheard.max_by_key(|d| (is_in_it(d), d.treatment.is_none(), d.id));
        let Some(id) = chosen.map(|d| d.id) else { continue };
        let there = || view.treatments.at(&sign.line, &sign.user, sign.at).map(|at| at.id.clone());
        let treatment = event.treatment.clone().or_else(there);
        if let Some(dispatch) = view.dispatches.get_mut(&id) {
            dispatch.echo.clone_from(&event.message_id);
        }
        let dispatch = view.dispatches.get(&id);
        // Long after the message, a specialist may quote it in a later treatment of the chat.
        let is_timely = dispatch.and_then(|dispatch| dispatch.sent_at).is_some_and(|sent_at| {
            sign.at.since(sent_at).max(sent_at.since(sign.at)) <= CLOCKS_APART_MAX
        });
        if dispatch.is_some_and(|dispatch| dispatch.treatment.is_some()) {
            relink(view, id, event.treatment.as_ref().filter(|_| is_timely));
        } else {
            echo_of(view, id, &payment, treatment, sign.heard_at);
        }
    }
}

/// The echo says which treatment the message is in; before it that was only concluded.
fn relink(view: &mut View, id: i64, treatment: Option<&TreatmentId>) {
    let (Some(dispatch), Some(treatment)) = (view.dispatches.get_mut(&id), treatment) else {
        return;
    };
    let is_linked = matches!(dispatch.phase, Phase::Sent | Phase::Open | Phase::Closed);
    let now_in = view.treatments.follow(treatment).map(|treatment| &treatment.id);
    if is_linked && now_in.is_some() && dispatch.treatment.as_ref() != now_in {
        dispatch.treatment = now_in.cloned();
    }
}

fn echo_of(
    view: &mut View,
    id: i64,
    payment: &PaymentId,
    treatment: Option<TreatmentId>,
    now: Time,
) {
    let others = view.dispatches.values().filter(|d| d.payment == *payment && d.id != id);
    let others: Vec<(i64, Phase)> = others.map(|other| (other.id, other.phase)).collect();
    let (Some(dispatch), Some(payment)) =
        (view.dispatches.get_mut(&id), view.payments.get_mut(payment))
    else {
        return;
    };
    if dispatch.phase == Phase::Open {
        return;
    }
    // A try that we had given up was taken after all.
    if !dispatch.phase.is_active() {
        dispatch.slot = None;
        let is_taken = |phase| matches!(phase, Phase::Sent | Phase::Open | Phase::Closed);
        if others.iter().any(|(_, phase)| is_taken(*phase)) {
            payment.note(Reason::on_line(ReasonCode::Doubled, dispatch.line.clone()));
            return;
        }
    }
    revive(dispatch, payment, treatment, now);
    // Nothing else may be sent for it. Should a call that is under way be taken nevertheless, then
    // its own echo tells.
    for (other, _) in others.iter().filter(|(_, phase)| phase.is_active()) {
        if let Some(other) = view.dispatches.get_mut(other) {
            other.phase = Phase::Undone;
            other.lease_until = None;
        }
    }
}

/// The message is on the platform: whatever was thought of it before.
fn revive(
    dispatch: &mut Dispatch,
    payment: &mut Payment,
    treatment: Option<TreatmentId>,
    now: Time,
) {
    dispatch.phase = Phase::Sent;
    dispatch.lease_until = None;
    dispatch.due_at = now.plus(TREATMENT_EXPECTED_WITHIN);
    dispatch.treatment.clone_from(&treatment);
    payment.line = Some(dispatch.line.clone());
    payment.treatment = treatment;
    payment.dispatched_at = payment.dispatched_at.or(Some(now));
    let was_cancelled = payment.state == PaymentState::Cancelled;
    let reason = Reason::on_line(ReasonCode::EchoSeen, dispatch.line.clone());
    payment.become_(PaymentState::Dispatched, reason);
    // What is on the platform is shown as it is: a payment that counted as cancelled while somebody
    // works on it would be the lie. Whoever cancelled it has to learn of it.
    if was_cancelled {
        payment.note(Reason::on_line(ReasonCode::CancelledTooLate, dispatch.line.clone()));
    }
}

/// Brings dispatches in line with the treatments they opened.
///
/// Part of every event and snapshot; wanted besides after an answer, because the treatment may
/// have been seen before it.
pub fn settle(view: &mut View, now: Time) {
    let View { treatments, dispatches, payments } = view;
    for dispatch in dispatches.values_mut() {
        let Some(payment) = payments.get_mut(&dispatch.payment) else { continue };
        // A message that was taken went into the one open treatment of its chat.
        if dispatch.phase == Phase::Sent && dispatch.treatment.is_none() {
            let open = treatments.open_of(&dispatch.line, &dispatch.user);
            dispatch.treatment = open.map(|open| open.id.clone());
        }
        let is_linked = matches!(dispatch.phase, Phase::Sent | Phase::Open | Phase::Closed);
        let Some(id) = dispatch.treatment.as_ref().filter(|_| is_linked) else { continue };
        if let Some(treatment) = treatments.follow(id) {
            follow_treatment(dispatch, payment, treatment, now);
        }
    }
}

fn follow_treatment(dispatch: &mut Dispatch, payment: &mut Payment, at: &Treatment, now: Time) {
    if dispatch.line != at.line {
        dispatch.line = at.line.clone();
        dispatch.slot = None;
        payment.note(Reason::on_line(ReasonCode::TreatmentMoved, at.line.clone()));
    }
    dispatch.treatment = Some(at.id.clone());
    payment.line = Some(at.line.clone());
    payment.treatment = Some(at.id.clone());
    match (&at.end, dispatch.phase) {
        (None, Phase::Sent | Phase::Closed) => {
            // The place it had may be given away since.
            dispatch.slot = dispatch.slot.filter(|_| dispatch.phase == Phase::Sent);
            dispatch.phase = Phase::Open;
            payment.closed_at = None;
            let reason = Reason::on_line(ReasonCode::TreatmentSeen, at.line.clone());
            payment.become_(PaymentState::Dispatched, reason);
        }
        (Some(end), Phase::Sent | Phase::Open) => {
            dispatch.phase = Phase::Closed;
            payment.closed_at = Some(now);
            let code = match end.kind {
                EndKind::NotListed => ReasonCode::TreatmentGone,
                EndKind::Closed | EndKind::Moved | EndKind::Superseded => {
                    ReasonCode::TreatmentClosed
                }
            };
            payment.become_(PaymentState::Closed, Reason::on_line(code, at.line.clone()));
        }
        _ => {}
    }
}

/// Treatments that the platform listed as open on one line.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The line that was looked at.
    pub line: &'a LineId,
    /// What the platform lists there.
    pub listed: &'a [Listed],
    /// When the look was asked for, in our time: what was heard since is newer.
    pub requested_at: Time,
}

/// One row of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its treatment.
    pub treatment: TreatmentId,
    /// Its user.
    pub user: UserId,
    /// When it began.
    pub initialized_at: Option<Time>,
}

/// Takes a list of open treatments into account: adds what we did not know and ends what is no
/// longer listed, but only where nothing newer than the request was heard.
///
/// Answers `false` where it and what was heard at about the same time contradict each other: then
/// nothing is changed there, and another look is needed after [`LOOK_ANEW_AFTER`].
///
/// The view must hold every open treatment of the line, every listed id, and the line's
/// pending dispatches.
pub fn apply_snapshot(view: &mut View, snapshot: &Snapshot<'_>, now: Time) -> bool {
    let line = snapshot.line;
    let (gone, kept): (Vec<Treatment>, Vec<Treatment>) = view
        .treatments
        .all()
        .filter(|t| t.is_open() && t.line == *line)
        .filter(|t| !snapshot.listed.iter().any(|l| l.treatment == t.id))
        // A provisional one is listed under its real id.
        .filter(|t| !(t.is_provisional() && snapshot.listed.iter().any(|l| l.user == t.user)))
        .cloned()
        .partition(|t| !heard_since(view, snapshot, &t.user));
    let news = snapshot.listed.iter().filter(|l| view.treatments.by_id(&l.treatment).is_none());
    let (news, passed_by): (Vec<&Listed>, Vec<&Listed>) =
        news.partition(|listed| !heard_since(view, snapshot, &listed.user));
    for listed in news {
        let at = believable(listed.initialized_at, snapshot.requested_at);
        let sign = Sign {
            line: line.clone(),
            user: listed.user.clone(),
            at,
            initialized_at: listed.initialized_at,
            opener: Opener::Unknown,
            // It may have begun while the answer was on its way: another look may be older.
            heard_at: snapshot.requested_at.max(at),
        };
        view.treatments.touch(&listed.treatment, &sign);
    }
    for treatment in gone {
        let sign = Sign {
            line: line.clone(),
            user: treatment.user.clone(),
            at: treatment.last_event_at,
            initialized_at: None,
            opener: treatment.opener,
            heard_at: snapshot.requested_at,
        };
        view.treatments.end(&treatment.id, &sign, EndKind::NotListed, None);
    }
    settle_by_look(view, snapshot, now);
    settle(view, now);
    kept.is_empty() && passed_by.is_empty()
}

/// Whether something newer than the request was heard of this user's chat, or may have been: an
/// event that is repeated late tells of a time before it, and clocks are not quite the same.
fn heard_since(view: &View, snapshot: &Snapshot<'_>, user: &UserId) -> bool {
    let requested_at = snapshot.requested_at;
    view.treatments.of_pair(snapshot.line, user).any(|treatment| {
        treatment.heard_at.plus(OUR_CLOCKS_APART_MAX) > requested_at
            && treatment.last_event_at.plus(CLOCKS_APART_MAX) > requested_at
    })
}

/// Settles what waits for a look at this line.
fn settle_by_look(view: &mut View, snapshot: &Snapshot<'_>, now: Time) {
    let View { treatments, dispatches, payments } = view;
    for dispatch in dispatches.values_mut().filter(|d| d.line == *snapshot.line) {
        let Some(payment) = payments.get_mut(&dispatch.payment) else { continue };
        let open = treatments.open_of(&dispatch.line, &dispatch.user);
        let is_due = dispatch.due_at <= snapshot.requested_at;
        match (dispatch.phase, open) {
            (Phase::InDoubt, _) if dispatch.needs_person() => {}
            (Phase::InDoubt, Some(open)) if can_be_ours(dispatch, open, snapshot, now) => {
                revive(dispatch, payment, Some(open.id.clone()), now);
                payment.note(Reason::on_line(ReasonCode::FoundByLook, dispatch.line.clone()));
            }
            // It began otherwise: whether our message is in it, only its echo or a person can say.
            (Phase::InDoubt, Some(_)) if is_due => inconclusive(dispatch, payment),
            // It may have come and gone while nobody could hear.
            (Phase::InDoubt, None) if is_due && provable(dispatch) == Time::NEVER => {
                inconclusive(dispatch, payment);
            }
            // The platform may still be at work on the call: not there yet is not absent.
            (Phase::InDoubt, None) if is_due && snapshot.requested_at < provable(dispatch) => {
                dispatch.due_at = provable(dispatch);
            }
            (Phase::InDoubt, None) if is_due => {
                let is_listed = snapshot.listed.iter().any(|listed| listed.user == dispatch.user);
                let was_taken = dispatch.sent_at.is_some();
                if is_listed || was_taken || was_open_since(treatments, dispatch, now) {
                    inconclusive(dispatch, payment);
                } else {
                    dispatch.phase = Phase::Undone;
                    let reason = Reason::on_line(ReasonCode::ProvenAbsent, dispatch.line.clone());
                    payment.become_(PaymentState::Queued, reason);
                }
            }
            (Phase::Sent, None) if is_due && dispatch.treatment.is_none() => {
                dispatch.phase = Phase::Closed;
                payment.closed_at = Some(now);
                let reason = Reason::on_line(ReasonCode::TreatmentGone, dispatch.line.clone());
                payment.become_(PaymentState::Closed, reason);
            }
            _ => {}
        }
    }
}

/// Since when a look can prove a call absent: the platform has carried it out or never will, and
/// what tells of it has come in.
fn provable(dispatch: &Dispatch) -> Time {
    let carried_out = dispatch.claimed_at.map(|claimed_at| claimed_at.plus(CARRIED_OUT_WITHIN));
    carried_out.max(dispatch.proof_at).unwrap_or(dispatch.due_at)
}

/// When the call for a dispatch was made at the earliest, by the platform's clock.
fn called_at(dispatch: &Dispatch, now: Time) -> Time {
    dispatch.claimed_at.unwrap_or(now).minus(CLOCKS_APART_MAX)
}

/// Whether an open treatment can have been opened by this dispatch and by nobody else we know of: it
/// began while the platform may have been at work on the call, by the platform's own list where
/// that says so, and we heard of nobody but a specialist who began it.
///
/// A conversation that a specialist began by hand in the very minute of the call, with this user on
/// this line, looks the same as long as neither echo comes, and is taken for ours. Neither list nor
/// assignment says which words it began with, and the words themselves prove nothing: ours may
/// stand in it above or below them.
fn can_be_ours(dispatch: &Dispatch, open: &Treatment, snapshot: &Snapshot<'_>, now: Time) -> bool {
    let listed = snapshot.listed.iter().find(|listed| listed.treatment == open.id);
    let told = listed.and_then(|listed| listed.initialized_at).unwrap_or(open.opened_at);
    let began_at = told.min(open.opened_at);
    let from = called_at(dispatch, now);
    let until = dispatch.claimed_at.unwrap_or(now).plus(CARRIED_OUT_WITHIN).plus(CLOCKS_APART_MAX);
    matches!(open.opener, Opener::Specialist | Opener::Unknown)
        && (from..=until).contains(&began_at)
}

/// Whether something opened and closed in its chat since the call, perhaps with our message in it.
fn was_open_since(treatments: &Treatments, dispatch: &Dispatch, now: Time) -> bool {
    let heard_from = dispatch.claimed_at.unwrap_or(now);
    treatments.of_pair(&dispatch.line, &dispatch.user).any(|treatment| {
        // Nobody knows when that ended which a look does not list any more.
        let ended_some_time =
            treatment.end.as_ref().is_some_and(|end| end.kind == EndKind::NotListed);
        treatment.heard_at >= heard_from
            && (ended_some_time || treatment.last_event_at >= called_at(dispatch, now))
    })
}

/// Keeps the doubt for its echo or a person to settle. Another look would prove no more, and what
/// a person may never come to must not keep the line from others: its place is given back.
fn inconclusive(dispatch: &mut Dispatch, payment: &mut Payment) {
    dispatch.slot = None;
    dispatch.due_at = Time::NEVER;
    let reason = Reason::on_line(ReasonCode::LookInconclusive, dispatch.line.clone());
    payment.become_(PaymentState::InDoubt, reason);
}

/// When a look that contradicts what was heard at about the same time is repeated: whatever was
/// heard by then is old.
pub const LOOK_ANEW_AFTER: Span = Span::from_secs(70);

/// How far the clocks of our replicas may be apart, and how far one of them may be set back.
const OUR_CLOCKS_APART_MAX: Span = Span::from_secs(5);

#[cfg(test)]
mod tests;
