//! Both engines do the same: the same calls get the same answers and leave the same behind.

use crate::support::build::at;
use crate::support::database::TestDatabase;
use crate::support::dump::dump;
use crate::support::history::live;

const STEPS: usize = 300;

async fn check(seed: u64) {
    let (sqlite, postgres) = (TestDatabase::sqlite(), TestDatabase::postgres().await);
    let (one, other) = (sqlite.open().await, postgres.open().await);
    let (told, told_there) = tokio::join!(live(&*one, seed, STEPS), live(&*other, seed, STEPS));
    for (here, there) in told.iter().zip(&told_there) {
        assert_eq!(here, there, "seed {seed}");
    }
    let now = at(1_000_000);
    let (left, left_there) = (dump(&*one, now).await, dump(&*other, now).await);
    for (here, there) in left.iter().zip(&left_there) {
        assert_eq!(here, there, "seed {seed}");
    }
    assert_eq!((told.len(), left.len()), (told_there.len(), left_there.len()), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_history_leaves_the_same_on_both_engines() {
    check(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_leaves_the_same_on_both_engines() {
    check(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_history_leaves_the_same_on_both_engines() {
    check(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_leaves_the_same_when_it_is_repeated() {
    let (one, other) = (TestDatabase::sqlite(), TestDatabase::sqlite());
    let (one, other) = (one.open().await, other.open().await);
    assert_eq!(live(&*one, 9, STEPS).await, live(&*other, 9, STEPS).await);
    assert_eq!(dump(&*one, at(9)).await, dump(&*other, at(9)).await);
}
