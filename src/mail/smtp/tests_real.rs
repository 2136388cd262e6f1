//! Against a real server: Debian's `python3-aiosmtpd`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lettre::transport::smtp::client::Certificate;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};

use super::*;
use crate::clock::ManualClock;
use crate::core::time::Time;

const PYTHON: &str = "/usr/bin/python3";

/// How often a server is looked for before the test gives up.
const TRIES_MAX: u32 = 400;

/// How long to wait between two looks.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Reads one mail as any mail program does and writes what it found, one value a line.
const READ_MAIL: &str = "
import email, email.policy, json, sys
mail = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)
assert not mail.defects, mail.defects
names = ['message-id', 'date', 'from', 'to', 'subject', 'auto-submitted']
print(json.dumps([str(mail[name]) for name in names] + [mail.get_content()]))
";

/// A running server with its own mailbox; stopped by its own process id when dropped.
struct RealServer {
    child: Child,
    port: u16,
    home: TempDir,
}

impl RealServer {
    /// Starts one; `tls` is the option for the certificate, `--tls` or `--smtps`.
    async fn start(tls: Option<&str>) -> Self {
        require_aiosmtpd();
        // The port is free when it is looked for, and may be taken a moment later by another test.
        for _try in 0..5 {
            let home = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut command = Command::new(PYTHON);
            command.args(["-W", "ignore", "-m", "aiosmtpd", "-n", "-l"]);
            command.arg(format!("127.0.0.1:{port}"));
            if let Some(option) = tls {
                let (certificate, key) = certificate(home.path());
                command.arg(format!("{option}cert")).arg(certificate);
                command.arg(format!("{option}key")).arg(key);
            }
            command.args(["-c", "aiosmtpd.handlers.Mailbox"]).arg(home.path().join("box"));
            let child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            let mut server = Self { child, port, home };
            if server.is_up(tls == Some("--smtps")).await {
                return server;
            }
        }
        panic!("aiosmtpd did not come up in five tries");
    }

    /// Looks until the server accepts and, unless it waits for TLS, greets.
    async fn is_up(&mut self, silent: bool) -> bool {
        for _try in 0..TRIES_MAX {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                let mut greeting = [0; 3];
                return silent
                    || (stream.read_exact(&mut greeting).await.is_ok() && greeting == *b"220");
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        false
    }

    /// The mails in its mailbox: Message-ID, Date, From, To, Subject, Auto-Submitted, text.
    fn mails(&self) -> Vec<Vec<String>> {
        let files = std::fs::read_dir(self.home.path().join("box/new")).unwrap();
        files.map(|file| read_mail(&file.unwrap().path())).collect()
    }

    fn mailer(&self, scheme: &str) -> SmtpMailer {
        let now = Time::parse_rfc3339("2026-03-05T11:07:00Z").unwrap();
        let from = "Служба оплат <freeline@pay.example>".parse().unwrap();
        let url = format!("{scheme}://localhost:{}", self.port);
        SmtpMailer::new(&SecretString::from(url), from, Arc::new(ManualClock::new(now))).unwrap()
    }

    /// The same, trusting the server's certificate and no other.
    fn trusting_mailer(&self, scheme: &str) -> SmtpMailer {
        let pem = std::fs::read(self.home.path().join("cert.pem")).unwrap();
        let tls = TlsParameters::builder("localhost".to_owned())
            .add_root_certificate(Certificate::from_pem(&pem).unwrap())
            .build()
            .unwrap();
        SmtpMailer { tls, ..self.mailer(scheme) }
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn require_aiosmtpd() {
    let found = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "The mail server for tests is missing. Install it: apt-get install python3-aiosmtpd"
    );
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A certificate for `localhost` that nobody signed, and its key.
fn certificate(home: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (home.join("cert.pem"), home.join("key.pem"));
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                     -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                     -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("openssl")
        .args(arguments.split_whitespace())
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("The test needs a certificate. Install openssl: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

fn read_mail(path: &Path) -> Vec<String> {
    let read = Command::new(PYTHON).args(["-c", READ_MAIL]).arg(path).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

fn mail() -> Mail {
    Mail {
        id: "0198-abc".into(),
        to: "ivanova@shop.example".into(),
        subject: "Все линии заняты: оплата FL-4J7Q-2M9X, ООО «Ромашка», 12\u{a0}345,67\u{a0}₽"
            .into(),
        body: "Здравствуйте!\n\n.\n..\nСумма: 12\u{a0}345,67\u{a0}₽\n".into(),
    }
}

fn expected() -> Vec<String> {
    [
        "<0198-abc@pay.example>",
        "Thu, 05 Mar 2026 11:07:00 +0000",
        "Служба оплат <freeline@pay.example>",
        "ivanova@shop.example",
        "Все линии заняты: оплата FL-4J7Q-2M9X, ООО «Ромашка», 12\u{a0}345,67\u{a0}₽",
        "auto-generated",
        "Здравствуйте!\r\n\r\n.\r\n..\r\nСумма: 12\u{a0}345,67\u{a0}₽",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[tokio::test]
async fn a_real_server_takes_the_mail_and_a_mail_program_reads_it() {
    let server = RealServer::start(None).await;
    assert_eq!(server.mailer("smtp").send(&mail()).await, Delivery::Sent);
    assert_eq!(server.mails(), [expected()]);
}

#[tokio::test]
async fn starttls_is_used_when_it_is_offered() {
    // This server refuses every mail that comes without STARTTLS.
    let server = RealServer::start(Some("--tls")).await;
    assert_eq!(server.trusting_mailer("smtp").send(&mail()).await, Delivery::Sent);
    // On the same machine the certificate does not matter.
    assert_eq!(server.mailer("smtp").send(&mail()).await, Delivery::Sent);
    assert_eq!(server.mails(), [expected(), expected()]);
}

#[tokio::test]
async fn starttls_with_an_unknown_certificate_sends_nothing_to_another_machine() {
    let server = RealServer::start(Some("--tls")).await;
    let tls = TlsParameters::new("localhost".to_owned()).unwrap();
    let mailer = SmtpMailer { tls, ..server.mailer("smtp") };
    let delivery = mailer.send(&mail()).await;
    assert!(
        matches!(&delivery, Delivery::NotSent(text) if text.contains("certificate")),
        "{delivery:?}"
    );
}

#[tokio::test]
async fn smtps_is_tls_from_the_first_byte_with_a_known_certificate_only() {
    let server = RealServer::start(Some("--smtps")).await;
    let delivery = server.mailer("smtps").send(&mail()).await;
    assert!(
        matches!(&delivery, Delivery::NotSent(text) if text.contains("certificate")),
        "{delivery:?}"
    );
    assert_eq!(server.trusting_mailer("smtps").send(&mail()).await, Delivery::Sent);
    assert_eq!(server.mails(), [expected()]);
}

/// Answers that would make every step after STARTTLS look well, added to the server's own.
const SMUGGLED: &str = "250 test\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 queued\r\n";

/// Stands between one client and the server, and adds [`SMUGGLED`] to the answer to STARTTLS.
async fn smuggle(between: tokio::net::TcpListener, server_port: u16) {
    let mut client = BufReader::new(between.accept().await.unwrap().0);
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await.unwrap();
    let mut server = BufReader::new(server);
    let mut line = String::new();
    while !line.starts_with("STARTTLS") {
        // The greeting or the answer to EHLO, to its last line, then the next command.
        line.clear();
        while line.as_bytes().get(3) != Some(&b' ') {
            line.clear();
            server.read_line(&mut line).await.unwrap();
            client.write_all(line.as_bytes()).await.unwrap();
        }
        line.clear();
        client.read_line(&mut line).await.unwrap();
        server.write_all(line.as_bytes()).await.unwrap();
    }
    let mut answer = String::new();
    server.read_line(&mut answer).await.unwrap();
    answer.push_str(SMUGGLED);
    client.write_all(answer.as_bytes()).await.unwrap();
    copy_bidirectional(&mut client, &mut server).await.ok();
}

#[tokio::test]
async fn answers_smuggled_in_before_tls_are_not_believed() {
    let server = RealServer::start(Some("--tls")).await;
    let between = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut mailer = server.trusting_mailer("smtp");
    "127.0.0.1".clone_into(&mut mailer.server.host);
    mailer.server.port = between.local_addr().unwrap().port();
    let mail = mail();
    let (delivery, ()) = tokio::join!(mailer.send(&mail), smuggle(between, server.port));
    assert!(
        matches!(&delivery, Delivery::NotSent(text) if text.contains("STARTTLS")),
        "{delivery:?}"
    );
}
