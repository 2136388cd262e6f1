//! Lists: filters and pages that skip nothing and show nothing twice.

use std::collections::BTreeSet;

use freeline::core::line::LineState;
use freeline::core::payment::{Command, PaymentState};
use freeline::store::{
    Cursor, LineFilter, NewPayment, PaymentFilter, PaymentRecord, Store, TreatmentFilter,
};

use crate::support::build::{NOW, at, line, manager, payment, payment_of};
use crate::support::event::{close, text};
use crate::support::on_both_engines;
use crate::support::steps::{add, furnish, hear};

fn ids(records: &[PaymentRecord]) -> Vec<String> {
    records.iter().map(|record| record.given.id.as_str().to_owned()).collect()
}

/// Reads all pages of three.
async fn pages(store: &dyn Store, filter: PaymentFilter) -> Vec<String> {
    let mut all = Vec::new();
    let mut filter = PaymentFilter { limit: 3, ..filter };
    for _ in 0..100 {
        let page = store.list_payments(&filter).await.unwrap();
        let Some(last) = page.last() else { return all };
        let by_change = filter.updated_after.is_some();
        let time = if by_change { last.updated_at } else { last.received_at };
        filter.cursor = Some(Cursor { at: time, id: last.given.id.as_str().to_owned() });
        all.extend(ids(&page));
    }
    panic!("the pages never end");
}

on_both_engines! {
    async fn pages_of_payments_skip_nothing_and_repeat_nothing(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        // Many of the same time, added in an order that is not that of their ids.
        let order = [7, 3, 9, 1, 10, 5, 2, 8, 4, 6_u64];
        for n in order {
            add(&*store, payment(n), at(if n > 6 { 5 } else { 0 })).await;
        }
        let mut expected: Vec<String> = (1..=6).map(|n| format!("payment-{n}")).collect();
        expected.extend(["payment-10", "payment-7", "payment-8", "payment-9"].map(str::to_owned));
        assert_eq!(pages(&*store, PaymentFilter::default()).await, expected);
    }

    async fn payments_are_filtered_by_state_manager_counterparty_and_key(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        store.put_manager(&manager("boris"), NOW).await.unwrap();
        add(&*store, payment(1), NOW).await;
        add(&*store, NewPayment { manager: Some("boris".into()), ..payment(2) }, NOW).await;
        add(&*store, payment_of(3, "acme"), NOW).await;
        let found = async |filter: PaymentFilter| pages(&*store, filter).await;
        let all = PaymentFilter::default;
        let held = PaymentFilter { state: Some(PaymentState::Held), ..all() };
        assert_eq!(found(held).await, ["payment-3"]);
        let of_boris = PaymentFilter { manager: Some("boris".into()), ..all() };
        assert_eq!(found(of_boris).await, ["payment-2"]);
        let of_acme = PaymentFilter { counterparty: Some("acme".into()), ..all() };
        assert_eq!(found(of_acme).await, ["payment-3"]);
        assert_eq!(
            found(PaymentFilter { key: Some("key-1".to_owned()), ..all() }).await,
            ["payment-1"]
        );
        assert_eq!(found(PaymentFilter { key: Some("key".to_owned()), ..all() }).await, [""; 0]);
    }

    async fn what_changed_after_a_moment_is_listed_in_order_of_change(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        for n in 1..=8 {
            add(&*store, payment(n), NOW).await;
        }
        for (n, seconds) in [(5, 10), (2, 20), (7, 20), (3, 20), (1, 20)] {
            let id = format!("payment-{n}");
            let held =
                store.command_payment(&id.as_str().into(), Command::Hold, "", at(seconds)).await;
            held.unwrap().unwrap().unwrap();
        }
        let since = |time| PaymentFilter { updated_after: Some(time), ..PaymentFilter::default() };
        let expected = ["payment-5", "payment-1", "payment-2", "payment-3", "payment-7"];
        assert_eq!(pages(&*store, since(NOW)).await, expected);
        assert_eq!(pages(&*store, since(at(10))).await, expected[1..]);
        assert_eq!(pages(&*store, since(at(20))).await, [""; 0]);
    }

    async fn treatments_are_listed_newest_first_in_pages_by_line_user_and_end(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let mut bodies = Vec::new();
        for n in 0..10 {
            let (user, id) = (format!("u{n}"), format!("t{n}"));
            let chat = (if n % 2 == 0 { "a" } else { "b" }, user.as_str(), id.as_str());
            // Two and two of the same time.
            bodies.push(text(&format!("m{n}"), chat, at(n / 2)));
            if n < 4 {
                bodies.push(close(&format!("c{n}"), chat, at(60)));
            }
        }
        hear(&*store, &bodies, at(60)).await;
        let found = async |filter: TreatmentFilter| {
            let mut filter = TreatmentFilter { limit: 3, ..filter };
            let mut all = Vec::new();
            loop {
                let page = store.list_treatments(&filter).await.unwrap();
                let Some(last) = page.last() else { return all };
                let id = last.id.as_str().to_owned();
                filter.cursor = Some(Cursor { at: last.opened_at, id });
                all.extend(page.iter().map(|t| t.id.as_str().to_owned()));
            }
        };
        let all = TreatmentFilter::default;
        let newest_first = ["t9", "t8", "t7", "t6", "t5", "t4", "t3", "t2", "t1", "t0"];
        assert_eq!(found(all()).await, newest_first);
        assert_eq!(found(TreatmentFilter { open: Some(true), ..all() }).await, newest_first[..6]);
        assert_eq!(found(TreatmentFilter { open: Some(false), ..all() }).await, newest_first[6..]);
        let on_b = TreatmentFilter { line: Some("b".into()), ..all() };
        assert_eq!(found(on_b).await, ["t9", "t7", "t5", "t3", "t1"]);
        assert_eq!(found(TreatmentFilter { user: Some("u4".into()), ..all() }).await, ["t4"]);
    }

    async fn lines_are_listed_in_pages_by_manager_and_state(db) {
        let store = db.open().await;
        furnish(&*store, (0..7).map(|n| line(&format!("l{n}"), "anna"))).await;
        store.put_manager(&manager("boris"), NOW).await.unwrap();
        store.put_line(&line("b", "boris"), NOW).await.unwrap();
        let found = async |filter: LineFilter| {
            let mut filter = LineFilter { limit: 2, ..filter };
            let mut all = Vec::new();
            loop {
                let page = store.list_lines(&filter).await.unwrap();
                let Some(last) = page.last() else { return all };
                filter.after = Some(last.entry.line.clone());
                all.extend(page.iter().map(|line| line.entry.line.as_str().to_owned()));
            }
        };
        let of_anna =
            found(LineFilter { manager: Some("anna".into()), ..LineFilter::default() }).await;
        assert_eq!(of_anna, ["l0", "l1", "l2", "l3", "l4", "l5", "l6"]);
        let unknown = LineFilter { state: Some(LineState::Unknown), ..LineFilter::default() };
        assert_eq!(found(unknown).await, ["b"]);
        assert_eq!(found(LineFilter::default()).await.iter().collect::<BTreeSet<_>>().len(), 8);
    }
}
