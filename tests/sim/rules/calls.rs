//! Calls to the platform: messages and looks, with everything that can go wrong on the way.

use freeline::core::dispatch::{Rehook, SendMode};
use freeline::core::occupancy::Listed;
use freeline::core::outcome::{Answer, NotDone};
use freeline::core::time::Span;
use freeline::store::bounds::CLAIM_LEASE;

use super::platform::{Author, Taken};
use super::service::{Claimed, Done};
use super::setting::NAMES;
use super::world::{Look, World};

/// The longest that one call may take.
const CALL_MAX: i64 = 11_000_000;
/// The longest that a call may be on its way before the platform has it.
const ON_ITS_WAY_MAX: i64 = 10_000_000;

/// A claim, and the call that may have been made for it.
pub(super) struct Call {
    pub(super) claimed: Claimed,
    /// Who waits for the answer; `None` when that replica died.
    pub(super) replica: Option<u8>,
    sent_at: Option<i64>,
    pub(super) served: Option<Answer>,
}

impl Call {
    pub(super) const fn is_on_its_way(&self) -> bool {
        self.sent_at.is_some() && self.served.is_none()
    }

    pub(super) fn orphan(&mut self, replica: u8) {
        self.replica = self.replica.filter(|one| *one != replica);
    }
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::Refused { status, text: text.to_owned() }
}

fn not_done(why: NotDone) -> Answer {
    Answer::NotDone { why, retry_after: None }
}

fn unknown(detail: &str) -> Answer {
    Answer::Unknown { detail: detail.to_owned() }
}

impl World {
    fn nth_call(&self, which: u8, wanted: impl Fn(&Call) -> bool) -> Option<usize> {
        let found = || self.calls.iter().enumerate().filter(|(_, call)| wanted(call));
        let which = usize::from(which).checked_rem(found().count())?;
        found().nth(which).map(|(at, _)| at)
    }

    pub(super) fn claim(&mut self, which: u8) -> bool {
        let Some(replica) = self.replica(which) else { return false };
        let owner = self.up[usize::from(replica)].expect("it is up");
        let now = self.clock();
        let Some(claimed) = self.tables.claim(owner, now, now.plus(CLAIM_LEASE)) else {
            return false;
        };
        self.tell(|| format!("  {claimed:?}"));
        let replica = Some(replica);
        self.calls.push(Call { claimed, replica, sent_at: None, served: None });
        true
    }

    /// The sender puts the bot hook back if that is wanted, and makes its call.
    pub(super) fn send(&mut self, which: u8, how: u8) -> Done<bool> {
        let is_unsent = |call: &Call| call.sent_at.is_none() && call.replica.is_some();
        let Some(at) = self.nth_call(which, is_unsent) else { return Ok(false) };
        let claimed = self.calls[at].claimed;
        let answer = self.rehook(&claimed, how).or_else(|| {
            let would_end = self.clock().plus(Span::from_micros(CALL_MAX));
            if would_end > claimed.lease_until {
                Some(not_done(NotDone::NeverConnected("the claim was about to run out".into())))
            } else if how % 16 == 15 {
                Some(not_done(NotDone::NeverConnected("refused".into())))
            } else {
                None
            }
        });
        match answer {
            Some(answer) => {
                self.calls.remove(at);
                self.record(&claimed, &answer)?;
            }
            None => self.calls[at].sent_at = Some(self.now),
        }
        Ok(true)
    }

    fn rehook(&mut self, claimed: &Claimed, how: u8) -> Option<Answer> {
        if claimed.rehook != Rehook::Wanted {
            return None;
        }
        match how % 8 {
            5 => return Some(not_done(NotDone::RateLimited)),
            6 => return Some(not_done(NotDone::NeverConnected("setting the bot hook".into()))),
            // Refused.
            7 => {}
            _ => self.platform.hooks[usize::from(claimed.line)].1 = true,
        }
        self.tables.record_rehook(claimed);
        None
    }

    /// The platform deals with a call that is on its way.
    pub(super) fn serve(&mut self, which: u8, how: u8) -> Done<bool> {
        let Some(at) = self.nth_call(which, Call::is_on_its_way) else { return Ok(false) };
        let late = self.calls[at].sent_at.is_some_and(|sent| self.now - sent > ON_ITS_WAY_MAX);
        if late {
            // It got lost on the way; whoever waits for it will stop waiting.
            self.calls[at].served = Some(unknown("timeout"));
        } else {
            let claimed = self.calls[at].claimed;
            self.calls[at].served = Some(match how % 16 {
                12 => not_done(NotDone::RateLimited),
                13 => unknown("500"),
                14 => {
                    self.take(&claimed)?;
                    unknown("502")
                }
                15 => not_done(NotDone::Unauthorized),
                _ => self.take(&claimed)?,
            });
        }
        let served = self.calls[at].served.clone();
        self.tell(|| format!("  served: {served:?}"));
        if self.calls[at].replica.is_none() {
            self.calls.remove(at);
        }
        Ok(true)
    }

    /// Whether the platform takes a message, and what follows there.
    fn take(&mut self, claimed: &Claimed) -> Done<Answer> {
        let at = self.their_clock();
        let Claimed { line, user, payment, .. } = *claimed;
        if self.setting.mode() == SendMode::Bot && !self.platform.hooks[usize::from(line)].1 {
            return Ok(refused(403, ""));
        }
        if !self.setting.is_subscribed(line, user) {
            return Ok(refused(403, "User is not a subscriber or never been online"));
        }
        if self.bad[usize::from(payment)] {
            return Ok(refused(400, ""));
        }
        let treatment = self.platform.write((line, user), Author::Specialist, Some(payment), at);
        let dispatch = claimed.dispatch;
        self.platform.taken.push(Taken { payment, dispatch, treatment, line });
        self.tally.taken += 1;
        self.check_taken(claimed)?;
        Ok(Answer::Done)
    }

    /// The sender hears of its call, or stops waiting for it.
    pub(super) fn answer(&mut self, which: u8, how: u8) -> Done<bool> {
        let waits = |call: &Call| call.replica.is_some() && call.sent_at.is_some();
        let Some(at) = self.nth_call(which, waits) else { return Ok(false) };
        let claimed = self.calls[at].claimed;
        let answer = match &self.calls[at].served {
            Some(answer) if how % 8 != 7 => answer.clone(),
            _ => unknown("timeout"),
        };
        if self.calls[at].served.is_some() {
            self.calls.remove(at);
        } else {
            // It may still be on its way.
            self.calls[at].replica = None;
        }
        self.record(&claimed, &answer)?;
        Ok(true)
    }

    fn record(&mut self, claimed: &Claimed, answer: &Answer) -> Done {
        let (rules, now) = (self.rules(), self.clock());
        self.tell(|| format!("  answer for dispatch {}: {answer:?}", claimed.dispatch));
        self.tables.record_answer(rules, claimed, answer, now)?;
        Ok(())
    }

    // --- looks ------------------------------------------------------------------------------------

    pub(super) fn look_ask(&mut self, which: u8, how: u8) -> bool {
        let Some(replica) = self.replica(which) else { return false };
        let requested_at = self.clock();
        let mut lines = self.tables.looks_due(requested_at);
        lines.retain(|line| !self.looks.iter().any(|l| l.line == *line && l.replica == replica));
        let asked = !lines.is_empty();
        for line in lines {
            let listed = how.is_multiple_of(2).then(|| self.list(&line));
            self.tell(|| format!("  a look at {line}: {listed:?}"));
            let asked_at = self.now;
            self.looks.push(Look { replica, line, requested_at, asked_at, listed });
        }
        asked
    }

    fn list(&self, line: &freeline::core::id::LineId) -> Vec<Listed> {
        let at = NAMES.lines.iter().position(|one| one == line);
        let on_line = self.platform.open().filter(|(_, one)| Some(usize::from(one.line)) == at);
        let listed = on_line.map(|(number, one)| Listed {
            treatment: NAMES.treatment(number),
            user: NAMES.users[usize::from(one.user)].clone(),
            initialized_at: Some(one.began_at),
        });
        listed.collect()
    }

    pub(super) fn look_answer(&mut self, which: u8, how: u8) -> Done<bool> {
        let Some(at) = usize::from(which).checked_rem(self.looks.len()) else { return Ok(false) };
        let Look { line, requested_at, asked_at, listed, .. } = self.looks.remove(at);
        let now = self.clock();
        if how % 5 == 4 || self.now - asked_at > CALL_MAX {
            self.tables.postpone_look(&line, now);
            return Ok(true);
        }
        let listed = listed.unwrap_or_else(|| self.list(&line));
        self.tell(|| format!("  {line} has {listed:?}"));
        let before = self.in_doubt();
        self.hear();
        self.tables.record_look(&line, &listed, requested_at, now)?;
        self.check_verdicts(&before)?;
        Ok(true)
    }
}
