//! What the auditor looks at, and that it sees what is broken.

use freeline::core::invariant::Breach;
use freeline::core::payment::PaymentState;
use freeline::store::{Audited, Store};

use crate::support::build::{NOW, at, line, payment};
use crate::support::event::{received, text};
use crate::support::history::live;
use crate::support::on_both_engines;
use crate::support::steps::{add, dispatch, furnish, sending};

async fn audit(store: &dyn Store) -> Audited {
    store.audit(None, &[], at(100)).await.unwrap()
}

on_both_engines! {
    async fn a_random_life_breaks_no_promise(db) {
        let store = db.open().await;
        live(&*store, 11, 400).await;
        let audited = store.audit(None, &[], at(1_000_000)).await.unwrap();
        assert!(!audited.payments.is_empty() && !audited.dispatches.is_empty());
        assert_eq!(audited.breaches(), []);
    }

    async fn what_is_broken_past_the_program_is_found(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        sending(&*store, payment(1), NOW).await;
        let mut direct = db.direct().await;
        let l = |id: &str| id.into();
        let p = |id: &str| id.into();
        // Lost between two statements that belong together.
        direct.run("UPDATE payments SET state = 'queued'").await.unwrap();
        let broken = [Breach::StateUnfounded(p("payment-1"), PaymentState::Queued)];
        assert_eq!(audit(&*store).await.breaches(), broken);
        direct.run("UPDATE payments SET state = 'sending'").await.unwrap();
        // A treatment of ours whose end was written without its dispatch.
        direct
            .run("UPDATE dispatches SET phase = 'open', treatment_id = 't'; \
                  UPDATE payments SET state = 'dispatched'")
            .await
            .unwrap();
        assert_eq!(audit(&*store).await.breaches(), [Breach::HeldByNothing(p("payment-1"), l("a"))]);
    }

    async fn a_payment_that_waits_beside_a_free_line_is_found_once_the_workers_rest(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        let waiting = audit(&*store).await;
        assert!(!waiting.at_rest && waiting.breaches().is_empty(), "the dispatcher comes yet");
        // The wish to look at the manager is lost.
        let mut direct = db.direct().await;
        direct.run("UPDATE managers SET due_at = NULL").await.unwrap();
        let broken = [Breach::WaitsForNothing("payment-1".into(), "a".into())];
        assert_eq!(audit(&*store).await.breaches(), broken);
        direct.run("UPDATE managers SET due_at = 0").await.unwrap();
        assert_eq!(dispatch(&*store, at(100)).await.len(), 1);
        assert_eq!(audit(&*store).await.breaches(), []);
        // An event that nobody has looked at yet may change everything.
        assert!(audit(&*store).await.at_rest);
        let event = received(&text("m1", ("a", "user-9", "t9"), at(1)), at(1));
        store.keep_events(&[event]).await.unwrap();
        assert!(!audit(&*store).await.at_rest);
    }

    async fn what_is_over_is_looked_at_a_page_at_a_time_in_the_order_of_changes(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        for n in 1..=3 {
            add(&*store, payment(n), NOW).await;
        }
        let first = audit(&*store).await;
        assert_eq!((first.payments.len(), first.has_more), (3, false));
        let after = first.next.unwrap();
        assert_eq!(after.id, "payment-3");
        store.pause_line(&"a".into(), Some("lunch"), NOW).await.unwrap();
        while store.dispatch(at(1)).await.unwrap().is_some() {}
        let next = store.audit(Some(&after), &[], at(100)).await.unwrap();
        assert!(next.payments.is_empty() && next.next.is_none(), "nothing has changed");
        let again = store.audit(Some(&after), &["payment-2".into()], at(100)).await.unwrap();
        assert_eq!(again.payments[0].id, "payment-2".into());
    }
}
