//! How the service starts, and what it says while it cannot work.

use freeline::sandbox::{Faults, Opening, line_id, user_id};

use crate::support::{Setup, TestDatabase, World, directory, on_both};

on_both!(with_the_platform_down_events_come_in_and_nothing_is_sent);
async fn with_the_platform_down_events_come_in_and_nothing_is_sent(database: TestDatabase) {
    let world = World::start(database, Setup::default()).await;
    world.sandbox.set_faults(Faults { status_5xx: 1.0, ..Faults::default() }).unwrap();
    world.put("/directory", &directory()).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.line_state(&line_id(1)).await, "unknown");
    assert_eq!(world.state(&id).await, "queued");
    assert_eq!(world.sandbox.message_count(), 0);
    let (status, ready) = world.plain("/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (200, Some("degraded")), "{ready}");
    assert_eq!(world.get("/status").await["platform"]["reachable"], false);

    world.sandbox.set_faults(Faults::default()).unwrap();
    world.pass(120).await;
    assert_eq!(world.state(&id).await, "dispatched");
    assert_eq!(world.plain("/readyz").await.1["status"], "ready");
}

on_both!(what_was_open_before_the_start_is_known_after_one_look);
async fn what_was_open_before_the_start_is_known_after_one_look(database: TestDatabase) {
    let mut setup = Setup::default();
    setup.sandbox = setup.sandbox.with_users(3);
    let world = World::start(database, setup).await;
    world.sandbox.open(Opening::by_user(&line_id(1), &user_id(2))).await.unwrap();
    world.sandbox.open(Opening::by_user(&line_id(2), &user_id(3))).await.unwrap();
    world.put("/directory", &directory()).await;
    world.settle().await;
    assert_eq!(world.looks(), 1);
    assert_eq!(world.line_state(&line_id(1)).await, "busy");
    assert_eq!(world.line_state(&line_id(2)).await, "busy");
    let id = world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.payment(&id).await["line_id"], line_id(3).as_str());
}

on_both!(what_closed_while_the_service_was_away_is_free_after_the_start);
async fn what_closed_while_the_service_was_away_is_free_after_the_start(database: TestDatabase) {
    let world = World::ready(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    world.sandbox.set_faults(Faults { lose: 1.0, ..Faults::default() }).unwrap();
    let user = freeline::sandbox::TECHNICAL_USER_ID.into();
    world.sandbox.close(&line_id(1), &user, 82).await.unwrap();
    world.sandbox.set_faults(Faults::default()).unwrap();

    let world = world.restart().await;
    world.pass(30).await;
    assert_eq!(world.line_state(&line_id(1)).await, "free");
    assert_eq!(world.state(&id).await, "closed");
}
