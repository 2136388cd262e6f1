//! What is sent into a chat.

use std::fmt;
use std::path::PathBuf;

use crate::core::dispatch::SendMode;
use crate::core::id::{LineId, UserId};
use crate::core::keyboard::Keyboard;
use crate::core::time::Time;

/// The chat of one user on one line.
///
/// Commands act on the user's current treatment there: no method of the platform takes the id of a
/// treatment (`connect-api.md` 4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChatAddress {
    /// The line.
    pub line: LineId,
    /// The client user.
    pub user: UserId,
}

/// One message to be sent (`connect-api.md` 4.1).
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The line of the chat.
    pub line: LineId,
    /// The client user of the chat.
    pub user: UserId,
    /// The specialist to write as; must be given in [`SendMode::Specialist`].
    pub author: Option<UserId>,
    /// How it is written.
    pub mode: SendMode,
    /// Only a note in the chat: no specialist is assigned, no treatment is opened. The platform
    /// documents it beside `bot_as_spec`, not together with it, so it takes its place on the wire.
    pub notification_only: bool,
    /// The line's own rules of closing apply to a treatment that the bot holds, instead of one
    /// hour. Means nothing for the two modes of a specialist, and is not sent with them.
    pub general_settings: bool,
    /// Buttons, seen by the user alone until [`drop_keyboard`](super::Chat::drop_keyboard); only a
    /// bot may show them.
    pub keyboard: Option<Keyboard>,
    /// The text.
    pub text: String,
    /// From this time on it must not be begun: its claim may run out before it has ended, and
    /// somebody else may send it.
    pub deadline: Time,
}

impl fmt::Debug for OutgoingMessage {
    /// Everything but the text, which is nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingMessage")
            .field("line", &self.line)
            .field("user", &self.user)
            .field("author", &self.author)
            .field("mode", &self.mode)
            .field("notification_only", &self.notification_only)
            .field("general_settings", &self.general_settings)
            .field("keyboard", &self.keyboard)
            .field("text_chars", &self.text.chars().count())
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// One file or image to be sent (`connect-api.md` 4.2); the fields of a message mean the same here.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingFile {
    /// The line of the chat.
    pub line: LineId,
    /// The client user of the chat.
    pub user: UserId,
    /// The specialist to write as; must be given in [`SendMode::Specialist`].
    pub author: Option<UserId>,
    /// How it is written.
    pub mode: SendMode,
    /// As in [`OutgoingMessage::notification_only`].
    pub notification_only: bool,
    /// As in [`OutgoingMessage::general_settings`].
    pub general_settings: bool,
    /// As in [`OutgoingMessage::keyboard`].
    pub keyboard: Option<Keyboard>,
    /// The name that is shown.
    pub file_name: String,
    /// The words below it.
    pub comment: Option<String>,
    /// Whether it is shown as a picture: png, jpg, jpeg and bmp in the vendor's own bot.
    pub is_image: bool,
    /// Where its content is.
    pub content: PathBuf,
    /// How long the content is. If it has another length, nothing is sent.
    pub bytes: u64,
    /// As in [`OutgoingMessage::deadline`].
    pub deadline: Time,
}

impl fmt::Debug for OutgoingFile {
    /// Everything but its name, its words and where it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingFile")
            .field("line", &self.line)
            .field("user", &self.user)
            .field("author", &self.author)
            .field("mode", &self.mode)
            .field("notification_only", &self.notification_only)
            .field("general_settings", &self.general_settings)
            .field("keyboard", &self.keyboard)
            .field("is_image", &self.is_image)
            .field("bytes", &self.bytes)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Everything of a message or file but its content: what both say in the same fields.
#[derive(Clone, Copy)]
pub(super) struct Manner<'a> {
    pub(super) line: &'a LineId,
    pub(super) user: &'a UserId,
    pub(super) author: Option<&'a UserId>,
    pub(super) mode: SendMode,
    pub(super) notification_only: bool,
    pub(super) general_settings: bool,
    pub(super) keyboard: Option<&'a Keyboard>,
}

impl Manner<'_> {
    /// Why it must not be sent like this, if it must not.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let is_specialist = self.mode == SendMode::Specialist;
        if is_specialist && self.author.is_none() {
            return Some("a message of a specialist needs an author_id");
        }
        let keyboard = self.keyboard?;
        if is_specialist || self.notification_only {
            return Some("only a bot may show a keyboard, and not with a notification");
        }
        keyboard.check().is_err().then_some("the keyboard is empty, too large or ambiguous")
    }
}

impl OutgoingMessage {
    pub(super) fn manner(&self) -> Manner<'_> {
        Manner {
            line: &self.line,
            user: &self.user,
            author: self.author.as_ref(),
            mode: self.mode,
            notification_only: self.notification_only,
            general_settings: self.general_settings,
            keyboard: self.keyboard.as_ref(),
        }
    }
}

impl OutgoingFile {
    pub(super) fn manner(&self) -> Manner<'_> {
        Manner {
            line: &self.line,
            user: &self.user,
            author: self.author.as_ref(),
            mode: self.mode,
            notification_only: self.notification_only,
            general_settings: self.general_settings,
            keyboard: self.keyboard.as_ref(),
        }
    }
}
