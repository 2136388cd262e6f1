//! A claim that ran out while its holder stood still: what it does then comes too late.

use freeline::core::outcome::Answer;
use freeline::core::payment::PaymentState;
use freeline::sandbox::{Faults, SandboxConfig, TECHNICAL_USER_ID};
use reqwest::Method;
use serde_json::Value;

use super::{Cluster, Paid, until};
use crate::support::build::{NOW, at, line, payment};
use crate::support::steps::{
    answered, claim_one, details, dispatch, furnish, refused, sending, state,
};
use crate::support::{TestDatabase, directory};

/// How often a replica is tried to be caught between its claim and its call.
const TRIES: usize = 10;
/// Logged when a call was made, and when it was kept back.
const MADE: &str = "/v1/line/send/message/: done";
const KEPT_BACK: &str = "/v1/line/send/message/: too late";

/// Two payments at a replica that may send one a second: stopped when one is sent and the other
/// waits for its permit. Answers the one that waits.
async fn catch(cluster: &Cluster, first: usize) -> Paid {
    let (slow, other) = (&cluster.replicas[first], &cluster.replicas[1 - first]);
    for attempt in 0..TRIES {
        other.signal("STOP");
        let made = slow.log().matches(MADE).count();
        let key = |n| format!("caught-{attempt}-{n}");
        let pair = [
            cluster.pay_at(first, &key(1), "m1").await,
            cluster.pay_at(first, &key(2), "m1").await,
        ];
        until("the first call", async || (slow.log().matches(MADE).count() > made).then_some(()))
            .await;
        slow.signal("STOP");
        other.signal("CONT");
        let sent = cluster.numbers();
        for waits in pair.iter().filter(|paid| !sent.contains_key(&paid.number)) {
            let claimed = format!(
                "SELECT count(*) FROM dispatches WHERE phase = 'sending' AND payment_id = '{}'",
                waits.id
            );
            if cluster.count(&claimed).await == 1 {
                return waits.clone();
            }
        }
        // Both are sent, or the second is not claimed yet. Once more, with free lines.
        slow.signal("CONT");
        for paid in &pair {
            free(cluster, first, paid).await;
        }
    }
    panic!("the replica is never caught between its claim and its call");
}

/// Waits until a payment is dispatched, and ends its treatment.
async fn free(cluster: &Cluster, replica: usize, paid: &Paid) {
    let payment = cluster.until_state(replica, &paid.id, "dispatched").await;
    let line = payment["line_id"].as_str().unwrap().into();
    cluster.sandbox.close(&line, &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    cluster.until_state(replica, &paid.id, "closed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stood_still_between_its_claim_and_its_call_does_not_call() {
    let settings = [("FREELINE_IN_DOUBT_AFTER", "1s".to_owned())];
    let mut cluster = Cluster::prepare(2, SandboxConfig::quick(), &settings).await;
    // The second one may send one message a second; the first one leads and has no such limit.
    cluster.replicas[1].change("FREELINE_CONNECT_RATE", "1/s");
    cluster.replicas[0].run().await;
    cluster.furnish(&directory(), 9).await;
    cluster.replicas[1].run().await;
    // The second one has found out that it may dispatch.
    for n in 0.. {
        assert!(n < 200, "the second replica never sends");
        let paid = cluster.pay_at(1, &format!("warm-{n}"), "m3").await;
        free(&cluster, 0, &paid).await;
        if cluster.sent_by_each()[1] > 0 {
            break;
        }
    }
    let waits = catch(&cluster, 1).await;
    // The claim runs out, nothing is on the line: the first one sends the payment.
    cluster.until_state(0, &waits.id, "dispatched").await;
    assert_eq!(cluster.numbers()[&waits.number], 1);

    cluster.replicas[1].signal("CONT");
    until("the call that is kept back", async || {
        let sent = cluster.numbers()[&waits.number];
        assert_eq!(sent, 1, "it was sent again");
        cluster.replicas[1].log().contains(KEPT_BACK).then_some(())
    })
    .await;
    let payment = cluster.until_state(1, &waits.id, "dispatched").await;
    assert_eq!(payment["attempts"], 2, "{payment}");
    // It works on.
    let status = cluster.replicas[1].call(Method::GET, "/status", &Value::Null).await;
    assert_eq!(status["payments"]["in_doubt"], 0, "{status}");
    cluster.sandbox.set_faults(Faults::default()).unwrap();
    assert_eq!(cluster.numbers()[&waits.number], 1);
}

/// Two stores on one database, as two replicas have them.
async fn two_stores() -> (TestDatabase, [std::sync::Arc<dyn freeline::store::Store>; 2]) {
    let database = TestDatabase::postgres().await;
    let stores = database.open_twice().await;
    furnish(&*stores[0], [line("a", "anna")]).await;
    (database, stores)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_one_replica_is_refused_once_another_has_claimed_the_call() {
    let (_database, [first, second]) = two_stores().await;
    let claimed = sending(&*first, payment(1), NOW).await;
    assert_eq!(second.expire_claims(at(15), None).await.unwrap(), 1);
    // It stands still; what comes first is that its call was surely not carried out.
    let limited =
        Answer::NotDone { why: freeline::core::outcome::NotDone::TooLate, retry_after: None };
    answered(&*first, &claimed, limited.clone(), at(16)).await;
    let again = claim_one(&*second, at(17)).await;
    assert_eq!((again.id, again.fence), (claimed.id, claimed.fence + 1));
    let before = details(&*second, "payment-1").await;
    for late in [Answer::Done, limited, refused(400, "no")] {
        let taken = first.record_answer(claimed.id, claimed.fence, &late, at(18)).await.unwrap();
        assert!(!taken, "{late:?}");
        assert_eq!(details(&*first, "payment-1").await, before);
    }
    answered(&*second, &again, Answer::Done, at(19)).await;
    assert_eq!(state(&*first, "payment-1").await, PaymentState::Dispatched);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_decides_nothing_once_another_replica_has_proven_and_repeated_the_call() {
    let (_database, [first, second]) = two_stores().await;
    let claimed = sending(&*first, payment(1), NOW).await;
    assert_eq!(second.expire_claims(at(15), None).await.unwrap(), 1);
    second.record_look(&"a".into(), &[], at(50), at(50)).await.unwrap();
    assert_eq!(state(&*second, "payment-1").await, PaymentState::Queued);
    dispatch(&*second, at(51)).await;
    let again = claim_one(&*second, at(51)).await;
    assert_ne!(again.id, claimed.id);
    let before = details(&*second, "payment-1").await;
    for late in [Answer::Done, refused(400, "no"), refused(403, "no")] {
        first.record_answer(claimed.id, claimed.fence, &late, at(52)).await.unwrap();
        assert_eq!(details(&*first, "payment-1").await, before, "{late:?}");
    }
    answered(&*second, &again, Answer::Done, at(53)).await;
    assert_eq!(state(&*first, "payment-1").await, PaymentState::Dispatched);
}
