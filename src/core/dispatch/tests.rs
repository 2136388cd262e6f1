use proptest::prelude::*;

use super::*;
use crate::core::id::ManagerId;
use crate::core::line::Occupancy;
use crate::core::script::{at, dispatch, payment};

/// `L1 1/2 @5` is line `L1` with one of two places taken, last used at 5; `+1` its position,
/// `paused`, `disabled` and `unknown` what they say.
fn line(text: &str) -> Line {
    let mut words = text.split_whitespace();
    let id = words.next().unwrap();
    let mut line = Line {
        id: LineId::from(id),
        name: id.to_owned(),
        manager: ManagerId::from("M1"),
        position: 0,
        last_used_at: None,
        occupancy: Occupancy {
            enabled: true,
            paused: false,
            known: true,
            capacity: 1,
            open: 0,
            reserved: 0,
        },
    };
    for word in words {
        match word {
            "paused" => line.occupancy.paused = true,
            "disabled" => line.occupancy.enabled = false,
            "unknown" => line.occupancy.known = false,
            "reserved" => line.occupancy.reserved = 1,
            _ => {
                if let Some(seconds) = word.strip_prefix('@') {
                    line.last_used_at = Some(at(seconds.parse().unwrap()));
                } else if let Some(position) = word.strip_prefix('+') {
                    line.position = position.parse().unwrap();
                } else {
                    let (open, capacity) = word.split_once('/').unwrap();
                    line.occupancy.open = open.parse().unwrap();
                    line.occupancy.capacity = capacity.parse().unwrap();
                }
            }
        }
    }
    line
}

fn pair(text: &str) -> (LineId, UserId) {
    let (line, user) = text.trim().split_once(' ').unwrap();
    (LineId::from(line), UserId::from(user))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn floor(lines: &str, waiting: &str, refused: &str, present: &str) -> Floor {
    Floor {
        lines: list(lines).map(line).collect(),
        waiting: list(waiting)
            .enumerate()
            .map(|(place, user)| Waiting {
                payment: PaymentId::new(format!("P{place}")),
                user: UserId::from(user),
            })
            .collect(),
        refused: list(refused).map(|text| (pair(text), format!("no {text}"))).collect(),
        present: list(present).map(pair).collect(),
    }
}

fn chosen(floor: &mut Floor) -> String {
    let word = |(_, choice): (PaymentId, Choice)| match choice {
        Choice::Line(line) => line.to_string(),
        Choice::RefusedEverywhere(words) => format!("refused: {words}"),
        Choice::Waits => "waits".to_owned(),
    };
    choose(floor).into_iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn lines_fill_by_position_then_least_recently_used_then_id() {
    let check = |lines: &str, waiting: &str, expected: &str| {
        assert_eq!(chosen(&mut floor(lines, waiting, "", "")), expected, "{lines}");
    };
    check("L1 +2, L2 +1, L3 +3", "U1, U2, U3, U4", "L2, L1, L3, waits");
    check("L1 @9, L2 @3, L3", "U1, U2, U3", "L3, L2, L1");
    check("L1 +1, L2 @3", "U1", "L2");
    check("L2, L1", "U1, U2", "L1, L2");
    check("L1 1/3, L2", "U1, U2, U3, U4", "L1, L1, L2, waits");
    check("L1 1/1, L2 reserved, L3 paused, L4 disabled, L5 unknown", "U1", "waits");
    check("L1 5/1", "U1", "waits");
    check("", "U1", "waits");
    check("L1", "", "");
}

#[test]
fn a_payment_passes_by_lines_where_its_user_is_present_or_refused() {
    let check = |lines: &str, waiting: &str, refused: &str, present: &str, expected: &str| {
        let mut floor = floor(lines, waiting, refused, present);
        assert_eq!(chosen(&mut floor), expected, "{lines}; {refused}; {present}");
    };
    check("L1 0/2, L2", "U1, U1, U1", "", "", "L1, L2, waits");
    check("L1 1/2, L2", "U1, U2", "", "L1 U1", "L2, L1");
    check("L1, L2", "U1, U2", "L1 U1", "", "L2, L1");
    // One that cannot go does not keep back the next.
    check("L1 1/2", "U1, U2", "", "L1 U1", "waits, L1");
    check("L1, L2", "U1", "L1 U1, L2 U1", "", "refused: no L1 U1");
    check("L1, L2 disabled", "U1", "L1 U1", "", "refused: no L1 U1");
    // Another line may take it later.
    check("L1, L2 1/1", "U1", "L1 U1", "", "waits");
    check("L1, L2 paused", "U1", "L1 U1", "", "waits");
    check("L1, L2 unknown", "U1", "L1 U1", "", "waits");
    check("L1 disabled", "U1", "L1 U1", "", "waits");
}

#[test]
fn each_line_that_is_no_choice_says_why() {
    let floor = floor(
        "L1 1/1, L2 reserved, L3 paused, L4 disabled, L5 unknown, L6, L7, L8",
        "",
        "L6 U1, L1 U1",
        "L7 U1",
    );
    let why: Vec<&str> =
        obstacles(&floor, &UserId::from("U1")).iter().map(|reason| reason.code.as_str()).collect();
    let expected = [
        "line_busy",
        "line_is_reserved",
        "line_paused",
        "line_disabled",
        "line_unknown",
        "user_refused",
        "user_on_line",
    ];
    assert_eq!(why, expected);
    let nothing = Floor { lines: Vec::new(), ..floor };
    let why = obstacles(&nothing, &UserId::from("U1"));
    assert_eq!(why, [Reason::plain(ReasonCode::NoLines)]);
}

fn any_line(index: u8) -> impl Strategy<Value = String> {
    let state = prop::sample::select(vec!["", "", "", "paused", "disabled", "unknown"]);
    (0..3_i64, 0..3_i64, 1..4_i64, 0..9_i64, state).prop_map(move |(at, open, of, used, state)| {
        format!("L{index} +{at} {open}/{of} @{used} {state}")
    })
}

proptest! {
    #[test]
    fn nothing_waits_while_a_line_would_take_it_and_no_line_is_given_more_than_its_room(
        lines in (any_line(0), any_line(1), any_line(2), any_line(3)),
        waiting in prop::collection::vec(0..4_u8, 0..12),
        refused in prop::collection::vec((0..4_u8, 0..4_u8), 0..8),
        present in prop::collection::vec((0..4_u8, 0..4_u8), 0..8),
    ) {
        let lines = [lines.0, lines.1, lines.2, lines.3].join(", ");
        let pairs = |pairs: &[(u8, u8)]| {
            pairs.iter().map(|(line, user)| format!("L{line} U{user}")).collect::<Vec<_>>().join(",")
        };
        let users = waiting.iter().map(|user| format!("U{user}")).collect::<Vec<_>>().join(",");
        let mut after = floor(&lines, &users, &pairs(&refused), &pairs(&present));
        let before = after.clone();
        let choices = choose(&mut after);
        prop_assert_eq!(choices.len(), before.waiting.len());
        let mut given: Vec<(LineId, UserId)> = Vec::new();
        for (waiting, (payment, choice)) in before.waiting.iter().zip(&choices) {
            prop_assert_eq!(&waiting.payment, payment);
            let chat = |line: &Line| (line.id.clone(), waiting.user.clone());
            match choice {
                Choice::Line(line) => {
                    let chat = (line.clone(), waiting.user.clone());
                    prop_assert!(!before.refused.contains_key(&chat));
                    prop_assert!(!before.present.contains(&chat) && !given.contains(&chat));
                    given.push(chat);
                }
                Choice::Waits => {
                    let would_take = after.lines.iter().find(|line| {
                        line.occupancy.room() > 0
                            && !after.refused.contains_key(&chat(line))
                            && !after.present.contains(&chat(line))
                    });
                    prop_assert_eq!(would_take, None);
                }
                Choice::RefusedEverywhere(_) => {
                    let enabled = before.lines.iter().filter(|line| line.occupancy.enabled);
                    for line in enabled {
                        prop_assert!(before.refused.contains_key(&chat(line)));
                    }
                }
            }
        }
        for line in &before.lines {
            let here = given.iter().filter(|(id, _)| *id == line.id).count();
            prop_assert!(i64::try_from(here).unwrap() <= line.occupancy.room());
        }
    }
}

/// What a claimed dispatch, its payment, and the memory of refusals come to.
fn concluded(dispatch: &mut Dispatch, answer: &Answer, mode: SendMode) -> String {
    let mut payment = payment(1, PaymentState::Sending);
    let policy = Policy { mode, in_doubt_after: Span::from_secs(30) };
    let consequence = conclude(dispatch, &mut payment, answer, policy, at(100));
    let remembered = match consequence {
        Consequence::Nothing => String::new(),
        Consequence::RememberRefusal(words) => format!("; remembers {words}"),
    };
    let why = payment.happened.first().map_or("-", |(_, reason)| reason.code.as_str());
    let due = dispatch.due_at.since(at(100));
    format!("{} {} {why} {due}{remembered}", dispatch.phase, payment.state)
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::Refused { status, text: text.to_owned() }
}

fn not_done(why: NotDone, retry_after: Option<i64>) -> Answer {
    Answer::NotDone { why, retry_after: retry_after.map(Span::from_secs) }
}

#[test]
fn every_answer_to_a_call_leads_on() {
    let unknown = || Answer::Unknown { detail: "timeout".to_owned() };
    let never = || NotDone::NeverConnected("refused".to_owned());
    let check = |answer: &Answer, expected: &str| {
        for mode in [SendMode::Bot, SendMode::Specialist] {
            let mut dispatch = dispatch(1, "L1", Phase::Sending);
            assert_eq!(concluded(&mut dispatch, answer, mode), expected, "{answer:?} {mode:?}");
            assert_eq!(dispatch.lease_until, None, "{answer:?}");
        }
    };
    check(&Answer::Done, "sent dispatched message_taken 2 min 0 s");
    check(&unknown(), "in_doubt in_doubt outcome_unknown 30.0 s");
    check(&not_done(never(), None), "reserved sending try_again 500.0 ms");
    check(&not_done(NotDone::RateLimited, None), "reserved sending try_again 500.0 ms");
    check(&not_done(NotDone::RateLimited, Some(7)), "reserved sending try_again 7.0 s");
    check(&not_done(NotDone::Unauthorized, None), "reserved sending try_again 500.0 ms");
    check(&not_done(NotDone::NoBudget, None), "reserved sending try_again 0 µs");
    check(&not_done(NotDone::Stopping, None), "reserved sending try_again 0 µs");
    check(&not_done(NotDone::NoBudget, Some(2)), "reserved sending try_again 2.0 s");
    check(&not_done(NotDone::TooLate, None), "reserved sending try_again 0 µs");
    for status in [400, 413, 422] {
        check(&refused(status, ""), "refused rejected refused_for_good 0 µs");
    }
    for status in [301, 404, 409] {
        let expected = format!("refused queued line_refused 0 µs; remembers {status}, so");
        check(&refused(status, "so"), &expected);
    }
    let subscriber = "User is not a subscriber or never been online";
    let expected = format!("refused queued line_refused 0 µs; remembers 403, {subscriber}");
    check(&refused(403, subscriber), &expected);
}

#[test]
fn a_bare_403_puts_the_bot_hook_back_once_and_then_is_meant() {
    let bare = refused(403, "");
    let next_line = "refused queued line_refused 0 µs; remembers 403";
    let mut first = dispatch(1, "L1", Phase::Sending);
    let again = "reserved sending hook_missing 0 µs";
    assert_eq!(concluded(&mut first, &bare, SendMode::Bot), again);
    assert_eq!(first.rehook, Rehook::Wanted);
    for rehook in [Rehook::Wanted, Rehook::Done] {
        let mut second = Dispatch { rehook, ..dispatch(1, "L1", Phase::Sending) };
        assert_eq!(concluded(&mut second, &bare, SendMode::Bot), next_line);
    }
    // A specialist's message needs no bot hook.
    let mut specialist = dispatch(1, "L1", Phase::Sending);
    assert_eq!(concluded(&mut specialist, &bare, SendMode::Specialist), next_line);
}

#[test]
fn an_answer_that_comes_too_late_decides_nothing() {
    let answers = [
        Answer::Done,
        Answer::Unknown { detail: String::new() },
        refused(403, ""),
        refused(400, ""),
        not_done(NotDone::RateLimited, None),
    ];
    for phase in Phase::ALL.iter().copied().filter(|phase| *phase != Phase::Sending) {
        let is_doubt = phase == Phase::InDoubt;
        let decides = |answer: &&Answer| is_doubt && !matches!(answer, Answer::Unknown { .. });
        for answer in answers.iter().filter(|answer| !decides(answer)) {
            let before = dispatch(1, "L1", phase);
            let mut after = before.clone();
            let mut payment = payment(1, PaymentState::Dispatched);
            let policy = Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) };
            let consequence = conclude(&mut after, &mut payment, answer, policy, at(100));
            assert_eq!(consequence, Consequence::Nothing);
            assert!(payment.happened.is_empty());
            let sent_at = before.sent_at.or_else(|| (*answer == Answer::Done).then(|| at(100)));
            assert_eq!(after, Dispatch { sent_at, ..before }, "{phase} {answer:?}");
        }
    }
}

#[test]
fn an_answer_that_comes_after_its_claim_ran_out_still_settles_the_doubt() {
    let policy = Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) };
    let check = |answer: &Answer, phase, state| {
        let mut dispatch = dispatch(1, "L1", Phase::InDoubt);
        let mut payment = payment(1, PaymentState::InDoubt);
        conclude(&mut dispatch, &mut payment, answer, policy, at(100));
        assert_eq!((dispatch.phase, payment.state), (phase, state), "{answer:?}");
    };
    check(&Answer::Done, Phase::Sent, PaymentState::Dispatched);
    check(&refused(404, ""), Phase::Refused, PaymentState::Queued);
    check(&not_done(NotDone::RateLimited, None), Phase::Reserved, PaymentState::Sending);
    let unknown = Answer::Unknown { detail: String::new() };
    check(&unknown, Phase::InDoubt, PaymentState::InDoubt);
}

#[test]
fn a_platform_that_is_down_is_one_line_in_the_timeline_and_asked_less_and_less() {
    let absent = ["500.0 ms", "1.0 s", "2.0 s", "4.0 s", "4.0 s", "4.0 s", "4.0 s", "4.0 s"];
    is_asked_less_and_less(&NotDone::NeverConnected(String::new()), absent);
    let busy = ["500.0 ms", "1.0 s", "2.0 s", "4.0 s", "8.0 s", "16.0 s", "30.0 s", "30.0 s"];
    is_asked_less_and_less(&NotDone::RateLimited, busy);
}

fn is_asked_less_and_less(why: &NotDone, expected: [&str; 8]) {
    let mut dispatch = dispatch(1, "L1", Phase::Sending);
    let mut payment = payment(1, PaymentState::Sending);
    let policy = Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) };
    let mut waits = Vec::new();
    for _ in 0..8 {
        dispatch.phase = Phase::Sending;
        let answer = not_done(why.clone(), None);
        conclude(&mut dispatch, &mut payment, &answer, policy, at(100));
        waits.push(dispatch.due_at.since(at(100)).to_string());
    }
    assert_eq!(waits, expected);
    assert_eq!(payment.happened.len(), 1);
    // The looks at a doubt begin to count anew.
    doubt(&mut dispatch, &mut payment, "timeout", policy.in_doubt_after, at(200));
    assert_eq!((dispatch.failures, dispatch.due_at), (0, at(230)));
}

#[test]
fn a_line_gives_back_the_reservations_it_can_no_longer_serve() {
    let serving =
        Occupancy { enabled: true, paused: false, known: true, capacity: 2, open: 0, reserved: 2 };
    let fit = |dispatch| Untouched { dispatch, user_present: false, of_manager: true };
    let check = |occupancy, untouched: &[Untouched], expected: &[(i64, ReasonCode)]| {
        assert_eq!(surplus(occupancy, untouched), expected, "{occupancy:?}");
    };
    let both = [fit(1), fit(2)];
    let all = |code| [(1, code), (2, code)];
    check(serving, &both, &[]);
    check(Occupancy { paused: true, ..serving }, &both, &all(ReasonCode::LinePaused));
    check(Occupancy { enabled: false, ..serving }, &both, &all(ReasonCode::LineDisabled));
    // Somebody else was faster: the youngest goes first.
    check(Occupancy { open: 1, ..serving }, &both, &[(2, ReasonCode::LineBusy)]);
    let full = Occupancy { open: 2, ..serving };
    check(full, &both, &[(2, ReasonCode::LineBusy), (1, ReasonCode::LineBusy)]);
    check(Occupancy { known: false, ..serving }, &both, &all(ReasonCode::LineUnknown));
    // What is under way already stays: only one of the three is untouched.
    check(Occupancy { reserved: 3, open: 5, ..serving }, &both[..1], &[(1, ReasonCode::LineBusy)]);
    // The user came by himself: the reservation counts no more, and the other one stays.
    let came = [Untouched { user_present: true, ..fit(1) }, fit(2)];
    check(Occupancy { open: 1, reserved: 1, ..serving }, &came, &[(1, ReasonCode::UserOnLine)]);
    let moved = [Untouched { of_manager: false, ..fit(1) }, fit(2)];
    check(Occupancy { open: 1, ..serving }, &moved, &[(1, ReasonCode::LineOfOther)]);
}

#[test]
fn an_answer_that_came_after_its_place_was_given_back_does_not_take_it_again() {
    let mut dispatch = Dispatch { slot: None, ..dispatch(1, "L1", Phase::InDoubt) };
    let mut payment = payment(1, PaymentState::InDoubt);
    let answer = Answer::NotDone { why: NotDone::RateLimited, retry_after: None };
    let policy = Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) };
    conclude(&mut dispatch, &mut payment, &answer, policy, at(9));
    assert_eq!((dispatch.phase, payment.state), (Phase::Undone, PaymentState::Queued));
}
