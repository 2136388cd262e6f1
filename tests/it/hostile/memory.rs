//! The program as a process of its own, its memory, and its files: what the tests of this folder
//! look at from outside.

use std::time::{Duration, Instant};

use freeline::lifecycle::Tasks;
use freeline::sandbox::{Sandbox, SandboxConfig, SandboxHandle};
use freeline::store::NewEvent;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::process::{LOOK_EVERY, Service};
use crate::support::{HOOK_TOKEN, TOKEN, TestDatabase};

/// How much more memory the process may take under any of this, in KiB.
const MORE_KIB: u64 = 64 * 1024;
/// How long a good request may take beside all of it.
const GOOD_WITHIN: Duration = Duration::from_secs(5);
/// Events of a backlog that are written at once.
const BACKLOG_AT_ONCE: usize = 8;

/// The service, alone with a sandbox, and what it took before anything was done to it.
pub(super) struct Victim {
    pub(super) service: Service,
    before_kib: u64,
    tasks: Tasks,
    _sandbox: SandboxHandle,
    database: TestDatabase,
}

impl Victim {
    pub(super) async fn start() -> Self {
        Self::start_with(&crate::support::directory()).await
    }

    pub(super) async fn start_with(directory: &Value) -> Self {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let clock = std::sync::Arc::new(freeline::clock::SystemClock);
        let sandbox = Sandbox::start(SandboxConfig::quick(), listener, &tasks, clock);
        let sandbox = sandbox.expect("a sandbox");
        let database = TestDatabase::sqlite();
        let service = Service::start(&database.url(), &sandbox, &[]).await;
        let put = reqwest::Method::PUT;
        service.call(put, "/directory", directory).await;
        let mut victim = Self { service, before_kib: 0, tasks, _sandbox: sandbox, database };
        victim.is_well().await;
        victim.before_kib = victim.peak_kib();
        victim
    }

    /// What was kept while nobody was there to take it in; answers once all of it was taken in.
    pub(super) async fn comes_back_to(&mut self, backlog: &[NewEvent]) {
        self.service.kill();
        let store = self.database.open().await;
        for some in backlog.chunks(BACKLOG_AT_ONCE) {
            store.keep_events(some).await.expect("they are kept");
        }
        store.close().await;
        self.service.run().await;
        let left = || self.service.call(reqwest::Method::GET, "/status", &Value::Null);
        while left().await["events"]["new"].as_u64().unwrap_or(0) > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn peak_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.service.pid());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    /// Files that the process has open.
    pub(super) fn files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.service.pid());
        std::fs::read_dir(folder).expect("its files").count()
    }

    /// Its memory has never grown by more than is allowed; answers by how much, in KiB.
    pub(super) fn kept_its_memory(&self) -> u64 {
        let grown = self.peak_kib() - self.before_kib;
        assert!(grown < MORE_KIB, "it took {grown} KiB more");
        grown
    }

    /// What others do is no error of ours.
    pub(super) fn logged_no_error(&self) {
        let log = self.service.log();
        assert!(!log.contains("ERROR"), "{log}");
    }

    /// A good event and a good call are answered in time; answers how long they took.
    pub(super) async fn is_well(&self) -> Duration {
        self.is_well_within(GOOD_WITHIN).await
    }

    pub(super) async fn is_well_within(&self, within: Duration) -> Duration {
        let began = Instant::now();
        let event = event_request(br#"{"event_type":"support_line"}"#, "");
        let event = self.say(&event, within).await.unwrap_or_default();
        assert!(event.starts_with("HTTP/1.1 200"), "{event}: {}", self.service.log());
        let call = self.say(&get_request("/api/v1/lines"), within).await.unwrap_or_default();
        assert!(call.starts_with("HTTP/1.1 200"), "{call}: {}", self.service.log());
        began.elapsed()
    }

    /// Says something on a connection of its own; answers all that came back until the end, `None`
    /// if there was no end in time.
    pub(super) async fn say(&self, bytes: &[u8], within: Duration) -> Option<String> {
        let saying = async {
            let mut stream = TcpStream::connect(self.service.address()).await.expect("it accepts");
            let (mut read, mut write) = stream.split();
            let mut heard = Vec::new();
            let listening = async {
                // A connection that breaks behind the answer has answered.
                drop(read.read_to_end(&mut heard).await);
            };
            let saying = async {
                // Whoever refuses need not read on.
                drop(write.write_all(bytes).await);
                std::future::pending::<()>().await;
            };
            tokio::select! { () = listening => {} () = saying => {} }
            String::from_utf8_lossy(&heard).into_owned()
        };
        tokio::time::timeout(within, saying).await.ok()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// An event with further headers (`Name: value\r\n`), on a connection that ends behind it.
pub(super) fn event_request(body: &[u8], more: &str) -> Vec<u8> {
    let head = format!(
        "POST /connect/hook/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {HOOK_TOKEN}\r\n\
         Content-Type: application/json\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A payment likewise.
pub(super) fn payment_request(body: &[u8], more: &str) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The status of an answer, and the code of its problem if it has one.
pub(super) fn verdict(answer: &str) -> (u16, Option<String>) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Option<Value> = serde_json::from_str(body).ok();
    (status, problem.and_then(|problem| Some(problem["code"].as_str()?.to_owned())))
}

/// A call that reads, likewise.
pub(super) fn get_request(target: &str) -> Vec<u8> {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\n\r\n"
    );
    head.into_bytes()
}
