use super::*;
use crate::core::outcome::NotDone;
use crate::core::script::{at, event};
use crate::core::treatment::{Opener, Sign};

const DOUBT: Span = Span::from_secs(30);

/// A text "hello" of chat L1, U1, claimed at the beginning of the story.
fn text(seq: i64, state: OutgoingState) -> Outgoing {
    Outgoing {
        id: format!("o{seq}").as_str().into(),
        seq,
        kind: OutgoingKind::Text,
        line: "L1".into(),
        user: "U1".into(),
        author: None,
        mode: SendMode::Bot,
        text: Some("hello".to_owned()),
        file_name: None,
        treatment: None,
        state,
        reason: OutgoingReason::Accepted,
        words: None,
        fence: 1,
        due_at: at(0),
        lease_until: Some(at(15)),
        failures: 0,
        claimed_at: Some(at(0)),
        sent_at: None,
        proof_at: None,
        rehook: Rehook::No,
        echo: None,
    }
}

fn of_treatment(kind: OutgoingKind, state: OutgoingState) -> Outgoing {
    let to_line = "T1".into();
    Outgoing { kind, treatment: Some(to_line), text: None, ..text(1, state) }
}

fn after(mut one: Outgoing, answer: &Answer) -> (OutgoingState, OutgoingReason, Option<i64>) {
    conclude(&mut one, answer, DOUBT, at(100));
    let wait = (one.due_at != at(0)).then(|| one.due_at.since(at(100)).micros() / 1_000);
    (one.state, one.reason, wait)
}

fn unknown() -> Answer {
    Answer::Unknown { detail: "timeout".to_owned() }
}

fn refusal(status: u16, text: &str) -> Answer {
    Answer::Refused { status, text: text.to_owned() }
}

#[test]
fn what_follows_from_an_answer() {
    use OutgoingReason as R;
    use OutgoingState as S;
    let not_done = |why| Answer::NotDone { why, retry_after: None };
    let sending = || text(1, S::Sending);
    assert_eq!(after(sending(), &Answer::Done), (S::Sent, R::Taken, None));
    assert_eq!(after(sending(), &unknown()), (S::InDoubt, R::OutcomeUnknown, Some(30_000)));
    let limited =
        Answer::NotDone { why: NotDone::RateLimited, retry_after: Some(Span::from_secs(7)) };
    assert_eq!(after(sending(), &limited), (S::Queued, R::TryAgain, Some(7_000)));
    assert_eq!(after(sending(), &not_done(NotDone::TooLate)), (S::Queued, R::TryAgain, Some(0)));
    assert_eq!(
        after(sending(), &not_done(NotDone::Unauthorized)),
        (S::Queued, R::TryAgain, Some(500))
    );
    // A refusal without words may mean that the line has no bot hook.
    assert_eq!(after(sending(), &refusal(403, "")), (S::Queued, R::HookMissing, Some(0)));
    let again = Outgoing { rehook: Rehook::Done, ..sending() };
    assert_eq!(after(again, &refusal(403, "")), (S::Rejected, R::Refused, None));
    let as_specialist = Outgoing { mode: SendMode::Specialist, ..sending() };
    assert_eq!(after(as_specialist, &refusal(403, "")), (S::Rejected, R::Refused, None));
    let no_subscriber = refusal(403, "User is not a subscriber or never been online");
    assert_eq!(after(sending(), &no_subscriber), (S::Rejected, R::Refused, None));
    assert_eq!(after(sending(), &refusal(400, "")), (S::Rejected, R::Refused, None));
    // The answer to a call in doubt is still its answer; another doubt is no news.
    let doubtful = || text(1, S::InDoubt);
    assert_eq!(after(doubtful(), &Answer::Done), (S::Sent, R::Taken, None));
    assert_eq!(after(doubtful(), &unknown()), (S::InDoubt, R::Accepted, None));
    // What an event was faster to tell stands.
    for state in [S::Sent, S::Cancelled, S::Rejected] {
        assert_eq!(after(text(1, state), &refusal(400, "")), (state, R::Accepted, None));
    }
}

#[test]
fn what_does_no_harm_twice_is_never_in_doubt() {
    let mut one = of_treatment(OutgoingKind::Assign, OutgoingState::Sending);
    for tries in 1..=HARMLESS_REPEATS_MAX {
        one.state = OutgoingState::Sending;
        conclude(&mut one, &unknown(), DOUBT, at(0));
        let is_last = tries == HARMLESS_REPEATS_MAX;
        let expected = if is_last { OutgoingState::Rejected } else { OutgoingState::Queued };
        assert_eq!(one.state, expected, "after {tries} tries");
    }
}

/// What became of these after the events of a story, with the echo each has.
fn told(sent: impl IntoIterator<Item = Outgoing>, story: &str) -> String {
    let mut chat: BTreeMap<i64, Outgoing> = sent.into_iter().map(|one| (one.seq, one)).collect();
    for (place, words) in story.split('|').enumerate() {
        let event = event(words, place);
        hear(&mut chat, &event, at(3_600));
    }
    let one = |one: &Outgoing| format!("{} {}", one.state, one.echo.as_deref().unwrap_or("-"));
    chat.values().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_message_that_comes_back_is_sent_whatever_was_known_of_it() {
    use OutgoingState as S;
    let echo = "@1 1s T1 m=a says=hello";
    for state in [S::Sending, S::InDoubt, S::Sent, S::Queued] {
        assert_eq!(told([text(1, state)], echo), "sent a", "{state}");
        // Both kinds of hook deliver it.
        assert_eq!(told([text(1, state)], &format!("{echo} | {echo} bot")), "sent a", "{state}");
        assert_eq!(told([text(1, state)], "@1 1- T1 m=a says=hello"), "sent a", "the bot");
    }
    for state in [S::Cancelled, S::Rejected] {
        assert_eq!(told([text(1, state)], echo), format!("{state} -"));
    }
    let not_called = Outgoing { fence: 0, claimed_at: None, ..text(1, S::Queued) };
    assert_eq!(told([not_called], echo), "queued -");
}

#[test]
fn what_another_said_is_no_echo() {
    let doubtful = || text(1, OutgoingState::InDoubt);
    for story in [
        "@1 1u T1 m=a says=hello",
        "@1 1s T1 m=a says=hallo",
        "@1 1s T1 m=a",
        "@1 1s T1 L2 m=a says=hello",
        "@1 1s T1 U2 m=a says=hello",
        "@1 80s T1 m=a says=hello",
        "@1 70s T1 m=a says=hello",
        // Long before it was sent.
        "@-61 1s T1 m=a says=hello",
    ] {
        assert_eq!(told([doubtful()], story), "in_doubt -", "{story}");
    }
    let by_other = Outgoing { author: Some("S9".into()), ..doubtful() };
    assert_eq!(told([by_other], "@1 1s T1 m=a says=hello"), "in_doubt -");
    let long_ago = Outgoing { claimed_at: Some(at(-601)), ..text(1, OutgoingState::Sent) };
    assert_eq!(told([long_ago], "@1 1s T1 m=a says=hello"), "sent -");
}

#[test]
fn of_two_messages_with_the_same_words_the_older_came_back_first() {
    use OutgoingState as S;
    let pair = || [text(1, S::Sent), text(2, S::InDoubt)];
    assert_eq!(told(pair(), "@1 1s T1 m=a says=hello"), "sent a, in_doubt -");
    let twice = "@1 1s T1 m=a says=hello | @1 1s T1 m=a says=hello bot | @2 1s T1 m=b says=hello";
    assert_eq!(told(pair(), twice), "sent a, sent b");
}

#[test]
fn blanks_that_change_on_the_way_do_not_matter() {
    let words = Some("hello\r\n  world \n".to_owned());
    let one = Outgoing { text: words, ..text(1, OutgoingState::InDoubt) };
    let mut chat = BTreeMap::from([(1, one)]);
    let mut echo = event("@1 1s T1 m=a", 0);
    echo.text = Some("hello\nworld".to_owned());
    hear(&mut chat, &echo, at(2));
    assert_eq!(chat[&1].state, OutgoingState::Sent);
}

#[test]
fn silence_proves_a_message_absent_only_where_echoes_come_and_after_the_repeats() {
    use OutgoingReason as R;
    use OutgoingState as S;
    let settled = |one: &Outgoing, echoes_come, now| {
        let mut one = one.clone();
        settle_by_silence(&mut one, echoes_come, DOUBT, at(now));
        (one.state, one.reason, one.due_at)
    };
    let doubtful = Outgoing { due_at: at(30), ..text(1, S::InDoubt) };
    // Not due yet; the platform may repeat for four times the wait; then it is proven.
    assert_eq!(settled(&doubtful, true, 29), (S::InDoubt, R::Accepted, at(30)));
    assert_eq!(settled(&doubtful, true, 30), (S::InDoubt, R::Accepted, at(120)));
    let later = Outgoing { due_at: at(120), ..doubtful };
    assert_eq!(settled(&later, true, 120), (S::Queued, R::ProvenAbsent, at(120)));
    // No echo was ever seen there: its absence says nothing.
    assert_eq!(settled(&later, false, 120), (S::InDoubt, R::NeedsPerson, Time::NEVER));
    // Events may have been lost for good while nobody could hear.
    let deaf = Outgoing { proof_at: Some(Time::NEVER), ..later.clone() };
    assert_eq!(settled(&deaf, true, 120), (S::InDoubt, R::NeedsPerson, Time::NEVER));
    let away = Outgoing { proof_at: Some(at(300)), ..later };
    assert_eq!(settled(&away, true, 120), (S::InDoubt, R::Accepted, at(300)));
}

#[test]
fn what_needs_a_person_does_not_hold_the_others_up() {
    let mut one = Outgoing { due_at: at(30), ..text(1, OutgoingState::InDoubt) };
    assert!(one.holds_turn());
    settle_by_silence(&mut one, false, DOUBT, at(30));
    assert!(one.needs_person() && !one.holds_turn());
}

fn treatments(end: Option<EndKind>) -> Treatments {
    let mut treatments = Treatments::default();
    let sign = Sign {
        line: "L1".into(),
        user: "U1".into(),
        at: at(0),
        initialized_at: None,
        opener: Opener::User,
        heard_at: at(0),
    };
    treatments.touch(&"T1".into(), &sign);
    if let Some(end) = end {
        let sign = Sign { at: at(10), heard_at: at(10), ..sign };
        treatments.end(&"T1".into(), &sign, end, None);
    }
    treatments
}

#[test]
fn the_end_of_a_treatment_settles_what_was_to_become_of_it() {
    use OutgoingKind as K;
    use OutgoingState as S;
    let settled = |kind, state, fence, end| {
        let mut chat = BTreeMap::from([(1, Outgoing { fence, ..of_treatment(kind, state) })]);
        settle_by_treatments(&mut chat, &treatments(end), at(20));
        chat[&1].state
    };
    let (closed, moved) = (Some(EndKind::Closed), Some(EndKind::Moved));
    for state in [S::Sending, S::InDoubt] {
        assert_eq!(settled(K::Close, state, 1, closed), S::Sent);
        assert_eq!(settled(K::Transfer, state, 1, moved), S::Sent);
        assert_eq!(settled(K::Transfer, state, 1, closed), S::Rejected);
        assert_eq!(settled(K::Assign, state, 1, closed), S::Rejected);
        assert_eq!(settled(K::Close, state, 1, None), state);
    }
    // Somebody else was faster than the first call.
    assert_eq!(settled(K::Close, S::Queued, 0, closed), S::Rejected);
    assert_eq!(settled(K::Close, S::Queued, 1, closed), S::Sent);
    // Messages do not end with their treatment.
    assert_eq!(settled(K::Text, S::Queued, 0, closed), S::Queued);
    assert_eq!(settled(K::Close, S::Sent, 1, closed), S::Sent);
}

#[test]
fn a_look_that_shows_the_treatment_proves_a_close_undone_once_it_could_have_been_done() {
    let look = |due, requested| {
        let doubtful = of_treatment(OutgoingKind::Close, OutgoingState::InDoubt);
        let mut one = Outgoing { due_at: at(due), ..doubtful };
        settle_by_look(&mut one, DOUBT, at(requested), at(requested + 1));
        (one.state, one.due_at)
    };
    assert_eq!(look(30, 29), (OutgoingState::InDoubt, at(30)));
    assert_eq!(look(30, 30), (OutgoingState::Queued, at(31)));
    // The platform may still be at work on the call.
    assert_eq!(look(5, 20), (OutgoingState::InDoubt, at(51)));
}

#[test]
fn what_a_person_may_do_depends_on_where_it_is() {
    use OutgoingCommand as C;
    use OutgoingState as S;
    let done = |state, what| {
        let mut one = text(1, state);
        command(&mut one, what, "because", at(9)).map(|()| one.state)
    };
    for (state, cancel, retry) in [
        (S::Queued, Ok(S::Cancelled), Ok(S::Queued)),
        (S::InDoubt, Ok(S::Cancelled), Ok(S::Queued)),
        (S::Rejected, Ok(S::Cancelled), Ok(S::Queued)),
        (S::Cancelled, Ok(S::Cancelled), Err("in_doubt or rejected")),
        (S::Sent, Err("queued, in_doubt or rejected"), Err("in_doubt or rejected")),
    ] {
        for (what, expected) in [(C::Cancel, cancel), (C::Retry, retry)] {
            let refused = |error: OutgoingCommandRefused| match error {
                OutgoingCommandRefused::WrongState { allowed, .. } => allowed,
                OutgoingCommandRefused::BeingSent => "being sent",
            };
            assert_eq!(done(state, what).map_err(refused), expected, "{state} {what:?}");
        }
    }
    assert_eq!(done(S::Sending, C::Cancel), Err(OutgoingCommandRefused::BeingSent));
}

#[test]
fn nobody_reads_a_text_in_the_log() {
    let shown = format!("{:?}", text(1, OutgoingState::Queued));
    assert!(!shown.contains("hello"), "{shown}");
}
