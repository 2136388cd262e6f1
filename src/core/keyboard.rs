//! Keyboards of a bot: buttons shown below a message (`connect-api.md` 4.1).
//!
//! A pressed button comes back as an ordinary text message with the button's text, so no two
//! buttons of a keyboard may have the same one. The platform documents no limits; the ones here
//! are ours, chosen so that every keyboard still fits on a telephone.

use std::collections::BTreeSet;
use std::fmt;

/// The most rows of a keyboard.
pub const ROWS_MAX: usize = 20;

/// The most buttons of one row.
pub const ROW_BUTTONS_MAX: usize = 8;

/// The longest text of a button, in characters: the same as a scenario point's
/// (`connect-api.md` 2.1).
pub const TEXT_CHARS_MAX: usize = 128;

/// The longest id of a button, in characters.
pub const ID_CHARS_MAX: usize = 128;

/// Rows of buttons, from the top.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyboard(pub Vec<Vec<Button>>);

/// One button.
#[derive(Clone, PartialEq, Eq)]
pub struct Button {
    /// What a user may type instead of pressing it.
    pub id: Option<String>,
    /// What stands on it, and what comes back when it is pressed.
    pub text: String,
}

impl fmt::Debug for Button {
    /// Without the text: it is part of a chat.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chars = self.text.chars().count();
        f.debug_struct("Button").field("text_chars", &chars).finish_non_exhaustive()
    }
}

/// Why a keyboard cannot be shown.
///
/// Rows and buttons are counted from 0, as in a JSON pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyboardError {
    /// There is nothing to press.
    #[error("the keyboard has no rows; leave it out to show none")]
    Empty,
    /// There are too many rows.
    #[error("the keyboard has more than {ROWS_MAX} rows")]
    Rows,
    /// A row is empty or too long.
    #[error("a row has 1 to {ROW_BUTTONS_MAX} buttons")]
    Row {
        /// Which row.
        row: usize,
    },
    /// The text of a button is empty or too long.
    #[error("a button's text has 1 to {TEXT_CHARS_MAX} characters and is not blank")]
    Text {
        /// Which row.
        row: usize,
        /// Which button of it.
        button: usize,
    },
    /// The id of a button is empty or too long.
    #[error("a button's id has 1 to {ID_CHARS_MAX} characters")]
    Id {
        /// Which row.
        row: usize,
        /// Which button of it.
        button: usize,
    },
    /// Another button has the same text: nobody could tell which one was pressed.
    #[error("another button has the same text")]
    Twice {
        /// Which row.
        row: usize,
        /// Which button of it.
        button: usize,
    },
}

impl Keyboard {
    /// Whether the keyboard can be shown, and each of its buttons told from the others.
    pub fn check(&self) -> Result<(), KeyboardError> {
        if self.0.is_empty() {
            return Err(KeyboardError::Empty);
        }
        if self.0.len() > ROWS_MAX {
            return Err(KeyboardError::Rows);
        }
        let mut texts = BTreeSet::new();
        for (row, buttons) in self.0.iter().enumerate() {
            if buttons.is_empty() || buttons.len() > ROW_BUTTONS_MAX {
                return Err(KeyboardError::Row { row });
            }
            for (button, one) in buttons.iter().enumerate() {
                if one.text.trim().is_empty() || is_longer(&one.text, TEXT_CHARS_MAX) {
                    return Err(KeyboardError::Text { row, button });
                }
                if one.id.as_ref().is_some_and(|id| id.is_empty() || is_longer(id, ID_CHARS_MAX)) {
                    return Err(KeyboardError::Id { row, button });
                }
                if !texts.insert(one.text.as_str()) {
                    return Err(KeyboardError::Twice { row, button });
                }
            }
        }
        Ok(())
    }
}

fn is_longer(text: &str, chars_max: usize) -> bool {
    text.chars().nth(chars_max).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn button(text: &str) -> Button {
        Button { id: None, text: text.to_owned() }
    }

    fn with_id(id: &str) -> Button {
        Button { id: Some(id.to_owned()), text: "x".to_owned() }
    }

    /// `height` rows of `width` buttons, all different.
    fn field(height: usize, width: usize) -> Keyboard {
        let row = |row| (0..width).map(|place| button(&format!("{row} {place}"))).collect();
        Keyboard((0..height).map(row).collect())
    }

    #[track_caller]
    fn check(rows: Vec<Vec<Button>>, expected: Result<(), KeyboardError>) {
        assert_eq!(Keyboard(rows).check(), expected);
    }

    #[test]
    fn a_keyboard_has_bounds() {
        assert_eq!(field(ROWS_MAX, ROW_BUTTONS_MAX).check(), Ok(()));
        assert_eq!(field(ROWS_MAX + 1, 1).check(), Err(KeyboardError::Rows));
        let too_wide = field(2, ROW_BUTTONS_MAX + 1);
        assert_eq!(too_wide.check(), Err(KeyboardError::Row { row: 0 }));
        check(vec![], Err(KeyboardError::Empty));
        check(vec![vec![button("a")], vec![]], Err(KeyboardError::Row { row: 1 }));
        check(vec![vec![button(&"я".repeat(128)), with_id(&"я".repeat(128))]], Ok(()));
        let place = (0, 1);
        let (row, button_at) = place;
        for text in ["", " \n", &"x".repeat(129)] {
            let rows = vec![vec![button("a"), button(text)]];
            check(rows, Err(KeyboardError::Text { row, button: button_at }));
        }
        for id in ["", &"x".repeat(129)] {
            let rows = vec![vec![button("a"), with_id(id)]];
            check(rows, Err(KeyboardError::Id { row, button: button_at }));
        }
    }

    #[test]
    fn buttons_that_could_not_be_told_apart_are_refused() {
        let rows = vec![vec![button("yes")], vec![button("no"), button("yes")]];
        check(rows, Err(KeyboardError::Twice { row: 1, button: 1 }));
    }

    #[test]
    fn what_stands_on_a_button_is_not_shown() {
        let button = Button { id: Some("hidden".to_owned()), text: "hidden".to_owned() };
        assert!(!format!("{:?}", Keyboard(vec![vec![button]])).contains("hidden"));
    }
}
