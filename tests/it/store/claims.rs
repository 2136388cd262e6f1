//! Claims: one caller at a time, and what becomes of one who vanishes.

use std::collections::BTreeSet;
use std::sync::Arc;

use freeline::core::dispatch::Rehook;
use freeline::core::outcome::Answer;
use freeline::core::payment::PaymentState;
use freeline::store::{LineEntry, NewPayment, bounds};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, counterparty, line, payment};
use crate::support::on_both_engines;
use crate::support::steps::{
    add, answered, claim, claim_one, details, dispatch, furnish, sending, state, unknown,
};

on_both_engines! {
    async fn a_claim_brings_everything_a_message_needs(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        store.put_counterparty(&counterparty("acme", "anna"), NOW).await.unwrap();
        let given = NewPayment {
            counterparty: Some("acme".into()),
            author: Some("s".into()),
            ..payment(1)
        };
        add(&*store, given.clone(), NOW).await;
        dispatch(&*store, at(1)).await;
        let claimed = claim_one(&*store, at(2)).await;
        assert_eq!((claimed.line.as_str(), claimed.user.as_str()), ("a", "user-1"));
        assert_eq!(claimed.author, Some("s".into()));
        assert_eq!((claimed.fence, claimed.rehook), (1, Rehook::No));
        assert_eq!(claimed.reserved_at, at(1));
        let about = claimed.about;
        assert_eq!((about.payment, about.received_at), (given, NOW));
        assert_eq!(about.counterparty_name.as_deref(), Some("Customer acme"));
        assert_eq!(about.inn.as_deref(), Some("7707083893"));
        assert_eq!(about.manager_name, "Manager anna");
        assert_eq!(details(&*store, "payment-1").await.payment.attempts, 1);
    }

    async fn the_oldest_are_claimed_first_and_no_more_than_asked_for(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 9, ..line("a", "anna") }]).await;
        for n in [3, 1, 2] {
            add(&*store, payment(n), NOW).await;
            dispatch(&*store, at(i64::try_from(n).unwrap())).await;
        }
        let until = at(30);
        let first = store.claim_dispatches("me", at(9), until, 2).await.unwrap();
        let ids: Vec<_> = first.iter().map(|c| c.about.payment.id.as_str()).collect();
        assert_eq!(ids, ["payment-1", "payment-2"]);
        assert_eq!(store.claim_dispatches("me", at(9), until, 2).await.unwrap().len(), 1);
        assert_eq!(store.claim_dispatches("me", at(9), until, 2).await.unwrap(), []);
    }

    async fn claimers_at_once_never_claim_one_dispatch_twice(db) {
        let stores = db.open_twice().await;
        furnish(&*stores[0], [LineEntry { capacity: 200, ..line("a", "anna") }]).await;
        for n in 0..200 {
            add(&*stores[0], payment(n), NOW).await;
        }
        assert_eq!(dispatch(&*stores[0], NOW).await.len(), 200);
        let mut tasks = JoinSet::new();
        for task in 0..8_usize {
            let store = Arc::clone(&stores[task % 2]);
            tasks.spawn(async move {
                let owner = format!("owner-{task}");
                let mut mine = Vec::new();
                loop {
                    let claimed = store.claim_dispatches(&owner, NOW, at(15), 7).await.unwrap();
                    if claimed.is_empty() {
                        return mine;
                    }
                    assert!(claimed.len() <= 7);
                    mine.extend(claimed.into_iter().map(|c| (c.id, c.fence)));
                }
            });
        }
        let claimed = tasks.join_all().await.concat();
        let ids: BTreeSet<_> = claimed.iter().map(|(id, _)| id).collect();
        assert_eq!((claimed.len(), ids.len()), (200, 200));
        assert!(claimed.iter().all(|(_, fence)| *fence == 1));
    }

    async fn an_answer_with_an_older_fence_is_refused_and_writes_nothing(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let first = sending(&*store, payment(1), NOW).await;
        let again = Answer::NotDone {
            why: freeline::core::outcome::NotDone::RateLimited,
            retry_after: None,
        };
        answered(&*store, &first, again, at(1)).await;
        let second = claim_one(&*store, at(10)).await;
        assert_eq!((second.id, second.fence), (first.id, 2));
        let before = details(&*store, "payment-1").await;
        assert!(!store.record_answer(first.id, first.fence, &Answer::Done, at(11)).await.unwrap());
        assert_eq!(details(&*store, "payment-1").await, before);
        assert!(!store.record_answer(-1, 1, &Answer::Done, at(11)).await.unwrap());
        answered(&*store, &second, Answer::Done, at(12)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Dispatched);
    }

    async fn a_claim_that_runs_out_is_in_doubt_and_not_claimed_again(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        sending(&*store, payment(1), NOW).await;
        assert_eq!(store.next_due().await.unwrap().claims, Some(at(13)));
        assert_eq!(store.expire_claims(at(12), None).await.unwrap(), 0);
        assert_eq!(store.expire_claims(at(13), None).await.unwrap(), 1);
        assert_eq!(store.expire_claims(at(13), None).await.unwrap(), 0);
        assert_eq!(state(&*store, "payment-1").await, PaymentState::InDoubt);
        assert_eq!(claim(&*store, "other", at(9_999)).await, []);
        assert_eq!(store.next_due().await.unwrap().reconciler, Some(at(43)));
        assert_eq!(store.lines_to_look_at(at(42), 9).await.unwrap(), []);
        assert_eq!(store.lines_to_look_at(at(43), 9).await.unwrap(), ["a".into()]);
    }

    async fn a_sole_survivor_puts_the_claims_of_all_others_in_doubt_at_once(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        for n in 1..=2 {
            add(&*store, payment(n), NOW).await;
        }
        dispatch(&*store, NOW).await;
        let until = NOW.plus(bounds::CLAIM_LEASE);
        let mine = store.claim_dispatches("me", NOW, until, 1).await.unwrap().remove(0);
        let theirs = store.claim_dispatches("gone", NOW, until, 1).await.unwrap().remove(0);
        assert_eq!(store.expire_claims(at(1), Some("me")).await.unwrap(), 1);
        let theirs = theirs.about.payment.id;
        assert_eq!(state(&*store, theirs.as_str()).await, PaymentState::InDoubt);
        assert_eq!(state(&*store, mine.about.payment.id.as_str()).await, PaymentState::Sending);
    }

    async fn a_hook_that_was_set_is_remembered_only_by_the_one_who_claimed(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let first = sending(&*store, payment(1), NOW).await;
        let forbidden = crate::support::steps::refused(403, "");
        answered(&*store, &first, forbidden, at(1)).await;
        let second = claim_one(&*store, at(1)).await;
        assert_eq!(second.rehook, Rehook::Wanted);
        store.record_rehook(first.id, first.fence, Rehook::Done).await.unwrap();
        let not_done =
            Answer::NotDone { why: freeline::core::outcome::NotDone::NoBudget, retry_after: None };
        answered(&*store, &second, not_done.clone(), at(1)).await;
        let third = claim_one(&*store, at(1)).await;
        assert_eq!(third.rehook, Rehook::Wanted, "the first claim was over");
        store.record_rehook(third.id, third.fence, Rehook::Done).await.unwrap();
        answered(&*store, &third, not_done, at(1)).await;
        assert_eq!(claim_one(&*store, at(1)).await.rehook, Rehook::Done);
    }

    async fn many_claims_that_run_out_are_all_dealt_with(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 300, ..line("a", "anna") }]).await;
        for n in 0..300 {
            add(&*store, payment(n), NOW).await;
        }
        dispatch(&*store, NOW).await;
        assert_eq!(claim(&*store, "me", NOW).await.len(), 300);
        assert_eq!(store.expire_claims(at(20), None).await.unwrap(), 256);
        assert_eq!(store.expire_claims(at(20), None).await.unwrap(), 44);
        let status = store.status(NOW).await.unwrap();
        assert_eq!(status.payments, [(PaymentState::InDoubt, 300)]);
    }

    async fn an_answer_that_comes_after_the_claim_ran_out_settles_nothing_by_itself(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        store.expire_claims(at(15), None).await.unwrap();
        answered(&*store, &claimed, unknown(), at(16)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::InDoubt);
        assert_eq!(claim(&*store, "other", at(9_999)).await, []);
    }
}
