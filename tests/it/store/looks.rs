//! Looks at the platform: what is open on a line, and what that says about a doubt.

use freeline::core::line::LineState;
use freeline::core::occupancy::Listed;
use freeline::core::outcome::Answer;
use freeline::core::payment::PaymentState;
use freeline::core::time::Span;
use freeline::core::treatment::{EndKind, Opener};
use freeline::store::Store;

use crate::support::build::{NOW, at, directory, line, payment};
use crate::support::event::{close, text};
use crate::support::on_both_engines;
use crate::support::steps::{
    answered, dispatch, furnish, hear, line_state, pairs, report, sending, state, timeline,
    treatment, unknown,
};

fn listed(treatment: &str, user: &str, seconds: i64) -> Listed {
    Listed { treatment: treatment.into(), user: user.into(), initialized_at: Some(at(seconds)) }
}

async fn due(store: &dyn Store, seconds: i64) -> Vec<String> {
    let lines = store.lines_to_look_at(at(seconds), 100).await.unwrap();
    lines.into_iter().map(|line| line.as_str().to_owned()).collect()
}

on_both_engines! {
    async fn a_line_is_known_only_by_a_look_asked_for_after_its_hooks_were_set(db) {
        let store = db.open().await;
        store.replace_directory(&directory([line("a", "anna")]), NOW).await.unwrap();
        assert_eq!(due(&*store, 9_999).await, [""; 0]);
        store.record_look(&"a".into(), &[], at(1), at(1)).await.unwrap();
        assert_eq!(report(&*store, "a").await.known_at, None);
        assert!(store.record_hooked(&"a".into(), true, at(5)).await.unwrap());
        assert_eq!(due(&*store, 5).await, ["a"]);
        store.record_look(&"a".into(), &[], at(4), at(6)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Unknown);
        assert_eq!(due(&*store, 6).await, ["a"]);
        store.record_look(&"a".into(), &[], at(7), at(8)).await.unwrap();
        let known = report(&*store, "a").await;
        assert_eq!(
            (known.state, known.known_at, known.since),
            (LineState::Free, Some(at(7)), at(8))
        );
        assert_eq!(due(&*store, 9_999).await, [""; 0]);
    }

    async fn a_look_adds_what_was_not_known_and_ends_what_is_no_longer_listed(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), at(-5))], at(-5)).await;
        store.record_look(&"a".into(), &[listed("t2", "u2", -50)], NOW, at(1)).await.unwrap();
        assert_eq!(
            treatment(&*store, "t1").await.ended.map(|(_, kind)| kind),
            Some(EndKind::NotListed)
        );
        let found = treatment(&*store, "t2").await;
        assert_eq!((found.opened_at, found.opener, found.ended), (at(-50), Opener::Unknown, None));
        assert_eq!(line_state(&*store, "a").await, LineState::Busy);
    }

    async fn a_look_says_nothing_about_what_was_heard_after_it_was_asked_for(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), at(1))], at(2)).await;
        hear(&*store, &[close("m2", ("a", "u2", "t2"), at(1))], at(2)).await;
        store.record_look(&"a".into(), &[listed("t2", "u2", -50)], at(1), at(3)).await.unwrap();
        assert_eq!(treatment(&*store, "t1").await.ended, None);
        assert!(treatment(&*store, "t2").await.ended.is_some());
    }

    async fn a_look_that_contradicts_what_was_heard_meanwhile_is_repeated(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), NOW)], at(1)).await;
        store.record_look(&"a".into(), &[], NOW, at(2)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Busy);
        assert_eq!(due(&*store, 71).await, [""; 0]);
        assert_eq!(due(&*store, 72).await, ["a"]);
        store.record_look(&"a".into(), &[], at(72), at(73)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
        assert_eq!(due(&*store, 9_999).await, [""; 0]);
    }

    async fn a_look_that_was_not_answered_is_put_off_longer_each_time(db) {
        let store = db.open().await;
        store.replace_directory(&directory([line("a", "anna")]), NOW).await.unwrap();
        store.record_hooked(&"a".into(), true, NOW).await.unwrap();
        let mut now = 0;
        for wait in [1, 2, 4, 4, 4] {
            assert_eq!(due(&*store, now).await, ["a"]);
            store.postpone_look(&"a".into(), at(now)).await.unwrap();
            assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(now + wait)));
            assert_eq!(due(&*store, now + wait - 1).await, [""; 0]);
            now += wait;
        }
        store.record_look(&"a".into(), &[], at(now), at(now)).await.unwrap();
        store.forget_occupancy(Span::ZERO, at(now)).await.unwrap();
        store.postpone_look(&"a".into(), at(now)).await.unwrap();
        assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(now + 1)));
    }

    async fn a_doubts_look_that_was_not_answered_is_put_off(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), NOW).await;
        assert_eq!(due(&*store, 30).await, ["a"]);
        store.postpone_look(&"a".into(), at(30)).await.unwrap();
        assert_eq!(due(&*store, 30).await, [""; 0]);
        assert_eq!(due(&*store, 31).await, ["a"]);
        assert_eq!(line_state(&*store, "a").await, LineState::Reserved);
    }

    async fn a_look_proves_that_a_message_did_not_arrive(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), NOW).await;
        // Too early: the message may still be on its way.
        store.record_look(&"a".into(), &[], at(29), at(29)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::InDoubt);
        store.record_look(&"a".into(), &[], at(30), at(31)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        assert_eq!(dispatch(&*store, at(31)).await, pairs(&[(1, "a")]));
    }

    async fn a_look_that_finds_a_treatment_of_the_doubts_user_settles_it(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), NOW).await;
        let found = [listed("t", "user-1", 1)];
        store.record_look(&"a".into(), &found, at(30), at(31)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Dispatched);
        assert!(timeline(&*store, "payment-1").await.contains(&"found_by_look"));
        assert_eq!(report(&*store, "a").await.treatments[0].payment, Some("payment-1".into()));
    }

    async fn a_close_heard_since_the_call_leaves_the_doubt_to_a_person(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        // The user was here before; of what our message may have opened only the end is heard.
        let before = ("a", "user-1", "old");
        hear(&*store, &[text("m1", before, at(-900)), close("m2", before, at(-800))], at(-800))
            .await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), NOW).await;
        hear(&*store, &[close("m3", ("a", "user-1", "new"), at(5))], at(6)).await;
        store.record_look(&"a".into(), &[], at(30), at(31)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::InDoubt, "never sent twice");
        assert_eq!(timeline(&*store, "payment-1").await.last(), Some(&"look_inconclusive"));
    }

    async fn a_message_whose_treatment_never_shows_is_closed_by_a_look(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, Answer::Done, NOW).await;
        assert_eq!(due(&*store, 119).await, [""; 0]);
        assert_eq!(due(&*store, 120).await, ["a"]);
        store.record_look(&"a".into(), &[], at(120), at(121)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Closed);
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
    }

    async fn forgetting_makes_every_line_unknown_until_it_is_looked_at_anew(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        store.put_line(&line("c", "anna"), NOW).await.unwrap();
        store.forget_occupancy(Span::ZERO, at(10)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Unknown);
        assert_eq!(due(&*store, 10).await, ["a", "b"], "without hooks a look is of no use");
        // A look that was asked for before cannot tell of what was missed.
        store.record_look(&"a".into(), &[], at(9), at(11)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Unknown);
        store.record_look(&"a".into(), &[], at(11), at(12)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
        assert_eq!(due(&*store, 12).await, ["b"]);
    }

    async fn no_more_lines_are_named_than_asked_for(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b", "c"].map(|id| line(id, "anna"))).await;
        store.forget_occupancy(Span::ZERO, NOW).await.unwrap();
        assert_eq!(store.lines_to_look_at(NOW, 2).await.unwrap(), ["a".into(), "b".into()]);
    }

    async fn a_line_is_due_for_a_look_when_what_is_open_on_it_was_silent_for_long(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let (chat, other) = (("a", "u1", "t1"), ("a", "u2", "t2"));
        hear(&*store, &[text("m1", chat, NOW)], NOW).await;
        hear(&*store, &[text("m2", other, at(600))], at(600)).await;
        let due_at = async |seconds: i64| {
            let expected = Some(at(seconds));
            assert_eq!(store.next_due().await.unwrap().reconciler, expected);
            assert_eq!(due(&*store, seconds - 1).await, [""; 0]);
            assert_eq!(due(&*store, seconds).await, ["a"]);
        };
        // The other one's words do not count for it.
        due_at(7_200).await;
        let both = [listed("t1", "u1", 0), listed("t2", "u2", 600)];
        store.record_look(&"a".into(), &both, at(7_200), at(7_201)).await.unwrap();
        due_at(7_200 + 14_400).await;
        assert_eq!(report(&*store, "a").await.signs.looks, 1);
        // A look that fails is put off as ever, and a sign of life takes that back.
        store.postpone_look(&"a".into(), at(21_600)).await.unwrap();
        due_at(21_601).await;
        hear(&*store, &[text("m3", other, at(21_600))], at(21_600)).await;
        due_at(21_601).await;
        hear(&*store, &[text("m4", chat, at(21_610))], at(21_610)).await;
        due_at(21_600 + 7_200).await;
        hear(&*store, &[close("m5", chat, at(21_620)), close("m6", other, at(21_620))], at(21_620))
            .await;
        assert_eq!(store.next_due().await.unwrap().reconciler, None, "nothing is open");
        assert_eq!(report(&*store, "a").await.signs.heard_at, Some(at(21_620)));
        assert_eq!(report(&*store, "b").await.signs.heard_at, None);
    }

    async fn a_doubts_look_put_off_leaves_the_plan_for_a_silence_alone(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), NOW)], NOW).await;
        store.postpone_look(&"a".into(), at(30)).await.unwrap();
        assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(7_200)));
    }

    async fn a_line_that_becomes_unknown_begins_its_watch_anew_with_its_first_look(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u1", "t1"), NOW)], NOW).await;
        store.forget_occupancy(Span::ZERO, at(50_000)).await.unwrap();
        assert_eq!(due(&*store, 50_000).await, ["a"]);
        hear(&*store, &[text("m2", ("a", "u1", "t1"), at(50_001))], at(50_001)).await;
        assert_eq!(due(&*store, 50_001).await, ["a"], "its first look is still wanted");
        let found = [listed("t1", "u1", 0)];
        store.record_look(&"a".into(), &found, at(50_002), at(50_003)).await.unwrap();
        assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(50_002 + 7_200)));
    }
}
