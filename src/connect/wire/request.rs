//! Bodies of our requests.

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::connect::{BackAuth, HookKind, OutgoingMessage, SendMode};
use crate::core::id::LineId;

/// The body of `POST /v1/line/send/message/` (`connect-api.md` 4.1).
///
/// In bot mode `general_settings` keeps the line's own rules of closing: without it the platform
/// closes the treatment after an hour.
pub fn send_message(message: &OutgoingMessage) -> String {
    let mut body = Map::new();
    put(&mut body, "line_id", message.line.as_str());
    put(&mut body, "user_id", message.user.as_str());
    if let Some(author) = &message.author {
        put(&mut body, "author_id", author.as_str());
    }
    put(&mut body, "text", message.text.as_str());
    let flag = match message.mode {
        SendMode::Bot => "general_settings",
        SendMode::Specialist => "bot_as_spec",
    };
    put(&mut body, flag, true);
    Value::Object(body).to_string()
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
