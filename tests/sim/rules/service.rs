//! The service: what its workers do to the tables, one transaction at a time, with the same calls
//! of the rules in the same order as `store::sql` makes them.

use std::collections::{BTreeMap, BTreeSet};

use freeline::core::dispatch::{
    Choice, Consequence, Dispatch, Floor, Phase, Policy, REFUSAL_REMEMBERED, Rehook, Waiting,
    can_tell_busy, choose, conclude, doubt, stuck,
};
use freeline::core::id::{LineId, PaymentId, UserId};
use freeline::core::occupancy::{
    LOOK_ANEW_AFTER, Listed, Snapshot, apply_event, apply_snapshot, settle,
};
use freeline::core::outcome::Answer;
use freeline::core::payment::{
    Command, CommandRefused, Follow, Known, Payment, PaymentState, Standing, admit, command,
};
use freeline::core::retry::Backoff;
use freeline::core::time::{Span, Time};
use freeline::core::why::{Reason, ReasonCode};

use super::platform::Broadcast;
use super::setting::NAMES;
use super::tables::{About, Refusal, Tables};

/// How the service refuses what breaks an index, in words.
pub(super) type Done<T = ()> = Result<T, String>;

pub(super) const IN_DOUBT_AFTER: Span = Span::from_secs(30);

/// What the service knows beside its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) policy: Policy,
}

/// A claim of a dispatch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimed {
    pub(super) dispatch: i64,
    pub(super) fence: i64,
    pub(super) line: u8,
    pub(super) user: u8,
    pub(super) payment: u8,
    pub(super) rehook: Rehook,
    pub(super) lease_until: Time,
}

fn number_of(text: &str) -> u8 {
    text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

impl Tables {
    // --- events -----------------------------------------------------------------------------------

    pub(super) fn keep(&mut self, broadcast: Broadcast, now: Time) {
        if self.seen.insert(broadcast.key()) {
            self.new_events.push((broadcast, now));
        }
    }

    /// Takes all kept events in, in one transaction.
    pub(super) fn intake(&mut self, now: Time) -> Done {
        if self.new_events.is_empty() {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.new_events);
        let read: Vec<_> = kept.iter().map(|(event, at)| (event.to_event(), *at)).collect();
        let mut about = About::default();
        for (event, _) in &read {
            about.add_event(event);
        }
        let mut view = self.load(&about);
        for (event, heard_at) in &read {
            apply_event(&mut view, event, *heard_at);
        }
        self.save(view, now)
    }

    // --- payments ---------------------------------------------------------------------------------

    fn standing(&self, rules: Rules, row: usize) -> Standing {
        let given = &self.given[row];
        let counterparty = given.counterparty.map(|at| (at, &self.counterparties[usize::from(at)]));
        let main = counterparty.filter(|(_, one)| one.present);
        let manager = given.manager.or_else(|| main.map(|(_, one)| one.manager));
        let found = manager.map(|at| &self.managers[usize::from(at)]);
        let known = found.filter(|one| one.exists);
        let user = given.user.or_else(|| main.and_then(|(_, one)| one.user));
        let name = |at: u8| NAMES.managers[usize::from(at)].clone();
        let is_specialist = rules.policy.mode == freeline::core::dispatch::SendMode::Specialist;
        Standing {
            counterparty: match (counterparty, main) {
                (None, _) => Known::NotNamed,
                (Some((at, _)), None) => Known::No(NAMES.counterparties[usize::from(at)].clone()),
                (Some((at, _)), Some(_)) => {
                    Known::Yes(NAMES.counterparties[usize::from(at)].clone())
                }
            },
            manager_enabled: known.is_some_and(|one| one.enabled && one.present),
            manager: match (manager, known) {
                (None, _) => Known::NotNamed,
                (Some(at), Some(_)) => Known::Yes(name(at)),
                (Some(at), None) => Known::No(name(at)),
            },
            user: user.map(|at| NAMES.users[usize::from(at)].clone()),
            author: (given.author || is_specialist).then(|| NAMES.specialist.clone()),
            author_required: is_specialist,
        }
    }

    pub(super) fn wake_manager(&mut self, payment: &Payment, now: Time) {
        if let (Some(manager), PaymentState::Queued) = (&payment.manager, payment.state) {
            self.make_due(manager.as_str(), now);
        }
    }

    pub(super) fn add_payment(&mut self, rules: Rules, mut payment: Payment, now: Time) {
        let row = self.payment_index(&payment.id);
        admit(&mut payment, &self.standing(rules, row), ReasonCode::Queued);
        self.wake_manager(&payment, now);
        self.write_payment(payment);
    }

    /// Looks again at payments whose directory has changed; answers how many.
    pub(super) fn recheck(&mut self, rules: Rules, now: Time) -> usize {
        let wanted: Vec<usize> =
            (0..self.given.len()).filter(|row| self.given[*row].recheck).collect();
        for row in &wanted {
            let mut payment = self.payments[*row].clone();
            let standing = self.standing(rules, *row);
            self.is_dirty = true;
            self.given[*row].recheck = false;
            let changed = admit(&mut payment, &standing, ReasonCode::DirectoryChanged);
            self.wake_manager(&payment, now);
            if changed {
                self.write_payment(payment);
            }
        }
        wanted.len()
    }

    pub(super) fn command(
        &mut self,
        rules: Rules,
        row: usize,
        what: Command,
        now: Time,
    ) -> Done<Result<(), CommandRefused>> {
        let mut payment = self.payments[row].clone();
        let before = payment.clone();
        let active = self.active_of(&payment.id).cloned();
        let may_be_sent = active.as_ref().is_some_and(|one| one.phase != Phase::Reserved);
        let follow = match command(&mut payment, what, "so", may_be_sent) {
            Ok(follow) => follow,
            Err(refused) => return Ok(Err(refused)),
        };
        let is_retried = what == Command::Retry && payment.state == PaymentState::Queued;
        if is_retried {
            let of_manager = |line: &LineId| {
                let at = self.lines.iter().find(|one| one.id == *line);
                at.is_some_and(|one| Some(&one.manager) == payment.manager.as_ref())
            };
            let forgotten: Vec<bool> = self
                .refusals
                .iter()
                .map(|one| Some(&one.user) == payment.user.as_ref() && of_manager(&one.line))
                .collect();
            let mut forgotten = forgotten.into_iter();
            self.refusals.retain(|_| !forgotten.next().unwrap_or(false));
        }
        admit(&mut payment, &self.standing(rules, row), ReasonCode::Released);
        let mut touched = None;
        if let (Follow::GiveBack, Some(mut dispatch)) = (follow, active) {
            dispatch.phase = Phase::Undone;
            dispatch.lease_until = None;
            touched = Some(dispatch.line.clone());
            self.write_dispatch(dispatch)?;
        }
        let changed = payment != before;
        if changed || is_retried {
            self.wake_manager(&payment, now);
        }
        if changed {
            self.write_payment(payment);
        }
        if let Some(line) = touched {
            self.refresh(&line, now);
        }
        Ok(Ok(()))
    }

    // --- the dispatcher ---------------------------------------------------------------------------

    pub(super) fn refused(&self, now: Time) -> BTreeSet<(LineId, UserId)> {
        let remembered = self.refusals.iter().filter(|one| one.until > now);
        remembered.map(|one| (one.line.clone(), one.user.clone())).collect()
    }

    fn floor(&self, manager: usize, now: Time) -> Floor {
        let manager = &NAMES.managers[manager];
        let own = self.lines.iter().zip(&self.line_rows);
        let own = own.filter(|(line, row)| line.manager == *manager && row.present);
        let refused = self.refused(now).into_iter();
        let open = self.treatments.iter().filter(|treatment| treatment.is_open());
        let active = self.dispatches.iter().filter(|dispatch| dispatch.phase.is_active());
        let present = open.map(|one| (one.line.clone(), one.user.clone()));
        let present = present.chain(active.map(|one| (one.line.clone(), one.user.clone())));
        Floor {
            lines: own.map(|(line, _)| line.clone()).collect(),
            waiting: Vec::new(),
            refused: refused.map(|pair| (pair, "403".to_owned())).collect(),
            present: present.collect(),
        }
    }

    /// One round for the manager who is due; `false` if none is.
    pub(super) fn round(&mut self, now: Time) -> Done<bool> {
        let due = self.managers.iter().enumerate().filter_map(|(at, one)| Some((one.due_at?, at)));
        let Some((_, manager)) = due.filter(|(due_at, _)| *due_at <= now).min() else {
            return Ok(false);
        };
        self.is_dirty = true;
        let mut floor = self.floor(manager, now);
        let mut touched = BTreeSet::new();
        if floor.lines.iter().any(|line| line.occupancy.room() > 0) {
            floor.waiting = self.waiting(manager, &stuck(&floor));
            for (payment, choice) in choose(&mut floor) {
                match choice {
                    Choice::Line(line) => {
                        self.reserve(&payment, &line, now)?;
                        touched.insert(line);
                    }
                    Choice::RefusedEverywhere(words) => {
                        let row = self.payment_index(&payment);
                        let mut payment = self.payments[row].clone();
                        let reason = Reason::plain(ReasonCode::RefusedForGood).saying(words);
                        payment.become_(PaymentState::Rejected, reason);
                        self.write_payment(payment);
                    }
                    Choice::Waits => {}
                }
            }
        }
        self.write_notices(manager, &floor);
        let of_manager = |line: &LineId| {
            let found = self.lines.iter().find(|one| one.id == *line);
            found.is_some_and(|one| one.manager == NAMES.managers[manager])
        };
        let refusals = self.refusals.iter().filter(|one| one.until > now && of_manager(&one.line));
        self.managers[manager].due_at = refusals.map(|one| one.until).min();
        for line in &touched {
            self.refresh_state(line, now);
        }
        Ok(true)
    }

    /// The queue of a manager.
    fn waiting(&self, manager: usize, stuck: &BTreeSet<UserId>) -> Vec<Waiting> {
        let mut rows: Vec<usize> = (0..self.payments.len())
            .filter(|row| {
                let payment = &self.payments[*row];
                payment.state == PaymentState::Queued
                    && !self.given[*row].recheck
                    && payment.manager.as_ref() == Some(&NAMES.managers[manager])
                    && payment.user.as_ref().is_none_or(|user| !stuck.contains(user))
            })
            .collect();
        rows.sort_by_key(|row| {
            let given = &self.given[*row];
            (std::cmp::Reverse(given.priority), given.received_at, *row)
        });
        let of_row = |row: usize| Waiting {
            payment: self.payments[row].id.clone(),
            user: self.payments[row].user.clone().expect("a queued payment has its user"),
        };
        rows.into_iter().map(of_row).collect()
    }

    fn reserve(&mut self, payment: &PaymentId, line: &LineId, now: Time) -> Done {
        let row = self.payment_index(payment);
        let mut payment = self.payments[row].clone();
        let at = self.line_index(line).expect("a line of the floor");
        let capacity = self.lines[at].occupancy.capacity;
        let holds = |d: &&Dispatch| d.phase.is_active() && d.line == *line;
        let taken: Vec<i64> =
            self.dispatches.iter().filter(holds).filter_map(|dispatch| dispatch.slot).collect();
        let slot = (0..capacity).find(|slot| !taken.contains(slot));
        if slot.is_none() {
            return Err(format!("{line} has room and no place for {}", payment.id));
        }
        self.lines[at].last_used_at = Some(now);
        self.write_dispatch(Dispatch {
            id: count(self.dispatches.len()) + 1,
            payment: payment.id.clone(),
            line: line.clone(),
            user: payment.user.clone().expect("a queued payment has its user"),
            author: payment.author.clone(),
            slot,
            capacity,
            phase: Phase::Reserved,
            treatment: None,
            fence: 0,
            due_at: now,
            lease_until: None,
            failures: 0,
            claimed_at: None,
            sent_at: None,
            rehook: Rehook::No,
            echo: None,
        })?;
        payment.become_(
            PaymentState::Sending,
            Reason::on_line(ReasonCode::LineReserved, line.clone()),
        );
        self.write_payment(payment);
        Ok(())
    }

    fn write_notices(&mut self, manager: usize, floor: &Floor) {
        if !can_tell_busy(floor) {
            return;
        }
        for (payment, given) in self.payments.iter().zip(&mut self.given) {
            let is_due = payment.state == PaymentState::Queued
                && given.noticed < payment.episode
                && !given.recheck
                && payment.manager.as_ref() == Some(&NAMES.managers[manager]);
            if is_due {
                given.noticed = payment.episode;
                self.notices.push((payment.id.clone(), payment.episode));
            }
        }
    }

    // --- claims and answers -----------------------------------------------------------------------

    /// Nothing is sent to a line whose open treatments are not known (any more).
    fn is_sendable(&self, line: &LineId) -> bool {
        let at = self.line_index(line);
        at.is_some_and(|at| {
            let row = &self.line_rows[at];
            row.known_at.is_some() && row.hooked_at.is_some()
        })
    }

    pub(super) fn claim(&mut self, owner: u32, now: Time, lease_until: Time) -> Option<Claimed> {
        let is_due = |one: &&Dispatch| {
            one.phase == Phase::Reserved && one.due_at <= now && self.is_sendable(&one.line)
        };
        let due = self.dispatches.iter().filter(is_due).min_by_key(|one| (one.due_at, one.id));
        let id = due?.id;
        let dispatch = self.dispatch_mut(id);
        dispatch.phase = Phase::Sending;
        dispatch.lease_until = Some(lease_until);
        dispatch.fence += 1;
        dispatch.claimed_at = Some(now);
        let claimed = Claimed {
            dispatch: id,
            fence: dispatch.fence,
            line: number_of(dispatch.line.as_str()),
            user: number_of(dispatch.user.as_str()),
            payment: number_of(dispatch.payment.as_str()),
            rehook: dispatch.rehook,
            lease_until,
        };
        let row = self.payment_index(&NAMES.payments[usize::from(claimed.payment)]);
        self.payments[row].attempts += 1;
        self.owners[usize::try_from(id).unwrap() - 1] = owner;
        Some(claimed)
    }

    pub(super) fn record_rehook(&mut self, claimed: &Claimed) {
        let dispatch = self.dispatch_mut(claimed.dispatch);
        if dispatch.fence == claimed.fence && dispatch.phase == Phase::Sending {
            dispatch.rehook = Rehook::Done;
        }
    }

    pub(super) fn record_answer(
        &mut self,
        rules: Rules,
        claimed: &Claimed,
        answer: &Answer,
        now: Time,
    ) -> Done<bool> {
        let about = About { dispatches: vec![claimed.dispatch], ..About::default() };
        let mut view = self.load(&about);
        let found = view.dispatches.get_mut(&claimed.dispatch);
        let Some(dispatch) = found.filter(|one| one.fence == claimed.fence) else {
            return Ok(false);
        };
        let payment = view.payments.get_mut(&dispatch.payment).expect("loaded with its dispatch");
        let consequence = conclude(dispatch, payment, answer, rules.policy, now);
        if let Consequence::RememberRefusal(_) = consequence {
            let (line, user) = (dispatch.line.clone(), dispatch.user.clone());
            self.refusals.retain(|one| one.line != line || one.user != user);
            self.refusals.push(Refusal { line, user, until: now.plus(REFUSAL_REMEMBERED) });
        }
        settle(&mut view, now);
        self.save(view, now)?;
        Ok(true)
    }

    pub(super) fn expire(&mut self, rules: Rules, now: Time, survivor: Option<u32>) -> Done {
        for at in 0..self.dispatches.len() {
            let is_gone = survivor.is_some_and(|survivor| self.owners[at] != survivor);
            let one = &self.dispatches[at];
            let ran_out = one.lease_until.is_some_and(|until| until <= now);
            if one.phase == Phase::Sending && (ran_out || is_gone) {
                let mut dispatch = one.clone();
                let row = self.payment_index(&dispatch.payment);
                let mut payment = self.payments[row].clone();
                let after = rules.policy.in_doubt_after;
                doubt(&mut dispatch, &mut payment, "the sender vanished", after, now);
                self.write_dispatch(dispatch)?;
                self.write_payment(payment);
            }
        }
        Ok(())
    }

    // --- looks ------------------------------------------------------------------------------------

    fn waits_for_look(dispatch: &Dispatch) -> bool {
        dispatch.phase == Phase::InDoubt
            || (dispatch.phase == Phase::Sent && dispatch.treatment.is_none())
    }

    pub(super) fn wants_look(&self, now: Time) -> bool {
        let is_due = |d: &Dispatch| d.due_at <= now && Self::waits_for_look(d);
        self.line_rows.iter().any(|row| row.look_at.is_some_and(|at| at <= now))
            || self.dispatches.iter().any(is_due)
    }

    pub(super) fn looks_due(&self, now: Time) -> BTreeSet<LineId> {
        let rows = self.lines.iter().zip(&self.line_rows);
        let asked = rows.filter(|(_, row)| row.look_at.is_some_and(|at| at <= now));
        let waiting = self.dispatches.iter().filter(|d| Self::waits_for_look(d) && d.due_at <= now);
        let asked = asked.map(|(line, _)| line.id.clone());
        asked.chain(waiting.map(|dispatch| dispatch.line.clone())).collect()
    }

    pub(super) fn record_look(
        &mut self,
        line: &LineId,
        listed: &[Listed],
        requested_at: Time,
        now: Time,
    ) -> Done {
        self.intake(now)?;
        let on_line = |d: &&Dispatch| d.phase.is_active() && d.line == *line;
        let pending: Vec<&Dispatch> = self.dispatches.iter().filter(on_line).collect();
        let since = pending.iter().filter_map(|one| one.claimed_at).fold(requested_at, Time::min);
        let mut about = About {
            treatments: listed.iter().map(|one| one.treatment.clone()).collect(),
            pairs: listed.iter().map(|one| (line.clone(), one.user.clone())).collect(),
            line: Some((line.clone(), since)),
            ..About::default()
        };
        about.pairs.extend(pending.into_iter().map(|one| (one.line.clone(), one.user.clone())));
        let mut view = self.load(&about);
        let is_whole = apply_snapshot(&mut view, &Snapshot { line, listed, requested_at }, now);
        self.save(view, now)?;
        if let Some(at) = self.line_index(line) {
            let row = &mut self.line_rows[at];
            if row.hooked_at.is_some_and(|hooked_at| hooked_at <= requested_at) {
                row.known_at = Some(requested_at);
                row.look_at = (!is_whole).then(|| now.plus(LOOK_ANEW_AFTER));
                row.look_failures = 0;
            }
        }
        self.refresh(line, now);
        Ok(())
    }

    pub(super) fn postpone_look(&mut self, line: &LineId, now: Time) {
        let row = self.line_index(line);
        let of_line = row.map(|row| self.line_rows[row].look_failures);
        let is_here = |d: &&mut Dispatch| Self::waits_for_look(d) && d.line == *line;
        let of_doubts = self.dispatches.iter_mut().filter(is_here).map(|one| one.failures);
        let failures = of_doubts.chain(of_line).max().unwrap_or(0) + 1;
        let next = now.plus(Backoff::LOOK.after(failures));
        if let Some(row) = row {
            let row = &mut self.line_rows[row];
            row.look_failures = failures;
            row.look_at = row.look_at.map(|_| next);
        }
        for dispatch in self.dispatches.iter_mut().filter(is_here).filter(|one| one.due_at <= now) {
            dispatch.failures += 1;
            dispatch.due_at = next;
        }
    }

    pub(super) fn forget_occupancy(&mut self, rules: Rules, now: Time) {
        let grace = now.plus(rules.policy.in_doubt_after);
        for dispatch in self.dispatches.iter_mut().filter(|one| one.phase == Phase::InDoubt) {
            dispatch.due_at = dispatch.due_at.max(grace);
        }
        for row in self.line_rows.iter_mut().filter(|row| row.present) {
            row.known_at = None;
            row.look_failures = 0;
            row.look_at = row.hooked_at.map(|_| now);
            row.hooked_at = row.hooked_at.map(|_| now);
        }
        self.refresh_all(now);
    }

    // --- hooks ------------------------------------------------------------------------------------

    pub(super) fn record_hooked(&mut self, line: usize, hooked: bool, now: Time) {
        let row = &mut self.line_rows[line];
        if row.hooked_at.is_none() == hooked {
            row.hooked_at = hooked.then_some(now);
            row.known_at = None;
            row.look_at = hooked.then_some(now);
            row.look_failures = 0;
        }
        let id = self.lines[line].id.clone();
        self.refresh(&id, now);
    }

    // --- the directory ----------------------------------------------------------------------------

    pub(super) fn mark_waiting(&mut self, counterparty: Option<u8>) {
        for (payment, given) in self.payments.iter().zip(&mut self.given) {
            let waits = matches!(payment.state, PaymentState::Held | PaymentState::Queued);
            let is_meant = counterparty.is_none() || given.counterparty == counterparty;
            given.recheck |= waits && is_meant;
        }
    }

    /// What follows from any change of the directory.
    pub(super) fn settle_directory(&mut self, now: Time) {
        self.is_dirty = true;
        self.refresh_all(now);
        for manager in self.managers.iter_mut().filter(|manager| manager.exists) {
            manager.due_at = Some(manager.due_at.map_or(now, |due_at| due_at.min(now)));
        }
    }

    /// How many payments are where.
    pub(super) fn by_state(&self) -> BTreeMap<PaymentState, usize> {
        let mut counts = BTreeMap::new();
        for payment in &self.payments {
            *counts.entry(payment.state).or_default() += 1;
        }
        counts
    }
}
