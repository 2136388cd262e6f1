//! Changes are sent to the ERP: signed, in order, at least once, and parked when it never takes
//! them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freeline::core::time::Span;
use freeline::lifecycle::Tasks;
use freeline::sandbox::{TECHNICAL_USER_ID, line_id};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{Setup, TestDatabase, World, on_both};

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];

/// What the receiver does with one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Says(u16),
    SaysLater(u16, &'static str),
    /// It takes the request and never answers.
    Hangs,
}

/// One request as it came.
#[derive(Clone)]
struct Got {
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn seq(&self) -> i64 {
        self.json()["data"]["seq"].as_i64().expect("a number")
    }

    /// The signatures that the specification asks for, by RFC 2104 and FIPS 180-4 alone.
    fn expected_signatures(&self) -> Vec<String> {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = format!("{id}.{timestamp}.{}", self.body);
        let sign = |secret: &str| {
            let mut key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
            key.resize(64, 0);
            let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
            let inner = Sha256::digest([pad(0x36), signed.clone().into_bytes()].concat());
            let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
            format!("v1,{}", STANDARD.encode(outer))
        };
        SECRETS.map(sign).to_vec()
    }
}

/// A receiver over real HTTP that does what it is told, and 204 when nothing is left to do.
#[derive(Clone)]
struct Erp {
    url: String,
    script: Arc<Mutex<VecDeque<Does>>>,
    always: Arc<Mutex<Does>>,
    got: Arc<Mutex<Vec<Got>>>,
    heard: Arc<Notify>,
}

impl Erp {
    async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let erp = Self {
            url: format!("http://{}/hs/freeline", listener.local_addr().expect("its address")),
            script: Arc::default(),
            always: Arc::new(Mutex::new(Does::Says(204))),
            got: Arc::default(),
            heard: Arc::default(),
        };
        let router = Router::new().fallback(take).with_state(erp.clone());
        tasks.spawn("erp", async move {
            axum::serve(listener, router).await.expect("it serves until it is dropped");
        });
        erp
    }

    fn then(&self, does: impl IntoIterator<Item = Does>) {
        self.script.lock().unwrap().extend(does);
    }

    fn always(&self, does: Does) {
        *self.always.lock().unwrap() = does;
    }

    /// What came since this was asked last.
    fn got(&self) -> Vec<Got> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }

    fn seqs(&self) -> Vec<i64> {
        self.got().iter().map(Got::seq).collect()
    }

    fn setup(&self) -> Setup {
        Setup::default()
            .with("FREELINE_PUSH_URL", self.url.clone())
            .with("FREELINE_PUSH_SECRET", SECRETS.join(" "))
    }
}

async fn take(State(erp): State<Erp>, headers: HeaderMap, body: String) -> Response {
    erp.got.lock().unwrap().push(Got { headers, body });
    erp.heard.notify_one();
    let next = erp.script.lock().unwrap().pop_front();
    let does = next.unwrap_or_else(|| *erp.always.lock().unwrap());
    let status = |status: u16| StatusCode::from_u16(status).expect("a status");
    match does {
        Does::Says(code) => (status(code), Bytes::from_static(b"whatever")).into_response(),
        Does::SaysLater(code, after) => (status(code), [("retry-after", after)]).into_response(),
        Does::Hangs => std::future::pending().await,
    }
}

/// An ERP, and a service that sends it every change from now on.
async fn stage(database: TestDatabase) -> (Erp, World, Tasks) {
    let tasks = Tasks::new();
    let erp = Erp::start(&tasks).await;
    let world = World::ready_with(database, erp.setup()).await;
    assert_eq!(erp.seqs(), Vec::<i64>::new(), "nothing has happened yet");
    (erp, world, tasks)
}

/// A payment that is held, so that it has one change and no other follows.
async fn held(world: &World, key: &str) -> String {
    world.pay_with(json!({ "key": key, "manager": "m1", "hold": "wait" })).await
}

async fn replay(world: &World, path: &str) -> (u16, Value) {
    world.call(Method::POST, &format!("/changes/parked/{path}"), None).await
}

on_both!(every_change_is_sent_signed_and_in_its_order);
async fn every_change_is_sent_signed_and_in_its_order(database: TestDatabase) {
    let (erp, world, tasks) = stage(database).await;
    let id = world.pay("k", "m1").await;
    world.settle().await;
    let user = TECHNICAL_USER_ID.into();
    world.sandbox.close(&line_id(1), &user, 82).await.unwrap();
    world.settle().await;
    let got = erp.got();
    let feed = world.get("/changes").await;
    let sent: Vec<Value> = got.iter().map(|one| one.json()["data"].clone()).collect();
    assert_eq!(Value::from(sent), feed["items"], "what is sent is what is read");
    for one in &got {
        let body = one.json();
        let (kind, state) = (&body["data"]["kind"], &body["data"]["state"]);
        let name = format!("{}.{}", kind.as_str().unwrap(), state.as_str().unwrap());
        assert_eq!((&body["type"], &body["timestamp"]), (&Value::from(name), &body["data"]["at"]));
        assert_eq!(one.header("content-type"), "application/json");
        let signatures: Vec<&str> = one.header("webhook-signature").split(' ').collect();
        assert_eq!(signatures, one.expected_signatures());
    }
    let of_payment = |body: &Value| body["data"]["id"] == *id;
    let last = got.iter().map(Got::json).rfind(of_payment).unwrap();
    assert_eq!(last["type"], "payment.closed");
    let ids: std::collections::BTreeSet<&str> =
        got.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), got.len(), "an id of its own for each");
    let status = world.get("/status").await;
    assert_eq!((&status["push"]["waiting"], &status["push"]["parked"]), (&json!(0), &json!(0)));
    tasks.stop();
}

on_both!(one_that_fails_is_sent_again_and_only_its_own_object_waits_for_it);
async fn one_that_fails_is_sent_again_and_only_its_own_object_waits_for_it(database: TestDatabase) {
    let (erp, world, tasks) = stage(database).await;
    erp.then([Does::Says(500)]);
    let first = held(&world, "k1").await;
    world.settle().await;
    let [refused] = erp.got().try_into().ok().expect("one");
    let words = json!({ "reason": "go" });
    world.post(&format!("/payments/{first}/cancel"), &words).await;
    held(&world, "k2").await;
    world.settle().await;
    let others = erp.got();
    assert_eq!(others.iter().map(Got::seq).collect::<Vec<_>>(), [refused.seq() + 2]);
    world.clock.advance(Span::from_secs(5));
    world.settle().await;
    let again = erp.got();
    assert_eq!(
        again.iter().map(Got::seq).collect::<Vec<_>>(),
        [refused.seq(), refused.seq() + 1],
        "the second one after the first one"
    );
    assert_eq!(again[0].header("webhook-id"), refused.header("webhook-id"));
    assert_eq!(again[0].body, refused.body);
    let stamps = [&refused, &again[0]].map(|one| one.header("webhook-timestamp").to_owned());
    assert_ne!(stamps[0], stamps[1], "signed for the moment of each try");
    tasks.stop();
}

on_both!(a_receiver_that_asks_for_time_gets_it_and_all_that_waited_when_it_is_back);
async fn a_receiver_that_asks_for_time_gets_it_and_all_that_waited_when_it_is_back(
    database: TestDatabase,
) {
    let (erp, world, tasks) = stage(database).await;
    erp.then([Does::SaysLater(503, "600"), Does::SaysLater(503, "600")]);
    held(&world, "k1").await;
    held(&world, "k2").await;
    world.settle().await;
    assert_eq!(erp.got().len(), 2);
    world.pass(540).await;
    assert_eq!(erp.got().len(), 0);
    held(&world, "k3").await;
    world.settle().await;
    let seqs = erp.seqs();
    assert_eq!(seqs.len(), 3);
    assert!(
        seqs[0] > seqs[1] && seqs[1] < seqs[2],
        "the new one, then those that waited: {seqs:?}"
    );
    tasks.stop();
}

on_both!(one_that_is_never_taken_is_parked_shown_and_replayed);
async fn one_that_is_never_taken_is_parked_shown_and_replayed(database: TestDatabase) {
    let (erp, world, tasks) = stage(database).await;
    erp.always(Does::Says(422));
    let id = held(&world, "k1").await;
    world.settle().await;
    for _ in 0..25 {
        world.clock.advance(Span::from_secs(10_800));
        world.settle().await;
    }
    let tries = erp.got();
    assert_eq!(tries.len(), 19);
    let parked = world.get("/changes/parked").await;
    let seq = tries[0].seq();
    assert_eq!(parked["items"].as_array().unwrap().len(), 1, "{parked}");
    let item = &parked["items"][0];
    assert_eq!((&item["seq"], &item["tries"]), (&json!(seq), &json!(19)));
    assert_eq!(item["detail"], "the receiver answered 422");
    assert_eq!(item["change"], tries[0].json()["data"]);
    assert_eq!(world.get("/status").await["push"]["parked"], 1);

    // It is not in the way of what comes after it.
    erp.always(Does::Says(200));
    world.post(&format!("/payments/{id}/cancel"), &json!({ "reason": "no" })).await;
    world.settle().await;
    assert_eq!(erp.seqs(), [seq + 1]);

    assert_eq!(replay(&world, "999/replay").await.0, 404);
    assert_eq!(replay(&world, "x/replay").await.0, 404);
    assert_eq!(replay(&world, &format!("{seq}/replay")).await, (200, json!({ "replayed": 1 })));
    world.settle().await;
    let [replayed] = erp.got().try_into().ok().expect("one");
    assert_eq!(replayed.header("webhook-id"), tries[0].header("webhook-id"));
    assert_eq!(world.get("/changes/parked").await["items"], json!([]));
    assert_eq!(replay(&world, &format!("{seq}/replay")).await.0, 404, "it is not parked any more");
    assert_eq!(replay(&world, "replay").await, (200, json!({ "replayed": 0 })));
    tasks.stop();
}

on_both!(a_receiver_that_is_gone_gets_nothing_more_until_a_person_asks);
async fn a_receiver_that_is_gone_gets_nothing_more_until_a_person_asks(database: TestDatabase) {
    let (erp, world, tasks) = stage(database).await;
    erp.then([Does::Says(410)]);
    held(&world, "k1").await;
    world.settle().await;
    held(&world, "k2").await;
    world.pass(60).await;
    assert_eq!(erp.got().len(), 1);
    assert!(world.get("/status").await["push"]["stopped_at"].is_string());
    assert_eq!(replay(&world, "replay").await, (200, json!({ "replayed": 1 })));
    world.settle().await;
    assert_eq!(erp.got().len(), 2, "the parked one, and the one that waited");
    assert!(world.get("/status").await["push"]["stopped_at"].is_null());
    tasks.stop();
}

on_both!(a_process_that_dies_while_it_sends_sends_the_same_again_at_its_next_start);
async fn a_process_that_dies_while_it_sends_sends_the_same_again_at_its_next_start(
    database: TestDatabase,
) {
    let (erp, world, tasks) = stage(database).await;
    erp.then([Does::Hangs]);
    held(&world, "k1").await;
    tokio::select! {
        () = world.settle() => panic!("the receiver never answers"),
        () = erp.heard.notified() => {}
    }
    let [lost] = erp.got().try_into().ok().expect("one");
    let world = world.restart().await;
    world.settle().await;
    assert_eq!(erp.got().len(), 0, "its claim still holds");
    world.pass(60).await;
    let [again] = erp.got().try_into().ok().expect("one");
    assert_eq!(again.header("webhook-id"), lost.header("webhook-id"));
    assert_eq!(again.body, lost.body);
    tasks.stop();
}
