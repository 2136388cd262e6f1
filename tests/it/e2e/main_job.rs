//! An event frees a line, and the waiting payment is sent to it.

use freeline::sandbox::{Opening, TECHNICAL_USER_ID, line_id, user_id};
use serde_json::json;

use crate::support::{TestDatabase, World, on_both};

on_both!(a_payment_goes_to_the_first_free_line_of_its_manager_and_carries_its_number);
async fn a_payment_goes_to_the_first_free_line_of_its_manager_and_carries_its_number(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let id = world.pay_with(json!({ "key": "k", "counterparty": "c2", "order": "Заказ 7" })).await;
    world.settle().await;

    let payment = world.payment(&id).await;
    let [message] = world.sandbox.messages().try_into().expect("one message");
    assert_eq!(message.line, line_id(4), "the first line of the second manager");
    assert!(message.text.contains(payment["number"].as_str().unwrap()), "{}", message.text);
    assert!(message.text.contains("ООО «Покупатель 2»"), "{}", message.text);
    assert!(message.flags.general_settings && !message.flags.bot_as_spec);
    assert_eq!(payment["state"], "dispatched");
    assert_eq!(payment["line_id"], line_id(4).as_str());
    assert_eq!(payment["treatment_id"], message.treatment.unwrap().as_str());
    assert_eq!(world.line_state(&line_id(4)).await, "busy");
}

on_both!(a_freed_line_takes_the_waiting_payment);
async fn a_freed_line_takes_the_waiting_payment(database: TestDatabase) {
    let world = World::ready(database).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(world.pay(&format!("k{n}"), "m1").await);
        world.settle().await;
    }
    assert_eq!(world.sandbox.message_count(), 3, "three lines, three messages");
    assert_eq!(world.state(&ids[3]).await, "queued");
    let why = world.payment(&ids[3]).await["why"].to_string();
    assert!(why.contains("line_busy"), "{why}");

    let user = TECHNICAL_USER_ID.into();
    world.sandbox.close(&line_id(2), &user, 82).await.unwrap();
    world.settle().await;

    let messages = world.sandbox.messages();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[3].line, line_id(2));
    assert_eq!(world.state(&ids[1]).await, "closed");
    assert_eq!(world.state(&ids[3]).await, "dispatched");
}

on_both!(a_line_that_a_user_occupies_gets_nothing_until_it_is_closed);
async fn a_line_that_a_user_occupies_gets_nothing_until_it_is_closed(database: TestDatabase) {
    let mut setup = crate::support::Setup::default();
    setup.sandbox = setup.sandbox.with_users(4);
    let world = World::ready_with(database, setup).await;
    for n in 1..=3 {
        world.sandbox.open(Opening::by_user(&line_id(n), &user_id(2))).await.unwrap();
    }
    world.settle().await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.sandbox.message_count(), 0);

    world.sandbox.close(&line_id(3), &user_id(2), 90).await.unwrap();
    world.settle().await;
    assert_eq!(world.sandbox.messages()[0].line, line_id(3));
    assert_eq!(world.state(&id).await, "dispatched");
}

on_both!(a_payment_follows_its_treatment_to_another_line);
async fn a_payment_follows_its_treatment_to_another_line(database: TestDatabase) {
    let world = World::ready(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    let user = TECHNICAL_USER_ID.into();
    world.sandbox.reroute(&line_id(1), &user, &line_id(5)).await.unwrap();
    world.settle().await;
    let payment = world.payment(&id).await;
    assert_eq!(payment["line_id"], line_id(5).as_str());
    assert_eq!(payment["state"], "dispatched");
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    assert_eq!(world.line_state(&line_id(5)).await, "busy");

    world.sandbox.close(&line_id(5), &user, 82).await.unwrap();
    world.settle().await;
    assert_eq!(world.state(&id).await, "closed");
    assert_eq!(world.line_state(&line_id(5)).await, "free");
}

on_both!(in_steady_state_the_platform_is_never_asked_for_its_treatments);
async fn in_steady_state_the_platform_is_never_asked_for_its_treatments(database: TestDatabase) {
    let world = World::ready(database).await;
    assert_eq!(world.looks(), 1, "one look at start");
    let user = TECHNICAL_USER_ID.into();
    for n in 0..20 {
        let id = world.pay(&format!("k{n}"), "m1").await;
        world.settle().await;
        let payment = world.payment(&id).await;
        let line = payment["line_id"].as_str().expect("a line").into();
        world.sandbox.close(&line, &user, 82).await.unwrap();
        world.pass(60).await;
        assert_eq!(world.state(&id).await, "closed");
    }
    assert_eq!(world.looks(), 1);
}

on_both!(an_unknown_counterparty_holds_the_payment_until_the_directory_learns_it);
async fn an_unknown_counterparty_holds_the_payment_until_the_directory_learns_it(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let id = world.pay_with(json!({ "key": "k", "counterparty": "new" })).await;
    world.settle().await;
    let payment = world.payment(&id).await;
    assert_eq!(payment["state"], "held");
    assert_eq!(payment["reason_code"], "counterparty_unknown");

    world.put("/counterparties/new", &json!({ "name": "ООО «Новый»", "manager": "m3" })).await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.sandbox.messages()[0].line, line_id(7));
}

on_both!(a_held_payment_goes_out_when_a_person_releases_it);
async fn a_held_payment_goes_out_when_a_person_releases_it(database: TestDatabase) {
    let world = World::ready(database).await;
    let fields = json!({ "key": "k", "manager": "m1", "mismatch": "сумма заказа 1 400,00" });
    let id = world.pay_with(fields).await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "held");
    assert_eq!(world.sandbox.message_count(), 0);

    let (status, _) =
        world.post(&format!("/payments/{id}/release"), &json!({ "reason": "доплата" })).await;
    assert_eq!(status, 200);
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched");
}

on_both!(an_event_that_contradicts_what_is_known_is_set_aside_and_the_others_go_on);
async fn an_event_that_contradicts_what_is_known_is_set_aside_and_the_others_go_on(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let hear = async |minute: u32, line: u16, user: &str, treatment: &str| {
        let event = json!({ "event_type": "line", "event_source": "line", "message_type": 1,
            "message_id": format!("m{minute}"), "message_time": format!("2026-05-28T20:{minute}:00Z"),
            "line_id": line_id(line).as_str(), "user_id": user, "author_id": user,
            "treatment_id": treatment, "text": "Добрый день!" });
        let event = event.as_object().expect("an object").clone();
        world.sandbox.broadcast(event).await.unwrap();
        world.settle().await;
    };
    hear(10, 1, "anna", "t").await;
    hear(11, 2, "anna", "x").await;
    // The treatment of one user, on the line of their other one, in the name of somebody else.
    hear(12, 2, "boris", "t").await;
    hear(13, 3, "vera", "y").await;
    assert_eq!(world.get("/status").await["events"], json!({ "new": 0, "quarantined": 1 }));
    assert_eq!(world.line_state(&line_id(3)).await, "busy");
}
