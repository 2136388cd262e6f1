//! Everything a store shows, as text: without the numbers that each engine counts for itself.

use freeline::core::time::Time;
use freeline::store::{
    ChangesFrom, Conversation, EventFilter, LineFilter, PaymentFilter, Store, TreatmentFilter,
    UtteranceFilter,
};

/// More than any test writes.
const ALL: i64 = 100_000;

/// One line of text for each thing.
pub(crate) async fn dump(store: &dyn Store, now: Time) -> Vec<String> {
    let mut lines = vec![format!("{:?}", store.directory().await.unwrap())];
    for payment in store
        .list_payments(&PaymentFilter { limit: ALL, ..PaymentFilter::default() })
        .await
        .unwrap()
    {
        let details = store.payment(&payment.given.id).await.unwrap().expect("it was listed");
        assert_eq!(details.payment, payment);
        lines.push(format!("{details:?}"));
    }
    let treatments = TreatmentFilter { limit: ALL, ..TreatmentFilter::default() };
    for treatment in store.list_treatments(&treatments).await.unwrap() {
        lines.push(format!("{treatment:?}"));
        let of = Conversation::Treatment(treatment.id);
        let filter = UtteranceFilter { of, after_event: 0, cursor: None, limit: ALL };
        for mut one in store.list_utterances(&filter).await.unwrap() {
            one.said.event = 0;
            lines.push(format!("{one:?} {:?}", one.said.words()));
        }
    }
    for line in store.list_lines(&LineFilter { limit: ALL, ..LineFilter::default() }).await.unwrap()
    {
        lines.push(format!("{line:?}"));
    }
    for mut event in
        store.list_events(&EventFilter { limit: ALL, ..EventFilter::default() }).await.unwrap()
    {
        event.id = 0;
        lines.push(format!("{event:?}"));
    }
    let changes = store.changes(ChangesFrom::Oldest, ALL).await.unwrap().expect("from the oldest");
    lines.extend(changes.items.iter().map(|change| format!("{change:?}")));
    lines.push(format!("{:?}", store.hook_targets().await.unwrap()));
    lines.push(format!("{:?}", store.status(now).await.unwrap()));
    lines.push(format!("{:?}", store.next_due().await.unwrap()));
    lines
}
