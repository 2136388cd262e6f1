//! `deploy/nginx.conf` as it stands, run by the real nginx before any replicas.
//!
//! Only what a test machine cannot have is replaced: names of files, ports, addresses of replicas.
//! nginx runs in one process, in the foreground, and ends with its value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::TOKEN;
use super::process::{LOOK_EVERY, free_address};

/// How long nginx may take to answer for the first time, and any answer may take through it.
pub(crate) const UP_WITHIN: Duration = Duration::from_secs(20);
/// How often ports are chosen anew because somebody was faster.
const TRIES: usize = 5;

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    folder: TempDir,
    https: SocketAddr,
    /// Where the sample only sends callers on to https.
    pub(crate) plain: SocketAddr,
    /// All that https serves, without TLS: for the sandbox, which trusts no certificate of ours.
    clear: SocketAddr,
    pub(crate) client: Client,
}

impl Nginx {
    /// Starts it before these replicas.
    pub(crate) async fn start(replicas: &[SocketAddr]) -> Self {
        freeline::lifecycle::install_tls();
        let folder = tempfile::tempdir().expect("a folder");
        make_certificate(folder.path());
        std::fs::write(folder.path().join("nginx.conf"), frame(folder.path())).unwrap();
        for _ in 0..TRIES {
            let https = free_address().await;
            let (plain, clear) = (free_address().await, free_address().await);
            let text = rendered(folder.path(), replicas, [https, plain, clear]);
            std::fs::write(folder.path().join("freeline.conf"), text).unwrap();
            check(folder.path());
            let command = nginx_with(folder.path(), &[]).stdin(Stdio::null()).spawn();
            let mut child = command.expect("nginx starts");
            if is_up(https, &mut child).await {
                let client = client();
                return Self { child, folder, https, plain, clear, client };
            }
            end(&mut child);
        }
        let log = std::fs::read_to_string(folder.path().join("error.log")).unwrap();
        panic!("nginx does not start: {log}");
    }

    /// The address of a path for the ERP.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.https)
    }

    /// Our callback URL, for the sandbox.
    pub(crate) fn hook_url(&self) -> String {
        format!("http://{}/connect/hook/", self.clear)
    }

    /// An event, sent with this token.
    pub(crate) fn event(&self, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let call = self.client.post(self.url("/connect/hook/")).bearer_auth(token);
        call.header("content-type", "application/json").body(body)
    }

    /// A GET of the ERP.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).bearer_auth(TOKEN).send().await.expect("an answer")
    }

    /// One line for each request that was dealt with.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("freeline.log")).unwrap();
        log.lines().map(ToOwned::to_owned).collect()
    }

    /// What its log says, once it says as much.
    pub(crate) async fn log_lines(&self, at_least: usize) -> Vec<String> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            let lines = self.log();
            if lines.len() >= at_least || Instant::now() > deadline {
                return lines;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends it by its own process id; it may have ended already.
fn end(child: &mut Child) {
    let (killed, ended) = (child.kill(), child.wait());
    assert!(ended.is_ok() || std::thread::panicking(), "{killed:?}, {ended:?}");
}

fn client() -> Client {
    Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(UP_WITHIN)
        .build()
        .expect("a client")
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
fn rendered(
    folder: &Path,
    replicas: &[SocketAddr],
    [https, plain, clear]: [SocketAddr; 3],
) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
    let mut text = std::fs::read_to_string(sample).unwrap();
    let line_of = |address: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(&format!("server {address}")));
        line.unwrap_or_else(|| panic!("deploy/nginx.conf no longer has: {address}")).to_owned()
    };
    let (first, second) = (line_of("127.0.0.1:8080"), line_of("127.0.0.1:8082"));
    let server = |replica: &SocketAddr| first.replace("127.0.0.1:8080", &replica.to_string());
    let servers: Vec<String> = replicas.iter().map(server).collect();
    let folder = folder.display();
    let changes = [
        ("/etc/nginx/tls/", format!("{folder}/")),
        ("/var/log/nginx/", format!("{folder}/")),
        ("listen [::]:80;", String::new()),
        ("listen [::]:443 ssl http2;", String::new()),
        ("listen 80;", format!("listen {plain};")),
        ("listen 443 ssl http2;", format!("listen {https} ssl http2; listen {clear};")),
        (&*first, servers.join("\n")),
        (&*second, String::new()),
    ];
    for (from, to) in &changes {
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

/// nginx finds nothing wrong in the sample, not even a little.
fn check(folder: &Path) {
    let tested = nginx_with(folder, &["-t"]).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(tested.status.success(), "{said}");
    // As another user it warns that it cannot change the user; nothing else may be said.
    let warned = said.lines().any(|l| l.contains("[warn]") && !l.contains("\"user\""));
    assert!(!warned, "{said}");
}

async fn is_up(address: SocketAddr, child: &mut Child) -> bool {
    let deadline = Instant::now() + UP_WITHIN;
    while Instant::now() < deadline {
        if TcpStream::connect(address).await.is_ok() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}
