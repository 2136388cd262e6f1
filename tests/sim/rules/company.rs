//! The people: who pays, who commands, and who keeps the directory.

use freeline::core::payment::{Command, Payment, PaymentState};
use freeline::core::time::Time;
use freeline::core::why::{Reason, ReasonCode};

use super::platform::Author;
use super::service::Done;
use super::setting::NAMES;
use super::tables::Given;
use super::world::World;

/// Payments of one history at the most: they are told apart by one number.
const PAYMENTS_MAX: usize = 64;

impl World {
    /// A payment comes in, for a manager or for a counterparty, known or not.
    pub(super) fn arrive(&mut self, who: u8, user: u8, how: u8) -> bool {
        let row = self.tables.payments.len();
        if row >= PAYMENTS_MAX || self.replica(0).is_none() {
            return false;
        }
        let now = self.clock();
        let (manager, counterparty) = match who % 8 {
            0..=3 => (Some(0), None),
            4 => (Some(1), None),
            5 => (None, Some(0)),
            6 => (None, Some(1)),
            _ => {
                if who > 128 {
                    (None, Some(2))
                } else {
                    (Some(2), None)
                }
            }
        };
        // The user of a counterparty will do.
        let user = Some(user % 3).filter(|_| counterparty.is_none() || user % 4 != 3);
        let hold = (how % 16 == 15).then(|| Reason::plain(ReasonCode::HeldOnArrival));
        self.tables.payments.push(Payment {
            id: NAMES.payments[row].clone(),
            number: NAMES.numbers[row].clone(),
            state: PaymentState::Held,
            reason: Reason::plain(ReasonCode::Queued),
            manager: None,
            user: None,
            author: None,
            hold,
            line: None,
            treatment: None,
            dispatched_at: None,
            closed_at: None,
            episode: 0,
            attempts: 0,
            happened: Vec::new(),
        });
        self.tables.given.push(Given {
            counterparty,
            manager,
            user,
            author: how.is_multiple_of(2),
            priority: how / 16 % 3,
            received_at: now,
            recheck: false,
            noticed: 0,
            was_found_by_look: false,
        });
        self.risked.push(false);
        self.let_go.push(false);
        self.bad.push(how % 16 == 14);
        let payment = self.tables.payments[row].clone();
        self.tables.add_payment(self.rules(), payment, now);
        true
    }

    /// A specialist quotes the number of a message in the chat where it stands.
    pub(super) fn quote(&mut self, which: u8, at: Time) -> bool {
        let Some(which) = usize::from(which).checked_rem(self.platform.taken.len()) else {
            return false;
        };
        let quoted = self.platform.taken[which];
        let real = *self.platform.real(self.platform.follow(quoted.treatment));
        let chat = (real.line, real.user);
        self.platform.write(chat, Author::Specialist, Some(quoted.payment), at);
        true
    }

    pub(super) fn person(&mut self, which: u8, what: u8) -> Done<bool> {
        let count = self.tables.payments.len();
        let Some(row) = usize::from(which).checked_rem(count) else { return Ok(false) };
        let what = match what % 4 {
            0 => Command::Hold,
            1 => Command::Release,
            2 => Command::Cancel,
            _ => Command::Retry,
        };
        self.command(row, what)
    }

    pub(super) fn command(&mut self, row: usize, what: Command) -> Done<bool> {
        if self.replica(0).is_none() {
            return Ok(false);
        }
        let (rules, now) = (self.rules(), self.clock());
        let was_in_doubt = self.tables.payments[row].state == PaymentState::InDoubt;
        let done = self.tables.command(rules, row, what, now)?;
        self.tell(|| format!("  {what:?} of P{row:03}: {done:?}"));
        self.let_go[row] |= was_in_doubt && done.is_ok();
        self.risked[row] |= was_in_doubt && what == Command::Retry;
        Ok(done.is_ok())
    }

    pub(super) fn change_line(&mut self, line: u8, what: u8, how: u8) {
        let at = usize::from(line % self.setting.lines());
        let now = self.clock();
        let (id, row) = (self.tables.lines[at].id.clone(), &mut self.tables.line_rows[at]);
        match what % 6 {
            0 => row.enabled = !row.enabled,
            1 => {
                row.paused = !row.paused;
                self.tables.refresh(&id, now);
                return;
            }
            2 | 3 => self.tables.lines[at].occupancy.capacity = 1 + i64::from(how % 3),
            4 => self.tables.lines[at].manager = NAMES.managers[usize::from(how % 2)].clone(),
            _ => {
                row.present = !row.present;
                if !row.present {
                    row.hooked_at = None;
                    row.known_at = None;
                    row.look_at = None;
                    row.look_failures = 0;
                    row.hooks_noted = false;
                }
                self.tables.mark_waiting(None);
            }
        }
        self.tables.settle_directory(now);
    }

    pub(super) fn change_manager(&mut self, manager: u8, what: u8) {
        let row = &mut self.tables.managers[usize::from(manager % 3)];
        if row.exists && what.is_multiple_of(2) {
            row.enabled = !row.enabled;
        } else {
            row.present = !row.present || !row.exists;
            row.exists = true;
        }
        let now = self.clock();
        self.tables.mark_waiting(None);
        self.tables.settle_directory(now);
    }

    pub(super) fn change_counterparty(&mut self, counterparty: u8, what: u8) {
        let number = counterparty % 3;
        let row = &mut self.tables.counterparties[usize::from(number)];
        row.present = true;
        match what % 3 {
            0 => row.manager = 1 - row.manager % 2,
            1 => row.user = row.user.map_or(Some(1), |_| None),
            _ => {}
        }
        let now = self.clock();
        self.tables.mark_waiting(Some(number));
        self.tables.settle_directory(now);
    }
}
