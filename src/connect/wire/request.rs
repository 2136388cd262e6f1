//! Bodies of our requests.

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::connect::outgoing::Manner;
use crate::connect::{BackAuth, ChatAddress, HookKind, OutgoingFile, OutgoingMessage, SendMode};
use crate::core::id::{LineId, UserId};
use crate::core::keyboard::{Button, Keyboard};

/// The body of `POST /v1/line/send/message/` (`connect-api.md` 4.1).
pub fn send_message(message: &OutgoingMessage) -> String {
    let mut body = manner(message.manner());
    put(&mut body, "text", message.text.as_str());
    Value::Object(body).to_string()
}

/// The part `meta` of `POST /v1/line/send/file/` and `/image/` (`connect-api.md` 4.2).
pub fn file_meta(file: &OutgoingFile) -> String {
    let mut body = manner(file.manner());
    put(&mut body, "file_name", file.file_name.as_str());
    if let Some(comment) = &file.comment {
        put(&mut body, "comment", comment.as_str());
    }
    Value::Object(body).to_string()
}

/// What a message and a file say alike. Flags that are off are left out.
fn manner(manner: Manner<'_>) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, "line_id", manner.line.as_str());
    put(&mut body, "user_id", manner.user.as_str());
    if let Some(author) = manner.author {
        put(&mut body, "author_id", author.as_str());
    }
    let flag = match (manner.notification_only, manner.mode) {
        (true, _) => Some("notification_only"),
        (false, SendMode::Specialist) => Some("bot_as_spec"),
        (false, SendMode::Bot) => manner.general_settings.then_some("general_settings"),
    };
    if let Some(flag) = flag {
        put(&mut body, flag, true);
    }
    if let Some(keyboard) = manner.keyboard {
        put(&mut body, "keyboard", rows(keyboard));
    }
    body
}

/// A keyboard as rows of buttons (`connect-api.md` 4.1).
fn rows(keyboard: &Keyboard) -> Value {
    keyboard.0.iter().map(|row| row.iter().map(button).collect::<Value>()).collect()
}

fn button(button: &Button) -> Value {
    let mut body = Map::new();
    if let Some(id) = &button.id {
        put(&mut body, "id", id.as_str());
    }
    put(&mut body, "text", button.text.as_str());
    Value::Object(body)
}

/// The body of a command that names nothing but the chat: `drop/keyboard` and `appoint/start`
/// (`connect-api.md` 4.3, 4.5).
pub fn command(chat: &ChatAddress) -> String {
    Value::Object(address(chat)).to_string()
}

/// The body of `POST /v1/line/drop/treatment/` (`connect-api.md` 4.4).
pub fn drop_treatment(chat: &ChatAddress, author: Option<&UserId>) -> String {
    let mut body = address(chat);
    put_author(&mut body, author);
    Value::Object(body).to_string()
}

/// The body of `POST /v1/line/appoint/spec/` (`connect-api.md` 4.6).
pub fn appoint(chat: &ChatAddress, specialist: &UserId, author: Option<&UserId>) -> String {
    let mut body = address(chat);
    put(&mut body, "spec_id", specialist.as_str());
    put_author(&mut body, author);
    Value::Object(body).to_string()
}

/// The body of `POST /v1/line/reroute/` (`connect-api.md` 4.7).
pub fn reroute(chat: &ChatAddress, to: &LineId, quote: Option<&str>) -> String {
    let mut body = address(chat);
    put(&mut body, "to_line_id", to.as_str());
    if let Some(quote) = quote {
        put(&mut body, "quote", quote);
    }
    Value::Object(body).to_string()
}

fn address(chat: &ChatAddress) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, "line_id", chat.line.as_str());
    put(&mut body, "user_id", chat.user.as_str());
    body
}

fn put_author(body: &mut Map<String, Value>, author: Option<&UserId>) {
    if let Some(author) = author {
        put(body, "author_id", author.as_str());
    }
}

/// The body of `POST /v1/hook/` (`connect-api.md` 2.1). It holds the secret of `auth`.
pub fn set_hook(kind: HookKind, line: &LineId, url: &str, auth: &BackAuth) -> String {
    let mut body = Map::new();
    put(&mut body, "type", kind.word());
    put(&mut body, "id", line.as_str());
    put(&mut body, "url", url);
    let mut back_auth = Map::new();
    match auth {
        BackAuth::None => {}
        BackAuth::Bearer { token } => {
            put(&mut back_auth, "type", "bearer");
            put(&mut back_auth, "token", token.expose_secret());
        }
        BackAuth::Basic { login, password } => {
            put(&mut back_auth, "type", "basic");
            put(&mut back_auth, "login", login.as_str());
            put(&mut back_auth, "password", password.expose_secret());
        }
    }
    if !back_auth.is_empty() {
        put(&mut body, "back_auth", back_auth);
    }
    Value::Object(body).to_string()
}

/// Sets one field.
fn put(body: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    body.insert(name.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::time::Time;

    #[track_caller]
    fn check(body: &str, expected: &Value) {
        assert_eq!(&serde_json::from_str::<Value>(body).unwrap(), expected);
    }

    #[test]
    fn a_message_says_who_writes_it_and_how() {
        let mut message = OutgoingMessage {
            line: "l".into(),
            user: "u".into(),
            author: Some("s".into()),
            mode: SendMode::Bot,
            notification_only: false,
            general_settings: true,
            keyboard: None,
            text: "Оплата №7 \"x\"\n".to_owned(),
            deadline: Time::default(),
        };
        check(
            &send_message(&message),
            &json!({"line_id":"l","user_id":"u","author_id":"s","text":"Оплата №7 \"x\"\n",
                    "general_settings":true}),
        );
        message.author = None;
        message.mode = SendMode::Specialist;
        check(
            &send_message(&message),
            &json!({"line_id":"l","user_id":"u","text":"Оплата №7 \"x\"\n","bot_as_spec":true}),
        );
    }

    #[test]
    fn a_hook_tells_the_platform_how_to_authenticate_itself() {
        let line = LineId::from("l");
        let body = |kind, auth| set_hook(kind, &line, "https://h/c/", &auth);
        check(
            &body(HookKind::Bot, BackAuth::Bearer { token: "t".into() }),
            &json!({"type":"bot","id":"l","url":"https://h/c/",
                    "back_auth":{"type":"bearer","token":"t"}}),
        );
        check(
            &body(HookKind::Line, BackAuth::Basic { login: "a".to_owned(), password: "p".into() }),
            &json!({"type":"line","id":"l","url":"https://h/c/",
                    "back_auth":{"type":"basic","login":"a","password":"p"}}),
        );
        check(
            &body(HookKind::Line, BackAuth::None),
            &json!({"type":"line","id":"l","url":"https://h/c/"}),
        );
    }
}
