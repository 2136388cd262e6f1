//! The resources against a database in memory, without the routes around them.

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{Context, Parts, directory, events, history, lines, payments, status, treatments};
use crate::clock::{Clock, ManualClock};
use crate::config::HookAuth;
use crate::connect::BackAuth;
use crate::connect::budget::{Budget, Rate};
use crate::connect::client::{ConnectClient, ConnectSettings, Timeouts};
use crate::connect::wire;
use crate::core::dispatch::{Policy, SendMode};
use crate::core::time::{Span, Time};
use crate::health::Health;
use crate::ids::RandomIds;
use crate::lifecycle::Tasks;
use crate::store::sqlite::SqliteStore;
use crate::store::{NewEvent, Rules, Store};
use crate::wake::Wake;

struct Service {
    context: Context,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
}

impl Service {
    async fn start(name: &str) -> Self {
        let rules = Rules {
            policy: Policy { mode: SendMode::Bot, in_doubt_after: Span::from_secs(30) },
            default_user: Some("u1".into()),
            default_author: None,
            read_event: |body| wire::read_event(body).map_err(|error| error.to_string()),
            hand_over: true,
            look_after_silence: Span::from_secs(7_200),
            notices_are_sent: false,
        };
        let store = SqliteStore::open_in_memory(name, rules, Wake::default()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let start = Time::parse_rfc3339("2026-03-05T11:07:00Z").unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let platform = ConnectSettings {
            // Nobody is there.
            base_url: "http://127.0.0.1:9".parse().unwrap(),
            login: "freeline".to_owned(),
            password: "secret".into(),
            hook_url: "http://127.0.0.1:9/connect/hook/".to_owned(),
            hook_auth: BackAuth::None,
            timeouts: Timeouts::default(),
        };
        let budget = Budget::new(&Rate::parse("20/s").unwrap());
        let watch = Arc::<ManualClock>::clone(&clock);
        let context = Context::new(Parts {
            chat: Arc::new(ConnectClient::new(platform, budget, watch).unwrap()),
            default_mode: SendMode::Bot,
            findings: Arc::default(),
            store: Arc::clone(&store),
            clock: Arc::<ManualClock>::clone(&clock),
            ids: Arc::new(RandomIds::from_seed(7)),
            health: Arc::new(Health::default()),
            wake: Wake::default(),
            tasks: Tasks::new(),
            api_tokens: &[],
            hook_auth: &HookAuth::None,
            mail_configured: false,
        });
        Self { context, store, clock }
    }

    async fn with_directory(name: &str) -> Self {
        let service = Self::start(name).await;
        let body = json!({
            "managers": [{"id": "m1", "name": "Анна", "email": "a@b"}],
            "lines": [
                {"line_id": "l1", "name": "1", "manager": "m1"},
                {"line_id": "l2", "name": "2", "manager": "m1"},
            ],
            "counterparties": [{"id": "c1", "name": "Ромашка", "manager": "m1"}],
        });
        let answer = told(directory::replace(service.state(), bytes(&body)).await).await;
        assert_eq!(answer.1, json!({"managers": 1, "lines": 2, "counterparties": 1}));
        service
    }

    fn state(&self) -> State<Context> {
        State(self.context.clone())
    }

    async fn pay(&self, key: &str) -> Value {
        let body = payment(key);
        let (code, answer) = told(payments::create(self.state(), bytes(&body)).await).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
        self.clock.advance(Span::from_secs(1));
        answer
    }

    async fn hear(&self, body: Value) {
        let body = body.to_string().into_bytes();
        let event = wire::read_event(&body).map_err(|error| error.to_string());
        let event = NewEvent { received_at: self.clock.now(), event, body };
        self.store.keep_events(&[event]).await.unwrap();
        self.store.apply_events(self.clock.now(), 100).await.unwrap();
    }
}

fn payment(key: &str) -> Value {
    json!({"key": key, "counterparty": "c1", "amount": "5.00", "paid_at": "2026-03-05T11:00:00Z"})
}

fn bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

fn query(text: &str) -> RawQuery {
    RawQuery(Some(text.to_owned()))
}

fn path(id: &str) -> Path<String> {
    Path(id.to_owned())
}

fn id_of(answer: &Value) -> Path<String> {
    path(answer["id"].as_str().unwrap())
}

async fn told(answer: impl IntoResponse) -> (StatusCode, Value) {
    let response = answer.into_response();
    let code = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (code, serde_json::from_slice(&body).unwrap())
}

/// The values of one field of a page, and its cursor as a query.
fn page(answer: &Value, field: &str) -> (Vec<Value>, Option<String>) {
    let items = answer["items"].as_array().unwrap();
    let cursor = answer["next_cursor"].as_str().map(|cursor| format!("&cursor={cursor}"));
    (items.iter().map(|item| item[field].clone()).collect(), cursor)
}

#[tokio::test]
async fn a_payment_is_taken_in_once() {
    let service = Service::with_directory("taken_once").await;
    let response = payments::create(service.state(), bytes(&payment("k1"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let (_, first) = told(response).await;
    assert_eq!(location, format!("/api/v1/payments/{}", first["id"].as_str().unwrap()));
    assert_eq!(first["state"], "queued");
    assert_eq!(first["reason_code"], "queued");
    assert_eq!(first["reason"], "waits for a free line");
    assert_eq!(first["manager"], "m1");
    assert_eq!(first["given_manager"], Value::Null);
    assert_eq!(first["user_id"], "u1");
    assert_eq!(first["amount"], "5.00");
    assert_eq!(first["timeline"][0]["at"], "2026-03-05T11:07:00Z");
    assert_eq!(first["why"][0]["code"], "queued");
    let on_line = json!({"code": "line_unknown", "line_id": "l1",
        "text": "what is open on the line is not known yet (line l1)"});
    assert!(first["why"].as_array().unwrap().contains(&on_line), "{first}");
    let again = told(payments::create(service.state(), bytes(&payment("k1"))).await).await;
    assert_eq!(again, (StatusCode::OK, first.clone()));
    let mut other = payment("k1");
    other["amount"] = "6.00".into();
    let (code, problem) = told(payments::create(service.state(), bytes(&other)).await).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert_eq!(problem["code"], "key_conflict");
    let id = first["id"].as_str().unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(id), "{problem}");
    let (_, shown) = told(payments::show(service.state(), id_of(&first)).await).await;
    assert_eq!(shown, first);
}

#[tokio::test]
async fn a_person_moves_a_payment() {
    let service = Service::with_directory("person_moves").await;
    let created = service.pay("k1").await;
    let reason = || bytes(&json!({"reason": "asked to wait"}));
    let (code, held) = told(payments::hold(service.state(), id_of(&created), reason()).await).await;
    assert_eq!((code, &held["state"]), (StatusCode::OK, &json!("held")));
    assert_eq!(held["reason"], "held by a person: asked to wait");
    let released = payments::release(service.state(), id_of(&created), reason()).await;
    assert_eq!(told(released).await.1["state"], "queued");
    let cancelled = payments::cancel(service.state(), id_of(&created), reason()).await;
    assert_eq!(told(cancelled).await.1["state"], "cancelled");
    let refused = payments::retry(service.state(), id_of(&created), reason()).await;
    let (code, problem) = told(refused).await;
    assert_eq!((code, &problem["code"]), (StatusCode::CONFLICT, &json!("wrong_state")));
    assert_eq!(
        problem["detail"],
        "it is cancelled, and retry is possible only while it is rejected or in_doubt"
    );
    for nobody in ["nobody", "a\u{0}b", ""] {
        let (code, _) = told(payments::hold(service.state(), path(nobody), reason()).await).await;
        assert_eq!(code, StatusCode::NOT_FOUND, "{nobody:?}");
    }
}

#[tokio::test]
async fn payments_are_listed_page_by_page_in_both_orders() {
    let service = Service::with_directory("payment_pages").await;
    let mut first = Value::Null;
    for key in ["k1", "k2", "k3"] {
        let created = service.pay(key).await;
        if key == "k1" {
            first = created;
        }
    }
    let reason = bytes(&json!({"reason": "asked to wait"}));
    let held = told(payments::hold(service.state(), id_of(&first), reason).await).await;
    assert_eq!(held.0, StatusCode::OK);
    for (filter, order) in [
        ("limit=2", ["k1", "k2", "k3"]),
        ("limit=2&updated_after=2026-01-01T00:00:00Z", ["k2", "k3", "k1"]),
    ] {
        let (_, answer) = told(payments::list(service.state(), query(filter)).await).await;
        let (mut keys, cursor) = page(&answer, "key");
        let next = format!("{filter}{}", cursor.unwrap());
        let (_, answer) = told(payments::list(service.state(), query(&next)).await).await;
        let (rest, cursor) = page(&answer, "key");
        keys.extend(rest);
        assert_eq!(keys, order, "{filter}");
        assert_eq!(cursor, None);
    }
    let (_, held) = told(payments::list(service.state(), query("state=held")).await).await;
    assert_eq!(page(&held, "key").0, ["k1"]);
    assert_eq!(held["items"][0].get("timeline"), None);
}

#[tokio::test]
async fn the_directory_is_changed_entry_by_entry() {
    let service = Service::with_directory("directory_entries").await;
    let boris = bytes(&json!({"name": "Борис", "email": "b@b", "specialist_id": "s2"}));
    let (code, put) = told(directory::put_manager(service.state(), path("m2"), boris).await).await;
    assert_eq!(code, StatusCode::OK);
    let (_, shown) = told(directory::show_manager(service.state(), path("m2")).await).await;
    assert_eq!(shown, put);
    let line = bytes(&json!({"name": "3", "manager": "m2", "capacity": 3}));
    let (_, put) = told(directory::put_line(service.state(), path("l3"), line).await).await;
    assert_eq!(put["capacity"], 3);
    let stray = || bytes(&json!({"name": "x", "manager": "m9"}));
    let (code, problem) =
        told(directory::put_line(service.state(), path("l4"), stray()).await).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let unknown =
        json!([{"pointer": "/manager", "message": "the directory has no manager \"m9\""}]);
    assert_eq!(problem["errors"], unknown);
    let (_, problem) =
        told(directory::put_counterparty(service.state(), path("c2"), stray()).await).await;
    assert_eq!(problem["errors"], unknown);
    let daisy = bytes(&json!({"name": "Мак", "manager": "m2", "inn": "7707083893"}));
    let (_, put) =
        told(directory::put_counterparty(service.state(), path("c2"), daisy).await).await;
    let (_, shown) = told(directory::show_counterparty(service.state(), path("c2")).await).await;
    assert_eq!(shown, put);
    let (code, _) = told(directory::show_counterparty(service.state(), path("c9")).await).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    let (_, list) = told(directory::list_managers(service.state(), RawQuery(None)).await).await;
    assert_eq!(page(&list, "id"), (vec![json!("m1"), json!("m2")], None));
    let (_, list) =
        told(directory::list_counterparties(service.state(), query("limit=1")).await).await;
    let (ids, cursor) = page(&list, "id");
    assert_eq!(ids, ["c1"]);
    let next = query(&cursor.unwrap());
    let (_, list) = told(directory::list_counterparties(service.state(), next).await).await;
    assert_eq!(page(&list, "id"), (vec![json!("c2")], None));
    let (_, whole) = told(directory::show(service.state()).await).await;
    let (code, _) = told(directory::replace(service.state(), bytes(&whole)).await).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(told(directory::show(service.state()).await).await.1, whole);
}

#[tokio::test]
async fn a_line_is_paused_and_resumed() {
    let service = Service::with_directory("line_pause").await;
    let reason = bytes(&json!({"reason": "being repaired"}));
    let (_, paused) = told(lines::pause(service.state(), path("l1"), reason.clone()).await).await;
    assert_eq!(paused["state"], "paused");
    assert_eq!(paused["paused"], "being repaired");
    let (_, list) = told(lines::list(service.state(), query("state=paused")).await).await;
    assert_eq!(list["items"], json!([paused]));
    let (_, resumed) = told(lines::resume(service.state(), path("l1"), Bytes::new()).await).await;
    assert_eq!((&resumed["state"], &resumed["paused"]), (&json!("unknown"), &Value::Null));
    let (code, _) = told(lines::pause(service.state(), path("l9"), reason).await).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    let (_, list) = told(lines::list(service.state(), query("limit=1")).await).await;
    let (ids, cursor) = page(&list, "line_id");
    assert_eq!(ids, ["l1"]);
    let (_, list) = told(lines::list(service.state(), query(&cursor.unwrap())).await).await;
    assert_eq!(page(&list, "line_id"), (vec![json!("l2")], None));
    assert_eq!(told(lines::show(service.state(), path("l1")).await).await.1, resumed);
}

#[tokio::test]
async fn a_conversation_is_read_page_by_page_and_each_message_once() {
    let service = Service::with_directory("conversation").await;
    let event = |source: &str, number: i64, message_type: i64| {
        json!({
            "event_type": "line", "event_source": source, "message_type": message_type,
            "message_id": format!("m{number}"), "line_id": "l1", "user_id": "u1",
            "author_id": "u1", "treatment_id": "t1", "text": format!("text {number}"),
            "message_time": format!("2026-03-05T10:00:{number:02}Z"),
        })
    };
    for number in 1..=3 {
        service.hear(event("line", number, 1)).await;
        service.hear(event("bot", number, 1)).await;
    }
    service.hear(event("line", 4, 82)).await;
    let (_, one) = told(treatments::show(service.state(), path("t1")).await).await;
    assert_eq!((&one["state"], &one["end_kind"]), (&json!("closed"), &json!("closed")));
    let (_, list) =
        told(treatments::list(service.state(), query("state=closed&line_id=l1")).await).await;
    assert_eq!(list["items"], json!([one]));
    let messages = |text: &str| history::of_treatment(service.state(), path("t1"), query(text));
    let mut said = Vec::new();
    let mut next = String::new();
    loop {
        let (code, answer) = told(messages(&format!("limit=1{next}")).await).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
        let (texts, cursor) = page(&answer, "text");
        said.extend(texts);
        match cursor {
            Some(cursor) => next = cursor,
            None => break,
        }
    }
    assert_eq!(said, ["text 1", "text 2", "text 3"]);
    let nobody = history::of_treatment(service.state(), path("t9"), RawQuery(None)).await;
    assert_eq!(told(nobody).await.0, StatusCode::NOT_FOUND);
    let (_, kept) = told(events::list(service.state(), query("message_type=82")).await).await;
    assert_eq!(kept["items"][0]["body"], event("line", 4, 82));
    let (_, kept) = told(events::list(service.state(), query("limit=3&after=1")).await).await;
    assert_eq!(
        page(&kept, "id"),
        (vec![json!(2), json!(3), json!(4)], Some("&cursor=4".to_owned()))
    );
}

#[tokio::test]
async fn the_status_counts() {
    let service = Service::with_directory("status_counts").await;
    service.pay("k1").await;
    let (code, status) = told(status::show(service.state()).await).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(status["payments"]["queued"], 1);
    assert_eq!(status["payments"]["held"], 0);
    assert_eq!(status["lines"]["unknown"], 2);
    assert_eq!(status["oldest_waiting"]["age_seconds"], 1);
    assert_eq!(status["platform"]["reachable"], Value::Null);
    assert_eq!(status["mail"]["configured"], false);
}
