//! Steps that many tests take, and short answers to what they ask.

use freeline::core::id::PaymentId;
use freeline::core::line::LineState;
use freeline::core::outcome::Answer;
use freeline::core::payment::PaymentState;
use freeline::core::time::{Span, Time};
use freeline::store::{
    Added, ClaimedDispatch, LineEntry, LineFilter, LineReport, NewPayment, PaymentDetails, Store,
    TreatmentRecord, bounds,
};
use serde_json::Value;

use super::build::{at, directory};
use super::event::received;

/// Gives Anna these lines, hooked and looked at: all are free a minute before `NOW`.
pub(crate) async fn furnish(store: &dyn Store, lines: impl IntoIterator<Item = LineEntry>) {
    let directory = directory(lines);
    store.replace_directory(&directory, at(-60)).await.unwrap();
    for line in &directory.lines {
        open_line(store, line.line.as_str(), at(-60)).await;
    }
    // Whatever the directory's change had to wake has been looked at.
    store.recheck_payments(at(-60), 1_000).await.unwrap();
    while store.dispatch(at(-60)).await.unwrap().is_some() {}
}

/// Sets a line's hooks and finds nothing open on it.
pub(crate) async fn open_line(store: &dyn Store, line: &str, now: Time) {
    store.record_hooked(&line.into(), true, now).await.unwrap();
    store.record_look(&line.into(), &[], now, now).await.unwrap();
}

/// Takes a new payment in.
pub(crate) async fn add(store: &dyn Store, payment: NewPayment, now: Time) -> PaymentId {
    let added = store.add_payment(&payment, now).await.unwrap();
    assert_eq!(added, Added::New, "{payment:?}");
    payment.id
}

/// Hears events and takes them into account.
pub(crate) async fn hear(store: &dyn Store, bodies: &[Value], now: Time) {
    let events: Vec<_> = bodies.iter().map(|body| received(body, now)).collect();
    store.keep_events(&events).await.unwrap();
    while store.apply_events(now, bounds::EVENTS_PER_BATCH).await.unwrap() > 0 {}
}

/// Runs the dispatcher until nobody is due; answers which payment went to which line.
pub(crate) async fn dispatch(store: &dyn Store, now: Time) -> Vec<(String, String)> {
    let mut reserved = Vec::new();
    for _ in 0..1_000 {
        // As the dispatcher does: what the directory says comes first.
        while store.recheck_payments(now, 256).await.unwrap() > 0 {}
        let Some(round) = store.dispatch(now).await.unwrap() else { return reserved };
        let pairs = round.reserved.iter();
        reserved.extend(pairs.map(|(p, l)| (p.as_str().to_owned(), l.as_str().to_owned())));
    }
    panic!("the dispatcher never rests");
}

/// What `dispatch` is expected to answer.
pub(crate) fn pairs(expected: &[(u64, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(n, line)| (format!("payment-{n}"), (*line).to_owned())).collect()
}

/// Claims every due dispatch as `owner`.
pub(crate) async fn claim(store: &dyn Store, owner: &str, now: Time) -> Vec<ClaimedDispatch> {
    let until = now.plus(bounds::CLAIM_LEASE);
    store.claim_dispatches(owner, now, until, 1_000).await.unwrap()
}

/// Claims the one due dispatch.
pub(crate) async fn claim_one(store: &dyn Store, now: Time) -> ClaimedDispatch {
    let mut claimed = claim(store, "me", now).await;
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    claimed.remove(0)
}

/// Adds a payment, hands it to a line, and claims its call.
pub(crate) async fn sending(store: &dyn Store, payment: NewPayment, now: Time) -> ClaimedDispatch {
    add(store, payment, now).await;
    dispatch(store, now).await;
    claim_one(store, now).await
}

/// Answers a claimed call.
pub(crate) async fn answered(
    store: &dyn Store,
    claimed: &ClaimedDispatch,
    answer: Answer,
    now: Time,
) {
    assert!(store.record_answer(claimed.id, claimed.fence, &answer, now).await.unwrap());
}

/// The platform says no.
pub(crate) fn refused(status: u16, text: &str) -> Answer {
    Answer::Refused { status, text: text.to_owned() }
}

/// Nobody knows.
pub(crate) fn unknown() -> Answer {
    Answer::Unknown { detail: "the answer was lost".to_owned() }
}

/// A payment with its history.
pub(crate) async fn details(store: &dyn Store, id: &str) -> PaymentDetails {
    store.payment(&id.into()).await.unwrap().expect("the payment is there")
}

/// Where a payment is.
pub(crate) async fn state(store: &dyn Store, id: &str) -> PaymentState {
    details(store, id).await.payment.state
}

/// The codes of a payment's timeline.
pub(crate) async fn timeline(store: &dyn Store, id: &str) -> Vec<&'static str> {
    details(store, id).await.timeline.iter().map(|entry| entry.reason.code.as_str()).collect()
}

/// The codes of why a payment is not further.
pub(crate) async fn why(store: &dyn Store, id: &str) -> Vec<&'static str> {
    details(store, id).await.why.iter().map(|reason| reason.code.as_str()).collect()
}

/// One line with its occupancy.
pub(crate) async fn report(store: &dyn Store, line: &str) -> LineReport {
    let filter = LineFilter { line: Some(line.into()), limit: 1, ..LineFilter::default() };
    store.list_lines(&filter).await.unwrap().pop().expect("the line is there")
}

/// What can be done with a line.
pub(crate) async fn line_state(store: &dyn Store, line: &str) -> LineState {
    report(store, line).await.state
}

/// One treatment.
pub(crate) async fn treatment(store: &dyn Store, id: &str) -> TreatmentRecord {
    store.treatment(&id.into()).await.unwrap().expect("the treatment is there")
}

/// Later by a second.
pub(crate) const SECOND: Span = Span::from_secs(1);
