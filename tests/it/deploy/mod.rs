//! `deploy/nginx.conf` as it stands, before the real program.
//!
//! The second replica is a stub that takes every request and says 503.

mod bsl;
mod onec;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use freeline::clock::SystemClock;
use freeline::lifecycle::Tasks;
use freeline::sandbox::{FIRST_LINE_ID, Sandbox, SandboxConfig, SandboxHandle, TECHNICAL_USER_ID};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::nginx::{Nginx, UP_WITHIN};
use crate::support::process::Service;
use crate::support::{HOOK_TOKEN, TOKEN, TestDatabase};

/// The whole house: platform, service, a replica in trouble, and nginx in front.
struct House {
    nginx: Nginx,
    service: Service,
    database: TestDatabase,
    tasks: Tasks,
    sandbox: SandboxHandle,
    /// Requests that reached the replica in trouble.
    troubled: Arc<AtomicUsize>,
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port of this machine")
}

/// A replica that is reached and says each time that it cannot.
async fn start_troubled(tasks: &Tasks) -> (SocketAddr, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reached);
    let router = Router::new().fallback(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(StatusCode::SERVICE_UNAVAILABLE)
    });
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    tasks.spawn("troubled replica", async move {
        axum::serve(listener, router).await.expect("it serves until it is dropped");
    });
    (address, reached)
}

impl House {
    async fn open() -> Self {
        let (database, tasks) = (TestDatabase::sqlite(), Tasks::new());
        let config = SandboxConfig::quick().with_lines(1);
        let sandbox =
            Sandbox::start(config, listener().await, &tasks, Arc::new(SystemClock)).unwrap();
        let (trouble, troubled) = start_troubled(&tasks).await;
        let settings = [("FREELINE_LOG", "info".to_owned())];
        let service = Service::start(&database.url(), &sandbox, &settings).await;
        let nginx = Nginx::start(&[service.address(), trouble]).await;
        Self { nginx, service, database, tasks, sandbox, troubled }
    }

    async fn close(self) {
        let Self { nginx, service, tasks, database, .. } = self;
        drop((nginx, service, database));
        tasks.shutdown(Duration::ZERO).await;
    }
}

/// A user's first words: a treatment opens.
fn first_words(text: &str) -> String {
    json!({
        "event_type": "line", "event_source": "line", "message_type": 1,
        "message_id": "00000000-0000-4000-8000-000000000001",
        "message_time": "2026-03-05T11:07:00.5Z", "line_id": FIRST_LINE_ID,
        "user_id": TECHNICAL_USER_ID, "author_id": TECHNICAL_USER_ID,
        "treatment_id": "00000000-0000-4000-8000-000000000002", "text": text,
    })
    .to_string()
}

async fn json_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn an_event_comes_in_although_one_replica_cannot_store_it() {
    let house = House::open().await;
    for _ in 0..4 {
        let answer =
            house.nginx.event(HOOK_TOKEN, first_words("Здравствуйте")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert!(house.troubled.load(Ordering::SeqCst) > 0, "the other replica was never tried");
    let events = json_of(house.nginx.get("/api/v1/events").await).await;
    assert_eq!(events["items"][0]["copies"], 4, "{events}");
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{events}");

    let without_slash =
        house.nginx.client.post(house.nginx.url("/connect/hook")).bearer_auth(HOOK_TOKEN);
    let answer = without_slash.body(first_words("again")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    house.close().await;
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let house = House::open().await;
    // Twice, so that the answer is not the troubled replica's alone.
    for _ in 0..2 {
        let answer = house.nginx.event("another-token", first_words("x")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(json_of(answer).await["code"], "unauthorized");
    }
    let large = first_words(&"x".repeat(1024 * 1024));
    let answer = house.nginx.event(HOOK_TOKEN, large).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let id = answer.headers().get("x-request-id").cloned();
    let problem = json_of(answer).await;
    assert_eq!(problem["code"], "body_too_large", "{problem}, {id:?}");
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32, "{problem}");
    house.close().await;
}

#[tokio::test]
async fn the_api_answers_with_the_id_that_both_logs_have() {
    let house = House::open().await;
    let call = house.nginx.client.get(house.nginx.url("/api/v1/status")).bearer_auth(TOKEN);
    let answer = call.header("x-request-id", "a-callers-own").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(id.len(), 32, "{id}: it is nginx's own");
    let lines = house.nginx.log_lines(1).await;
    assert!(lines[0].ends_with(&format!("id={id}")), "{lines:?}");
    let log = house.service.log();
    assert!(log.contains(&format!("request.id={id}")), "{log}");

    let anonymous = house.nginx.client.get(house.nginx.url("/api/v1/status")).send().await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(house.nginx.get("/readyz").await.status(), StatusCode::OK);
    assert_eq!(house.nginx.get("/sandbox/state").await.status(), StatusCode::NOT_FOUND);
    let plain = house.nginx.client.get(format!("http://{}/api/v1/status", house.nginx.plain));
    let moved = plain.send().await.unwrap();
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    house.close().await;
}

#[tokio::test]
async fn a_post_of_the_api_that_reached_a_replica_is_not_repeated_on_the_other() {
    let house = House::open().await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let call = house.nginx.client.post(house.nginx.url("/api/v1/payments")).bearer_auth(TOKEN);
        let answer = call.json(&json!({})).send().await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [422, 503], "one replica answered each");
    assert_eq!(house.troubled.load(Ordering::SeqCst), 1);
    // A GET may be, and the directory is a PUT: both find the replica that works.
    for _ in 0..2 {
        assert_eq!(house.nginx.get("/api/v1/status").await.status(), StatusCode::OK);
    }
    house.close().await;
}

#[tokio::test]
async fn a_large_directory_comes_in_and_its_payment_goes_out() {
    let house = House::open().await;
    let name = "Ромашка ".repeat(20);
    let counterparty =
        |n: usize| json!({"id": format!("c{n}"), "name": name.trim(), "manager": "m1"});
    let directory = json!({
        "managers": [{"id": "m1", "name": "Анна Смирнова", "email": "smirnova@example.com"}],
        "lines": [{"line_id": FIRST_LINE_ID, "name": "Смирнова 1", "manager": "m1"}],
        "counterparties": (0..6_000).map(counterparty).collect::<Vec<_>>(),
    });
    let body = directory.to_string();
    assert!(body.len() > 1024 * 1024, "{}", body.len());
    let put = house.nginx.client.put(house.nginx.url("/api/v1/directory")).bearer_auth(TOKEN);
    let put = put.header("content-type", "application/json").body(body);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::OK);

    let payment = json!({
        "key": "k1", "counterparty": "c7", "amount": "12345.67",
        "paid_at": "2026-03-05T14:07:00+03:00",
    });
    // The caller's part of the bargain: what got no answer of ours is sent again, with its key.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&201) && statuses.len() < 3 {
        let call = house.nginx.client.post(house.nginx.url("/api/v1/payments")).bearer_auth(TOKEN);
        statuses.push(call.json(&payment).send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses.last(), Some(&201), "{statuses:?}");
    let sent = tokio::time::timeout(UP_WITHIN, house.sandbox.next_message()).await.unwrap();
    assert!(sent.text.contains("12"), "{}", sent.text);
    house.close().await;
}
