//! All replicas receive, all dispatch, none doubles what another does.

use std::time::Duration;

use freeline::sandbox::people::{self, PeopleConfig};
use freeline::sandbox::{Faults, SandboxConfig, line_id};
use reqwest::Method;
use serde_json::Value;

use super::{Cluster, Paid, WITHIN, until};
use crate::support::MailServer;

/// Payments of one run, and how many are handed over at once.
const PAYMENTS: usize = 300;
const SENDERS: usize = 6;

async fn pay_all(cluster: &Cluster) -> Vec<Paid> {
    let one = |sender: usize| async move {
        let mut all = Vec::new();
        for index in (sender..PAYMENTS).step_by(SENDERS) {
            let manager = format!("m{}", index % 3 + 1);
            all.push(cluster.pay(&format!("shared-{index}"), &manager).await);
        }
        all
    };
    futures::future::join_all((0..SENDERS).map(one)).await.concat()
}

async fn share(replicas: usize) {
    // What was not delivered is repeated after a while, as the platform does.
    let config = SandboxConfig { retry_after: Duration::from_secs(2), ..SandboxConfig::quick() };
    let settings = [("FREELINE_IN_DOUBT_AFTER", "3s".to_owned())];
    let cluster = Cluster::ready(replicas, config, &settings).await;
    assert_eq!(cluster.looks(), 1, "one look serves all lines and all replicas");
    assert_eq!(cluster.hooks_set(), 18, "once for each line and kind");

    let faults = Faults {
        duplicate: 0.2,
        reorder: 0.2,
        drop_after: 0.05,
        seed: Some(7),
        ..Faults::default()
    };
    cluster.sandbox.set_faults(faults).expect("faults within bounds");
    let people = PeopleConfig {
        take_after: Duration::from_millis(1)..=Duration::from_millis(2),
        close_after: Duration::from_millis(5)..=Duration::from_millis(15),
        ..PeopleConfig::default()
    };
    people::start(cluster.sandbox.clone(), people, &cluster.tasks);
    let paid = pay_all(&cluster).await;
    let all = tokio::time::timeout(WITHIN, cluster.sandbox.wait_for_messages(PAYMENTS)).await;
    assert!(all.is_ok(), "only {} messages went out", cluster.sandbox.message_count());
    // A second message would come with the next doubts: wait until nothing is left to be settled.
    until("every payment is closed", async || {
        let status = cluster.call(Method::GET, "/status", &Value::Null).await;
        (status["payments"]["closed"] == PAYMENTS).then_some(())
    })
    .await;
    cluster.check_once_each(&paid);

    let (callbacks, sent) = (cluster.callbacks_by_each(), cluster.sent_by_each());
    assert!(callbacks.iter().all(|count| *count > 0), "all receive: {callbacks:?}");
    assert!(sent.iter().all(|count| *count > 0), "all dispatch: {sent:?}");
    let doubts = "SELECT count(*) FROM timeline WHERE reason = 'outcome_unknown'";
    let (doubts, looks) = (cluster.count(doubts).await, cluster.looks());
    println!(
        "{replicas} replicas: callbacks {callbacks:?}, messages {sent:?}, doubts {doubts}, looks {looks}"
    );
    assert!(looks <= 1 + doubts, "{looks} looks for {doubts} doubts");
    assert_eq!(cluster.hooks_set(), 18, "nobody set them again");
    cluster.leader();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_the_work_and_send_every_payment_once() {
    share(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_the_work_and_send_every_payment_once() {
    share(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_one_tells_the_manager_that_all_lines_are_busy() {
    let server = MailServer::start().await;
    let settings = [
        ("FREELINE_SMTP_URL", server.url()),
        ("FREELINE_MAIL_FROM", "Freeline <freeline@example.org>".to_owned()),
    ];
    let cluster = Cluster::ready(2, SandboxConfig::quick(), &settings).await;
    let mut waiting = Vec::new();
    for n in 0..8 {
        let paid = cluster.pay(&format!("k{n}"), "m1").await;
        if n >= 3 {
            waiting.push(paid);
        }
    }
    until("every notice is sent", async || (server.mails().len() >= waiting.len()).then_some(()))
        .await;
    // All that there is to tell is told, and a replica that told it again would have by now.
    let open = "SELECT count(*) FROM notices WHERE state <> 'sent'";
    until("no notice is left", async || (cluster.count(open).await == 0).then_some(())).await;
    cluster
        .sandbox
        .close(&line_id(1), &freeline::sandbox::TECHNICAL_USER_ID.into(), 82)
        .await
        .unwrap();
    cluster.until_state(0, &waiting[0].id, "dispatched").await;
    let mails = server.mails();
    assert_eq!(mails.len(), waiting.len());
    for paid in &waiting {
        let about = mails.iter().filter(|mail| mail.contains(&paid.id)).count();
        assert_eq!(about, 1, "mails about {}", paid.number);
    }
}
