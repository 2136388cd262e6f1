//! Payments are taken in once, held and released.

use std::sync::Arc;

use freeline::core::dispatch::{Policy, SendMode};
use freeline::core::payment::{Command, PaymentState};
use freeline::core::time::Span;
use freeline::store::{Added, Manager, NewPayment, PaymentFilter, Rules, Store};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, counterparty, line, manager, payment, payment_of};
use crate::support::database::rules;
use crate::support::on_both_engines;
use crate::support::steps::{
    add, details, dispatch, furnish, pairs, sending, state, timeline, why,
};

async fn recheck(store: &dyn Store, seconds: i64) {
    for _ in 0..100 {
        if store.recheck_payments(at(seconds), 2).await.unwrap() == 0 {
            return;
        }
    }
    panic!("the looking again never ends");
}

on_both_engines! {
    async fn a_payment_is_given_back_as_it_came(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        let given = NewPayment {
            counterparty: Some("acme".into()),
            order: Some("Заказ 7".to_owned()),
            purpose: Some("за товар".to_owned()),
            priority: 9,
            mismatch: Some("the order says 5".to_owned()),
            author: Some("s".into()),
            text: Some("Оплата".to_owned()),
            amount: i64::MAX,
            ..payment(1)
        };
        add(&*store, given.clone(), NOW).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!(found.given, given);
        assert_eq!((found.received_at, found.updated_at), (NOW, NOW));
        assert_eq!((found.attempts, found.line), (0, None));
        assert_eq!(store.payment(&"payment-2".into()).await.unwrap(), None);
    }

    async fn the_same_key_and_content_is_the_same_payment(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        add(&*store, payment(1), NOW).await;
        let again = NewPayment {
            key: "key-1".to_owned(),
            content: "content of 1".to_owned(),
            ..payment(2)
        };
        assert_eq!(
            store.add_payment(&again, at(1)).await.unwrap(),
            Added::Same("payment-1".into())
        );
        let other = NewPayment { key: "key-1".to_owned(), ..payment(3) };
        assert_eq!(
            store.add_payment(&other, at(1)).await.unwrap(),
            Added::Conflict("payment-1".into())
        );
        let all = PaymentFilter { limit: 10, ..PaymentFilter::default() };
        assert_eq!(store.list_payments(&all).await.unwrap().len(), 1);
        assert_eq!(details(&*store, "payment-1").await.payment.updated_at, NOW);
    }

    async fn of_many_requests_with_one_key_at_once_exactly_one_is_new(db) {
        let stores = db.open_twice().await;
        furnish(&*stores[0], []).await;
        let mut tasks = JoinSet::new();
        for n in 0..16_u64 {
            let store = Arc::clone(&stores[usize::try_from(n % 2).unwrap()]);
            let same =
                NewPayment { key: "key".to_owned(), content: "same".to_owned(), ..payment(n) };
            tasks.spawn(async move { store.add_payment(&same, NOW).await.unwrap() });
        }
        let answers = tasks.join_all().await;
        let new = answers.iter().filter(|answer| **answer == Added::New).count();
        let same = answers.iter().filter(|answer| matches!(answer, Added::Same(_))).count();
        assert_eq!((new, same), (1, 15));
    }

    async fn what_the_sender_holds_waits_for_a_person(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, NewPayment { hold: Some("ask".to_owned()), ..payment(1) }, NOW).await;
        add(&*store, NewPayment { mismatch: Some("sum".to_owned()), ..payment(2) }, NOW).await;
        assert_eq!(timeline(&*store, "payment-1").await, ["held_on_arrival"]);
        assert_eq!(timeline(&*store, "payment-2").await, ["mismatch"]);
        assert_eq!(
            details(&*store, "payment-1").await.payment.reason.words.as_deref(),
            Some("ask")
        );
        assert_eq!(dispatch(&*store, NOW).await, []);
        store.recheck_all().await.unwrap();
        recheck(&*store, 1).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Held);
        let released =
            store.command_payment(&"payment-2".into(), Command::Release, "fine", at(2)).await;
        released.unwrap().unwrap().unwrap();
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(2, "a")]));
    }

    async fn an_unknown_counterparty_holds_a_payment_until_the_directory_learns_it(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        for n in 1..=5 {
            add(&*store, payment_of(n, "acme"), at(0)).await;
        }
        assert_eq!(why(&*store, "payment-1").await, ["counterparty_unknown"]);
        assert_eq!(dispatch(&*store, NOW).await, []);
        store.put_counterparty(&counterparty("acme", "anna"), at(1)).await.unwrap();
        recheck(&*store, 1).await;
        let found = details(&*store, "payment-5").await.payment;
        assert_eq!((found.state, found.manager), (PaymentState::Queued, Some("anna".into())));
        assert_eq!(found.user, Some("user-of-acme".into()));
        assert_eq!(
            timeline(&*store, "payment-5").await,
            ["counterparty_unknown", "directory_changed"]
        );
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "a")]));
    }

    async fn an_unknown_manager_holds_a_payment_until_the_directory_learns_it(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        let of_boris = NewPayment { manager: Some("boris".into()), ..payment(1) };
        add(&*store, of_boris, NOW).await;
        assert_eq!(why(&*store, "payment-1").await, ["manager_unknown"]);
        assert_eq!(
            details(&*store, "payment-1").await.payment.reason.words.as_deref(),
            Some("boris")
        );
        store.put_manager(&manager("boris"), at(1)).await.unwrap();
        recheck(&*store, 1).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
    }

    async fn a_disabled_manager_holds_payments_that_already_wait(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        add(&*store, payment(1), NOW).await;
        store.put_manager(&Manager { enabled: false, ..manager("anna") }, at(1)).await.unwrap();
        recheck(&*store, 1).await;
        assert_eq!(why(&*store, "payment-1").await, ["manager_disabled"]);
        add(&*store, payment(2), at(1)).await;
        assert_eq!(why(&*store, "payment-2").await, ["manager_disabled"]);
        store.put_manager(&manager("anna"), at(2)).await.unwrap();
        recheck(&*store, 2).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        assert_eq!(state(&*store, "payment-2").await, PaymentState::Queued);
    }

    async fn a_payment_without_a_user_is_held_until_somebody_names_one(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        add(&*store, NewPayment { user: None, ..payment(1) }, NOW).await;
        assert_eq!(why(&*store, "payment-1").await, ["no_user"]);
        store.close().await;
        drop(store);
        let named = Rules { default_user: Some("everybody".into()), ..rules() };
        let store = db.open_with(named).await;
        store.recheck_all().await.unwrap();
        recheck(&*store, 1).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.user), (PaymentState::Queued, Some("everybody".into())));
    }

    async fn writing_as_a_specialist_needs_one(db) {
        let policy = Policy { mode: SendMode::Specialist, in_doubt_after: Span::from_secs(30) };
        let store = db.open_with(Rules { policy, ..rules() }).await;
        furnish(&*store, []).await;
        add(&*store, payment(1), NOW).await;
        assert_eq!(why(&*store, "payment-1").await, ["no_author"]);
        let anna = Manager { specialist: Some("s".into()), ..manager("anna") };
        store.put_manager(&anna, at(1)).await.unwrap();
        recheck(&*store, 1).await;
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.author), (PaymentState::Queued, Some("s".into())));
    }

    async fn a_payment_on_its_way_is_not_touched_by_the_directory(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        sending(&*store, payment(1), NOW).await;
        store.put_manager(&Manager { enabled: false, ..manager("anna") }, at(1)).await.unwrap();
        recheck(&*store, 1).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Sending);
    }
}
