//! Events nobody would send: kept, then applied, ignored or set aside, and never in the way of the
//! good ones.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use freeline::connect::wire::DEPTH_MAX;
use freeline::sandbox::{line_id, user_id};
use futures::future::join_all;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::corpus::{self, Kind};
use super::generate::{Source, damaged};
use crate::support::event::{self, with};
use crate::support::{HOOK_TOKEN, TestDatabase, World, on_both};

/// Events that are under way at once.
const AT_ONCE: usize = 64;
/// Steps after which the workers never rest.
const STEPS_MAX: usize = 5_000;

/// Events as the platform sends them, all about a few chats on lines that we know.
pub(super) fn events() -> Vec<Value> {
    let at = event_time();
    let mut bodies = Vec::new();
    for n in 1..=4_u16 {
        let (line, other) = (line_id(n), line_id(n % 4 + 1));
        let user = user_id(n % 2 + 1);
        let (treatment, target) = (format!("treatment-{n}"), format!("treatment-{}", n % 4 + 1));
        let chat = (line.as_str(), user.as_str(), &*treatment);
        let id = |what: &str| format!("message-{what}-{n}");
        let times = json!({"treatment_id": treatment, "user_id": user.as_str(),
            "line_id": line.as_str(), "initialized_at": at.to_string(), "treatment_duration": 21});
        let call = json!({"call": {"src": user.as_str(), "dst": "specialist"}});
        let file = json!({"file": {"file_id": "f", "file_name": "scan.png",
            "file_path": "https://example.org/f", "file_size": 12_345, "preview_link": ""}});
        bodies.extend([
            event::text(&id("text"), chat, at),
            event::answer(&id("answer"), chat, "Оплата FL-4J7Q-2M9X, FL-2222-2222", at),
            event::close(&id("close"), chat, at),
            event::moved_to(&id("to"), chat, (other.as_str(), &target), at),
            event::moved_from(&id("from"), chat, (other.as_str(), &target), at),
            with(event::body(20, &id("call"), chat, at), call),
            with(event::body(70, &id("file"), chat, at), file),
            with(event::body(90, &id("end"), chat, at), json!({"treatment": times})),
            with(event::body(17, &id("close"), chat, at), json!({"treatment": times})),
            with(event::body(80, &id("taken"), chat, at), json!({"event_source": "bot"})),
            event::body(81, &id("answer"), chat, at),
        ]);
    }
    bodies.push(json!({"event_type": "subscription", "event_source": "line", "action": "delete",
        "subscription": {"line_id": line_id(1).as_str(), "user_id": user_id(1).as_str()}}));
    bodies.push(json!({"message_type": 1, "line_id": line_id(1).as_str(), "text": "x"}));
    bodies
}

fn event_time() -> freeline::core::time::Time {
    freeline::core::time::Time::parse_rfc3339("2026-05-28T20:00:00Z").expect("a time")
}

/// What the callback must answer: a JSON object is kept, and anything else is not one.
fn expected(body: &[u8]) -> u16 {
    let text = std::str::from_utf8(body).ok();
    let is_object = text.is_some_and(|text| {
        text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
            && serde_json::from_str::<IgnoredAny>(text).is_ok()
    });
    if body.len() > 1024 * 1024 {
        413
    } else if is_object && depth(body) <= DEPTH_MAX {
        200
    } else {
        400
    }
}

/// How deep brackets outside of texts are nested.
fn depth(body: &[u8]) -> usize {
    let (mut deep, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => deep += 1,
            b'}' | b']' if !quoted => deep = deep.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(deep);
    }
    deepest
}

/// Posts an event in process; answers the status.
pub(super) async fn post(world: &World, body: &[u8]) -> u16 {
    let request = Request::post("/connect/hook/")
        .header(header::AUTHORIZATION, format!("Bearer {HOOK_TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_vec()))
        .expect("a request");
    let answer = world.app.router().oneshot(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let told = to_bytes(answer.into_body(), 1 << 20).await.expect("its body");
    if status == 200 {
        assert!(told.is_empty());
    } else {
        let problem: Value = serde_json::from_slice(&told).expect("a problem");
        assert_eq!(problem["status"], status, "{problem}");
    }
    status
}

/// Posts events together and takes them into account; the body that broke something is kept.
async fn feed(world: &World, bodies: &[Vec<u8>], what: &str) -> BTreeMap<u16, usize> {
    let statuses = join_all(bodies.iter().map(|body| post(world, body))).await;
    let mut counts = BTreeMap::new();
    for (body, status) in bodies.iter().zip(statuses) {
        if status != expected(body) {
            let kept = corpus::keep(Kind::Event, body);
            panic!("{what}: {status} where {} was expected, see {kept}", expected(body));
        }
        *counts.entry(status).or_default() += 1;
    }
    let stepped = world.app.drain(STEPS_MAX).await;
    let steps = stepped.as_ref().copied().unwrap_or(STEPS_MAX);
    if steps >= STEPS_MAX || world.has_failed() {
        let kept: Vec<String> = bodies.iter().map(|b| corpus::keep(Kind::Event, b)).collect();
        panic!("{what}: the workers came to {stepped:?}; one of {kept:?}");
    }
    counts
}

/// Nothing is left behind, and a good event is taken into account as ever.
async fn good_events_go_through(world: &World, what: &str) {
    world.sandbox.quiesce().await;
    world.app.drain(STEPS_MAX).await.expect("the workers step");
    let left = world.get("/events?state=new&limit=1").await;
    assert_eq!(left["items"], json!([]), "{what}");
    let treatment = format!("good-treatment-{what}");
    let line = line_id(9);
    let chat = (line.as_str(), "a-good-user", &*treatment);
    let good = event::text(&format!("good-message-{what}"), chat, event_time());
    assert_eq!(post(world, good.to_string().as_bytes()).await, 200);
    world.app.drain(STEPS_MAX).await.expect("the workers step");
    assert_eq!(world.get(&format!("/treatments/{treatment}")).await["state"], "open");
    assert!(!world.has_failed());
}

async fn world_at_work(database: TestDatabase) -> World {
    let world = World::ready(database).await;
    for n in 1..=3 {
        world.pay(&format!("at-work-{n}"), &format!("m{n}")).await;
    }
    world.settle().await;
    world
}

on_both!(events_that_once_broke_something_no_longer_do);
async fn events_that_once_broke_something_no_longer_do(database: TestDatabase) {
    let world = world_at_work(database).await;
    for (name, body) in corpus::read(Kind::Event) {
        feed(&world, &[body], &name).await;
    }
    good_events_go_through(&world, "corpus").await;
}

on_both!(no_event_makes_the_callback_fail_or_the_intake_stop);
async fn no_event_makes_the_callback_fail_or_the_intake_stop(database: TestDatabase) {
    let (seed, until) = (super::seed(), corpus::deadline());
    let what = format!("FREELINE_FUZZ_SEED={seed}");
    let world = world_at_work(database).await;
    let mut source = Source::new(damaged(events()), seed);
    let mut total: BTreeMap<u16, usize> = BTreeMap::new();
    while std::time::Instant::now() < until {
        let bodies: Vec<Vec<u8>> = (0..AT_ONCE).map(|_| source.next()).collect();
        for (status, count) in feed(&world, &bodies, &what).await {
            *total.entry(status).or_default() += count;
        }
    }
    good_events_go_through(&world, "fuzz").await;
    println!("{what}: {total:?}");
}
