//! Changes on their way to a receiver: in order for each object, claimed by one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use freeline::core::outcome::Answer;
use freeline::core::retry::PUSH_TRIES_MAX;
use freeline::core::time::{Span, Time};
use freeline::store::{ClaimedPush, PushOutcome, Store, bounds};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, line, payment};
use crate::support::on_both_engines;
use crate::support::steps::{add, answered, furnish, sending};

/// Claims what may be sent at `now`.
async fn claim(store: &dyn Store, now: Time) -> Vec<ClaimedPush> {
    let until = now.plus(bounds::PUSH_LEASE);
    store.claim_pushes(now, until, 100).await.unwrap().pushes
}

fn numbers(claimed: &[ClaimedPush]) -> Vec<i64> {
    claimed.iter().map(|push| push.change.seq).collect()
}

async fn record(store: &dyn Store, push: &ClaimedPush, outcome: PushOutcome, now: Time) -> bool {
    store.record_push(push.change.seq, push.fence, &outcome, now).await.unwrap()
}

fn failed(is_away: bool) -> PushOutcome {
    PushOutcome::Failed { detail: "no".to_owned(), retry_after: None, is_away }
}

/// Changes 1 to 3 of one payment (queued, sending, dispatched), behind the beginning.
async fn three_of_one(store: &dyn Store) {
    furnish(store, [line("a", "anna")]).await;
    store.begin_pushing().await.unwrap();
    let sent = sending(store, payment(1), NOW).await;
    answered(store, &sent, Answer::Done, NOW).await;
}

on_both_engines! {
    async fn only_what_happens_after_the_beginning_is_sent(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        add(&*store, payment(1), NOW).await;
        assert_eq!(claim(&*store, NOW).await, []);
        assert_eq!(store.push_report().await.unwrap(), None, "it was never begun");
        store.begin_pushing().await.unwrap();
        add(&*store, payment(2), NOW).await;
        store.begin_pushing().await.unwrap();
        assert_eq!(store.push_report().await.unwrap().unwrap().waiting, 1);
        assert_eq!(numbers(&claim(&*store, NOW).await), [2], "beginning again changes nothing");
    }

    async fn of_one_object_the_next_change_waits_for_the_one_before(db) {
        let store = db.open().await;
        three_of_one(&*store).await;
        add(&*store, payment(2), NOW).await;
        let claimed = claim(&*store, NOW).await;
        assert_eq!(numbers(&claimed), [1, 4]);
        assert_eq!(claim(&*store, NOW).await, [], "both are under way");
        assert!(record(&*store, &claimed[0], failed(false), NOW).await);
        assert!(record(&*store, &claimed[1], PushOutcome::Delivered, NOW).await);
        assert_eq!(claim(&*store, at(4)).await, [], "the second waits for the first");
        assert_eq!(store.next_push_due(at(4)).await.unwrap(), Some(at(5)));
        for expected in 1..=3 {
            let claimed = claim(&*store, at(5)).await;
            assert_eq!(numbers(&claimed), [expected]);
            record(&*store, &claimed[0], PushOutcome::Delivered, at(5)).await;
        }
        assert_eq!(claim(&*store, at(5)).await, []);
        assert_eq!(store.next_push_due(at(5)).await.unwrap(), None);
    }

    async fn four_are_sent_at_once_by_all_replicas_together(db) {
        let stores = db.open_twice().await;
        furnish(&*stores[0], []).await;
        stores[0].begin_pushing().await.unwrap();
        for n in 1..=30 {
            add(&*stores[0], payment(n), NOW).await;
        }
        let mut claims = JoinSet::new();
        for n in 0..8 {
            let store = Arc::clone(&stores[n % 2]);
            claims.spawn(async move { claim(&*store, NOW).await });
        }
        let claimed: Vec<ClaimedPush> = claims.join_all().await.concat();
        let different: BTreeSet<i64> = numbers(&claimed).into_iter().collect();
        assert_eq!((claimed.len(), different.len()), (4, 4));
        let ends = NOW.plus(bounds::PUSH_LEASE);
        assert_eq!(stores[1].next_push_due(NOW).await.unwrap(), Some(ends));
        record(&*stores[1], &claimed[0], PushOutcome::Delivered, NOW).await;
        assert_eq!(claim(&*stores[0], NOW).await.len(), 1, "a place is free");
    }

    async fn a_claim_that_ran_out_is_claimed_anew_and_its_outcome_is_not_heard(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.begin_pushing().await.unwrap();
        add(&*store, payment(1), NOW).await;
        let first = claim(&*store, NOW).await.remove(0);
        let later = NOW.plus(bounds::PUSH_LEASE);
        let second = claim(&*store, later).await.remove(0);
        assert_eq!((first.fence, second.fence), (1, 2));
        assert_eq!((first.tries, second.tries), (1, 2));
        assert_eq!(first.change, second.change);
        assert!(!record(&*store, &first, PushOutcome::Delivered, later).await);
        assert!(record(&*store, &second, PushOutcome::Delivered, later).await);
        assert!(!record(&*store, &second, failed(false), later).await, "it is over");
    }

    async fn after_the_last_try_a_change_is_parked_and_no_longer_in_the_way(db) {
        let store = db.open().await;
        three_of_one(&*store).await;
        let mut now = NOW;
        for n in 1..=PUSH_TRIES_MAX {
            let claimed = claim(&*store, now).await;
            assert_eq!((numbers(&claimed), claimed[0].tries), (vec![1], n));
            record(&*store, &claimed[0], failed(false), now).await;
            now = store.next_push_due(now).await.unwrap().expect("there is more").max(now);
        }
        assert!(now.since(NOW) > Span::from_secs(23 * 3_600), "{now}");
        let parked = store.parked_pushes(0, 10).await.unwrap();
        assert_eq!(parked.len(), 1);
        assert_eq!((parked[0].change.seq, parked[0].tries), (1, PUSH_TRIES_MAX));
        assert_eq!(parked[0].detail.as_deref(), Some("no"));
        assert_eq!(store.parked_pushes(1, 10).await.unwrap(), []);
        let second = claim(&*store, now).await;
        assert_eq!(numbers(&second), [2]);
        record(&*store, &second[0], PushOutcome::Delivered, now).await;
        let report = store.push_report().await.unwrap().unwrap();
        assert_eq!((report.waiting, report.parked), (1, 1));

        assert_eq!(store.replay_pushes(Some(2), now).await.unwrap(), 0, "it is not parked");
        assert_eq!(store.replay_pushes(Some(1), now).await.unwrap(), 1);
        let again = claim(&*store, now).await;
        assert_eq!((numbers(&again), again[0].tries), (vec![1], 1));
        assert_eq!(store.parked_pushes(0, 10).await.unwrap(), []);
    }

    async fn one_whose_sender_vanished_at_the_last_try_is_parked(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.begin_pushing().await.unwrap();
        add(&*store, payment(1), NOW).await;
        let mut now = NOW;
        for _ in 0..PUSH_TRIES_MAX {
            assert_eq!(claim(&*store, now).await.len(), 1);
            now = now.plus(bounds::PUSH_LEASE);
        }
        assert_eq!(claim(&*store, now).await, []);
        assert_eq!(store.parked_pushes(0, 10).await.unwrap().len(), 1);
    }

    async fn a_receiver_that_wants_nothing_more_gets_nothing_until_a_person_asks(db) {
        let store = db.open().await;
        three_of_one(&*store).await;
        let claimed = claim(&*store, NOW).await;
        record(&*store, &claimed[0], PushOutcome::Gone, at(1)).await;
        assert_eq!(claim(&*store, at(10_000)).await, []);
        assert_eq!(store.next_push_due(at(10_000)).await.unwrap(), None);
        let report = store.push_report().await.unwrap().unwrap();
        assert_eq!((report.stopped_at, report.parked, report.waiting), (Some(at(1)), 1, 2));
        assert_eq!(report.oldest_waiting, Some(NOW));
        assert_eq!(store.replay_pushes(None, at(20_000)).await.unwrap(), 1);
        assert_eq!(numbers(&claim(&*store, at(20_000)).await), [1]);
        assert_eq!(store.push_report().await.unwrap().unwrap().stopped_at, None);
    }

    async fn when_the_receiver_is_back_what_it_was_away_for_is_sent_at_once(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.begin_pushing().await.unwrap();
        for n in 1..=3 {
            add(&*store, payment(n), NOW).await;
        }
        let claimed = claim(&*store, NOW).await;
        record(&*store, &claimed[0], failed(true), NOW).await;
        record(&*store, &claimed[1], failed(false), NOW).await;
        assert_eq!(claim(&*store, at(1)).await, []);
        record(&*store, &claimed[2], PushOutcome::Delivered, at(1)).await;
        assert_eq!(numbers(&claim(&*store, at(1)).await), [1], "the other was refused by itself");
    }

    async fn the_receivers_wish_to_wait_is_respected_within_bounds(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.begin_pushing().await.unwrap();
        add(&*store, payment(1), NOW).await;
        let wish = |secs| PushOutcome::Failed {
            detail: "later".to_owned(),
            retry_after: Some(Span::from_secs(secs)),
            is_away: true,
        };
        record(&*store, &claim(&*store, NOW).await[0], wish(60), NOW).await;
        assert_eq!(claim(&*store, at(59)).await, []);
        record(&*store, &claim(&*store, at(60)).await[0], wish(1_000_000), at(60)).await;
        assert_eq!(store.next_push_due(at(60)).await.unwrap(), Some(at(60 + 10_800)));
    }

    async fn what_was_forgotten_before_it_could_be_sent_is_counted(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.begin_pushing().await.unwrap();
        for n in 1..=3 {
            add(&*store, payment(n), NOW).await;
        }
        assert_eq!(claim(&*store, NOW).await.len(), 3);
        for n in 4..=6 {
            add(&*store, payment(n), NOW).await;
        }
        assert_eq!(store.forget_changes(at(1), 100).await.unwrap(), 5);
        let claimed = store.claim_pushes(at(1), at(61), 100).await.unwrap();
        assert_eq!((claimed.lost, numbers(&claimed.pushes)), (2, vec![6]));
    }
}
