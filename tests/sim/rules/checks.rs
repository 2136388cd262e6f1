//! What must be true after every step: the promises, and what the platform knows of them.

use std::collections::BTreeSet;

use freeline::core::dispatch::Phase;
use freeline::core::invariant::{Whole, breaches};
use freeline::core::payment::PaymentState;
use freeline::core::time::Span;

use super::platform::Taken;
use super::service::{Claimed, Done};
use super::setting::NAMES;
use super::world::World;

/// How far back our clock may step: what is due by then may have been due before.
const CLOCK_STEP_MAX: Span = Span::from_secs(4);

impl World {
    /// Whether the dispatcher has nothing left to look at.
    pub(super) fn is_at_rest(&self) -> bool {
        let soon = self.clock().plus(CLOCK_STEP_MAX);
        let is_due = |due_at: Option<_>| due_at.is_some_and(|due_at| due_at <= soon);
        self.tables.managers.iter().all(|manager| !is_due(manager.due_at))
            && self.tables.given.iter().all(|given| !given.recheck)
    }

    /// The promises, after a step.
    pub(super) fn check(&mut self) -> Done {
        // What was not written is as it was when it was checked last.
        if !std::mem::take(&mut self.tables.is_dirty) && !self.checks_always {
            return Ok(());
        }
        let at_rest = self.is_at_rest();
        let now = self.clock();
        let refused = if at_rest { self.tables.refused(now) } else { BTreeSet::new() };
        let found = breaches(&Whole {
            payments: &self.tables.payments,
            dispatches: &self.tables.dispatches,
            treatments: &self.tables.treatments,
            lines: &self.tables.lines,
            refused: &refused,
            notices: &self.tables.notices,
            at_rest,
        });
        match found.first() {
            None => Ok(()),
            Some(first) => Err(format!("{}: {first}", first.code())),
        }
    }

    /// The dispatches in doubt at this moment.
    pub(super) fn in_doubt(&self) -> Vec<i64> {
        let doubts = self.tables.dispatches.iter().filter(|one| one.phase == Phase::InDoubt);
        doubts.map(|one| one.id).collect()
    }

    /// Whether a look said of a message that it is not there although we had heard of it.
    pub(super) fn check_verdicts(&mut self, were_in_doubt: &[i64]) -> Done {
        for id in were_in_doubt {
            if self.tables.dispatch_mut(*id).phase != Phase::Undone {
                continue;
            }
            let taken = self.platform.taken.iter().find(|one| one.dispatch == *id).copied();
            let Some(taken) = taken else { continue };
            if self.platform.real(taken.treatment).heard_at.is_some() {
                return Err(format!("dispatch {id} is proven absent, and its chat was heard of"));
            }
            if self.platform.real(taken.treatment).is_open {
                return Err(format!("dispatch {id} is proven absent, and its treatment is open"));
            }
            // It opened and closed, and every single broadcast of it was lost or is late: nobody
            // could know.
            self.tally.blind += 1;
            self.risked[usize::from(taken.payment)] = true;
        }
        Ok(())
    }

    /// A message was taken: once, and on a line that had room for it as far as we could know.
    pub(super) fn check_taken(&self, claimed: &Claimed) -> Done {
        let row = usize::from(claimed.payment);
        let of_payment = |one: &&Taken| one.payment == claimed.payment;
        let times = self.platform.taken.iter().filter(of_payment).count();
        if times > 1 && !self.risked[row] {
            return Err(format!("the message of P{row:03} is on the platform {times} times"));
        }
        let made_at = self.tables.made_at[usize::try_from(claimed.dispatch).unwrap() - 1];
        let is_known = |taken: &&Taken| {
            let real = self.platform.real(taken.treatment);
            let row = usize::from(taken.payment);
            let was_let_go = self.let_go[row] || self.risked[row];
            let is_here = taken.line == claimed.line && real.is_open && real.line == claimed.line;
            let is_this = taken.dispatch == claimed.dispatch;
            let was_known = || real.heard_at.is_some_and(|heard_at| heard_at <= made_at);
            is_here && (is_this || (was_known() && !was_let_go))
        };
        let known: Vec<&Taken> = self.platform.taken.iter().filter(is_known).collect();
        let ours = known.iter().map(|taken| taken.treatment).collect::<BTreeSet<u32>>().len();
        // The line may have been made larger or smaller since the first of them was set aside.
        let of = |taken: &&Taken| {
            let row = usize::try_from(taken.dispatch).unwrap() - 1;
            usize::try_from(self.tables.dispatches[row].capacity).unwrap()
        };
        let capacity = known.iter().map(of).max().unwrap_or(0);
        if ours > capacity {
            let line = claimed.line;
            return Err(format!("{ours} treatments of ours are open on L{line} of {capacity}"));
        }
        Ok(())
    }

    /// Every payment that came in is somewhere, and where it is said to be.
    pub(super) fn check_accounts(&mut self) -> Done {
        let states = self.tables.by_state();
        if states.values().sum::<usize>() != self.risked.len() {
            return Err(format!("{} came in, there are {states:?}", self.risked.len()));
        }
        for (row, payment) in self.tables.payments.iter().enumerate() {
            let of_payment = |one: &&Taken| usize::from(one.payment) == row;
            let times = self.platform.taken.iter().filter(of_payment).count();
            let state = payment.state;
            match state {
                PaymentState::Sending | PaymentState::InDoubt => {
                    return Err(format!("P{row:03} is still {state} in the end"));
                }
                PaymentState::Held | PaymentState::Queued | PaymentState::Rejected
                    if times > 0 && !self.risked[row] =>
                {
                    return Err(format!("P{row:03} is {state}, and the platform has it"));
                }
                PaymentState::Dispatched | PaymentState::Closed if times == 0 => {
                    if !self.tables.given[row].was_found_by_look {
                        return Err(format!("P{row:03} is {state}, and the platform has it not"));
                    }
                    // Somebody else's treatment began at the same moment without a sign of whose.
                    self.tally.mistaken += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is open on our lines, as we know it and as it is.
    pub(super) fn open_here(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let is_ours = |line: usize| {
            self.tables.line_rows.get(line).is_some_and(|row| row.present && row.known_at.is_some())
        };
        let known = self.tables.treatments.iter().filter(|one| {
            let line = NAMES.lines.iter().position(|line| *line == one.line);
            one.is_open() && line.is_some_and(is_ours)
        });
        let truly = self.platform.open().filter(|(_, real)| is_ours(usize::from(real.line)));
        let known = known.map(|one| format!("{} on {}", one.id, one.line)).collect();
        let truly = truly.map(|(number, real)| {
            let line = &NAMES.lines[usize::from(real.line)];
            format!("{} on {line}", NAMES.treatment(number))
        });
        (known, truly.collect())
    }
}
