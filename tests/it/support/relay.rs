//! A witness between the platform and the service: hands every event over and remembers what the
//! service said about it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use freeline::lifecycle::Tasks;
use serde_json::Value;
use tokio::net::TcpListener;

/// What makes an event the same one (`design.md` 6): message, type, source, line.
pub(crate) type EventKey = [String; 4];

/// Hands events over to the service, wherever it is in its life.
#[derive(Clone)]
pub(crate) struct Relay {
    target: String,
    http: reqwest::Client,
    seen: Arc<Mutex<Seen>>,
}

/// What the witness has seen.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    /// The events that were answered with 200, each with its body.
    pub(crate) acknowledged: BTreeMap<EventKey, String>,
    /// Answers with 200, copies included.
    pub(crate) answers: u64,
    /// Hand-overs that came to nothing: nobody there, or cut off in the middle.
    pub(crate) cut_off: u64,
    /// Answers of 503: to be repeated.
    pub(crate) unavailable: u64,
    /// Every other answer: wrong, whatever it is.
    pub(crate) wrong: Vec<(u16, String)>,
}

impl Relay {
    /// Hands over to `target`; answers the address to hand over through.
    pub(crate) async fn start(target: SocketAddr, tasks: &Tasks) -> (Self, SocketAddr) {
        freeline::lifecycle::install_tls();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let target = format!("http://{target}/connect/hook/");
        let relay = Self { target, http, seen: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().route("/", post(hand_over)).with_state(relay.clone());
        let stopping = tasks.clone();
        tasks.spawn("relay", async move {
            let serving = axum::serve(listener, router);
            tokio::select! {
                served = serving => served.expect("the relay serves"),
                () = stopping.stopping() => {}
            }
        });
        (relay, address)
    }

    /// What it has seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn hand_over(State(relay): State<Relay>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let call = relay.http.post(&relay.target).body(body.clone());
    let told = [header::AUTHORIZATION, header::CONTENT_TYPE];
    let told = told.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    let answer = call.headers(told.collect()).send().await;
    let Ok(answer) = answer else {
        relay.note(|seen| seen.cut_off += 1);
        return StatusCode::BAD_GATEWAY;
    };
    let status = answer.status();
    match status {
        StatusCode::OK => {
            let text = String::from_utf8(body.to_vec()).expect("the platform's text");
            relay.note(|seen| {
                seen.answers += 1;
                seen.acknowledged.entry(key(&text)).or_insert(text);
            });
        }
        StatusCode::SERVICE_UNAVAILABLE => relay.note(|seen| seen.unavailable += 1),
        other => {
            let words = answer.text().await.unwrap_or_default();
            relay.note(|seen| seen.wrong.push((other.as_u16(), words)));
        }
    }
    status
}

fn key(body: &str) -> EventKey {
    let event: Value = serde_json::from_str(body).expect("an event");
    ["message_id", "message_type", "event_source", "line_id"].map(|field| match &event[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}
