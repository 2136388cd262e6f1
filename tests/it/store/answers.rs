//! What follows from the platform's answers and from the echoes of our messages.

use freeline::core::dispatch::{Policy, Rehook, SendMode};
use freeline::core::line::LineState;
use freeline::core::outcome::{Answer, NotDone};
use freeline::core::payment::PaymentState;
use freeline::core::time::Span;
use freeline::store::Rules;
use serde_json::json;

use crate::support::build::{NOW, at, line, payment};
use crate::support::database::rules;
use crate::support::event::{answer, text, with};
use crate::support::on_both_engines;
use crate::support::steps::{
    answered, claim, claim_one, details, dispatch, furnish, hear, line_state, pairs, refused,
    report, sending, state, timeline, unknown,
};

on_both_engines! {
    async fn done_means_dispatched_and_the_line_stays_set_aside(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, Answer::Done, at(1)).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.dispatched_at), (PaymentState::Dispatched, Some(at(1))));
        assert_eq!((found.line, found.attempts), (Some("a".into()), 1));
        assert_eq!(
            timeline(&*store, "payment-1").await,
            ["queued", "line_reserved", "message_taken"]
        );
        assert_eq!(line_state(&*store, "a").await, LineState::Reserved);
        assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(121)));
    }

    async fn a_call_that_was_surely_not_made_is_made_again_on_the_same_line(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        let down = Answer::NotDone {
            why: NotDone::NeverConnected("refused".to_owned()),
            retry_after: None,
        };
        answered(&*store, &claimed, down.clone(), NOW).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Sending);
        let half = NOW.plus(Span::from_millis(500));
        assert_eq!(store.next_due().await.unwrap().sender, Some(half));
        assert_eq!(claim(&*store, "me", NOW).await, []);
        let again = claim_one(&*store, half).await;
        assert_eq!(again.line.as_str(), "a");
        answered(&*store, &again, down, half).await;
        assert_eq!(store.next_due().await.unwrap().sender, Some(half.plus(Span::from_secs(1))));
        let expected = ["queued", "line_reserved", "try_again"];
        assert_eq!(timeline(&*store, "payment-1").await, expected, "said once");
    }

    async fn the_platforms_wish_to_wait_is_respected(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        let limited =
            Answer::NotDone { why: NotDone::RateLimited, retry_after: Some(Span::from_secs(70)) };
        answered(&*store, &claimed, limited, NOW).await;
        assert_eq!(store.next_due().await.unwrap().sender, Some(at(70)));
        assert_eq!(claim(&*store, "me", at(69)).await, []);
        claim_one(&*store, at(70)).await;
    }

    async fn a_403_without_words_has_the_bot_hook_set_and_the_line_tried_once_more(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let first = sending(&*store, payment(1), NOW).await;
        answered(&*store, &first, refused(403, ""), at(1)).await;
        let second = claim_one(&*store, at(1)).await;
        assert_eq!((second.line.as_str(), second.rehook), ("a", Rehook::Wanted));
        store.record_rehook(second.id, second.fence, Rehook::Done).await.unwrap();
        answered(&*store, &second, refused(403, ""), at(2)).await;
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(1, "b")]));
    }

    async fn a_403_in_specialist_mode_is_a_refusal(db) {
        let policy = Policy { mode: SendMode::Specialist, in_doubt_after: Span::from_secs(30) };
        let author = Some("s".into());
        let store = db.open_with(Rules { policy, default_author: author, ..rules() }).await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let first = sending(&*store, payment(1), NOW).await;
        answered(&*store, &first, refused(403, ""), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
    }

    async fn an_unknown_outcome_is_in_doubt_and_keeps_its_line(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna"), line("b", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), at(1)).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!(found.state, PaymentState::InDoubt);
        assert_eq!(found.reason.words.as_deref(), Some("the answer was lost"));
        assert_eq!(line_state(&*store, "a").await, LineState::Reserved);
        assert_eq!(dispatch(&*store, at(9_999)).await, []);
        assert_eq!(claim(&*store, "me", at(9_999)).await, []);
        assert_eq!(store.lines_to_look_at(at(31), 9).await.unwrap(), ["a".into()]);
    }

    async fn the_echo_of_a_message_settles_its_doubt(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), at(1)).await;
        let words = format!("Оплата {}", claimed.about.payment.number);
        hear(&*store, &[answer("m1", ("a", "user-1", "t"), &words, at(1))], at(2)).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.treatment), (PaymentState::Dispatched, Some("t".into())));
        assert_eq!(found.dispatched_at, Some(at(2)));
        // No look for a doubt any more, only the one after a silence of what is open.
        assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(2 + 7_200)));
        assert_eq!(report(&*store, "a").await.treatments[0].payment, Some("payment-1".into()));
    }

    async fn an_echo_that_is_faster_than_the_answer_is_believed(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        let words = claimed.about.payment.number.to_string();
        hear(&*store, &[answer("m1", ("a", "user-1", "t"), &words, NOW)], at(1)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Dispatched);
        answered(&*store, &claimed, unknown(), at(2)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Dispatched);
        assert_eq!(store.expire_claims(at(9_999), None).await.unwrap(), 0);
    }

    async fn both_hooks_echo_counts_once(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, Answer::Done, at(1)).await;
        let words = claimed.about.payment.number.to_string();
        let by_line = answer("m1", ("a", "user-1", "t"), &words, NOW);
        let by_bot = with(by_line.clone(), json!({"event_source": "bot", "treatment_id": null}));
        hear(&*store, &[by_bot], at(2)).await;
        hear(&*store, &[by_line], at(3)).await;
        let expected = ["queued", "line_reserved", "message_taken", "echo_seen", "treatment_seen"];
        assert_eq!(timeline(&*store, "payment-1").await, expected);
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!(found.treatment, Some("t".into()));
    }

    async fn a_users_own_words_with_our_number_are_no_echo(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), at(1)).await;
        let words = json!({"text": claimed.about.payment.number.to_string()});
        hear(&*store, &[with(text("m1", ("a", "user-1", "t"), at(1)), words)], at(2)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::InDoubt);
    }

    async fn a_late_echo_of_a_try_that_was_given_up_takes_the_next_one_back(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, refused(404, "no"), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
        let words = claimed.about.payment.number.to_string();
        hear(&*store, &[answer("m1", ("a", "user-1", "t"), &words, at(1))], at(2)).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.line), (PaymentState::Dispatched, Some("a".into())));
        assert_eq!(line_state(&*store, "b").await, LineState::Free);
        assert_eq!(claim(&*store, "me", at(9_999)).await, []);
    }

    async fn a_late_echo_while_the_next_try_is_out_leaves_that_one_without_a_line(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, refused(404, "no"), at(1)).await;
        dispatch(&*store, at(1)).await;
        claim_one(&*store, at(1)).await;
        let words = claimed.about.payment.number.to_string();
        hear(&*store, &[answer("m1", ("a", "user-1", "t"), &words, at(1))], at(2)).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.line), (PaymentState::Dispatched, Some("a".into())));
        assert_eq!(claim(&*store, "me", at(9_999)).await, []);
    }

    async fn a_message_into_a_chat_that_is_already_open_belongs_to_its_treatment(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        hear(&*store, &[text("m1", ("a", "user-1", "t"), at(1))], at(1)).await;
        answered(&*store, &claimed, Answer::Done, at(2)).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.treatment), (PaymentState::Dispatched, Some("t".into())));
        assert_eq!(line_state(&*store, "a").await, LineState::Busy);
    }
}
