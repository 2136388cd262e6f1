//! How long it takes from the end of a treatment, heard by one replica, to the next message.

use std::collections::BTreeMap;

use freeline::sandbox::{SandboxConfig, TECHNICAL_USER_ID, line_id, specialist_id};
use serde_json::json;
use tokio::time::Instant;

use super::{Cluster, WITHIN, until};
use crate::support::process::Service;

const DISPATCHES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_one_replica_hears_to_be_free_takes_what_the_other_was_given() {
    let mut cluster = Cluster::prepare(2, SandboxConfig::quick().with_lines(1), &[]).await;
    // The platform speaks to the first, the ERP to the second.
    let hook = format!("{}/connect/hook/", cluster.replicas[0].base);
    for replica in &mut cluster.replicas {
        replica.change("FREELINE_HOOK_URL", hook.clone());
    }
    futures::future::join_all(cluster.replicas.iter_mut().map(Service::run)).await;
    let directory = json!({
        "managers": [{ "id": "m1", "name": "Анна Смирнова", "email": "m1@example.org",
            "specialist_id": specialist_id(1).as_str() }],
        "lines": [{ "line_id": line_id(1).as_str(), "name": "Линия 1", "manager": "m1" }],
        "counterparties": [],
    });
    cluster.furnish(&directory, 1).await;
    let mut before = cluster.pay_at(1, "first", "m1").await;
    cluster.sandbox.next_message().await;
    let mut took = Vec::new();
    for n in 0..DISPATCHES {
        // Its treatment has been heard, so that its end is all that the next one waits for.
        until("the treatment", async || {
            let payment = cluster.until_state(1, &before.id, "dispatched").await;
            payment["treatment_id"].is_string().then_some(())
        })
        .await;
        before = cluster.pay_at(1, &format!("next-{n}"), "m1").await;
        let since = Instant::now();
        cluster.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
        let sent = tokio::time::timeout(WITHIN, cluster.sandbox.next_message()).await.unwrap();
        took.push(since.elapsed());
        assert!(sent.text.contains(&before.number));
    }
    took.sort_unstable();
    let share = |percent: usize| took[(took.len() - 1) * percent / 100];
    let by: BTreeMap<usize, usize> = cluster.sent_by_each().into_iter().enumerate().collect();
    println!(
        "{DISPATCHES} dispatches after {:.1?} (least), {:.1?} (half), {:.1?} (90 %), {:.1?} (99 %), \
         {:.1?} (most); messages by replica {by:?}",
        share(0),
        share(50),
        share(90),
        share(99),
        share(100)
    );
}
