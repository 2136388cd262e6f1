//! Keyboards as they are stored: rows of `[id, text]`, as JSON.

use crate::core::keyboard::{Button, Keyboard};
use crate::store::{Result, StoreError};

pub(super) fn write(keyboard: &Keyboard) -> Result<String> {
    let rows: Vec<Vec<(&Option<String>, &String)>> =
        keyboard.0.iter().map(|row| row.iter().map(|b| (&b.id, &b.text)).collect()).collect();
    serde_json::to_string(&rows).map_err(|_| inconsistent())
}

pub(super) fn read(text: &str) -> Result<Keyboard> {
    let rows: Vec<Vec<(Option<String>, String)>> =
        serde_json::from_str(text).map_err(|_| inconsistent())?;
    let button = |(id, text)| Button { id, text };
    Ok(Keyboard(rows.into_iter().map(|row| row.into_iter().map(button).collect()).collect()))
}

fn inconsistent() -> StoreError {
    StoreError::inconsistent("outgoing", "keyboard", "not JSON")
}
