//! Tests of the sandbox: its memory alone, and the whole over real loopback connections.

mod calls;
mod controls;
mod conversations;
mod deliveries;
mod files;
mod lives;
mod receiver;
mod traces;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::clock::SystemClock;
use crate::core::id::{LineId, UserId};
use crate::lifecycle::Tasks;

use super::{
    LOGIN, PASSWORD, Sandbox, SandboxConfig, SandboxHandle, line_id, specialist_id, user_id,
};
use receiver::Receiver;

/// A running sandbox with a client that knows its password.
struct World {
    handle: SandboxHandle,
    client: reqwest::Client,
    tasks: Tasks,
}

impl World {
    async fn start(config: SandboxConfig) -> Self {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let handle = Sandbox::start(config, listener, &tasks, Arc::new(SystemClock)).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { handle, client, tasks }
    }

    async fn quick() -> Self {
        Self::start(SandboxConfig::quick()).await
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.handle.url());
        self.client.request(method.parse().unwrap(), url).basic_auth(LOGIN, Some(PASSWORD))
    }

    /// Status and body of a call.
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let mut request = self.request(method, path);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Registers the receiver for everything of all lines.
    async fn hook_all(&self, receiver: &Receiver) {
        let body = json!({"type": "line", "url": receiver.url()});
        assert_eq!(self.call("POST", "/v1/hook/", body).await, (200, String::new()));
    }

    /// Registers the receiver as the bot of a line.
    async fn hook_bot(&self, receiver: &Receiver, line: &LineId) {
        let body = json!({"type": "bot", "id": line.as_str(), "url": receiver.url()});
        assert_eq!(self.call("POST", "/v1/hook/", body).await, (200, String::new()));
    }
}

fn l(number: u16) -> LineId {
    line_id(number)
}

fn u(number: u16) -> UserId {
    user_id(number)
}

fn s(number: u16) -> UserId {
    specialist_id(number)
}

/// A message of a specialist, which needs no bot.
fn as_specialist(line: u16, text: &str) -> Value {
    json!({
        "line_id": l(line).as_str(),
        "user_id": u(1).as_str(),
        "author_id": s(1).as_str(),
        "bot_as_spec": true,
        "text": text,
    })
}
