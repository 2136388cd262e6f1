//! The tables, and how decisions are loaded from and saved to them: as `store::sql::view` does it,
//! with the same choice of rows and the same order of writes, and with its unique indexes.

use std::collections::{BTreeMap, HashSet};

use freeline::core::dispatch::{Dispatch, Phase, Untouched, give_back, surplus};
use freeline::core::event::{Event, TEXT};
use freeline::core::id::{LineId, PaymentId, TreatmentId, UserId};
use freeline::core::line::{Line, LineState, Occupancy};
use freeline::core::number::Number;
use freeline::core::occupancy::View;
use freeline::core::payment::{Payment, PaymentState};
use freeline::core::time::Time;
use freeline::core::treatment::{LOADED_OF_PAIR, Treatment, Treatments};
use freeline::core::why::{Reason, ReasonCode};

use super::platform::Broadcast;

/// What a payment names, and what the table has beside what the rules see.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) counterparty: Option<u8>,
    pub(super) manager: Option<u8>,
    pub(super) user: Option<u8>,
    pub(super) author: bool,
    pub(super) priority: u8,
    pub(super) received_at: Time,
    pub(super) recheck: bool,
    pub(super) noticed: i64,
    /// Its timeline has these.
    pub(super) was_found_by_look: bool,
}

/// A line of the directory beside what the rules see.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "it is a row of a table, not a state machine")]
pub(super) struct LineRow {
    pub(super) enabled: bool,
    pub(super) present: bool,
    pub(super) paused: bool,
    pub(super) hooked_at: Option<Time>,
    pub(super) known_at: Option<Time>,
    pub(super) look_at: Option<Time>,
    pub(super) look_failures: i64,
    /// The hooks table has its hooks as set.
    pub(super) hooks_noted: bool,
    pub(super) state: LineState,
}

#[derive(Clone, Debug)]
pub(super) struct ManagerRow {
    /// It has a row: it is or was in the directory.
    pub(super) exists: bool,
    pub(super) enabled: bool,
    pub(super) present: bool,
    pub(super) due_at: Option<Time>,
}

#[derive(Clone, Debug)]
pub(super) struct CounterpartyRow {
    pub(super) manager: u8,
    pub(super) user: Option<u8>,
    pub(super) present: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) line: LineId,
    pub(super) user: UserId,
    pub(super) until: Time,
}

#[derive(Default)]
pub(super) struct Tables {
    /// Kept and not yet taken in.
    pub(super) new_events: Vec<(Broadcast, Time)>,
    /// The unique index of events.
    pub(super) seen: HashSet<(u32, i64, u8, u8)>,
    pub(super) payments: Vec<Payment>,
    pub(super) given: Vec<Given>,
    pub(super) dispatches: Vec<Dispatch>,
    /// Who claimed each of them.
    pub(super) owners: Vec<u32>,
    pub(super) treatments: Vec<Treatment>,
    pub(super) lines: Vec<Line>,
    pub(super) line_rows: Vec<LineRow>,
    pub(super) managers: Vec<ManagerRow>,
    pub(super) counterparties: Vec<CounterpartyRow>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) notices: Vec<(PaymentId, i64)>,
    /// The true time, and that at which each dispatch was made.
    pub(super) moment: i64,
    pub(super) made_at: Vec<i64>,
    /// Something was written since the promises were checked.
    pub(super) is_dirty: bool,
}

/// What a decision is about.
#[derive(Default)]
pub(super) struct About {
    pub(super) treatments: Vec<TreatmentId>,
    pub(super) pairs: Vec<(LineId, UserId)>,
    pub(super) numbers: Vec<Number>,
    pub(super) dispatches: Vec<i64>,
    pub(super) line: Option<(LineId, Time)>,
}

impl About {
    pub(super) fn add_event(&mut self, event: &Event) {
        self.treatments.extend(event.treatment.clone());
        let (Some(line), Some(user)) = (&event.line, &event.user) else { return };
        self.pairs.push((line.clone(), user.clone()));
        if let Some(movement) = &event.movement {
            self.treatments.extend(movement.treatment.clone());
            self.pairs.extend(movement.line.clone().map(|line| (line, user.clone())));
        }
        if let (Some(TEXT), Some(text)) = (event.message_type, &event.text) {
            self.numbers.extend(Number::find_all(text));
        }
    }
}

/// Which rows of a table are wanted.
type Marks = Vec<bool>;

fn index(id: i64) -> usize {
    usize::try_from(id).unwrap() - 1
}

impl Tables {
    pub(super) fn payment_index(&self, id: &PaymentId) -> usize {
        self.payments.binary_search_by(|payment| payment.id.cmp(id)).unwrap()
    }

    pub(super) fn dispatch_mut(&mut self, id: i64) -> &mut Dispatch {
        self.is_dirty = true;
        &mut self.dispatches[index(id)]
    }

    pub(super) fn active_of(&self, payment: &PaymentId) -> Option<&Dispatch> {
        let of_payment = |d: &&Dispatch| d.payment == *payment;
        let is_live = |d: &&Dispatch| !matches!(d.phase, Phase::Refused | Phase::Undone);
        self.dispatches.iter().find(|d| is_live(d) && of_payment(d))
    }

    // --- loading ----------------------------------------------------------------------------------

    fn treatment_row(&self, id: &TreatmentId) -> Option<usize> {
        self.treatments.iter().position(|treatment| treatment.id == *id)
    }

    fn mark_treatment(&self, id: &TreatmentId, marks: &mut Marks) {
        let mut next = Some(id);
        for _ in 0..16 {
            let Some(row) = next.and_then(|id| self.treatment_row(id)) else { return };
            marks[row] = true;
            next = self.treatments[row].end.as_ref().and_then(|end| end.moved_to.as_ref());
        }
    }

    /// The open one and the newest ones.
    fn mark_pair(&self, line: &LineId, user: &UserId, marks: &mut Marks) {
        let of_pair = || {
            let all = self.treatments.iter().enumerate();
            all.filter(|(_, one)| one.line == *line && one.user == *user)
        };
        let mut count = 0;
        for (row, _) in of_pair() {
            marks[row] = true;
            count += 1;
        }
        if count <= LOADED_OF_PAIR {
            return;
        }
        let mut beginnings: Vec<Time> = of_pair().map(|(_, one)| one.opened_at).collect();
        beginnings.sort_unstable();
        let from = beginnings[count - LOADED_OF_PAIR];
        for (row, one) in of_pair() {
            marks[row] = one.is_open() || one.opened_at >= from;
        }
    }

    fn mark_treatments(&self, about: &About) -> Marks {
        let mut marks = vec![false; self.treatments.len()];
        let mut of_pair = vec![false; self.treatments.len()];
        for (line, user) in &about.pairs {
            self.mark_pair(line, user, &mut of_pair);
        }
        for id in &about.treatments {
            self.mark_treatment(id, &mut marks);
        }
        if let Some((line, since)) = &about.line {
            for (row, one) in self.treatments.iter().enumerate() {
                marks[row] |= one.line == *line && (one.is_open() || one.heard_at >= *since);
            }
        }
        marks.iter_mut().zip(of_pair).for_each(|(mark, more)| *mark |= more);
        marks
    }

    fn wants_dispatch(&self, dispatch: &Dispatch, about: &About, found: &Marks) -> bool {
        if about.dispatches.contains(&dispatch.id) {
            return true;
        }
        if let Some(id) = &dispatch.treatment {
            let is_found = || self.treatment_row(id).is_some_and(|row| found[row]);
            if about.treatments.contains(id) || is_found() {
                return true;
            }
        }
        if dispatch.phase.is_active() {
            let on_line = about.line.as_ref().is_some_and(|(line, _)| *line == dispatch.line);
            let is_pair =
                |pair: &(LineId, UserId)| pair.0 == dispatch.line && pair.1 == dispatch.user;
            if on_line || about.pairs.iter().any(is_pair) {
                return true;
            }
        }
        let number = &self.payments[self.payment_index(&dispatch.payment)].number;
        about.numbers.contains(number)
    }

    pub(super) fn load(&self, about: &About) -> View {
        let mut marks = self.mark_treatments(about);
        let dispatches: Vec<&Dispatch> =
            self.dispatches.iter().filter(|d| self.wants_dispatch(d, about, &marks)).collect();
        // Those that came by number or id bring their own chats.
        let mut more = About::default();
        more.treatments.extend(dispatches.iter().filter_map(|d| d.treatment.clone()));
        {
            let found = self.treatments.iter().zip(&marks).filter(|(_, wanted)| **wanted);
            let chats = dispatches.iter().map(|d| (&d.line, &d.user));
            for (line, user) in chats.chain(found.map(|(t, _)| (&t.line, &t.user))) {
                let same = |pair: &&(LineId, UserId)| pair.0 == *line && pair.1 == *user;
                if !about.pairs.iter().chain(&more.pairs).any(|pair| same(&pair)) {
                    more.pairs.push((line.clone(), user.clone()));
                }
            }
        }
        if !more.treatments.is_empty() || !more.pairs.is_empty() {
            let more = self.mark_treatments(&more);
            marks.iter_mut().zip(more).for_each(|(mark, more)| *mark |= more);
        }
        let found = self.treatments.iter().zip(&marks).filter(|(_, wanted)| **wanted);
        let mut view = View {
            treatments: Treatments::new(found.map(|(treatment, _)| treatment.clone())),
            ..View::default()
        };
        for dispatch in dispatches {
            if !view.payments.contains_key(&dispatch.payment) {
                let payment = self.payments[self.payment_index(&dispatch.payment)].clone();
                view.payments.insert(payment.id.clone(), payment);
            }
            view.dispatches.insert(dispatch.id, dispatch.clone());
        }
        view
    }

    // --- saving -----------------------------------------------------------------------------------

    /// Writes what the decision changed; answers what a unique index would refuse.
    pub(super) fn save(&mut self, after: View, now: Time) -> Result<(), String> {
        let mut lines = after.treatments.lines_touched().clone();
        self.save_treatments(&after.treatments)?;
        let mut changed: Vec<Dispatch> = Vec::new();
        for (id, dispatch) in after.dispatches {
            let old = &self.dispatches[index(id)];
            if *old != dispatch {
                if old.line != dispatch.line {
                    lines.insert(old.line.clone());
                }
                lines.insert(dispatch.line.clone());
                changed.push(dispatch);
            }
        }
        // What gives way is written first.
        changed.sort_by_key(|dispatch| match dispatch.phase {
            Phase::Refused | Phase::Undone => 0,
            Phase::Closed => 1,
            _ => 2,
        });
        for dispatch in changed {
            self.write_dispatch(dispatch)?;
        }
        self.save_payments(after.payments, now);
        for line in lines {
            self.refresh(&line, now);
        }
        Ok(())
    }

    fn save_treatments(&mut self, after: &Treatments) -> Result<(), String> {
        for changed in after.changed() {
            self.is_dirty = true;
            // Whoever leaves a line makes way first.
            if let Some(row) = self.treatment_row(&changed.id)
                && self.treatments[row].is_open()
                && self.treatments[row].line != changed.line
            {
                let line = changed.line.clone();
                self.treatments[row].line = line;
                self.treatments[row].end.clone_from(&changed.end);
            }
        }
        for is_open in [false, true] {
            for changed in after.changed().filter(|changed| changed.is_open() == is_open) {
                let row = self.treatment_row(&changed.id);
                let is_same_chat =
                    |one: &Treatment| one.line == changed.line && one.user == changed.user;
                let is_other_open = |(at, one): (usize, &Treatment)| {
                    Some(at) != row && one.is_open() && is_same_chat(one)
                };
                if is_open && self.treatments.iter().enumerate().any(is_other_open) {
                    return Err(format!("two open treatments in the chat of {changed:?}"));
                }
                match row {
                    Some(row) => self.treatments[row].clone_from(changed),
                    None => self.treatments.push(changed.clone()),
                }
            }
        }
        Ok(())
    }

    fn save_payments(&mut self, after: BTreeMap<PaymentId, Payment>, now: Time) {
        for (id, payment) in after {
            let row = self.payment_index(&id);
            let before = self.payments[row].state;
            if self.payments[row] != payment {
                let manager = payment.manager.clone();
                let state = payment.state;
                self.write_payment(payment);
                if state == PaymentState::Queued {
                    // The directory may have changed while it was on its way.
                    self.given[row].recheck |= before != PaymentState::Queued;
                    if let Some(manager) = manager {
                        self.make_due(manager.as_str(), now);
                    }
                }
            }
        }
    }

    pub(super) fn write_payment(&mut self, mut payment: Payment) {
        self.is_dirty = true;
        let row = self.payment_index(&payment.id);
        let given = &mut self.given[row];
        let found = |(_, reason): &(_, Reason)| reason.code == ReasonCode::FoundByLook;
        given.was_found_by_look |= payment.happened.iter().any(found);
        given.recheck = false;
        payment.happened.clear();
        self.payments[row] = payment;
    }

    /// Writes one dispatch; the unique indexes have their say.
    pub(super) fn write_dispatch(&mut self, dispatch: Dispatch) -> Result<(), String> {
        self.is_dirty = true;
        let is_live = |d: &Dispatch| !matches!(d.phase, Phase::Refused | Phase::Undone);
        let others = || self.dispatches.iter().filter(|other| other.id != dispatch.id);
        if is_live(&dispatch) && others().any(|o| is_live(o) && o.payment == dispatch.payment) {
            return Err(format!("two dispatches of one payment: {dispatch:?}"));
        }
        if dispatch.phase.is_active()
            && let Some(slot) = dispatch.slot
        {
            if slot < 0 || slot >= dispatch.capacity {
                return Err(format!("a place that the line does not have: {dispatch:?}"));
            }
            let here =
                |o: &&Dispatch| o.phase.is_active() && o.slot.is_some() && o.line == dispatch.line;
            if others().filter(here).any(|o| o.slot == Some(slot) || o.user == dispatch.user) {
                return Err(format!("two dispatches in one place or chat: {dispatch:?}"));
            }
        }
        let row = index(dispatch.id);
        if let Some(old) = self.dispatches.get_mut(row) {
            *old = dispatch;
        } else {
            self.dispatches.push(dispatch);
            self.owners.push(0);
            self.made_at.push(self.moment);
        }
        Ok(())
    }

    // --- lines ------------------------------------------------------------------------------------

    fn occupancy(&self, at: usize) -> Occupancy {
        let (line, row) = (&self.lines[at], &self.line_rows[at]);
        let is_open_here = |one: &&Treatment| one.is_open() && one.line == line.id;
        let open = self.treatments.iter().filter(is_open_here).count();
        let reserved = self.dispatches.iter().filter(|d| {
            let waits = d.phase.is_pending() && !d.needs_person() && d.line == line.id;
            waits && !self.treatments.iter().filter(is_open_here).any(|t| t.user == d.user)
        });
        Occupancy {
            enabled: row.enabled && row.present,
            paused: row.paused,
            known: row.known_at.is_some() && row.hooked_at.is_some(),
            capacity: line.occupancy.capacity,
            open: i64::try_from(open).unwrap(),
            reserved: i64::try_from(reserved.count()).unwrap(),
        }
    }

    pub(super) fn line_index(&self, id: &LineId) -> Option<usize> {
        self.lines.iter().position(|line| line.id == *id)
    }

    /// Writes a line's state anew; answers whether its manager is to be looked at.
    pub(super) fn refresh_state(&mut self, id: &LineId, now: Time) -> Option<usize> {
        let at = self.line_index(id)?;
        self.is_dirty = true;
        self.lines[at].occupancy = self.occupancy(at);
        self.give_back(at, now);
        let occupancy = self.occupancy(at);
        self.lines[at].occupancy = occupancy;
        let before = std::mem::replace(&mut self.line_rows[at].state, occupancy.state());
        let is_news = before == LineState::Unknown && occupancy.state() != LineState::Unknown;
        (occupancy.room() > 0 || is_news).then_some(at)
    }

    /// Takes back what a line was set aside for and cannot serve any more.
    fn give_back(&mut self, at: usize, now: Time) {
        let line = self.lines[at].clone();
        let reserved =
            self.dispatches.iter().filter(|d| d.phase == Phase::Reserved && d.line == line.id);
        let untouched = reserved.map(|one| {
            let mut here = self.treatments.iter().filter(|t| t.is_open() && t.line == line.id);
            let payment = &self.payments[self.payment_index(&one.payment)];
            Untouched {
                dispatch: one.id,
                user_present: here.any(|treatment| treatment.user == one.user),
                of_manager: payment.manager.as_ref() == Some(&line.manager),
            }
        });
        let untouched: Vec<Untouched> = untouched.collect();
        for (id, code) in surplus(line.occupancy, &untouched) {
            let row = index(id);
            let payment = self.payment_index(&self.dispatches[row].payment);
            let mut changed = self.payments[payment].clone();
            let reason = Reason::on_line(code, line.id.clone());
            give_back(&mut self.dispatches[row], &mut changed, reason);
            self.write_payment(changed);
            self.given[payment].recheck = true;
            if let Some(manager) = self.payments[payment].manager.clone() {
                self.make_due(manager.as_str(), now);
            }
        }
    }

    pub(super) fn refresh(&mut self, id: &LineId, now: Time) {
        if let Some(at) = self.refresh_state(id, now) {
            let manager = self.lines[at].manager.clone();
            self.make_due(manager.as_str(), now);
        }
    }

    pub(super) fn refresh_all(&mut self, now: Time) {
        let ids: Vec<LineId> = self.lines.iter().map(|line| line.id.clone()).collect();
        for id in &ids {
            self.refresh(id, now);
        }
    }

    pub(super) fn make_due(&mut self, manager: &str, now: Time) {
        let number = manager.trim_start_matches('M').parse::<usize>().unwrap();
        let due_at = &mut self.managers[number].due_at;
        *due_at = Some(due_at.map_or(now, |due_at| due_at.min(now)));
    }
}
