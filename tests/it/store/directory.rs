//! The directory: whole or entry by entry.

use freeline::core::line::LineState;
use freeline::core::payment::PaymentState;
use freeline::store::{Directory, LineEntry, Manager};

use crate::support::build::{NOW, at, counterparty, directory, line, manager, payment, payment_of};
use crate::support::event::text;
use crate::support::on_both_engines;
use crate::support::steps::{
    add, dispatch, furnish, hear, line_state, open_line, pairs, report, sending, state, why,
};

on_both_engines! {
    async fn a_directory_is_given_back_as_it_was_given(db) {
        let store = db.open().await;
        assert_eq!(store.directory().await.unwrap(), Directory::default());
        let given = Directory {
            managers: vec![
                manager("anna"),
                Manager { specialist: Some("s".into()), enabled: false, ..manager("boris") },
            ],
            lines: vec![
                line("a", "anna"),
                LineEntry { capacity: 3, position: 7, enabled: false, ..line("b", "boris") },
            ],
            counterparties: vec![counterparty("acme", "boris")],
        };
        store.replace_directory(&given, NOW).await.unwrap();
        assert_eq!(store.directory().await.unwrap(), given);
    }

    async fn what_is_missing_from_a_new_directory_is_disabled_and_not_deleted(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        store.replace_directory(&directory([line("b", "anna")]), at(5)).await.unwrap();
        assert_eq!(store.directory().await.unwrap(), directory([line("b", "anna")]));
        let gone = report(&*store, "a").await;
        assert_eq!((gone.state, gone.present, gone.since), (LineState::Disabled, false, at(5)));
        assert_eq!(line_state(&*store, "b").await, LineState::Free);
    }

    async fn a_line_that_comes_back_is_unknown_until_it_was_looked_at(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        store.replace_directory(&directory([]), at(5)).await.unwrap();
        hear(&*store, &[text("m1", ("a", "u", "t"), at(6))], at(6)).await;
        assert_eq!(line_state(&*store, "a").await, LineState::Disabled);
        store.replace_directory(&directory([line("a", "anna")]), at(7)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Unknown);
    }

    async fn a_payment_waits_while_its_only_line_is_missing_and_goes_when_it_comes_back(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        store.replace_directory(&directory([]), at(1)).await.unwrap();
        add(&*store, payment(1), at(2)).await;
        assert_eq!(dispatch(&*store, at(2)).await, []);
        assert_eq!(why(&*store, "payment-1").await, ["queued", "no_lines"]);
        store.replace_directory(&directory([line("a", "anna")]), at(3)).await.unwrap();
        open_line(&*store, "a", at(3)).await;
        assert_eq!(dispatch(&*store, at(3)).await, pairs(&[(1, "a")]));
    }

    async fn what_was_not_sent_yet_leaves_a_line_that_is_not_to_be_used_any_more(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        add(&*store, payment(1), NOW).await;
        assert_eq!(dispatch(&*store, NOW).await, pairs(&[(1, "a")]));
        store.replace_directory(&directory([line("b", "anna")]), at(1)).await.unwrap();
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
        store.pause_line(&"b".into(), Some("stocktaking"), at(2)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        assert_eq!(why(&*store, "payment-1").await, ["line_paused", "line_paused"]);
        store.pause_line(&"b".into(), None, at(3)).await.unwrap();
        assert_eq!(dispatch(&*store, at(3)).await, pairs(&[(1, "b")]));
        // Nor does it stay where nobody hears what happens.
        store.record_hooked(&"b".into(), false, at(4)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        open_line(&*store, "b", at(5)).await;
        assert_eq!(dispatch(&*store, at(5)).await, pairs(&[(1, "b")]));
    }

    async fn what_is_under_way_stays_on_a_line_that_leaves(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        sending(&*store, payment(1), NOW).await;
        store.replace_directory(&directory([]), at(1)).await.unwrap();
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Sending);
    }

    async fn what_was_not_sent_yet_does_not_go_to_a_line_that_is_somebody_elses_now(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        assert_eq!(dispatch(&*store, NOW).await, pairs(&[(1, "a")]));
        store.put_manager(&manager("boris"), at(1)).await.unwrap();
        assert!(store.put_line(&line("a", "boris"), at(1)).await.unwrap());
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Queued);
        assert_eq!(dispatch(&*store, at(1)).await, []);
    }

    async fn a_larger_capacity_makes_room_at_once_and_a_smaller_one_takes_it(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u", "t"), NOW)], NOW).await;
        let wide = LineEntry { capacity: 2, ..line("a", "anna") };
        assert!(store.put_line(&wide, at(1)).await.unwrap());
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
        add(&*store, payment(1), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "a")]));
        assert!(store.put_line(&line("a", "anna"), at(2)).await.unwrap());
        assert_eq!(line_state(&*store, "a").await, LineState::Busy);
    }

    async fn a_new_position_changes_which_line_is_filled_first(db) {
        let store = db.open().await;
        let lines =
            [("a", 1), ("b", 2)].map(|(id, position)| LineEntry { position, ..line(id, "anna") });
        furnish(&*store, lines).await;
        store.put_line(&LineEntry { position: 3, ..line("a", "anna") }, NOW).await.unwrap();
        add(&*store, payment(1), NOW).await;
        assert_eq!(dispatch(&*store, NOW).await, pairs(&[(1, "b")]));
    }

    async fn a_line_that_changes_its_manager_serves_the_new_one(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        store.put_manager(&manager("boris"), NOW).await.unwrap();
        store.put_line(&line("a", "boris"), NOW).await.unwrap();
        add(&*store, payment(1), NOW).await;
        let of_boris = freeline::store::NewPayment { manager: Some("boris".into()), ..payment(2) };
        add(&*store, of_boris, NOW).await;
        assert_eq!(dispatch(&*store, NOW).await, pairs(&[(2, "a")]));
    }

    async fn a_paused_line_takes_nothing_until_it_is_resumed(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        assert!(store.pause_line(&"a".into(), Some("holiday"), at(1)).await.unwrap());
        let paused = report(&*store, "a").await;
        assert_eq!((paused.state, paused.since), (LineState::Paused, at(1)));
        assert_eq!(paused.paused.as_deref(), Some("holiday"));
        add(&*store, payment(1), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, []);
        assert_eq!(why(&*store, "payment-1").await, ["queued", "line_paused"]);
        assert!(store.pause_line(&"a".into(), None, at(2)).await.unwrap());
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(1, "a")]));
        assert!(!store.pause_line(&"none".into(), None, at(2)).await.unwrap());
    }

    async fn a_new_directory_leaves_a_pause_alone(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        store.pause_line(&"a".into(), Some("holiday"), at(1)).await.unwrap();
        store.replace_directory(&directory([line("a", "anna")]), at(2)).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, LineState::Paused);
    }

    async fn entries_are_put_one_by_one_where_their_manager_is_known(db) {
        let store = db.open().await;
        assert!(!store.put_line(&line("a", "anna"), NOW).await.unwrap());
        assert!(!store.put_counterparty(&counterparty("acme", "anna"), NOW).await.unwrap());
        store.put_manager(&manager("anna"), NOW).await.unwrap();
        assert!(store.put_line(&line("a", "anna"), NOW).await.unwrap());
        assert!(store.put_counterparty(&counterparty("acme", "anna"), NOW).await.unwrap());
        let expected = Directory {
            counterparties: vec![counterparty("acme", "anna")],
            ..directory([line("a", "anna")])
        };
        assert_eq!(store.directory().await.unwrap(), expected);
        store.replace_directory(&Directory::default(), NOW).await.unwrap();
        assert!(!store.put_line(&line("a", "anna"), NOW).await.unwrap(), "gone is not known");
    }

    async fn a_payment_follows_its_counterparty_to_another_manager(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.put_counterparty(&counterparty("acme", "anna"), NOW).await.unwrap();
        add(&*store, payment_of(1, "acme"), NOW).await;
        store.put_manager(&manager("boris"), NOW).await.unwrap();
        store.put_line(&line("b", "boris"), NOW).await.unwrap();
        open_line(&*store, "b", NOW).await;
        store.put_counterparty(&counterparty("acme", "boris"), at(1)).await.unwrap();
        while store.recheck_payments(at(1), 256).await.unwrap() > 0 {}
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "b")]));
    }

    async fn a_manager_disabled_while_a_payment_is_on_its_way_gets_no_second_try(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        store.put_manager(&Manager { enabled: false, ..manager("anna") }, at(1)).await.unwrap();
        while store.recheck_payments(at(1), 256).await.unwrap() > 0 {}
        let refused = crate::support::steps::refused(404, "no");
        crate::support::steps::answered(&*store, &claimed, refused, at(2)).await;
        while store.recheck_payments(at(2), 256).await.unwrap() > 0 {}
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Held);
        assert_eq!(dispatch(&*store, at(2)).await, []);
    }
}
