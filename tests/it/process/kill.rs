//! Killed anywhere: whatever the moment, nothing that was acknowledged is lost, and nothing is sent
//! twice.
//!
//! The real program runs against a busy platform and a busy ERP and gets SIGKILL again and again:
//! while it migrates, while it starts, while it works, while it settles doubts. In the end every
//! event and every payment it acknowledged is accounted for.
//!
//! 50 kills by default. A thousand take half an hour on each engine:
//!
//! ```sh
//! FREELINE_KILLS=1000 NEXTEST_PROFILE=long tests/run -E 'test(process::kill)' --no-capture
//! ```
//!
//! `FREELINE_SEED=…` sets the dice; each run prints what they were set to.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use freeline::ids::{Ids as _, RandomIds};
use freeline::lifecycle::Tasks;
use freeline::sandbox::SandboxHandle;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stop::STOP_WITHIN;
use super::{audit, town};
use crate::support::process::{Client, LOOK_EVERY, Service, WITHIN, free_address};
use crate::support::relay::Relay;
use crate::support::{TestDatabase, on_both};

/// Kills in one run, unless `FREELINE_KILLS` says otherwise.
const KILLS: u64 = 50;
/// The first kills hit the very first start, with its migrations.
const KILLS_OF_THE_FIRST_START: u64 = 5;
/// One of so many lives is a long one.
const LONG_EVERY: u64 = 20;
/// A long run says how far it has come.
const TELL_EVERY: u64 = 100;

/// When the next kill comes.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// So long after the start, wherever that is.
    SinceStart(Duration),
    /// So long after it has answered for the first time.
    SinceAnswer(Duration),
}

/// Chooses the moments.
struct Fate {
    dice: StdRng,
    /// How long a life must be at least to come to the settling of its doubts: PostgreSQL has to
    /// wait for the lease of the one that was killed.
    long: Duration,
}

impl Fate {
    fn next(&mut self, kill: u64) -> Life {
        if kill < KILLS_OF_THE_FIRST_START {
            return Life::SinceStart(self.millis(2..90));
        }
        if kill % LONG_EVERY == LONG_EVERY - 1 {
            return Life::SinceAnswer(self.long + self.millis(0..2_000));
        }
        match self.dice.random_range(0..10) {
            0..3 => Life::SinceStart(self.millis(1..200)),
            3..7 => Life::SinceAnswer(self.millis(0..300)),
            _ => Life::SinceAnswer(self.millis(300..1_200)),
        }
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.dice.random_range(range))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn option(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Kills it again and again, and leaves it running.
async fn kill_again_and_again(service: &mut Service, fate: &mut Fate, kills: u64) {
    for kill in 0..kills {
        if kill > 0 && kill % TELL_EVERY == 0 {
            eprintln!("{kill} kills");
        }
        let life = fate.next(kill);
        match life {
            Life::SinceStart(pause) => {
                service.spawn();
                tokio::time::sleep(pause).await;
            }
            Life::SinceAnswer(pause) => {
                service.run().await;
                tokio::time::sleep(pause).await;
            }
        }
        let ended = service.has_ended();
        assert!(ended.is_none(), "{life:?}: it ended with {ended:?}: {}", service.log());
        service.kill();
    }
    service.run().await;
}

/// Waits until no payment is under way.
///
/// Where a look proves nothing, only a person can settle a doubt: here one looks into the chat and
/// has the payment sent again, unless it is there and its echo only late. Answers how often that was
/// needed.
pub(super) async fn settle(client: &Client, sandbox: &SandboxHandle) -> usize {
    let (mut helped, mut is_quiet) = (0, false);
    let settling = async {
        loop {
            let status = client.call(Method::GET, "/status", &Value::Null).await;
            let open = ["held", "queued", "sending", "in_doubt", "dispatched"];
            if open.iter().all(|state| status["payments"][*state] == 0)
                && status["events"]["new"] == 0
                && sandbox.state().open_treatments().next().is_none()
            {
                // What came last may have changed it once more.
                if is_quiet {
                    return;
                }
                sandbox.quiesce().await;
                is_quiet = true;
                continue;
            }
            is_quiet = false;
            helped += help(client, sandbox).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let is_settled = tokio::time::timeout(WITHIN, settling).await.is_ok();
    let open = if is_settled { String::new() } else { what_is_open(client, sandbox).await };
    assert!(is_settled, "not every payment is closed: {open}");
    helped
}

/// What a service shows that does not come to rest.
async fn what_is_open(client: &Client, sandbox: &SandboxHandle) -> String {
    let mut told = vec![client.call(Method::GET, "/status", &Value::Null).await.to_string()];
    for state in ["held", "queued", "sending", "in_doubt", "dispatched"] {
        let path = format!("/payments?state={state}&limit=5");
        let payments = client.call(Method::GET, &path, &Value::Null).await;
        for payment in payments["items"].as_array().expect("payments") {
            let path = format!("/payments/{}", payment["id"].as_str().expect("an id"));
            told.push(client.call(Method::GET, &path, &Value::Null).await.to_string());
        }
    }
    let platform = sandbox.state();
    for treatment in platform.open_treatments() {
        told.push(format!("open on the platform: {treatment:?}"));
    }
    told.join("\n")
}

async fn help(client: &Client, sandbox: &SandboxHandle) -> usize {
    let doubts = client.call(Method::GET, "/payments?state=in_doubt&limit=500", &Value::Null).await;
    let mut helped = 0;
    for payment in doubts["items"].as_array().expect("payments") {
        if payment["reason_code"] != "look_inconclusive" {
            continue;
        }
        let number = payment["number"].as_str().expect("a number");
        if audit::messages(sandbox).contains_key(number) {
            continue;
        }
        let path = format!("/payments/{}/retry", payment["id"].as_str().expect("an id"));
        client.call(Method::POST, &path, &json!({ "reason": "it is not in the chat" })).await;
        helped += 1;
    }
    helped
}

on_both!(whenever_the_process_is_killed_nothing_is_lost_and_nothing_is_sent_twice);
async fn whenever_the_process_is_killed_nothing_is_lost_and_nothing_is_sent_twice(
    database: TestDatabase,
) {
    let kills = option("FREELINE_KILLS").unwrap_or(KILLS);
    let seed = option("FREELINE_SEED").unwrap_or_else(|| RandomIds::from_system().random());
    eprintln!("{kills} kills, FREELINE_SEED={seed}");
    let began = Instant::now();
    let tasks = Tasks::new();
    let sandbox = town::platform(seed, &tasks).await;
    let address = free_address().await;
    let (relay, through) = Relay::start(address, &tasks).await;
    let settings = [("FREELINE_HOOK_URL", format!("http://{through}/"))];
    let mut service = Service::prepare_at(&database.url(), &sandbox, address, &settings);
    let enough = CancellationToken::new();
    town::people(&sandbox, seed, &enough, &tasks);
    let erp = town::Erp {
        client: service.client(),
        sandbox: sandbox.clone(),
        seed,
        enough: enough.clone(),
        acknowledged: AtomicUsize::new(0),
    };
    let long = Duration::from_secs(if database.takes_replicas() { 11 } else { 5 });
    let mut fate = Fate { dice: StdRng::seed_from_u64(seed), long };
    let killing = async {
        kill_again_and_again(&mut service, &mut fate, kills).await;
        enough.cancel();
    };
    let working = async {
        erp.client.call(Method::PUT, "/directory", &town::directory()).await;
        erp.work().await
    };
    let (paid, ()) = tokio::join!(working, killing);
    let killed_for = began.elapsed();
    let helped = settle(&erp.client, &sandbox).await;

    service.signal("TERM");
    let status = service.ended(STOP_WITHIN).await;
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", service.log());
    let witnessed = relay.seen();
    audit::messages_fit(&paid, &sandbox);
    let doubts = audit::tables_fit(&database, &paid, &witnessed).await;
    tasks.stop();
    eprintln!(
        "{kills} kills in {killed_for:.1?}, accounted for after {:.1?}; {} payments, {} events \
         acknowledged ({} answers of 200, {} of 503, {} cut off), {} messages, {} payments were in \
         doubt, {helped} settled by a person; {:?}",
        began.elapsed(),
        paid.len(),
        witnessed.acknowledged.len(),
        witnessed.answers,
        witnessed.unavailable,
        witnessed.cut_off,
        sandbox.message_count(),
        doubts.payments,
        doubts.reasons,
    );
}
