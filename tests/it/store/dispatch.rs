//! Which payment goes to which line.

use std::collections::BTreeSet;
use std::sync::Arc;

use freeline::core::payment::PaymentState;
use freeline::store::{LineEntry, NewPayment};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, directory, line, manager, payment};
use crate::support::event::{answer, close, text};
use crate::support::on_both_engines;
use crate::support::steps::{
    add, answered, claim_one, details, dispatch, furnish, hear, open_line, pairs, refused, report,
    state, why,
};
use freeline::core::outcome::Answer;

on_both_engines! {
    async fn a_freed_line_takes_the_oldest_waiting_payment(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", ("a", "u", "t"), NOW)], NOW).await;
        for n in [2, 1, 3] {
            add(&*store, payment(n), at(i64::try_from(n).unwrap())).await;
        }
        assert_eq!(dispatch(&*store, at(4)).await, []);
        hear(&*store, &[close("m2", ("a", "u", "t"), at(5))], at(5)).await;
        assert_eq!(dispatch(&*store, at(5)).await, pairs(&[(1, "a")]));
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.state, found.reason.line), (PaymentState::Sending, Some("a".into())));
    }

    async fn priority_goes_before_age_and_equal_age_goes_by_id(db) {
        let store = db.open().await;
        let lines = (0..4).map(|n| LineEntry { position: n, ..line(&format!("l{n}"), "anna") });
        furnish(&*store, lines).await;
        for (n, priority, seconds) in [(4, 0, 1), (3, 0, 2), (2, 0, 2), (1, 5, 9)] {
            add(&*store, NewPayment { priority, ..payment(n) }, at(seconds)).await;
        }
        let expected = [(1, "l0"), (4, "l1"), (2, "l2"), (3, "l3")];
        assert_eq!(dispatch(&*store, at(9)).await, pairs(&expected));
    }

    async fn lines_fill_by_position_then_the_least_recently_used_first(db) {
        let store = db.open().await;
        let lines = [("z", 1), ("c", 2), ("b", 2)];
        furnish(&*store, lines.map(|(id, position)| LineEntry { position, ..line(id, "anna") }))
            .await;
        let mut order = Vec::new();
        for n in 1..=6_u64 {
            let now = at(i64::try_from(n).unwrap());
            add(&*store, payment(n), now).await;
            let reserved = dispatch(&*store, now).await;
            // The first line stays taken, the others are given back at once.
            if n > 1 {
                let id = format!("payment-{n}");
                let cancel = freeline::core::payment::Command::Cancel;
                store
                    .command_payment(&id.as_str().into(), cancel, "", now)
                    .await
                    .unwrap()
                    .unwrap()
                    .unwrap();
            }
            order.extend(reserved.into_iter().map(|(_, line)| line));
        }
        assert_eq!(order, ["z", "b", "c", "b", "c", "b"]);
    }

    async fn a_line_for_two_takes_two_of_different_users_and_no_third(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 2, ..line("a", "anna") }]).await;
        for n in 1..=3 {
            add(&*store, payment(n), at(0)).await;
        }
        assert_eq!(dispatch(&*store, NOW).await, pairs(&[(1, "a"), (2, "a")]));
        assert_eq!(why(&*store, "payment-3").await, ["queued", "line_is_reserved"]);
        assert_eq!(report(&*store, "a").await.reservations.len(), 2);
    }

    async fn a_user_never_has_two_on_one_line(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 3, ..line("a", "anna") }, line("b", "anna")]).await;
        let of_one = |n| NewPayment { user: Some("u".into()), ..payment(n) };
        for n in 1..=3 {
            add(&*store, of_one(n), NOW).await;
        }
        add(&*store, payment(4), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "a"), (2, "b"), (4, "a")]));
        let expected = ["queued", "user_on_line", "line_is_reserved"];
        assert_eq!(why(&*store, "payment-3").await, expected);
    }

    async fn a_user_who_opened_a_treatment_of_his_own_gets_no_dispatch_on_that_line(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 2, ..line("a", "anna") }]).await;
        hear(&*store, &[text("m1", ("a", "user-1", "t"), NOW)], NOW).await;
        add(&*store, payment(1), NOW).await;
        add(&*store, payment(2), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(2, "a")]));
    }

    async fn a_line_that_is_not_known_gets_nothing(db) {
        let store = db.open().await;
        store.replace_directory(&directory([line("a", "anna")]), NOW).await.unwrap();
        add(&*store, payment(1), NOW).await;
        assert_eq!(dispatch(&*store, NOW).await, []);
        store.record_hooked(&"a".into(), true, at(1)).await.unwrap();
        assert_eq!(dispatch(&*store, at(1)).await, []);
        assert_eq!(why(&*store, "payment-1").await, ["queued", "line_unknown"]);
        store.record_look(&"a".into(), &[], at(2), at(3)).await.unwrap();
        assert_eq!(dispatch(&*store, at(3)).await, pairs(&[(1, "a")]));
    }

    async fn each_manager_has_a_queue_of_his_own(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        store.put_manager(&manager("boris"), NOW).await.unwrap();
        store.put_line(&line("b", "boris"), NOW).await.unwrap();
        open_line(&*store, "b", NOW).await;
        add(&*store, payment(1), NOW).await;
        add(&*store, payment(2), NOW).await;
        add(&*store, NewPayment { manager: Some("boris".into()), ..payment(3) }, at(1)).await;
        let mut reserved = dispatch(&*store, at(1)).await;
        reserved.sort();
        assert_eq!(reserved, pairs(&[(1, "a"), (3, "b")]));
    }

    async fn nobody_is_due_while_nothing_has_changed(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        assert_eq!(store.dispatch(at(9_999)).await.unwrap(), None);
        add(&*store, payment(1), NOW).await;
        assert!(store.dispatch(NOW).await.unwrap().is_some());
        assert_eq!(store.dispatch(at(9_999)).await.unwrap(), None);
    }

    async fn more_payments_than_one_page_fill_every_line_there_is(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 150, ..line("a", "anna") }]).await;
        for n in 1..=160 {
            add(&*store, payment(n), NOW).await;
        }
        assert_eq!(dispatch(&*store, NOW).await.len(), 150);
    }

    async fn a_head_of_the_queue_that_cannot_go_does_not_stop_the_rest(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        // The user is refused on one line; the other one is busy.
        let of_one = |n| NewPayment { user: Some("u".into()), priority: 9, ..payment(n) };
        add(&*store, of_one(1), NOW).await;
        dispatch(&*store, NOW).await;
        let claimed = claim_one(&*store, NOW).await;
        answered(&*store, &claimed, refused(404, "no"), NOW).await;
        hear(&*store, &[text("m1", ("b", "v", "t"), NOW)], NOW).await;
        for n in 2..=100 {
            add(&*store, of_one(n), NOW).await;
        }
        add(&*store, payment(101), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(101, "a")]));
    }

    async fn many_users_who_cannot_go_do_not_stop_the_rest_nor_keep_the_dispatcher_awake(db) {
        let store = db.open().await;
        furnish(&*store, [LineEntry { capacity: 40, ..line("a", "anna") }]).await;
        let on_line = (0..20).map(|u| (format!("m{u}"), format!("u{u}"), format!("t{u}")));
        let on_line: Vec<_> = on_line.map(|(m, u, t)| text(&m, ("a", &u, &t), NOW)).collect();
        hear(&*store, &on_line, NOW).await;
        for n in 0..20 * 64 {
            let user = Some(format!("u{}", n / 64).into());
            add(&*store, NewPayment { user, priority: 9, ..payment(n) }, NOW).await;
        }
        assert_eq!(dispatch(&*store, NOW).await, []);
        add(&*store, payment(5_000), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(5_000, "a")]));
    }

    async fn dispatchers_at_once_hand_each_payment_out_once_and_fill_no_line_twice(db) {
        let stores = db.open_twice().await;
        furnish(&*stores[0], (0..20).map(|n| line(&format!("l{n}"), "anna"))).await;
        let mut tasks = JoinSet::new();
        for task in 0..8_u64 {
            let store = Arc::clone(&stores[usize::try_from(task % 2).unwrap()]);
            tasks.spawn(async move {
                let mut reserved = Vec::new();
                for n in 0..5 {
                    add(&*store, payment(task * 5 + n), NOW).await;
                    reserved.extend(dispatch(&*store, NOW).await);
                }
                reserved
            });
        }
        let reserved = tasks.join_all().await.concat();
        let payments: BTreeSet<_> = reserved.iter().map(|(payment, _)| payment).collect();
        let lines: BTreeSet<_> = reserved.iter().map(|(_, line)| line).collect();
        assert_eq!((reserved.len(), payments.len(), lines.len()), (20, 20, 20));
    }

    async fn a_message_whose_treatment_is_seen_and_closed_frees_the_line(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        add(&*store, payment(2), NOW).await;
        dispatch(&*store, NOW).await;
        let claimed = claim_one(&*store, NOW).await;
        answered(&*store, &claimed, Answer::Done, at(1)).await;
        let chat = ("a", "user-1", "t");
        hear(
            &*store,
            &[answer("m1", chat, &claimed.about.payment.number.to_string(), at(1))],
            at(1),
        )
        .await;
        let open = report(&*store, "a").await;
        assert_eq!(open.treatments[0].payment, Some("payment-1".into()));
        assert_eq!(
            (open.state, open.reservations),
            (freeline::core::line::LineState::Busy, vec![])
        );
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Dispatched);
        hear(&*store, &[close("m2", chat, at(60))], at(60)).await;
        let closed = details(&*store, "payment-1").await.payment;
        assert_eq!((closed.state, closed.closed_at), (PaymentState::Closed, Some(at(60))));
        assert_eq!(dispatch(&*store, at(60)).await, pairs(&[(2, "a")]));
    }
}
