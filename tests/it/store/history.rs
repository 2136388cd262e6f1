//! What was said: each message once, in order, and nothing of an older database is lost.

use freeline::core::search::Query;
use freeline::core::time::{Span, Time};
use freeline::core::utterance::Speaker;
use freeline::store::{
    CaughtUp, Conversation, Cursor, Search, Store, TreatmentFilter, UtteranceFilter,
    UtteranceRecord,
};
use serde_json::{Value, json};

use crate::support::build::{NOW, at, line};
use crate::support::database::{Direct, TestDatabase};
use crate::support::event::{answer, body, close, moved_from, moved_to, received, text, with};
use crate::support::on_both_engines;
use crate::support::steps::{furnish, hear};

const CHAT: (&str, &str, &str) = ("a", "u", "t");

fn part(of: Conversation) -> UtteranceFilter {
    UtteranceFilter { of, after_event: 0, cursor: None, limit: 1_000 }
}

async fn said_in(store: &dyn Store, treatment: &str) -> Vec<UtteranceRecord> {
    store.list_utterances(&part(Conversation::Treatment(treatment.into()))).await.unwrap()
}

fn words(said: &[UtteranceRecord]) -> Vec<String> {
    said.iter().map(|one| one.said.words()).collect()
}

fn by_bot(body: &Value) -> Value {
    with(body.clone(), json!({"event_source": "bot", "treatment_id": null}))
}

fn file(id: &str, at: Time) -> Value {
    let file = json!({"file_id": "f1", "file_name": "Счёт.pdf", "file_path": "https://f/1",
        "file_size": 12_345, "comment": "за март", "preview_link": "https://f/1/small",
        "preview_link_hi": "https://f/1/large", "preview_hi_sizes": "500x326"});
    with(body(70, id, CHAT, at), json!({"file": file}))
}

/// Steps until all of the past is taken over; answers how many steps told that there may be more.
async fn catch_up(store: &dyn Store, now: Time) -> usize {
    for steps in 0..1_000 {
        match store.catch_up(now, 3).await.unwrap() {
            CaughtUp::Partly => {}
            CaughtUp::Whole => return steps,
            CaughtUp::ForNow => panic!("nobody else writes"),
        }
    }
    panic!("the past never ends");
}

/// Keeps events as a version without history did: taken into account, and nothing else written.
async fn keep_the_old_way(direct: &mut Direct, bodies: &[Value], received_at: Time) {
    for body in bodies {
        let text = |name: &str| match body[name].as_str() {
            Some(text) => format!("'{text}'"),
            None => "NULL".to_owned(),
        };
        let bytes: String = body.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        let blob = match direct {
            Direct::Sqlite(_) => format!("X'{bytes}'"),
            Direct::Postgres(_) => format!("'\\x{bytes}'::bytea"),
        };
        let insert = format!(
            "INSERT INTO events (received_at, message_id, message_type, event_source, event_type, \
             line_id, user_id, author_id, treatment_id, body, state) \
             VALUES ({}, {}, {}, {}, 'line', {}, {}, {}, {}, {blob}, 'applied')",
            received_at.micros(),
            text("message_id"),
            body["message_type"],
            text("event_source"),
            text("line_id"),
            text("user_id"),
            text("author_id"),
            text("treatment_id"),
        );
        direct.run(&insert).await.unwrap();
    }
}

on_both_engines! {
    async fn the_copies_for_both_hooks_are_one_message_in_whatever_order_they_come(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let (one, other) = (text("m1", CHAT, at(1)), text("m2", CHAT, at(2)));
        // In one batch and in several.
        hear(&*store, &[one.clone(), by_bot(&one)], at(3)).await;
        hear(&*store, &[by_bot(&other)], at(4)).await;
        hear(&*store, &[other], at(5)).await;
        let said = said_in(&*store, "t").await;
        let ids: Vec<_> = said.iter().map(|one| one.said.message_id.clone().unwrap()).collect();
        assert_eq!(ids, ["m1", "m2"]);
        assert_eq!((said[1].said.heard_at, said[1].said.at), (at(4), at(2)));
    }

    async fn a_late_copy_fills_in_what_the_first_one_lacked_and_changes_nothing_else(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let whole = file("m1", at(1));
        let lacking = with(
            by_bot(&whole),
            json!({"author_id": null, "file": {"file_id": "f1", "file_name": "Счёт.pdf"}}),
        );
        hear(&*store, &[lacking], at(2)).await;
        assert_eq!(said_in(&*store, "t").await, []);
        hear(&*store, &[whole], at(3)).await;
        let said = said_in(&*store, "t").await;
        let file = said[0].said.file.clone().expect("a file");
        assert_eq!((said.len(), said[0].said.speaker), (1, Speaker::User));
        assert_eq!((file.bytes, file.comment.as_deref()), (Some(12_345), Some("за март")));
        assert_eq!(file.preview_url.as_deref(), Some("https://f/1/small"));
        assert_eq!(file.preview_hi_size.as_deref(), Some("500x326"));
        assert_eq!(said[0].said.heard_at, at(2));
        // Another one later changes nothing any more.
        let changed = with(by_bot(&file_named("m1", "other.pdf")), json!({"line_id": "a"}));
        hear(&*store, &[changed], at(4)).await;
        assert_eq!(said_in(&*store, "t").await, said);
    }

    async fn what_was_said_is_listed_in_the_order_of_its_time_and_page_by_page(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let order = [5, 1, 4, 1, 3, 2, 5];
        let bodies: Vec<Value> = order
            .iter()
            .enumerate()
            .map(|(n, second)| {
                let id = format!("m{n}");
                with(text(&id, CHAT, at(*second)), json!({"text": format!("{second}.{n}")}))
            })
            .collect();
        hear(&*store, &bodies, at(9)).await;
        let expected = ["1.1", "1.3", "2.5", "3.4", "4.2", "5.0", "5.6"];
        assert_eq!(words(&said_in(&*store, "t").await), expected);
        let mut filter = part(Conversation::Treatment("t".into()));
        filter.limit = 2;
        let mut paged = Vec::new();
        loop {
            let page = store.list_utterances(&filter).await.unwrap();
            let Some(last) = page.last() else { break };
            filter.cursor = Some((last.said.at, last.said.event));
            paged.extend(words(&page));
        }
        assert_eq!(paged, expected);
        let all = said_in(&*store, "t").await;
        let newest = all.iter().map(|one| one.said.event).max().unwrap();
        let after = UtteranceFilter {
            after_event: newest - 1,
            ..part(Conversation::Treatment("t".into()))
        };
        assert_eq!(words(&store.list_utterances(&after).await.unwrap()), ["5.6"]);
    }

    async fn messages_without_an_id_are_not_taken_for_copies(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let nameless = with(text("m", CHAT, NOW), json!({"message_id": null}));
        hear(&*store, &[nameless.clone(), nameless], NOW).await;
        assert_eq!(said_in(&*store, "t").await.len(), 2);
    }

    async fn what_is_no_message_or_was_not_understood_is_not_said(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let homeless = with(text("m1", CHAT, NOW), json!({"user_id": null}));
        let family = with(text("m2", CHAT, NOW), json!({"event_type": "subscriber"}));
        hear(&*store, &[homeless, family, close("m3", CHAT, NOW)], NOW).await;
        assert_eq!(said_in(&*store, "t").await, []);
    }

    async fn a_message_as_large_as_an_event_may_be_is_kept_and_found(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let long = format!("начало {}", "слово ".repeat(80_000));
        let unbroken = "ж".repeat(300_000);
        for (id, words) in [("m1", &long), ("m2", &unbroken)] {
            hear(&*store, &[with(text(id, CHAT, NOW), json!({"text": words}))], NOW).await;
        }
        let said = said_in(&*store, "t").await;
        assert_eq!(said.iter().map(|one| one.said.text.clone().unwrap()).collect::<Vec<_>>(),
            [long, unbroken]);
        let query = Query::read("начало");
        let search = Search { query, limit: 9, ..Search::default() };
        assert_eq!(store.search_utterances(&search).await.unwrap().len(), 1);
    }

    async fn the_treatments_of_a_user_are_listed_over_all_lines_newest_first(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna"), line("b", "anna")]).await;
        let chats = [("a", "u", "t1"), ("b", "u", "t2"), ("a", "u", "t3"), ("a", "v", "t4")];
        for (n, chat) in (0..).zip(chats) {
            let first = text(&format!("{}-1", chat.2), chat, at(n * 10));
            let second = answer(&format!("{}-2", chat.2), chat, "Да", at(n * 10 + 5));
            hear(&*store, &[first, second, close(&format!("{}-3", chat.2), chat, at(n * 10 + 6))],
                at(90)).await;
        }
        hear(&*store, &[body(20, "call", ("b", "u", "t5"), at(60))], at(90)).await;
        let mut filter =
            TreatmentFilter { user: Some("u".into()), limit: 2, ..TreatmentFilter::default() };
        let mut found = Vec::new();
        loop {
            let page = store.list_conversations(&filter).await.unwrap();
            let Some(last) = page.last() else { break };
            let id = last.treatment.id.as_str().to_owned();
            filter.cursor = Some(Cursor { at: last.treatment.opened_at, id });
            found.extend(page);
        }
        let seen: Vec<_> = found
            .iter()
            .map(|one| (one.treatment.id.as_str(), one.messages, one.last_message_at))
            .collect();
        assert_eq!(seen, [
            ("t5", 0, None),
            ("t3", 2, Some(at(25))),
            ("t2", 2, Some(at(15))),
            ("t1", 2, Some(at(5))),
        ]);
    }

    async fn everything_that_was_said_before_the_update_is_taken_over_once(db) {
        let mut direct = db.before("0006").await;
        let mut old: Vec<Value> = (1..=20_i64)
            .map(|n| with(text(&format!("m{n}"), CHAT, at(n)), json!({"text": format!("n{n}")})))
            .collect();
        old.insert(5, by_bot(&old[7].clone()));
        old.push(close("m21", CHAT, at(21)));
        old.push(with(text("m22", CHAT, at(22)), json!({"message_time": 5})));
        old.push(file("m23", at(23)));
        old.push(with(text("m", CHAT, at(24)), json!({"message_id": null, "text": "nameless"})));
        keep_the_old_way(&mut direct, &old, at(30)).await;
        drop(direct);
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        // What comes in meanwhile, also of what is still to be taken over, changes nothing.
        hear(&*store, &[by_bot(&old[0]), text("m30", CHAT, at(40))], at(40)).await;
        let day = Span::from_secs(2 * 24 * 3_600);
        assert!(catch_up(&*store, at(41).plus(day)).await > 5);
        let mut expected: Vec<String> = (1..=20).map(|n| format!("n{n}")).collect();
        expected.push("Счёт.pdf\nза март".to_owned());
        expected.extend(["nameless", "Hello"].map(str::to_owned));
        assert_eq!(words(&said_in(&*store, "t").await), expected);
        assert_eq!(store.catch_up(at(99), 3).await.unwrap(), CaughtUp::Whole);
        let search = Search { query: Query::read("счет"), limit: 9, ..Search::default() };
        assert_eq!(store.search_utterances(&search).await.unwrap().len(), 1);
    }

    async fn a_new_database_has_nothing_to_catch_up_with(db) {
        let store = db.open().await;
        assert_eq!(store.catch_up(NOW, 3).await.unwrap(), CaughtUp::Whole);
    }

    async fn events_that_wait_are_left_to_the_one_who_takes_them_into_account(db) {
        let mut direct = db.before("0006").await;
        let (one, other) = (text("m1", CHAT, at(1)), text("m2", CHAT, at(2)));
        keep_the_old_way(&mut direct, &[one, other], at(3)).await;
        direct.run("UPDATE events SET state = 'new' WHERE message_id = 'm2'").await.unwrap();
        drop(direct);
        let store = db.open().await;
        assert_eq!(store.catch_up(at(3), 9).await.unwrap(), CaughtUp::Partly);
        assert_eq!(store.catch_up(at(3), 9).await.unwrap(), CaughtUp::ForNow);
        hear(&*store, &[], at(4)).await;
        assert_eq!(said_in(&*store, "t").await.len(), 2);
        assert_eq!(store.catch_up(at(5), 9).await.unwrap(), CaughtUp::Partly);
        assert_eq!(said_in(&*store, "t").await.len(), 2);
    }

    async fn large_events_of_the_past_are_taken_over_a_few_at_a_time(db) {
        let mut direct = db.before("0006").await;
        let large = |n: i64| {
            with(text(&format!("m{n}"), CHAT, at(n)), json!({"text": "x ".repeat(500_000)}))
        };
        keep_the_old_way(&mut direct, &(1..=9).map(large).collect::<Vec<_>>(), at(10)).await;
        drop(direct);
        let store = db.open().await;
        assert_eq!(store.catch_up(at(11), 100).await.unwrap(), CaughtUp::Partly);
        assert_eq!(said_in(&*store, "t").await.len(), 4);
    }

    async fn the_conversation_of_a_moved_treatment_is_that_of_both_lines_for_its_payment(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna"), line("b", "anna")]).await;
        let mut direct = db.direct().await;
        let first = answer("m1", ("a", "u", "t1"), "здесь", at(1));
        let halves = [
            moved_to("m2", ("a", "u", "t1"), ("b", "t2"), at(2)),
            moved_from("m3", ("b", "u", "t2"), ("a", "t1"), at(2)),
        ];
        let second = answer("m4", ("b", "u", "t2"), "там", at(3));
        hear(&*store, &[first], at(4)).await;
        hear(&*store, &halves, at(4)).await;
        hear(&*store, &[second], at(4)).await;
        crate::support::steps::add(&*store, crate::support::build::payment(1), NOW).await;
        direct.run("UPDATE payments SET treatment_id = 't2' WHERE id = 'payment-1'").await.unwrap();
        let of = |id: &str| part(Conversation::Payment(id.into()));
        let found = store.list_utterances(&of("payment-1")).await.unwrap();
        assert_eq!(words(&found), ["здесь", "там"]);
        assert_eq!(store.list_utterances(&of("payment-9")).await.unwrap(), []);
    }
}

fn file_named(id: &str, name: &str) -> Value {
    with(file(id, at(1)), json!({"file": {"file_id": "f9", "file_name": name}}))
}

#[tokio::test]
async fn what_an_older_replica_takes_in_within_a_day_of_the_update_is_taken_over_too() {
    let db = TestDatabase::postgres().await;
    let mut direct = db.before("0006").await;
    keep_the_old_way(&mut direct, &[text("m1", CHAT, at(1))], at(1)).await;
    let store = db.open().await;
    assert_eq!(store.catch_up(at(2), 9).await.unwrap(), CaughtUp::Partly);
    assert_eq!(store.catch_up(at(2), 9).await.unwrap(), CaughtUp::ForNow);
    keep_the_old_way(&mut direct, &[text("m2", CHAT, at(3))], at(3)).await;
    assert_eq!(store.catch_up(at(4), 9).await.unwrap(), CaughtUp::Partly);
    assert_eq!(said_in(&*store, "t").await.len(), 2);
    let later = at(1).plus(Span::from_secs(24 * 3_600 + 1));
    assert_eq!(store.catch_up(later, 9).await.unwrap(), CaughtUp::Whole);
    let event = received(&text("m3", CHAT, later), later);
    store.keep_events(&[event]).await.unwrap();
    assert_eq!(store.catch_up(later, 9).await.unwrap(), CaughtUp::Whole);
}
