//! The ERP follows what becomes of its payments, without asking for lists.

use std::time::Duration;

use freeline::core::time::Span;
use freeline::sandbox::{TECHNICAL_USER_ID, line_id};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::database::PATIENCE;
use crate::support::{READ_TOKEN, Setup, TestDatabase, World, on_both};

/// Requests that may wait at once.
const WAITING_MAX: usize = 64;

/// The items behind a cursor, and where to go on.
async fn read(world: &World, query: &str) -> (Vec<Value>, String) {
    let page = world.get(&format!("/changes{query}")).await;
    let next = page["next_cursor"].as_str().expect("always there").to_owned();
    (page["items"].as_array().expect("a list").clone(), next)
}

/// What a kind of thing became, one after the other, each state once.
fn states<'a>(items: &'a [Value], kind: &str, id: &str) -> Vec<&'a str> {
    let of_one = items.iter().filter(|item| item["kind"] == kind && item["payment_id"] == id);
    let mut states: Vec<&str> = of_one.map(|item| item["state"].as_str().unwrap()).collect();
    states.dedup();
    states
}

on_both!(a_payments_whole_life_is_seen_in_order);
async fn a_payments_whole_life_is_seen_in_order(database: TestDatabase) {
    let world = World::ready(database).await;
    let (_, start) = read(&world, "?after=now").await;
    let mut waiting = Vec::new();
    for n in 0..4 {
        waiting.push(world.pay(&format!("k{n}"), "m1").await);
        world.settle().await;
    }
    let user = TECHNICAL_USER_ID.into();
    world.sandbox.close(&line_id(1), &user, 82).await.unwrap();
    world.settle().await;

    let (items, _) = read(&world, &format!("?after={start}&limit=500")).await;
    assert_eq!(
        states(&items, "payment", &waiting[0]),
        ["queued", "sending", "dispatched", "closed"]
    );
    assert_eq!(states(&items, "treatment", &waiting[0]), ["open", "closed"]);
    assert_eq!(states(&items, "payment", &waiting[3]), ["queued", "sending", "dispatched"]);
    let payment = world.payment(&waiting[3]).await;
    let last = items.iter().rfind(|item| item["id"] == *waiting[3]).unwrap();
    for field in ["number", "key", "state", "reason", "reason_code", "line_id", "treatment_id"] {
        assert_eq!(last[field], payment[field], "{field}");
    }
    let numbers: Vec<i64> = items.iter().map(|item| item["seq"].as_i64().unwrap()).collect();
    let first: i64 = start.parse().unwrap();
    assert!(numbers.iter().zip(first + 1..).all(|(seq, expected)| *seq == expected), "{numbers:?}");

    // The same page by page.
    let (mut paged, mut cursor) = (Vec::new(), start);
    loop {
        let (page, next) = read(&world, &format!("?after={cursor}&limit=3")).await;
        if page.is_empty() {
            assert_eq!(next, cursor);
            break;
        }
        (paged, cursor) = ([paged, page].concat(), next);
    }
    assert_eq!(paged, items);
}

on_both!(a_reader_that_waits_is_woken_by_the_next_change);
async fn a_reader_that_waits_is_woken_by_the_next_change(database: TestDatabase) {
    let world = World::ready(database).await;
    let (_, cursor) = read(&world, "?after=now").await;
    let query = format!("?after={cursor}&wait=50");
    let waiting = async {
        let began = Instant::now();
        (read(&world, &query).await, began.elapsed())
    };
    let ((answer, took), id) = tokio::join!(waiting, world.pay("k", "m1"));
    assert_eq!(answer.0[0]["id"], *id);
    assert_eq!(answer.0[0]["state"], "queued");
    assert!(took < PATIENCE, "{took:?}");
    // What is there already is not waited for.
    let (again, _) = read(&world, &query).await;
    assert_eq!(again[0], answer.0[0]);
}

on_both!(a_wait_ends_with_nothing_and_the_same_cursor);
async fn a_wait_ends_with_nothing_and_the_same_cursor(database: TestDatabase) {
    let world = World::ready(database).await;
    world.pay("k", "m1").await;
    let began = Instant::now();
    let (items, next) = read(&world, "?after=now&wait=1").await;
    assert!(items.is_empty() && began.elapsed() >= Duration::from_secs(1));
    assert_eq!(read(&world, &format!("?after={next}")).await, (Vec::new(), next));
}

on_both!(a_reader_that_was_away_for_too_long_is_told_what_to_do);
async fn a_reader_that_was_away_for_too_long_is_told_what_to_do(database: TestDatabase) {
    let setup = Setup::default().with("FREELINE_CHANGES_KEPT", "1h");
    let world = World::ready_with(database, setup).await;
    let (_, start) = read(&world, "?after=now").await;
    world.pay("k1", "m1").await;
    world.settle().await;
    world.clock.advance(Span::from_secs(2 * 3_600));
    world.pay("k2", "m1").await;
    world.settle().await;
    let (status, problem) = world.call(Method::GET, &format!("/changes?after={start}"), None).await;
    assert_eq!((status, &problem["code"]), (410, &Value::from("cursor_gone")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("after=now") && detail.contains("lists"), "{detail}");
    let (items, next) = read(&world, "").await;
    assert!(!items.is_empty(), "from the oldest that is kept");
    assert_eq!(read(&world, "?after=now").await, (Vec::new(), next.clone()));
    assert_eq!(read(&world, &format!("?after={next}")).await, (Vec::new(), next));
}

on_both!(a_wrong_cursor_gets_a_sentence);
async fn a_wrong_cursor_gets_a_sentence(database: TestDatabase) {
    let world = World::ready(database).await;
    for (query, status, code, words) in [
        (
            "after=x",
            422,
            "validation_failed",
            "expected the next_cursor of an answer before, or now",
        ),
        ("wait=51", 422, "validation_failed", "expected a whole number of seconds from 0 to 50"),
        ("limit=501", 422, "validation_failed", "expected a whole number from 1 to 500"),
        (
            "cursor=1",
            422,
            "validation_failed",
            "unknown parameter; expected one of after, limit, wait",
        ),
        ("after=999999", 410, "cursor_gone", "the database is not the one it is of"),
    ] {
        let (told, problem) = world.call(Method::GET, &format!("/changes?{query}"), None).await;
        assert_eq!((told, problem["code"].as_str()), (status, Some(code)), "{query}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_may_wait_and_no_more() {
    let world = World::ready(TestDatabase::sqlite()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (_, start) = read(&world, "?after=now").await;
    let url = format!("{}/api/v1/changes?after={start}&wait=50", world.base);
    let mut waiting = JoinSet::new();
    for _ in 0..=WAITING_MAX {
        let call = client.get(&url).bearer_auth(READ_TOKEN);
        waiting.spawn(async move {
            let answer = call.send().await.unwrap();
            let retry = answer.headers().contains_key("retry-after");
            (answer.status().as_u16(), retry, answer.json::<Value>().await.unwrap())
        });
    }
    let (status, retry, problem) = waiting.join_next().await.unwrap().unwrap();
    assert_eq!((status, retry), (503, true), "{problem}");
    assert_eq!(problem["code"], "too_many_waiting");
    // Whoever does not want to wait is answered all the same.
    assert_eq!(read(&world, &format!("?after={start}")).await.0, Vec::<Value>::new());
    world.pay("k", "m1").await;
    while let Some(answer) = waiting.join_next().await {
        let (status, _, page) = answer.unwrap();
        assert_eq!((status, page["items"][0]["kind"].as_str()), (200, Some("payment")), "{page}");
    }
    // Their places are free again.
    assert_eq!(read(&world, "?after=now&wait=1").await.0, Vec::<Value>::new());
}
