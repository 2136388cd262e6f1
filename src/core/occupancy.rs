//! What an event or a list of open treatments does to treatments, dispatches and payments.

use std::collections::BTreeMap;

use crate::core::dispatch::{Dispatch, Phase, TREATMENT_EXPECTED_WITHIN};
use crate::core::event::{self, Direction, Event, EventSource, Movement};
use crate::core::id::{LineId, PaymentId, TreatmentId, UserId};
use crate::core::number::Number;
use crate::core::payment::{Payment, PaymentState};
use crate::core::retry::Backoff;
use crate::core::time::{Span, Time};
use crate::core::treatment::{EndKind, Opener, Sign, Treatment, Treatments};
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
    let sign = Sign {
        line: line.clone(),
        user: user.clone(),
        at: event.message_time.unwrap_or(heard_at),
        initialized_at: event.initialized_at,
        opener: opener(event),
        heard_at,
    };
    let verdict = apply_sign(view, event, message_type, &sign);
    if message_type == event::TEXT {
        apply_echo(view, event, &sign);
    }
    settle(view, heard_at);
    verdict
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
        (event::RATED, Some(id)) => {
            // A rating comes up to months later and may never open: it leaves a tombstone at most.
            if treatments.by_id(id).is_none() {
                treatments.end(id, sign, EndKind::Closed, None);
            }
        }
        (event::CLOSED, Some(id)) => treatments.end(id, sign, EndKind::Closed, None),
        (code, Some(id)) if event::CLOSED_AUTOMATICALLY.contains(&code) => {
            treatments.end(id, sign, EndKind::Closed, None);
        }
        (event::MOVED, id) => return apply_move(view, id.as_ref(), event.movement.as_ref(), sign),
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
            match id {
                Some(id) => treatments.end(id, sign, EndKind::Moved, target.clone()),
                None => {
                    treatments.end_pair(sign, EndKind::Moved, target.clone());
                }
            }
            match (&movement.line, &target) {
                (Some(line), Some(target)) => treatments.touch(target, &other_side(line)),
                (Some(line), None) => await_on_line(view, id, line, sign.heard_at),
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
                    treatments.end_pair(&other_side(line), EndKind::Moved, target);
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
        let is_seen =
            event.message_id.is_some() && of_payment().any(|d| d.echo == event.message_id);
        // The newest try at this chat that went out and is not linked to a treatment yet.
        let unlinked = of_payment().filter(|d| {
            let here = d.line == sign.line && d.user == sign.user;
            here && d.treatment.is_none() && d.claimed_at.is_some()
        });
        let Some(id) = unlinked.map(|d| d.id).max().filter(|_| !is_seen) else { continue };
        let open = || view.treatments.open_of(&sign.line, &sign.user).map(|open| open.id.clone());
        let treatment = event.treatment.clone().or_else(open);
        if let Some(dispatch) = view.dispatches.get_mut(&id) {
            dispatch.echo.clone_from(&event.message_id);
        }
        echo_of(view, id, &payment, treatment, sign.heard_at);
    }
}

fn echo_of(
    view: &mut View,
    id: i64,
    payment: &PaymentId,
    treatment: Option<TreatmentId>,
    now: Time,
) {
    let others_active = view
        .dispatches
        .values()
        .filter(|other| other.payment == *payment && other.id != id && other.phase.is_active())
        .map(|other| (other.id, other.phase))
        .next();
    let (Some(dispatch), Some(payment)) =
        (view.dispatches.get_mut(&id), view.payments.get_mut(payment))
    else {
        return;
    };
    match (dispatch.phase, others_active) {
        // A try that we had given up was taken after all, and another one is out already.
        (Phase::Refused | Phase::Undone | Phase::Closed, Some((_, phase)))
            if phase != Phase::Reserved =>
        {
            payment.note(Reason::on_line(ReasonCode::Doubled, dispatch.line.clone()));
        }
        (Phase::Refused | Phase::Undone, Some((other, _))) => {
            dispatch.slot = None;
            revive(dispatch, payment, treatment, now);
            if let Some(other) = view.dispatches.get_mut(&other) {
                other.phase = Phase::Undone;
            }
        }
        (Phase::Refused | Phase::Undone, None) => {
            dispatch.slot = None;
            revive(dispatch, payment, treatment, now);
        }
        (Phase::Reserved | Phase::Sending | Phase::InDoubt | Phase::Sent, _) => {
            revive(dispatch, payment, treatment, now);
        }
        (Phase::Open | Phase::Closed, _) => {}
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
    let reason = Reason::on_line(ReasonCode::EchoSeen, dispatch.line.clone());
    payment.become_(PaymentState::Dispatched, reason);
}

/// Brings dispatches in line with the treatments they opened.
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
/// The view must hold every open treatment of the line, every listed id, and the line's
/// pending dispatches.
pub fn apply_snapshot(view: &mut View, snapshot: &Snapshot<'_>, now: Time) {
    let line = snapshot.line;
    let heard_since = |view: &View, user: &UserId| {
        view.treatments.of_pair(line, user).any(|t| t.heard_at > snapshot.requested_at)
    };
    let gone: Vec<Treatment> = view
        .treatments
        .all()
        .filter(|t| t.is_open() && t.line == *line && !heard_since(view, &t.user))
        .filter(|t| !snapshot.listed.iter().any(|l| l.treatment == t.id))
        // A provisional one is listed under its real id.
        .filter(|t| !(t.is_provisional() && snapshot.listed.iter().any(|l| l.user == t.user)))
        .cloned()
        .collect();
    let news = snapshot.listed.iter().filter(|listed| !heard_since(view, &listed.user));
    for listed in news.collect::<Vec<_>>() {
        let at = listed.initialized_at.unwrap_or(snapshot.requested_at);
        let sign = Sign {
            line: line.clone(),
            user: listed.user.clone(),
            at,
            initialized_at: listed.initialized_at,
            opener: Opener::Unknown,
            heard_at: snapshot.requested_at,
        };
        if view.treatments.by_id(&listed.treatment).is_none() {
            view.treatments.touch(&listed.treatment, &sign);
        }
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
}

/// Settles what waits for a look at this line.
fn settle_by_look(view: &mut View, snapshot: &Snapshot<'_>, now: Time) {
    let View { treatments, dispatches, payments } = view;
    for dispatch in dispatches.values_mut().filter(|d| d.line == *snapshot.line) {
        let Some(payment) = payments.get_mut(&dispatch.payment) else { continue };
        let since = dispatch.claimed_at.unwrap_or(now);
        let open = treatments.open_of(&dispatch.line, &dispatch.user).cloned();
        let is_due = dispatch.due_at <= snapshot.requested_at;
        match (dispatch.phase, open) {
            (Phase::InDoubt, Some(open)) if open.opener != Opener::User => {
                revive(dispatch, payment, Some(open.id), now);
                payment.note(Reason::on_line(ReasonCode::FoundByLook, dispatch.line.clone()));
            }
            // The user opened it: whether our message is in it, only its echo or a person can say.
            (Phase::InDoubt, Some(_)) if is_due => inconclusive(dispatch, payment, now),
            (Phase::InDoubt, None) if is_due => {
                // Something opened and closed in between: perhaps with our message in it.
                let heard = treatments
                    .of_pair(&dispatch.line, &dispatch.user)
                    .any(|t| t.heard_at >= since && t.opener != Opener::User);
                if heard {
                    inconclusive(dispatch, payment, now);
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

/// Keeps the doubt, and looks again after a growing time.
fn inconclusive(dispatch: &mut Dispatch, payment: &mut Payment, now: Time) {
    dispatch.failures += 1;
    dispatch.due_at = now.plus(Backoff::LOOK.after(dispatch.failures).max(LOOK_AGAIN_MIN));
    let reason = Reason::on_line(ReasonCode::LookInconclusive, dispatch.line.clone());
    if payment.reason != reason {
        payment.become_(PaymentState::InDoubt, reason);
    }
}

/// The shortest time between two looks that prove nothing.
const LOOK_AGAIN_MIN: Span = Span::from_secs(30);
