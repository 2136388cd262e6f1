use super::*;
use crate::core::dispatch::{Policy, SendMode, conclude, proof_after_gap};
use crate::core::outcome::Answer;
use crate::core::script::{at, dispatch, event, hear, number, outcome, payment, story};

/// Our message as an event: the word after `echo` is its treatment.
const ECHO: &str = "says=FL-0000-0001";

fn view(dispatches: impl IntoIterator<Item = Dispatch>, state: PaymentState) -> View {
    let payment = payment(1, state);
    View {
        treatments: Treatments::default(),
        dispatches: dispatches.into_iter().map(|dispatch| (dispatch.id, dispatch)).collect(),
        payments: BTreeMap::from([(payment.id.clone(), payment)]),
    }
}

fn name<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// State, line and treatment of the payment, its timeline; then each dispatch.
fn told(view: &View) -> String {
    let payment = view.payments.values().next().unwrap();
    let timeline: Vec<&str> =
        payment.happened.iter().map(|(_, reason)| reason.code.as_str()).collect();
    let dispatches: Vec<String> = view
        .dispatches
        .values()
        .map(|d| format!("{} {} {}", d.phase, d.line, name(d.treatment.as_ref())))
        .collect();
    format!(
        "{} {} {}: {}; {}",
        payment.state,
        name(payment.line.as_ref()),
        name(payment.treatment.as_ref()),
        timeline.join(", "),
        dispatches.join(", ")
    )
}

fn state_of(phase: Phase) -> PaymentState {
    match phase {
        Phase::Sending | Phase::Reserved => PaymentState::Sending,
        Phase::InDoubt => PaymentState::InDoubt,
        Phase::Sent | Phase::Open => PaymentState::Dispatched,
        Phase::Closed => PaymentState::Closed,
        Phase::Refused | Phase::Undone => PaymentState::Queued,
    }
}

#[track_caller]
fn check_one(phase: Phase, text: &str, expected: &str) {
    let text = text.replace("ECHO", ECHO);
    let mut view = view([dispatch(1, "L1", phase)], state_of(phase));
    hear(&mut view, &story(&text));
    assert_eq!(told(&view), expected, "{phase}: {text}");
}

#[test]
fn the_echo_of_a_message_settles_its_payment_whatever_was_known_of_it() {
    let open = "dispatched L1 T1: echo_seen, treatment_seen; open L1 T1";
    for phase in [Phase::Sending, Phase::InDoubt, Phase::Sent, Phase::Reserved] {
        check_one(phase, "1s T1 ECHO", open);
        // Both kinds of hook.
        check_one(phase, "1s T1 ECHO m=x | 1s T1 bot ECHO m=x", open);
        check_one(phase, "1s bot ECHO m=x | @0 1s T1 ECHO m=x", open);
        check_one(phase, "1s T1 ECHO m=x | @0 81s T1 m=x", open);
        // Nobody named as the author: the bot.
        check_one(phase, "1- T1 ECHO", open);
        check_one(phase, "1s bot ECHO", &open.replace("T1", "~L1/U1/1700000000000000"));
    }
    check_one(Phase::Sending, "@0 81s T1 m=x | @0 1s T1 ECHO m=x", open);
    check_one(Phase::InDoubt, "@0 80s T1 | @0 1s T1 ECHO", open);
    // A message taken goes into the one open treatment of its chat: no echo is needed.
    let seen = "dispatched L1 T1: treatment_seen; open L1 T1";
    check_one(Phase::Sent, "@0 81s T1 m=x | @0 1s T1 ECHO m=x", seen);
    check_one(Phase::Sent, "81s T1", seen);
    check_one(Phase::Sent, "1u T1", seen);
    // But without an answer or an echo it proves nothing.
    check_one(Phase::Sending, "81s T1", "sending - -: ; sending L1 -");
    check_one(Phase::InDoubt, "81s T1", "in_doubt - -: ; in_doubt L1 -");
}

#[test]
fn an_echo_after_the_close_or_the_move_of_its_treatment_finds_where_it_went() {
    let closed = "closed L1 T1: echo_seen, treatment_closed; closed L1 T1";
    let moved = "dispatched L2 T2: echo_seen, treatment_moved, treatment_seen; open L2 T2";
    for phase in [Phase::Sending, Phase::InDoubt, Phase::Sent] {
        check_one(phase, "@9 82s T1 | @0 1s T1 ECHO", closed);
        check_one(phase, "@9 89s T1 to T2 L2 | @0 1s T1 ECHO", moved);
        check_one(phase, "@9 89s T2 L2 from T1 L1 | @0 1s T1 ECHO", moved);
        check_one(
            phase,
            "@9 89s T1 to T2 L2 | @20 82s T2 L2 | @0 1s T1 ECHO",
            "closed L2 T2: echo_seen, treatment_moved, treatment_closed; closed L2 T2",
        );
    }
    check_one(
        Phase::InDoubt,
        "@9 82s bot | @0 1s bot ECHO",
        "closed L1 ~L1/U1/1700000009000000: echo_seen, treatment_closed; \
         closed L1 ~L1/U1/1700000009000000",
    );
}

#[test]
fn a_payment_follows_its_treatment() {
    let start = "dispatched L2 T2: echo_seen, treatment_seen, treatment_moved; open L2 T2";
    check_one(Phase::Sending, "1s T1 ECHO | 89s T1 to T2 L2", start);
    check_one(Phase::Sending, "1s T1 ECHO | 89s T2 L2 from T1 L1 | 89s T1 to T2 L2", start);
    check_one(Phase::Sending, "1u T2 L2 | 1s T1 ECHO | 89s T1 to T2 L2", start);
    check_one(
        Phase::Sending,
        "1s T1 ECHO | 82s T1 | 82s T1 | 17u T1",
        "closed L1 T1: echo_seen, treatment_seen, treatment_closed; closed L1 T1",
    );
    // The 2022 shape: nothing says which treatment it goes on in.
    let waits = "dispatched L1 T1: echo_seen, treatment_seen; sent L2 -";
    check_one(Phase::Sending, "1s T1 ECHO | 89s T1 to L2", waits);
    let found = "dispatched L2 T2: echo_seen, treatment_seen, treatment_seen; open L2 T2";
    check_one(Phase::Sending, "1s T1 ECHO | 89s T1 to L2 | 80s T2 L2", found);
    check_one(Phase::Sending, "1s T1 ECHO | 89s bot to L2 | 80s T2 L2", found);
    // A missed close shows when the user comes again.
    check_one(
        Phase::Sending,
        "1s T1 ECHO | 1u T2",
        "closed L1 T1: echo_seen, treatment_seen, treatment_closed; closed L1 T1",
    );
}

#[test]
fn quotes_of_a_number_are_no_echo() {
    let untouched = "in_doubt - -: ; in_doubt L1 -";
    check_one(Phase::InDoubt, "1u T1 ECHO", untouched);
    check_one(Phase::InDoubt, "1s T1 L2 ECHO", untouched);
    check_one(Phase::InDoubt, "1s T1 U2 ECHO", untouched);
    check_one(Phase::InDoubt, "1s T1 says=FL-0000-0002", untouched);
    check_one(Phase::InDoubt, "70s T1 ECHO", untouched);
    // Quoted in a later treatment of the chat.
    let closed = "closed L1 T1: echo_seen, treatment_seen, treatment_closed; closed L1 T1";
    check_one(Phase::Sending, "1s T1 ECHO | 82s T1 | 1s T2 ECHO", closed);
    let closed = "closed L1 T1: treatment_seen, treatment_closed; closed L1 T1";
    check_one(Phase::Sent, "81s T1 | 82s T1 | @900 1s T2 ECHO", closed);
}

#[test]
fn the_echo_says_which_treatment_it_is_where_that_was_guessed_wrong() {
    // Late signs of a treatment that was over before our message.
    check_one(
        Phase::Sent,
        "@-900 1u T0 | @-800 82s T0 | @2 1s T1 ECHO",
        "dispatched L1 T1: treatment_seen, treatment_closed, treatment_seen; open L1 T1",
    );
}

#[track_caller]
fn check_two(first: Phase, second: Phase, text: &str, expected: &str) {
    let text = text.replace("ECHO", ECHO);
    let second = dispatch(2, "L2", second);
    let state = state_of(second.phase);
    let mut view = view([dispatch(1, "L1", first), second], state);
    hear(&mut view, &story(&text));
    assert_eq!(told(&view), expected, "{first}: {text}");
}

#[test]
fn the_late_echo_of_a_try_given_up_keeps_its_payment_from_going_out_again() {
    for given_up in [Phase::Undone, Phase::Refused] {
        let queued = "dispatched L1 T1: echo_seen, treatment_seen; open L1 T1";
        check_one(given_up, "1s T1 ECHO", queued);
        for under_way in [Phase::Reserved, Phase::Sending, Phase::InDoubt] {
            let taken_over = "dispatched L1 T1: echo_seen, treatment_seen; open L1 T1, undone L2 -";
            check_two(given_up, under_way, "1s T1 ECHO m=x | 1s T1 bot ECHO m=x", taken_over);
        }
        // Should the call under way be taken as well, its echo tells.
        check_two(
            given_up,
            Phase::Sending,
            "1s T1 ECHO | 1s T2 L2 ECHO",
            "dispatched L1 T1: echo_seen, treatment_seen, doubled; open L1 T1, undone L2 -",
        );
        let doubled = format!("dispatched - -: doubled; {given_up} L1 -, sent L2 -");
        check_two(given_up, Phase::Sent, "1s T1 ECHO m=x | 1s T1 bot ECHO m=x", &doubled);
        let doubled = format!("dispatched - -: doubled; {given_up} L1 -, open L2 -");
        check_two(given_up, Phase::Open, "1s T1 ECHO", &doubled);
        let doubled = format!("closed - -: doubled; {given_up} L1 -, closed L2 -");
        check_two(given_up, Phase::Closed, "1s T1 ECHO", &doubled);
    }
}

#[test]
fn the_echo_of_a_second_try_is_not_taken_for_that_of_the_first_in_the_same_chat() {
    for first in [Phase::Undone, Phase::Refused] {
        let tries = || [dispatch(1, "L1", first), dispatch(2, "L1", Phase::Sent)];
        // What opens the treatment comes before the echo.
        let once = "@0 81s T1 m=x | @0 1s T1 says=FL-0000-0001 m=x";
        let mut seen = view(tries(), PaymentState::Dispatched);
        hear(&mut seen, &story(once));
        let open = format!("dispatched L1 T1: treatment_seen; {first} L1 -, open L1 T1");
        assert_eq!(told(&seen), open);
        // A second message with the number is a second message.
        let mut doubled = view(tries(), PaymentState::Dispatched);
        hear(&mut doubled, &story(&format!("{once} | @1 1s T1 says=FL-0000-0001 m=y")));
        assert!(told(&doubled).contains("treatment_seen, doubled"), "{}", told(&doubled));
    }
}

#[test]
fn a_try_revived_by_its_echo_takes_no_place_of_the_line() {
    let mut view = view([dispatch(1, "L1", Phase::Undone)], PaymentState::Queued);
    hear(&mut view, &story("1s T1 says=FL-0000-0001"));
    assert_eq!(view.dispatches[&1].slot, None);
}

#[test]
fn a_dispatch_closed_by_mistake_takes_no_place_of_the_line_when_it_opens_again() {
    let mut view = view([dispatch(1, "L1", Phase::Sent)], PaymentState::Dispatched);
    hear(&mut view, &story("@-900 1u T0 | @-800 82s T0 | @2 1s T1 says=FL-0000-0001"));
    assert_eq!((view.dispatches[&1].phase, view.dispatches[&1].slot), (Phase::Open, None));
}

#[test]
fn the_echo_of_a_cancelled_payment_shows_it_as_dispatched_because_it_is() {
    let mut view = view([dispatch(1, "L1", Phase::Undone)], PaymentState::Cancelled);
    hear(&mut view, &story("1s T1 says=FL-0000-0001"));
    let dispatched =
        "dispatched L1 T1: echo_seen, cancelled_too_late, treatment_seen; open L1 T1".to_owned();
    assert_eq!(told(&view), dispatched);
    let said = view.payments.values().next().unwrap().happened[1].1.to_string();
    assert_eq!(
        said,
        "a person had cancelled it, but its message is on the platform: it counts as dispatched \
         (line L1)"
    );
    // Once is enough.
    hear(&mut view, &story("1s T1 says=FL-0000-0001 | 1s T1 bot says=FL-0000-0001"));
    assert_eq!(told(&view), dispatched);
}

#[test]
fn an_answer_after_the_echo_adds_only_its_time() {
    let policy = Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) };
    let answers = [
        (Answer::Done, Some(at(5))),
        (Answer::Unknown { detail: "timeout".to_owned() }, None),
        (Answer::Refused { status: 403, text: String::new() }, None),
    ];
    for (answer, sent_at) in answers {
        let mut view = view([dispatch(1, "L1", Phase::Sending)], PaymentState::Sending);
        hear(&mut view, [&event("1s T1 says=FL-0000-0001", 0)]);
        let View { dispatches, payments, .. } = &mut view;
        let (dispatch, payment) =
            (dispatches.values_mut().next().unwrap(), payments.values_mut().next().unwrap());
        conclude(dispatch, payment, &answer, policy, at(5));
        assert_eq!(dispatch.sent_at, sent_at);
        assert_eq!(told(&view), "dispatched L1 T1: echo_seen, treatment_seen; open L1 T1");
    }
}

#[test]
fn an_answer_after_the_treatment_was_seen_finds_it() {
    let policy = Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) };
    let mut view = view([dispatch(1, "L1", Phase::Sending)], PaymentState::Sending);
    hear(&mut view, [&event("81s T1", 0)]);
    let View { dispatches, payments, .. } = &mut view;
    let (dispatch, payment) =
        (dispatches.values_mut().next().unwrap(), payments.values_mut().next().unwrap());
    conclude(dispatch, payment, &Answer::Done, policy, at(5));
    settle(&mut view, at(5));
    assert_eq!(told(&view), "dispatched L1 T1: message_taken, treatment_seen; open L1 T1");
}

#[test]
fn one_message_with_several_numbers_settles_all_of_them() {
    let mut view = view([dispatch(1, "L1", Phase::InDoubt)], PaymentState::InDoubt);
    let other = payment(2, PaymentState::InDoubt);
    let mut of_other = dispatch(2, "L1", Phase::InDoubt);
    of_other.payment = other.id.clone();
    view.dispatches.insert(2, of_other);
    view.payments.insert(other.id.clone(), other);
    let mut echo = event("1s T1", 0);
    echo.text = Some(format!("{}, {}", number(1), number(2)));
    hear(&mut view, [&echo]);
    assert!(view.dispatches.values().all(|dispatch| dispatch.phase == Phase::Open));
}

#[test]
fn events_that_lack_what_their_type_needs_are_kept_for_people() {
    let check = |text: &str, change: fn(&mut Event), expected: Verdict| {
        let mut event = event(text, 0);
        change(&mut event);
        let verdict = apply_event(&mut View::default(), &event, at(0));
        assert_eq!(verdict, expected, "{text}");
    };
    let same: fn(&mut Event) = |_| {};
    check("1u T1", same, Verdict::Applied);
    check("1u", same, Verdict::Ignored);
    check("82s", same, Verdict::Quarantined);
    check("82s bot", same, Verdict::Applied);
    check("89s T1", same, Verdict::Quarantined);
    check("17u", same, Verdict::Applied);
    check("1u T1", |event| event.user = None, Verdict::Quarantined);
    check("1u T1", |event| event.line = None, Verdict::Quarantined);
    check("2- T1", |event| event.user = None, Verdict::Ignored);
    check("121- T1", |event| event.line = None, Verdict::Ignored);
    check("1u T1", |event| event.message_type = None, Verdict::Ignored);
    check("1u T1", |event| event.family = Some("competence".to_owned()), Verdict::Ignored);
    check("1u T1", |event| event.message_time = None, Verdict::Applied);
}

/// Looks at `L1` at `@3000` unless the events, heard from an hour on, are to be newer.
fn look(view: &mut View, listed: &str, requested_at: Time) -> bool {
    let line = LineId::from("L1");
    let rows: Vec<Listed> = listed
        .split(',')
        .filter(|row| !row.trim().is_empty())
        .map(|row| {
            let row = event(&format!("{row} @0"), 0);
            Listed {
                treatment: row.treatment.unwrap(),
                user: row.user.unwrap(),
                initialized_at: row.initialized_at,
            }
        })
        .collect();
    let snapshot = Snapshot { line: &line, listed: &rows, requested_at };
    apply_snapshot(view, &snapshot, at(9_000))
}

#[test]
fn a_look_that_contradicts_what_was_heard_at_the_same_time_wants_another() {
    let check = |text: &str, listed: &str, is_whole: bool| {
        let mut view = View::default();
        hear(&mut view, &story(text));
        assert_eq!(look(&mut view, listed, at(3_600)), is_whole, "{text}: {listed}");
    };
    check("1u T1 @3590", "T1", true);
    check("1u T1 @3590", "T1, T2 U2", true);
    check("1u T1 @3590", "", false);
    check("1u T1 @3590", "T2", false);
    check("1u T1 @3580 | 82s T1 @3590", "T1", true);
    check("1u T1 @3580 | 82s T1 @3590", "T2", false);
    check("1u bot @3590", "T1", false);
    // Long over, and only told late.
    check("1u T1 @3500", "", true);
    // Our clock was set back, or another replica's is behind.
    let mut view = View::default();
    apply_event(&mut view, &event("1u T1 @3600", 0), at(3_598));
    assert!(!look(&mut view, "", at(3_600)));
    assert_eq!(outcome(&view.treatments), "T1 L1; ");
}

#[test]
fn an_older_look_does_not_end_what_a_slower_one_saw_begin() {
    let mut view = View::default();
    assert!(look(&mut view, "T1 begun=3600", at(3_500)));
    assert!(!look(&mut view, "", at(3_590)));
    assert_eq!(outcome(&view.treatments), "T1 L1; ");
}

#[test]
fn two_moves_from_one_chat_at_once_leave_no_ghost_of_the_bots_events() {
    // In the shape of 2022 no half names the other's treatment; the second one is heard first.
    let text = "@40.7 89s T3 to L2 | @40.2 89s T2 L3 from L1 | @40.2 89s T1 to L3 | @40.4 1u bot";
    let mut view = View::default();
    hear(&mut view, &story(text));
    assert_eq!(outcome(&view.treatments), "T2 L3; T1 T3");
}

#[test]
fn what_was_alive_after_the_end_of_another_is_not_the_older_one() {
    // The beginning is told to the second only: before that of the other, which is over by then.
    let events = story("@40.2 1s T0 | @43 84s T1 begun=40 | @40.3 82s T0");
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut view = View::default();
        hear(&mut view, order.map(|place| &events[place]));
        assert_eq!(outcome(&view.treatments), "T1 L1; T0", "{order:?}");
    }
}

#[test]
fn what_a_look_ended_lives_on_when_it_is_surely_heard_of_later() {
    let check = |text: &str, expected: &str| {
        let mut view = View::default();
        hear(&mut view, &story("1u T1"));
        look(&mut view, "", at(8_000));
        apply_event(&mut view, &event(text, 0), at(9_000));
        assert_eq!(outcome(&view.treatments), expected, "{text}");
    };
    check("70u T1 @8100", "T1 L1; ");
    // It may have happened before the list was made.
    check("70u T1 @8060", "; T1");
    check("82s T1 @8100", "; T1");
    check("17u T1 @8100", "; T1");
}

#[test]
fn what_is_heard_after_a_call_is_after_it_although_our_clock_was_set_back() {
    let mut view = view([dispatch(1, "L1", Phase::InDoubt)], PaymentState::InDoubt);
    apply_event(&mut view, &event("82s T1 @3", 0), at(-2));
    look(&mut view, "", at(30));
    assert_eq!(told(&view), "in_doubt - -: look_inconclusive; in_doubt L1 -");
}

#[test]
fn a_look_adds_what_is_listed_and_ends_what_is_not_where_nothing_newer_was_heard() {
    let check = |text: &str, listed: &str, requested_at: i64, expected: &str| {
        let mut view = View::default();
        if !text.is_empty() {
            hear(&mut view, &story(text));
        }
        look(&mut view, listed, at(requested_at));
        assert_eq!(outcome(&view.treatments), expected, "{text}: {listed}");
    };
    let (before, after) = (3_000, 8_000);
    check("", "T1, T2 U2", after, "T1 L1, T2 L1 U2; ");
    check("1u T1", "T1", after, "T1 L1; ");
    check("1u T1", "", after, "; T1");
    check("1u T1", "T2 U2", after, "T2 L1 U2; T1");
    check("1u T1", "T2", after, "T2 L1; T1");
    check("1u T1", "T2 begun=100", after, "T2 L1; T1");
    // Something was heard since the request.
    check("1u T1 @2950", "", before, "T1 L1; ");
    // What is only told late is old: the list is newer.
    check("1u T1", "", before, "; T1");
    check("1u T1 | 82s T1", "T1", before, "; T1");
    check("1u T1 | 82s T1 @2950", "T2", before, "; T1");
    check("1u T1 @2950", "T2 U2", before, "T1 L1, T2 L1 U2; ");
    // Heard at the very moment of the request is not newer.
    check("1u T1", "", 3_600, "; T1");
    // A tombstone stays.
    check("1u T1 | 82s T1", "T1", after, "; T1");
    check("17u T1", "T1", after, "; T1");
    // Other lines are not looked at.
    check("1u T1 L2 | 1u T2", "", after, "T1 L2; T2");
    check("1u T1 L2", "T2", after, "T1 L2, T2 L1; ");
    // Provisional ones are listed under their real ids.
    check("1u bot", "T1", after, "T1 L1; ");
    check("1u bot", "T1 begun=0", after, "T1 L1; ");
    check("1u bot", "", after, "; ");
    check("1u bot @2950", "", before, "~ L1; ");
    check("1u bot U2", "T1", after, "T1 L1; ");
}

#[track_caller]
fn check_look(phase: Phase, text: &str, listed: &str, requested_at: i64, expected: &str) {
    let mut view = view([dispatch(1, "L1", phase)], state_of(phase));
    if !text.is_empty() {
        hear(&mut view, &story(text));
    }
    look(&mut view, listed, at(requested_at));
    assert_eq!(told(&view), expected, "{phase}: {text}: {listed}");
}

#[test]
fn a_look_settles_a_doubt_where_it_proves_something() {
    let doubt = |text: &str, listed: &str, requested_at: i64, expected: &str| {
        check_look(Phase::InDoubt, text, listed, requested_at, expected);
    };
    let found = "dispatched L1 T1: echo_seen, found_by_look, treatment_seen; open L1 T1";
    let absent = "queued - -: proven_absent; undone L1 -";
    let unclear = "in_doubt - -: look_inconclusive; in_doubt L1 -";
    let untouched = "in_doubt - -: ; in_doubt L1 -";
    doubt("", "T1 begun=1", 8_000, found);
    doubt("", "T1", 80, found);
    doubt("81s T1", "T1", 8_000, found);
    doubt("81s T1 @50", "", 60, found);
    doubt("", "", 8_000, absent);
    doubt("", "T2 U2", 8_000, absent);
    // Only a look asked for when the doubt was due proves an absence.
    doubt("", "", 29, untouched);
    doubt("", "T1 begun=1", 29, found);
    // The user opened it, or it came from elsewhere, or it was there before.
    doubt("1u T1", "T1", 8_000, unclear);
    doubt("1u T1", "T1", 29, untouched);
    doubt("89s T1 from T0 L2", "T1", 8_000, unclear);
    doubt("", "T1 begun=-900", 8_000, unclear);
    // It began when the platform cannot have been at work on the call, be it that only the list
    // says so.
    doubt("", "T1 begun=-60", 8_000, found);
    doubt("", "T1 begun=-61", 8_000, unclear);
    doubt("", "T1 begun=85", 8_000, found);
    doubt("", "T1 begun=86", 8_000, unclear);
    doubt("", "T1 begun=86", 29, untouched);
    doubt("81s T1 @86", "", 90, unclear);
    doubt("81s T1 @86", "T1 begun=5", 8_000, found);
    doubt("81s T1", "T1 begun=-900", 8_000, unclear);
    // Nobody says when it began, and it was seen too late to be told from others.
    doubt("", "T1", 8_000, unclear);
    // Something opened and closed in between, whoever opened it.
    doubt("81s T1 | 82s T1", "", 8_000, unclear);
    doubt("1u T1 | 82s T1", "", 8_000, unclear);
    doubt("82s T1", "", 8_000, unclear);
    doubt("82s bot", "", 8_000, unclear);
    doubt("81s T1", "", 8_000, unclear);
    // It began long before the call and ended nobody knows when.
    doubt("@-900 1s T1", "", 8_000, unclear);
    // What was over before the call, told late, is nothing in between.
    doubt("@-900 1u T1 | @-800 82s T1", "", 8_000, absent);
    doubt("@90 17u T1 begun=-900", "", 8_000, absent);
    // Listed, but known to be over.
    doubt("@-900 1u T1 | @-800 82s T1", "T1", 8_000, unclear);
}

#[test]
fn a_repeated_close_from_before_the_call_does_not_keep_a_doubt() {
    let mut view = view([dispatch(1, "L1", Phase::InDoubt)], PaymentState::InDoubt);
    let (open, close) = (event("1u T1 @-90", 0), event("82s T1 @-1", 0));
    let called_later = std::mem::take(&mut view.dispatches);
    apply_event(&mut view, &open, at(-90));
    apply_event(&mut view, &close, at(-1));
    view.dispatches = called_later;
    apply_event(&mut view, &close, at(20));
    look(&mut view, "", at(30));
    assert_eq!(told(&view), "queued - -: proven_absent; undone L1 -");
}

#[test]
fn a_doubt_that_no_look_can_settle_is_left_to_a_person_and_gives_its_place_back() {
    let mut view = view([dispatch(1, "L1", Phase::InDoubt)], PaymentState::InDoubt);
    hear(&mut view, &story("1u T1"));
    for requested_at in [8_000, 9_000] {
        look(&mut view, "T1", at(requested_at));
        let left = &view.dispatches[&1];
        assert!(left.needs_person() && left.slot.is_none() && left.due_at == Time::NEVER);
    }
    assert_eq!(view.payments.values().next().unwrap().happened.len(), 1);
    // What comes to the line afterwards is somebody else's.
    hear(&mut view, &story("82s T1"));
    look(&mut view, "T2 begun=9100", at(9_200));
    assert_eq!(told(&view), "in_doubt - -: look_inconclusive; in_doubt L1 -");
    // Its own echo settles it whenever it comes.
    hear(&mut view, [&event("1s T1 says=FL-0000-0001", 0)]);
    assert!(told(&view).contains("echo_seen"), "{}", told(&view));
}

#[test]
fn a_message_taken_whose_treatment_never_shows_is_settled_by_one_look() {
    let gone = "closed - -: treatment_gone; closed L1 -";
    check_look(Phase::Sent, "", "", 8_000, gone);
    check_look(Phase::Sent, "", "", 29, "dispatched - -: ; sent L1 -");
    let seen = "dispatched L1 T1: treatment_seen; open L1 T1";
    check_look(Phase::Sent, "", "T1 begun=1", 8_000, seen);
    // Its echo comes after all.
    let mut view = view([dispatch(1, "L1", Phase::Sent)], PaymentState::Dispatched);
    look(&mut view, "", at(8_000));
    hear(&mut view, [&event("1s T1 says=FL-0000-0001", 0)]);
    let late = "dispatched L1 T1: treatment_gone, echo_seen, treatment_seen; open L1 T1";
    assert_eq!(told(&view), late);
}

#[test]
fn a_look_at_one_line_settles_nothing_of_another() {
    let mut view = view([dispatch(1, "L2", Phase::InDoubt)], PaymentState::InDoubt);
    look(&mut view, "T1", at(8_000));
    assert_eq!(told(&view), "in_doubt - -: ; in_doubt L2 -");
}

#[test]
fn a_payment_whose_treatment_is_no_longer_listed_is_closed() {
    let mut view = view([dispatch(1, "L1", Phase::Sent)], PaymentState::Dispatched);
    hear(&mut view, &story("81s T1"));
    look(&mut view, "", at(8_000));
    let gone = "closed L1 T1: treatment_seen, treatment_gone; closed L1 T1";
    assert_eq!(told(&view), gone);
}

#[test]
fn what_nobody_could_hear_of_is_not_proven_absent_before_it_was_repeated() {
    let after_gap = |away: i64, requested_at: i64| {
        let mut doubt = dispatch(1, "L1", Phase::InDoubt);
        let proof_at = proof_after_gap(Span::from_secs(away), Span::from_secs(30), at(40));
        (doubt.due_at, doubt.proof_at) = (at(2), Some(proof_at));
        let mut view = view([doubt], PaymentState::InDoubt);
        look(&mut view, "", at(requested_at));
        (told(&view), view.dispatches[&1].due_at)
    };
    // Our message may have been answered and closed meanwhile: the events are still to come.
    let untouched = "in_doubt - -: ; in_doubt L1 -".to_owned();
    assert_eq!(after_gap(30, 159), (untouched, at(160)));
    assert_eq!(after_gap(30, 160).0, "queued - -: proven_absent; undone L1 -");
    // They may be lost for good: a person has to look into the chat.
    let unclear = "in_doubt - -: look_inconclusive; in_doubt L1 -".to_owned();
    assert_eq!(after_gap(31, 160), (unclear, Time::NEVER));
}

#[test]
fn a_look_made_soon_finds_a_message_but_does_not_prove_it_absent_while_it_may_still_arrive() {
    let soon = |listed: &str, requested_at: i64| {
        let mut doubt = dispatch(1, "L1", Phase::InDoubt);
        doubt.due_at = at(2);
        let mut view = view([doubt], PaymentState::InDoubt);
        look(&mut view, listed, at(requested_at));
        (told(&view), view.dispatches[&1].due_at, view.dispatches[&1].failures)
    };
    let untouched = "in_doubt - -: ; in_doubt L1 -".to_owned();
    // Claimed at 0: the call lasts 13 s at the most, and the platform takes 10 s at the most.
    assert_eq!(soon("", 2), (untouched.clone(), at(25), 0));
    assert_eq!(soon("", 24), (untouched, at(25), 0));
    assert_eq!(soon("", 25).0, "queued - -: proven_absent; undone L1 -");
    let found = "dispatched L1 T1: echo_seen, found_by_look, treatment_seen; open L1 T1";
    assert_eq!(soon("T1", 2).0, found);
}

/// `L1` is looked at at `@4000` and lists nothing, then the events are heard in every order.
#[track_caller]
fn check_after_wrong_look(before: &str, after: &str, expected: &str) {
    let events = story(after);
    let mut orders = vec![Vec::new()];
    for next in 0..events.len() {
        let longer = orders.iter().flat_map(|order: &Vec<usize>| {
            (0..=order.len()).map(|place| {
                let mut longer = order.clone();
                longer.insert(place, next);
                longer
            })
        });
        orders = longer.collect();
    }
    for order in orders {
        for twice in &order {
            let mut view = View::default();
            hear(&mut view, &story(before));
            look(&mut view, "", at(4_000));
            for (place, index) in (0..).zip(order.iter().chain([twice])) {
                apply_event(&mut view, &events[*index], at(5_000 + place));
            }
            let found = outcome(&view.treatments);
            assert_eq!(found, expected, "{before} | {after} in the order {order:?}, {twice} again");
        }
    }
}

#[test]
fn what_is_written_after_a_look_that_missed_its_treatment_opens_it_again_in_every_order() {
    check_after_wrong_look("1u T1", "@4100 1u T1", "T1 L1; ");
    check_after_wrong_look("1u T1", "@4100 70s T1 | @4200 80s T1 | @4300 53s T1", "T1 L1; ");
    check_after_wrong_look("1u T1", "@4100 1u T1 | @4200 82s T1 | @4300 17u T1", "; T1");
    check_after_wrong_look("1u T1", "@4100 1u T1 | @4200 90- T1 | @4150 1s T1", "; T1");
    check_after_wrong_look("1u T1", "@4100 1u T1 | @4200 1u T2", "T2 L1; T1");
    check_after_wrong_look("1u T1", "@4100 1u T1 | @4200 89s T1 to T2 L2", "T2 L2; T1");
    // Late words from before the look prove nothing, nor do words that the clocks may have moved.
    check_after_wrong_look("1u T1", "@3990 1u T1", "; T1");
    check_after_wrong_look("1u T1", "@4059 1u T1", "; T1");
    check_after_wrong_look("1u T1", "@4061 1u T1", "T1 L1; ");
    check_after_wrong_look("1u T1", "@3990 1u T1 | @4100 1u T1", "T1 L1; ");
    // What may come after a close opens nothing (late ends of sessions, assignments, ratings).
    check_after_wrong_look("1u T1", "@4100 53s T1 | @4200 80s T1 | @4300 17u T1", "; T1");
    check_after_wrong_look("1u T1", "@3990 82s T1", "; T1");
    check_after_wrong_look("1u T1", "@3990 82s T1 | @4100 1u T1", "; T1");
    // A close that was heard stays, whatever is written.
    check_after_wrong_look("1u T1 | 82s T1", "@4100 1u T1", "; T1");
}

#[test]
fn a_payment_closed_by_a_look_that_missed_it_goes_on_when_its_chat_does() {
    let mut view = view([dispatch(1, "L1", Phase::Sent)], PaymentState::Dispatched);
    hear(&mut view, &story("81s T1"));
    look(&mut view, "", at(4_000));
    apply_event(&mut view, &event("@4100 1u T1", 9), at(5_000));
    let again = "dispatched L1 T1: treatment_seen, treatment_gone, treatment_seen; open L1 T1";
    assert_eq!(told(&view), again);
    assert_eq!(view.dispatches[&1].slot, None, "its place may be given away since");
}

#[test]
fn a_time_far_ahead_is_not_believed() {
    let heard_at = at(3_600);
    for (told, believed) in [
        (Some(at(0)), at(0)),
        (Some(at(7_200)), at(7_200)),
        (Some(at(7_201)), heard_at),
        (Time::parse_rfc3339("9999-12-30T22:00:00Z"), heard_at),
        (None, heard_at),
    ] {
        assert_eq!(believable(told, heard_at), believed, "{told:?}");
    }
    let mut view = view([], PaymentState::Queued);
    hear(&mut view, &story("@99999999 1u T1 | 82s T1 | @3610 1u T2"));
    let open = view.treatments.open_of(&"L1".into(), &"U1".into());
    assert_eq!(open.map(|treatment| treatment.id.as_str()), Some("T2"));
}
