//! `freeline demo`: the whole story on one machine, in a terminal.
//!
//! A sandbox stands for the platform, the real service runs against it on loopback with a database
//! in a temporary folder, payments come in over the real API, and simulated people open and close
//! treatments. Every step is one line; at the end there is a summary.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::app::{App, Surroundings};
use crate::clock::{Clock, SystemClock};
use crate::config::{Env, LogSettings, Settings};
use crate::core::time::Time;
use crate::ids::{Ids, RandomIds};
use crate::lifecycle::{Tasks, stop_on_signals};
use crate::sandbox::{Sandbox, SandboxConfig, SandboxHandle};

mod company;
mod ledger;
mod people;

use ledger::Ledger;

/// Where the demo listens, if that is free; anywhere else otherwise.
const SERVICE_PORT: u16 = 8080;
const SANDBOX_PORT: u16 = 9000;
/// How long the service may take to be ready for payments.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long the summary waits for the messages that are under way.
const SETTLE_WITHIN: Duration = Duration::from_secs(3);

/// Reads a time such as `20s`, `2m` or `500ms`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED.to_owned()),
    };
    match number.checked_mul(millis) {
        Some(millis) if (1_000..=86_400_000).contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err("expected a time from 1s to 24h".to_owned()),
    }
}

const EXPECTED: &str = "expected a number and a unit, such as 20s, 2m or 1h";

/// The demo prints its own lines: the log only speaks of what goes wrong, unless asked for more.
pub fn log_settings(env: &Env) -> anyhow::Result<LogSettings> {
    let asked = env.value("FREELINE_LOG").is_some();
    let quiet = Env::from([("FREELINE_LOG", "error")]);
    Ok(LogSettings::read(if asked { env } else { &quiet })?)
}

/// What every part of the demo works with.
#[derive(Clone)]
struct Stage {
    sandbox: SandboxHandle,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    ledger: Arc<Ledger>,
    http: reqwest::Client,
    service: String,
    token: String,
}

/// Runs the demo until it is stopped, or for so long.
pub async fn run(lasting: Option<Duration>) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    stop_on_signals(&tasks).context("could not listen for signals")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(RandomIds::from_system());
    let folder = Folder::create(&*ids, clock.now())?;

    let config =
        SandboxConfig { lines: company::LINES, users: company::USERS, ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config, listen(SANDBOX_PORT).await?, &tasks, Arc::clone(&clock))?;
    let listener = listen(SERVICE_PORT).await?;
    let service = format!("http://{}", listener.local_addr()?);
    let token = ids.uuid(clock.now());
    let settings = settings(&sandbox, &service, &token, &folder)?;
    let around =
        Surroundings { clock: Arc::clone(&clock), ids: Arc::clone(&ids), tasks: tasks.clone() };
    let app = App::build(&settings, around).await?;
    let running = app.run(listener);

    let stage = Stage {
        http: crate::app::local_http_client(Duration::from_secs(10))?,
        ledger: Arc::new(Ledger::new(Arc::clone(&clock))),
        clock,
        tasks: tasks.clone(),
        sandbox,
        service,
        token,
    };
    let (ran, played) = tokio::join!(running, play(&stage, lasting));
    let ended = stage.ledger.summary(stage.sandbox.messages());
    played.and(ran)?;
    ended
}

/// The play itself; stops the tasks at its end.
async fn play(stage: &Stage, lasting: Option<Duration>) -> anyhow::Result<()> {
    let played = act(stage, lasting).await;
    stage.tasks.stop();
    played
}

async fn act(stage: &Stage, lasting: Option<Duration>) -> anyhow::Result<()> {
    greet(stage)?;
    company::give_directory(stage).await?;
    wait_until_ready(stage).await?;
    let acting = Tasks::new();
    acting.spawn("messages", people::watch_messages(stage.clone()));
    acting.spawn("specialists", people::close_treatments(stage.clone()));
    acting.spawn("users", people::open_treatments(stage.clone()));
    acting.spawn("payments", people::send_payments(stage.clone(), acting.clone()));
    match lasting {
        Some(lasting) => {
            tokio::select! {
                () = tokio::time::sleep(lasting) => {}
                () = stage.tasks.stopping() => {}
            }
            acting.stop();
            // What is on its way is let through, so that the summary speaks of what was sent.
            if tokio::time::timeout(SETTLE_WITHIN, stage.sandbox.quiesce()).await.is_err() {
                stage.ledger.say("events were still under way at the end");
            }
        }
        None => stage.tasks.stopping().await,
    }
    acting.shutdown(Duration::ZERO).await;
    Ok(())
}

fn greet(stage: &Stage) -> anyhow::Result<()> {
    let (service, token, sandbox) = (&stage.service, &stage.token, stage.sandbox.url());
    let mut out = std::io::stdout();
    writeln!(out, "Freeline serves on {service} and talks to a sandbox on {sandbox}.")?;
    writeln!(out, "Look at it while it runs:")?;
    writeln!(out, "  curl -H 'Authorization: Bearer {token}' {service}/api/v1/status")?;
    writeln!(out, "  curl -H 'Authorization: Bearer {token}' {service}/api/v1/lines")?;
    writeln!(
        out,
        "  curl -H 'Authorization: Bearer {token}' '{service}/api/v1/payments?state=queued'"
    )?;
    writeln!(out, "  curl {service}/readyz")?;
    writeln!(out, "  curl {sandbox}/sandbox/state")?;
    writeln!(out)?;
    Ok(())
}

/// Waits until every line is known: what happens before would not be shown fairly.
async fn wait_until_ready(stage: &Stage) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let status: serde_json::Value = stage.get("/api/v1/status").await?;
        let unknown = status.pointer("/lines/unknown").and_then(serde_json::Value::as_i64);
        let free = status.pointer("/lines/free").and_then(serde_json::Value::as_i64);
        if unknown.unwrap_or(0) == 0 && free.unwrap_or(0) > 0 {
            stage.ledger.say("hooks are set, every line was looked at once: ready");
            return Ok(());
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "the lines did not become known within {READY_WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Stage {
    async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}{path}", self.service);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}{path}", self.service);
        let call = self.http.request(method, url).bearer_auth(&self.token).json(body);
        let answer = call.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{path} answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(at(port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await.context("could not listen on loopback"),
    }
}

/// The settings, read the way `serve` reads them.
fn settings(
    sandbox: &SandboxHandle,
    service: &str,
    token: &str,
    folder: &Folder,
) -> anyhow::Result<Settings> {
    let address = service.trim_start_matches("http://");
    let config = sandbox.config();
    let env = Env::from([
        ("FREELINE_LISTEN", address),
        ("FREELINE_METRICS_LISTEN", ""),
        ("FREELINE_DATABASE_URL", &format!("sqlite:{}", folder.file("freeline.db").display())),
        ("FREELINE_HOOK_URL", &format!("{service}/connect/hook/")),
        ("FREELINE_HOOK_TOKEN", &format!("hook-{token}")),
        ("FREELINE_CONNECT_URL", &sandbox.url()),
        ("FREELINE_CONNECT_LOGIN", &config.login),
        ("FREELINE_CONNECT_PASSWORD", &config.password),
        ("FREELINE_API_TOKENS", &format!("demo:write:{token}")),
        ("FREELINE_DISPATCH_USER_ID", crate::sandbox::TECHNICAL_USER_ID),
        ("FREELINE_IN_DOUBT_AFTER", "2s"),
        ("FREELINE_STOP_GRACE", "0s"),
    ]);
    Ok(Settings::read(&env)?)
}

/// A temporary folder that goes away with the demo.
struct Folder(std::path::PathBuf);

impl Folder {
    fn create(ids: &dyn Ids, now: Time) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("freeline-demo-{}", ids.uuid(now)));
        std::fs::create_dir(&path)
            .with_context(|| format!("could not create {}", path.display()))?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "could not remove {}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(parse_time("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(parse_time("1500ms"), Ok(Duration::from_millis(1_500)));
        for bad in ["", "20", "s", "0s", "-1s", "25h", "1d", "99999999999999999999s"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
