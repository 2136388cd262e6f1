//! A replica that does the work of all vanishes, or stands still: another takes over.

use std::time::Duration;

use freeline::sandbox::{Faults, SandboxConfig, line_id};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Cluster, LEADS, Paid, until};
use crate::support::MailServer;
use crate::support::process::Service;

/// How soon another replica must do what the first did for all, and take over what it had claimed.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);
/// How long an echo is waited for (`FREELINE_IN_DOUBT_AFTER` of these tests).
const IN_DOUBT_AFTER: Duration = Duration::from_secs(1);
/// How soon a call of the first is settled: it is taken over, then an echo may still come, then the
/// line is looked at.
const SETTLED_WITHIN: Duration = Duration::from_secs(17);

fn set(cluster: &Cluster, faults: Faults) {
    cluster.sandbox.set_faults(faults).expect("faults within bounds");
}

/// Nothing is heard of what happens.
fn deaf() -> Faults {
    Faults { lose: 1.0, ..Faults::default() }
}

/// A payment whose message the platform has, while the call of this replica hangs.
async fn hanging(cluster: &Cluster, first: usize, other: usize) -> Paid {
    // The other one stands still meanwhile, so that it cannot be the one that sends.
    cluster.replicas[other].signal("STOP");
    set(cluster, Faults { slow_ms: 60_000, ..deaf() });
    let paid = cluster.pay_at(first, "hangs", "m1").await;
    cluster.sandbox.wait_for_messages(1).await;
    set(cluster, deaf());
    cluster.replicas[other].signal("CONT");
    paid
}

/// The other replica does all that the first, which is gone since `since`, would have done.
async fn check_taken_over(
    cluster: &Cluster,
    other: usize,
    (hung, since): (&Paid, Instant),
    mails: &MailServer,
) {
    let (looks, replica) = (cluster.looks(), &cluster.replicas[other]);
    let entry = json!({ "name": "Новая линия", "manager": "m3", "position": 10 });
    replica.call(Method::PUT, &format!("/lines/{}", line_id(10)), &entry).await;
    let mut waits = None;
    for n in 0..4 {
        waits = Some(cluster.pay_at(other, &format!("after-{n}"), "m2").await);
    }
    let id = waits.expect("a payment").id;
    until("the notice", async || mails.mails().iter().any(|mail| mail.contains(&id)).then_some(()))
        .await;
    let told = since.elapsed();
    until("the new line's hooks", async || (cluster.hooks_set() == 20).then_some(())).await;
    let hooked = since.elapsed();
    until("the claim taken over", async || was_in_doubt(replica, hung).await.then_some(())).await;
    let taken = since.elapsed();
    cluster.until_state(other, &hung.id, "dispatched").await;
    let settled = since.elapsed();
    println!(
        "told after {told:.1?}, hooks set after {hooked:.1?}, claim taken over after {taken:.1?}, \
         doubt settled after {settled:.1?}"
    );
    assert!(told < TAKEN_OVER_WITHIN, "{told:?}");
    assert!(hooked < TAKEN_OVER_WITHIN, "{hooked:?}");
    assert!(taken < TAKEN_OVER_WITHIN, "{taken:?}");
    assert!(settled < SETTLED_WITHIN, "{settled:?}");
    assert!(replica.log().contains(LEADS));
    // One for the doubt, one for the new line: what the others were like is still known.
    until("the looks", async || (cluster.looks() == looks + 2).then_some(())).await;
    assert_eq!(cluster.numbers()[&hung.number], 1);
    assert_eq!(cluster.hooks_set(), 20);
}

/// Whether somebody has noticed that nobody answers for the call of a payment.
async fn was_in_doubt(replica: &Service, paid: &Paid) -> bool {
    let path = format!("/payments/{}", paid.id);
    let payment = replica.call(Method::GET, &path, &Value::Null).await;
    let timeline = payment["timeline"].as_array().expect("a timeline");
    timeline.iter().any(|entry| entry["state"] == "in_doubt")
}

async fn open(mails: &MailServer) -> Cluster {
    let config = SandboxConfig::quick().with_lines(10);
    let settings = [
        ("FREELINE_IN_DOUBT_AFTER", format!("{}s", IN_DOUBT_AFTER.as_secs())),
        ("FREELINE_SMTP_URL", mails.url()),
        ("FREELINE_MAIL_FROM", "Freeline <freeline@example.org>".to_owned()),
    ];
    let cluster = Cluster::ready(2, config, &settings).await;
    both_may_dispatch(&cluster).await;
    cluster
}

/// Waits until each replica knows that somebody has led since its start.
async fn both_may_dispatch(cluster: &Cluster) {
    // The lease has been kept after both had started: each of them sees that within a second.
    let kept = "SELECT until FROM leases WHERE name = 'reconciler'";
    let first = cluster.count(kept).await;
    until("the lease is kept", async || (cluster.count(kept).await > first).then_some(())).await;
    let second = cluster.count(kept).await;
    until("the lease is kept", async || (cluster.count(kept).await > second).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_takes_over_when_the_one_that_leads_is_killed() {
    let mails = MailServer::start().await;
    let mut cluster = open(&mails).await;
    let first = cluster.leader();
    let hung = hanging(&cluster, first, 1 - first).await;
    let since = Instant::now();
    cluster.replicas[first].kill();
    check_taken_over(&cluster, 1 - first, (&hung, since), &mails).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stood_still_while_it_led_finds_itself_replaced() {
    let mails = MailServer::start().await;
    let cluster = open(&mails).await;
    let first = cluster.leader();
    let hung = hanging(&cluster, first, 1 - first).await;
    let since = Instant::now();
    cluster.replicas[first].signal("STOP");
    check_taken_over(&cluster, 1 - first, (&hung, since), &mails).await;

    let (looks, led) = (cluster.looks(), cluster.replicas[first].log().matches(LEADS).count());
    cluster.replicas[first].signal("CONT");
    // Its call ends at last, and decides nothing any more.
    let late = format!("payment {} on line", hung.id);
    until("the late answer", async || cluster.replicas[first].log().contains(&late).then_some(()))
        .await;
    cluster.until_state(first, &hung.id, "dispatched").await;
    assert_eq!(cluster.numbers()[&hung.number], 1);
    // It works on, and leaves to the other what the other does now.
    set(&cluster, Faults::default());
    let before = cluster.sent_by_each()[first];
    let user = freeline::sandbox::TECHNICAL_USER_ID.into();
    for n in 0.. {
        assert!(n < 100, "it never sends again");
        let paid = cluster.pay_at(first, &format!("again-{n}"), "m3").await;
        let payment = cluster.until_state(first, &paid.id, "dispatched").await;
        if cluster.sent_by_each()[first] > before {
            break;
        }
        let line = payment["line_id"].as_str().unwrap().into();
        cluster.sandbox.close(&line, &user, 82).await.unwrap();
    }
    assert_eq!(cluster.replicas[first].log().matches(LEADS).count(), led);
    assert_eq!((cluster.hooks_set(), cluster.looks()), (20, looks));
}
