//! What must always be true (points 2 to 5 of the promises), as a check of plain values.
//!
//! One definition for tests and for whoever audits a running service: [`breaches`] names every
//! promise that a state breaks. It never repairs anything.

use std::collections::BTreeSet;
use std::fmt;

use crate::core::dispatch::{Dispatch, Phase};
use crate::core::id::{LineId, PaymentId, UserId};
use crate::core::line::Line;
use crate::core::occupancy::View;
use crate::core::payment::{Payment, PaymentState};
use crate::core::treatment::Treatment;

/// Everything that the promises speak of, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// All payments.
    pub payments: &'a [Payment],
    /// All their dispatches.
    pub dispatches: &'a [Dispatch],
    /// At least all open treatments.
    pub treatments: &'a [Treatment],
    /// All lines, with the occupancy that decisions use.
    pub lines: &'a [Line],
    /// Users that the platform refused on a line, as long as that is remembered.
    pub refused: &'a BTreeSet<(LineId, UserId)>,
    /// The notices, each with the episode of waiting it was for.
    pub notices: &'a [(PaymentId, i64)],
    /// Whether the dispatcher has looked at everything: only then may nothing wait.
    pub at_rest: bool,
}

/// A promise that is broken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Breach {
    /// Several dispatches of one payment are on their way or on the platform (2).
    SentTwice(PaymentId),
    /// A payment that the platform has taken may go out again (2).
    MayGoOutAgain(PaymentId),
    /// The state of a payment does not fit its dispatches (2).
    StateUnfounded(PaymentId, PaymentState),
    /// More places of a line are given away than it has (3).
    OverCapacity(LineId),
    /// Two dispatches hold one place of a line (3).
    PlaceShared(LineId, i64),
    /// Two dispatches go to one user on one line (3).
    ChatShared(LineId, UserId),
    /// One user has several open treatments on one line (3).
    OpenTwice(LineId, UserId),
    /// A payment's treatment is over and its place on the line was not given back (4).
    HeldByNothing(PaymentId, LineId),
    /// A payment waits while a line of its manager would take it (4).
    WaitsForNothing(PaymentId, LineId),
    /// Several notices for one payment and episode of waiting (5).
    NoticedTwice(PaymentId, i64),
}

impl Breach {
    /// A short name of the broken promise that never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SentTwice(_) => "sent_twice",
            Self::MayGoOutAgain(_) => "may_go_out_again",
            Self::StateUnfounded(..) => "state_unfounded",
            Self::OverCapacity(_) => "over_capacity",
            Self::PlaceShared(..) => "place_shared",
            Self::ChatShared(..) => "chat_shared",
            Self::OpenTwice(..) => "open_twice",
            Self::HeldByNothing(..) => "held_by_nothing",
            Self::WaitsForNothing(..) => "waits_for_nothing",
            Self::NoticedTwice(..) => "noticed_twice",
        }
    }
}

impl fmt::Display for Breach {
    /// One sentence for people, without the full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SentTwice(payment) => {
                write!(f, "payment {payment} has several dispatches under way or taken")
            }
            Self::MayGoOutAgain(payment) => {
                write!(f, "payment {payment} was taken by the platform and may go out again")
            }
            Self::StateUnfounded(payment, state) => {
                write!(f, "payment {payment} is {state}, and its dispatches do not say so")
            }
            Self::OverCapacity(line) => {
                write!(f, "line {line} has given away a place that it does not have")
            }
            Self::PlaceShared(line, slot) => {
                write!(f, "place {slot} of line {line} is given to several dispatches")
            }
            Self::ChatShared(line, user) => {
                write!(f, "several dispatches go to user {user} on line {line}")
            }
            Self::OpenTwice(line, user) => {
                write!(f, "user {user} has several open treatments on line {line}")
            }
            Self::HeldByNothing(payment, line) => {
                write!(f, "payment {payment} holds line {line} without an open treatment")
            }
            Self::WaitsForNothing(payment, line) => {
                write!(f, "payment {payment} waits although line {line} is free for it")
            }
            Self::NoticedTwice(payment, episode) => {
                write!(f, "payment {payment} has several notices for its waiting number {episode}")
            }
        }
    }
}

/// Every promise that is broken, none of them twice.
///
/// The work grows like sorting: an auditor may pass everything that a database holds.
pub fn breaches(whole: &Whole<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    of_payments(whole, &mut found);
    of_lines(whole.dispatches, &mut found);
    of_treatments(whole, &mut found);
    if whole.at_rest {
        waiting_for_nothing(whole, &mut found);
    }
    of_notices(whole.notices, &mut found);
    found.sort();
    found.dedup();
    found
}

/// The promises that a decision broke: those that hold of what it looked at, and no longer of what
/// it made of that. Empty, unless the decision has a fault.
pub fn broken_by(before: &View, after: &View) -> Vec<Breach> {
    let known = of_view(before);
    let mut found = of_view(after);
    found.retain(|breach| !known.contains(breach));
    found
}

fn of_view(view: &View) -> Vec<Breach> {
    let payments: Vec<Payment> = view.payments.values().cloned().collect();
    let dispatches: Vec<Dispatch> = view.dispatches.values().cloned().collect();
    let treatments: Vec<Treatment> = view.treatments.all().cloned().collect();
    breaches(&Whole {
        payments: &payments,
        dispatches: &dispatches,
        treatments: &treatments,
        lines: &[],
        refused: &BTreeSet::new(),
        notices: &[],
        at_rest: false,
    })
}

/// The phases of the dispatches of one payment.
#[derive(Clone, Copy, Default)]
struct Phases {
    seen: u16,
    on_the_way: usize,
    taken: usize,
}

impl Phases {
    fn of<'a>(dispatches: impl Iterator<Item = &'a Dispatch>) -> Self {
        let mut phases = Self::default();
        for dispatch in dispatches {
            phases.seen |= Self::bit(dispatch.phase);
            phases.on_the_way += usize::from(dispatch.phase.is_active());
            phases.taken += usize::from(is_taken(dispatch.phase));
        }
        phases
    }

    const fn bit(phase: Phase) -> u16 {
        match phase {
            Phase::Reserved => 1,
            Phase::Sending => 2,
            Phase::InDoubt => 4,
            Phase::Sent => 8,
            Phase::Open => 16,
            Phase::Closed => 32,
            Phase::Refused => 64,
            Phase::Undone => 128,
        }
    }

    fn any(self, wanted: &[Phase]) -> bool {
        wanted.iter().any(|phase| self.seen & Self::bit(*phase) != 0)
    }

    /// Whether they say what the payment's state says.
    fn found(self, state: PaymentState) -> bool {
        let nothing = self.on_the_way == 0 && self.taken == 0;
        match state {
            // What of these was taken is a breach of its own.
            PaymentState::Held | PaymentState::Queued | PaymentState::Rejected => {
                self.on_the_way == 0
            }
            PaymentState::Cancelled => nothing,
            PaymentState::Sending => self.any(&[Phase::Reserved, Phase::Sending]),
            PaymentState::InDoubt => self.any(&[Phase::InDoubt]),
            PaymentState::Dispatched => self.any(&[Phase::Sent, Phase::Open]),
            PaymentState::Closed => self.on_the_way == 0 && self.any(&[Phase::Closed]),
        }
    }
}

const fn is_taken(phase: Phase) -> bool {
    matches!(phase, Phase::Sent | Phase::Open | Phase::Closed)
}

/// Point 2: at most one message for each payment.
fn of_payments(whole: &Whole<'_>, found: &mut Vec<Breach>) {
    let mut by_payment: Vec<&Dispatch> = whole.dispatches.iter().collect();
    by_payment.sort_unstable_by(|a, b| a.payment.cmp(&b.payment));
    for payment in whole.payments {
        let from = by_payment.partition_point(|dispatch| dispatch.payment < payment.id);
        let own = by_payment.get(from..).unwrap_or_default().iter();
        let phases = Phases::of(own.take_while(|d| d.payment == payment.id).copied());
        if phases.on_the_way > 1 || phases.taken > 1 {
            found.push(Breach::SentTwice(payment.id.clone()));
        }
        let may_go_out = matches!(
            payment.state,
            PaymentState::Held
                | PaymentState::Queued
                | PaymentState::Sending
                | PaymentState::Rejected
        );
        if may_go_out && (phases.taken > 0 || payment.dispatched_at.is_some()) {
            found.push(Breach::MayGoOutAgain(payment.id.clone()));
        }
        if !phases.found(payment.state) {
            found.push(Breach::StateUnfounded(payment.id.clone(), payment.state));
        }
    }
}

/// Point 3: no line gives away more than it has. What a move put there is beyond its places, and
/// a line that was made smaller since keeps what it has given away.
fn of_lines(dispatches: &[Dispatch], found: &mut Vec<Breach>) {
    let holding = dispatches.iter().filter(|dispatch| dispatch.phase.is_active());
    let mut places: Vec<(&LineId, i64, &Dispatch)> =
        holding.filter_map(|one| Some((&one.line, one.slot?, one))).collect();
    for (line, slot, holder) in &places {
        if *slot < 0 || *slot >= holder.capacity {
            found.push(Breach::OverCapacity((*line).clone()));
        }
    }
    places.sort_unstable_by_key(|(line, slot, _)| (*line, *slot));
    for ((line, slot, _), next) in pairs(&places) {
        if (*line, *slot) == (next.0, next.1) {
            found.push(Breach::PlaceShared((*line).clone(), *slot));
        }
    }
    places.sort_unstable_by_key(|(line, _, holder)| (*line, &holder.user));
    for ((line, _, holder), next) in pairs(&places) {
        if *line == next.0 && holder.user == next.2.user {
            found.push(Breach::ChatShared((*line).clone(), holder.user.clone()));
        }
    }
}

/// One user has at most one open treatment on a line (`connect-api.md` 5.2), and a dispatch that
/// holds its place as open has an open treatment: else the line waits for nothing (4).
fn of_treatments(whole: &Whole<'_>, found: &mut Vec<Breach>) {
    let mut open: Vec<&Treatment> = whole.treatments.iter().filter(|one| one.is_open()).collect();
    open.sort_unstable_by_key(|treatment| (&treatment.line, &treatment.user));
    for (treatment, next) in pairs(&open) {
        if (&treatment.line, &treatment.user) == (&next.line, &next.user) {
            let (line, user) = (treatment.line.clone(), treatment.user.clone());
            found.push(Breach::OpenTwice(line, user));
        }
    }
    open.sort_unstable_by_key(|treatment| &treatment.id);
    for dispatch in whole.dispatches.iter().filter(|dispatch| dispatch.phase == Phase::Open) {
        let is_open = dispatch
            .treatment
            .as_ref()
            .is_some_and(|id| open.binary_search_by_key(&id, |treatment| &treatment.id).is_ok());
        if !is_open {
            found.push(Breach::HeldByNothing(dispatch.payment.clone(), dispatch.line.clone()));
        }
    }
}

/// Each one with the one after it.
fn pairs<T>(sorted: &[T]) -> impl Iterator<Item = (&T, &T)> {
    sorted.iter().zip(sorted.iter().skip(1))
}

/// Point 4: nothing waits while a line would take it.
fn waiting_for_nothing(whole: &Whole<'_>, found: &mut Vec<Breach>) {
    let with_room: Vec<&Line> = whole.lines.iter().filter(|l| l.occupancy.room() > 0).collect();
    if with_room.is_empty() {
        return;
    }
    let on_their_way =
        whole.dispatches.iter().filter(|one| one.phase.is_active() && !one.needs_person());
    let open = whole.treatments.iter().filter(|treatment| treatment.is_open());
    let present: BTreeSet<(&LineId, &UserId)> = on_their_way
        .map(|dispatch| (&dispatch.line, &dispatch.user))
        .chain(open.map(|treatment| (&treatment.line, &treatment.user)))
        .collect();
    for payment in whole.payments.iter().filter(|one| one.state == PaymentState::Queued) {
        let Some(user) = &payment.user else { continue };
        let would_take = |line: &&&Line| {
            Some(&line.manager) == payment.manager.as_ref()
                && !present.contains(&(&line.id, user))
                && !whole.refused.contains(&(line.id.clone(), user.clone()))
        };
        if let Some(line) = with_room.iter().find(would_take) {
            found.push(Breach::WaitsForNothing(payment.id.clone(), line.id.clone()));
        }
    }
}

/// Point 5: at most one notice for each payment and episode.
fn of_notices(notices: &[(PaymentId, i64)], found: &mut Vec<Breach>) {
    let mut sorted: Vec<&(PaymentId, i64)> = notices.iter().collect();
    sorted.sort_unstable();
    for (notice, next) in pairs(&sorted) {
        if notice == next {
            found.push(Breach::NoticedTwice(notice.0.clone(), notice.1));
        }
    }
}

#[cfg(test)]
mod tests;
