//! The bot does not stand between a user and people.

use freeline::core::id::UserId;
use freeline::sandbox::{Holder, Opening, TECHNICAL_USER_ID, line_id, specialist_id};
use serde_json::json;

use crate::support::{Setup, TestDatabase, World, on_both};

fn user() -> UserId {
    TECHNICAL_USER_ID.into()
}

fn holder(world: &World) -> Option<Holder> {
    world.sandbox.find_open(&line_id(1), &user()).map(|treatment| treatment.holder)
}

async fn write_to_bot(world: &World) {
    world.sandbox.open(Opening::by_user(&line_id(1), &user())).await.unwrap();
    world.settle().await;
}

fn appointed(world: &World) -> (u64, u64) {
    let calls = |path: &str| world.sandbox.calls(&format!("POST /v1/line/appoint/{path}/"));
    (calls("spec"), calls("start"))
}

on_both!(a_user_who_writes_to_the_bot_is_with_the_managers_specialist_at_once);
async fn a_user_who_writes_to_the_bot_is_with_the_managers_specialist_at_once(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    write_to_bot(&world).await;
    assert_eq!(holder(&world), Some(Holder::Specialist(specialist_id(1))));
    assert_eq!(appointed(&world), (1, 0));
    // He writes on: to the specialist, who needs no help.
    world.sandbox.write(&line_id(1), &user(), None, "Алло?").await.unwrap();
    world.settle().await;
    assert_eq!(appointed(&world), (1, 0));
    let actions = world.get("/actions").await;
    assert_eq!(actions["items"].as_array().unwrap().len(), 1, "{actions}");
    assert_eq!(actions["items"][0]["state"], "sent");
}

on_both!(while_that_specialist_is_away_any_other_is_asked);
async fn while_that_specialist_is_away_any_other_is_asked(database: TestDatabase) {
    let world = World::ready(database).await;
    world.sandbox.set_available(&specialist_id(1), false).await.unwrap();
    write_to_bot(&world).await;
    assert_eq!(appointed(&world), (0, 1));
    assert!(!matches!(holder(&world), Some(Holder::Bot)), "{:?}", holder(&world));
}

on_both!(whoever_is_given_back_to_the_bot_is_handed_over_when_he_writes_again);
async fn whoever_is_given_back_to_the_bot_is_handed_over_when_he_writes_again(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    write_to_bot(&world).await;
    world.sandbox.give_to_bot(&line_id(1), &user(), None).await.unwrap();
    world.settle().await;
    assert_eq!(holder(&world), Some(Holder::Bot), "until he writes");
    world.sandbox.write(&line_id(1), &user(), None, "Ещё вопрос").await.unwrap();
    world.settle().await;
    assert_eq!(holder(&world), Some(Holder::Specialist(specialist_id(1))));
}

on_both!(a_treatment_that_a_payment_opened_is_with_the_managers_specialist);
async fn a_treatment_that_a_payment_opened_is_with_the_managers_specialist(database: TestDatabase) {
    let world = World::ready(database).await;
    let id = world.pay("a", "m1").await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(holder(&world), Some(Holder::Specialist(specialist_id(1))));
    assert_eq!(appointed(&world), (1, 0));
}

on_both!(the_platform_hands_over_by_itself_where_that_is_wanted);
async fn the_platform_hands_over_by_itself_where_that_is_wanted(database: TestDatabase) {
    let setup = Setup::default().with("FREELINE_HAND_OVER", "no");
    let world = World::ready_with(database, setup).await;
    write_to_bot(&world).await;
    world.pay("a", "m1").await;
    world.settle().await;
    assert_eq!((holder(&world), appointed(&world)), (Some(Holder::Bot), (0, 0)));
}

on_both!(a_hand_over_that_was_not_answered_is_asked_for_again_and_harms_nobody);
async fn a_hand_over_that_was_not_answered_is_asked_for_again_and_harms_nobody(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let lost = freeline::sandbox::Faults { drop_after: 1.0, ..Default::default() };
    world.sandbox.set_faults(lost).unwrap();
    write_to_bot(&world).await;
    world.sandbox.set_faults(freeline::sandbox::Faults::default()).unwrap();
    world.pass(60).await;
    assert_eq!(holder(&world), Some(Holder::Specialist(specialist_id(1))));
    let actions = world.get("/actions").await;
    assert_eq!(actions["items"][0]["state"], json!("sent"), "{actions}");
}
