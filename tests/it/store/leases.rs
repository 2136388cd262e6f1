//! Work that one replica does for all.

use std::sync::Arc;

use freeline::store::{Lease, PreviousLease};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at};
use crate::support::on_both_engines;

on_both_engines! {
    async fn a_lease_is_held_by_one_kept_by_the_same_and_taken_over_when_it_ends(db) {
        let store = db.open().await;
        let acquire = async |owner: &str, now: i64, until: i64| {
            store.acquire_lease("hooks", owner, at(now), at(until)).await.unwrap()
        };
        assert_eq!(acquire("me", 0, 10).await, Lease::Ours(PreviousLease::Nobody));
        assert_eq!(acquire("you", 1, 11).await, Lease::Taken { until: at(10) });
        assert_eq!(acquire("me", 5, 15).await, Lease::Ours(PreviousLease::Ourselves));
        assert_eq!(acquire("you", 14, 24).await, Lease::Taken { until: at(15) });
        assert_eq!(acquire("you", 15, 25).await, Lease::Ours(PreviousLease::Other { until: at(15) }));
        assert_eq!(acquire("me", 16, 26).await, Lease::Taken { until: at(25) });
    }

    async fn a_lease_given_back_is_free_at_once_but_only_its_owner_gives_it_back(db) {
        let store = db.open().await;
        store.acquire_lease("hooks", "me", NOW, at(10)).await.unwrap();
        store.release_lease("hooks", "you", at(1)).await.unwrap();
        let taken = store.acquire_lease("hooks", "you", at(2), at(12)).await.unwrap();
        assert_eq!(taken, Lease::Taken { until: at(10) });
        store.release_lease("hooks", "me", at(3)).await.unwrap();
        let taken = store.acquire_lease("hooks", "you", at(3), at(13)).await.unwrap();
        assert_eq!(taken, Lease::Ours(PreviousLease::Other { until: at(3) }));
        store.release_lease("none", "me", at(3)).await.unwrap();
    }

    async fn leases_of_other_names_do_not_meet(db) {
        let store = db.open().await;
        for name in ["one", "two"] {
            let taken = store.acquire_lease(name, name, NOW, at(10)).await.unwrap();
            assert_eq!(taken, Lease::Ours(PreviousLease::Nobody));
        }
    }

    async fn of_many_who_want_a_lease_at_once_one_gets_it(db) {
        let stores = db.open_twice().await;
        let mut tasks = JoinSet::new();
        for task in 0..8_usize {
            let store = Arc::clone(&stores[task % 2]);
            tasks.spawn(async move {
                let owner = format!("owner-{task}");
                let lease = store.acquire_lease("hooks", &owner, NOW, at(10)).await.unwrap();
                matches!(lease, Lease::Ours(_))
            });
        }
        let got = tasks.join_all().await;
        assert_eq!(got.into_iter().filter(|got| *got).count(), 1);
    }
}
