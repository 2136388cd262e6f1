//! Words are found in what was said, in Russian too, and nothing that can be typed is an error.

use freeline::core::search::Query;
use freeline::store::{Search, Store};
use serde_json::json;

use crate::support::build::{NOW, at, line};
use crate::support::event::{body, text, with};
use crate::support::on_both_engines;
use crate::support::steps::{furnish, hear};

const SAID: [&str; 8] = [
    "Добрый день! Пришлите, пожалуйста, счёт на оплату",
    "Счета отправлены, ждём платежа",
    "Платёж № FL-4J7Q-2M9X на 12 345,67 ₽",
    "Груз не пришёл, где накладная?",
    "ПЛАТЕЖИ за март: акт сверки",
    "Invoice payments were received",
    "Всё пришло, но не груз",
    "100% готово_к_отгрузке (склад №5)",
];

/// A store in which all this was said, a second after each other.
async fn furnished(store: &dyn Store) {
    furnish(store, [line("a", "anna"), line("b", "anna")]).await;
    for (n, words) in (0..).zip(SAID) {
        let chat = if n % 2 == 0 { ("a", "u", "t") } else { ("b", "v", "s") };
        let said = with(text(&format!("m{n}"), chat, at(n)), json!({"text": words}));
        hear(store, &[said], at(n)).await;
    }
}

async fn search(store: &dyn Store, search: Search) -> Vec<usize> {
    let found = store.search_utterances(&search).await.unwrap();
    let place = |words: &str| SAID.iter().position(|one| *one == words).expect("it was said");
    found.iter().map(|one| place(one.said.text.as_deref().unwrap())).collect()
}

async fn found(store: &dyn Store, typed: &str) -> Vec<usize> {
    search(store, Search { query: Query::read(typed), limit: 100, ..Search::default() }).await
}

on_both_engines! {
    async fn words_are_found_whatever_their_case_and_with_yo_or_without(db) {
        let store = db.open().await;
        furnished(&*store).await;
        for (typed, places) in [
            ("счет", vec![1, 0]),
            ("СЧЁТ", vec![1, 0]),
            ("сче\u{308}т", vec![1, 0]),
            ("платеж", vec![4, 2, 1]),
            ("Платёж", vec![4, 2, 1]),
            ("груз накладная", vec![3]),
            ("invoice", vec![5]),
            ("FL-4J7Q-2M9X", vec![2]),
            ("fl 4j7q", vec![2]),
            ("12 345,67", vec![2]),
            ("склад", vec![7]),
            ("верблюд", vec![]),
            ("груз верблюд", vec![]),
        ] {
            assert_eq!(found(&*store, typed).await, places, "{typed}");
        }
    }

    async fn quotations_stand_beside_each_other_and_what_is_unwanted_is_not_there(db) {
        let store = db.open().await;
        furnished(&*store).await;
        for (typed, places) in [
            ("груз", vec![6, 3]),
            ("груз -накладная", vec![6]),
            ("-накладная груз", vec![6]),
            ("груз -\"груз не пришёл\"", vec![6]),
            ("\"акт сверки\"", vec![4]),
            ("\"сверки акт\"", vec![]),
            ("«акт сверки» -март", vec![]),
            ("-груз", vec![]),
        ] {
            assert_eq!(found(&*store, typed).await, places, "{typed}");
        }
    }

    async fn nothing_that_can_be_typed_is_an_error(db) {
        let store = db.open().await;
        furnished(&*store).await;
        let odd = [
            "", " ", "\"", "\"\"", "'", "''", "\"'\"", "*", "счет*", "^счет", "words:счет",
            "{words} : счет", "счет AND", "OR", "NOT", "NEAR(счет, 5)", "(счет", "счет)", "-", "--",
            "- счет", "счет -", "\\", "счет\\", "%", "_", "&", "|", "!", "<->", "счет & !", ":*",
            "счет:*A", "a\0b", "\0", "\u{301}", "²½Ⅷ", "😀", "日本語", "ﷺ", "\u{202e}abc", "и", "не",
            "счет; DROP TABLE utterances", "$1", "?1", "İ", "ß", "e\u{308}", "1e999", "0x1F",
        ];
        for typed in odd {
            found(&*store, typed).await;
        }
        for long in ["ж".repeat(10_000), "жук ".repeat(2_500), "\"".repeat(10_000)] {
            assert_eq!(found(&*store, &long).await, [] as [usize; 0]);
        }
    }

    async fn hits_are_narrowed_by_user_line_and_time_and_come_in_pages(db) {
        let store = db.open().await;
        furnished(&*store).await;
        let of = |typed: &str| {
            Search { query: Query::read(typed), limit: 100, ..Search::default() }
        };
        let user = Search { user: Some("u".into()), ..of("платеж") };
        assert_eq!(search(&*store, user).await, [4, 2]);
        let line = Search { line: Some("b".into()), ..of("платеж") };
        assert_eq!(search(&*store, line).await, [1]);
        let span = Search { from: Some(at(2)), to: Some(at(4)), ..of("платеж") };
        assert_eq!(search(&*store, span).await, [2]);
        let mut page = Search { limit: 1, ..of("платеж") };
        let mut seen = Vec::new();
        loop {
            let hits = store.search_utterances(&page).await.unwrap();
            let Some(last) = hits.last() else { break };
            page.before_event = Some(last.said.event);
            seen.extend(search(&*store, Search { before_event: Some(last.said.event + 1),
                ..page.clone() }).await);
            // What comes in meanwhile moves nothing.
            let id = format!("new-{}", seen.len());
            let said = with(text(&id, ("a", "u", "t"), NOW), json!({"text": SAID[2]}));
            hear(&*store, &[said], at(50)).await;
        }
        assert_eq!(seen, [4, 2, 1]);
    }

    async fn files_are_found_by_their_name_and_comment_once_they_are_known(db) {
        let store = db.open().await;
        furnished(&*store).await;
        let file = json!({"file_name": "Накладная_17.pdf", "comment": "подписано"});
        let whole = with(body(70, "f", ("a", "u", "t"), NOW), json!({"file": file}));
        let bare = with(whole.clone(), json!({"file": null, "event_source": "bot"}));
        hear(&*store, &[bare], NOW).await;
        let count = async |typed: &str| {
            let query = Query::read(typed);
            let search = Search { query, limit: 9, ..Search::default() };
            store.search_utterances(&search).await.unwrap().len()
        };
        assert_eq!((count("накладная").await, count("подписано").await), (1, 0));
        hear(&*store, &[whole], NOW).await;
        assert_eq!((count("накладная").await, count("подписано").await), (2, 1));
    }
}

on_both_engines! {
    async fn postgresql_finds_all_forms_of_a_word_sqlite_those_that_begin_with_it(db) {
        let store = db.open().await;
        furnished(&*store).await;
        let knows_forms = db.takes_replicas();
        let forms = if knows_forms { vec![4, 2, 1] } else { vec![] };
        assert_eq!(found(&*store, "платежами").await, forms);
        // Two letters are a whole word.
        assert_eq!(found(&*store, "ак").await, [] as [usize; 0]);
        assert_eq!(found(&*store, "наклад").await, [3]);
    }
}
