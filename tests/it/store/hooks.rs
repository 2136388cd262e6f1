//! What is known of the registrations of our callback URL.

use freeline::core::line::LineState;
use freeline::store::{HookRecord, HookState, HookTarget, StoredHookKind};

use crate::support::build::{NOW, at, directory, line};
use crate::support::event::text;
use crate::support::on_both_engines;
use crate::support::steps::{furnish, hear, line_state, open_line, report};

fn hook(kind: StoredHookKind, state: HookState, seconds: i64) -> HookRecord {
    HookRecord {
        kind,
        state,
        url: Some("https://here/".to_owned()),
        fingerprint: None,
        detail: Some("words".to_owned()),
        checked_at: at(seconds),
    }
}

on_both_engines! {
    async fn the_lines_of_the_directory_are_hook_targets_with_what_is_known(db) {
        let store = db.open().await;
        let lines = ["a", "b", "c"].map(|id| line(id, "anna"));
        store.replace_directory(&directory(lines), NOW).await.unwrap();
        let (by_line, by_bot) = (StoredHookKind::Line, StoredHookKind::Bot);
        store.record_hook(&"b".into(), &hook(by_line, HookState::Wanted, 1)).await.unwrap();
        store.record_hook(&"b".into(), &hook(by_bot, HookState::Foreign, 2)).await.unwrap();
        let set = HookRecord {
            url: None,
            fingerprint: Some("f".to_owned()),
            detail: None,
            ..hook(by_line, HookState::Set, 3)
        };
        store.record_hook(&"b".into(), &set).await.unwrap();
        store.record_hooked(&"a".into(), true, at(4)).await.unwrap();
        store
            .replace_directory(&directory(["a", "b"].map(|id| line(id, "anna"))), at(5))
            .await
            .unwrap();
        let expected = [
            HookTarget { line: "a".into(), hooked: true, known: false, hooks: vec![] },
            HookTarget {
                line: "b".into(),
                hooked: false,
                known: false,
                hooks: vec![hook(by_bot, HookState::Foreign, 2), set.clone()],
            },
        ];
        assert_eq!(store.hook_targets().await.unwrap(), expected);
        assert_eq!(report(&*store, "b").await.hooks, expected[1].hooks);
        let status = store.status(NOW).await.unwrap();
        let counted = [(by_bot, HookState::Foreign, 1), (by_line, HookState::Set, 1)];
        assert_eq!(status.hooks, counted);
        assert_eq!(status.hook_problems, [("b".into(), hook(by_bot, HookState::Foreign, 2))]);
    }

    async fn only_a_change_of_a_lines_hooks_is_news(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        assert!(!store.record_hooked(&"a".into(), true, at(1)).await.unwrap());
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
        assert!(store.record_hooked(&"a".into(), false, at(2)).await.unwrap());
        assert_eq!(line_state(&*store, "a").await, LineState::Unknown);
        assert!(!store.record_hooked(&"a".into(), false, at(3)).await.unwrap());
        assert_eq!(store.lines_to_look_at(at(9_999), 9).await.unwrap(), []);
        assert!(store.record_hooked(&"a".into(), true, at(4)).await.unwrap());
        assert_eq!(store.lines_to_look_at(at(4), 9).await.unwrap(), ["a".into()]);
        assert!(!store.record_hooked(&"none".into(), true, at(4)).await.unwrap());
    }

    async fn what_is_open_is_kept_while_the_hooks_are_missing(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u", "t"), NOW)], NOW).await;
        store.record_hooked(&"a".into(), false, at(1)).await.unwrap();
        assert_eq!(report(&*store, "a").await.treatments.len(), 1);
        open_line(&*store, "a", at(6)).await;
        assert_eq!(line_state(&*store, "a").await, LineState::Free, "the look ended it");
    }

    async fn every_address_that_was_ever_ours_is_remembered(db) {
        let store = db.open().await;
        let remember = async |url| store.own_urls(url).await.unwrap();
        assert_eq!(remember("https://b/").await, ["https://b/"]);
        assert_eq!(remember("https://a/").await, ["https://a/", "https://b/"]);
        assert_eq!(remember("https://b/").await, ["https://a/", "https://b/"]);
    }
}
