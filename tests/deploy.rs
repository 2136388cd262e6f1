//! `deploy/nginx.conf` as it stands, before the real program.
//!
//! Only what a test machine cannot have is replaced: names of files, ports, and the second replica,
//! which here is a stub that takes every request and says 503. nginx runs in one process, in the
//! foreground, and ends with the test.
#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use freeline::clock::SystemClock;
use freeline::lifecycle::Tasks;
use freeline::sandbox::{FIRST_LINE_ID, Sandbox, SandboxConfig, SandboxHandle, TECHNICAL_USER_ID};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

const HOOK_TOKEN: &str = "the-token-of-the-hook";
const API_SECRET: &str = "the-secret-of-the-erp";
/// How long a program may take to answer for the first time.
const UP_WITHIN: Duration = Duration::from_secs(20);
/// How often ports are chosen anew because somebody was faster.
const TRIES: usize = 5;

/// A program that was started here and ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // By its own process id; it may have ended already.
        let (killed, ended) = (self.0.kill(), self.0.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "{killed:?}, {ended:?}");
    }
}

/// The whole house: platform, service, a replica in trouble, and nginx in front.
struct House {
    nginx: Program,
    service: Program,
    folder: TempDir,
    tasks: Tasks,
    sandbox: SandboxHandle,
    /// Requests that reached the replica in trouble.
    troubled: Arc<AtomicUsize>,
    https: SocketAddr,
    plain: SocketAddr,
    client: Client,
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port of this machine")
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    listener().await.local_addr().unwrap()
}

fn nginx() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts it where the PATH of people does not look.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("nginx")).find(|program| program.is_file()).expect(
        "nginx is missing: tests/run installs it, or by hand: apt-get install nginx-light openssl",
    )
}

fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=freeline.example.com"])
        .args(["-keyout", "freeline.key", "-out", "freeline.crt"])
        .current_dir(folder)
        .output()
        .expect("openssl is missing: tests/run installs it, or by hand: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The sample with other places in it; each of them has to be there.
fn rendered(folder: &Path, changes: &[(&str, String)]) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
    let mut text = std::fs::read_to_string(sample).unwrap();
    let folder = folder.display();
    let files = [
        ("/etc/nginx/tls/", format!("{folder}/")),
        ("/var/log/nginx/", format!("{folder}/")),
        ("listen [::]:80;", String::new()),
        ("listen [::]:443 ssl http2;", String::new()),
    ];
    for (from, to) in files.iter().chain(changes) {
        assert!(text.contains(from), "deploy/nginx.conf no longer has: {from}");
        text = text.replace(from, to);
    }
    text
}

/// What stands around `conf.d/freeline.conf` on a machine, as little as possible.
fn frame(folder: &Path) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\n\
         error_log {folder}/error.log info;\nevents {{}}\n\
         http {{\n{temporary}  access_log off;\n  include {folder}/freeline.conf;\n}}\n"
    )
}

fn nginx_with(folder: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(nginx());
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(extra);
    // Before its settings name another one it opens the log that it was built with.
    command.arg("-e").arg(folder.join("error.log"));
    command
}

fn start_service(folder: &Path, listen: SocketAddr, sandbox: &SandboxHandle) -> Program {
    let log = std::fs::File::create(folder.join("service.log")).unwrap();
    let tokens = format!("erp:write:{API_SECRET}");
    let settings = [
        ("FREELINE_LISTEN", listen.to_string()),
        ("FREELINE_METRICS_LISTEN", String::new()),
        ("FREELINE_API_TOKENS", tokens),
        ("FREELINE_DATABASE_URL", "sqlite:freeline.db".to_owned()),
        ("FREELINE_HOOK_URL", format!("http://{listen}/connect/hook/")),
        ("FREELINE_HOOK_TOKEN", HOOK_TOKEN.to_owned()),
        ("FREELINE_CONNECT_URL", sandbox.url()),
        ("FREELINE_CONNECT_LOGIN", sandbox.config().login.clone()),
        ("FREELINE_CONNECT_PASSWORD", sandbox.config().password.clone()),
        ("FREELINE_DISPATCH_USER_ID", TECHNICAL_USER_ID.to_owned()),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeline"));
    command.arg("serve").current_dir(folder).env_clear().envs(settings);
    Program(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

/// A replica that is reached and says each time that it cannot.
async fn start_troubled(tasks: &Tasks) -> (SocketAddr, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reached);
    let router = Router::new().fallback(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(StatusCode::SERVICE_UNAVAILABLE)
    });
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    tasks.spawn("troubled replica", async move {
        axum::serve(listener, router).await.expect("it serves until it is dropped");
    });
    (address, reached)
}

async fn is_up(address: SocketAddr, program: &mut Program) -> bool {
    let deadline = Instant::now() + UP_WITHIN;
    while Instant::now() < deadline {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return true;
        }
        if program.0.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

impl House {
    async fn open() -> Self {
        freeline::lifecycle::install_tls();
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let config = SandboxConfig::quick().with_lines(1);
        let sandbox =
            Sandbox::start(config, listener().await, &tasks, Arc::new(SystemClock)).unwrap();
        let (trouble, troubled) = start_troubled(&tasks).await;
        make_certificate(folder.path());
        let (service, address) = Self::service(folder.path(), &sandbox).await;
        let (nginx, https, plain) = Self::nginx(folder.path(), address, trouble).await;
        let client = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(UP_WITHIN)
            .build()
            .unwrap();
        Self { nginx, service, folder, tasks, sandbox, troubled, https, plain, client }
    }

    async fn service(folder: &Path, sandbox: &SandboxHandle) -> (Program, SocketAddr) {
        for _ in 0..TRIES {
            let address = free_address().await;
            let mut service = start_service(folder, address, sandbox);
            if is_up(address, &mut service).await {
                return (service, address);
            }
        }
        let log = std::fs::read_to_string(folder.join("service.log")).unwrap();
        panic!("freeline does not start: {log}");
    }

    async fn nginx(
        folder: &Path,
        service: SocketAddr,
        trouble: SocketAddr,
    ) -> (Program, SocketAddr, SocketAddr) {
        std::fs::write(folder.join("nginx.conf"), frame(folder)).unwrap();
        for _ in 0..TRIES {
            let (https, plain) = (free_address().await, free_address().await);
            let changes = [
                ("listen 80;", format!("listen {plain};")),
                ("listen 443 ssl http2;", format!("listen {https} ssl http2;")),
                ("server 127.0.0.1:8080", format!("server {service}")),
                ("server 127.0.0.1:8082", format!("server {trouble}")),
            ];
            std::fs::write(folder.join("freeline.conf"), rendered(folder, &changes)).unwrap();
            let tested = nginx_with(folder, &["-t"]).output().unwrap();
            let said = String::from_utf8_lossy(&tested.stderr).into_owned();
            assert!(tested.status.success(), "{said}");
            // As another user it warns that it cannot change the user; nothing else may be said.
            let warned = said.lines().any(|l| l.contains("[warn]") && !l.contains("\"user\""));
            assert!(!warned, "{said}");
            let mut nginx = Program(nginx_with(folder, &[]).stdin(Stdio::null()).spawn().unwrap());
            if is_up(https, &mut nginx).await {
                return (nginx, https, plain);
            }
        }
        let log = std::fs::read_to_string(folder.join("error.log")).unwrap();
        panic!("nginx does not start: {log}");
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.https)
    }

    fn event(&self, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let call = self.client.post(self.url("/connect/hook/")).bearer_auth(token);
        call.header("content-type", "application/json").body(body)
    }

    /// A call of the API that may be sent again when the replica in trouble takes it.
    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).bearer_auth(API_SECRET).send().await.unwrap()
    }

    /// What the log of nginx says, once it says as much.
    async fn log_lines(&self, at_least: usize) -> Vec<String> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            let log = std::fs::read_to_string(self.folder.path().join("freeline.log")).unwrap();
            let lines: Vec<String> = log.lines().map(ToOwned::to_owned).collect();
            if lines.len() >= at_least || Instant::now() > deadline {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn close(self) {
        let Self { nginx, service, tasks, .. } = self;
        drop(nginx);
        drop(service);
        tasks.shutdown(Duration::ZERO).await;
    }
}

/// A user's first words: a treatment opens.
fn first_words(text: &str) -> String {
    json!({
        "event_type": "line", "event_source": "line", "message_type": 1,
        "message_id": "00000000-0000-4000-8000-000000000001",
        "message_time": "2026-03-05T11:07:00.5Z", "line_id": FIRST_LINE_ID,
        "user_id": TECHNICAL_USER_ID, "author_id": TECHNICAL_USER_ID,
        "treatment_id": "00000000-0000-4000-8000-000000000002", "text": text,
    })
    .to_string()
}

async fn json_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn an_event_comes_in_although_one_replica_cannot_store_it() {
    let house = House::open().await;
    for _ in 0..4 {
        let answer = house.event(HOOK_TOKEN, first_words("Здравствуйте")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert!(house.troubled.load(Ordering::SeqCst) > 0, "the other replica was never tried");
    let events = json_of(house.get("/api/v1/events").await).await;
    assert_eq!(events["items"][0]["copies"], 4, "{events}");
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{events}");

    let without_slash = house.client.post(house.url("/connect/hook")).bearer_auth(HOOK_TOKEN);
    let answer = without_slash.body(first_words("again")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    house.close().await;
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let house = House::open().await;
    // Twice, so that the answer is not the troubled replica's alone.
    for _ in 0..2 {
        let answer = house.event("another-token", first_words("x")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(json_of(answer).await["code"], "unauthorized");
    }
    let large = first_words(&"x".repeat(1024 * 1024));
    let answer = house.event(HOOK_TOKEN, large).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let id = answer.headers().get("x-request-id").cloned();
    let problem = json_of(answer).await;
    assert_eq!(problem["code"], "body_too_large", "{problem}, {id:?}");
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32, "{problem}");
    house.close().await;
}

#[tokio::test]
async fn the_api_answers_with_the_id_that_both_logs_have() {
    let house = House::open().await;
    let call = house.client.get(house.url("/api/v1/status")).bearer_auth(API_SECRET);
    let answer = call.header("x-request-id", "a-callers-own").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(id.len(), 32, "{id}: it is nginx's own");
    let lines = house.log_lines(1).await;
    assert!(lines[0].ends_with(&format!("id={id}")), "{lines:?}");
    let log = std::fs::read_to_string(house.folder.path().join("service.log")).unwrap();
    assert!(log.contains(&format!("request.id={id}")), "{log}");

    let anonymous = house.client.get(house.url("/api/v1/status")).send().await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(house.get("/readyz").await.status(), StatusCode::OK);
    assert_eq!(house.get("/sandbox/state").await.status(), StatusCode::NOT_FOUND);
    let plain = house.client.get(format!("http://{}/api/v1/status", house.plain));
    let moved = plain.send().await.unwrap();
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    house.close().await;
}

#[tokio::test]
async fn a_post_of_the_api_that_reached_a_replica_is_not_repeated_on_the_other() {
    let house = House::open().await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let call = house.client.post(house.url("/api/v1/payments")).bearer_auth(API_SECRET);
        let answer = call.json(&json!({})).send().await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [422, 503], "one replica answered each");
    assert_eq!(house.troubled.load(Ordering::SeqCst), 1);
    // A GET may be, and the directory is a PUT: both find the replica that works.
    for _ in 0..2 {
        assert_eq!(house.get("/api/v1/status").await.status(), StatusCode::OK);
    }
    house.close().await;
}

#[tokio::test]
async fn a_large_directory_comes_in_and_its_payment_goes_out() {
    let house = House::open().await;
    let name = "Ромашка ".repeat(20);
    let counterparty =
        |n: usize| json!({"id": format!("c{n}"), "name": name.trim(), "manager": "m1"});
    let directory = json!({
        "managers": [{"id": "m1", "name": "Анна Смирнова", "email": "smirnova@example.com"}],
        "lines": [{"line_id": FIRST_LINE_ID, "name": "Смирнова 1", "manager": "m1"}],
        "counterparties": (0..6_000).map(counterparty).collect::<Vec<_>>(),
    });
    let body = directory.to_string();
    assert!(body.len() > 1024 * 1024, "{}", body.len());
    let put = house.client.put(house.url("/api/v1/directory")).bearer_auth(API_SECRET);
    let put = put.header("content-type", "application/json").body(body);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::OK);

    let payment = json!({
        "key": "k1", "counterparty": "c7", "amount": "12345.67",
        "paid_at": "2026-03-05T14:07:00+03:00",
    });
    // The caller's part of the bargain: what got no answer of ours is sent again, with its key.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&201) && statuses.len() < 3 {
        let call = house.client.post(house.url("/api/v1/payments")).bearer_auth(API_SECRET);
        statuses.push(call.json(&payment).send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses.last(), Some(&201), "{statuses:?}");
    let sent = tokio::time::timeout(UP_WITHIN, house.sandbox.next_message()).await.unwrap();
    assert!(sent.text.contains("12"), "{}", sent.text);
    house.close().await;
}
