//! Counts, ages, bells, and what is due next.

use freeline::core::line::LineState;
use freeline::core::payment::PaymentState;
use freeline::core::time::Span;
use freeline::store::{EventState, NewPayment, NextDue, StatusReport};
use freeline::wake::{Wake, Worker};
use serde_json::json;

use crate::support::build::{NOW, at, line, payment};
use crate::support::database::{PATIENCE, rules};
use crate::support::event::{received, text, with};
use crate::support::on_both_engines;
use crate::support::steps::{add, dispatch, furnish, hear};

on_both_engines! {
    async fn an_empty_database_counts_nothing(db) {
        let store = db.open().await;
        assert_eq!(
            store.status(NOW).await.unwrap(),
            StatusReport {
                events: vec![(EventState::New, 0), (EventState::Quarantined, 0)],
                ..StatusReport::default()
            }
        );
        assert_eq!(store.next_due().await.unwrap(), NextDue::default());
    }

    async fn payments_lines_events_and_notices_are_counted_by_state(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        store.pause_line(&"b".into(), Some("holiday"), NOW).await.unwrap();
        hear(&*store, &[text("m1", ("a", "u", "t"), NOW)], at(5)).await;
        let unreadable = with(text("m2", ("a", "u", "t"), NOW), json!({"line_id": 7}));
        store.keep_events(&[received(&unreadable, at(6))]).await.unwrap();
        store.keep_events(&[received(&text("m3", ("a", "u", "t"), NOW), at(7))]).await.unwrap();
        add(&*store, NewPayment { hold: Some("ask".to_owned()), ..payment(1) }, at(1)).await;
        add(&*store, payment(2), at(3)).await;
        add(&*store, payment(3), at(2)).await;
        dispatch(&*store, at(9)).await;
        let status = store.status(at(9)).await.unwrap();
        assert_eq!(status.payments, [(PaymentState::Held, 1), (PaymentState::Queued, 2)]);
        assert_eq!(status.lines, [(LineState::Busy, 1), (LineState::Paused, 1)]);
        assert_eq!(status.events, [(EventState::New, 1), (EventState::Quarantined, 1)]);
        assert_eq!(status.notices, [("due".to_owned(), 2)]);
        assert_eq!((status.oldest_waiting, status.last_event), (Some(at(2)), Some(at(7))));
    }

    async fn what_is_due_next_is_told_for_each_worker(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        assert_eq!(store.next_due().await.unwrap(), NextDue::default());
        for n in 1..=2 {
            add(&*store, payment(n), at(3)).await;
        }
        assert_eq!(store.next_due().await.unwrap().dispatcher, Some(at(3)));
        dispatch(&*store, at(4)).await;
        assert_eq!(store.next_due().await.unwrap().sender, Some(at(4)));
        store.forget_occupancy(Span::ZERO, at(5)).await.unwrap();
        let due = store.next_due().await.unwrap();
        assert_eq!(
            (due.sender, due.notifier, due.reconciler),
            (None, Some(at(4)), Some(at(5))),
            "nothing is sent to a line that is not known"
        );
    }

    async fn a_ping_writes_and_leaves_nothing_to_see(db) {
        let store = db.open().await;
        store.ping().await.unwrap();
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
    }

    async fn a_change_rings_for_the_worker_that_has_to_look(db) {
        let wake = Wake::default();
        let store = db.open_ringing(rules(), wake.clone()).await;
        let rung = async |worker| {
            tokio::time::timeout(PATIENCE, wake.rung(worker)).await.expect("somebody rings");
        };
        store.keep_events(&[received(&text("m1", ("a", "u", "t"), NOW), NOW)]).await.unwrap();
        rung(Worker::Intake).await;
        furnish(&*store, [line("a", "anna")]).await;
        rung(Worker::Reconciler).await;
        rung(Worker::Dispatcher).await;
        add(&*store, payment(1), NOW).await;
        rung(Worker::Dispatcher).await;
        dispatch(&*store, NOW).await;
        rung(Worker::Sender).await;
        rung(Worker::Notifier).await;
    }

    async fn a_change_by_one_replica_rings_in_the_other(db) {
        if !db.takes_replicas() {
            return;
        }
        let wake = Wake::default();
        let _other = db.open_ringing(rules(), wake.clone()).await;
        let store = db.open().await;
        furnish(&*store, []).await;
        // The other one begins to listen in its own time: what is missed is made up for later.
        let heard = async {
            for n in 0_u64.. {
                add(&*store, payment(n), NOW).await;
                let pause = std::time::Duration::from_millis(50);
                if tokio::time::timeout(pause, wake.rung(Worker::Dispatcher)).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("the other one hears");
    }
}

#[tokio::test]
async fn a_second_process_is_kept_from_an_sqlite_file() {
    let db = crate::support::database::TestDatabase::sqlite();
    let _store = db.open().await;
    let path = db.url().replace("sqlite:", "");
    let second = freeline::store::sqlite::SqliteStore::open(
        std::path::Path::new(&path),
        rules(),
        Wake::default(),
    );
    let error = second.await.expect_err("it is in use");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("in use by another freeline"), "{cause}");
}
