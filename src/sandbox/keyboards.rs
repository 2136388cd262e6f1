//! Keyboards in chats: shown by the bot, pressed by the user (`connect-api.md` 4.1, 4.3).

use serde::{Deserialize, Serialize};

use crate::core::id::{LineId, UserId};
use crate::core::time::Time;

use super::model::{Model, Refused};
use super::traces::Told;

/// How many keyboards are shown at once; beyond it one of the others disappears.
pub const KEYBOARDS_MAX: usize = 1_000;

/// A button, as it was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownButton {
    /// What a user may type instead of pressing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What stands on it.
    pub text: String,
}

/// Rows of buttons.
pub type ShownKeyboard = Vec<Vec<ShownButton>>;

/// A keyboard that a user sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyboardEntry {
    /// The line of the chat.
    pub line: LineId,
    /// The user, the only one who sees it.
    pub user: UserId,
    /// Its buttons.
    pub keyboard: ShownKeyboard,
}

/// Whether there is something to press, everywhere.
pub(super) fn is_keyboard(keyboard: &ShownKeyboard) -> bool {
    let is_row = |row: &Vec<ShownButton>| !row.is_empty() && row.iter().all(|b| !b.text.is_empty());
    !keyboard.is_empty() && keyboard.iter().all(is_row)
}

impl Model {
    /// Shows a keyboard in place of the one before; without one, that one stays.
    pub(super) fn show_keyboard(
        &mut self,
        line: &LineId,
        user: &UserId,
        keyboard: Option<&ShownKeyboard>,
    ) {
        let Some(keyboard) = keyboard else { return };
        let chat = (line.clone(), user.clone());
        if self.keyboards.len() >= KEYBOARDS_MAX && !self.keyboards.contains_key(&chat) {
            self.keyboards.pop_first();
        }
        self.keyboards.insert(chat, keyboard.clone());
    }

    /// The user presses a button: its text arrives as an ordinary message.
    pub(super) fn press(&mut self, line: &LineId, user: &UserId, text: &str, now: Time) -> Told {
        let shown = self.keyboards.get(&(line.clone(), user.clone()));
        if !shown.into_iter().flatten().flatten().any(|button| button.text == text) {
            return Err(Refused::NoButton(text.to_owned()));
        }
        self.write(line, user, None, text, now)
    }

    /// The keyboards that are shown.
    pub(super) fn shown_keyboards(&self) -> Vec<KeyboardEntry> {
        let entry = |((line, user), keyboard): (&(LineId, UserId), &ShownKeyboard)| {
            let (line, user, keyboard) = (line.clone(), user.clone(), keyboard.clone());
            KeyboardEntry { line, user, keyboard }
        };
        self.keyboards.iter().map(entry).collect()
    }
}
