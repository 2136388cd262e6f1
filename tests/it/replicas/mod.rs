//! Replicas of the real program on one PostgreSQL, behind the real nginx.
//!
//! The platform posts its events to nginx, the ERP calls nginx; on the machine's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use freeline::clock::SystemClock;
use freeline::core::number::Number;
use freeline::lifecycle::Tasks;
use freeline::sandbox::{Sandbox, SandboxConfig, SandboxHandle};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::nginx::Nginx;
use crate::support::process::{LOOK_EVERY, Service};
use crate::support::{TOKEN, TestDatabase, directory};

mod claims;
mod latency;
mod restart;
mod sharing;
mod start;
mod takeover;

/// After this time whatever is waited for has failed: it takes seconds.
const WITHIN: Duration = Duration::from_mins(2);
/// What the replica logs that does the work of all.
const LEADS: &str = "this process keeps the hooks and looks at the lines from now on";
/// What a replica logs for each message that it sent.
const SENT: &str = "the platform took the message of payment";

/// Looks until there is something; `what` is waited for.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(WITHIN, looking).await.unwrap_or_else(|_| panic!("not seen: {what}"))
}

/// A payment as the ERP knows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Paid {
    number: String,
    id: String,
}

/// The platform, nginx, replicas, and their database.
struct Cluster {
    // Dropped in this order: the processes before the database they use.
    replicas: Vec<Service>,
    nginx: Nginx,
    sandbox: SandboxHandle,
    database: TestDatabase,
    tasks: Tasks,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Cluster {
    /// All but the replicas run.
    async fn prepare(count: usize, config: SandboxConfig, settings: &[(&str, String)]) -> Self {
        let (database, tasks) = (TestDatabase::postgres().await, Tasks::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sandbox = Sandbox::start(config, listener, &tasks, Arc::new(SystemClock)).unwrap();
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(Service::prepare(&database.url(), &sandbox, settings).await);
        }
        let addresses: Vec<_> = replicas.iter().map(Service::address).collect();
        let nginx = Nginx::start(&addresses).await;
        for replica in &mut replicas {
            replica.change("FREELINE_HOOK_URL", nginx.hook_url());
            replica.change("FREELINE_LOG", "info,freeline::connect=debug");
        }
        Self { replicas, nginx, sandbox, database, tasks }
    }

    /// All replicas run, with three managers of three lines each, and every line is free.
    async fn ready(count: usize, config: SandboxConfig, settings: &[(&str, String)]) -> Self {
        let mut cluster = Self::prepare(count, config, settings).await;
        futures::future::join_all(cluster.replicas.iter_mut().map(Service::run)).await;
        cluster.furnish(&directory(), 9).await;
        cluster
    }

    /// Gives the directory, and waits until so many lines are free.
    async fn furnish(&self, directory: &Value, lines: u64) {
        self.call(Method::PUT, "/directory", directory).await;
        until("every line is free", async || {
            let status = self.call(Method::GET, "/status", &Value::Null).await;
            (status["lines"]["free"] == lines).then_some(())
        })
        .await;
    }

    /// A call of the ERP through nginx, repeated until it is answered: the key makes that safe.
    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        until(path, async || {
            let url = self.nginx.url(&format!("/api/v1{path}"));
            let call = self.nginx.client.request(method.clone(), url).bearer_auth(TOKEN);
            let answer = call.json(body).send().await.ok()?;
            let status = answer.status();
            let text = answer.text().await.ok()?;
            assert!(status.is_success() || status == 503, "{path}: {status} {text}");
            if status.is_success() { serde_json::from_str(&text).ok() } else { None }
        })
        .await
    }

    /// A payment for a manager.
    async fn pay(&self, key: &str, manager: &str) -> Paid {
        paid(&self.call(Method::POST, "/payments", &payment(key, manager)).await)
    }

    /// A payment that one replica takes.
    async fn pay_at(&self, replica: usize, key: &str, manager: &str) -> Paid {
        let body = payment(key, manager);
        paid(&self.replicas[replica].call(Method::POST, "/payments", &body).await)
    }

    /// Waits until a replica says that a payment is in this state.
    async fn until_state(&self, replica: usize, id: &str, state: &str) -> Value {
        until(state, async || {
            let path = format!("/payments/{id}");
            let payment = self.replicas[replica].call(Method::GET, &path, &Value::Null).await;
            (payment["state"] == state).then_some(payment)
        })
        .await
    }

    /// The replica that does the work of all: the last one that said so.
    fn leader(&self) -> usize {
        let said_at = |replica: &Service| {
            // A line begins with its time.
            let log = replica.log();
            log.lines().rfind(|line| line.contains(LEADS)).map(ToOwned::to_owned)
        };
        let said = self.replicas.iter().map(said_at).enumerate();
        let last = said.max_by(|(_, one), (_, other)| one.cmp(other)).expect("a replica");
        assert!(last.1.is_some(), "no replica leads");
        last.0
    }

    /// How many messages each replica sent.
    fn sent_by_each(&self) -> Vec<usize> {
        self.replicas.iter().map(|replica| replica.log().matches(SENT).count()).collect()
    }

    /// How many callbacks each replica answered with 200, as nginx saw it.
    fn callbacks_by_each(&self) -> Vec<usize> {
        self.replicas.iter().map(|replica| callbacks_at(&self.nginx, replica)).collect()
    }

    /// Calls that the platform got.
    fn hooks_set(&self) -> u64 {
        self.sandbox.calls("POST /v1/hook/")
    }

    fn looks(&self) -> u64 {
        self.sandbox.calls("GET /v1/line/treatment/")
    }

    /// How often each number is on the platform.
    fn numbers(&self) -> BTreeMap<String, usize> {
        let mut sent = BTreeMap::new();
        for message in self.sandbox.messages() {
            for number in Number::find_all(&message.text) {
                *sent.entry(number.to_string()).or_default() += 1;
            }
        }
        sent
    }

    /// Every payment is on the platform, and none is there twice.
    fn check_once_each(&self, paid: &[Paid]) {
        let sent = self.numbers();
        let twice: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "sent twice: {twice:?}");
        let numbers: BTreeSet<&String> = paid.iter().map(|paid| &paid.number).collect();
        assert_eq!(numbers, sent.keys().collect(), "every number, and no other");
    }

    /// A number that the database answers.
    async fn count(&self, what: &str) -> u64 {
        let rows = self.database.direct().await.rows(&format!("SELECT ({what})::text")).await;
        rows[0][0].parse().expect("a number")
    }
}

/// How many callbacks a replica answered with 200, as nginx saw it.
fn callbacks_at(nginx: &Nginx, replica: &Service) -> usize {
    // upstream="first, second" status="502, 200": the last one answered.
    let last_of = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\""))?;
        let (all, _) = rest.split_once('"')?;
        all.rsplit([',', ' ']).next().map(ToOwned::to_owned)
    };
    let address = replica.address().to_string();
    let is_its = |line: &&String| {
        line.contains("/connect/hook/")
            && last_of(line, "status").as_deref() == Some("200")
            && last_of(line, "upstream").as_deref() == Some(&*address)
    };
    nginx.log().iter().filter(is_its).count()
}

fn payment(key: &str, manager: &str) -> Value {
    json!({ "key": key, "manager": manager, "amount": "100.00",
        "paid_at": "2026-03-05T14:07:00Z" })
}

fn paid(answer: &Value) -> Paid {
    let text = |field: &str| answer[field].as_str().expect("a text").to_owned();
    Paid { number: text("number"), id: text("id") }
}
