//! Events that never arrive: what is known of the lines becomes right again by itself.

use freeline::core::id::LineId;
use freeline::core::time::Span;
use freeline::sandbox::{Faults, Opening, TECHNICAL_USER_ID, line_id, user_id};
use serde_json::{Value, json};

use crate::support::{Setup, TestDatabase, World, on_both};

const MINUTE: i64 = 60;
/// How long a silence is waited for where a test does not live through a day.
const SILENCE: i64 = 10 * MINUTE;
/// How often the workers are stepped while much time passes: below the minute after which a
/// service was away.
const TICK_SECS: i64 = 55;

/// Lets much time pass in which little happens.
async fn rest(world: &World, seconds: i64) {
    let mut left = seconds;
    while left > 0 {
        let step = left.min(TICK_SECS);
        world.clock.advance(Span::from_secs(step));
        world.settle().await;
        left -= step;
    }
}

fn set(world: &World, faults: Faults) {
    world.sandbox.set_faults(faults).expect("faults within bounds");
}

/// Every event from now on is lost, or none.
fn lose(world: &World, share: f64) {
    set(world, Faults { lose: share, ..Faults::default() });
}

/// With a short silence, and users beside the one that payments are sent to.
async fn ready(database: TestDatabase) -> World {
    let mut setup = Setup::default().with("FREELINE_LOOK_AFTER_SILENCE", "10m");
    setup.sandbox = setup.sandbox.with_users(4);
    World::ready_with(database, setup).await
}

/// The first manager is left with one line.
async fn pause_all_but_the_first(world: &World) {
    for n in [2, 3] {
        let path = format!("/lines/{}/pause", line_id(n));
        assert_eq!(world.post(&path, &json!({ "reason": "tests" })).await.0, 200);
    }
}

async fn line(world: &World, n: u16) -> Value {
    world.get(&format!("/lines/{}", line_id(n))).await
}

async fn sureness(world: &World, n: u16) -> String {
    line(world, n).await["sureness"]["code"].as_str().expect("a code").to_owned()
}

/// When each of the nine lines was looked at.
async fn looked_at(world: &World) -> Vec<Value> {
    let lines = world.get("/lines").await;
    lines["items"].as_array().expect("lines").iter().map(|l| l["looked_at"].clone()).collect()
}

/// What a specialist writes into the open treatment.
async fn write(world: &World, line: &LineId, user: &str) {
    world.sandbox.write(line, &user.into(), None, "Добрый день!").await.unwrap();
    world.settle().await;
}

on_both!(a_lost_close_costs_one_look_at_that_line_alone_and_the_waiting_payment_goes_out);
async fn a_lost_close_costs_one_look_at_that_line_alone_and_the_waiting_payment_goes_out(
    database: TestDatabase,
) {
    let world = ready(database).await;
    pause_all_but_the_first(&world).await;
    let first = world.pay("k1", "m1").await;
    let second = world.pay("k2", "m1").await;
    world.settle().await;
    lose(&world, 1.0);
    world.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    lose(&world, 0.0);
    let (looks, before) = (world.looks(), looked_at(&world).await);

    rest(&world, SILENCE - MINUTE).await;
    assert_eq!(world.looks(), looks, "nobody asks before the silence is over");
    assert_eq!((world.state(&first).await, world.state(&second).await), dispatched_and_queued());
    assert_eq!(sureness(&world, 1).await, "heard");

    rest(&world, 2 * MINUTE).await;
    assert_eq!(world.looks(), looks + 1);
    let after = looked_at(&world).await;
    let changed: Vec<usize> = (0..9).filter(|n| before[*n] != after[*n]).collect();
    assert_eq!(changed, [0], "only the silent line was looked at");
    let closed = world.payment(&first).await;
    assert_eq!(
        (&closed["state"], &closed["reason_code"]),
        (&json!("closed"), &json!("treatment_gone"))
    );
    assert_eq!(world.state(&second).await, "dispatched");
    assert_eq!(world.sandbox.message_count(), 2);
    assert_eq!(world.line_state(&line_id(1)).await, "busy", "with the second payment");
}

fn dispatched_and_queued() -> (String, String) {
    ("dispatched".to_owned(), "queued".to_owned())
}

on_both!(what_the_platform_still_lists_is_looked_at_again_after_growing_times);
async fn what_the_platform_still_lists_is_looked_at_again_after_growing_times(
    database: TestDatabase,
) {
    let world = ready(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    let mut looks = world.looks();
    // After the last event, then after each look.
    for times in [1, 2, 4] {
        rest(&world, times * SILENCE - 2 * MINUTE).await;
        assert_eq!(world.looks(), looks, "before {times} silences");
        rest(&world, 3 * MINUTE).await;
        looks += 1;
        assert_eq!(world.looks(), looks, "after {times} silences");
        assert_eq!(sureness(&world, 1).await, "looked");
    }
    // A sign of life: from the beginning.
    write(&world, &line_id(1), TECHNICAL_USER_ID).await;
    assert_eq!(sureness(&world, 1).await, "heard");
    rest(&world, SILENCE - 2 * MINUTE).await;
    assert_eq!(world.looks(), looks);
    rest(&world, 3 * MINUTE).await;
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.state(&id).await, "dispatched");
}

/// The calls do not depend on the engine, and a day is long: on one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_service_with_its_events_needs_no_look() {
    let world = World::ready(TestDatabase::sqlite()).await;
    assert_eq!(world.looks(), 1, "the one at the start");
    let user = TECHNICAL_USER_ID.into();
    for round in 0..14 {
        let id = world.pay(&format!("k{round}"), "m1").await;
        world.settle().await;
        let line = world.payment(&id).await["line_id"].as_str().expect("a line").into();
        rest(&world, 55 * MINUTE).await;
        write(&world, &line, TECHNICAL_USER_ID).await;
        rest(&world, 45 * MINUTE).await;
        world.sandbox.close(&line, &user, 82).await.unwrap();
        rest(&world, 5 * MINUTE).await;
        assert_eq!(world.state(&id).await, "closed");
    }
    assert_eq!(world.looks(), 1);
    // The other lines were free all day, and nobody asked about them either.
    let sure = world.get("/status").await["sureness"].clone();
    assert_eq!(sure, json!({ "heard": 1, "looked": 0, "idle": 8, "silent": 0, "unknown": 0 }));
}

on_both!(lines_whose_treatments_talk_are_not_looked_at_however_long_they_serve);
async fn lines_whose_treatments_talk_are_not_looked_at_however_long_they_serve(
    database: TestDatabase,
) {
    let world = ready(database).await;
    world.pay("k", "m1").await;
    world.sandbox.open(Opening::by_user(&line_id(5), &user_id(2))).await.unwrap();
    world.settle().await;
    for _ in 0..5 {
        rest(&world, SILENCE - 2 * MINUTE).await;
        write(&world, &line_id(1), TECHNICAL_USER_ID).await;
        write(&world, &line_id(5), user_id(2).as_str()).await;
    }
    assert_eq!(world.looks(), 1, "the one at the start");
}

on_both!(a_chat_that_goes_on_does_not_hide_the_lost_close_of_another_on_its_line);
async fn a_chat_that_goes_on_does_not_hide_the_lost_close_of_another_on_its_line(
    database: TestDatabase,
) {
    let world = ready(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    world.sandbox.open(Opening::by_user(&line_id(1), &user_id(2))).await.unwrap();
    world.settle().await;
    lose(&world, 1.0);
    world.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    lose(&world, 0.0);
    let looks = world.looks();
    for _ in 0..5 {
        rest(&world, 2 * MINUTE + 20).await;
        write(&world, &line_id(1), user_id(2).as_str()).await;
    }
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.state(&id).await, "closed");
    let open = line(&world, 1).await["treatments"].clone();
    assert_eq!(open.as_array().map(Vec::len), Some(1), "{open}");
}

on_both!(a_lost_open_is_made_good_by_the_next_event_of_its_treatment_without_a_look);
async fn a_lost_open_is_made_good_by_the_next_event_of_its_treatment_without_a_look(
    database: TestDatabase,
) {
    let world = ready(database).await;
    lose(&world, 1.0);
    world.sandbox.open(Opening::by_user(&line_id(1), &user_id(2))).await.unwrap();
    world.settle().await;
    lose(&world, 0.0);
    let looks = world.looks();
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    write(&world, &line_id(1), user_id(2).as_str()).await;
    assert_eq!(world.line_state(&line_id(1)).await, "busy");
    world.sandbox.close(&line_id(1), &user_id(2), 82).await.unwrap();
    world.settle().await;
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    assert_eq!(world.looks(), looks);
}

on_both!(a_lost_open_is_found_by_the_look_at_what_else_is_silent_on_its_line);
async fn a_lost_open_is_found_by_the_look_at_what_else_is_silent_on_its_line(
    database: TestDatabase,
) {
    let world = ready(database).await;
    lose(&world, 1.0);
    world.sandbox.open(Opening::by_user(&line_id(1), &user_id(2))).await.unwrap();
    world.settle().await;
    lose(&world, 0.0);
    world.pay("k", "m1").await;
    world.settle().await;
    let count = async || line(&world, 1).await["treatments"].as_array().map(Vec::len);
    assert_eq!(count().await, Some(1), "ours, beside the one that nobody told of");
    rest(&world, SILENCE + MINUTE).await;
    assert_eq!(count().await, Some(2));
}

on_both!(both_halves_of_a_move_lost_free_the_line_that_it_left);
async fn both_halves_of_a_move_lost_free_the_line_that_it_left(database: TestDatabase) {
    let world = ready(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    lose(&world, 1.0);
    let user = TECHNICAL_USER_ID.into();
    let moved = world.sandbox.reroute(&line_id(1), &user, &line_id(5)).await.unwrap();
    world.settle().await;
    lose(&world, 0.0);
    let looks = world.looks();
    rest(&world, SILENCE + MINUTE).await;
    assert_eq!(world.looks(), looks + 1);
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    // Where it went nobody told yet: as far as is known the payment is done with.
    assert_eq!(world.state(&id).await, "closed");
    assert_eq!(world.line_state(&line_id(5)).await, "free");
    write(&world, &line_id(5), TECHNICAL_USER_ID).await;
    assert_eq!(world.line_state(&line_id(5)).await, "busy");

    // One half comes after all, and the payment follows its treatment.
    let old = world.payment(&id).await["treatment_id"].clone();
    let half = json!({ "event_type": "line", "event_source": "line", "message_type": 89,
        "message_id": "late", "message_time": moved.initialized_at.to_string(),
        "line_id": line_id(5).as_str(), "user_id": TECHNICAL_USER_ID,
        "treatment_id": moved.id.as_str(),
        "data": { "direction": "from", "line_id": line_id(1).as_str(), "treatment_id": old } });
    world.sandbox.broadcast(half.as_object().expect("an object").clone()).await.unwrap();
    world.settle().await;
    let payment = world.payment(&id).await;
    assert_eq!(payment["state"], "dispatched");
    assert_eq!(payment["line_id"], line_id(5).as_str());
}

on_both!(while_the_platform_does_not_answer_a_silent_line_says_so_and_is_asked_about_again);
async fn while_the_platform_does_not_answer_a_silent_line_says_so_and_is_asked_about_again(
    database: TestDatabase,
) {
    let world = ready(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    lose(&world, 1.0);
    world.sandbox.close(&line_id(1), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    set(&world, Faults { status_5xx: 1.0, ..Faults::default() });
    let looks = world.looks();
    rest(&world, SILENCE + 10 * MINUTE).await;
    assert!(world.looks() > looks + 5, "{}", world.looks() - looks);
    assert!(world.looks() < looks + 25, "{}", world.looks() - looks);
    assert_eq!(sureness(&world, 1).await, "silent");
    let status = world.get("/status").await;
    assert_eq!(status["sureness"]["silent"], 1);
    assert_eq!(status["oldest_silence"]["line_id"], line_id(1).as_str());
    let age = status["oldest_silence"]["age_seconds"].as_i64().expect("an age");
    assert!((SILENCE + 10 * MINUTE..SILENCE + 12 * MINUTE).contains(&age), "{age}");
    assert_eq!(world.state(&id).await, "dispatched");

    set(&world, Faults::default());
    rest(&world, 2 * MINUTE).await;
    assert_eq!(world.state(&id).await, "closed");
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    assert_eq!(world.get("/status").await["oldest_silence"], Value::Null);
}
