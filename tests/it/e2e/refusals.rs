//! The platform says no.

use std::collections::BTreeMap;

use freeline::sandbox::{Faults, line_id};
use serde_json::json;

use crate::support::{Setup, TestDatabase, World, on_both};

fn refuse(lines: impl IntoIterator<Item = u16>, status: u16) -> Faults {
    let refuse: BTreeMap<String, u16> =
        lines.into_iter().map(|n| (line_id(n).to_string(), status)).collect();
    Faults { refuse, ..Faults::default() }
}

on_both!(a_refusal_on_one_line_tries_the_next_and_is_remembered_for_an_hour);
async fn a_refusal_on_one_line_tries_the_next_and_is_remembered_for_an_hour(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    world.sandbox.set_faults(refuse([1], 403)).unwrap();
    let first = world.pay("a", "m1").await;
    world.settle().await;
    assert_eq!(world.payment(&first).await["line_id"], line_id(2).as_str());
    let sends = || world.sandbox.calls("POST /v1/line/send/message/");
    let before = sends();
    world.pay("b", "m1").await;
    world.settle().await;
    assert_eq!(sends(), before + 1, "the refused line is not asked again");

    world.sandbox.set_faults(Faults::default()).unwrap();
    world.pass(3_700).await;
    let third = world.pay("c", "m1").await;
    world.settle().await;
    assert_eq!(world.payment(&third).await["line_id"], line_id(1).as_str());
}

on_both!(a_payment_that_is_refused_everywhere_is_rejected_until_a_person_retries);
async fn a_payment_that_is_refused_everywhere_is_rejected_until_a_person_retries(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    world.sandbox.set_faults(refuse([1, 2, 3], 403)).unwrap();
    let id = world.pay("a", "m1").await;
    world.settle().await;
    let payment = world.payment(&id).await;
    assert_eq!(payment["state"], "rejected");
    assert!(payment["reason"].as_str().unwrap().contains("403"), "{payment}");
    assert_eq!(world.sandbox.message_count(), 0);

    world.sandbox.set_faults(Faults::default()).unwrap();
    let (status, _) =
        world.post(&format!("/payments/{id}/retry"), &json!({ "reason": "подключили" })).await;
    assert_eq!(status, 200);
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched");
}

on_both!(a_missing_bot_hook_is_set_and_the_line_is_tried_once_more);
async fn a_missing_bot_hook_is_set_and_the_line_is_tried_once_more(database: TestDatabase) {
    let world = World::ready(database).await;
    world.sandbox.forget_hooks();
    let id = world.pay("a", "m1").await;
    world.settle().await;
    // The line hook is forgotten too: no event comes, but the message went out, once.
    let [message] = world.sandbox.messages().try_into().expect("one message");
    assert_eq!(message.line, line_id(1));
    assert_eq!(world.state(&id).await, "dispatched");
    let codes = world.payment(&id).await["timeline"].to_string();
    assert!(codes.contains("hook_missing"), "{codes}");
}

on_both!(in_specialist_mode_no_bot_hook_is_needed_and_the_specialist_writes);
async fn in_specialist_mode_no_bot_hook_is_needed_and_the_specialist_writes(
    database: TestDatabase,
) {
    let setup = Setup::default().with("FREELINE_DISPATCH_MODE", "specialist");
    let world = World::ready_with(database, setup).await;
    let id = world.pay("a", "m2").await;
    world.settle().await;
    let [message] = world.sandbox.messages().try_into().expect("one message");
    assert!(message.flags.bot_as_spec && !message.flags.general_settings);
    assert_eq!(message.author, Some(freeline::sandbox::specialist_id(2)));
    assert_eq!(world.state(&id).await, "dispatched");
    let bots = world
        .sandbox
        .state()
        .hooks
        .iter()
        .filter(|hook| hook.kind == freeline::connect::HookKind::Bot)
        .count();
    assert_eq!(bots, 0);
}
