//! Registrations of callback URLs, and which events go to which of them.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use url::Url;

use crate::connect::HookKind;
use crate::core::id::LineId;

use super::delivery::Delivery;
use super::faults::FaultDice;
use super::model::Broadcast;

/// The types of message that a bot's hook gets (`connect-api.md` 3.9).
const BOT_TYPES: [i64; 14] = [1, 20, 21, 70, 80, 81, 82, 83, 89, 90, 91, 92, 93, 200];
/// How many copies of one event there are at most: one for the line's hook, one for the bot's.
pub(super) const COPIES_PER_EVENT_MAX: usize = 2;

/// What the platform sends back to a callback URL to authenticate itself.
#[derive(Clone, Debug)]
pub(super) enum BackAuth {
    Bearer { token: String },
    Basic { login: String, password: String },
}

impl BackAuth {
    /// The value of the header `Authorization`; `None` if the secret cannot stand in a header.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Bearer { token } => format!("Bearer {token}"),
            Self::Basic { login, password } => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("{login}:{password}")))
            }
        };
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// Where events go.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) target: Url,
    /// The URL exactly as it was registered.
    pub(super) url: String,
    pub(super) authorization: Option<HeaderValue>,
}

/// A registration, as the sandbox shows it: without its secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookEntry {
    /// Which events it gets.
    pub kind: HookKind,
    /// Its line; `None` = all lines.
    pub line: Option<LineId>,
    /// Where they are posted.
    pub url: String,
    /// Whether the platform authenticates itself there.
    pub authenticated: bool,
}

/// All registrations: one per line and kind, and perhaps one for all lines.
#[derive(Debug, Default)]
pub(super) struct Hooks(BTreeMap<(HookKind, Option<LineId>), Hook>);

impl Hooks {
    /// Registers, in place of what was there.
    pub(super) fn set(&mut self, kind: HookKind, line: Option<LineId>, hook: Hook) {
        self.0.insert((kind, line), hook);
    }

    /// Takes one registration away, if it is there.
    pub(super) fn remove(&mut self, kind: HookKind, line: &LineId) {
        self.0.remove(&(kind, Some(line.clone())));
    }

    /// Takes all away except those of bots.
    pub(super) fn remove_all_of_lines(&mut self) {
        self.0.retain(|(kind, _), _| *kind == HookKind::Bot);
    }

    /// Takes all away.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// The registration that covers the line.
    pub(super) fn of_line(&self, kind: HookKind, line: &LineId) -> Option<&Hook> {
        self.0.get(&(kind, Some(line.clone()))).or_else(|| self.0.get(&(kind, None)))
    }

    /// The lines that have a bot.
    pub(super) fn bot_lines(&self) -> BTreeSet<LineId> {
        let bots = self.0.keys().filter(|(kind, _)| *kind == HookKind::Bot);
        bots.filter_map(|(_, line)| line.clone()).collect()
    }

    /// All registrations, without their secrets.
    pub(super) fn entries(&self) -> Vec<HookEntry> {
        let entry = |((kind, line), hook): (&(HookKind, Option<LineId>), &Hook)| HookEntry {
            kind: *kind,
            line: line.clone(),
            url: hook.url.clone(),
            authenticated: hook.authorization.is_some(),
        };
        self.0.iter().map(entry).collect()
    }

    /// The copies of an event that are to be delivered, each with its fate.
    pub(super) fn copies(&self, event: &Broadcast, dice: &mut FaultDice) -> Vec<Delivery> {
        let for_bots = event.message_type.is_some_and(|code| BOT_TYPES.contains(&code));
        let kinds = [(HookKind::Line, "line", true), (HookKind::Bot, "bot", for_bots)];
        let wanted = kinds.into_iter().filter(|(_, _, wanted)| *wanted);
        wanted
            .filter_map(|(kind, source, _)| {
                let hook = self.of_line(kind, &event.line)?;
                let mut body = event.body.clone();
                body.entry("event_source").or_insert_with(|| Value::from(source));
                let lane = (kind, event.line.clone());
                let fate = dice.throw_for_event();
                Some(Delivery::new(lane, hook.clone(), Value::Object(body).to_string(), fate))
            })
            .collect()
    }
}

/// How the platform calls a kind.
pub(super) fn kind_text(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Line => "line",
        HookKind::Bot => "bot",
    }
}

/// The kind that the platform calls so.
pub(super) fn parse_kind(text: &str) -> Option<HookKind> {
    match text {
        "line" => Some(HookKind::Line),
        "bot" => Some(HookKind::Bot),
        _ => None,
    }
}
