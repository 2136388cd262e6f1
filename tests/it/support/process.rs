//! The program as a process of its own, on the machine's clock: killed, stopped, started again.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use freeline::ids::{Ids as _, RandomIds};
use freeline::sandbox::SandboxHandle;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{TOKEN, environment};

/// After this time a test that waits for a process has failed: it takes seconds.
pub(crate) const WITHIN: Duration = Duration::from_mins(4);
/// A start takes less than a second, and may have to wait for the locks of one that was killed.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// One question whether it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Wait between two looks at something that another process does.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ports that the kernel gives to nobody who asks for any: a process that is killed and started
/// again finds its port free, and nobody who calls it meanwhile is connected to himself.
const PORTS: RangeInclusive<u16> = 10_000..=19_999;
/// Ports that are tried.
const TRIES: usize = 100;

/// An address that was free a moment ago, and stays free but for those who ask for it.
pub(crate) async fn free_address() -> SocketAddr {
    let ids = RandomIds::from_system();
    for _ in 0..TRIES {
        let offset = ids.random() % u64::try_from(PORTS.len()).expect("few ports");
        let port = PORTS.start() + u16::try_from(offset).expect("a port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// Calls the API as the ERP does, wherever the service is in its life.
#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// One call of the API; `None` while it cannot be answered or answers 503.
    pub(crate) async fn try_call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Option<Value> {
        self.ask(method, path, body).await.ok()
    }

    /// The same; or why it is not answered, for whoever reads a failure.
    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let call = self.http.request(method, format!("{}/api/v1{path}", self.base));
        let sending = call.bearer_auth(TOKEN).json(body).send();
        let answer = sending.await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
        assert!(status.is_success() || status == 503, "{path}: {status} {text}");
        if !status.is_success() {
            return Err(text);
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Repeats a call until it is answered, as the ERP does: the key makes that safe.
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let mut last = "nothing".to_owned();
        let calling = async {
            loop {
                match self.ask(method.clone(), path, body).await {
                    Ok(answer) => return answer,
                    Err(why) => last = why,
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let answered = tokio::time::timeout(WITHIN, calling).await;
        answered.unwrap_or_else(|_| panic!("{path} is not answered; what came last: {last}"))
    }
}

/// The service as a process, which can be killed and started again. It ends with this value.
pub(crate) struct Service {
    child: Option<Child>,
    pub(crate) base: String,
    env: Vec<(String, String)>,
    http: reqwest::Client,
    /// Its working directory and its log.
    folder: TempDir,
}

impl Service {
    /// Starts it on a free port; `settings` stand beside the usual ones, or in their place.
    pub(crate) async fn start(
        database_url: &str,
        sandbox: &SandboxHandle,
        settings: &[(&str, String)],
    ) -> Self {
        let mut service = Self::prepare(database_url, sandbox, settings).await;
        service.run().await;
        service
    }

    /// The same, but it does not run yet.
    pub(crate) async fn prepare(
        database_url: &str,
        sandbox: &SandboxHandle,
        settings: &[(&str, String)],
    ) -> Self {
        Self::prepare_at(database_url, sandbox, free_address().await, settings)
    }

    /// The same at this address.
    pub(crate) fn prepare_at(
        database_url: &str,
        sandbox: &SandboxHandle,
        address: SocketAddr,
        settings: &[(&str, String)],
    ) -> Self {
        let base = format!("http://{address}");
        let mut env = environment(&base, database_url, sandbox, settings);
        for (name, value) in [("FREELINE_IN_DOUBT_AFTER", "5s"), ("FREELINE_LOG", "warn")] {
            if settings.iter().all(|(given, _)| *given != name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        freeline::lifecycle::install_tls();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let folder = tempfile::tempdir().expect("a folder");
        Self { child: None, base, env, http, folder }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.base.trim_start_matches("http://").parse().expect("an address")
    }

    /// Changes a setting for the next start.
    pub(crate) fn change(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn run(&mut self) {
        self.spawn();
        self.answers().await;
    }

    /// Waits until the process that was started answers.
    pub(crate) async fn answers(&mut self) {
        let began = Instant::now();
        while let Err(error) = self.is_there().await {
            let ended = self.has_ended();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", self.log());
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "it does not answer: {error:?}; its threads: {:#?}; {}",
                self.threads(),
                self.log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn is_there(&self) -> reqwest::Result<()> {
        let asked = self.http.get(format!("{}/livez", self.base)).timeout(ANSWERS_WITHIN);
        asked.send().await.map(|_| ())
    }

    /// What each of its threads is at, as the kernel tells it.
    fn threads(&self) -> Vec<String> {
        let folder = format!("/proc/{}/task", self.pid());
        let threads = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let tell = |thread: std::fs::DirEntry| {
            let tell = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            format!("{} {} {}", tell("comm").trim(), tell("wchan"), tell("syscall").trim())
        };
        threads.map(tell).collect()
    }

    /// Starts the process and does not wait for it.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file());
        let child = Command::new(env!("CARGO_BIN_EXE_freeline"))
            .arg("serve")
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }

    /// All it has logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The id of the running process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a process").id()
    }

    /// Sends a signal to it, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let words = [format!("-{name}"), self.pid().to_string()];
        let sent = Command::new("kill").args(words).status().expect("kill runs");
        assert!(sent.success(), "SIG{name} to {}", self.pid());
    }

    /// SIGKILL: it has no chance to finish anything.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it has ended");
        }
    }

    /// Waits until it has ended by itself; `None` if it has not within `within`.
    pub(crate) async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("a process");
        let waiting = async {
            loop {
                if let Some(status) = child.try_wait().expect("its state") {
                    return status;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let status = tokio::time::timeout(within, waiting).await.ok()?;
        self.child = None;
        Some(status)
    }

    /// Calls its API, also while it is killed and started again.
    pub(crate) fn client(&self) -> Client {
        Client { base: self.base.clone(), http: self.http.clone() }
    }

    /// See [`Client::try_call`].
    pub(crate) async fn try_call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Option<Value> {
        self.client().try_call(method, path, body).await
    }

    /// See [`Client::call`].
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        self.client().call(method, path, body).await
    }

    /// How it ended by itself, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().expect("a process").try_wait().expect("its state")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}
