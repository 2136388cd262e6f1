//! The promise behind a 200: the event is on disk. Whatever cannot be stored is not taken.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{HOOK_TOKEN, TestDatabase, World, on_both};

on_both!(an_event_is_answered_with_200_only_once_it_is_on_disk);
async fn an_event_is_answered_with_200_only_once_it_is_on_disk(database: TestDatabase) {
    let world = World::ready(database).await;
    let mut direct = world.database().direct().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let tell = async || {
        let call = http.post(format!("{}/connect/hook/", world.base)).bearer_auth(HOOK_TOKEN);
        call.json(&json!({ "message_id": "m-1", "message_type": 1 })).send().await.unwrap()
    };
    let mut kept = async || {
        let rows = direct.rows("SELECT message_id FROM events WHERE message_id = 'm-1'").await;
        rows.len()
    };
    // Nothing can be written: the table is not there for a while.
    let mut breaker = world.database().direct().await;
    breaker.run("ALTER TABLE events RENAME TO events_away").await.unwrap();
    let refused = tell().await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"), "{:?}", refused.headers());
    breaker.run("ALTER TABLE events_away RENAME TO events").await.unwrap();
    assert_eq!(kept().await, 0);
    let taken = tell().await;
    assert_eq!(taken.status(), StatusCode::OK);
    assert_eq!(taken.text().await.unwrap(), "");
    assert_eq!(kept().await, 1);
}
