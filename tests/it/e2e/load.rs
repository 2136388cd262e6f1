//! A thousand payments against a platform that duplicates, reorders and loses answers.
//!
//! Here the workers run by themselves, in a process of their own, on the machine's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use freeline::clock::SystemClock;
use freeline::core::number::Number;
use freeline::lifecycle::Tasks;
use freeline::sandbox::people::{self, PeopleConfig};
use freeline::sandbox::{Faults, Sandbox, SandboxConfig, SandboxHandle};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::process::{Client, LOOK_EVERY, Service};
use crate::support::{TestDatabase, directory, on_both};

/// Payments of one run.
const PAYMENTS: usize = 1_000;
/// Payments that are handed over at once.
const SENDERS: usize = 8;
/// After this time the run has failed: it takes seconds.
const WITHIN: Duration = Duration::from_mins(4);

/// A platform that duplicates, reorders, and loses answers after doing the work.
async fn sandbox(tasks: &Tasks) -> SandboxHandle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    // What was not delivered is repeated after a while, as the platform does (connect-api.md 3.1).
    let config = SandboxConfig { retry_after: Duration::from_secs(2), ..SandboxConfig::quick() };
    let sandbox =
        Sandbox::start(config, listener, tasks, Arc::new(SystemClock)).expect("a sandbox");
    let faults = Faults {
        duplicate: 0.2,
        reorder: 0.2,
        drop_after: 0.05,
        seed: Some(7),
        ..Faults::default()
    };
    sandbox.set_faults(faults).expect("faults within bounds");
    let work = Duration::from_millis(5)..=Duration::from_millis(15);
    let people = PeopleConfig {
        take_after: Duration::from_millis(1)..=Duration::from_millis(2),
        close_after: work,
        rated: 0.2,
        ..PeopleConfig::default()
    };
    people::start(sandbox.clone(), people, tasks);
    sandbox
}

/// Hands all payments over; answers number and id of each.
async fn pay_all(client: &Client) -> BTreeMap<String, String> {
    let one = |sender: usize| async move {
        let mut numbers = Vec::new();
        for index in (sender..PAYMENTS).step_by(SENDERS) {
            let manager = index % 3 + 1;
            let body = json!({ "key": format!("load-{index}"), "counterparty": format!("c{manager}"),
                "amount": "100.00", "paid_at": "2026-03-05T14:07:00Z" });
            let answer = client.call(reqwest::Method::POST, "/payments", &body).await;
            let text = |field: &str| answer[field].as_str().expect("a text").to_owned();
            numbers.push((text("number"), text("id")));
        }
        numbers
    };
    let all = futures::future::join_all((0..SENDERS).map(one)).await;
    all.into_iter().flatten().collect()
}

/// Every payment is on the platform, and none is there twice.
async fn check(sandbox: &SandboxHandle, service: &Service, paid: BTreeMap<String, String>) {
    let messages = tokio::time::timeout(WITHIN, sandbox.wait_for_messages(PAYMENTS)).await;
    assert!(messages.is_ok(), "only {} messages went out", sandbox.message_count());
    // A second message would come with the next doubts: wait until nothing is left to be settled.
    let settled = async {
        loop {
            let status = service.call(reqwest::Method::GET, "/status", &Value::Null).await;
            let payments = &status["payments"];
            let open = ["queued", "sending", "in_doubt", "dispatched"];
            if open.iter().all(|state| payments[*state] == 0) {
                return status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let status = tokio::time::timeout(WITHIN, settled).await.expect("every payment is closed");
    assert_eq!(status["payments"]["closed"], PAYMENTS, "{status}");
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for message in sandbox.messages() {
        for number in Number::find_all(&message.text) {
            *sent.entry(number.to_string()).or_default() += 1;
        }
    }
    let twice: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
    let numbers: BTreeSet<&String> = paid.keys().collect();
    assert_eq!(numbers, sent.keys().collect(), "every number, and no other");
}

on_both!(a_thousand_payments_go_out_once_each_against_an_ugly_platform);
async fn a_thousand_payments_go_out_once_each_against_an_ugly_platform(database: TestDatabase) {
    let tasks = Tasks::new();
    let sandbox = sandbox(&tasks).await;
    let service = Service::start(&database.url(), &sandbox, &[]).await;
    service.call(reqwest::Method::PUT, "/directory", &directory()).await;
    let paid = pay_all(&service.client()).await;
    check(&sandbox, &service, paid).await;
    tasks.stop();
}
