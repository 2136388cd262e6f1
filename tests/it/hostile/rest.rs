//! Calls of the API nobody would make: refused with a problem, never with a failure of ours.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, Uri, header};
use freeline::sandbox::line_id;
use futures::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::corpus::{self, Kind};
use super::generate::{Source, damaged, value};
use crate::support::{READ_TOKEN, TOKEN, TestDatabase, World, on_both};

/// Calls that are under way at once.
const AT_ONCE: usize = 32;
/// Steps after which the workers never rest.
const STEPS_MAX: usize = 20_000;

/// One call.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    target: String,
    headers: Vec<(header::HeaderName, Vec<u8>)>,
    body: Vec<u8>,
}

/// Every address of the API, `{}` for an id, with the parameters of its query.
const ADDRESSES: &[(&str, &[&str])] = &[
    ("/directory", &[]),
    ("/managers", &["limit", "cursor"]),
    ("/managers/{}", &[]),
    ("/counterparties", &["limit", "cursor"]),
    ("/counterparties/{}", &[]),
    ("/lines", &["manager", "state", "limit", "cursor"]),
    ("/lines/{}", &[]),
    ("/lines/{}/pause", &[]),
    ("/lines/{}/resume", &[]),
    ("/payments", &["state", "manager", "counterparty", "key", "updated_after", "limit", "cursor"]),
    ("/payments/{}", &[]),
    ("/payments/{}/hold", &[]),
    ("/payments/{}/release", &[]),
    ("/payments/{}/cancel", &[]),
    ("/payments/{}/retry", &[]),
    ("/treatments", &["state", "line_id", "user_id", "limit", "cursor"]),
    ("/treatments/{}", &[]),
    ("/treatments/{}/messages", &["after", "limit", "cursor"]),
    ("/payments/{}/messages", &["after", "limit", "cursor"]),
    ("/users/{}/treatments", &["limit", "cursor"]),
    ("/search/messages", &["q", "user_id", "line_id", "from", "to", "limit", "cursor"]),
    ("/events", &["after", "line_id", "message_type", "state", "limit", "cursor"]),
    ("/status", &[]),
];

fn bodies() -> Vec<Value> {
    vec![
        json!({"key": "k", "counterparty": "c1", "manager": "m1", "amount": "12345.67",
            "currency": "RUB", "paid_at": "2026-03-05T14:07:00+03:00", "order": "7",
            "purpose": "Оплата", "priority": 3, "hold": "wait", "mismatch": "sum",
            "user_id": "u", "author_id": "a", "text": "Здравствуйте"}),
        json!({"key": "k2", "manager": "m2", "amount": "1", "paid_at": "2026-03-05T14:07:00Z"}),
        json!({"reason": "asked to wait"}),
        json!({"id": "m1", "name": "Anna", "email": "a@example.org", "specialist_id": "s",
            "enabled": true}),
        json!({"line_id": line_id(1).as_str(), "name": "L", "manager": "m1", "capacity": 2,
            "position": 3, "enabled": true}),
        json!({"id": "c1", "name": "C", "inn": "7707083893", "manager": "m1", "user_id": "u"}),
        crate::support::directory(),
        json!({"managers": [{"id": "m9", "name": "N", "email": "n@example.org"}],
            "lines": [{"line_id": "l9", "name": "L", "manager": "m9"}], "counterparties": []}),
    ]
}

/// A text as it may stand in an address.
fn escaped() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "m1",
        "c1",
        "l9",
        "",
        ".",
        "..",
        "%2e%2e%2f",
        "%00",
        "%ff",
        "%",
        "%zz",
        "%ed%a0%80",
        "+",
        "%0d%0a",
        "0",
        "-1",
        "500",
        "501",
        "9223372036854775807",
        "9223372036854775808",
        "open",
        "queued",
        "free",
        "quarantined",
        "MCAA",
        "MCBw",
        "AAAA",
        "2026-03-05T11:07:00Z",
        "a=b&c",
        "9999-12-31T23:59:59Z",
        "%F0%9F%98%80",
        "%E2%80%AE",
        "null",
        "a;b",
        "//",
        "OTIyMzM3MjAzNjg1NDc3NTgwNyBh",
    ]);
    let encode = |text: String| -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
    };
    prop_oneof![
        6 => known.prop_map(ToOwned::to_owned),
        1 => Just(line_id(1).to_string()),
        2 => value().prop_map(|raw| {
            serde_json::from_str::<String>(&raw).unwrap_or(raw).chars().take(5_000).collect()
        }).prop_map(encode),
        1 => any::<String>().prop_map(encode),
    ]
}

fn target() -> impl Strategy<Value = String> {
    let address = prop::sample::select(ADDRESSES.to_vec());
    let more = prop::collection::vec((any::<prop::sample::Index>(), escaped()), 0..4);
    (address, escaped(), more, any::<u8>()).prop_map(|((path, names), id, more, chance)| {
        let mut target = format!("/api/v1{}", path.replace("{}", &id));
        for (index, (name, text)) in more.into_iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            let name =
                if names.is_empty() || chance < 10 { "x" } else { names[name.index(names.len())] };
            target.extend([name, "=", &text]);
        }
        target
    })
}

fn headers() -> impl Strategy<Value = Vec<(header::HeaderName, Vec<u8>)>> {
    let name = prop::sample::select(vec![
        header::CONTENT_TYPE,
        header::AUTHORIZATION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::ACCEPT,
        header::HOST,
        header::HeaderName::from_static("x-request-id"),
    ]);
    let read = format!("Bearer {READ_TOKEN}").into_bytes();
    let text = prop_oneof![
        prop::sample::select(vec![
            "",
            "application/json; charset=\"",
            "text/plain",
            "gzip",
            "0",
            "-1",
            "99999999999999999999",
            "chunked",
            "identity",
            "Bearer",
            "Basic Og==",
            ";;"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        Just(read),
        prop::collection::vec(any::<u8>(), 0..100),
    ];
    prop::collection::vec((name, text), 0..2)
}

fn calls() -> impl Strategy<Value = Call> {
    let methods = vec![Method::GET, Method::POST, Method::PUT, Method::POST, Method::DELETE];
    (prop::sample::select(methods), target(), headers(), any::<u8>(), damaged(bodies())).prop_map(
        |(method, target, headers, chance, body)| {
            let headers = if chance < 40 { headers } else { Vec::new() };
            Call { method, target, headers, body }
        },
    )
}

/// Calls in which address and body belong together: those get further.
fn fitting() -> impl Strategy<Value = Call> {
    let put = |path: &'static str, body: Value| {
        damaged(vec![body]).prop_map(move |body| Call {
            method: if path == "/payments" || path.contains("pause") || path.contains("hold") {
                Method::POST
            } else {
                Method::PUT
            },
            target: format!("/api/v1{path}"),
            headers: Vec::new(),
            body,
        })
    };
    let line: &'static str = Box::leak(format!("/lines/{}", line_id(1)).into_boxed_str());
    let pause: &'static str = Box::leak(format!("/lines/{}/pause", line_id(2)).into_boxed_str());
    let [payment, short, reason, manager, entry, customer, directory, small] =
        <[Value; 8]>::try_from(bodies()).expect("eight bodies");
    prop_oneof![
        4 => put("/payments", payment),
        4 => put("/payments", short),
        1 => put(pause, reason.clone()),
        1 => put("/payments/x/hold", reason),
        2 => put("/managers/m1", manager),
        2 => put(line, entry),
        2 => put("/counterparties/c1", customer),
        1 => put("/directory", directory),
        1 => put("/directory", small),
    ]
}

/// Makes a call in process; `None` if it could not even be written down.
async fn make(world: &World, call: &Call) -> Option<(u16, String)> {
    let uri: Uri = call.target.parse().ok()?;
    let mut request = Request::builder()
        .method(&call.method)
        .uri(uri)
        .body(Body::from(call.body.clone()))
        .ok()?;
    let known = request.headers_mut();
    let bearer = HeaderValue::from_str(&format!("Bearer {TOKEN}")).ok()?;
    known.insert(header::AUTHORIZATION, bearer);
    known.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    known.insert(header::CONTENT_LENGTH, HeaderValue::from(call.body.len()));
    for (name, value) in &call.headers {
        known.insert(name, HeaderValue::from_bytes(value).ok()?);
    }
    let answer = world.app.router().oneshot(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let body = to_bytes(answer.into_body(), 64 << 20).await.expect("its body");
    let body = String::from_utf8_lossy(&body).into_owned();
    let wrong = if status >= 500 {
        Some("a failure of ours")
    } else if status >= 400 && kind != Some(HeaderValue::from_static("application/problem+json")) {
        Some("not a problem")
    } else if serde_json::from_str::<Value>(&body).is_err() {
        Some("not JSON")
    } else {
        None
    };
    Some((status, wrong.map(|wrong| format!("{wrong}: {status} {body}")).unwrap_or_default()))
}

async fn feed(world: &World, calls: &[Call], what: &str) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    let made = join_all(calls.iter().map(|call| make(world, call))).await;
    for (call, made) in calls.iter().zip(made) {
        let Some((status, wrong)) = made else { continue };
        if !wrong.is_empty() {
            let head = format!("{} {}\n", call.method, call.target);
            let kept = corpus::keep(Kind::Rest, &[head.as_bytes(), &call.body].concat());
            panic!("{what}: {wrong} to {call:?}, see {kept}");
        }
        *counts.entry(status).or_default() += 1;
    }
    let steps = world.app.drain(STEPS_MAX).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    assert!(steps < STEPS_MAX && !world.has_failed(), "{what}: the workers never rest");
    counts
}

on_both!(calls_that_once_broke_something_no_longer_do);
async fn calls_that_once_broke_something_no_longer_do(database: TestDatabase) {
    let world = World::ready(database).await;
    for (name, kept) in corpus::read(Kind::Rest) {
        let end = kept.iter().position(|byte| *byte == b'\n').expect("a line of address");
        let head = String::from_utf8_lossy(&kept[..end]).into_owned();
        let (method, target) = head.split_once(' ').expect("method and address");
        let call = Call {
            method: method.parse().expect("a method"),
            target: target.to_owned(),
            headers: Vec::new(),
            body: kept[end + 1..].to_vec(),
        };
        feed(&world, &[call], &name).await;
    }
}

on_both!(no_call_makes_the_api_fail);
async fn no_call_makes_the_api_fail(database: TestDatabase) {
    let (seed, until) = (super::seed(), corpus::deadline());
    let what = format!("FREELINE_FUZZ_SEED={seed}");
    let world = World::ready(database).await;
    let mut any = Source::new(calls(), seed);
    let mut fits = Source::new(fitting(), seed);
    let mut total: BTreeMap<u16, usize> = BTreeMap::new();
    while std::time::Instant::now() < until {
        let calls: Vec<Call> =
            (0..AT_ONCE).map(|n| if n % 2 == 0 { any.next() } else { fits.next() }).collect();
        for (status, count) in feed(&world, &calls, &what).await {
            *total.entry(status).or_default() += count;
        }
    }
    world.put("/directory", &crate::support::directory()).await;
    world.pay("a-good-one", "m3").await;
    world.settle().await;
    assert!(!world.has_failed());
    println!("{what}: {total:?}");
}
