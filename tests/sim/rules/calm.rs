//! The end of a history: the faults stop, everything is delivered, people finish their work, and
//! the service must come to rest by itself, with nothing waiting that need not wait.

use freeline::core::dispatch::Phase;
use freeline::core::id::LineId;
use freeline::core::payment::{Command, PaymentState};
use freeline::core::why::ReasonCode;

use super::platform::Author;
use super::service::Done;
use super::world::World;

/// Rounds of work, and of waiting, until the service must rest.
const ROUNDS_MAX: u64 = 60;
/// What the workers may do one after the other without waiting.
const WORK_MAX: usize = 400;

impl World {
    /// Everything comes to its end; answers what does not.
    pub(super) fn calm(&mut self) -> Done {
        while self.start(0) {}
        self.rest(false)?;
        let (known, truly) = self.open_here();
        if known != truly {
            if self.setting.nothing_is_lost() {
                return Err(format!("open are {truly:?}, we know of {known:?}"));
            }
            self.tally.stale += 1;
        }
        self.rest(true)?;
        self.settle_by_people()?;
        // Whatever was lost for good: a look at all lines, as after a gap, brings it back.
        self.was_looked_at_last = true;
        let (rules, now) = (self.rules(), self.clock());
        self.tables.forget_occupancy(rules, now);
        for line in 0..self.setting.lines() {
            self.platform.write((line, line % 3), Author::User, None, self.their_clock());
        }
        self.rest(false)?;
        let (known, truly) = self.open_here();
        if known != truly {
            return Err(format!("after a look open are {truly:?}, we know of {known:?}"));
        }
        self.rest(true)?;
        self.settle_by_people()?;
        self.check_accounts()
    }

    /// The people look into the chats of what nothing else can settle, and say what to do.
    fn settle_by_people(&mut self) -> Done {
        for row in 0..self.tables.payments.len() {
            if self.tables.payments[row].state != PaymentState::InDoubt {
                continue;
            }
            self.tally.doubts_for_people += 1;
            let is_there = self.platform.taken.iter().any(|one| usize::from(one.payment) == row);
            self.command(row, if is_there { Command::Cancel } else { Command::Retry })?;
            self.check()?;
        }
        self.rest(true)
    }

    /// Works and waits until nothing is left to do; people close what is open if they shall.
    fn rest(&mut self, people_close: bool) -> Done {
        let mut rounds = 0;
        loop {
            self.work()?;
            if people_close {
                let open: Vec<u32> = self.platform.open().map(|(number, _)| number).collect();
                for number in open {
                    self.pass(50);
                    self.platform.close(number, 2, self.their_clock());
                }
                self.work()?;
            }
            let left = self.left(people_close);
            rounds += 1;
            self.tally.rounds_max = self.tally.rounds_max.max(rounds);
            match left {
                None => return Ok(()),
                Some(left) if rounds == ROUNDS_MAX => return Err(format!("no rest: {left}")),
                Some(_) => {}
            }
            // From the doubts' and looks' seconds to the hour that a refusal is remembered.
            self.pass([1_000, 35_000, 130_000, 3_700_000][usize::try_from(rounds % 4).unwrap()]);
        }
    }

    /// What is not at rest, in words.
    fn left(&self, people_close: bool) -> Option<String> {
        for dispatch in &self.tables.dispatches {
            let row = self.tables.payment_index(&dispatch.payment);
            let payment = &self.tables.payments[row];
            let is_left = match dispatch.phase {
                Phase::Reserved | Phase::Sending | Phase::Sent => true,
                Phase::InDoubt => payment.reason.code != ReasonCode::LookInconclusive,
                // Whose close was lost stays open until the lines are looked at anew.
                Phase::Open => {
                    people_close && self.was_looked_at_last && self.is_hooked(&dispatch.line)
                }
                Phase::Closed | Phase::Refused | Phase::Undone => false,
            };
            if is_left {
                return Some(format!("{dispatch:?} of {payment:?}"));
            }
        }
        let is_unknown = |at: usize| {
            let row = &self.tables.line_rows[at];
            row.present && row.known_at.is_none()
        };
        let is_unknown = |at: usize| is_unknown(at) || self.tables.line_rows[at].look_at.is_some();
        let unknown = (0..self.tables.lines.len()).find(|at| is_unknown(*at));
        if let Some(at) = unknown {
            return Some(format!("L{at} is not known"));
        }
        (!self.is_at_rest()).then(|| "the dispatcher is due".to_owned())
    }

    fn is_hooked(&self, line: &LineId) -> bool {
        let at = self.tables.line_index(line);
        at.is_some_and(|at| self.tables.line_rows[at].hooked_at.is_some())
    }

    /// All workers, at this moment, until none of them has anything to do.
    fn work(&mut self) -> Done {
        for _ in 0..WORK_MAX {
            self.now += 10_000;
            self.tally.steps += 1;
            if !self.work_once()? {
                return Ok(());
            }
            self.check()?;
        }
        Err("the workers never stop".to_owned())
    }

    fn work_once(&mut self) -> Done<bool> {
        let now = self.clock();
        for line in 0..self.setting.lines() {
            let at = usize::from(line);
            let row = &self.tables.line_rows[at];
            if row.present && (!row.hooks_noted || !self.has_hooks(at)) {
                return Ok(self.sync_hooks(line, 0));
            }
        }
        if !self.platform.on_the_way.is_empty() {
            for broadcast in std::mem::take(&mut self.platform.on_the_way) {
                self.receive(broadcast);
            }
            return self.intake(now).map(|()| true);
        }
        if !self.tables.new_events.is_empty() {
            return self.intake(now).map(|()| true);
        }
        self.tables.moment = self.now;
        let (rules, alone) = (self.rules(), self.setting.is_alone());
        self.tables.expire(rules, now, self.up[0].filter(|_| alone))?;
        if self.tables.recheck(rules, now) > 0 || self.tables.round(now)? {
            return Ok(true);
        }
        if self.serve(0, 0)? || self.answer(0, 0)? || self.send(0, 0)? || self.claim(0) {
            return Ok(true);
        }
        if self.look_ask(0, 1) {
            return Ok(true);
        }
        self.look_answer(0, 0)
    }
}
