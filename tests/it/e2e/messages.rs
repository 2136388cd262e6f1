//! Messages from the ERP into chats.

use freeline::sandbox::{Faults, TECHNICAL_USER_ID, line_id};
use serde_json::{Value, json};

use crate::support::{Setup, TestDatabase, World, on_both};

fn message(key: &str, line: u16) -> Value {
    json!({ "key": key, "user_id": TECHNICAL_USER_ID, "line_id": line_id(line).as_str(),
        "text": format!("Сообщение {key}") })
}

async fn write(world: &World, body: &Value) -> String {
    let (status, answer) = world.post("/messages", body).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

async fn state(world: &World, id: &str) -> String {
    world.get(&format!("/messages/{id}")).await["state"].as_str().expect("a state").to_owned()
}

on_both!(a_message_is_sent_once_seen_to_come_back_and_opens_a_treatment_that_counts);
async fn a_message_is_sent_once_seen_to_come_back_and_opens_a_treatment_that_counts(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let id = write(&world, &message("a", 1)).await;
    world.settle().await;
    let sent = world.get(&format!("/messages/{id}")).await;
    assert_eq!((&sent["state"], &sent["seen"]), (&json!("sent"), &json!(true)), "{sent}");
    assert_eq!(world.sandbox.message_count(), 1);
    assert_eq!(world.line_state(&line_id(1)).await, "busy");
    let treatment = sent["treatment_id"].as_str().expect("its treatment").to_owned();
    let said = world.get(&format!("/treatments/{treatment}/messages")).await;
    assert_eq!(said["items"][0]["text"], "Сообщение a");
    // The same key is the same message; with other words it is a conflict.
    let (status, again) = world.post("/messages", &message("a", 1)).await;
    assert_eq!((status, &again["id"]), (200, &json!(id)));
    let (status, problem) = world.post("/messages", &message("a", 2)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("key_conflict")));
    world.settle().await;
    assert_eq!(world.sandbox.message_count(), 1);
}

on_both!(messages_of_one_chat_arrive_in_the_order_in_which_they_came_in);
async fn messages_of_one_chat_arrive_in_the_order_in_which_they_came_in(database: TestDatabase) {
    let world = World::ready(database).await;
    for n in 0..10 {
        write(&world, &message(&format!("k{n}"), 1)).await;
    }
    world.settle().await;
    let texts: Vec<String> = world.sandbox.messages().into_iter().map(|m| m.text).collect();
    let expected: Vec<String> = (0..10).map(|n| format!("Сообщение k{n}")).collect();
    assert_eq!(texts, expected);
}

on_both!(a_message_whose_answer_was_lost_is_not_sent_again_once_it_came_back);
async fn a_message_whose_answer_was_lost_is_not_sent_again_once_it_came_back(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let lost = Faults { drop_after: 1.0, ..Faults::default() };
    world.sandbox.set_faults(lost).unwrap();
    let id = write(&world, &message("a", 1)).await;
    world.settle().await;
    assert_eq!(state(&world, &id).await, "sent");
    world.pass(600).await;
    assert_eq!(world.sandbox.message_count(), 1);
}

on_both!(a_message_that_never_arrived_is_sent_again_once_its_silence_proves_it);
async fn a_message_that_never_arrived_is_sent_again_once_its_silence_proves_it(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    // One that comes back: from now on silence means something.
    write(&world, &message("first", 2)).await;
    world.settle().await;
    world.sandbox.set_faults(Faults { drop_before: 1.0, ..Faults::default() }).unwrap();
    let id = write(&world, &message("a", 1)).await;
    world.settle().await;
    assert_eq!(state(&world, &id).await, "in_doubt");
    world.sandbox.set_faults(Faults::default()).unwrap();
    world.pass(90).await;
    assert_eq!(state(&world, &id).await, "in_doubt");
    world.pass(60).await;
    assert_eq!(state(&world, &id).await, "sent");
    assert_eq!(world.sandbox.message_count(), 2);
}

on_both!(where_no_message_ever_came_back_a_person_has_to_say);
async fn where_no_message_ever_came_back_a_person_has_to_say(database: TestDatabase) {
    let world = World::ready(database).await;
    world.sandbox.set_faults(Faults { drop_before: 1.0, ..Faults::default() }).unwrap();
    let id = write(&world, &message("a", 1)).await;
    world.settle().await;
    world.sandbox.set_faults(Faults::default()).unwrap();
    world.pass(3_600).await;
    let doubtful = world.get(&format!("/messages/{id}")).await;
    assert_eq!(doubtful["reason_code"], "needs_person", "{doubtful}");
    assert_eq!(world.sandbox.message_count(), 0);
    let reason = json!({ "reason": "её там нет" });
    let (status, _) = world.post(&format!("/messages/{id}/retry"), &reason).await;
    assert_eq!(status, 200);
    world.settle().await;
    assert_eq!(state(&world, &id).await, "sent");
}

on_both!(a_line_without_the_bot_is_connected_and_the_message_is_sent_again);
async fn a_line_without_the_bot_is_connected_and_the_message_is_sent_again(database: TestDatabase) {
    let world = World::ready(database).await;
    world.sandbox.forget_hooks();
    let id = write(&world, &message("a", 1)).await;
    world.settle().await;
    assert_eq!(state(&world, &id).await, "sent");
    assert_eq!(world.sandbox.message_count(), 1);
}

on_both!(a_refusal_is_told_in_the_platforms_words_and_a_person_may_retry);
async fn a_refusal_is_told_in_the_platforms_words_and_a_person_may_retry(database: TestDatabase) {
    let world = World::ready(database).await;
    let refuse = [(line_id(1).to_string(), 403)].into();
    world.sandbox.set_faults(Faults { refuse, ..Faults::default() }).unwrap();
    let id = write(&world, &message("a", 1)).await;
    world.settle().await;
    let refused = world.get(&format!("/messages/{id}")).await;
    assert_eq!(refused["state"], "rejected");
    assert!(refused["reason"].as_str().unwrap().contains("403"), "{refused}");
    world.sandbox.set_faults(Faults::default()).unwrap();
    let reason = json!({ "reason": "подключили" });
    assert_eq!(world.post(&format!("/messages/{id}/retry"), &reason).await.0, 200);
    world.settle().await;
    assert_eq!(state(&world, &id).await, "sent");
}

on_both!(in_specialist_mode_the_lines_manager_writes_himself);
async fn in_specialist_mode_the_lines_manager_writes_himself(database: TestDatabase) {
    let setup = Setup::default().with("FREELINE_DISPATCH_MODE", "specialist");
    let world = World::ready_with(database, setup).await;
    write(&world, &message("a", 4)).await;
    world.settle().await;
    let [sent] = world.sandbox.messages().try_into().expect("one message");
    assert!(sent.flags.bot_as_spec && !sent.flags.general_settings);
    assert_eq!(sent.author, Some(freeline::sandbox::specialist_id(2)));
}

on_both!(a_crash_between_claim_and_answer_sends_nothing_twice);
async fn a_crash_between_claim_and_answer_sends_nothing_twice(database: TestDatabase) {
    let world = World::ready(database).await;
    let id = write(&world, &message("a", 1)).await;
    let now = freeline::clock::Clock::now(&*world.clock);
    let lease_until = now.plus(freeline::store::bounds::CLAIM_LEASE);
    let claimed = world.app.store().claim_outgoing("gone", now, lease_until).await.unwrap();
    assert!(claimed.is_some());
    world.pass(60).await;
    assert_eq!(state(&world, &id).await, "in_doubt");
    assert_eq!(world.sandbox.message_count(), 0);
}

on_both!(what_is_wrong_with_a_message_is_told_all_at_once);
async fn what_is_wrong_with_a_message_is_told_all_at_once(database: TestDatabase) {
    let world = World::ready(database).await;
    let body = json!({ "user_id": 7, "txt": "x", "mode": "telepathy",
        "keyboard": [[{ "text": "Да" }, { "text": "Да" }]] });
    let (status, problem) = world.post("/messages", &body).await;
    assert_eq!(status, 422, "{problem}");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/txt", "/key", "/user_id", "/text", "/keyboard/0/1/text", "/mode"]);
    // Buttons and the line's own rules belong to the bot.
    let as_specialist = json!({ "key": "k", "user_id": "u", "line_id": "l", "text": "x",
        "mode": "specialist", "general_settings": true, "keyboard": [[{ "text": "Да" }]] });
    let (status, problem) = world.post("/messages", &as_specialist).await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, 2), "{problem}");
}
