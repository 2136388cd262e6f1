//! A real mail server: Debian's `python3-aiosmtpd`, which keeps what it takes in a mailbox.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How often a server is looked for before the test gives up, and the wait between.
const LOOKS_MAX: usize = 400;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running server; stopped by its own process id when dropped.
pub(crate) struct MailServer {
    child: Child,
    port: u16,
    home: TempDir,
}

impl MailServer {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        Self::start_on(free.expect("a free port").port()).await
    }

    pub(crate) async fn start_on(port: u16) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let child = Command::new(python())
            .args(["-W", "ignore", "-m", "aiosmtpd", "-n", "-l"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["-c", "aiosmtpd.handlers.Mailbox"])
            .arg(home.path().join("box"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 with aiosmtpd; tests/run installs it");
        let mut server = Self { child, port, home };
        server.wait_until_it_greets().await;
        server
    }

    async fn wait_until_it_greets(&mut self) {
        for _ in 0..LOOKS_MAX {
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "the mail server ended: is python3-aiosmtpd installed?");
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                let mut greeting = [0; 3];
                if stream.read_exact(&mut greeting).await.is_ok() && greeting == *b"220" {
                    return;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("the mail server did not come up");
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The mails it took, as they came.
    pub(crate) fn mails(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.home.path().join("box/new")) else {
            return Vec::new();
        };
        let text =
            |path| String::from_utf8_lossy(&std::fs::read(path).expect("a mail")).into_owned();
        files.map(|file| text(file.expect("a file").path())).collect()
    }

    /// Stops it; answers its port.
    pub(crate) fn stop(self) -> u16 {
        self.port
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn python() -> String {
    std::env::var("TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned())
}
