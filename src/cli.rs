//! The command line: what can be asked for, and the exit status that answers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::app::{self, App, Surroundings};
use crate::clock::{Clock, SystemClock};
use crate::config::{DatabaseSettings, Env, LogSettings, Problems, Settings};
use crate::demo;
use crate::ids::RandomIds;
use crate::lifecycle::{Tasks, stop_on_signals};
use crate::sandbox::{RateLimits, Sandbox, SandboxConfig};
use crate::telemetry;
use crate::wake::Wake;

mod directory;
mod hooks;

/// Hands each new payment to a free support line of 1C-Connect, at once and exactly once.
#[derive(Parser, Debug)]
#[command(name = "freeline", version, about, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Settings come from FREELINE_… variables or a .env file; see .env.example.
Exit status: 0 done, 1 failed, 2 wrong use or settings.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the service: callback, API, workers
    Serve,
    /// Show it working: a sandbox, the service, payments and people, all on this machine
    Demo {
        /// End by itself after this time, such as 20s or 2m, with a summary
        #[arg(long = "for", value_name = "TIME", value_parser = demo::parse_time)]
        lasting: Option<Duration>,
    },
    /// Run a stand-in 1C-Connect to try things against, without an account
    Sandbox {
        /// Where to listen; the control calls answer on loopback only
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
        listen: SocketAddr,
        /// Login of its API user
        #[arg(long, default_value = "sandbox")]
        login: String,
        /// Password of its API user
        #[arg(long, default_value = "sandbox")]
        password: String,
        /// How many support lines it has
        #[arg(long, default_value_t = 9)]
        lines: u16,
        /// Answer any number of calls instead of 20 a second and 600 a minute
        #[arg(long)]
        no_limits: bool,
    },
    /// List, set or remove the registrations of our callback URL at the platform
    Hooks {
        #[command(subcommand)]
        what: hooks::Hooks,
    },
    /// Managers, lines and counterparties
    Directory {
        #[command(subcommand)]
        what: directory::DirectoryCommand,
    },
    /// Bring the database's schema up to date, and do nothing else
    Migrate,
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let env = Env::from_process();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("could not start")),
    };
    let ended = runtime.block_on(run(arguments.command, &env));
    // A name that is still being looked up must not hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Says what went wrong, with every cause, and chooses the exit status.
fn failed(error: &anyhow::Error) -> ExitCode {
    let wrong_use = error.is::<Problems>();
    let text = if wrong_use { format!("{error}") } else { format!("freeline: {error:#}") };
    if writeln!(std::io::stderr(), "{}", text.trim_end()).is_err() {
        return ExitCode::FAILURE;
    }
    if wrong_use { ExitCode::from(2) } else { ExitCode::FAILURE }
}

async fn run(command: Command, env: &Env) -> anyhow::Result<()> {
    match command {
        Command::Serve => serve(env).await,
        Command::Demo { lasting } => {
            telemetry::install(&demo::log_settings(env)?)?;
            demo::run(lasting).await
        }
        Command::Sandbox { listen, login, password, lines, no_limits } => {
            telemetry::install(&LogSettings::read(env)?)?;
            let rate_limits = (!no_limits).then(RateLimits::default);
            let config =
                SandboxConfig { lines, login, password, rate_limits, ..SandboxConfig::default() };
            sandbox(config, listen).await
        }
        Command::Hooks { what } => hooks::run(what, env).await,
        Command::Directory { what } => directory::run(what, env).await,
        Command::Migrate => migrate(env).await,
    }
}

/// The machine's clock, random ids, and tasks that stop with the first signal.
fn surroundings() -> anyhow::Result<Surroundings> {
    let tasks = Tasks::new();
    stop_on_signals(&tasks).context("could not listen for signals")?;
    let ids = Arc::new(RandomIds::from_system());
    Ok(Surroundings { clock: Arc::new(SystemClock), ids, tasks })
}

async fn bind(address: SocketAddr, remedy: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on {address}; {remedy}"))
}

async fn serve(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    telemetry::install(&settings.log)?;
    let around = surroundings()?;
    let listener =
        bind(settings.http.listen, "is another freeline running? Set FREELINE_LISTEN").await?;
    let metrics = match settings.http.metrics_listen {
        Some(address) => {
            let remedy = "set FREELINE_METRICS_LISTEN to another one, or leave it empty";
            Some((bind(address, remedy).await?, telemetry::series::install()?))
        }
        None => None,
    };
    let stopping = around.tasks.clone();
    let app = tokio::select! {
        built = Box::pin(App::build(&settings, around)) => built?,
        () = stopping.stopping() => {
            anyhow::ensure!(!stopping.has_failed(), "a part of the application failed; see the log");
            tracing::info!("stopped before it had started");
            return Ok(());
        }
    };
    if let Some((listener, metrics)) = metrics {
        app.serve_metrics(listener, metrics);
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(
        "freeline {version} listens on {}, its data is in {}",
        settings.http.listen,
        settings.database
    );
    app.run(listener).await
}

async fn sandbox(config: SandboxConfig, listen: SocketAddr) -> anyhow::Result<()> {
    let Surroundings { clock, tasks, .. } = surroundings()?;
    let listener = bind(listen, "choose another address with --listen").await?;
    let handle = Sandbox::start(config, listener, &tasks, clock)?;
    let mut out = std::io::stdout();
    writeln!(out, "A stand-in 1C-Connect listens on {}", handle.url())?;
    writeln!(out, "What it knows: curl {}/sandbox/state", handle.url())?;
    tasks.stopping().await;
    tasks.shutdown(Duration::from_secs(2)).await;
    Ok(())
}

async fn migrate(env: &Env) -> anyhow::Result<()> {
    let settings = DatabaseSettings::read(env)?;
    telemetry::install(&settings.log)?;
    let tasks = Tasks::new();
    let rules = store_rules_for_tools();
    let store = app::open_store(&settings.database, rules, Wake::default(), &tasks).await?;
    tasks.shutdown(Duration::from_secs(2)).await;
    store.close().await;
    writeln!(std::io::stdout(), "The schema of {} is up to date.", settings.database)?;
    Ok(())
}

/// Rules for commands that open the store but decide nothing about payments.
fn store_rules_for_tools() -> crate::store::Rules {
    use crate::connect::wire::read_event;
    use crate::core::dispatch::{Policy, SendMode};
    use crate::core::time::Span;
    crate::store::Rules {
        policy: Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) },
        default_user: None,
        default_author: None,
        read_event: |body| read_event(body).map_err(|unreadable| unreadable.to_string()),
        hand_over: true,
        look_after_silence: Span::from_secs(7_200),
        notices_are_sent: false,
    }
}

/// The clock of commands that only need the time.
fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}
