//! Reservations that a line can no longer serve: nothing was sent, so their payments go elsewhere.

use freeline::core::outcome::{Answer, NotDone};
use freeline::core::payment::PaymentState;
use freeline::store::{LineEntry, NewPayment, Store};

use crate::support::build::{NOW, at, directory, line, payment};
use crate::support::event::text;
use crate::support::on_both_engines;
use crate::support::steps::{
    add, answered, claim, dispatch, furnish, hear, line_state, pairs, sending, state, timeline,
    unknown,
};

/// Two lines; the first payment has a reservation on `a`.
async fn reserved_on_a(store: &dyn Store) {
    furnish(store, [line("a", "anna"), LineEntry { position: 1, ..line("b", "anna") }]).await;
    add(store, payment(1), NOW).await;
    assert_eq!(dispatch(store, NOW).await, pairs(&[(1, "a")]));
}

on_both_engines! {
    async fn a_paused_line_gives_its_untouched_reservation_to_another_line(db) {
        let store = db.open().await;
        reserved_on_a(&*store).await;
        store.pause_line(&"a".into(), Some("lunch"), at(1)).await.unwrap();
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
        let told = timeline(&*store, "payment-1").await;
        assert_eq!(told[told.len() - 2..], ["line_paused", "line_reserved"]);
        let claimed = claim(&*store, "me", at(1)).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].line, "b".into());
    }

    async fn a_call_that_is_under_way_is_not_taken_back_by_a_pause(db) {
        let store = db.open().await;
        reserved_on_a(&*store).await;
        let claimed = claim(&*store, "me", NOW).await;
        store.pause_line(&"a".into(), Some("lunch"), at(1)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Sending);
        // Surely not sent: now it is untouched, and goes to the other line.
        let answer = Answer::NotDone { why: NotDone::RateLimited, retry_after: None };
        answered(&*store, &claimed[0], answer, at(2)).await;
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(1, "b")]));
    }

    async fn a_line_that_is_disabled_leaves_or_changes_hands_gives_its_reservation_back(db) {
        let store = db.open().await;
        reserved_on_a(&*store).await;
        store.put_line(&LineEntry { enabled: false, ..line("a", "anna") }, at(1)).await.unwrap();
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
        store.put_line(&line("a", "anna"), at(2)).await.unwrap();
        let whole = directory([line("a", "anna")]);
        store.replace_directory(&whole, at(3)).await.unwrap();
        assert_eq!(dispatch(&*store, at(3)).await, pairs(&[(1, "a")]));
        store.put_manager(&crate::support::build::manager("boris"), at(4)).await.unwrap();
        store.put_line(&line("a", "boris"), at(4)).await.unwrap();
        assert_eq!(dispatch(&*store, at(4)).await, pairs(&[]));
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        assert_eq!(timeline(&*store, "payment-1").await.last(), Some(&"line_of_other"));
    }

    async fn a_user_who_was_faster_than_the_message_has_the_line(db) {
        let store = db.open().await;
        reserved_on_a(&*store).await;
        hear(&*store, &[text("m1", ("a", "user-9", "t9"), at(1))], at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
        assert_eq!(timeline(&*store, "payment-1").await[2], "line_busy");
    }

    async fn a_message_does_not_go_into_the_conversation_its_user_has_begun_meanwhile(db) {
        let store = db.open().await;
        reserved_on_a(&*store).await;
        hear(&*store, &[text("m1", ("a", "user-1", "t1"), at(1))], at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
        assert_eq!(timeline(&*store, "payment-1").await[2], "user_on_line");
    }

    async fn a_doubt_that_only_a_person_can_settle_does_not_keep_its_line_from_others(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), NOW).await;
        // Its user wrote on the same line: what our message did there cannot be seen from outside.
        let chat = ("a", "user-1", "t1");
        hear(&*store, &[text("m1", chat, at(1))], at(1)).await;
        hear(&*store, &[crate::support::event::close("m2", chat, at(20))], at(20)).await;
        store.record_look(&"a".into(), &[], at(31), at(31)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::InDoubt);
        assert_eq!(line_state(&*store, "a").await, freeline::core::line::LineState::Free);
        assert!(store.lines_to_look_at(at(100_000), 9).await.unwrap().is_empty());
        // The next payment of the same user takes the line.
        let second = NewPayment { user: payment(1).user, ..payment(2) };
        add(&*store, second, at(32)).await;
        assert_eq!(dispatch(&*store, at(32)).await, pairs(&[(2, "a")]));
    }
}
