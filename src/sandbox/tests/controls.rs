//! The sandbox's own paths.

use serde_json::{Value, json};

use super::{Receiver, World, as_specialist, l, u};

/// Status and body of a call to the sandbox's own paths, without a password.
async fn control(world: &World, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/sandbox/{path}", world.handle.url());
    let answer = world.client.post(url).body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn chat(line: u16) -> Value {
    json!({"line_id": l(line).as_str(), "user_id": u(1).as_str()})
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

#[tokio::test]
async fn people_act_through_the_control_paths() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    let (status, opened) = control(&world, "open", chat(1)).await;
    assert_eq!((status, &opened["open"]), (200, &json!(true)));
    let text = with(chat(1), "text", json!("Ещё вопрос"));
    assert_eq!(control(&world, "write", text).await.1["treatment_id"], opened["treatment_id"]);
    let to = with(chat(1), "to_line_id", json!(l(2).as_str()));
    let (_, moved) = control(&world, "reroute", to).await;
    assert_ne!(moved["treatment_id"], opened["treatment_id"]);
    let (_, closed) = control(&world, "close", chat(2)).await;
    assert_eq!(closed["closed_by"], 82);
    let rating = json!({"treatment_id": moved["treatment_id"], "quality": 5});
    assert_eq!(control(&world, "rate", rating).await.0, 200);
    world.handle.quiesce().await;
    let types = receiver.types();
    for expected in [1, 17, 80, 82, 89] {
        assert!(types.contains(&expected), "{types:?}");
    }
}

#[tokio::test]
async fn a_user_nobody_knew_becomes_known_by_writing() {
    let world = World::quick().await;
    let body = json!({"line_id": l(1).as_str(), "user_id": "stranger"});
    assert_eq!(control(&world, "open", body).await.0, 200);
    let path = "/v1/line/subscriptions/?user_id=stranger";
    assert_eq!(world.get(path).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_happen_is_refused_with_a_sentence() {
    let world = World::quick().await;
    let cases = [
        ("close", chat(1), 409, "has no open treatment"),
        ("close", with(chat(1), "message_type", json!(84)), 400, "a treatment closes with"),
        ("open", with(chat(1), "line_id", json!("elsewhere")), 404, "There is no line"),
        ("open", with(chat(1), "lime", json!(1)), 400, "unknown field `lime`"),
        ("rate", json!({"treatment_id": "t", "quality": 5}), 404, "There is no treatment"),
        ("faults", json!({"loose": 0.1}), 400, "unknown field `loose`"),
        ("faults", json!({"lose": 1.5}), 400, "lose is 1.5"),
        ("events", json!({"body": {}}), 400, "names no line_id"),
    ];
    for (path, body, status, sentence) in cases {
        let (answered, text) = control(&world, path, body).await;
        assert_eq!(answered, status, "{path}: {text}");
        assert!(text["error"].as_str().unwrap().contains(sentence), "{text}");
    }
}

#[tokio::test]
async fn any_event_can_be_broadcast_as_it_is() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    let body = json!({"line_id": l(1).as_str(), "message_type": 4711, "new": {"key": null}});
    assert_eq!(control(&world, "events", json!({"body": body})).await.0, 200);
    world.handle.quiesce().await;
    assert_eq!(receiver.events(), [with(body, "event_source", json!("line"))]);
}

#[tokio::test]
async fn faults_are_replaced_as_a_whole() {
    let world = World::quick().await;
    control(&world, "faults", json!({"drop_before": 1.0})).await;
    assert!(world.request("GET", "/v1/line/").send().await.is_err());
    control(&world, "faults", json!({"status_5xx": 1.0})).await;
    let status = world.call("GET", "/v1/line/", Value::Null).await.0;
    assert!((500..=503).contains(&status), "{status}");
}

#[tokio::test]
async fn the_state_shows_lines_hooks_treatments_messages_and_calls() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    world.call("POST", "/v1/line/send/message/", as_specialist(1, "Счёт 7")).await;
    let url = format!("{}/sandbox/state", world.handle.url());
    let state: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(state["lines"].as_array().unwrap().len(), 9);
    assert_eq!(state["hooks"][0]["url"], receiver.url());
    assert_eq!(state["messages"][0]["text"], "Счёт 7");
    assert_eq!(state["messages"][0]["treatment_id"], state["treatments"][0]["treatment_id"]);
    assert_eq!(state["calls"]["POST /v1/line/send/message/"], 1);
}
