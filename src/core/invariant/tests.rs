use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::core::dispatch::{Choice, Floor, Policy, SendMode, Waiting, choose, conclude, doubt};
use crate::core::dispatch::{Consequence, Rehook};
use crate::core::event::Event;
use crate::core::id::{ManagerId, TreatmentId};
use crate::core::line::Occupancy;
use crate::core::occupancy::{Listed, Snapshot, View, apply_event, apply_snapshot, settle};
use crate::core::outcome::{Answer, NotDone};
use crate::core::payment::{Command, Follow, command};
use crate::core::script::{at, dispatch, event, number, payment};
use crate::core::time::Span;
use crate::core::treatment::Opener;
use crate::core::why::{Reason, ReasonCode};

fn line(id: &str, capacity: i64) -> Line {
    Line {
        id: LineId::from(id),
        name: id.to_owned(),
        manager: ManagerId::from("M1"),
        position: 0,
        last_used_at: None,
        occupancy: Occupancy {
            enabled: true,
            paused: false,
            known: true,
            capacity,
            open: 0,
            reserved: 0,
        },
    }
}

fn open(id: &str, line: &str) -> Treatment {
    Treatment {
        id: TreatmentId::from(id),
        line: LineId::from(line),
        user: UserId::from("U1"),
        opened_at: at(0),
        opener: Opener::User,
        last_event_at: at(0),
        heard_at: at(0),
        end: None,
    }
}

#[test]
fn every_broken_promise_is_named() {
    use PaymentState as S;
    let p1 = || PaymentId::from("P1");
    let l1 = || LineId::from("L1");
    let check =
        |state: S, dispatches: &[Dispatch], treatments: &[Treatment], expected: &[Breach]| {
            let whole = Whole {
                payments: &[payment(1, state)],
                dispatches,
                treatments,
                lines: &[line("L1", 1)],
                refused: &BTreeSet::new(),
                notices: &[],
                at_rest: true,
            };
            assert_eq!(breaches(&whole), expected, "{state}");
        };
    let one = |phase| dispatch(1, "L1", phase);
    let two = |phase| Dispatch { id: 2, ..dispatch(2, "L2", phase) };
    let in_t1 = Dispatch { treatment: Some(TreatmentId::from("T1")), ..one(Phase::Open) };
    check(S::Sending, &[one(Phase::Reserved)], &[], &[]);
    check(S::Dispatched, &[one(Phase::Sent), two(Phase::Undone)], &[], &[]);
    check(S::Closed, &[one(Phase::Closed)], &[], &[]);
    check(S::Held, &[], &[], &[]);
    let both = [in_t1.clone(), two(Phase::Sent)];
    check(S::Dispatched, &both, &[open("T1", "L1")], &[Breach::SentTwice(p1())]);
    check(S::Dispatched, &[in_t1], &[], &[Breach::HeldByNothing(p1(), l1())]);
    check(S::Closed, &[one(Phase::Closed), two(Phase::Closed)], &[], &[Breach::SentTwice(p1())]);
    check(S::Held, &[one(Phase::Closed)], &[], &[Breach::MayGoOutAgain(p1())]);
    check(S::InDoubt, &[], &[], &[Breach::StateUnfounded(p1(), S::InDoubt)]);
    check(S::Cancelled, &[one(Phase::InDoubt)], &[], &[Breach::StateUnfounded(p1(), S::Cancelled)]);
    let taken = [Breach::StateUnfounded(p1(), S::Cancelled)];
    check(S::Cancelled, &[one(Phase::Closed)], &[], &taken);
    check(S::Queued, &[], &[], &[Breach::WaitsForNothing(p1(), l1())]);
    check(S::Queued, &[], &[open("T1", "L1")], &[]);
    let twice = [open("T1", "L1"), open("T2", "L1")];
    check(S::Held, &[], &twice, &[Breach::OpenTwice(l1(), UserId::from("U1"))]);
    let far = Dispatch { slot: Some(1), ..one(Phase::Reserved) };
    check(S::Sending, std::slice::from_ref(&far), &[], &[Breach::OverCapacity(l1())]);
    check(S::Sending, &[Dispatch { slot: None, ..far.clone() }], &[], &[]);
    // The line was made smaller since.
    check(S::Sending, &[Dispatch { capacity: 2, ..far }], &[], &[]);
    let other = Dispatch { id: 2, payment: PaymentId::from("P2"), ..one(Phase::Reserved) };
    let shared = [Breach::PlaceShared(l1(), 0), Breach::ChatShared(l1(), UserId::from("U1"))];
    check(S::Sending, &[one(Phase::Reserved), other], &[], &shared);
}

#[test]
fn a_second_notice_in_one_episode_is_named() {
    let notices = [1, 2, 1].map(|episode| (PaymentId::from("P1"), episode));
    let whole = Whole {
        payments: &[],
        dispatches: &[],
        treatments: &[],
        lines: &[],
        refused: &BTreeSet::new(),
        notices: &notices,
        at_rest: false,
    };
    assert_eq!(breaches(&whole), [Breach::NoticedTwice(PaymentId::from("P1"), 1)]);
}

/// One step of the world around the rules.
#[derive(Clone, Debug)]
enum Step {
    /// A payment comes in.
    Arrives { user: u8 },
    /// The dispatcher looks at everything.
    Dispatcher,
    /// The sender claims a reservation; the platform takes the message or not.
    Claim { which: u8, taken: bool },
    /// A call ends, and the sender hears this of it if it can be true.
    Answer { which: u8, how: u8 },
    /// One of the platform's events is delivered; another time later too, if `again`.
    Deliver { which: u8, again: bool },
    /// The platform loses the echo of a message of ours.
    LosesEcho { which: u8 },
    /// A user writes.
    UserWrites { user: u8, line: u8 },
    /// Somebody closes what is open.
    Closes { which: u8 },
    /// Somebody moves what is open.
    Moves { which: u8, to: u8 },
    /// The reconciler looks at every line with a doubt, after a while and once the events are in.
    Looks,
    /// A person acts.
    Person { which: u8, command: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    prop_oneof![
        3 => (0..2_u8).prop_map(|user| Step::Arrives { user }),
        4 => Just(Step::Dispatcher),
        4 => (n(), any::<bool>()).prop_map(|(which, taken)| Step::Claim { which, taken }),
        4 => (n(), n()).prop_map(|(which, how)| Step::Answer { which, how }),
        8 => (n(), prop::bool::weighted(0.2))
            .prop_map(|(which, again)| Step::Deliver { which, again }),
        1 => n().prop_map(|which| Step::LosesEcho { which }),
        2 => (0..2_u8, 0..3_u8).prop_map(|(user, line)| Step::UserWrites { user, line }),
        3 => n().prop_map(|which| Step::Closes { which }),
        1 => (n(), 0..3_u8).prop_map(|(which, to)| Step::Moves { which, to }),
        1 => Just(Step::Looks),
        1 => (n(), n()).prop_map(|(which, command)| Step::Person { which, command }),
    ]
}

/// A call under way: its dispatch, its fencing number, and whether the message was taken.
struct Call {
    dispatch: i64,
    fence: i64,
    taken: bool,
}

struct World {
    now: i64,
    view: View,
    lines: Vec<Line>,
    refused: BTreeSet<(LineId, UserId)>,
    calls: Vec<Call>,
    /// The platform: what is open, what is not delivered yet, how often each payment was taken.
    open: BTreeMap<(String, String), String>,
    undelivered: Vec<Event>,
    taken: BTreeMap<PaymentId, usize>,
    /// Payments that a person wanted sent again without knowing.
    risked: BTreeSet<PaymentId>,
    treatments: usize,
    messages: usize,
}

const POLICY: Policy = Policy { mode: SendMode::Specialist, in_doubt_after: Span::from_secs(30) };

fn pick<T>(items: &[T], which: u8) -> Option<usize> {
    usize::from(which).checked_rem(items.len())
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            view: View::default(),
            lines: vec![line("L0", 1), line("L1", 2), line("L2", 1)],
            refused: BTreeSet::new(),
            calls: Vec::new(),
            open: BTreeMap::new(),
            undelivered: Vec::new(),
            taken: BTreeMap::new(),
            risked: BTreeSet::new(),
            treatments: 0,
            messages: 0,
        }
    }

    fn tell(&mut self, what: &str) -> &mut Event {
        self.messages += 1;
        let text = format!("@{} m={} {what}", self.now, self.messages);
        self.undelivered.push(event(&text, 0));
        self.undelivered.last_mut().unwrap()
    }

    /// Somebody writes into a chat; answers the event.
    fn write(&mut self, line: &str, user: &str, author: char) -> &mut Event {
        let chat = (line.to_owned(), user.to_owned());
        if !self.open.contains_key(&chat) {
            self.treatments += 1;
            self.open.insert(chat.clone(), format!("T{}", self.treatments));
            let opened = self.open[&chat].clone();
            let assigned = if author == 'u' { 80 } else { 81 };
            self.tell(&format!("{assigned}s {opened} {line} {user}"));
        }
        let treatment = self.open[&chat].clone();
        self.tell(&format!("1{author} {user} 1{author} {treatment} {line}"))
    }

    /// The occupancy that follows from treatments and dispatches.
    fn count(&mut self) {
        for line in &mut self.lines {
            let treatments = &self.view.treatments;
            let open = treatments.all().filter(|t| t.is_open() && t.line == line.id).count();
            let pending = self.view.dispatches.values().filter(|d| {
                let is_open = treatments.open_of(&d.line, &d.user).is_some();
                d.line == line.id && d.phase.is_pending() && !d.needs_person() && !is_open
            });
            line.occupancy.open = i64::try_from(open).unwrap();
            line.occupancy.reserved = i64::try_from(pending.count()).unwrap();
        }
    }

    fn dispatcher(&mut self) {
        self.count();
        let present = self.view.treatments.all().filter(|treatment| treatment.is_open());
        let active = self.view.dispatches.values();
        let active = active.filter(|d| d.phase.is_active() && !d.needs_person());
        let queued = self.view.payments.values().filter(|p| p.state == PaymentState::Queued);
        let mut floor = Floor {
            lines: self.lines.clone(),
            waiting: queued
                .map(|p| Waiting { payment: p.id.clone(), user: p.user.clone().unwrap() })
                .collect(),
            refused: self.refused.iter().cloned().map(|pair| (pair, "403".to_owned())).collect(),
            present: present
                .map(|t| (t.line.clone(), t.user.clone()))
                .chain(active.map(|d| (d.line.clone(), d.user.clone())))
                .collect(),
        };
        for (id, choice) in choose(&mut floor) {
            let payment = self.view.payments.get_mut(&id).unwrap();
            match choice {
                Choice::Line(line) => {
                    let held: Vec<i64> = self
                        .view
                        .dispatches
                        .values()
                        .filter(|d| d.line == line && d.phase.is_active())
                        .filter_map(|d| d.slot)
                        .collect();
                    let of = self.lines.iter().find(|one| one.id == line).unwrap();
                    let slot = (0..of.occupancy.capacity).find(|slot| !held.contains(slot));
                    assert!(slot.is_some(), "room on {line} without a place");
                    let next = i64::try_from(self.view.dispatches.len()).unwrap() + 1;
                    payment.become_(PaymentState::Sending, Reason::plain(ReasonCode::LineReserved));
                    let new = Dispatch {
                        payment: id,
                        user: payment.user.clone().unwrap(),
                        slot,
                        capacity: of.occupancy.capacity,
                        claimed_at: None,
                        due_at: at(self.now),
                        ..dispatch(next, line.as_str(), Phase::Reserved)
                    };
                    self.view.dispatches.insert(next, new);
                }
                Choice::RefusedEverywhere(words) => {
                    let reason = Reason::plain(ReasonCode::RefusedForGood).saying(words);
                    payment.become_(PaymentState::Rejected, reason);
                }
                Choice::Waits => {}
            }
        }
    }

    fn claim(&mut self, which: u8, taken: bool) {
        let reserved = self.view.dispatches.values().filter(|d| d.phase == Phase::Reserved);
        let reserved: Vec<i64> = reserved.map(|d| d.id).collect();
        let Some(index) = pick(&reserved, which) else { return };
        let dispatch = self.view.dispatches.get_mut(&reserved[index]).unwrap();
        dispatch.phase = Phase::Sending;
        dispatch.fence += 1;
        dispatch.claimed_at = Some(at(self.now));
        let (id, fence, payment) = (dispatch.id, dispatch.fence, dispatch.payment.clone());
        let (line, user) = (dispatch.line.clone(), dispatch.user.clone());
        if taken {
            *self.taken.entry(payment.clone()).or_default() += 1;
            let key = payment.as_str().trim_start_matches('P').parse().unwrap();
            self.write(line.as_str(), user.as_str(), 's').text = Some(number(key));
        }
        self.calls.push(Call { dispatch: id, fence, taken });
    }

    fn answer(&mut self, which: u8, how: u8) {
        let Some(index) = pick(&self.calls, which) else { return };
        let call = self.calls.swap_remove(index);
        let unknown = Answer::Unknown { detail: "timeout".to_owned() };
        let refused = |status| Answer::Refused { status, text: String::new() };
        let answer = match (call.taken, how % 5) {
            (true, 0..=2) => Answer::Done,
            (false, 0) => Answer::NotDone { why: NotDone::RateLimited, retry_after: None },
            (false, 1) => refused(403),
            (false, 2) => refused(400),
            _ => unknown,
        };
        let now = at(self.now);
        let dispatch = self.view.dispatches.get_mut(&call.dispatch).unwrap();
        if dispatch.fence != call.fence {
            return;
        }
        let payment = self.view.payments.get_mut(&dispatch.payment).unwrap();
        // The sender vanished: whoever finds the lapsed lease has a doubt.
        if how % 5 == 4 && dispatch.phase == Phase::Sending {
            doubt(dispatch, payment, "the sender vanished", POLICY.in_doubt_after, now);
        }
        let consequence = conclude(dispatch, payment, &answer, POLICY, now);
        if matches!(consequence, Consequence::RememberRefusal(_)) {
            self.refused.insert((dispatch.line.clone(), dispatch.user.clone()));
        }
        assert_eq!(dispatch.rehook, Rehook::No);
        settle(&mut self.view, now);
    }

    fn deliver(&mut self, index: usize, again: bool) {
        let event =
            if again { self.undelivered[index].clone() } else { self.undelivered.remove(index) };
        apply_event(&mut self.view, &event, at(self.now));
    }

    fn looks(&mut self) {
        self.now += 200;
        while !self.undelivered.is_empty() {
            self.deliver(0, false);
        }
        for line in self.lines.clone() {
            let is_awaited = |d: &Dispatch| matches!(d.phase, Phase::InDoubt | Phase::Sent);
            if !self.view.dispatches.values().any(|d| d.line == line.id && is_awaited(d)) {
                continue;
            }
            let on_line = self.open.iter().filter(|((on, _), _)| on == line.id.as_str());
            let listed: Vec<Listed> = on_line
                .map(|((_, user), id)| Listed {
                    treatment: TreatmentId::new(id.clone()),
                    user: UserId::new(user.clone()),
                    initialized_at: None,
                })
                .collect();
            let requested_at = at(self.now);
            let snapshot = Snapshot { line: &line.id, listed: &listed, requested_at };
            apply_snapshot(&mut self.view, &snapshot, at(self.now));
        }
    }

    fn person(&mut self, which: u8, how: u8) {
        let ids: Vec<PaymentId> = self.view.payments.keys().cloned().collect();
        let Some(index) = pick(&ids, which) else { return };
        let payment = self.view.payments.get_mut(&ids[index]).unwrap();
        let asked = [Command::Hold, Command::Release, Command::Cancel, Command::Retry]
            [usize::from(how % 4)];
        let of_payment = |d: &&mut Dispatch| d.payment == ids[index] && d.phase.is_active();
        let active = self.view.dispatches.values_mut().find(of_payment);
        let may_be_sent = active.as_ref().is_some_and(|d| d.phase == Phase::Sending);
        let was_in_doubt = payment.state == PaymentState::InDoubt;
        let Ok(follow) = command(payment, asked, "so", may_be_sent) else { return };
        if asked == Command::Retry && was_in_doubt {
            self.risked.insert(ids[index].clone());
        }
        if asked == Command::Release && payment.hold.is_none() {
            payment.become_(PaymentState::Queued, Reason::plain(ReasonCode::Released));
        }
        if let (Follow::GiveBack, Some(active)) = (follow, active) {
            active.phase = Phase::Undone;
        }
    }

    fn closes(&mut self, which: u8) {
        let chats: Vec<(String, String)> = self.open.keys().cloned().collect();
        let Some(index) = pick(&chats, which) else { return };
        let id = self.open.remove(&chats[index]).unwrap();
        let (line, user) = &chats[index];
        self.tell(&format!("82s {id} {line} {user}"));
    }

    fn moves(&mut self, which: u8, to: u8) {
        let chats: Vec<(String, String)> = self.open.keys().cloned().collect();
        let Some(index) = pick(&chats, which) else { return };
        let (line, user) = &chats[index];
        let target = (format!("L{to}"), user.clone());
        if target.0 == *line {
            return;
        }
        let id = self.open.remove(&chats[index]).unwrap();
        if !self.open.contains_key(&target) {
            self.treatments += 1;
            self.open.insert(target.clone(), format!("T{}", self.treatments));
        }
        let into = self.open[&target].clone();
        self.tell(&format!("89s {id} {line} {user} to {into} {}", target.0));
        self.tell(&format!("89s {into} {} {user} from {id} {line}", target.0));
    }

    fn step(&mut self, step: &Step) {
        self.now += 1;
        match *step {
            Step::Arrives { user } => {
                let key = u8::try_from(self.view.payments.len()).unwrap();
                // The notation of a number has one digit.
                if key < 10 {
                    let mut new = payment(key, PaymentState::Queued);
                    new.user = Some(UserId::new(format!("U{user}")));
                    self.view.payments.insert(new.id.clone(), new);
                }
            }
            Step::Dispatcher => self.dispatcher(),
            Step::Claim { which, taken } => self.claim(which, taken),
            Step::Answer { which, how } => self.answer(which, how),
            Step::Deliver { which, again } => {
                if let Some(index) = pick(&self.undelivered, which) {
                    self.deliver(index, again);
                }
            }
            Step::LosesEcho { which } => {
                let echoes: Vec<Event> =
                    self.undelivered.iter().filter(|event| event.text.is_some()).cloned().collect();
                if let Some(index) = pick(&echoes, which) {
                    self.undelivered.retain(|event| *event != echoes[index]);
                }
            }
            Step::UserWrites { user, line } => {
                self.write(&format!("L{line}"), &format!("U{user}"), 'u');
            }
            Step::Closes { which } => self.closes(which),
            Step::Moves { which, to } => self.moves(which, to),
            Step::Looks => self.looks(),
            Step::Person { which, command } => self.person(which, command),
        }
        self.count();
    }

    fn breaches(&self, at_rest: bool) -> Vec<Breach> {
        let payments: Vec<Payment> = self.view.payments.values().cloned().collect();
        let dispatches: Vec<Dispatch> = self.view.dispatches.values().cloned().collect();
        let treatments: Vec<Treatment> = self.view.treatments.all().cloned().collect();
        breaches(&Whole {
            payments: &payments,
            dispatches: &dispatches,
            treatments: &treatments,
            lines: &self.lines,
            refused: &self.refused,
            notices: &[],
            at_rest,
        })
    }
}

proptest! {
    #[test]
    fn no_promise_is_broken_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            let broken = world.breaches(matches!(step, Step::Dispatcher));
            prop_assert!(broken.is_empty(), "{broken:?} after {step:?}");
        }
        for (payment, times) in &world.taken {
            let is_once = *times == 1 || world.risked.contains(payment);
            prop_assert!(is_once, "{payment} was taken {times} times");
        }
        // Once everything is told, what is open is what the platform has open.
        while !world.undelivered.is_empty() {
            world.deliver(0, false);
        }
        let open: BTreeSet<&str> =
            world.view.treatments.all().filter(|t| t.is_open()).map(|t| t.id.as_str()).collect();
        let truly: BTreeSet<&str> = world.open.values().map(String::as_str).collect();
        prop_assert_eq!(open, truly);
    }
}
