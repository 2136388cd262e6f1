//! Stopped in good order: whoever watches is told first, what is in flight is answered, what is in
//! hand is finished or written down, and others go on at once.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use freeline::clock::{Clock as _, SystemClock};
use freeline::lifecycle::Tasks;
use freeline::sandbox::{Faults, Sandbox, SandboxConfig, SandboxHandle, line_id, user_id};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::kill::settle;
use super::{audit, town};
use crate::support::process::{LOOK_EVERY, Service, WITHIN, free_address};
use crate::support::relay::Relay;
use crate::support::{HOOK_TOKEN, TOKEN, TestDatabase, directory, on_both, on_both_engines};

/// What is promised of every stop.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The service before the platform, with nine free lines.
struct Stage {
    service: Service,
    sandbox: SandboxHandle,
    tasks: Tasks,
}

impl Stage {
    async fn ready(database: &TestDatabase, settings: &[(&str, String)]) -> Self {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let clock = std::sync::Arc::new(SystemClock);
        let sandbox = Sandbox::start(SandboxConfig::quick(), listener, &tasks, clock);
        let sandbox = sandbox.expect("a sandbox");
        let service = Service::start(&database.url(), &sandbox, settings).await;
        service.call(Method::PUT, "/directory", &directory()).await;
        let stage = Self { service, sandbox, tasks };
        stage.all_lines_are_free().await;
        stage
    }

    async fn all_lines_are_free(&self) {
        until("nine free lines", async || {
            let status = self.service.call(Method::GET, "/status", &Value::Null).await;
            status["lines"]["free"] == 9
        })
        .await;
    }

    /// Stops and starts it, and waits until it has looked at all lines again.
    async fn starts_anew(&mut self) {
        self.stop().await;
        let sandbox = self.sandbox.clone();
        let looks = || sandbox.calls("GET /v1/line/treatment/");
        let before = looks();
        self.service.run().await;
        until("a look at the lines", async || looks() > before).await;
        self.all_lines_are_free().await;
    }

    async fn pay(&self, key: &str) {
        let payment = self.service.try_call(Method::POST, "/payments", &payment(key)).await;
        payment.expect("the payment is taken");
    }

    fn set(&self, faults: Faults) {
        self.sandbox.set_faults(faults).expect("faults within bounds");
    }

    /// Asks it to stop and waits until it has; answers how long that took.
    async fn stop(&mut self) -> Duration {
        let asked = Instant::now();
        self.service.signal("TERM");
        self.stopped().await;
        asked.elapsed()
    }

    async fn stopped(&mut self) {
        let status = self.service.ended(STOP_WITHIN).await;
        let code = status.expect("it stops in time").code();
        assert_eq!(code, Some(0), "{}", self.service.log());
    }

    /// Starts it again, and waits until all its payments are on the platform.
    async fn goes_on(&mut self) {
        self.service.run().await;
        let client = self.service.client();
        until("every payment is dispatched", async || {
            let status = client.call(Method::GET, "/status", &Value::Null).await;
            ["queued", "sending", "in_doubt"].iter().all(|state| status["payments"][*state] == 0)
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Looks again and again at something that another process does.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    assert!(tokio::time::timeout(WITHIN, looking).await.is_ok(), "never came: {what}");
}

fn payment(key: &str) -> Value {
    json!({ "key": key, "manager": "m1", "amount": "1500.00", "paid_at": "2026-03-05T14:07:00Z" })
}

fn event(message: &str) -> String {
    let user = user_id(7).to_string();
    json!({ "event_type": "line", "event_source": "line", "message_id": message,
        "message_type": 1, "message_time": "2026-03-05T14:07:00.5Z", "line_id": line_id(9).as_str(),
        "user_id": user, "author_id": user, "treatment_id": format!("t-{message}"),
        "text": "Добрый день!" })
    .to_string()
}

/// A client with a connection of its own for each request.
fn visitor() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    client.build().expect("a client")
}

/// A request that was begun: the service has read its head and waits for its body.
struct Begun {
    stream: TcpStream,
    body: String,
}

impl Begun {
    /// Sends the head, waits until the service asks for the body, and sends the first half of it.
    async fn post(service: &Service, path: &str, token: &str, body: String) -> Self {
        let mut stream = TcpStream::connect(service.address()).await.expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: freeline\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("the head is sent");
        let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut asked).await.expect("it asks for the body");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        let half = body.len() / 2;
        stream.write_all(&body.as_bytes()[..half]).await.expect("half of it is sent");
        Self { stream, body }
    }

    /// Sends the other half; answers the whole answer, up to the end of the connection.
    async fn finish(mut self) -> String {
        let half = self.body.len() / 2;
        self.stream.write_all(&self.body.as_bytes()[half..]).await.expect("the rest is sent");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

on_both_engines! {
    async fn readiness_goes_off_first_while_requests_are_still_taken(database) {
        let grace = [("FREELINE_STOP_GRACE", "3s".to_owned())];
        let mut stage = Stage::ready(&database, &grace).await;
        let (visitor, base) = (visitor(), stage.service.base.clone());
        let ready = async || visitor.get(format!("{base}/readyz")).send().await.expect("an answer");
        assert_eq!(ready().await.status(), 200);

        stage.service.signal("TERM");
        until("it says that it stops", async || ready().await.status() == 503).await;
        let told = ready().await;
        assert_eq!(told.headers()["connection"], "close");
        let told: Value = told.json().await.expect("JSON");
        assert_eq!((&told["status"], &told["stopping"]), (&json!("stopping"), &json!(true)));
        let hook = visitor.post(format!("{base}/connect/hook/")).bearer_auth(HOOK_TOKEN);
        let kept = hook.header("content-type", "application/json").body(event("late")).send().await;
        assert_eq!(kept.expect("an answer").status(), 200);
        stage.pay("late").await;

        until("nobody is let in any more", async || {
            visitor.get(format!("{base}/livez")).send().await.is_err()
        })
        .await;
        stage.stopped().await;
        let mut tables = database.direct().await;
        let kept = tables.rows("SELECT message_id FROM events WHERE message_id = 'late'").await;
        assert_eq!(kept, [["late"]]);
        stage.goes_on().await;
        assert_eq!(stage.sandbox.message_count(), 1);
    }

    async fn a_request_whose_body_is_half_sent_at_the_signal_is_answered(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        let hook = "/connect/hook/";
        let event = Begun::post(&stage.service, hook, HOOK_TOKEN, event("halved")).await;
        let body = payment("halved").to_string();
        let payment = Begun::post(&stage.service, "/api/v1/payments", TOKEN, body).await;
        let address = stage.service.address();
        stage.service.signal("TERM");
        until("nobody is let in any more", async || TcpStream::connect(address).await.is_err()).await;

        let answer = event.finish().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let answer = payment.finish().await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        stage.stopped().await;
        let mut tables = database.direct().await;
        let kept = tables.rows("SELECT message_id FROM events WHERE message_id = 'halved'").await;
        assert_eq!(kept, [["halved"]]);
        assert_eq!(tables.rows("SELECT key FROM payments").await, [["halved"]]);
    }

    async fn whoever_holds_a_connection_does_not_hold_the_stop(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        let address = stage.service.address();
        let connect = async |bytes: &str| {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(bytes.as_bytes()).await.expect("bytes are sent");
            stream
        };
        let silent = connect("").await;
        let mut kept_alive = connect("GET /livez HTTP/1.1\r\nHost: freeline\r\n\r\n").await;
        kept_alive.read_exact(&mut [0; 15]).await.expect("an answer");
        let took = stage.stop().await;
        assert!(took < Duration::from_secs(5), "idle connections are closed at once: {took:?}");
        drop((silent, kept_alive));

        stage.service.run().await;
        let half_a_head = connect("POST /connect/hook/ HTTP/1.1\r\nHost: free").await;
        let hook = "/connect/hook/";
        let endless = Begun::post(&stage.service, hook, HOOK_TOKEN, event("endless")).await;
        stage.stop().await;
        drop((endless, half_a_head));
        let mut tables = database.direct().await;
        let kept = tables.rows("SELECT id FROM events WHERE message_id = 'endless'").await;
        assert!(kept.is_empty(), "what did not come whole is not kept");
    }

    async fn whoever_waits_for_changes_is_answered_at_the_signal(database) {
        // The request may be on its way yet when the signal comes: it is still taken for a while.
        let grace = [("FREELINE_STOP_GRACE", "3s".to_owned())];
        let mut stage = Stage::ready(&database, &grace).await;
        let url = format!("http://{}/api/v1/changes?after=now&wait=50", stage.service.address());
        let waiting = async {
            let answer = visitor().get(url).bearer_auth(TOKEN).send().await.expect("an answer");
            let status = answer.status();
            (status.as_u16(), answer.json::<Value>().await.expect("a page"))
        };
        let ((status, page), took) = tokio::join!(waiting, stage.stop());
        assert_eq!((status, &page["items"]), (200, &json!([])));
        assert!(page["next_cursor"].is_string(), "{page}");
        assert!(took < STOP_WITHIN, "{took:?}");
    }

    async fn calls_under_way_are_finished_and_nothing_is_in_doubt(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        stage.set(Faults { slow_ms: 2_000, lose: 1.0, ..Faults::default() });
        for key in ["a", "b", "c", "d", "e"] {
            stage.pay(key).await;
        }
        stage.sandbox.wait_for_messages(3).await;
        stage.stop().await;
        // Three lines of the manager take one each, and their answers were waited for.
        let mut tables = database.direct().await;
        let phases = "SELECT phase, CAST(COUNT(*) AS TEXT) FROM dispatches GROUP BY phase";
        assert_eq!(tables.rows(phases).await, [["sent", "3"]]);
        assert_eq!(stage.sandbox.message_count(), 3);
    }

    async fn a_call_that_outlasts_the_stop_is_a_doubt_that_the_next_start_settles(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        stage.set(Faults { slow_ms: 60_000, lose: 1.0, ..Faults::default() });
        stage.pay("slow").await;
        stage.sandbox.wait_for_messages(1).await;
        let took = stage.stop().await;
        assert!(took > Duration::from_secs(4), "the call gets time for its answer: {took:?}");
        let mut tables = database.direct().await;
        assert_eq!(tables.rows("SELECT phase FROM dispatches").await, [["in_doubt"]]);

        stage.set(Faults::default());
        stage.goes_on().await;
        assert_eq!(stage.sandbox.message_count(), 1, "it was found, not sent again");
        assert_eq!(tables.rows("SELECT phase FROM dispatches").await, [["open"]]);
    }

    async fn a_claim_that_waits_for_its_call_is_given_back(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        // What a start needs, and not one call more.
        let calls = |stage: &Stage| stage.sandbox.state().calls.values().sum::<u64>();
        let before = calls(&stage);
        stage.starts_anew().await;
        let needed = calls(&stage) - before;
        stage.service.change("FREELINE_CONNECT_RATE", format!("{needed}/h"));
        stage.starts_anew().await;
        stage.pay("waits").await;
        let mut tables = database.direct().await;
        let sending = "SELECT phase FROM dispatches WHERE phase = 'sending'";
        until("it is claimed", async || !tables.rows(sending).await.is_empty()).await;

        let took = stage.stop().await;
        assert!(took < Duration::from_millis(2_500), "it does not wait for the budget: {took:?}");
        let now = SystemClock.now().micros();
        let given_back = format!(
            "SELECT phase FROM dispatches WHERE owner IS NOT NULL AND lease_until IS NULL \
             AND due_at <= {now}"
        );
        assert_eq!(tables.rows(&given_back).await, [["reserved"]]);
        assert_eq!(stage.sandbox.message_count(), 0);
        stage.service.change("FREELINE_CONNECT_RATE", "100000/s");
        stage.goes_on().await;
        assert_eq!(stage.sandbox.message_count(), 1);
    }

    async fn the_lease_is_given_back(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        stage.stop().await;
        let now = SystemClock.now().micros();
        let mut tables = database.direct().await;
        let over = format!("SELECT name FROM leases WHERE until <= {now}");
        assert_eq!(tables.rows(&over).await, [["reconciler"]]);
    }

    async fn a_second_signal_ends_it_at_once(database) {
        let mut stage = Stage::ready(&database, &[("FREELINE_STOP_GRACE", "1m".to_owned())]).await;
        stage.set(Faults { slow_ms: 60_000, lose: 1.0, ..Faults::default() });
        stage.pay("slow").await;
        stage.sandbox.wait_for_messages(1).await;
        stage.service.signal("TERM");
        let (visitor, base) = (visitor(), stage.service.base.clone());
        until("it says that it stops", async || {
            let ready = visitor.get(format!("{base}/readyz")).send().await;
            ready.expect("an answer").status() == 503
        })
        .await;
        stage.service.signal("INT");
        let status = stage.service.ended(Duration::from_secs(3)).await.expect("it ends at once");
        assert_eq!(status.code(), Some(130));
        // As after SIGKILL: the call is in doubt, and settled.
        stage.set(Faults::default());
        stage.service.change("FREELINE_STOP_GRACE", "0s");
        stage.goes_on().await;
        assert_eq!(stage.sandbox.message_count(), 1);
    }

    async fn a_signal_during_the_start_is_obeyed(database) {
        let mut stage = Stage::ready(&database, &[]).await;
        stage.stop().await;
        for pause in (0..12).map(|n| Duration::from_millis(n * 12)) {
            stage.service.spawn();
            tokio::time::sleep(pause).await;
            stage.service.signal("TERM");
            let status = stage.service.ended(STOP_WITHIN).await.expect("it stops in time");
            // Before it listens for signals, the kernel ends it.
            let by_kernel = status.signal() == Some(15);
            assert!(status.success() || by_kernel, "{status:?}: {}", stage.service.log());
        }
        stage.service.run().await;
        stage.all_lines_are_free().await;
    }
}

on_both!(under_load_a_stop_takes_its_time_and_leaves_nothing_in_doubt);
async fn under_load_a_stop_takes_its_time_and_leaves_nothing_in_doubt(database: TestDatabase) {
    let tasks = Tasks::new();
    let sandbox = town::platform(1, &tasks).await;
    let slow = Faults { duplicate: 0.2, reorder: 0.2, slow_ms: 1_500, ..Faults::default() };
    sandbox.set_faults(Faults::default()).expect("faults within bounds");
    let address = free_address().await;
    let (relay, through) = Relay::start(address, &tasks).await;
    let settings = [
        ("FREELINE_HOOK_URL", format!("http://{through}/")),
        ("FREELINE_STOP_GRACE", "1s".to_owned()),
    ];
    let mut service = Service::prepare_at(&database.url(), &sandbox, address, &settings);
    service.run().await;
    service.call(Method::PUT, "/directory", &town::directory()).await;
    until("all lines are known", async || {
        let status = service.call(Method::GET, "/status", &Value::Null).await;
        status["lines"]["unknown"] == 0
    })
    .await;
    sandbox.set_faults(slow).expect("faults within bounds");
    let enough = CancellationToken::new();
    town::people(&sandbox, 1, &enough, &tasks);
    let erp = town::Erp {
        client: service.client(),
        sandbox: sandbox.clone(),
        seed: 1,
        enough: enough.clone(),
        acknowledged: AtomicUsize::new(0),
    };
    let stopping = async {
        for _ in 0..2 {
            sandbox.wait_for_messages(sandbox.message_count() + 20).await;
            service.signal("TERM");
            let status = service.ended(STOP_WITHIN).await.expect("it stops in time");
            assert_eq!(status.code(), Some(0), "{}", service.log());
            let mut tables = database.direct().await;
            let doubts = "SELECT id FROM dispatches WHERE phase IN ('sending', 'in_doubt')";
            assert!(tables.rows(doubts).await.is_empty(), "{}", service.log());
            service.run().await;
        }
        enough.cancel();
    };
    let (paid, ()) = tokio::join!(erp.work(), stopping);
    sandbox.set_faults(Faults::default()).expect("faults within bounds");
    settle(&erp.client, &sandbox).await;
    service.signal("TERM");
    assert_eq!(service.ended(STOP_WITHIN).await.and_then(|status| status.code()), Some(0));
    audit::messages_fit(&paid, &sandbox);
    let doubts = audit::tables_fit(&database, &paid, &relay.seen()).await;
    assert_eq!(doubts.payments, 0, "{doubts:?}");
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_goes_on_at_once() {
    let database = TestDatabase::postgres().await;
    let second = free_address().await;
    // The platform posts to the one that stays.
    let hook = [("FREELINE_HOOK_URL", format!("http://{second}/connect/hook/"))];
    let mut stage = Stage::ready(&database, &hook).await;
    let mut other = Service::prepare_at(&database.url(), &stage.sandbox, second, &hook);
    other.run().await;
    let mut tables = database.direct().await;
    let holder = "SELECT owner FROM leases";
    let first = tables.rows(holder).await;

    let asked = Instant::now();
    stage.stop().await;
    until("the other one has the lease", async || tables.rows(holder).await != first).await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(6), "it need not wait for the lease to run out: {took:?}");
    other.call(Method::POST, "/payments", &payment("next")).await;
    let sent = tokio::time::timeout(WITHIN, stage.sandbox.wait_for_messages(1)).await;
    assert!(sent.is_ok(), "{}", other.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_the_locks_of_a_process_that_was_killed() {
    let database = TestDatabase::postgres().await;
    let mut stage = Stage::ready(&database, &[]).await;
    stage.stop().await;
    // PostgreSQL has not noticed yet that whoever took a decision is gone.
    let mut gone = database.direct().await;
    let decides = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended(\
         'freeline/decisions/' || current_schema(), 0))";
    gone.run(decides).await.expect("the lock");
    stage.service.spawn();
    until("the start is held up", async || stage.service.log().contains("is held up")).await;
    gone.run("ROLLBACK").await.expect("the lock is free");
    until("it has started", async || {
        stage.service.try_call(Method::GET, "/status", &Value::Null).await.is_some()
    })
    .await;
}
