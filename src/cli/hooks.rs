//! `freeline hooks`: the registrations of our callback URL at the platform.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use futures::FutureExt as _;

use crate::app;
use crate::cli::{store_rules_for_tools, system_clock};
use crate::config::{Env, HooksSettings, Settings};
use crate::connect::{Chat, HookKind, PlatformLine};
use crate::core::outcome::Answer;
use crate::lifecycle::Tasks;
use crate::telemetry;
use crate::wake::Wake;
use crate::worker::hooks::{self, Synced, words_of};
use crate::worker::{Gate, Parts};

#[derive(Subcommand, Debug, Clone, Copy)]
pub(super) enum Hooks {
    /// Show every line that the platform knows and whose hooks it has
    List,
    /// Set what is missing, as the service does at its start
    Sync,
    /// Remove our hooks, before Freeline is taken away for good
    Remove,
}

pub(super) async fn run(what: Hooks, env: &Env) -> anyhow::Result<()> {
    match what {
        Hooks::List => list(env).await,
        Hooks::Sync => sync(env).await,
        Hooks::Remove => remove(env).await,
    }
}

async fn platform(env: &Env) -> anyhow::Result<(HooksSettings, impl Chat, Vec<PlatformLine>)> {
    let settings = HooksSettings::read(env)?;
    telemetry::install(&settings.log)?;
    let clock = system_clock();
    let chat = app::connect_client(&settings.connect, &settings.hook, &clock, &Tasks::new())?;
    let lines = match chat.list_lines().await {
        Ok(lines) => lines,
        Err(answer) => bail!("the platform does not list its lines: {}", words(&answer)),
    };
    Ok((settings, chat, lines))
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Done => "done".to_owned(),
        Answer::NotDone { why, .. } => words_of(why),
        Answer::Refused { status, text } => format!("{status} {text}").trim_end().to_owned(),
        Answer::Unknown { detail } => detail.clone(),
    }
}

async fn list(env: &Env) -> anyhow::Result<()> {
    let (settings, _, lines) = platform(env).await?;
    let whose = |hook: &Option<String>| match hook.as_deref() {
        None => "not set".to_owned(),
        Some(url) if url == settings.hook.url => "ours".to_owned(),
        Some(url) => format!("points at {url}"),
    };
    let mut out = std::io::stdout();
    for line in &lines {
        let bot = if line.allow_bot { whose(&line.hook_bot) } else { "not permitted".to_owned() };
        let (id, name) = (&line.line, &line.name);
        writeln!(out, "{id}  line: {}  bot: {bot}  {name}", whose(&line.hook_line))?;
    }
    writeln!(out, "{} lines.", lines.len())?;
    Ok(())
}

async fn sync(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    telemetry::install(&settings.log)?;
    let clock = system_clock();
    let tasks = Tasks::new();
    let rules = store_rules_for_tools();
    let store = app::open_store(&settings.database, rules, Wake::default(), &tasks).await.context(
        "a running service sets its hooks by itself, and this command is for when none runs",
    )?;
    let chat = app::connect_client(&settings.connect, &settings.hook, &clock, &tasks)?;
    let targets = store.hook_targets().await?;
    let parts = Parts {
        store: std::sync::Arc::clone(&store),
        chat: std::sync::Arc::new(chat),
        mailer: None,
        clock,
        health: std::sync::Arc::default(),
        template: std::sync::Arc::new(crate::message::MessageTemplate::built_in()),
        owner: "hooks sync".into(),
        gate: Gate::default(),
        tasks: tasks.clone(),
    };
    let tick = || futures::future::ready(Ok(true)).boxed();
    let synced = hooks::sync(&parts, &app::policy(&settings), &targets, &tick).await?;
    let mut out = std::io::stdout();
    for target in store.hook_targets().await? {
        for hook in &target.hooks {
            let detail = hook.detail.as_deref().unwrap_or_default();
            writeln!(out, "{}  {}: {} {detail}", target.line, hook.kind, hook.state)?;
        }
    }
    tasks.shutdown(Duration::from_secs(2)).await;
    store.close().await;
    anyhow::ensure!(synced == Synced::Whole, "the platform did not answer for every line");
    writeln!(out, "{} lines compared.", targets.len())?;
    Ok(())
}

async fn remove(env: &Env) -> anyhow::Result<()> {
    let (settings, chat, lines) = platform(env).await?;
    let mut out = std::io::stdout();
    let (mut removed, mut failed) = (0, 0);
    for line in &lines {
        for (kind, url) in [(HookKind::Line, &line.hook_line), (HookKind::Bot, &line.hook_bot)] {
            if url.as_ref() != Some(&settings.hook.url) {
                continue;
            }
            match chat.delete_hook(kind, &line.line).await {
                Answer::Done => removed += 1,
                answer => {
                    failed += 1;
                    writeln!(out, "{}  {}: {}", line.line, kind.word(), words(&answer))?;
                }
            }
        }
    }
    writeln!(out, "{removed} hooks removed.")?;
    anyhow::ensure!(failed == 0, "{failed} hooks could not be removed");
    Ok(())
}
