//! The lines that are open to a user.

use freeline::sandbox::{Faults, SandboxConfig, line_id, user_id};
use serde_json::{Value, json};

use crate::support::{Setup, TestDatabase, World, on_both};

async fn ready(database: TestDatabase) -> World {
    let sandbox = SandboxConfig::quick().with_users(2);
    World::ready_with(database, Setup { sandbox, ..Setup::default() }).await
}

async fn lines(world: &World) -> Vec<Value> {
    let answer = world.get(&format!("/users/{}/lines", user_id(2))).await;
    answer["items"].as_array().expect("a list").clone()
}

fn asked(world: &World) -> u64 {
    world.sandbox.calls("GET /v1/line/subscriptions/")
}

/// Leaves only these lines open to the second user.
async fn open_only(world: &World, lines: &[u16]) {
    for n in 1..=9 {
        let is_on = lines.contains(&n);
        world.sandbox.subscribe(&line_id(n), &user_id(2), is_on).await.unwrap();
    }
    world.settle().await;
}

on_both!(the_lines_of_a_user_are_asked_for_once_and_kept_fresh_by_events);
async fn the_lines_of_a_user_are_asked_for_once_and_kept_fresh_by_events(database: TestDatabase) {
    let world = ready(database).await;
    let all = lines(&world).await;
    assert_eq!(all.len(), 9);
    let first = &all[0];
    assert_eq!((&first["line_id"], &first["ours"]), (&json!(line_id(1).as_str()), &json!(true)));
    assert_eq!((&first["manager"], &first["state"]), (&json!("m1"), &json!("free")));
    assert_eq!((&first["name"], &first["bot_connected"]), (&json!("Линия 1"), &json!(true)));
    lines(&world).await;
    assert_eq!(asked(&world), 1);

    open_only(&world, &[2, 3]).await;
    assert_eq!(lines(&world).await.len(), 2);
    open_only(&world, &[2, 3, 4]).await;
    assert_eq!(lines(&world).await.len(), 3);
    assert_eq!(asked(&world), 1, "events tell what has changed");

    world.pass(3_700).await;
    lines(&world).await;
    assert_eq!(asked(&world), 2, "an event may have been lost");
}

on_both!(lines_that_are_not_ours_come_last_with_the_platforms_name);
async fn lines_that_are_not_ours_come_last_with_the_platforms_name(database: TestDatabase) {
    let world = ready(database).await;
    let mut directory = crate::support::directory();
    directory["lines"].as_array_mut().unwrap().remove(0);
    world.put("/directory", &directory).await;
    world.pass(600).await;
    let all = lines(&world).await;
    let last = all.last().unwrap();
    assert_eq!((&last["line_id"], &last["ours"]), (&json!(line_id(1).as_str()), &json!(false)));
    assert_eq!((&last["manager"], &last["state"]), (&Value::Null, &Value::Null));
    assert!(last["name"].as_str().is_some_and(|name| !name.is_empty()), "{last}");
}

on_both!(a_message_without_a_line_goes_to_the_only_one_that_is_open);
async fn a_message_without_a_line_goes_to_the_only_one_that_is_open(database: TestDatabase) {
    let world = ready(database).await;
    let message =
        |key: &str| json!({ "key": key, "user_id": user_id(2).as_str(), "text": "Здравствуйте" });
    let (status, problem) = world.post("/messages", &message("a")).await;
    assert_eq!((status, &problem["code"]), (409, &json!("choose_line")), "{problem}");
    assert_eq!(problem["lines"].as_array().unwrap().len(), 9);
    assert_eq!(problem["lines"][0]["name"], "Линия 1");

    open_only(&world, &[7]).await;
    let (status, sent) = world.post("/messages", &message("a")).await;
    assert_eq!((status, &sent["line_id"]), (202, &json!(line_id(7).as_str())), "{sent}");
    // By its key it is the same one, whatever is open meanwhile.
    open_only(&world, &[7, 8]).await;
    let (status, again) = world.post("/messages", &message("a")).await;
    assert_eq!((status, &again["id"]), (200, &sent["id"]), "{again}");

    open_only(&world, &[]).await;
    let (status, problem) = world.post("/messages", &message("b")).await;
    assert_eq!((status, &problem["code"]), (409, &json!("line_not_open")), "{problem}");
}

on_both!(while_the_platform_is_down_a_message_has_to_name_its_line);
async fn while_the_platform_is_down_a_message_has_to_name_its_line(database: TestDatabase) {
    let world = ready(database).await;
    world.sandbox.set_faults(Faults { down: true, ..Faults::default() }).unwrap();
    let mut message = json!({ "key": "a", "user_id": user_id(2).as_str(), "text": "x" });
    let (status, problem) = world.post("/messages", &message).await;
    assert_eq!((status, &problem["code"]), (502, &json!("platform_unavailable")), "{problem}");
    message["line_id"] = json!(line_id(1).as_str());
    assert_eq!(world.post("/messages", &message).await.0, 202);
}
