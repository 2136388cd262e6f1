//! Treatments that are closed, transferred and assigned over the API.

use freeline::sandbox::{Faults, Opening, TECHNICAL_USER_ID, Treatment, line_id, specialist_id};
use serde_json::{Value, json};

use crate::support::{TestDatabase, World, on_both};

/// A user opens a treatment on the first line.
async fn opened(world: &World) -> String {
    let opening = Opening::by_user(&line_id(1), &TECHNICAL_USER_ID.into());
    let treatment = world.sandbox.open(opening).await.unwrap();
    world.settle().await;
    treatment.id.to_string()
}

fn held(world: &World) -> Option<Treatment> {
    world.sandbox.find_open(&line_id(1), &TECHNICAL_USER_ID.into())
}

async fn ask(world: &World, treatment: &str, what: &str, body: &Value) -> (u16, Value) {
    world.post(&format!("/treatments/{treatment}/{what}"), body).await
}

async fn action(world: &World, id: &Value) -> Value {
    world.get(&format!("/actions/{}", id.as_str().expect("an id"))).await
}

on_both!(a_treatment_is_closed_once_and_its_line_is_free_when_the_platform_says_so);
async fn a_treatment_is_closed_once_and_its_line_is_free_when_the_platform_says_so(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    assert_eq!(world.line_state(&line_id(1)).await, "busy");
    let (status, asked) = ask(&world, &treatment, "close", &json!({})).await;
    assert_eq!((status, &asked["state"]), (202, &json!("queued")), "{asked}");
    assert_eq!(world.line_state(&line_id(1)).await, "busy", "nothing is believed before it is so");
    world.settle().await;
    assert_eq!(action(&world, &asked["id"]).await["state"], "sent");
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    // Again: the same one, and no second call.
    let (status, again) = ask(&world, &treatment, "close", &json!({})).await;
    assert_eq!((status, &again["id"]), (200, &asked["id"]));
    // What was closed cannot be moved.
    let to = json!({ "to_line_id": line_id(2).as_str() });
    let (status, problem) = ask(&world, &treatment, "transfer", &to).await;
    assert_eq!((status, &problem["code"]), (409, &json!("treatment_closed")));
    world.settle().await;
    assert_eq!(world.sandbox.calls("POST /v1/line/drop/treatment/"), 1);
    assert_eq!(ask(&world, "nobody-knows", "close", &json!({})).await.0, 404);
}

on_both!(a_treatment_that_somebody_else_closed_is_refused_clearly);
async fn a_treatment_that_somebody_else_closed_is_refused_clearly(database: TestDatabase) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    world.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    for (what, body) in [
        ("close", json!({})),
        ("transfer", json!({ "to_line_id": line_id(2).as_str() })),
        ("assign", json!({})),
    ] {
        let (status, problem) = ask(&world, &treatment, what, &body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("treatment_closed")), "{what}");
    }
    assert_eq!(world.sandbox.calls("POST /v1/line/drop/treatment/"), 0);
}

on_both!(a_transfer_moves_the_treatment_and_both_lines_follow_the_events);
async fn a_transfer_moves_the_treatment_and_both_lines_follow_the_events(database: TestDatabase) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    let to = json!({ "to_line_id": line_id(5).as_str(), "quote": "прошу принять" });
    let (status, asked) = ask(&world, &treatment, "transfer", &to).await;
    assert_eq!(status, 202, "{asked}");
    let (_, again) = ask(&world, &treatment, "transfer", &to).await;
    assert_eq!(again["id"], asked["id"]);
    let elsewhere = json!({ "to_line_id": line_id(6).as_str() });
    let (status, problem) = ask(&world, &treatment, "transfer", &elsewhere).await;
    assert_eq!((status, &problem["code"]), (409, &json!("action_under_way")));
    world.settle().await;
    assert_eq!(action(&world, &asked["id"]).await["state"], "sent");
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    assert_eq!(world.line_state(&line_id(5)).await, "busy");
    assert_eq!(world.sandbox.calls("POST /v1/line/reroute/"), 1);
}

on_both!(a_transfer_to_a_line_that_is_not_open_to_the_user_is_refused_with_those_that_are);
async fn a_transfer_to_a_line_that_is_not_open_to_the_user_is_refused_with_those_that_are(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    let user = TECHNICAL_USER_ID.into();
    for n in 3..=9 {
        world.sandbox.subscribe(&line_id(n), &user, false).await.unwrap();
    }
    world.settle().await;
    let to = json!({ "to_line_id": line_id(5).as_str() });
    let (status, problem) = ask(&world, &treatment, "transfer", &to).await;
    assert_eq!((status, &problem["code"]), (409, &json!("line_not_open")), "{problem}");
    assert_eq!(problem["lines"].as_array().unwrap().len(), 2, "{problem}");
    let here = json!({ "to_line_id": line_id(1).as_str() });
    assert_eq!(ask(&world, &treatment, "transfer", &here).await.0, 422);
    assert_eq!(world.sandbox.calls("POST /v1/line/reroute/"), 0);
}

on_both!(a_treatment_is_given_to_a_specialist_or_to_any_who_is_free);
async fn a_treatment_is_given_to_a_specialist_or_to_any_who_is_free(database: TestDatabase) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    let (_, to_any) = ask(&world, &treatment, "assign", &json!({})).await;
    world.settle().await;
    assert_eq!(action(&world, &to_any["id"]).await["state"], "sent");
    let anna = json!({ "specialist_id": specialist_id(1).as_str() });
    let (_, to_anna) = ask(&world, &treatment, "assign", &anna).await;
    world.settle().await;
    assert_eq!(action(&world, &to_anna["id"]).await["state"], "sent");
    assert_eq!(held(&world).unwrap().holder.specialist(), Some(&specialist_id(1)));
    // Nobody else of that name.
    let nobody = json!({ "specialist_id": "nobody" });
    let (_, refused) = ask(&world, &treatment, "assign", &nobody).await;
    world.settle().await;
    assert_eq!(action(&world, &refused["id"]).await["state"], "rejected");
}

on_both!(a_close_whose_answer_was_lost_is_settled_by_its_event_and_never_made_twice);
async fn a_close_whose_answer_was_lost_is_settled_by_its_event_and_never_made_twice(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    world.sandbox.set_faults(Faults { drop_after: 1.0, ..Faults::default() }).unwrap();
    let (_, asked) = ask(&world, &treatment, "close", &json!({})).await;
    world.settle().await;
    world.sandbox.set_faults(Faults::default()).unwrap();
    assert_eq!(action(&world, &asked["id"]).await["reason_code"], "effect_seen");
    // The user writes anew: a second close would have closed that.
    let next = opened(&world).await;
    world.pass(300).await;
    assert_eq!(held(&world).map(|held| held.id.to_string()), Some(next));
}

on_both!(a_close_that_never_arrived_is_made_again_after_one_look);
async fn a_close_that_never_arrived_is_made_again_after_one_look(database: TestDatabase) {
    let world = World::ready(database).await;
    let treatment = opened(&world).await;
    world.sandbox.set_faults(Faults { drop_before: 1.0, ..Faults::default() }).unwrap();
    let (_, asked) = ask(&world, &treatment, "close", &json!({})).await;
    world.settle().await;
    world.sandbox.set_faults(Faults::default()).unwrap();
    assert_eq!(action(&world, &asked["id"]).await["state"], "in_doubt");
    let looks = world.looks();
    world.pass(120).await;
    assert_eq!(action(&world, &asked["id"]).await["state"], "sent");
    assert!(held(&world).is_none());
    assert_eq!(world.looks(), looks + 1);
}
