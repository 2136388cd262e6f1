//! The service as a process under steady load, watched from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use freeline::clock::SystemClock;
use freeline::core::number::Number;
use freeline::core::time::Time;
use freeline::lifecycle::Tasks;
use freeline::sandbox::people::{self, PeopleConfig};
use freeline::sandbox::{Sandbox, SandboxConfig, SandboxHandle};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::process::{LOOK_EVERY, Service};
use crate::support::{HOOK_TOKEN, TOKEN, directory, event};

/// The service works again this soon after what it depends on does.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(5);
/// It has ended this soon after it was asked to, whatever is down.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// Whoever calls it is answered within this time, whatever is down.
const ANSWERS_WITHIN: Duration = Duration::from_secs(12);
/// It says that it lives within this time.
const LIVES_WITHIN: Duration = Duration::from_secs(1);
/// After this time a story whose end comes in seconds has failed.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Between two rounds of calls.
const ROUND: Duration = Duration::from_millis(200);
/// The line of the events that a test sends: none of ours.
const ELSEWHERE: &str = "elsewhere";

/// The service, the platform, and what the service has acknowledged.
pub(crate) struct Bench {
    pub(crate) service: Service,
    pub(crate) sandbox: SandboxHandle,
    http: reqwest::Client,
    serial: AtomicUsize,
    /// Message ids of events that were answered with 200.
    kept: Mutex<BTreeSet<String>>,
    /// Payments that were answered with 201: their numbers and ids.
    paid: Mutex<BTreeMap<String, String>>,
    tasks: Tasks,
}

/// What was seen while something was down.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// Answers to events, counted by status.
    pub(crate) events: BTreeMap<u16, usize>,
    /// Answers to payments, counted by status.
    pub(crate) payments: BTreeMap<u16, usize>,
    /// What `/readyz` said: status and word.
    pub(crate) ready: BTreeSet<(u16, String)>,
    /// The longest wait for an answer.
    pub(crate) slowest: Duration,
    /// Lines of the log about trouble.
    pub(crate) lines: usize,
    /// How long it was looked at.
    pub(crate) lasted: Duration,
}

impl Seen {
    /// Every event and every payment was refused, and `/readyz` said so.
    pub(crate) fn all_refused(&self) {
        let refused = |answers: &BTreeMap<u16, usize>| answers.get(&503).copied().unwrap_or(0);
        assert!(refused(&self.events) > 0 && self.events.len() == 1, "{self:?}");
        assert!(refused(&self.payments) > 0 && self.payments.len() == 1, "{self:?}");
        assert!(self.ready.iter().all(|(status, _)| *status == 503), "{self:?}");
    }

    /// Everything was taken in, and `/readyz` said so.
    pub(crate) fn none_refused(&self) {
        assert_eq!(self.events.keys().collect::<Vec<_>>(), [&200], "{self:?}");
        assert_eq!(self.payments.keys().collect::<Vec<_>>(), [&201], "{self:?}");
        assert!(self.ready.iter().all(|(status, _)| *status == 200), "{self:?}");
    }
}

/// What a call was answered.
enum Answered {
    Event(u16, Duration),
    Payment(u16, Duration),
    Ready(u16, String, Duration),
}

/// A platform whose people close every treatment soon.
async fn platform(tasks: &Tasks) -> SandboxHandle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    // It repeats its events for longer than anything here is down.
    let config = SandboxConfig {
        retry_after: Duration::from_secs(1),
        copies_max: 120,
        ..SandboxConfig::quick()
    };
    let sandbox =
        Sandbox::start(config, listener, tasks, Arc::new(SystemClock)).expect("a sandbox");
    let people = PeopleConfig {
        take_after: Duration::from_millis(1)..=Duration::from_millis(2),
        close_after: Duration::from_millis(5)..=Duration::from_millis(15),
        rated: 0.0,
        ..PeopleConfig::default()
    };
    people::start(sandbox.clone(), people, tasks);
    sandbox
}

impl Bench {
    /// Starts everything on a database, and waits until it works.
    pub(crate) async fn start(database_url: &str) -> Self {
        Self::start_behind(database_url, async |address| address).await
    }

    /// The same, with the service's calls to the platform led elsewhere.
    pub(crate) async fn start_behind(
        database_url: &str,
        lead: impl AsyncFnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let tasks = Tasks::new();
        let sandbox = platform(&tasks).await;
        let platform = lead(sandbox.addr()).await;
        let settings = [
            ("FREELINE_LOG", "info".to_owned()),
            ("FREELINE_CONNECT_URL", format!("http://{platform}")),
        ];
        let service = Service::start(database_url, &sandbox, &settings).await;
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERS_WITHIN);
        let bench = Self {
            service,
            sandbox,
            http: http.build().expect("a client"),
            serial: AtomicUsize::new(0),
            kept: Mutex::default(),
            paid: Mutex::default(),
            tasks,
        };
        bench.service.call(reqwest::Method::PUT, "/directory", &directory()).await;
        bench.works().await;
        bench
    }

    fn serial(&self) -> usize {
        self.serial.fetch_add(1, Ordering::SeqCst)
    }

    /// Sends an event of `bytes` bytes or more; answers its status.
    pub(crate) async fn send_event(&self, bytes: usize) -> u16 {
        let id = format!("fault-{}", self.serial());
        let now = Time::from_micros(1_780_000_000_000_000);
        let body = event::text(&id, (ELSEWHERE, "somebody", "some-treatment"), now);
        // What does not repeat is not made smaller on its way to the disk.
        let mut noise = 0x2545_f491_4f6c_dd1d_u64;
        let text = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            format!("{noise:016x}")
        });
        let text: String = text.take(bytes / 16).collect();
        let body = event::with(body, json!({ "text": text }));
        let url = format!("{}/connect/hook/", self.service.base);
        let answer = self.http.post(url).bearer_auth(HOOK_TOKEN).json(&body).send().await;
        let answer = answer.expect("an answer in time");
        let status = answer.status().as_u16();
        assert!(status == 200 || (status == 503 && says_when(&answer)), "{answer:?}");
        if status == 200 {
            self.kept.lock().unwrap().insert(id);
        }
        status
    }

    /// Hands a payment of the manager with this number over; answers its status and number.
    pub(crate) async fn pay(&self, manager: usize) -> (u16, String) {
        let key = format!("fault-{}", self.serial());
        let body = json!({ "key": key, "counterparty": format!("c{manager}"),
            "amount": "100.00", "paid_at": "2026-03-05T14:07:00Z" });
        let url = format!("{}/api/v1/payments", self.service.base);
        let answer = self.http.post(url).bearer_auth(TOKEN).json(&body).send().await;
        let answer = answer.expect("an answer in time");
        let status = answer.status().as_u16();
        assert!(status == 201 || (status == 503 && says_when(&answer)), "{answer:?}");
        let body: Value = answer.json().await.expect("a body");
        if status != 201 {
            return (status, String::new());
        }
        let text = |field: &str| body[field].as_str().expect("a text").to_owned();
        self.paid.lock().unwrap().insert(text("number"), text("id"));
        (status, text("number"))
    }

    /// Whether it lives and is ready.
    pub(crate) async fn ready(&self) -> (u16, String) {
        let asked = Instant::now();
        let answer = self.http.get(format!("{}/livez", self.service.base)).send().await;
        assert_eq!(answer.expect("it lives").status(), 200);
        assert!(asked.elapsed() < LIVES_WITHIN, "{:?}", asked.elapsed());
        let answer = self.http.get(format!("{}/readyz", self.service.base)).send().await;
        let answer = answer.expect("an answer in time");
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("a body");
        (status, body["status"].as_str().expect("a word").to_owned())
    }

    /// Calls it steadily for `lasting`, and waits for what is still to be answered.
    pub(crate) async fn press(&self, lasting: Duration) -> Seen {
        let (began, before) = (Instant::now(), self.lines());
        let mut seen = Seen::default();
        let mut calls: FuturesUnordered<BoxFuture<'_, Answered>> = FuturesUnordered::new();
        let mut rounds = tokio::time::interval(ROUND);
        while began.elapsed() < lasting || !calls.is_empty() {
            tokio::select! {
                _ = rounds.tick(), if began.elapsed() < lasting => {
                    let asked = Instant::now();
                    calls.push(async move {
                        Answered::Event(self.send_event(16).await, asked.elapsed())
                    }.boxed());
                    calls.push(async move {
                        Answered::Payment(self.pay(1).await.0, asked.elapsed())
                    }.boxed());
                    calls.push(async move {
                        let (status, word) = self.ready().await;
                        Answered::Ready(status, word, asked.elapsed())
                    }.boxed());
                }
                Some(answered) = calls.next() => {
                    let took = match answered {
                        Answered::Event(status, took) => {
                            *seen.events.entry(status).or_default() += 1;
                            took
                        }
                        Answered::Payment(status, took) => {
                            *seen.payments.entry(status).or_default() += 1;
                            took
                        }
                        Answered::Ready(status, word, took) => {
                            seen.ready.insert((status, word));
                            took
                        }
                    };
                    seen.slowest = seen.slowest.max(took);
                }
            }
        }
        seen.lasted = began.elapsed();
        seen.lines = self.lines() - before;
        eprintln!("while it lasted: {seen:?}");
        assert!(seen.lines <= most_lines(seen.lasted), "{seen:?}\n{}", self.service.log());
        assert!(seen.slowest < ANSWERS_WITHIN, "{seen:?}");
        seen
    }

    /// Lines of the log that tell of trouble with something else. A payment that is in doubt is told
    /// of too, once.
    fn lines(&self) -> usize {
        let log = self.service.log();
        let trouble = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR "));
        trouble.filter(|line| !line.contains(" is in doubt")).count()
    }

    /// Waits until an event and a payment are taken in and the payment's message has gone out.
    async fn works(&self) -> Duration {
        let began = Instant::now();
        let all = async {
            while self.send_event(16).await != 200 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let heard = began.elapsed();
            // Of a manager whom nobody else keeps busy.
            let number = loop {
                match self.pay(3).await {
                    (201, number) => break number,
                    _ => tokio::time::sleep(LOOK_EVERY).await,
                }
            };
            let paid = began.elapsed();
            eprintln!("an event is kept after {heard:?}, a payment taken after {paid:?}");
            while !self.sandbox.messages().iter().any(|message| message.text.contains(&number)) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let ended = tokio::time::timeout(ENDS_WITHIN, all).await;
        assert!(ended.is_ok(), "it does not work: {}", self.service.log());
        began.elapsed()
    }

    /// What it depends on is there again: it works soon, and says so.
    pub(crate) async fn is_back(&self) {
        let took = self.works().await;
        eprintln!("back after {took:?}");
        assert!(took < BACK_WITHIN, "back after {took:?}: {}", self.service.log());
        assert_eq!(self.ready().await.0, 200);
    }

    /// It is asked to stop while something is down: it does so in time, and cleanly.
    pub(crate) async fn stops(&mut self) {
        let began = Instant::now();
        self.service.signal("TERM");
        let status = self.service.ended(STOPS_WITHIN).await;
        eprintln!("stopped after {:?}: {status:?}", began.elapsed());
        let status = status.unwrap_or_else(|| panic!("it does not stop: {}", self.service.log()));
        assert!(status.success(), "{status}: {}", self.service.log());
    }

    /// Nothing that was acknowledged is missing, and no message went out twice.
    pub(crate) async fn check(&self) {
        let kept = self.kept_events().await;
        let missing: Vec<_> = self.kept.lock().unwrap().difference(&kept).cloned().collect();
        assert!(missing.is_empty(), "events are lost: {missing:?}");
        let paid = self.paid.lock().unwrap().clone();
        let all_closed = async {
            let mut open: Vec<String> = paid.values().cloned().collect();
            while !open.is_empty() {
                let states = join_all(open.iter().map(|id| self.state(id))).await;
                let mut states = states.into_iter();
                open.retain(|_| states.next().expect("a state for each") != "closed");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let ended = tokio::time::timeout(ENDS_WITHIN, all_closed).await;
        assert!(ended.is_ok(), "payments stay open: {}", self.service.log());
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for message in self.sandbox.messages() {
            for number in Number::find_all(&message.text) {
                *sent.entry(number.to_string()).or_default() += 1;
            }
        }
        assert!(sent.values().all(|times| *times == 1), "sent twice: {sent:?}");
        let missing: Vec<_> = paid.keys().filter(|number| !sent.contains_key(*number)).collect();
        assert!(missing.is_empty(), "never sent: {missing:?}");
    }

    async fn state(&self, id: &str) -> String {
        let path = format!("/payments/{id}");
        let payment = self.service.call(reqwest::Method::GET, &path, &Value::Null).await;
        payment["state"].as_str().expect("a state").to_owned()
    }

    /// Message ids of all events of the test that it has.
    async fn kept_events(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/events?line_id={ELSEWHERE}&limit=100{cursor}");
            let page = self.service.call(reqwest::Method::GET, &path, &Value::Null).await;
            let items = page["items"].as_array().expect("events").clone();
            let ids = items.iter().map(|item| item["body"]["message_id"].as_str().expect("an id"));
            found.extend(ids.map(ToOwned::to_owned));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// One line a second, and one for the second that had begun.
fn most_lines(lasted: Duration) -> usize {
    usize::try_from(lasted.as_secs()).expect("seconds") + 2
}

/// Whether a refusal says when to come again.
fn says_when(answer: &reqwest::Response) -> bool {
    answer.headers().contains_key(reqwest::header::RETRY_AFTER)
}
