//! The platform's client: the only place that knows the wire format of 1C-Connect.
//!
//! [`Chat`] is the port the workers call; `client` speaks real HTTP; `wire` reads events and
//! answers; `budget` keeps every call within the platform's limits.

use async_trait::async_trait;

pub use crate::core::dispatch::SendMode;
use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::outcome::Answer;
use crate::core::time::Time;

/// The platform, as the workers see it.
#[async_trait]
pub trait Chat: Send + Sync {
    /// Sends one message (`connect-api.md` 4.1). Never repeats it by itself.
    async fn send_message(&self, message: &OutgoingMessage) -> Answer;

    /// Registers our callback URL for one line (`connect-api.md` 2.1).
    async fn set_hook(&self, kind: HookKind, line: &LineId) -> Answer;

    /// Takes one registration away (`connect-api.md` 2.2).
    async fn delete_hook(&self, kind: HookKind, line: &LineId) -> Answer;

    /// Lists the lines that the platform knows, with their hooks (`connect-api.md` 2.4).
    async fn list_lines(&self) -> Result<Vec<PlatformLine>, Answer>;

    /// Lists open treatments, of one line or of all (`connect-api.md` 4.8).
    ///
    /// `current_specialist` is left out on purpose: the platform's answer is wrong there.
    async fn list_treatments(&self, line: Option<&LineId>) -> Result<Vec<OpenTreatment>, Answer>;
}

/// The two kinds of registration of a callback URL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HookKind {
    /// All events of a line.
    Line,
    /// The events for the bot of a line; also what lets us write as the bot.
    Bot,
}

/// One message to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingMessage {
    /// The line of the chat.
    pub line: LineId,
    /// The client user of the chat.
    pub user: UserId,
    /// The specialist to write as.
    pub author: Option<UserId>,
    /// How it is written.
    pub mode: SendMode,
    /// The text.
    pub text: String,
}

/// A line as the platform lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlatformLine {
    /// Its id.
    pub line: LineId,
    /// Its name.
    pub name: String,
    /// Whether the line permits an external bot.
    pub allow_bot: bool,
    /// Address of the `line` hook.
    pub hook_line: Option<String>,
    /// Address of the `bot` hook.
    pub hook_bot: Option<String>,
}

/// A treatment that the platform lists as open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenTreatment {
    /// Its id.
    pub treatment: TreatmentId,
    /// Its line.
    pub line: LineId,
    /// Its user.
    pub user: UserId,
    /// When it began, about the time of its first event.
    pub initialized_at: Option<Time>,
}
