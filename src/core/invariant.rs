//! What must always be true (points 2 to 5 of the promises), as a check of plain values.
//!
//! One definition for tests and for whoever audits a running service: [`breaches`] names every
//! promise that a state breaks. It never repairs anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::core::dispatch::{Dispatch, Phase};
use crate::core::id::{LineId, PaymentId, UserId};
use crate::core::line::Line;
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
pub fn breaches(whole: &Whole<'_>) -> Vec<Breach> {
    let mut found = BTreeSet::new();
    for payment in whole.payments {
        found.extend(of_payment(payment, whole.dispatches));
    }
    for line in whole.lines {
        found.extend(of_line(line, whole.dispatches));
    }
    found.extend(of_chats(whole.treatments));
    if whole.at_rest {
        found.extend(waiting_for_nothing(whole));
    }
    found.extend(of_notices(whole.notices));
    found.into_iter().collect()
}

/// Point 2: at most one message for each payment.
fn of_payment(payment: &Payment, dispatches: &[Dispatch]) -> Vec<Breach> {
    let phases = || dispatches.iter().filter(|d| d.payment == payment.id).map(|d| d.phase);
    let on_the_way = phases().filter(|phase| phase.is_active()).count();
    let taken =
        phases().filter(|phase| matches!(phase, Phase::Sent | Phase::Open | Phase::Closed)).count();
    let mut found = Vec::new();
    if on_the_way > 1 || taken > 1 {
        found.push(Breach::SentTwice(payment.id.clone()));
    }
    let may_go_out = matches!(
        payment.state,
        PaymentState::Held | PaymentState::Queued | PaymentState::Sending | PaymentState::Rejected
    );
    if may_go_out && (taken > 0 || payment.dispatched_at.is_some()) {
        found.push(Breach::MayGoOutAgain(payment.id.clone()));
    }
    let any = |wanted: &[Phase]| phases().any(|phase| wanted.contains(&phase));
    let is_founded = match payment.state {
        PaymentState::Held
        | PaymentState::Queued
        | PaymentState::Rejected
        | PaymentState::Cancelled => on_the_way == 0,
        PaymentState::Sending => any(&[Phase::Reserved, Phase::Sending]),
        PaymentState::InDoubt => any(&[Phase::InDoubt]),
        PaymentState::Dispatched => any(&[Phase::Sent, Phase::Open]),
        PaymentState::Closed => on_the_way == 0 && any(&[Phase::Closed]),
    };
    if !is_founded {
        found.push(Breach::StateUnfounded(payment.id.clone(), payment.state));
    }
    found
}

/// Point 3: no line gives away more than it has. What a move put there is beyond its places.
fn of_line(line: &Line, dispatches: &[Dispatch]) -> Vec<Breach> {
    let mut places: BTreeMap<i64, usize> = BTreeMap::new();
    let mut users: BTreeMap<&UserId, usize> = BTreeMap::new();
    for dispatch in dispatches.iter().filter(|d| d.line == line.id && d.phase.is_active()) {
        if let Some(slot) = dispatch.slot {
            *places.entry(slot).or_default() += 1;
            *users.entry(&dispatch.user).or_default() += 1;
        }
    }
    let shared = places.iter().filter(|(_, holders)| **holders > 1);
    let mut found: Vec<Breach> =
        shared.map(|(slot, _)| Breach::PlaceShared(line.id.clone(), *slot)).collect();
    if places.keys().any(|slot| *slot < 0 || *slot >= line.occupancy.capacity) {
        found.push(Breach::OverCapacity(line.id.clone()));
    }
    let doubled = users.iter().filter(|(_, dispatches)| **dispatches > 1);
    found.extend(doubled.map(|(user, _)| Breach::ChatShared(line.id.clone(), (*user).clone())));
    found
}

/// One user has at most one open treatment on a line (`connect-api.md` 5.2).
fn of_chats(treatments: &[Treatment]) -> Vec<Breach> {
    let mut seen = BTreeSet::new();
    let open = treatments.iter().filter(|treatment| treatment.is_open());
    open.filter(|treatment| !seen.insert((&treatment.line, &treatment.user)))
        .map(|treatment| Breach::OpenTwice(treatment.line.clone(), treatment.user.clone()))
        .collect()
}

/// Point 4: nothing waits while a line would take it.
fn waiting_for_nothing(whole: &Whole<'_>) -> Vec<Breach> {
    let queued = whole.payments.iter().filter(|one| one.state == PaymentState::Queued);
    queued
        .filter_map(|payment| {
            let user = payment.user.as_ref()?;
            let would_take = |line: &&Line| {
                let is_present = whole.treatments.iter().any(|treatment| {
                    treatment.is_open() && treatment.line == line.id && treatment.user == *user
                });
                let is_under_way = whole.dispatches.iter().any(|dispatch| {
                    dispatch.phase.is_active() && dispatch.line == line.id && dispatch.user == *user
                });
                Some(&line.manager) == payment.manager.as_ref()
                    && line.occupancy.room() > 0
                    && !is_present
                    && !is_under_way
                    && !whole.refused.contains(&(line.id.clone(), user.clone()))
            };
            let line = whole.lines.iter().find(would_take)?;
            Some(Breach::WaitsForNothing(payment.id.clone(), line.id.clone()))
        })
        .collect()
}

/// Point 5: at most one notice for each payment and episode.
fn of_notices(notices: &[(PaymentId, i64)]) -> Vec<Breach> {
    let mut seen = BTreeSet::new();
    let twice = notices.iter().filter(|notice| !seen.insert(*notice));
    twice.map(|(payment, episode)| Breach::NoticedTwice(payment.clone(), *episode)).collect()
}

#[cfg(test)]
mod tests;
