//! Every recorded trace has its recorded shape (`connect-api.md` 3.3-3.10).

use serde_json::{Map, Value};

use crate::core::time::Time;

use super::super::model::{Broadcast, Model, Refused};
use super::super::sending::Sent;
use super::super::traces::Opening;
use super::super::{MessageFlags, SandboxConfig};
use super::{l, s, u};

/// How many seeds a shape with rare variants is looked at with.
const SEEDS: u64 = 200;
const COMMON: [&str; 8] = [
    "event_type",
    "message_type",
    "author_id",
    "treatment_id",
    "line_id",
    "message_id",
    "message_time",
    "user_id",
];

fn now() -> Time {
    Time::parse_rfc3339("2022-09-16T13:23:27.504499Z").unwrap()
}

fn later() -> Time {
    Time::parse_rfc3339("2022-09-16T13:59:20.836263Z").unwrap()
}

fn model(seed: u64) -> Model {
    Model::new(&SandboxConfig::default().with_seed(seed))
}

fn types(events: &[Broadcast]) -> Vec<i64> {
    events.iter().filter_map(|event| event.message_type).collect()
}

fn check_keys(body: &Map<String, Value>, extra: &[&str]) {
    let mut expected: Vec<&str> = COMMON.iter().chain(extra).copied().collect();
    expected.sort_unstable();
    let mut keys: Vec<&str> = body.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, expected);
}

/// Digits of the fraction of a time.
fn digits(time: &Value) -> usize {
    let text = time.as_str().unwrap().strip_suffix('Z').unwrap();
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

fn message(flags: MessageFlags) -> Sent {
    let text = "Счёт 7".to_owned();
    let (author, keyboard, file) = (Some(s(1)), None, None);
    Sent { line: l(1), user: u(1), author, text, flags, keyboard, file }
}

fn specialist_mode() -> MessageFlags {
    MessageFlags { bot_as_spec: true, ..MessageFlags::default() }
}

#[test]
fn a_users_first_message_is_followed_by_an_assignment_of_the_same_treatment() {
    let (opened, events) = model(1).open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
    assert_eq!(types(&events), [1, 80]);
    let [first, second] = &events[..] else { panic!("{events:?}") };
    check_keys(&first.body, &["text"]);
    check_keys(&second.body, &["text"]);
    assert_eq!(first.body["author_id"], u(1).as_str());
    assert_eq!(first.body["treatment_id"], opened.id.as_str());
    assert_eq!(second.body["treatment_id"], opened.id.as_str());
    assert_ne!(first.body["message_id"], second.body["message_id"]);
    assert_eq!(digits(&first.body["message_time"]), 9);
    let specialist = second.body["author_id"].as_str().unwrap();
    let text = format!("<buhphone><name>{specialist}</name></buhphone>");
    assert_eq!(second.body["text"], text);
    assert_eq!(opened.specialist.unwrap().as_str(), specialist);
}

#[test]
fn without_specialists_a_user_is_queued() {
    let config = SandboxConfig { specialists: 0, ..SandboxConfig::default() };
    let mut model = Model::new(&config);
    let (opened, events) = model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
    assert_eq!(types(&events), [1, 83]);
    assert_eq!(opened.specialist, None);
}

#[test]
fn a_specialists_opening_text_and_its_81_share_one_message_id() {
    let mut orders = [0, 0];
    for seed in 0..SEEDS {
        let opening = Opening::by_specialist(&l(1), &u(1), &s(2));
        let (_, events) = model(seed).open(&opening, now()).unwrap();
        assert_eq!(events[0].body["message_id"], events[1].body["message_id"]);
        assert_eq!(events[0].body["author_id"], s(2).as_str());
        match types(&events)[..] {
            [1, 81] => orders[0] += 1,
            [81, 1] => orders[1] += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert!(orders[0] > orders[1] && orders[1] > 0, "{orders:?}");
}

#[test]
fn remote_sessions_calls_files_and_bare_takings_open_with_their_own_keys() {
    let cases: [(i64, &[i64], &[&str]); 4] = [
        (50, &[50], &["rda"]),
        (20, &[20], &["call"]),
        (81, &[81], &[]),
        (70, &[70, 80], &["file"]),
    ];
    for (message_type, expected, extra) in cases {
        let opening = Opening::by_user(&l(1), &u(1)).with_type(message_type);
        let (_, events) = model(1).open(&opening, now()).unwrap();
        assert_eq!(types(&events), expected);
        check_keys(&events[0].body, extra);
    }
}

#[test]
fn a_treatment_does_not_open_with_a_rating() {
    let opening = Opening::by_user(&l(1), &u(1)).with_type(17);
    assert_eq!(model(1).open(&opening, now()).unwrap_err(), Refused::NoOpening(17));
}

#[test]
fn a_user_has_at_most_one_open_treatment_on_a_line() {
    let mut model = model(1);
    let (first, _) = model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
    let (again, events) = model.open(&Opening::by_user(&l(1), &u(1)), later()).unwrap();
    assert_eq!(first.id, again.id);
    assert_eq!(types(&events), [1]);
}

#[test]
fn a_close_carries_the_treatment_and_a_rating_repeats_its_message_id() {
    let mut model = model(1);
    let (opened, _) = model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
    let (closed, events) = model.close(&l(1), &u(1), 82, None, later()).unwrap();
    let close = &events[0].body;
    check_keys(close, &["treatment"]);
    assert_eq!(closed.closed_by, Some(82));
    assert_eq!(close["treatment"]["treatment_duration"], 2153);
    assert_eq!(close["treatment"]["current_specialist"], close["author_id"]);
    let shown = close["treatment"]["initialized_at"].as_str().unwrap();
    assert!(shown.starts_with("2022-09-16T13:23:27"), "{shown}");

    let (_, events) = model.rate(&opened.id, 5, later()).unwrap();
    let rating = &events[0].body;
    check_keys(rating, &["treatment"]);
    assert_eq!(rating["message_type"], 17);
    assert_eq!(rating["message_id"], close["message_id"]);
    assert_eq!(rating["author_id"], u(1).as_str());
    assert_eq!(rating["treatment"]["quality"], 5);
    assert_eq!(rating["treatment"]["treatment_duration"], 2153);
    assert!(digits(&rating["message_time"]) < 9);
}

#[test]
fn the_same_treatment_shows_its_beginning_with_and_without_fraction() {
    let shown = |seed| {
        let mut model = model(seed);
        model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
        let (_, events) = model.close(&l(1), &u(1), 82, None, later()).unwrap();
        digits(&events[0].body["treatment"]["initialized_at"])
    };
    let seen: std::collections::BTreeSet<usize> = (0..SEEDS).map(shown).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 6]);
}

#[test]
fn an_automatic_close_names_nobody_and_sometimes_comes_twice() {
    let mut counts = [0, 0];
    for seed in 0..SEEDS {
        let mut model = model(seed);
        model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
        let (_, events) = model.close(&l(1), &u(1), 90, None, later()).unwrap();
        for event in &events {
            check_keys(&event.body, &["treatment"]);
            assert!(event.body["treatment"]["current_specialist"].is_null());
        }
        if let [first, second] = &events[..] {
            assert_ne!(first.body["message_id"], second.body["message_id"]);
        }
        counts[events.len() - 1] += 1;
    }
    assert!(counts[0] > counts[1] && counts[1] > 0, "{counts:?}");
}

#[test]
fn a_move_is_told_twice_in_the_same_second_and_either_half_first() {
    let mut target_first = 0;
    for seed in 0..SEEDS {
        let mut model = model(seed);
        let (source, _) = model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
        let (target, events) = model.reroute(&l(1), &u(1), &l(2), later()).unwrap();
        assert!(!types(&events).contains(&82));
        assert!(types(&events).contains(&80), "a new target is assigned");
        let halves: Vec<_> = events.iter().filter(|event| event.message_type == Some(89)).collect();
        let find = |way| halves.iter().find(|half| half.body["data"]["direction"] == way).unwrap();
        let (to, from) = (find("to"), find("from"));
        check_keys(&to.body, &["data"]);
        assert_eq!((&to.line, &from.line), (&l(1), &l(2)));
        assert_eq!(to.body["treatment_id"], source.id.as_str());
        assert_eq!(to.body["data"]["treatment_id"], target.id.as_str());
        assert_eq!(from.body["treatment_id"], target.id.as_str());
        assert_eq!(from.body["data"]["line_id"], l(1).as_str());
        assert_ne!(to.body["message_id"], from.body["message_id"]);
        let second = |half: &Broadcast| {
            let time = half.body["message_time"].as_str().unwrap();
            time.split_once('.').unwrap().0.to_owned()
        };
        assert_eq!(second(to), second(from));
        target_first += u64::from(halves[0].body["data"]["direction"] == "from");
    }
    assert!((1..SEEDS).contains(&target_first), "{target_first}");
}

#[test]
fn a_move_into_an_open_treatment_reuses_it_without_an_assignment() {
    let mut model = model(1);
    let (target, _) = model.open(&Opening::by_user(&l(2), &u(1)), now()).unwrap();
    let (source, _) = model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
    let (moved, events) = model.reroute(&l(1), &u(1), &l(2), later()).unwrap();
    assert_eq!(moved.id, target.id);
    assert_eq!(types(&events), [89, 89]);
    assert!(model.rate(&source.id, 4, later()).is_ok(), "the source can be rated");
}

#[test]
fn a_move_to_a_line_the_user_lacks_is_refused_and_changes_nothing() {
    let mut model = model(1);
    model.open(&Opening::by_user(&l(1), &u(7)), now()).unwrap();
    assert_eq!(model.reroute(&l(1), &u(7), &l(2), later()).unwrap_err(), Refused::NotSubscriber);
    assert!(model.require_open(&l(1), &u(7)).is_ok());
}

#[test]
fn a_message_of_a_specialist_opens_with_1_and_81() {
    let mut model = model(1);
    let (taken, events) = model.send(&message(specialist_mode()), now()).unwrap();
    let mut seen = types(&events);
    seen.sort_unstable();
    assert_eq!(seen, [1, 81]);
    assert_eq!(events[0].body["message_id"], events[1].body["message_id"]);
    let (again, events) = model.send(&message(specialist_mode()), now()).unwrap();
    assert_eq!((again.treatment, types(&events)), (taken.treatment, vec![1]));
}

#[test]
fn a_message_of_the_bot_opens_with_its_echo_alone() {
    let (taken, events) = model(1).send(&message(MessageFlags::default()), now()).unwrap();
    assert_eq!(types(&events), [1]);
    check_keys(&events[0].body, &["text"]);
    assert_eq!(events[0].body["author_id"], s(1).as_str());
    assert_eq!(events[0].body["treatment_id"], taken.treatment.unwrap().as_str());
}

#[test]
fn a_notification_opens_nothing() {
    let flags = MessageFlags { notification_only: true, ..MessageFlags::default() };
    let mut model = model(1);
    let (taken, events) = model.send(&message(flags), now()).unwrap();
    assert_eq!(taken.treatment, None);
    assert!(!events[0].body.contains_key("treatment_id"));
    assert!(model.open.is_empty());
}

#[test]
fn the_list_of_treatments_repeats_one_specialist_and_another_per_line() {
    let mut model = model(1);
    for number in 1..=6 {
        model.open(&Opening::by_user(&l(number % 2 + 1), &u(number)), now()).unwrap();
    }
    let shown = |line: Option<&str>| {
        let rows = model.list_treatments(line, None);
        rows.iter().map(|row| row["current_specialist"].clone()).collect::<Vec<_>>()
    };
    let (all, one) = (shown(None), shown(Some(l(1).as_str())));
    assert_eq!((all.len(), one.len()), (6, 3));
    assert!(all.iter().all(|specialist| *specialist == all[0]));
    assert!(one.iter().all(|specialist| *specialist == one[0]));
    assert_ne!(all[0], one[0]);
}

#[test]
fn events_follow_each_other_even_when_the_clock_stands_still() {
    let mut model = model(1);
    let times: Vec<_> = (0..100).map(|_| model.stamp(now())).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let told = |seed| {
        let mut model = model(seed);
        let (_, mut events) = model.open(&Opening::by_user(&l(1), &u(1)), now()).unwrap();
        events.extend(model.reroute(&l(1), &u(1), &l(2), later()).unwrap().1);
        events
    };
    assert_eq!(told(5), told(5));
    assert_ne!(told(5), told(6));
}
