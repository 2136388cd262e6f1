use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::core::event::Event;
use crate::core::occupancy::{View, apply_event};
use crate::core::script::{at, event, hear, outcome, story};

#[track_caller]
fn check(text: &str, expected: &str) {
    let mut view = View::default();
    hear(&mut view, &story(text));
    assert_eq!(outcome(&view.treatments), expected, "{text}");
}

/// In every order, and with any one event heard twice.
#[track_caller]
fn check_every_order(text: &str, expected: &str) {
    let events = story(text);
    let mut order: Vec<usize> = (0..events.len()).collect();
    each_permutation(&mut order, 0, &mut |order| {
        for twice in 0..order.len() {
            for again in twice + 1..=order.len() {
                let mut heard: Vec<&Event> = order.iter().map(|index| &events[*index]).collect();
                heard.insert(again, heard[twice]);
                let mut view = View::default();
                hear(&mut view, heard.iter().copied());
                let found = outcome(&view.treatments);
                assert_eq!(found, expected, "{text} in the order {order:?}, {twice} at {again}");
            }
        }
    });
}

fn each_permutation(order: &mut Vec<usize>, from: usize, visit: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        visit(order);
    }
    for with in from..order.len() {
        order.swap(from, with);
        each_permutation(order, from + 1, visit);
        order.swap(from, with);
    }
}

#[test]
fn the_recorded_traces_end_as_they_were_recorded() {
    // user-started
    check("1u T1 | @3 80s T1 | 70u T1 | 51s T1 | 53s T1", "T1 L1; ");
    check("1u T1 | @3 80s T1 | 1s T1 | @90 82s T1 m=M9 | @93 17u T1 m=M9", "; T1");
    check("1u T1 | 82s T1 m=M9 | @6307200 17u T1 begun=0 m=M9", "; T1");
    // specialist-started
    check("@0 1s T2 m=M1 | @0 81s T2 m=M1", "T2 L1; ");
    check("@0 1s T2 m=M1 | @0 81s T2 m=M1 | 82s T2", "; T2");
    check("@0 81s T3 | @1 82s T3", "; T3");
    // remote session
    check("50s T4 | 53s T4", "T4 L1; ");
    check("50s T4 | 53s T4 | 82s T4", "; T4");
    // call
    check("@0 20u T5 | @7 23u T5 | @30 51s T5 | @639 53s T5", "T5 L1; ");
    check("@0 20u T5 | @7 23u T5 | @30 51s T5 | @639 53s T5 | @849 82s T5", "; T5");
    // hand-over
    check("1u T6 | 80s T6 | 84s T6", "T6 L1; ");
    check("1u T6 | 80s T6 | 84s T6 | 82s T6", "; T6");
    // reroute 2022, 2023 into a new one, 2023 into an open one
    let moved = "@0 1u T7 | @3 80s T7 | @191 89s T7 to L2 | @194 80s T8 L2 | @196 17u T7";
    check(moved, "T8 L2; T7");
    check("1u T9 | @50 89s T9 to T10 L2 | @50 89s T10 L2 from T9 L1 | 80s T10 L2", "T10 L2; T9");
    check("1u T9 | @50 89s T10 L2 from T9 L1 | @50 89s T9 to T10 L2 | 80s T10 L2", "T10 L2; T9");
    check("1u T10 L2 | 1u T11 | @50 89s T11 to T10 L2 | @50 89s T10 L2 from T11 L1", "T10 L2; T11");
    // re-assignment, retry, out of order
    check("1u T10 | 80s T10 | 82s T10 | 80s T10", "; T10");
    check("1u T10 | 80s T10 | 1u T10 | 80s T10", "T10 L1; ");
    check("1u T12 | @100 90- T12 | @113 1u T13 | @100 90- T12 | @120 1u T13", "T13 L1; T12");
    check("@140 17u T13 begun=0 | @65 82s T13 begun=0 | @16 53s T13", "; T13");
}

#[test]
fn the_example_bodies_do_what_their_types_say() {
    check("1u T1", "T1 L1; ");
    check("1u T1 | @3 80s T1", "T1 L1; ");
    check("@0 1u T1 | @2153 82s T1 begun=0 m=M2", "; T1");
    check("@0 1u T1 | @2153 82s T1 begun=0 m=M2 | @2200 17u T1 begun=0 m=M2", "; T1");
    check("@0 1u T1 | @90000 90s T1 begun=0", "; T1");
    check("89s T1 L1 to T2 L2 | 89s T2 L2 from T1 L1", "T2 L2; T1");
    check("1u T1 | 200s T1", "T1 L1; ");
    check("70u T1", "T1 L1; ");
}

#[test]
fn any_event_of_a_treatment_never_heard_of_opens_it_but_ratings_closes_and_moves_away() {
    for code in [1, 20, 50, 53, 70, 80, 81, 83, 84, 85, 86, 87, 88, 200, 99_999] {
        check(&format!("{code}s T1"), "T1 L1; ");
        check(&format!("{code}s T1 bare"), "T1 L1; ");
        check(&format!("{code}s T1 bot"), "T1 L1; ");
    }
    for code in [17, 82, 90, 91, 92, 93] {
        check(&format!("{code}s T1"), "; T1");
        check(&format!("{code}s T1 | @0 1u T1"), "; T1");
    }
    check("89s T1 to L2", "; T1");
    for direction in ["to_fran", "to_vendor"] {
        check(&format!("89s T1 {direction}"), "T1 L1; ");
        check(&format!("1u T1 | 89s T1 {direction}"), "T1 L1; ");
    }
}

#[test]
fn an_open_treatment_ends_only_by_its_close_or_its_move() {
    for code in [1, 17, 20, 23, 50, 53, 70, 80, 81, 83, 84, 85, 86, 87, 88, 200, 99_999] {
        check(&format!("1u T1 | {code}s T1"), "T1 L1; ");
        check(&format!("1u T1 | 82s T1 | {code}s T1"), "; T1");
    }
    for code in [82, 90, 91, 92, 93] {
        check(&format!("1u T1 | {code}- T1"), "; T1");
        check(&format!("1u T1 | {code}- T1 | {code}- T1 m=other"), "; T1");
    }
}

#[test]
fn of_events_that_are_not_of_lines_or_name_no_chat_nothing_opens() {
    let mut view = View::default();
    let mut subscription = event("1u T1", 0);
    subscription.family = Some("subscription".to_owned());
    let mut nowhere = event("1u T1", 0);
    nowhere.line = None;
    let mut mailing = event("2- T1", 0);
    mailing.user = None;
    let mut untyped = event("1u T1", 0);
    untyped.message_type = None;
    hear(&mut view, [&subscription, &nowhere, &mailing, &untyped]);
    assert_eq!(outcome(&view.treatments), "; ");
}

#[test]
fn histories_end_the_same_in_every_order_with_any_event_twice() {
    check_every_order("1u T1 | 80s T1 | 53s T1 | 82s T1 | 17u T1 begun=0", "; T1");
    check_every_order("@0 1s T1 m=M1 | @0 81s T1 m=M1 | 84s T1", "T1 L1; ");
    check_every_order("1u T1 | 90- T1 m=a | @10 90- T1 m=b | 1u T2 | 80s T2", "T2 L1; T1");
    check_every_order("20u T1 | 23u T1 | 51s T1 | 53s T1 | 82s T1", "; T1");
    // A late end of a session, after the next treatment began.
    check_every_order("1u T1 | 82s T1 | 1u T2 | 80s T2 | 53s T1", "T2 L1; T1");
    // Queue, bot, vendor.
    check_every_order("1u T1 | 83- T1 | 86- T1 | 200s T1 | 85s T1 to_vendor", "T1 L1; ");
}

#[test]
fn a_newer_treatment_of_the_chat_ends_the_older_in_every_order() {
    check_every_order("1u T1 | 80s T1 | 1u T2 | 80s T2", "T2 L1; T1");
    check_every_order("1u T1 | 1u T2 | 82s T2", "; T1 T2");
    check_every_order("1u T1 | 1u T2 | 82s T2 begun=10 | 1u T3 | 53s T2", "T3 L1; T1 T2");
    check_every_order("1u T1 | 1u T2 U2 | 1u T3 L2", "T1 L1, T2 L1 U2, T3 L2; ");
}

#[test]
fn a_move_ends_the_same_in_every_order() {
    let both = "1u T1 | 80s T1 | @30 89s T1 to T2 L2 | @30 89s T2 L2 from T1 L1 | 80s T2 L2";
    check_every_order(both, "T2 L2; T1");
    check_every_order("1u T1 | 80s T1 | 89s T1 to T2 L2", "T2 L2; T1");
    check_every_order("1u T1 | 80s T1 | 89s T2 L2 from T1 L1", "T2 L2; T1");
    // Into one that is open there already.
    let reuse = "1u T2 L2 | 1u T1 | @30 89s T1 to T2 L2 | @30 89s T2 L2 from T1 L1 | 82s T2 L2";
    check_every_order(reuse, "; T1 T2");
    // The user writes on the source line again at once.
    let again = "1u T1 | @30 89s T1 to T2 L2 | @30.5 89s T2 L2 from T1 L1 | @30.7 1u T3 | 80s T3";
    check_every_order(again, "T2 L2, T3 L1; T1");
    // There and back.
    let back = "1u T1 | @30 89s T1 to T2 L2 | @60 89s T2 L2 to T3 L1 | @60 89s T3 from T2 L2";
    check_every_order(back, "T3 L1; T1 T2");
    // The 2022 shape.
    let old = "1u T1 | @30 89s T1 to L2 | @33 80s T2 L2 | @40 17u T1 begun=0";
    check_every_order(old, "T2 L2; T1");
    check_every_order(
        "1u T1 | @30 89s T1 to L2 | @30 89s T2 L2 from L1 | @31 1u T3",
        "T2 L2, T3 L1; T1",
    );
}

#[test]
fn a_move_tells_where_a_treatment_goes_on() {
    for text in [
        "1u T1 | 89s T1 to T2 L2",
        "1u T1 | 89s T2 L2 from T1 L1",
        "1u T1 | @30 89s T1 to L2 | @30.2 89s T2 L2 from L1",
        "1u T1 | @30 89s T2 L2 from L1 | @30.2 89s T1 to L2",
        "1u T1 | 1u T2 L2 | 89s T1 to T3 L3 | 89s T3 L3 to T2 L2",
    ] {
        let mut view = View::default();
        hear(&mut view, &story(text));
        let now = view.treatments.follow(&TreatmentId::from("T1"));
        assert_eq!(now.map(|treatment| treatment.id.as_str()), Some("T2"), "{text}");
    }
}

/// A rating tells that its treatment is over, yet it closes none (`connect-api.md` 5.3): where the
/// close itself is lost, the rating heard first leaves a tombstone and heard last does nothing.
#[test]
fn only_where_its_close_is_lost_does_the_order_of_a_rating_matter() {
    check("1u T1 | 17u T1", "T1 L1; ");
    check("@10 17u T1 | @0 1u T1", "; T1");
    check_every_order("1u T1 | 82s T1 | 17u T1", "; T1");
}

/// A close without a treatment's id tells when a chat was over, and its first message without
/// both tells only that somebody is there.
#[test]
fn the_bots_copies_without_ids_open_and_close_in_every_order() {
    check_every_order("1u bot | 80s bot", "~ L1; ");
    check_every_order("1u bot | 80s bot | 82s bot", "; ");
    check_every_order("1u bot | 82s bot | 53s bot", "; ");
    check_every_order("1u bot | 82s bot | 1u bot | 80s bot", "~ L1; ");
    check_every_order("1u bare | 82s bare | 1u bare | 90- bare", "; ");
    check_every_order("1u bot | 89s bot to L2 T2", "T2 L2; ");
    check("17u bot", "; ");
    check("53s bot", "; ");
    check("1u", "; ");
}

#[test]
fn the_bots_copies_beside_the_lines_copies_leave_one_treatment_and_no_ghost() {
    check_every_order("@0 1u T1 | @0 1u bot | @3 80s T1 | @3 80s bot", "T1 L1; ");
    check_every_order("@0 1u T1 | @0 1u bot | @9 82s T1 | @9 82s bot", "; T1");
    check_every_order("@0 1u T1 | @0 1u bot | @3 80s bot | @9 82s T1 | @9 82s bot", "; T1");
    // The next treatment of the chat.
    let next = "@0 1u T1 | @0 1u bot | @9 82s T1 | @9 82s bot | @20 1u T2 | @20 1u bot";
    check_every_order(next, "T2 L1; T1");
    // One of the two closes is lost.
    check_every_order("@0 1u T1 | @0 1u bot | @3 80s T1 | @9 82s bot", "; T1");
    check_every_order("@0 1u T1 | @0 1u bot | @3 80s bot | @9 82s T1", "; T1");
    // A rating of an old treatment does not touch the one that lives.
    check_every_order("@90 1u bot | @99 17u T1 begun=0", "~ L1; T1");
}

#[test]
fn a_treatment_that_went_elsewhere_leaves_no_ghost_of_the_time_when_its_id_was_not_known() {
    check("@0 1u bot | @0 1u T1 | @5 53s T1 L2 | @9 17u bot | @9 82s bot", "T1 L2; ");
    check("@0 1u bot | @0 1u T1 | @5 53s T1 L2 | @9 1u bot", "T1 L2, ~ L1; ");
}

/// A small platform: what happens in it, and what it tells.
#[derive(Clone, Debug)]
enum Happens {
    Opens { user: u8, line: u8, how: u8 },
    GoesOn { user: u8, line: u8, code: i64 },
    Closes { user: u8, line: u8, code: i64, told: bool, rated: bool },
    Moves { user: u8, line: u8, to: u8, halves: u8 },
}

fn happens() -> impl Strategy<Value = Happens> {
    let chat = || (0..2_u8, 0..3_u8);
    let code = prop::sample::select(vec![1_i64, 53, 70, 80, 81, 83, 84, 86, 200, 99_999]);
    let close = prop::sample::select(vec![82_i64, 82, 90, 91, 92, 93]);
    prop_oneof![
        4 => (chat(), 0..5_u8).prop_map(|((user, line), how)| Happens::Opens { user, line, how }),
        2 => (chat(), code).prop_map(|((user, line), code)| Happens::GoesOn { user, line, code }),
        3 => (chat(), close, any::<bool>(), 0..4_u8).prop_map(|((user, line), code, rated, told)| {
            Happens::Closes { user, line, code, rated, told: told > 0 }
        }),
        2 => (chat(), 0..3_u8, 1..4_u8)
            .prop_map(|((user, line), to, halves)| Happens::Moves { user, line, to, halves }),
    ]
}

/// What the platform knows, and everything it said.
#[derive(Default)]
struct Platform {
    open: BTreeMap<(u8, u8), usize>,
    /// Chats whose last close it did not tell.
    ghosts: BTreeSet<(u8, u8)>,
    treatments: usize,
    /// Each with whether it says something about the future.
    told: Vec<String>,
    now: i64,
}

impl Platform {
    fn tell(&mut self, (user, line): (u8, u8), what: &str) {
        self.told.push(format!("@{} {what} L{line} U{user}", self.now));
    }

    fn moved(&mut self, (user, line): (u8, u8), what: &str, other: &str) {
        self.told.push(format!("@{} {what} L{line} U{user} {other}", self.now));
    }

    fn new_treatment(&mut self, chat: (u8, u8)) -> usize {
        self.treatments += 1;
        self.open.insert(chat, self.treatments);
        self.ghosts.remove(&chat);
        self.treatments
    }

    fn happen(&mut self, what: &Happens) {
        self.now += 10;
        match *what {
            Happens::Opens { user, line, how } => {
                let chat = (user, line);
                if self.open.contains_key(&chat) {
                    return;
                }
                let id = self.new_treatment(chat);
                let codes: &[&str] =
                    [&["1u", "80s"][..], &["1s", "81s"], &["50s"], &["20u"], &["80s"]]
                        [usize::from(how)];
                for code in codes {
                    self.tell(chat, &format!("{code} T{id}"));
                    self.now += 1;
                }
            }
            Happens::GoesOn { user, line, code } => {
                if let Some(id) = self.open.get(&(user, line)).copied() {
                    self.tell((user, line), &format!("{code}s T{id}"));
                }
            }
            Happens::Closes { user, line, code, told, rated } => {
                let chat = (user, line);
                let Some(id) = self.open.remove(&chat) else { return };
                if told {
                    self.tell(chat, &format!("{code}- T{id}"));
                    self.now += 1;
                    // Late signs of what is over; 500 s later other treatments may have begun.
                    let late = self.now;
                    self.now += 500;
                    if rated {
                        self.tell(chat, &format!("17u T{id}"));
                    }
                    self.tell(chat, &format!("53s T{id}"));
                    self.now = late;
                } else {
                    self.ghosts.insert(chat);
                }
            }
            Happens::Moves { user, line, to, halves } => {
                let (source, target) = ((user, line), (user, to));
                if line == to {
                    return;
                }
                let Some(id) = self.open.remove(&source) else { return };
                let into = match self.open.get(&target).copied() {
                    Some(open) => open,
                    None => self.new_treatment(target),
                };
                if halves & 1 > 0 {
                    self.moved(source, &format!("89s T{id}"), &format!("to T{into} L{to}"));
                }
                if halves & 2 > 0 {
                    self.moved(target, &format!("89s T{into}"), &format!("from T{id} L{line}"));
                }
            }
        }
    }

    /// What is open, of the chats whose last close was told.
    fn open(&self) -> BTreeSet<String> {
        self.open.iter().map(|((user, line), id)| format!("T{id} L{line} U{user}")).collect()
    }
}

/// Hears one event with only that loaded which the module's promise names.
fn hear_as_loaded(stored: &mut BTreeMap<TreatmentId, Treatment>, event: &Event, heard_at: Time) {
    let movement = event.movement.as_ref();
    let named = [event.treatment.as_ref(), movement.and_then(|other| other.treatment.as_ref())];
    let lines = [event.line.as_ref(), movement.and_then(|other| other.line.as_ref())];
    let mut loaded: Vec<Treatment> =
        named.into_iter().flatten().filter_map(|id| stored.get(id)).cloned().collect();
    for line in lines.into_iter().flatten() {
        let of_pair =
            || stored.values().filter(|t| t.line == *line && Some(&t.user) == event.user.as_ref());
        let mut newest: Vec<&Treatment> = of_pair().collect();
        newest.sort_by_key(|treatment| std::cmp::Reverse(treatment.opened_at));
        loaded.extend(newest.into_iter().take(LOADED_OF_PAIR).cloned());
        loaded.extend(of_pair().filter(|treatment| treatment.is_open()).cloned());
    }
    let treatments = Treatments::new(loaded);
    let mut view = View { treatments, ..View::default() };
    apply_event(&mut view, event, heard_at);
    for changed in view.treatments.changed() {
        stored.insert(changed.id.clone(), changed.clone());
    }
}

fn open_now(stored: &BTreeMap<TreatmentId, Treatment>) -> BTreeSet<String> {
    let open = stored.values().filter(|treatment| treatment.is_open());
    open.map(|treatment| {
        let name = if treatment.is_provisional() { "~" } else { treatment.id.as_str() };
        format!("{name} {} {}", treatment.line, treatment.user)
    })
    .collect()
}

/// The events in an order that `keys` give, each as often as they say.
fn delivered(events: &[Event], keys: &[(u32, bool)]) -> Vec<Event> {
    let mut heard: Vec<(u32, &Event)> = Vec::new();
    for (event, (key, twice)) in events.iter().zip(keys.iter().cycle()) {
        heard.push((*key, event));
        if *twice {
            heard.push((key.rotate_left(7) ^ 0x5a5a_5a5a, event));
        }
    }
    heard.sort_by_key(|(key, _)| *key);
    heard.into_iter().map(|(_, event)| event.clone()).collect()
}

proptest! {
    #[test]
    fn whatever_the_platform_does_and_however_it_tells_the_open_treatments_are_its_own(
        history in prop::collection::vec(happens(), 1..30),
        keys in prop::collection::vec((any::<u32>(), prop::bool::weighted(0.2)), 97),
    ) {
        let mut platform = Platform::default();
        for what in &history {
            platform.happen(what);
        }
        // A close that was not told is made good by the next treatment of its chat, or a look.
        let ghosts: Vec<String> =
            platform.ghosts.iter().map(|(user, line)| format!("L{line} U{user}")).collect();
        let events: Vec<Event> = platform.told.iter().map(|text| event(text, 0)).collect();
        let mut stored = BTreeMap::new();
        for (place, event) in (0..).zip(delivered(&events, &keys)) {
            hear_as_loaded(&mut stored, &event, at(100_000 + place));
        }
        let mut found = open_now(&stored);
        found.retain(|open| !ghosts.iter().any(|ghost| open.ends_with(ghost.as_str())));
        prop_assert_eq!(found, platform.open(), "{:#?}", platform.told);
    }

    #[test]
    fn the_copies_of_both_hooks_in_any_order_leave_what_the_lines_copies_leave(
        history in prop::collection::vec(happens(), 1..12),
        keys in prop::collection::vec((any::<u32>(), prop::bool::weighted(0.2)), 61),
    ) {
        let mut platform = Platform::default();
        for what in &history {
            let told = match what {
                Happens::Closes { user, line, code, .. } => Happens::Closes {
                    user: *user, line: *line, code: *code, told: true, rated: true,
                },
                Happens::Moves { user, line, to, .. } => {
                    Happens::Moves { user: *user, line: *line, to: *to, halves: 3 }
                }
                other => other.clone(),
            };
            platform.happen(&told);
        }
        let of_lines: Vec<Event> = platform.told.iter().map(|text| event(text, 0)).collect();
        let of_bots = of_lines.iter().filter(|event| event.message_type != Some(17)).map(|event| {
            let source = crate::core::event::EventSource::Bot;
            Event { treatment: None, source, ..event.clone() }
        });
        let events: Vec<Event> = of_lines.iter().cloned().chain(of_bots).collect();
        let mut stored = BTreeMap::new();
        for (place, event) in (0..).zip(delivered(&events, &keys)) {
            hear_as_loaded(&mut stored, &event, at(100_000 + place));
        }
        prop_assert_eq!(open_now(&stored), platform.open(), "{:#?}", platform.told);
    }
}
