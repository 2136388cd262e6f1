//! Events are kept as they came, and copies are recognised.

use std::sync::Arc;

use freeline::store::bounds;
use freeline::store::{EventFilter, EventRecord, EventState, Kept, NewEvent, Store};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, line};
use crate::support::event::{body, received, received_bytes, text, with};
use crate::support::on_both_engines;
use crate::support::steps::{furnish, report, treatment};

const CHAT: (&str, &str, &str) = ("a", "u", "t");

async fn list(store: &dyn Store) -> Vec<EventRecord> {
    store.list_events(&EventFilter { limit: 10_000, ..EventFilter::default() }).await.unwrap()
}

/// As many texts as asked for, each in a chat of its own.
fn texts(name: &str, count: usize) -> Vec<NewEvent> {
    let one = |n: usize| {
        let (user, treatment) = (format!("u-{name}-{n}"), format!("t-{name}-{n}"));
        received(&text(&format!("{name}-{n}"), ("a", &user, &treatment), NOW), NOW)
    };
    (0..count).map(one).collect()
}

on_both_engines! {
    async fn events_are_kept_in_the_order_they_came_and_byte_for_byte(db) {
        let store = db.open().await;
        let mut events = texts("m", 300);
        events.push(received_bytes(b" {\"message_type\" :\t1, \"\\u0000\":\"\xD0\x96\"} ", at(1)));
        let kept = store.keep_events(&events).await.unwrap();
        assert_eq!(kept, vec![Kept::New; 301]);
        let listed = list(&*store).await;
        let expected: Vec<_> =
            events.iter().map(|event| (&event.body, event.received_at)).collect();
        let found: Vec<_> = listed.iter().map(|event| (&event.body, event.received_at)).collect();
        assert_eq!(found, expected);
        assert!(listed.is_sorted_by_key(|event| event.id));
    }

    async fn nothing_to_keep_is_kept(db) {
        let store = db.open().await;
        assert_eq!(store.keep_events(&[]).await.unwrap(), []);
    }

    async fn copies_within_one_batch_are_recognised(db) {
        let store = db.open().await;
        let (one, other) =
            (received(&text("m1", CHAT, NOW), NOW), received(&text("m2", CHAT, NOW), NOW));
        let batch = [one.clone(), other.clone(), one.clone(), one, other];
        let kept = store.keep_events(&batch).await.unwrap();
        assert_eq!(kept, [Kept::New, Kept::New, Kept::Copy, Kept::Copy, Kept::Copy]);
        let copies: Vec<i64> = list(&*store).await.iter().map(|event| event.copies).collect();
        assert_eq!(copies, [3, 2]);
    }

    async fn copies_across_batches_are_recognised(db) {
        let store = db.open().await;
        let event = received(&text("m1", CHAT, NOW), NOW);
        assert_eq!(store.keep_events(std::slice::from_ref(&event)).await.unwrap(), [Kept::New]);
        let late = NewEvent { received_at: at(9), ..event };
        assert_eq!(store.keep_events(&[late]).await.unwrap(), [Kept::Copy]);
        let listed = list(&*store).await;
        assert_eq!((listed.len(), listed[0].copies, listed[0].received_at), (1, 2, NOW));
    }

    async fn large_events_are_applied_a_few_at_a_time_and_one_at_least(db) {
        let store = db.open().await;
        let bound = usize::try_from(bounds::EVENT_BYTES_PER_BATCH).unwrap();
        let large = |name: &str, bytes: usize| {
            let blanks = " ".repeat(bytes - texts(name, 1)[0].body.len());
            let mut event = texts(name, 1).remove(0);
            event.body.extend_from_slice(blanks.as_bytes());
            event
        };
        let mut events = texts("small", 2);
        events.extend([large("half", bound / 2), large("other", bound / 2)]);
        events.push(large("whole", bound));
        events.push(large("beyond", bound + 1));
        events.extend(texts("last", 3));
        store.keep_events(&events).await.unwrap();
        let mut applied = Vec::new();
        loop {
            match store.apply_events(NOW, 256).await.unwrap() {
                0 => break,
                count => applied.push(count),
            }
        }
        assert_eq!(applied, [3, 1, 1, 1, 3]);
        assert!(list(&*store).await.iter().all(|event| event.state == EventState::Applied));
        assert_eq!(store.keep_events(&texts("more", 5)).await.unwrap().len(), 5);
        assert_eq!(store.apply_events(NOW, 2).await.unwrap(), 2, "no more than were asked for");
    }

    async fn a_copy_that_comes_after_its_event_was_applied_is_not_applied_again(db) {
        let store = db.open().await;
        let event = received(&text("m1", CHAT, NOW), NOW);
        store.keep_events(std::slice::from_ref(&event)).await.unwrap();
        assert_eq!(store.apply_events(NOW, 256).await.unwrap(), 1);
        store.keep_events(&[event]).await.unwrap();
        assert_eq!(store.apply_events(NOW, 256).await.unwrap(), 0);
    }

    async fn one_message_with_other_type_source_or_line_is_another_event(db) {
        let store = db.open().await;
        let first = text("m1", CHAT, NOW);
        let others =
            [json!({"message_type": 82}), json!({"event_source": "bot"}), json!({"line_id": "b"})];
        let mut batch = vec![received(&first, NOW)];
        batch.extend(others.into_iter().map(|more| received(&with(first.clone(), more), NOW)));
        assert_eq!(store.keep_events(&batch).await.unwrap(), vec![Kept::New; 4]);
    }

    async fn events_without_an_identity_are_all_kept(db) {
        let store = db.open().await;
        let nameless = received(&with(text("m", CHAT, NOW), json!({"message_id": null})), NOW);
        let batch = [nameless.clone(), nameless];
        assert_eq!(store.keep_events(&batch).await.unwrap(), [Kept::New, Kept::New]);
        assert_eq!(list(&*store).await.len(), 2);
    }

    async fn the_same_event_by_both_hooks_is_kept_twice_and_counts_once(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let by_line = text("m1", CHAT, NOW);
        let by_bot = with(by_line.clone(), json!({"event_source": "bot", "treatment_id": null}));
        for order in [[&by_line, &by_bot], [&by_bot, &by_line]] {
            let events: Vec<_> = order.iter().map(|body| received(body, NOW)).collect();
            store.keep_events(&events).await.unwrap();
            store.apply_events(NOW, 256).await.unwrap();
        }
        assert_eq!(list(&*store).await.len(), 2);
        let open = report(&*store, "a").await.treatments;
        assert_eq!(open.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["t"]);
    }

    async fn the_bots_copy_first_without_a_treatments_id_becomes_the_real_one(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let by_line = text("m1", CHAT, NOW);
        let by_bot = with(by_line.clone(), json!({"event_source": "bot", "treatment_id": null}));
        for body in [by_bot, by_line] {
            store.keep_events(&[received(&body, NOW)]).await.unwrap();
            store.apply_events(NOW, 256).await.unwrap();
        }
        let open = report(&*store, "a").await.treatments;
        assert_eq!(open.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["t"]);
        assert_eq!(treatment(&*store, "t").await.opened_at, NOW);
    }

    async fn what_cannot_be_read_is_quarantined_with_the_reason_and_never_applied(db) {
        let store = db.open().await;
        let unreadable = received(&with(text("m1", CHAT, NOW), json!({"message_time": 5})), NOW);
        assert_eq!(
            store.keep_events(&[unreadable.clone(), unreadable]).await.unwrap(),
            [Kept::New; 2]
        );
        assert_eq!(store.apply_events(NOW, 256).await.unwrap(), 0);
        let listed = list(&*store).await;
        assert!(listed.iter().all(|event| event.state == EventState::Quarantined), "{listed:?}");
        let problem = listed[0].problem.as_deref().unwrap();
        assert_eq!(problem, "the field message_time is not a time of RFC 3339");
    }

    async fn what_lacks_a_field_that_its_type_needs_is_quarantined_when_it_is_applied(db) {
        let store = db.open().await;
        let homeless = with(text("m1", CHAT, NOW), json!({"user_id": null}));
        store.keep_events(&[received(&homeless, NOW)]).await.unwrap();
        assert_eq!(list(&*store).await[0].state, EventState::New);
        assert_eq!(store.apply_events(NOW, 256).await.unwrap(), 1);
        let listed = list(&*store).await;
        assert_eq!(listed[0].state, EventState::Quarantined);
        assert!(listed[0].problem.is_some());
    }

    async fn what_says_nothing_about_treatments_is_ignored(db) {
        let store = db.open().await;
        let family = with(text("m1", CHAT, NOW), json!({"event_type": "subscriber"}));
        let typeless = with(text("m2", CHAT, NOW), json!({"message_type": null}));
        store.keep_events(&[received(&family, NOW), received(&typeless, NOW)]).await.unwrap();
        assert_eq!(store.apply_events(NOW, 256).await.unwrap(), 2);
        assert!(list(&*store).await.iter().all(|event| event.state == EventState::Ignored));
    }

    async fn events_kept_by_many_at_once_are_all_kept_once(db) {
        let stores = db.open_twice().await;
        let mut tasks = JoinSet::new();
        for task in 0..8_usize {
            let store = Arc::clone(&stores[task % 2]);
            tasks.spawn(async move {
                let mut new = 0;
                for round in 0..10 {
                    let mut batch = texts(&format!("own-{task}-{round}"), 5);
                    // These come to everybody, each time in another order.
                    let mut shared = texts(&format!("shared-{round}"), 5);
                    shared.rotate_left(task % 5);
                    batch.extend(shared);
                    let kept = store.keep_events(&batch).await.unwrap();
                    new += kept.iter().filter(|kept| **kept == Kept::New).count();
                }
                new
            });
        }
        let new: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!(new, 8 * 10 * 5 + 10 * 5);
        let listed = list(&*stores[0]).await;
        assert_eq!(listed.len(), new);
        assert_eq!(listed.iter().map(|event| event.copies).sum::<i64>(), 8 * 10 * 10);
    }

    async fn copies_come_while_their_events_are_applied(db) {
        let stores = db.open_twice().await;
        let events = texts("m", 200);
        stores[0].keep_events(&events).await.unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..4_usize {
            let (store, mut copies) = (Arc::clone(&stores[task % 2]), events.clone());
            copies.rotate_left(task * 50);
            copies.reverse();
            tasks.spawn(async move {
                store.keep_events(&copies).await.unwrap();
                0
            });
        }
        let store = Arc::clone(&stores[1]);
        tasks.spawn(async move { store.apply_events(NOW, 256).await.unwrap() });
        assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 200);
        let listed = list(&*stores[0]).await;
        assert!(listed.iter().all(|e| e.copies == 5 && e.state == EventState::Applied));
    }

    async fn events_are_listed_by_line_treatment_type_and_fate(db) {
        let store = db.open().await;
        let bodies = [
            text("m1", ("a", "u", "t1"), NOW),
            text("m2", ("b", "u", "t2"), NOW),
            body(82, "m3", ("b", "u", "t2"), NOW),
            with(text("m4", ("b", "u", "t2"), NOW), json!({"user_id": null})),
        ];
        store.keep_events(&bodies.map(|body| received(&body, NOW))).await.unwrap();
        store.apply_events(NOW, 256).await.unwrap();
        let names = async |filter: EventFilter| -> Vec<String> {
            let found = store.list_events(&EventFilter { limit: 10, ..filter }).await.unwrap();
            let name = |event: EventRecord| {
                let body: Value = serde_json::from_slice(&event.body).unwrap();
                body["message_id"].as_str().unwrap().to_owned()
            };
            found.into_iter().map(name).collect()
        };
        let all = EventFilter::default;
        assert_eq!(
            names(EventFilter { line: Some("b".into()), ..all() }).await,
            ["m2", "m3", "m4"]
        );
        assert_eq!(names(EventFilter { treatment: Some("t1".into()), ..all() }).await, ["m1"]);
        assert_eq!(names(EventFilter { message_type: Some(82), ..all() }).await, ["m3"]);
        let quarantined = Some(EventState::Quarantined);
        assert_eq!(names(EventFilter { state: quarantined, ..all() }).await, ["m4"]);
        let second = store.list_events(&EventFilter { limit: 2, ..all() }).await.unwrap()[1].id;
        assert_eq!(names(EventFilter { after: second, ..all() }).await, ["m3", "m4"]);
    }
}
