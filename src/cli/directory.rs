//! `freeline directory`: managers, lines and counterparties from a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use secrecy::ExposeSecret as _;

use crate::app;
use crate::cli::system_clock;
use crate::config::{Env, Role, Settings};
use crate::http;
use crate::lifecycle::Tasks;
use crate::telemetry;
use crate::wake::Wake;

/// How long the running service may take for a directory.
const SERVICE_WITHIN: Duration = Duration::from_mins(1);

#[derive(Subcommand, Debug)]
pub(super) enum DirectoryCommand {
    /// Make the directory what a JSON file says; what it leaves out is disabled
    Apply {
        /// The file: {"managers": […], "lines": […], "counterparties": […]}
        file: PathBuf,
    },
}

pub(super) async fn run(what: DirectoryCommand, env: &Env) -> anyhow::Result<()> {
    let DirectoryCommand::Apply { file } = what;
    let settings = Settings::read(env)?;
    telemetry::install(&settings.log)?;
    let text =
        std::fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
    apply(&settings, &file, text).await
}

/// Through the running service where there is one: an SQLite file has one process at a time.
async fn apply(settings: &Settings, file: &Path, text: Vec<u8>) -> anyhow::Result<()> {
    let directory = match http::parse_directory(&text) {
        Ok(directory) => directory,
        Err(errors) => bail!("{} cannot be applied:\n{}", file.display(), errors),
    };
    let counts = format!(
        "{} managers, {} lines, {} counterparties",
        directory.managers.len(),
        directory.lines.len(),
        directory.counterparties.len()
    );
    let by_service = put(settings, text).await?;
    if !by_service {
        let tasks = Tasks::new();
        let rules = app::rules(settings);
        let store = app::open_store(&settings.database, rules, Wake::default(), &tasks).await?;
        store.replace_directory(&directory, system_clock().now()).await?;
        tasks.shutdown(Duration::from_secs(2)).await;
        store.close().await;
    }
    let how = if by_service { "by the running service" } else { "to the database" };
    writeln!(std::io::stdout(), "Applied {how}: {counts}.")?;
    Ok(())
}

/// Hands the directory to the running service; `false` if none runs.
async fn put(settings: &Settings, text: Vec<u8>) -> anyhow::Result<bool> {
    let token = settings.http.api_tokens.iter().find(|token| token.role == Role::Write);
    let Some(token) = token else { return Ok(false) };
    let client = app::local_http_client(SERVICE_WITHIN)?;
    let url = format!("http://{}/api/v1/directory", settings.http.listen);
    let sent = client
        .put(url)
        .bearer_auth(token.secret.expose_secret())
        .header("content-type", "application/json")
        .body(text)
        .send()
        .await;
    match sent {
        Ok(answer) if answer.status().is_success() => Ok(true),
        Ok(answer) => {
            let status = answer.status();
            bail!("the running service answered {status}: {}", answer.text().await?)
        }
        Err(error) if error.is_connect() => Ok(false),
        Err(error) => Err(error).context("could not hand the directory to the running service"),
    }
}
