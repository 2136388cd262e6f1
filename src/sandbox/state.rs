//! What a sandbox shows of itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::core::id::{LineId, UserId};

use super::files::FileRecord;
use super::hooks::{HookEntry, kind_text};
use super::keyboards::KeyboardEntry;
use super::ledger::MessageRecord;
use super::model::Treatment;
use super::world::World;

/// A line, as the sandbox shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineEntry {
    /// Its id.
    pub line: LineId,
    /// Its name.
    pub name: String,
    /// Whether it permits a bot.
    pub allow_bot: bool,
    /// How many users have it.
    pub subscribers: usize,
}

/// Everything a sandbox knows at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The lines.
    pub lines: Vec<LineEntry>,
    /// The hooks, without their secrets.
    pub hooks: Vec<HookEntry>,
    /// Treatments, open ones first, then the newest closed ones.
    pub treatments: Vec<Treatment>,
    /// The messages taken, oldest first.
    pub messages: Vec<MessageRecord>,
    /// The keyboards that users see.
    pub keyboards: Vec<KeyboardEntry>,
    /// Specialists who are not available.
    pub away: Vec<UserId>,
    /// Calls by method and path.
    pub calls: BTreeMap<String, u64>,
}

impl State {
    /// What `world` is like now.
    pub(super) fn of(world: &World) -> Self {
        let lines = world.model.lines.iter().map(|(id, line)| LineEntry {
            line: id.clone(),
            name: line.name.clone(),
            allow_bot: line.allow_bot,
            subscribers: line.subscribers.len(),
        });
        Self {
            lines: lines.collect(),
            hooks: world.hooks.entries(),
            treatments: world.model.treatments(),
            messages: world.messages.all(),
            keyboards: world.model.shown_keyboards(),
            away: world.model.away.iter().cloned().collect(),
            calls: world.calls.all(),
        }
    }

    /// The treatments that are open.
    pub fn open_treatments(&self) -> impl Iterator<Item = &Treatment> {
        self.treatments.iter().filter(|treatment| treatment.closed_by.is_none())
    }

    /// The body of `GET /sandbox/state`.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "lines": self.lines.iter().map(line_json).collect::<Vec<_>>(),
            "hooks": self.hooks.iter().map(hook_json).collect::<Vec<_>>(),
            "treatments": self.treatments.iter().map(treatment_json).collect::<Vec<_>>(),
            "messages": self.messages.iter().map(message_json).collect::<Vec<_>>(),
            "keyboards": self.keyboards.iter().map(keyboard_json).collect::<Vec<_>>(),
            "away": self.away.iter().map(UserId::as_str).collect::<Vec<_>>(),
            "calls": self.calls,
        })
    }
}

fn line_json(entry: &LineEntry) -> Value {
    json!({
        "line_id": entry.line.as_str(),
        "name": entry.name,
        "allow_bot": entry.allow_bot,
        "subscribers": entry.subscribers,
    })
}

fn hook_json(entry: &HookEntry) -> Value {
    json!({
        "type": kind_text(entry.kind),
        "line_id": entry.line.as_ref().map(LineId::as_str),
        "url": entry.url,
        "authenticated": entry.authenticated,
    })
}

fn keyboard_json(entry: &KeyboardEntry) -> Value {
    json!({
        "line_id": entry.line.as_str(),
        "user_id": entry.user.as_str(),
        "keyboard": entry.keyboard,
    })
}

/// A treatment, as the control paths show it.
pub(super) fn treatment_json(treatment: &Treatment) -> Value {
    json!({
        "treatment_id": treatment.id.as_str(),
        "line_id": treatment.line.as_str(),
        "user_id": treatment.user.as_str(),
        "initialized_at": treatment.initialized_at.to_string(),
        "current_specialist": treatment.specialist.as_ref().map(UserId::as_str),
        "holder": treatment.closed_by.is_none().then(|| treatment.holder.as_str()),
        "open": treatment.closed_by.is_none(),
        "closed_by": treatment.closed_by,
    })
}

fn message_json(message: &MessageRecord) -> Value {
    json!({
        "at": message.at.to_string(),
        "line_id": message.line.as_str(),
        "user_id": message.user.as_str(),
        "author_id": message.author.as_ref().map(UserId::as_str),
        "text": message.text,
        "general_settings": message.flags.general_settings,
        "bot_as_spec": message.flags.bot_as_spec,
        "notification_only": message.flags.notification_only,
        "file": message.file.as_ref().map(file_json),
        "treatment_id": message.treatment.as_ref().map(crate::core::id::TreatmentId::as_str),
    })
}

fn file_json(file: &FileRecord) -> Value {
    json!({
        "file_id": file.id,
        "file_name": file.name,
        "file_size": file.bytes,
        "is_image": file.is_image,
    })
}
