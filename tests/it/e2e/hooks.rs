//! Registrations of the callback URL.

use freeline::connect::HookKind;
use freeline::sandbox::line_id;
use serde_json::{Value, json};

use crate::support::{HOOK_TOKEN, Setup, TestDatabase, World, on_both};

/// Registers a hook at the platform, as somebody else would.
async fn register(world: &World, kind: &str, n: u16, url: &str) {
    let body = json!({ "type": kind, "id": line_id(n).as_str(), "url": url });
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let call = client.post(format!("{}/v1/hook/", world.sandbox.url()));
    let call = call.basic_auth("sandbox", Some("sandbox")).json(&body);
    assert!(call.send().await.expect("an answer").status().is_success());
}

fn hooks(world: &World, kind: HookKind) -> Vec<String> {
    let hooks = world.sandbox.state().hooks;
    hooks.into_iter().filter(|hook| hook.kind == kind).map(|hook| hook.url).collect()
}

fn sets(world: &World) -> u64 {
    world.sandbox.calls("POST /v1/hook/")
}

on_both!(at_start_every_line_gets_both_hooks_and_one_look_serves_them_all);
async fn at_start_every_line_gets_both_hooks_and_one_look_serves_them_all(database: TestDatabase) {
    let world = World::ready(database).await;
    assert_eq!(hooks(&world, HookKind::Line).len(), 9);
    assert_eq!(hooks(&world, HookKind::Bot).len(), 9);
    assert!(world.sandbox.state().hooks.iter().all(|hook| hook.authenticated));
    assert_eq!((sets(&world), world.looks()), (18, 1));
    let status = world.get("/status").await;
    assert_eq!(status["lines"]["free"], 9, "{status}");
}

on_both!(hooks_that_are_ours_already_are_not_set_again);
async fn hooks_that_are_ours_already_are_not_set_again(database: TestDatabase) {
    let world = World::ready(database).await;
    let before = sets(&world);
    world.pass(301).await;
    assert_eq!(sets(&world), before);
}

on_both!(hooks_at_an_old_address_of_ours_are_moved);
async fn hooks_at_an_old_address_of_ours_are_moved(database: TestDatabase) {
    // Each start listens on another port: the address before is old then.
    let world = World::ready(database).await;
    let old = hooks(&world, HookKind::Line);
    let world = world.restart().await;
    world.pass(11).await;
    let new = hooks(&world, HookKind::Line);
    assert_eq!(new.len(), 9);
    assert!(new.iter().all(|url| url.starts_with(&world.base) && !old.contains(url)), "{new:?}");
    assert_eq!(world.get("/status").await["lines"]["free"], 9);
}

on_both!(changed_credentials_are_set_although_the_address_stayed);
async fn changed_credentials_are_set_although_the_address_stayed(database: TestDatabase) {
    let url = "http://127.0.0.1:9/connect/hook/";
    let setup = Setup::default().with("FREELINE_HOOK_URL", url);
    let mut world = World::ready_with(database, setup).await;
    let before = sets(&world);
    world = world.restart().await;
    world.pass(11).await;
    assert_eq!(sets(&world), before, "nothing changed");

    world.change("FREELINE_HOOK_TOKEN", "another-secret-of-the-hook");
    assert_ne!(HOOK_TOKEN, "another-secret-of-the-hook");
    world = world.restart().await;
    world.pass(11).await;
    assert_eq!(sets(&world), before + 18);
}

on_both!(somebody_elses_hook_is_reported_and_left_alone);
async fn somebody_elses_hook_is_reported_and_left_alone(database: TestDatabase) {
    let world = World::start(database, Setup::default()).await;
    register(&world, "line", 2, "https://theirs.example/hook").await;
    world.put("/directory", &crate::support::directory()).await;
    world.settle().await;
    let problems = world.get("/status").await["hook_problems"].clone();
    assert_eq!(problems.as_array().map(Vec::len), Some(1), "{problems}");
    assert_eq!(problems[0]["line_id"], line_id(2).as_str());
    assert_eq!(problems[0]["url"], "https://theirs.example/hook");
    assert_eq!(world.line_state(&line_id(2)).await, "unknown", "its events do not reach us");
    assert!(hooks(&world, HookKind::Line).contains(&"https://theirs.example/hook".to_owned()));
    for n in 0..4 {
        world.pay(&format!("k{n}"), "m1").await;
    }
    world.settle().await;
    assert!(world.sandbox.messages().iter().all(|message| message.line != line_id(2)));
}

on_both!(with_takeover_somebody_elses_hook_is_replaced);
async fn with_takeover_somebody_elses_hook_is_replaced(database: TestDatabase) {
    let setup = Setup::default().with("FREELINE_HOOK_TAKEOVER", "yes");
    let world = World::start(database, setup).await;
    register(&world, "line", 2, "https://theirs.example/hook").await;
    world.put("/directory", &crate::support::directory()).await;
    world.settle().await;
    assert_eq!(world.get("/status").await["hook_problems"], Value::Array(Vec::new()));
    assert_eq!(world.line_state(&line_id(2)).await, "free");
}

on_both!(a_line_added_later_gets_its_hooks_and_one_look_of_its_own);
async fn a_line_added_later_gets_its_hooks_and_one_look_of_its_own(database: TestDatabase) {
    let mut setup = Setup::default();
    setup.sandbox = setup.sandbox.with_lines(10);
    let world = World::ready_with(database, setup).await;
    let (before, looks) = (sets(&world), world.looks());
    let entry = json!({ "name": "Новая линия", "manager": "m1", "position": 0 });
    world.put(&format!("/lines/{}", line_id(10)), &entry).await;
    world.settle().await;
    assert_eq!((sets(&world), world.looks()), (before + 2, looks + 1));
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.payment(&id).await["line_id"], line_id(10).as_str());
}

on_both!(hooks_that_the_platform_forgot_are_set_anew_and_the_lines_looked_at);
async fn hooks_that_the_platform_forgot_are_set_anew_and_the_lines_looked_at(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let looks = world.looks();
    world.sandbox.forget_hooks();
    world.pass(301).await;
    assert_eq!(hooks(&world, HookKind::Line).len(), 9);
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.get("/status").await["lines"]["free"], 9);
}
