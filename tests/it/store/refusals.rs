//! Users that the platform refuses on a line.

use freeline::core::payment::{Command, PaymentState};
use freeline::store::{NewPayment, Store};

use crate::support::build::{NOW, at, line, payment};
use crate::support::on_both_engines;
use crate::support::steps::{
    add, answered, claim_one, details, dispatch, furnish, pairs, refused, sending, state, why,
};

/// The same user's `n`th payment.
fn of_one(n: u64) -> NewPayment {
    NewPayment { user: Some("u".into()), ..payment(n) }
}

/// The one claimed call is refused on its line.
async fn refuse(store: &dyn Store, seconds: i64) {
    let claimed = claim_one(store, at(seconds)).await;
    answered(store, &claimed, refused(404, "no subscription"), at(seconds)).await;
}

on_both_engines! {
    async fn a_refused_payment_goes_to_the_next_line(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        add(&*store, of_one(1), NOW).await;
        assert_eq!(dispatch(&*store, NOW).await, pairs(&[(1, "a")]));
        refuse(&*store, 1).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        assert_eq!(why(&*store, "payment-1").await, ["line_refused", "user_refused"]);
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
    }

    async fn a_refusal_is_remembered_for_an_hour_and_then_forgotten(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        store.pause_line(&"b".into(), Some("holiday"), at(-1)).await.unwrap();
        add(&*store, of_one(1), NOW).await;
        dispatch(&*store, NOW).await;
        refuse(&*store, 0).await;
        assert_eq!(dispatch(&*store, at(0)).await, []);
        // The dispatcher wakes by itself when the hour is over.
        assert_eq!(store.next_due().await.unwrap().dispatcher, Some(at(3_600)));
        assert_eq!(dispatch(&*store, at(3_599)).await, []);
        assert_eq!(dispatch(&*store, at(3_600)).await, pairs(&[(1, "a")]));
    }

    async fn a_refusal_is_of_one_user_only(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        store.pause_line(&"b".into(), Some("holiday"), at(-1)).await.unwrap();
        add(&*store, of_one(1), NOW).await;
        dispatch(&*store, NOW).await;
        refuse(&*store, 0).await;
        add(&*store, payment(2), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(2, "a")]));
    }

    async fn refused_on_every_line_is_rejected_in_the_platforms_words(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        add(&*store, of_one(1), NOW).await;
        for second in 0..2 {
            dispatch(&*store, at(second)).await;
            refuse(&*store, second).await;
        }
        while store.recheck_payments(at(2), 256).await.unwrap() > 0 {}
        let round = store.dispatch(at(2)).await.unwrap().unwrap();
        assert_eq!((round.rejected, round.reserved.len()), (1, 0));
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.attempts), (PaymentState::Rejected, 2));
        assert_eq!(found.reason.words.as_deref(), Some("404, no subscription"));
    }

    async fn a_retry_forgets_the_refusals_of_its_user(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, of_one(1), NOW).await;
        dispatch(&*store, NOW).await;
        refuse(&*store, 0).await;
        dispatch(&*store, at(1)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Rejected);
        let retried =
            store.command_payment(&"payment-1".into(), Command::Retry, "subscribed", at(2)).await;
        retried.unwrap().unwrap().unwrap();
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(1, "a")]));
    }

    async fn a_retry_of_one_that_waits_forgets_the_refusals_at_once(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        store.pause_line(&"b".into(), Some("holiday"), at(-1)).await.unwrap();
        add(&*store, of_one(1), NOW).await;
        dispatch(&*store, NOW).await;
        refuse(&*store, 0).await;
        assert_eq!(dispatch(&*store, at(1)).await, []);
        let retried =
            store.command_payment(&"payment-1".into(), Command::Retry, "subscribed", at(2)).await;
        retried.unwrap().unwrap().unwrap();
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(1, "a")]));
    }

    async fn a_message_that_no_line_would_take_is_rejected_at_once(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let claimed = sending(&*store, of_one(1), NOW).await;
        answered(&*store, &claimed, refused(422, "too long"), at(1)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Rejected);
        // Nothing is remembered against the user.
        add(&*store, of_one(2), at(2)).await;
        assert_eq!(dispatch(&*store, at(2)).await.len(), 1);
    }

    async fn a_thousand_payments_of_a_user_refused_everywhere_are_all_rejected(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        for n in 1..=1_200 {
            add(&*store, of_one(n), NOW).await;
        }
        dispatch(&*store, NOW).await;
        refuse(&*store, 0).await;
        add(&*store, payment(2_000), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(2_000, "a")]));
        let status = store.status(at(1)).await.unwrap();
        assert!(status.payments.contains(&(PaymentState::Rejected, 1_200)), "{status:?}");
    }
}
