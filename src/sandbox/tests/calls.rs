//! The platform's own paths over real connections.

use serde_json::{Value, json};

use crate::lifecycle::Tasks;

use super::super::{RateLimits, SandboxConfig};
use super::{Receiver, World, as_specialist, l, s, u};

const SEND: &str = "/v1/line/send/message/";
const NOT_SUBSCRIBER: &str = r#"{"error":"User is not a subscriber or never been online"}"#;

fn as_bot(line: u16) -> Value {
    json!({
        "line_id": l(line).as_str(),
        "user_id": u(1).as_str(),
        "author_id": s(1).as_str(),
        "general_settings": true,
        "text": "Счёт 7",
    })
}

/// The body with one more or another field.
fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

#[tokio::test]
async fn a_call_without_the_password_is_answered_401_without_a_word() {
    let world = World::quick().await;
    let url = format!("{}/v1/line/", world.handle.url());
    let plain = world.client.get(&url).send().await.unwrap();
    assert_eq!(plain.status(), 401);
    let wrong = world.client.get(&url).basic_auth("sandbox", Some("x")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.text().await.unwrap(), "");
}

#[tokio::test]
async fn nine_lines_are_listed_with_their_hooks_only_where_set() {
    let world = World::quick().await;
    let url = "http://127.0.0.1:9/connect/hook/";
    let body = json!({"type": "bot", "id": l(2).as_str(), "url": url});
    assert_eq!(world.call("POST", "/v1/hook/", body).await, (200, String::new()));
    let lines = world.get("/v1/line").await;
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 9);
    assert_eq!(
        lines[0],
        json!({"line_id": l(1).as_str(), "name": "Бухгалтерия", "allow_bot": true})
    );
    assert_eq!(lines[1]["hook_bot"], url);
    assert_eq!(lines[1].get("hook_line"), None);
}

#[tokio::test]
async fn hooks_are_deleted_one_by_one_and_all_but_those_of_bots() {
    let world = World::quick().await;
    for (kind, line) in [("line", 1), ("line", 2), ("bot", 1), ("bot", 2)] {
        let body = json!({"type": kind, "id": l(line).as_str(), "url": "http://127.0.0.1:9/"});
        world.call("POST", "/v1/hook/", body).await;
    }
    let left = || {
        let hooks = world.handle.state().hooks;
        hooks.into_iter().map(|hook| (hook.kind, hook.line.unwrap())).collect::<Vec<_>>()
    };
    let (bot, line) = (crate::connect::HookKind::Bot, crate::connect::HookKind::Line);
    let path = format!("/v1/hook/bot/{}/", l(2));
    assert_eq!(world.call("DELETE", &path, Value::Null).await, (200, String::new()));
    assert_eq!(left(), [(line, l(1)), (line, l(2)), (bot, l(1))]);
    assert_eq!(world.call("DELETE", "/v1/hook/", Value::Null).await.0, 200);
    assert_eq!(left(), [(bot, l(1))]);
}

#[tokio::test]
async fn a_bots_hook_is_refused_where_no_bot_is_permitted() {
    let config = SandboxConfig { lines_without_bot: vec![3], ..SandboxConfig::quick() };
    let world = World::start(config).await;
    let body = json!({"type": "bot", "id": l(3).as_str(), "url": "http://127.0.0.1:9/"});
    assert_eq!(world.call("POST", "/v1/hook/", body).await, (403, String::new()));
}

#[tokio::test]
async fn a_malformed_hook_is_answered_400() {
    let world = World::quick().await;
    let line = l(1).to_string();
    for body in [
        json!({"type": "bot", "url": "http://127.0.0.1:9/"}),
        json!({"type": "both", "id": line, "url": "http://127.0.0.1:9/"}),
        json!({"type": "line", "id": line, "url": "nowhere"}),
        json!({"type": "line", "url": "http://127.0.0.1:9/", "back_auth": {"type": "digest"}}),
    ] {
        assert_eq!(world.call("POST", "/v1/hook/", body).await, (400, String::new()));
    }
}

#[tokio::test]
async fn the_bot_writes_only_where_its_hook_is_set() {
    let world = World::quick().await;
    assert_eq!(world.call("POST", SEND, as_bot(1)).await, (403, String::new()));
    assert!(world.handle.messages().is_empty());
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_bot(&receiver, &l(1)).await;
    assert_eq!(world.call("POST", SEND, as_bot(1)).await, (200, String::new()));
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [1]);
    assert_eq!(receiver.events()[0]["event_source"], "bot");
    let message = world.handle.next_message().await;
    assert!(message.flags.general_settings);
    assert_eq!(message.treatment, Some(world.handle.find_open(&l(1), &u(1)).unwrap().id));
}

#[tokio::test]
async fn a_specialist_writes_without_a_bots_hook_and_the_answer_is_empty() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    let request = world.request("POST", SEND).body(as_specialist(1, "Счёт 7").to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"], "0");
    world.handle.quiesce().await;
    let mut types = receiver.types();
    types.sort_unstable();
    assert_eq!(types, [1, 81]);
    assert_eq!(receiver.events()[0]["event_source"], "line");
}

#[tokio::test]
async fn messages_that_cannot_be_are_refused_as_the_platform_refuses_them() {
    let world = World::quick().await;
    let good = || as_specialist(1, "Счёт 7");
    let cases = [
        (with(good(), "author_id", Value::Null), 400, ""),
        (with(good(), "keyboard", json!([[{"text": "Да"}]])), 400, ""),
        (with(good(), "text", json!(7)), 400, ""),
        (with(good(), "line_id", json!("elsewhere")), 403, ""),
        (with(good(), "author_id", json!("nobody")), 403, ""),
        (with(good(), "user_id", json!("stranger")), 403, NOT_SUBSCRIBER),
    ];
    for (body, status, text) in cases {
        let answer = world.call("POST", SEND, body.clone()).await;
        assert_eq!(answer, (status, text.to_owned()), "{body}");
    }
    assert!(world.handle.messages().is_empty());
    let huge = as_specialist(1, &"x".repeat(1 << 20));
    assert_eq!(world.call("POST", SEND, huge).await.0, 413);
}

#[tokio::test]
async fn commands_change_the_current_treatment_and_say_nothing() {
    let world = World::quick().await;
    let (receiver, bot) =
        (Receiver::start(&world.tasks, 0).await, Receiver::start(&world.tasks, 0).await);
    world.call("POST", SEND, as_specialist(1, "Счёт 7")).await;
    world.hook_all(&receiver).await;
    for line in 1..=3 {
        world.hook_bot(&bot, &l(line)).await;
    }
    let chat = json!({"line_id": l(1).as_str(), "user_id": u(1).as_str()});
    let nothing = json!({"line_id": l(3).as_str(), "user_id": u(1).as_str()});
    let to = with(chat.clone(), "to_line_id", json!(l(2).as_str()));
    let spec = with(chat.clone(), "spec_id", json!(s(2).as_str()));
    for (path, body) in [
        ("/v1/line/appoint/spec/", &spec),
        ("/v1/line/appoint/start/", &chat),
        ("/v1/line/drop/keyboard/", &chat),
        ("/v1/line/drop/treatment/", &nothing),
        ("/v1/line/reroute/", &to),
    ] {
        let answer = world.call("POST", path, body.clone()).await;
        assert_eq!(answer, (200, String::new()), "{path}");
    }
    let moved = with(chat, "line_id", json!(l(2).as_str()));
    assert_eq!(world.call("POST", "/v1/line/drop/treatment", moved).await.0, 200);
    world.handle.quiesce().await;
    let mut types = receiver.types();
    types.sort_unstable();
    assert_eq!(types, [80, 80, 82, 84, 89, 89]);
    assert_eq!(world.handle.state().open_treatments().count(), 0);
}

#[tokio::test]
async fn a_user_without_the_line_is_neither_appointed_nor_moved() {
    let world = World::quick().await;
    let stranger = json!({
        "line_id": l(1).as_str(), "user_id": "stranger", "to_line_id": l(2).as_str(),
    });
    for path in ["/v1/line/appoint/start/", "/v1/line/reroute/", "/v1/line/drop/treatment/"] {
        let answer = world.call("POST", path, stranger.clone()).await;
        assert_eq!(answer, (403, NOT_SUBSCRIBER.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn open_treatments_are_listed_by_line_and_user() {
    let world = World::quick().await;
    for line in [1, 2] {
        world.call("POST", SEND, as_specialist(line, "Счёт 7")).await;
    }
    let path = "/v1/line/treatment/";
    assert_eq!(world.get(path).await.as_array().unwrap().len(), 2);
    let of_line = world.get(&format!("{path}?line_id={}", l(2))).await;
    assert_eq!(of_line.as_array().unwrap().len(), 1);
    assert_eq!(of_line[0]["line_id"], l(2).as_str());
    assert_eq!(of_line[0]["initialized_at"].as_str().unwrap().len(), 27);
    assert_eq!(world.get(&format!("{path}?user_id={}", u(2))).await, json!([]));
    assert_eq!(world.handle.calls("GET /v1/line/treatment/"), 3);
}

#[tokio::test]
async fn people_and_subscriptions_are_listed() {
    let world = World::quick().await;
    let count = async |path: &str| world.get(path).await.as_array().unwrap().len();
    assert_eq!(count("/v1/line/specialists/").await, 3);
    assert_eq!(count("/v1/line/subscribers/").await, 1);
    assert_eq!(count(&format!("/v1/line/specialists/{}/available/", l(1))).await, 3);
    let path = format!("/v1/line/subscriptions/?user_id={}&line_id={}", u(1), l(4));
    assert_eq!(count(&path).await, 1);
    let (status, body) = world.call("GET", "/v1/line/specialist/nobody/", Value::Null).await;
    assert_eq!((status, body.as_str()), (403, ""));
}

#[tokio::test]
async fn calls_above_the_budget_are_answered_429() {
    let limits = RateLimits { per_second: 100, per_minute: 3 };
    let world = World::start(SandboxConfig::quick().with_rate_limits(Some(limits))).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(world.call("GET", "/v1/line/", Value::Null).await.0);
    }
    assert_eq!(answers, [200, 200, 200, 429, 429]);
    assert_eq!(world.handle.calls("GET /v1/line/"), 5);
}

#[tokio::test]
async fn a_path_without_its_last_slash_is_redirected_except_for_lines() {
    let world = World::quick().await;
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = plain.no_proxy().build().unwrap();
    let url = format!("{}/v1/hook", world.handle.url());
    let answer = client.post(url).basic_auth("sandbox", Some("sandbox")).send().await.unwrap();
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()["location"], "/v1/hook/");
}

#[tokio::test]
async fn the_sandbox_ends_with_its_tasks() {
    let world = World::quick().await;
    world.get("/v1/line/").await;
    let tasks: Tasks = world.tasks.clone();
    tasks.shutdown(std::time::Duration::from_secs(5)).await;
    world.handle.quiesce().await;
    assert!(world.request("GET", "/v1/line/").send().await.is_err());
}
