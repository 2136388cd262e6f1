//! What is sent into chats: once, in order, one call at a time into each chat.

use std::collections::BTreeMap;
use std::sync::Arc;

use freeline::core::dispatch::{Rehook, SendMode};
use freeline::core::keyboard::{Button, Keyboard};
use freeline::core::outcome::Answer;
use freeline::core::outgoing::{OutgoingCommand, OutgoingKind, OutgoingReason, OutgoingState};
use freeline::core::time::{Span, Time};
use freeline::store::{AddedOutgoing, ClaimedOutgoing, NewOutgoing, OutgoingFilter, Store, bounds};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, line};
use crate::support::event::{answer, close, text};
use crate::support::on_both_engines;
use crate::support::steps::{furnish, hear, unknown};

/// A text for one of the chats on line `a`.
fn message(n: u64, user: &str) -> NewOutgoing {
    NewOutgoing {
        id: format!("message-{n}").into(),
        key: Some(format!("key-{n}")),
        content: format!("content {n}"),
        kind: OutgoingKind::Text,
        line: "a".into(),
        user: user.into(),
        author: None,
        mode: SendMode::Bot,
        text: Some(format!("text {n}")),
        keyboard: None,
        notification_only: false,
        general_settings: true,
        file: None,
        treatment: None,
        to_line: None,
        specialist: None,
        or_any: false,
    }
}

fn of_treatment(n: u64, kind: OutgoingKind, content: &str) -> NewOutgoing {
    NewOutgoing {
        key: None,
        content: content.to_owned(),
        kind,
        text: None,
        treatment: Some("t1".into()),
        to_line: (kind == OutgoingKind::Transfer).then(|| "b".into()),
        ..message(n, "u1")
    }
}

async fn add(store: &dyn Store, new: NewOutgoing) -> AddedOutgoing {
    store.add_outgoing(&new, NOW).await.unwrap()
}

async fn claim(store: &dyn Store, now: Time) -> Option<ClaimedOutgoing> {
    store.claim_outgoing("me", now, now.plus(bounds::CLAIM_LEASE)).await.unwrap()
}

async fn claimed(store: &dyn Store, now: Time) -> String {
    claim(store, now).await.map_or_else(|| "-".to_owned(), |one| one.given.id.to_string())
}

async fn answered(store: &dyn Store, claim: &ClaimedOutgoing, answer: Answer, now: Time) {
    assert!(store.record_outgoing_answer(claim.seq, claim.fence, &answer, now).await.unwrap());
}

async fn state(store: &dyn Store, n: u64) -> (OutgoingState, OutgoingReason) {
    let id = format!("message-{n}").into();
    let now = store.outgoing(&id).await.unwrap().expect("it is there").now;
    (now.state, now.reason)
}

on_both_engines! {
    async fn what_came_in_comes_out_as_it_was(db) {
        let store = db.open().await;
        let button = |id: Option<&str>, text: &str| Button {
            id: id.map(str::to_owned),
            text: text.to_owned(),
        };
        let rows = vec![vec![button(Some("1"), "Да"), button(None, "Нет")], vec![button(None, "?")]];
        let new = NewOutgoing {
            author: Some("s1".into()),
            keyboard: Some(Keyboard(rows)),
            notification_only: true,
            ..message(1, "u1")
        };
        assert_eq!(add(&*store, new.clone()).await, AddedOutgoing::New);
        let record = store.outgoing(&new.id).await.unwrap().unwrap();
        assert_eq!((record.given, record.created_at), (new.clone(), NOW));
        let one = claim(&*store, at(1)).await.unwrap();
        assert_eq!((one.given, one.rehook), (new, Rehook::No));
    }

    async fn a_key_is_one_message(db) {
        let store = db.open().await;
        assert_eq!(add(&*store, message(1, "u1")).await, AddedOutgoing::New);
        let again = NewOutgoing { id: "other".into(), ..message(1, "u1") };
        let first = "message-1".into();
        assert_eq!(add(&*store, again.clone()).await, AddedOutgoing::Same(first));
        let differs = NewOutgoing { content: "another".to_owned(), ..again };
        assert_eq!(add(&*store, differs).await, AddedOutgoing::Conflict("message-1".into()));
    }

    async fn messages_of_a_chat_leave_one_after_the_other(db) {
        let store = db.open().await;
        for (n, user) in [(1, "u1"), (2, "u1"), (3, "u2"), (4, "u1")] {
            add(&*store, message(n, user)).await;
        }
        let first = claim(&*store, at(1)).await.unwrap();
        assert_eq!(first.given.id.as_str(), "message-1");
        assert_eq!(claimed(&*store, at(1)).await, "message-3", "another chat does not wait");
        assert_eq!(claimed(&*store, at(1)).await, "-");
        // What was not taken keeps its turn.
        let busy = Answer::NotDone {
            why: freeline::core::outcome::NotDone::RateLimited,
            retry_after: Some(Span::from_secs(5)),
        };
        answered(&*store, &first, busy, at(2)).await;
        assert_eq!(claimed(&*store, at(6)).await, "-");
        let first = claim(&*store, at(7)).await.unwrap();
        assert_eq!((first.given.id.as_str(), first.fence), ("message-1", 2));
        answered(&*store, &first, Answer::Done, at(8)).await;
        assert_eq!(claimed(&*store, at(8)).await, "message-2");
    }

    async fn a_doubt_holds_the_chat_until_a_person_has_to_say(db) {
        let store = db.open().await;
        for n in [1, 2] {
            add(&*store, message(n, "u1")).await;
        }
        let first = claim(&*store, at(1)).await.unwrap();
        answered(&*store, &first, unknown(), at(2)).await;
        assert_eq!(claimed(&*store, at(3)).await, "-");
        assert_eq!(store.settle_outgoing(at(20)).await.unwrap(), 0, "its echo may come");
        // No message was ever seen to come back: silence proves nothing.
        assert_eq!(store.settle_outgoing(at(40)).await.unwrap(), 1);
        assert_eq!(state(&*store, 1).await, (OutgoingState::InDoubt, OutgoingReason::NeedsPerson));
        assert_eq!(store.settle_outgoing(at(40)).await.unwrap(), 0);
        let second = claim(&*store, at(41)).await.unwrap();
        assert_eq!(second.given.id.as_str(), "message-2");
        // Whoever has looked into the chat may send it again: it waits for the call under way.
        let id = "message-1".into();
        let retry = OutgoingCommand::Retry;
        store.command_outgoing(&id, retry, "it is not there", at(42)).await.unwrap().unwrap().unwrap();
        assert_eq!(claimed(&*store, at(43)).await, "-");
        answered(&*store, &second, Answer::Done, at(44)).await;
        assert_eq!(claimed(&*store, at(45)).await, "message-1");
    }

    async fn what_is_sent_again_by_a_person_comes_before_what_came_in_later(db) {
        let store = db.open().await;
        for n in [1, 2] {
            add(&*store, message(n, "u1")).await;
        }
        let first = claim(&*store, at(1)).await.unwrap();
        let refusal = Answer::Refused { status: 400, text: String::new() };
        answered(&*store, &first, refusal, at(2)).await;
        assert_eq!(state(&*store, 1).await, (OutgoingState::Rejected, OutgoingReason::Refused));
        let id = "message-1".into();
        let retry = OutgoingCommand::Retry;
        store.command_outgoing(&id, retry, "again", at(3)).await.unwrap().unwrap().unwrap();
        assert_eq!(claimed(&*store, at(4)).await, "message-1");
        assert_eq!(claimed(&*store, at(4)).await, "-");
    }

    async fn silence_proves_a_message_absent_once_another_was_heard_to_come_back(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        for (n, user) in [(1, "u1"), (2, "u2")] {
            add(&*store, message(n, user)).await;
        }
        let lost = claim(&*store, at(1)).await.unwrap();
        let taken = claim(&*store, at(1)).await.unwrap();
        answered(&*store, &lost, unknown(), at(2)).await;
        answered(&*store, &taken, Answer::Done, at(2)).await;
        hear(&*store, &[answer("m1", ("a", "u2", "t2"), "text 2", at(2))], at(3)).await;
        let seen = store.outgoing(&"message-2".into()).await.unwrap().unwrap().now;
        assert_eq!((seen.state, seen.reason), (OutgoingState::Sent, OutgoingReason::EchoSeen));
        assert_eq!(seen.treatment, Some("t2".into()));
        // The platform repeats what it could not deliver for a while.
        store.settle_outgoing(at(40)).await.unwrap();
        assert_eq!(state(&*store, 1).await.0, OutgoingState::InDoubt);
        store.settle_outgoing(at(122)).await.unwrap();
        assert_eq!(state(&*store, 1).await, (OutgoingState::Queued, OutgoingReason::ProvenAbsent));
        assert_eq!(claim(&*store, at(123)).await.unwrap().fence, 2);
    }

    async fn after_a_time_without_hearing_silence_proves_nothing(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        for (n, user) in [(1, "u1"), (2, "u2")] {
            add(&*store, message(n, user)).await;
        }
        let lost = claim(&*store, at(1)).await.unwrap();
        let taken = claim(&*store, at(1)).await.unwrap();
        answered(&*store, &lost, unknown(), at(2)).await;
        answered(&*store, &taken, Answer::Done, at(2)).await;
        hear(&*store, &[answer("m1", ("a", "u2", "t2"), "text 2", at(2))], at(3)).await;
        store.forget_occupancy(Span::from_secs(600), at(610)).await.unwrap();
        store.record_hooked(&"a".into(), true, at(610)).await.unwrap();
        store.settle_outgoing(at(700)).await.unwrap();
        assert_eq!(state(&*store, 1).await, (OutgoingState::InDoubt, OutgoingReason::NeedsPerson));
    }

    async fn an_echo_settles_a_doubt_and_gives_the_turn_on(db) {
        let store = db.open().await;
        for n in [1, 2] {
            add(&*store, message(n, "u1")).await;
        }
        let first = claim(&*store, at(1)).await.unwrap();
        answered(&*store, &first, unknown(), at(2)).await;
        let echo = answer("m1", ("a", "u1", "t1"), "text 1", at(2));
        hear(&*store, &[echo], at(3)).await;
        assert_eq!(state(&*store, 1).await, (OutgoingState::Sent, OutgoingReason::EchoSeen));
        assert_eq!(claimed(&*store, at(4)).await, "message-2");
    }

    async fn a_claim_that_runs_out_is_in_doubt_and_its_late_answer_still_counts(db) {
        let store = db.open().await;
        add(&*store, message(1, "u1")).await;
        let one = claim(&*store, at(1)).await.unwrap();
        assert_eq!(store.expire_outgoing(at(2), None).await.unwrap(), 0);
        assert_eq!(store.expire_outgoing(one.lease_until, None).await.unwrap(), 1);
        assert_eq!(
            state(&*store, 1).await,
            (OutgoingState::InDoubt, OutgoingReason::OutcomeUnknown)
        );
        answered(&*store, &one, Answer::Done, at(30)).await;
        assert_eq!(state(&*store, 1).await.0, OutgoingState::Sent);
        let stale = store.record_outgoing_answer(one.seq, one.fence - 1, &unknown(), at(31)).await;
        assert!(!stale.unwrap());
    }

    async fn the_only_process_need_not_wait_for_the_claims_of_its_predecessor(db) {
        let store = db.open().await;
        add(&*store, message(1, "u1")).await;
        claim(&*store, at(1)).await.unwrap();
        assert_eq!(store.expire_outgoing(at(2), Some("me")).await.unwrap(), 0);
        assert_eq!(store.expire_outgoing(at(2), Some("another")).await.unwrap(), 1);
    }

    async fn claimers_at_once_never_call_into_one_chat_at_once(db) {
        let stores = db.open_twice().await;
        for n in 0..60 {
            add(&*stores[0], message(n, &format!("u{}", n % 7))).await;
        }
        let mut tasks = JoinSet::new();
        for task in 0..6_usize {
            let store = Arc::clone(&stores[task % 2]);
            tasks.spawn(async move {
                let owner = format!("owner-{task}");
                let mut mine = Vec::new();
                while let Some(one) = store.claim_outgoing(&owner, NOW, at(15)).await.unwrap() {
                    answered(&*store, &one, Answer::Done, NOW).await;
                    mine.push((one.given.user.to_string(), one.seq, one.fence));
                }
                mine
            });
        }
        let mut sent: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut calls = 0;
        while let Some(mine) = tasks.join_next().await {
            for (user, seq, fence) in mine.unwrap() {
                assert_eq!(fence, 1);
                calls += 1;
                sent.entry(user).or_default().push(seq);
            }
        }
        // A lane may find another's chat busy and stop; what is left is sent by whoever looks next.
        while let Some(one) = claim(&*stores[0], NOW).await {
            answered(&*stores[0], &one, Answer::Done, NOW).await;
            calls += 1;
        }
        assert_eq!(calls, 60);
    }

    async fn a_close_is_done_when_the_treatment_is_seen_to_end(db) {
        let store = db.open().await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), NOW)], NOW).await;
        let new = of_treatment(1, OutgoingKind::Close, "close");
        assert_eq!(add(&*store, new).await, AddedOutgoing::New);
        let again = of_treatment(2, OutgoingKind::Close, "close");
        assert_eq!(add(&*store, again.clone()).await, AddedOutgoing::Same("message-1".into()));
        let one = claim(&*store, at(1)).await.unwrap();
        answered(&*store, &one, unknown(), at(2)).await;
        hear(&*store, &[close("m2", ("a", "u1", "t1"), at(2))], at(3)).await;
        assert_eq!(state(&*store, 1).await, (OutgoingState::Sent, OutgoingReason::EffectSeen));
        // What was done is done; another would find nothing open.
        assert_eq!(add(&*store, again).await, AddedOutgoing::Same("message-1".into()));
        let other = of_treatment(3, OutgoingKind::Transfer, "transfer");
        assert_eq!(add(&*store, other).await, AddedOutgoing::TreatmentOver);
    }

    async fn a_close_that_somebody_else_made_first_is_not_called(db) {
        let store = db.open().await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), NOW)], NOW).await;
        add(&*store, of_treatment(1, OutgoingKind::Close, "close")).await;
        hear(&*store, &[close("m2", ("a", "u1", "t1"), at(2))], at(3)).await;
        assert_eq!(state(&*store, 1).await, (OutgoingState::Rejected, OutgoingReason::TreatmentOver));
        assert_eq!(claimed(&*store, at(4)).await, "-");
    }

    async fn a_doubt_about_a_close_is_settled_by_one_look_at_its_line(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), NOW)], NOW).await;
        add(&*store, of_treatment(1, OutgoingKind::Close, "close")).await;
        let one = claim(&*store, at(1)).await.unwrap();
        answered(&*store, &one, unknown(), at(2)).await;
        let looks = |now| {
            let store = Arc::clone(&store);
            async move { store.lines_to_look_at(now, 10).await.unwrap() }
        };
        assert_eq!(looks(at(31)).await, []);
        assert_eq!(looks(at(32)).await, ["a".into()]);
        let listed = [freeline::core::occupancy::Listed {
            treatment: "t1".into(),
            user: "u1".into(),
            initialized_at: Some(NOW),
        }];
        store.record_look(&"a".into(), &listed, at(32), at(33)).await.unwrap();
        assert_eq!(state(&*store, 1).await, (OutgoingState::Queued, OutgoingReason::ProvenAbsent));
        let one = claim(&*store, at(34)).await.unwrap();
        answered(&*store, &one, unknown(), at(35)).await;
        store.record_look(&"a".into(), &[], at(200), at(201)).await.unwrap();
        assert_eq!(state(&*store, 1).await, (OutgoingState::Sent, OutgoingReason::EffectSeen));
    }

    async fn in_specialist_mode_the_specialist_of_the_lines_manager_writes(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let new = NewOutgoing { mode: SendMode::Specialist, ..message(1, "u1") };
        let known = store.directory().await.unwrap().managers;
        let anna = known.into_iter().find(|one| one.id.as_str() == "anna").unwrap();
        let nobody = freeline::store::Manager { specialist: None, ..anna.clone() };
        store.put_manager(&nobody, NOW).await.unwrap();
        assert_eq!(add(&*store, new.clone()).await, AddedOutgoing::NoAuthor);
        let someone = freeline::store::Manager { specialist: Some("s1".into()), ..anna };
        store.put_manager(&someone, NOW).await.unwrap();
        assert_eq!(add(&*store, new).await, AddedOutgoing::New);
        assert_eq!(claim(&*store, NOW).await.unwrap().given.author, Some("s1".into()));
    }

    async fn lists_show_the_newest_first_and_only_what_was_asked_for(db) {
        let store = db.open().await;
        for n in 1..=3 {
            store.add_outgoing(&message(n, &format!("u{n}")), at(i64::try_from(n).unwrap())).await.unwrap();
        }
        let ids = |filter: OutgoingFilter| {
            let store = Arc::clone(&store);
            async move {
                let found = store.list_outgoing(&filter).await.unwrap();
                found.iter().map(|one| one.given.id.to_string()).collect::<Vec<_>>()
            }
        };
        let all = OutgoingFilter { messages: true, limit: 9, ..OutgoingFilter::default() };
        assert_eq!(ids(all.clone()).await, ["message-3", "message-2", "message-1"]);
        let of_user = OutgoingFilter { user: Some("u2".into()), ..all.clone() };
        assert_eq!(ids(of_user).await, ["message-2"]);
        let by_key = OutgoingFilter { key: Some("key-1".to_owned()), ..all.clone() };
        assert_eq!(ids(by_key).await, ["message-1"]);
        let sent = OutgoingFilter { state: Some(OutgoingState::Sent), ..all.clone() };
        assert!(ids(sent).await.is_empty());
        assert!(ids(OutgoingFilter { messages: false, ..all }).await.is_empty());
    }
}
