//! Answers that never come: nothing is sent twice, and nothing is lost.

use freeline::sandbox::{Faults, TECHNICAL_USER_ID, line_id};

use crate::support::{TestDatabase, World, on_both};

fn set(world: &World, faults: Faults) {
    world.sandbox.set_faults(faults).expect("faults within bounds");
}

on_both!(a_lost_answer_is_settled_by_the_echo_of_the_message);
async fn a_lost_answer_is_settled_by_the_echo_of_the_message(database: TestDatabase) {
    let world = World::ready(database).await;
    let looks = world.looks();
    set(&world, Faults { drop_after: 1.0, ..Faults::default() });
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.sandbox.message_count(), 1);
    assert_eq!(world.looks(), looks, "no look was needed");
}

on_both!(without_an_echo_one_look_at_the_line_finds_the_message);
async fn without_an_echo_one_look_at_the_line_finds_the_message(database: TestDatabase) {
    let world = World::ready(database).await;
    let looks = world.looks();
    set(&world, Faults { drop_after: 1.0, lose: 1.0, ..Faults::default() });
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "in_doubt");
    assert_eq!(world.line_state(&line_id(1)).await, "reserved");

    set(&world, Faults { lose: 1.0, ..Faults::default() });
    world.pass(31).await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.sandbox.message_count(), 1);
    assert_eq!(world.line_state(&line_id(1)).await, "busy");
}

on_both!(only_a_message_that_is_proven_absent_is_sent_again);
async fn only_a_message_that_is_proven_absent_is_sent_again(database: TestDatabase) {
    let world = World::ready(database).await;
    set(&world, Faults { drop_before: 1.0, ..Faults::default() });
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "in_doubt");
    assert_eq!(world.sandbox.message_count(), 0);

    set(&world, Faults::default());
    world.pass(29).await;
    assert_eq!(world.state(&id).await, "in_doubt", "an echo may still come");
    world.pass(2).await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.sandbox.message_count(), 1);
}

on_both!(a_gateway_error_is_a_doubt_too);
async fn a_gateway_error_is_a_doubt_too(database: TestDatabase) {
    let world = World::ready(database).await;
    set(&world, Faults { status_5xx: 1.0, ..Faults::default() });
    let id = world.pay("k", "m1").await;
    world.settle().await;
    let state = world.state(&id).await;
    assert!(state == "in_doubt" || state == "dispatched", "{state}");
    set(&world, Faults::default());
    world.pass(31).await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.sandbox.message_count(), 1);
}

on_both!(a_call_that_was_surely_not_taken_is_repeated_on_the_same_line);
async fn a_call_that_was_surely_not_taken_is_repeated_on_the_same_line(database: TestDatabase) {
    let world = World::ready(database).await;
    set(&world, Faults { status_429: 1.0, ..Faults::default() });
    let id = world.pay("k", "m1").await;
    world.settle().await;
    let payment = world.payment(&id).await;
    assert_eq!(payment["state"], "sending");
    assert_eq!(payment["reason_code"], "try_again");
    assert_eq!(world.line_state(&line_id(1)).await, "reserved");

    set(&world, Faults::default());
    world.pass(60).await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.sandbox.messages()[0].line, line_id(1));
    assert_eq!(world.sandbox.message_count(), 1);
}

on_both!(a_message_whose_treatment_was_never_seen_is_looked_for_once);
async fn a_message_whose_treatment_was_never_seen_is_looked_for_once(database: TestDatabase) {
    let world = World::ready(database).await;
    let looks = world.looks();
    set(&world, Faults { lose: 1.0, ..Faults::default() });
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.line_state(&line_id(1)).await, "reserved");
    world.pass(121).await;
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.line_state(&line_id(1)).await, "busy");

    set(&world, Faults::default());
    world.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    assert_eq!(world.state(&id).await, "closed");
    world.pass(600).await;
    assert_eq!(world.looks(), looks + 1);
}

on_both!(a_crash_between_call_and_answer_leaves_a_doubt_and_no_second_message);
async fn a_crash_between_call_and_answer_leaves_a_doubt_and_no_second_message(
    database: TestDatabase,
) {
    let world = World::ready(database).await;
    let id = world.pay("k", "m1").await;
    // Everything but the sender's answer happens: the claim is taken, and its owner vanishes.
    let store = world.app.store();
    let now = freeline::clock::Clock::now(&*world.clock);
    while store.dispatch(now).await.unwrap().is_some() {}
    let lease = now.plus(freeline::core::time::Span::from_secs(15));
    let claimed = store.claim_dispatches("gone", now, lease, 1).await.unwrap();
    assert_eq!(claimed.len(), 1);

    let world = world.restart().await;
    // Its lease ends, or on SQLite it is known to be gone: the payment comes into doubt.
    world.pass(20).await;
    assert_eq!(world.state(&id).await, "in_doubt");
    assert_eq!(world.sandbox.message_count(), 0);
    // Nobody could hear for a moment: what tells of the message may still be repeated.
    world.pass(60).await;
    assert_eq!(world.state(&id).await, "in_doubt");
    assert_eq!(world.sandbox.message_count(), 0);
    world.pass(60).await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.sandbox.message_count(), 1);
}
