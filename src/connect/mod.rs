//! The platform's client: the only place that knows the wire format of 1C-Connect.
//!
//! [`Chat`] is the port the workers call; `client` speaks real HTTP; `wire` reads events and
//! answers; `budget` keeps every call within the platform's limits.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

pub use crate::core::dispatch::SendMode;
use crate::core::id::{LineId, TreatmentId, UserId};
pub use crate::core::keyboard::{Button, Keyboard};
use crate::core::outcome::Answer;
pub use crate::core::platform::{Competence, Person, PlatformLine, Subscription};
use crate::core::time::Time;

pub mod budget;
pub mod client;
mod outgoing;
pub mod watched;
pub mod wire;

pub use outgoing::{ChatAddress, OutgoingFile, OutgoingMessage};

/// The platform, as the workers see it.
#[async_trait]
pub trait Chat: Send + Sync {
    /// Sends one message (`connect-api.md` 4.1). Never repeats it by itself, and never begins at
    /// its deadline or later: that is [`NotDone::TooLate`](crate::core::outcome::NotDone).
    async fn send_message(&self, message: &OutgoingMessage) -> Answer;

    /// Sends one file or image (`connect-api.md` 4.2), promising the same as
    /// [`send_message`](Self::send_message). A file that cannot be opened or has another length
    /// than was said is [`NotDone::NoFile`](crate::core::outcome::NotDone).
    async fn send_file(&self, file: &OutgoingFile) -> Answer;

    /// Takes the user's keyboard away (`connect-api.md` 4.3); harmless where there is none.
    async fn drop_keyboard(&self, chat: &ChatAddress) -> Answer;

    /// Closes the treatment, on behalf of a specialist if one is given (`connect-api.md` 4.4).
    async fn drop_treatment(&self, chat: &ChatAddress, author: Option<&UserId>) -> Answer;

    /// Hands the treatment to any free specialist, or puts it into the queue
    /// (`connect-api.md` 4.5).
    async fn appoint_any(&self, chat: &ChatAddress) -> Answer;

    /// Tries to hand the treatment to this specialist, who must be available
    /// (`connect-api.md` 4.6).
    async fn appoint(
        &self,
        chat: &ChatAddress,
        specialist: &UserId,
        author: Option<&UserId>,
    ) -> Answer;

    /// Moves the treatment to another line that the user is subscribed to, citing `quote` there
    /// (`connect-api.md` 4.7).
    async fn reroute(&self, chat: &ChatAddress, to: &LineId, quote: Option<&str>) -> Answer;

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

    /// Lists who may write where, of one user, of one line, or both (`connect-api.md` 4.10).
    async fn list_subscriptions(
        &self,
        user: Option<&UserId>,
        line: Option<&LineId>,
    ) -> Result<Vec<Subscription>, Answer>;

    /// Lists all client users (`connect-api.md` 4.10).
    async fn list_subscribers(&self) -> Result<Vec<Person>, Answer>;

    /// One client user (`connect-api.md` 4.10).
    async fn subscriber(&self, user: &UserId) -> Result<Person, Answer>;

    /// Lists specialists, of one line or of all (`connect-api.md` 4.10).
    async fn list_specialists(&self, line: Option<&LineId>) -> Result<Vec<Person>, Answer>;

    /// The specialists who could take a treatment of the line right now (`connect-api.md` 4.10).
    async fn available_specialists(&self, line: &LineId) -> Result<Vec<UserId>, Answer>;

    /// Lists who works where, of one specialist, of one line, or both (`connect-api.md` 4.10).
    async fn list_competences(
        &self,
        user: Option<&UserId>,
        line: Option<&LineId>,
    ) -> Result<Vec<Competence>, Answer>;
}

/// The two kinds of registration of a callback URL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HookKind {
    /// All events of a line.
    Line,
    /// The events for the bot of a line; also what lets us write as the bot.
    Bot,
}

impl HookKind {
    /// The platform's word for it (`connect-api.md` 2.1).
    pub const fn word(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Bot => "bot",
        }
    }
}

/// The credentials that the platform must send to our callback URL (`connect-api.md` 2.1).
#[derive(Clone, Debug)]
pub enum BackAuth {
    /// None: anybody may call.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token.
        token: SecretString,
    },
    /// HTTP Basic.
    Basic {
        /// The login.
        login: String,
        /// The password.
        password: SecretString,
    },
}

/// A fingerprint of our registration: SHA-256 of the callback URL and its credentials, in hex.
///
/// The platform never tells with which credentials a hook is registered (`connect-api.md` 2.4), so
/// this is kept to notice that ours have changed. Every field goes in with its length before it:
/// no two registrations have one fingerprint.
pub fn hook_fingerprint(url: &str, auth: &BackAuth) -> String {
    let fields = match auth {
        BackAuth::None => [url, "none", "", ""],
        BackAuth::Bearer { token } => [url, "bearer", token.expose_secret(), ""],
        BackAuth::Basic { login, password } => [url, "basic", login, password.expose_secret()],
    };
    let mut hash = Sha256::new();
    for field in fields {
        let bytes = u64::try_from(field.len()).unwrap_or(u64::MAX);
        hash.update(bytes.to_be_bytes());
        hash.update(field.as_bytes());
    }
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    hash.finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_registration_changes_its_fingerprint() {
        let bearer = |token: &str| BackAuth::Bearer { token: token.into() };
        let basic = |login: &str, password: &str| BackAuth::Basic {
            login: login.to_owned(),
            password: password.into(),
        };
        let prints = [
            hook_fingerprint("https://h/", &BackAuth::None),
            hook_fingerprint("https://h/n", &BackAuth::None),
            hook_fingerprint("https://h/", &bearer("ab")),
            hook_fingerprint("https://h/", &bearer("abc")),
            hook_fingerprint("https://h/", &basic("ab", "")),
            hook_fingerprint("https://h/", &basic("a", "b")),
            hook_fingerprint("https://h/", &basic("", "ab")),
        ];
        for (place, print) in prints.iter().enumerate() {
            assert_eq!(print.len(), 64);
            assert_eq!(prints.iter().position(|other| other == print), Some(place));
        }
        assert_eq!(prints[2], hook_fingerprint("https://h/", &bearer("ab")));
    }

    #[test]
    fn neither_secrets_nor_message_texts_are_shown() {
        let message = OutgoingMessage {
            line: "l".into(),
            user: "u".into(),
            author: None,
            mode: SendMode::Bot,
            notification_only: false,
            general_settings: true,
            keyboard: Some(Keyboard(vec![vec![Button { id: None, text: "hidden".to_owned() }]])),
            text: "hidden".to_owned(),
            deadline: Time::default(),
        };
        let file = OutgoingFile {
            line: "l".into(),
            user: "u".into(),
            author: None,
            mode: SendMode::Bot,
            notification_only: false,
            general_settings: true,
            keyboard: None,
            file_name: "hidden".to_owned(),
            comment: Some("hidden".to_owned()),
            is_image: false,
            content: "/hidden".into(),
            bytes: 1,
            deadline: Time::default(),
        };
        let person = Person {
            id: "u".into(),
            name: "hidden".to_owned(),
            surname: "hidden".to_owned(),
            patronymic: "hidden".to_owned(),
            post: "hidden".to_owned(),
            phone: "hidden".to_owned(),
            email: "hidden".to_owned(),
        };
        let auth = BackAuth::Basic { login: "me".to_owned(), password: "hidden".into() };
        assert!(!format!("{message:?} {file:?} {person:?} {auth:?}").contains("hidden"));
    }
}
