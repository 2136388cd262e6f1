//! Section "Dispatch": how a payment is sent to a line.

use std::path::Path;
use std::time::Duration;

use crate::config::duration::within;
use crate::config::hook::parse_yes_or_no;
use crate::config::reader::{Expected, Reader, Reported, read_bounded};
use crate::config::variables::{
    DISPATCH_AUTHOR_ID, DISPATCH_MODE, DISPATCH_USER_ID, HAND_OVER, IN_DOUBT_AFTER,
    LOOK_AFTER_SILENCE, MESSAGE_TEMPLATE,
};
use crate::connect::SendMode;
use crate::core::id::UserId;

const TEMPLATE_BYTES_MAX: u64 = 64 * 1024;
const IN_DOUBT_AFTER_MIN: Duration = Duration::from_millis(100);
const IN_DOUBT_AFTER_MAX: Duration = Duration::from_hours(1);
/// Below it, conversations with ordinary pauses would be asked for.
const LOOK_AFTER_SILENCE_MIN: Duration = Duration::from_mins(5);
const LOOK_AFTER_SILENCE_MAX: Duration = Duration::from_hours(24);

/// How a payment is sent to a line.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// Who writes.
    pub mode: SendMode,
    /// The user that treatments are opened for when nothing else names one.
    pub user: Option<UserId>,
    /// The specialist to write as when the manager has none.
    pub author: Option<UserId>,
    /// The text of the message's template; `None` is the built-in one.
    pub template: Option<String>,
    /// How long to wait for the echo of a message before looking at its line.
    pub in_doubt_after: Duration,
    /// Whether a treatment is handed over to a specialist as soon as its user writes to the bot.
    pub hand_over: bool,
    /// How long a treatment may be open without a sign of life before its line is looked at.
    pub look_after_silence: Duration,
}

impl DispatchSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let mode = reader.or_default(&DISPATCH_MODE, parse_mode);
        let user = reader.optional(&DISPATCH_USER_ID, parse_id);
        let author = reader.optional(&DISPATCH_AUTHOR_ID, parse_id);
        let template = reader.optional(&MESSAGE_TEMPLATE, read_template);
        let in_doubt_after =
            reader.or_default(&IN_DOUBT_AFTER, within(IN_DOUBT_AFTER_MIN, IN_DOUBT_AFTER_MAX));
        let hand_over = reader.or_default(&HAND_OVER, parse_yes_or_no);
        let look_after_silence = reader.or_default(
            &LOOK_AFTER_SILENCE,
            within(LOOK_AFTER_SILENCE_MIN, LOOK_AFTER_SILENCE_MAX),
        );
        Ok(Self {
            mode: mode?,
            user: user?,
            author: author?,
            template: template?,
            in_doubt_after: in_doubt_after?,
            hand_over: hand_over?,
            look_after_silence: look_after_silence?,
        })
    }
}

fn parse_mode(text: &str) -> Result<SendMode, Expected> {
    match text {
        "bot" => Ok(SendMode::Bot),
        "specialist" => Ok(SendMode::Specialist),
        _ => Err("expected bot or specialist".to_owned()),
    }
}

/// Never checked to be a UUID: the platform's ids have any version (`connect-api.md` 1.4).
fn parse_id(text: &str) -> Result<UserId, Expected> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Err("expected an id of the platform, without spaces".to_owned())
    } else {
        Ok(UserId::from(text))
    }
}

fn read_template(path: &str) -> Result<String, Expected> {
    match read_bounded(Path::new(path), TEMPLATE_BYTES_MAX) {
        Ok(text) if text.trim().is_empty() => {
            Err("expected a template, and the file has nothing in it".to_owned())
        }
        Ok(text) => Ok(text),
        Err(error) => Err(format!("expected a file of text, and it cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_from_its_file_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = folder.path().join("template");
            std::fs::write(&path, bytes).unwrap();
            read_template(path.to_str().unwrap())
        };
        assert_eq!(check("Оплата {{ number }}".as_bytes()).unwrap(), "Оплата {{ number }}");
        assert_eq!(check(&vec![b'a'; 64 * 1024]).unwrap().len(), 64 * 1024);
        assert_eq!(
            check(&vec![b'a'; 64 * 1024 + 1]).unwrap_err(),
            "expected a file of text, and it cannot be read: it has more than 64 KiB"
        );
        assert_eq!(
            check(b"\n").unwrap_err(),
            "expected a template, and the file has nothing in it"
        );
        assert!(check(&[0xff]).unwrap_err().contains("UTF-8"));
        assert_eq!(
            read_template("/nowhere/template").unwrap_err(),
            "expected a file of text, and it cannot be read: No such file or directory (os error 2)"
        );
    }
}
