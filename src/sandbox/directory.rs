//! The platform's lists: lines, open treatments, people (`connect-api.md` 2.4, 4.8-4.10).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::connect::HookKind;
use crate::core::id::{LineId, UserId};
use crate::core::time::Time;

use super::model::{Broadcast, Model, Refused};
use super::world::Shared;

/// When every subscription began.
const SUBSCRIBED_AT: &str = "2022-01-01T00:00:00Z";
/// Priorities of the first specialists on every line, and then over again (`connect-api.md` 3.7).
const POOL_PRIORITIES: [u8; 3] = [1, 2, 3];

/// What a list can be narrowed to.
#[derive(Deserialize)]
pub(super) struct Filter {
    line_id: Option<String>,
    user_id: Option<String>,
}

/// A list, with the platform's content type.
fn list(rows: Vec<Value>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (content_type, Json(rows)).into_response()
}

/// One row, or an empty 403.
fn one(row: Option<Value>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    row.map_or_else(
        || StatusCode::FORBIDDEN.into_response(),
        |row| (content_type, Json(row)).into_response(),
    )
}

/// `GET /v1/line/`
pub(super) async fn lines(State(shared): State<Arc<Shared>>) -> Response {
    let world = shared.world();
    let row = |(id, line): (&LineId, &super::model::Line)| {
        let mut row = Map::new();
        row.insert("line_id".to_owned(), json!(id.as_str()));
        row.insert("name".to_owned(), json!(line.name));
        row.insert("allow_bot".to_owned(), json!(line.allow_bot));
        for (key, kind) in [("hook_bot", HookKind::Bot), ("hook_line", HookKind::Line)] {
            if let Some(hook) = world.hooks.of_line(kind, id) {
                row.insert(key.to_owned(), json!(hook.url));
            }
        }
        Value::Object(row)
    };
    list(world.model.lines.iter().map(row).collect())
}

/// `GET /v1/line/treatment/`
pub(super) async fn treatments(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
) -> Response {
    let (line, user) = (filter.line_id.as_deref(), filter.user_id.as_deref());
    list(shared.world().model.list_treatments(line, user))
}

/// `GET /v1/line/specialists/`: every specialist serves every line.
pub(super) async fn specialists(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
) -> Response {
    let world = shared.world();
    let is_known = |line: String| world.model.lines.contains_key(&LineId::new(line));
    if !filter.line_id.is_none_or(is_known) {
        return list(Vec::new());
    }
    list(world.model.specialists.iter().map(|id| person(id, "Специалист")).collect())
}

/// `GET /v1/line/specialist/{id}/`
pub(super) async fn specialist(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    let id = UserId::new(id);
    let found = shared.world().model.require_specialist(&id).is_ok();
    one(found.then(|| person(&id, "Специалист")))
}

/// `GET /v1/line/specialists/{line_id}/available/`
pub(super) async fn available(
    State(shared): State<Arc<Shared>>,
    Path(line): Path<String>,
) -> Response {
    let world = shared.world();
    if world.model.require_line(&LineId::new(line)).is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    list(world.model.free_specialists().map(|id| json!(id.as_str())).collect())
}

/// `GET /v1/line/subscribers/`
pub(super) async fn subscribers(State(shared): State<Arc<Shared>>) -> Response {
    list(shared.world().model.users.iter().map(|id| person(id, "Пользователь")).collect())
}

/// `GET /v1/line/subscriber/{id}/`
pub(super) async fn subscriber(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    let id = UserId::new(id);
    let found = shared.world().model.users.contains(&id);
    one(found.then(|| person(&id, "Пользователь")))
}

/// `GET /v1/line/subscriptions/`
pub(super) async fn subscriptions(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
) -> Response {
    list(subscriptions_of(&shared.world().model, &filter))
}

/// `GET /v1/line/competences/`: every specialist serves every line.
pub(super) async fn competences(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
) -> Response {
    let is_wanted = |only: &Option<String>, id: &str| only.as_deref().is_none_or(|one| one == id);
    let world = shared.world();
    let lines = world.model.lines.keys().filter(|id| is_wanted(&filter.line_id, id.as_str()));
    let row = |line: &LineId, number: usize, specialist: &UserId| {
        json!({
            "line_id": line.as_str(),
            "specialist_id": specialist.as_str(),
            "pool_priority": POOL_PRIORITIES.get(number % POOL_PRIORITIES.len()),
            "is_franch_spec": false,
        })
    };
    let specialists = || world.model.specialists.iter().enumerate();
    let of_line = |line| {
        specialists()
            .filter(|(_, id)| is_wanted(&filter.user_id, id.as_str()))
            .map(move |(number, id)| row(line, number, id))
    };
    list(lines.flat_map(of_line).collect())
}

fn subscriptions_of(model: &Model, filter: &Filter) -> Vec<Value> {
    let line_wanted =
        |id: &LineId| filter.line_id.as_deref().is_none_or(|only| only == id.as_str());
    let user_wanted =
        |id: &UserId| filter.user_id.as_deref().is_none_or(|only| only == id.as_str());
    let lines = model.lines.iter().filter(|(id, _)| line_wanted(id));
    lines
        .flat_map(|(id, line)| {
            let users = line.subscribers.iter().filter(|user| user_wanted(user));
            users.map(move |user| subscription(id, user))
        })
        .collect()
}

/// A row of the list of subscriptions (`connect-api.md` 3.7).
fn subscription(line: &LineId, user: &UserId) -> Value {
    json!({
        "line_id": line.as_str(),
        "user_id": user.as_str(),
        "subscription_set": SUBSCRIBED_AT,
        "subscription_expire_at": null,
    })
}

impl Model {
    /// The user gets the line or loses it. A change is told; an open treatment that is lost with
    /// the line closes (92).
    pub(super) fn set_subscription(
        &mut self,
        line: &LineId,
        user: &UserId,
        is_on: bool,
        now: Time,
    ) -> Result<((), Vec<Broadcast>), Refused> {
        if is_on == self.require_line(line)?.subscribers.contains(user) {
            return Ok(((), Vec::new()));
        }
        let body = json!({
            "event_type": "subscription",
            "action": if is_on { "add" } else { "delete" },
            "subscription": subscription(line, user),
        });
        let body = body.as_object().cloned().unwrap_or_default();
        let mut events = vec![Broadcast { line: line.clone(), message_type: None, body }];
        if is_on {
            self.subscribe(line, user)?;
            return Ok(((), events));
        }
        if let Some(held) = self.lines.get_mut(line) {
            held.subscribers.remove(user);
        }
        self.keyboards.remove(&(line.clone(), user.clone()));
        if self.require_open(line, user).is_ok() {
            events.extend(self.close(line, user, 92, None, now)?.1);
        }
        Ok(((), events))
    }
}

/// A person, whose everything is derived from the last digits of the id.
fn person(id: &UserId, surname: &str) -> Value {
    let digits = id.as_str().rsplit('-').next().unwrap_or_default();
    let number = digits.trim_start_matches('0');
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let derived = |text: String| if is_number { text } else { String::new() };
    json!({
        "user_id": id.as_str(),
        "name": number,
        "surname": surname,
        "patronymic": "",
        "avatar_url": "",
        "post": surname,
        "phone": derived(format!("+7 000 {number:0>7}")),
        "email": derived(format!("{number}@example.org")),
    })
}
