//! Broadcasts of the platform, as bodies of JSON read by the program's own reader.

use freeline::connect::wire::read_event;
use freeline::core::time::Time;
use freeline::store::NewEvent;
use serde_json::{Value, json};

/// A body with the keys that every recorded event has; `id` names the message.
pub(crate) fn body(
    message_type: i64,
    id: &str,
    (line, user, treatment): Chat<'_>,
    at: Time,
) -> Value {
    json!({
        "event_type": "line", "event_source": "line", "message_type": message_type,
        "message_id": id, "message_time": at.to_string(), "line_id": line, "user_id": user,
        "author_id": user, "treatment_id": treatment,
    })
}

/// Line, user and treatment.
pub(crate) type Chat<'a> = (&'a str, &'a str, &'a str);

/// The user writes.
pub(crate) fn text(id: &str, chat: Chat<'_>, at: Time) -> Value {
    with(body(1, id, chat, at), json!({"text": "Hello"}))
}

/// A specialist, or the bot on behalf of one, writes `words`.
pub(crate) fn answer(id: &str, chat: Chat<'_>, words: &str, at: Time) -> Value {
    with(body(1, id, chat, at), json!({"author_id": "specialist", "text": words}))
}

/// A specialist closes the treatment.
pub(crate) fn close(id: &str, chat: Chat<'_>, at: Time) -> Value {
    with(body(82, id, chat, at), json!({"author_id": "specialist"}))
}

/// The half of a move that stands on its source.
pub(crate) fn moved_to(
    id: &str,
    chat: Chat<'_>,
    (line, treatment): (&str, &str),
    at: Time,
) -> Value {
    let data = json!({"direction": "to", "line_id": line, "treatment_id": treatment});
    with(body(89, id, chat, at), json!({"data": data}))
}

/// The half of a move that stands on its target.
pub(crate) fn moved_from(
    id: &str,
    chat: Chat<'_>,
    (line, treatment): (&str, &str),
    at: Time,
) -> Value {
    let data = json!({"direction": "from", "line_id": line, "treatment_id": treatment});
    with(body(89, id, chat, at), json!({"data": data}))
}

/// The same body with other or more keys; null takes one away.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    let (Some(keys), Value::Object(more)) = (body.as_object_mut(), more) else {
        panic!("two objects")
    };
    for (name, value) in more {
        if value.is_null() {
            keys.remove(&name);
        } else {
            keys.insert(name, value);
        }
    }
    body
}

/// A body that came in at `received_at`.
pub(crate) fn received(body: &Value, received_at: Time) -> NewEvent {
    received_bytes(body.to_string().as_bytes(), received_at)
}

/// Bytes that came in at `received_at`.
pub(crate) fn received_bytes(body: &[u8], received_at: Time) -> NewEvent {
    let event = read_event(body).map_err(|error| error.to_string());
    NewEvent { received_at, body: body.to_vec(), event }
}
