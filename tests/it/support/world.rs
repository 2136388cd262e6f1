//! The whole application against the sandbox, over real HTTP, stepped by hand.
//!
//! Nothing waits for time: workers are stepped until there is nothing to do, the sandbox says when
//! its events are delivered, and the clock moves only when somebody looks at it or a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use freeline::app::{App, Surroundings};
use freeline::clock::Clock;
use freeline::config::{Env, Settings};
use freeline::core::id::LineId;
use freeline::core::time::{Span, Time};
use freeline::ids::RandomIds;
use freeline::lifecycle::Tasks;
use freeline::sandbox::{
    Sandbox, SandboxConfig, SandboxHandle, TECHNICAL_USER_ID, line_id, specialist_id,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::TestDatabase;

/// Token of the tests that may write.
pub(crate) const TOKEN: &str = "a-secret-of-the-tests";
/// Token that may only read.
pub(crate) const READ_TOKEN: &str = "a-secret-that-only-reads";
/// What the platform must send.
pub(crate) const HOOK_TOKEN: &str = "a-secret-of-the-hook";
/// How often the workers are stepped while time passes: a service that rests longer was away.
const TICK_SECS: i64 = 30;
/// Steps after which a test is told that the workers never rest.
const STEPS_MAX: usize = 20_000;

/// A clock that moves one millisecond each time somebody looks: no two events share their time.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, span: Span) {
        self.0.fetch_add(span.micros(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        Time::from_micros(self.0.fetch_add(1_000, Ordering::SeqCst))
    }
}

/// What a test may want otherwise.
pub(crate) struct Setup {
    pub(crate) sandbox: SandboxConfig,
    /// Settings beside the usual ones, or in their place.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { sandbox: SandboxConfig::quick(), settings: Vec::new() }
    }
}

impl Setup {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }
}

/// The application, its database, the sandbox, and the clock they share.
pub(crate) struct World {
    pub(crate) sandbox: SandboxHandle,
    pub(crate) app: App,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) base: String,
    http: reqwest::Client,
    tasks: StopAtEnd,
    platform: StopAtEnd,
    settings: Vec<(&'static str, String)>,
    database: TestDatabase,
}

impl World {
    /// With three managers of three lines each, ready for payments.
    pub(crate) async fn ready(database: TestDatabase) -> Self {
        Self::ready_with(database, Setup::default()).await
    }

    pub(crate) async fn ready_with(database: TestDatabase, setup: Setup) -> Self {
        let world = Self::start(database, setup).await;
        world.put("/directory", &directory()).await;
        world.settle().await;
        world
    }

    /// Without a directory, and nothing stepped yet.
    pub(crate) async fn start(database: TestDatabase, setup: Setup) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_780_000_000_000_000)));
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let shared: Arc<dyn Clock> = clock.clone();
        let sandbox = Sandbox::start(setup.sandbox, listener, &tasks, shared).expect("a sandbox");
        Self::against(database, sandbox, clock, StopAtEnd(tasks), setup.settings).await
    }

    async fn against(
        database: TestDatabase,
        sandbox: SandboxHandle,
        clock: Arc<TestClock>,
        platform: StopAtEnd,
        settings: Vec<(&'static str, String)>,
    ) -> Self {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("its address"));
        let env = environment(&base, &database, &sandbox, &settings);
        let read = Settings::read(&env).unwrap_or_else(|problems| panic!("{problems}"));
        let ids = Arc::new(RandomIds::from_system());
        let around = Surroundings { clock: clock.clone(), ids, tasks: tasks.clone() };
        let app = App::build(&read, around).await.expect("the application is put together");
        app.serve_http(listener);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let tasks = StopAtEnd(tasks);
        Self { sandbox, app, clock, base, http, tasks, platform, settings, database }
    }

    /// A second process on the same database, behind the same address; stepped apart.
    pub(crate) async fn replica(&self) -> Replica {
        let tasks = Tasks::new();
        let env = environment(&self.base, &self.database, &self.sandbox, &self.settings);
        let read = Settings::read(&env).unwrap_or_else(|problems| panic!("{problems}"));
        let ids = Arc::new(RandomIds::from_system());
        let around = Surroundings { clock: self.clock.clone(), ids, tasks: tasks.clone() };
        let app = App::build(&read, around).await.expect("a replica is put together");
        Replica { app, _tasks: StopAtEnd(tasks) }
    }

    /// Stops the application as a crash would, and starts it anew on the same database.
    pub(crate) async fn restart(self) -> Self {
        let Self { sandbox, app, clock, tasks, platform, settings, database, .. } = self;
        app.store().close().await;
        drop((app, tasks));
        Self::against(database, sandbox, clock, platform, settings).await
    }

    /// The database it runs on.
    pub(crate) fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Changes a setting for the next start.
    pub(crate) fn change(&mut self, name: &'static str, value: &str) {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
    }

    /// Steps everything until there is nothing left to do.
    pub(crate) async fn settle(&self) {
        let idle = 7;
        loop {
            self.sandbox.quiesce().await;
            let steps = self.app.drain(STEPS_MAX).await.expect("the workers step");
            assert!(steps < STEPS_MAX, "the workers never rest");
            if steps == idle {
                break;
            }
        }
        let broken = self.app.audit().await.expect("the auditor looks");
        assert!(broken.is_empty(), "broken promises: {broken:?}");
    }

    /// Lets time pass while the workers run.
    pub(crate) async fn pass(&self, seconds: i64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(TICK_SECS);
            self.clock.advance(Span::from_secs(step));
            self.settle().await;
            left -= step;
        }
    }

    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let call = self.http.request(method, format!("{}/api/v1{path}", self.base));
        let call = call.bearer_auth(TOKEN);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = call.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("its text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(reqwest::Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Value {
        let (status, body) = self.call(reqwest::Method::PUT, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    /// A payment for a manager; answers its id.
    pub(crate) async fn pay(&self, key: &str, manager: &str) -> String {
        self.pay_with(json!({ "key": key, "manager": manager })).await
    }

    /// A payment with these fields and defaults for the others; answers its id.
    pub(crate) async fn pay_with(&self, fields: Value) -> String {
        let mut body = json!({ "amount": "1500.00", "paid_at": "2026-03-05T14:07:00Z" });
        let object = body.as_object_mut().expect("an object");
        object.extend(fields.as_object().expect("an object").clone());
        let (status, body) = self.post("/payments", &body).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn payment(&self, id: &str) -> Value {
        self.get(&format!("/payments/{id}")).await
    }

    pub(crate) async fn state(&self, id: &str) -> String {
        self.payment(id).await["state"].as_str().expect("a state").to_owned()
    }

    pub(crate) async fn line_state(&self, line: &LineId) -> String {
        let line = self.get(&format!("/lines/{line}")).await;
        line["state"].as_str().expect("a state").to_owned()
    }

    /// A request to a path outside the API.
    pub(crate) async fn plain(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Whether one of its tasks died.
    pub(crate) fn has_failed(&self) -> bool {
        self.tasks.0.has_failed()
    }

    /// How often the platform was asked for open treatments.
    pub(crate) fn looks(&self) -> u64 {
        self.sandbox.calls("GET /v1/line/treatment/")
    }
}

/// Another process of the same service.
pub(crate) struct Replica {
    app: App,
    _tasks: StopAtEnd,
}

impl Replica {
    /// Steps everything until there is nothing left to do.
    pub(crate) async fn settle(&self) {
        let steps = self.app.drain(STEPS_MAX).await.expect("the workers step");
        assert!(steps < STEPS_MAX, "the workers never rest");
    }
}

/// Tasks that stop when this goes.
struct StopAtEnd(Tasks);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn environment(
    base: &str,
    database: &TestDatabase,
    sandbox: &SandboxHandle,
    others: &[(&'static str, String)],
) -> Env {
    let mut env = vec![
        ("FREELINE_LISTEN", base.trim_start_matches("http://").to_owned()),
        ("FREELINE_METRICS_LISTEN", String::new()),
        ("FREELINE_DATABASE_URL", database.url()),
        ("FREELINE_HOOK_URL", format!("{base}/connect/hook/")),
        ("FREELINE_HOOK_TOKEN", HOOK_TOKEN.to_owned()),
        ("FREELINE_CONNECT_URL", sandbox.url()),
        ("FREELINE_CONNECT_LOGIN", sandbox.config().login.clone()),
        ("FREELINE_CONNECT_PASSWORD", sandbox.config().password.clone()),
        ("FREELINE_CONNECT_RATE", "100000/s".to_owned()),
        ("FREELINE_API_TOKENS", format!("erp:write:{TOKEN},page:read:{READ_TOKEN}")),
        ("FREELINE_DISPATCH_USER_ID", TECHNICAL_USER_ID.to_owned()),
        ("FREELINE_STOP_GRACE", "0s".to_owned()),
    ];
    for (name, value) in others {
        env.retain(|(known, _)| known != name);
        env.push((name, value.clone()));
    }
    let given: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, &**value)).collect();
    given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Three managers, `m1` to `m3`, with three lines each, and a counterparty of each.
pub(crate) fn directory() -> Value {
    let managers = (1..=3).map(|n| {
        json!({ "id": format!("m{n}"), "name": format!("Менеджер {n}"),
            "email": format!("m{n}@example.org"), "specialist_id": specialist_id(n).as_str() })
    });
    let lines = (1..=9).map(|n| {
        json!({ "line_id": line_id(n).as_str(), "name": format!("Линия {n}"),
            "manager": format!("m{}", (n - 1) / 3 + 1), "position": n })
    });
    let counterparties = (1..=3).map(|n| {
        json!({ "id": format!("c{n}"), "name": format!("ООО «Покупатель {n}»"),
            "inn": format!("770000000{n}"), "manager": format!("m{n}") })
    });
    json!({ "managers": managers.collect::<Vec<_>>(), "lines": lines.collect::<Vec<_>>(),
        "counterparties": counterparties.collect::<Vec<_>>() })
}
