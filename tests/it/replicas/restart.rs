//! Replicas are restarted one after the other: the platform notices nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use freeline::sandbox::{SandboxConfig, TECHNICAL_USER_ID, line_id};
use serde_json::json;

use super::{Cluster, WITHIN, callbacks_at, until};
use crate::support::HOOK_TOKEN;
use crate::support::nginx::Nginx;

/// Callbacks of one run, at least and at most, and how many are under way at once.
const CALLBACKS_MIN: usize = 2_000;
const CALLBACKS_MAX: usize = 40_000;
const SENDERS: usize = 4;
/// Between two callbacks of one sender.
const PAUSE: Duration = Duration::from_millis(10);

fn callback(n: usize) -> String {
    json!({
        "event_type": "line", "event_source": "line", "message_type": 1,
        "message_id": format!("00000000-0000-4000-8000-{n:012}"),
        "message_time": "2026-03-05T11:07:00.5Z", "line_id": line_id(1).as_str(),
        "user_id": TECHNICAL_USER_ID, "author_id": TECHNICAL_USER_ID,
        "treatment_id": "00000000-0000-4000-9000-000000000002", "text": "Здравствуйте",
    })
    .to_string()
}

/// The stream of callbacks.
#[derive(Default)]
struct Stream {
    sent: AtomicUsize,
    is_over: AtomicBool,
}

impl Stream {
    /// One sender; answers how often it got each status.
    async fn run(&self, nginx: &Nginx) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        loop {
            let enough = self.sent.load(Ordering::SeqCst) >= CALLBACKS_MIN;
            if enough && self.is_over.load(Ordering::SeqCst) {
                return statuses;
            }
            let n = self.sent.fetch_add(1, Ordering::SeqCst);
            assert!(n < CALLBACKS_MAX, "the restarts take for ever");
            let answer = nginx.event(HOOK_TOKEN, callback(n)).send().await.expect("an answer");
            *statuses.entry(answer.status().as_u16()).or_default() += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_replicas_are_restarted_in_turn_every_callback_is_answered_with_200_and_kept() {
    let mut cluster = Cluster::ready(2, SandboxConfig::quick(), &[]).await;
    let stream = Stream::default();
    let Cluster { nginx, replicas, .. } = &mut cluster;
    let nginx = &*nginx;
    let restarts = async {
        for replica in replicas {
            let before = callbacks_at(nginx, replica);
            until("callbacks", async || (callbacks_at(nginx, replica) > before).then_some(()))
                .await;
            replica.signal("TERM");
            let ended = replica.ended(WITHIN).await.expect("it ends by itself");
            assert!(ended.success(), "{ended}: {}", replica.log());
            let before = callbacks_at(nginx, replica);
            replica.run().await;
            // The next one has to wait until nginx tries this one again.
            until("callbacks", async || (callbacks_at(nginx, replica) > before).then_some(()))
                .await;
        }
        stream.is_over.store(true, Ordering::SeqCst);
    };
    let senders = futures::future::join_all((0..SENDERS).map(|_| stream.run(nginx)));
    let (statuses, ()) = tokio::join!(senders, restarts);

    let sent = stream.sent.load(Ordering::SeqCst);
    assert!(statuses.iter().all(|of_one| of_one.keys().eq([&200])), "{statuses:?}");
    let kept = "SELECT count(*) FROM events WHERE message_id LIKE '00000000-0000-4000-8000-%'";
    assert_eq!(cluster.count(kept).await, u64::try_from(sent).unwrap(), "nothing is lost");
    let retried = cluster.nginx.log().iter().filter(|line| line.contains(", 200\"")).count();
    let (callbacks, looks) = (cluster.callbacks_by_each(), cluster.looks());
    println!("{sent} callbacks {callbacks:?}, {retried} at the second try, {looks} looks");
    assert_eq!(cluster.hooks_set(), 18, "the hooks stay as they are");
    assert!(looks <= 2, "{looks}");
}
