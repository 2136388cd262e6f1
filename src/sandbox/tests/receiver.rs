//! A callback URL that keeps what it gets and answers as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::lifecycle::Tasks;

/// What the receiver got, and how it answers.
#[derive(Clone)]
pub(super) struct Receiver {
    addr: std::net::SocketAddr,
    kept: Arc<Kept>,
}

struct Kept {
    bodies: Mutex<Vec<String>>,
    authorizations: Mutex<Vec<Option<String>>>,
    /// How many of the first requests are answered 503.
    failures: Mutex<usize>,
    /// How many requests came, as it grows.
    count: watch::Sender<usize>,
}

impl Receiver {
    pub(super) async fn start(tasks: &Tasks, failures: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let kept = Arc::new(Kept {
            bodies: Mutex::new(Vec::new()),
            authorizations: Mutex::new(Vec::new()),
            failures: Mutex::new(failures),
            count: watch::Sender::new(0),
        });
        let router = Router::new().route("/", post(take)).with_state(Arc::clone(&kept));
        let stopping = tasks.clone();
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopping.stopping().await });
        tasks.spawn("receiver", async move { serving.await.unwrap() });
        Self { addr, kept }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The bodies, as they came.
    pub(super) fn texts(&self) -> Vec<String> {
        self.kept.bodies.lock().unwrap().clone()
    }

    /// The bodies, read.
    pub(super) fn events(&self) -> Vec<Value> {
        self.texts().iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    pub(super) fn types(&self) -> Vec<i64> {
        self.events().iter().map(|event| event["message_type"].as_i64().unwrap()).collect()
    }

    /// Waits until an event of this type has come.
    pub(super) async fn wait_for_type(&self, message_type: i64) {
        let mut count = self.kept.count.subscribe();
        let came = count.wait_for(|_| self.types().contains(&message_type));
        tokio::time::timeout(std::time::Duration::from_secs(10), came).await.unwrap().unwrap();
    }

    /// The texts of the events of type 1.
    pub(super) fn said(&self) -> Vec<String> {
        let events = self.events();
        let messages = events.iter().filter(|event| event["message_type"] == 1);
        messages.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn authorizations(&self) -> Vec<Option<String>> {
        self.kept.authorizations.lock().unwrap().clone()
    }
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: String) -> StatusCode {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().into());
    kept.authorizations.lock().unwrap().push(authorization);
    kept.bodies.lock().unwrap().push(body);
    kept.count.send_modify(|count| *count += 1);
    let mut failures = kept.failures.lock().unwrap();
    if *failures == 0 {
        return StatusCode::OK;
    }
    *failures -= 1;
    StatusCode::SERVICE_UNAVAILABLE
}
