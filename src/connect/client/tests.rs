mod conversation;
mod files;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::ManualClock;
use crate::connect::SendMode;
use crate::connect::budget::Rate;
use crate::core::outcome::NotDone;
use crate::core::time::{Span, Time};

/// What the server does with one request, after it has read it.
#[derive(Clone)]
enum Step {
    /// Writes these bytes.
    Answer(String),
    /// Writes these bytes and closes the connection.
    AnswerAndClose(String),
    /// Waits until the client goes away.
    Silence,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn answer(head: &str, body: &str) -> Step {
    Step::Answer(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A server that follows a script, one connection after the other, and keeps what it was asked.
struct Server {
    listener: TcpListener,
    requests: Mutex<Vec<String>>,
}

impl Server {
    async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, requests: Mutex::default() }
    }

    fn url(&self, scheme: &str) -> Url {
        format!("{scheme}://{}", self.listener.local_addr().unwrap()).parse().unwrap()
    }

    /// Follows the script while `client` runs; a request beyond the script gets a 200.
    async fn run<T>(&self, steps: &[Step], client: impl Future<Output = T>) -> T {
        let mut steps = steps.iter();
        let serve = async {
            loop {
                let (mut socket, _) = self.listener.accept().await.unwrap();
                while let Some(request) = read_request(&mut socket).await {
                    self.requests.lock().unwrap().push(request);
                    match steps.next().cloned().unwrap_or_else(|| Step::Answer(OK.to_owned())) {
                        Step::Answer(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                        Step::AnswerAndClose(text) => {
                            socket.write_all(text.as_bytes()).await.unwrap();
                            break;
                        }
                        Step::Silence => drop(socket.read(&mut [0; 16]).await),
                    }
                }
            }
        };
        tokio::select! { () = serve => unreachable!(), result = client => result }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn posts(&self) -> usize {
        self.requests().iter().filter(|request| request.starts_with("POST ")).count()
    }
}

/// One request, head and body; `None` when the connection is closed.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

const LONG: Timeouts = Timeouts {
    connect: Duration::from_secs(20),
    total: Duration::from_secs(30),
    file: FILE_CALL_MAX,
};
const SHORT: Timeouts = Timeouts {
    connect: Duration::from_millis(300),
    total: Duration::from_millis(600),
    file: Duration::from_millis(900),
};

fn now() -> Time {
    Time::parse_rfc3339("2015-10-21T07:28:00Z").unwrap()
}

fn client(base_url: Url, timeouts: Timeouts) -> ConnectClient {
    client_at(base_url, timeouts, Arc::new(ManualClock::new(now())))
}

fn client_at(base_url: Url, timeouts: Timeouts, clock: Arc<dyn Clock>) -> ConnectClient {
    let settings = ConnectSettings {
        base_url,
        login: "api".to_owned(),
        password: "pass-word".into(),
        hook_url: "https://we/connect/hook/".to_owned(),
        hook_auth: BackAuth::Bearer { token: "hook-token".into() },
        timeouts,
    };
    let budget = Budget::with_wait(&Rate::parse("100/h").unwrap(), Duration::from_millis(10));
    ConnectClient::new(settings, budget, clock).unwrap()
}

fn message() -> OutgoingMessage {
    OutgoingMessage {
        line: "L".into(),
        user: "U".into(),
        author: Some("S".into()),
        mode: SendMode::Bot,
        notification_only: false,
        general_settings: true,
        keyboard: None,
        text: "secret text".to_owned(),
        deadline: now().plus(Span::from_secs(4)),
    }
}

/// Sends one message to a server that does `step` with it.
async fn send_to(step: Step, timeouts: Timeouts) -> Answer {
    let server = Server::bind().await;
    let client = client(server.url("http"), timeouts);
    let sent = server.run(&[step], client.send_message(&message())).await;
    assert_eq!(server.requests().len(), 1, "nothing is sent twice");
    assert_eq!(client.budget().left(), 99, "the call has been counted");
    sent
}

#[track_caller]
fn check_unknown(answer: &Answer, detail: &str) {
    match answer {
        Answer::Unknown { detail: found } => assert!(found.contains(detail), "{found}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_never_connected(answer: &Answer) {
    assert!(
        matches!(answer, Answer::NotDone { why: NotDone::NeverConnected(_), retry_after: None }),
        "{answer:?}"
    );
}

#[tokio::test]
async fn only_200_is_success() {
    assert_eq!(send_to(answer("200 OK", ""), LONG).await, Answer::Done);
    assert_eq!(send_to(answer("200 OK", "{}"), LONG).await, Answer::Done);
    check_unknown(&send_to(answer("204 No Content", ""), LONG).await, "204");
    check_unknown(&send_to(answer("502 Bad Gateway", "<html>"), LONG).await, "502");
    check_unknown(&send_to(answer("500 Oops", ""), LONG).await, "500");
}

#[tokio::test]
async fn a_refusal_comes_with_the_platforms_words() {
    let refused = |status, text: &str| Answer::Refused { status, text: text.to_owned() };
    let words = "User is not a subscriber or never been online";
    let json = format!("{{\"error\":\"{words}\"}}");
    assert_eq!(send_to(answer("403 Forbidden", ""), LONG).await, refused(403, ""));
    assert_eq!(send_to(answer("403 Forbidden", &json), LONG).await, refused(403, words));
    let page = answer("404 Not Found\r\nContent-Type: text/html", "<h1>Not\u{1}here</h1>");
    assert_eq!(send_to(page, LONG).await, refused(404, "Not here"));
    let moved = answer("301 Moved\r\nLocation: /v1/hook/", "<a href=\"/\">Moved</a>");
    assert_eq!(send_to(moved, LONG).await, refused(301, "Moved"));
    let long = answer("400 Bad", &"x".repeat(COMMAND_BYTES_MAX * 2));
    assert_eq!(send_to(long, LONG).await, refused(400, &"x".repeat(500)));
    let cut = "HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nwhy".to_owned();
    assert_eq!(send_to(Step::AnswerAndClose(cut), LONG).await, refused(403, "why"));
}

#[tokio::test]
async fn what_was_turned_away_before_any_work_may_be_repeated() {
    let unauthorized = Answer::NotDone { why: NotDone::Unauthorized, retry_after: None };
    assert_eq!(send_to(answer("401 Unauthorized", ""), LONG).await, unauthorized);
    for (header, secs) in [
        ("", None),
        ("\r\nRetry-After: 3", Some(3)),
        ("\r\nRetry-After: Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
        ("\r\nRetry-After: 86400", Some(600)),
        ("\r\nRetry-After: later", None),
    ] {
        let sent = send_to(answer(&format!("429 Slow{header}"), ""), LONG).await;
        let retry_after = secs.map(Span::from_secs);
        assert_eq!(sent, Answer::NotDone { why: NotDone::RateLimited, retry_after });
    }
}

#[tokio::test]
async fn a_lost_answer_is_unknown() {
    for text in ["", "HTTP/1.1 200", "nonsense\r\n\r\n"] {
        let sent = send_to(Step::AnswerAndClose(text.to_owned()), LONG).await;
        check_unknown(&sent, "the connection was lost");
    }
    check_unknown(&send_to(Step::Silence, SHORT).await, "no answer within");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_owned();
    check_unknown(&send_to(Step::AnswerAndClose(cut), LONG).await, "broke off");
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_owned();
    check_unknown(&send_to(Step::Answer(half), SHORT).await, "broke off");
    let long = answer("200 OK", &"x".repeat(COMMAND_BYTES_MAX + 1));
    check_unknown(&send_to(long, LONG).await, "longer than 65536 bytes");
}

#[tokio::test]
async fn without_a_connection_nothing_was_done_and_no_budget_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let refused = client(url, LONG);
    check_never_connected(&refused.send_message(&message()).await);
    assert_eq!(refused.budget().left(), 100);

    let nowhere = client("http://no-such-host.invalid".parse().unwrap(), SHORT);
    check_never_connected(&nowhere.send_message(&message()).await);
}

#[tokio::test]
async fn without_tls_nothing_was_done() {
    // Nobody accepts: the handshake gets no answer.
    let silent = Server::bind().await;
    let late = client(silent.url("https"), SHORT);
    check_never_connected(&late.send_message(&message()).await);
    assert_eq!(late.budget().left(), 100);

    let server = Server::bind().await;
    let client = client(server.url("https"), LONG);
    let accept = async {
        let (mut socket, _) = server.listener.accept().await.unwrap();
        drop(socket.read(&mut [0; 16]).await);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let message = message();
    let (sent, ()) = tokio::join!(client.send_message(&message), accept);
    check_never_connected(&sent);
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_a_request_never_leads_to_a_second_one() {
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    let steps = [Step::Answer(OK.to_owned()), Step::AnswerAndClose(String::new())];
    let message = message();
    let (first, second, list) = server
        .run(&steps, async {
            let first = client.send_message(&message).await;
            let second = client.send_message(&message).await;
            (first, second, client.list_lines().await)
        })
        .await;
    assert_eq!(first, Answer::Done);
    check_unknown(&second, "the connection was lost");
    check_unknown(&list.unwrap_err(), "not a JSON array");
    assert_eq!(server.posts(), 2);
    assert!(server.requests()[2].starts_with("GET "), "the next request follows at once");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_never_leads_to_a_second_request() {
    for _ in 0..50 {
        let server = Server::bind().await;
        let client = client(server.url("http"), LONG);
        let steps = [Step::AnswerAndClose(OK.to_owned())];
        let message = message();
        let (first, second) = server
            .run(&steps, async {
                (client.send_message(&message).await, client.send_message(&message).await)
            })
            .await;
        assert_eq!(first, Answer::Done);
        match second {
            Answer::Done => assert_eq!(server.posts(), 2),
            // The close was not seen before the request was written.
            other => {
                check_unknown(&other, "the connection was lost");
                assert_eq!(server.posts(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_call_without_budget_is_not_made() {
    let server = Server::bind().await;
    let mut client = client(server.url("http"), LONG);
    client.budget = Budget::with_wait(&Rate::parse("1/h").unwrap(), Duration::from_millis(10));
    let message = message();
    let (first, second) = server
        .run(&[], async {
            (client.send_message(&message).await, client.send_message(&message).await)
        })
        .await;
    let no_budget = Answer::NotDone { why: NotDone::NoBudget, retry_after: None };
    assert_eq!((first, second), (Answer::Done, no_budget));
    assert_eq!(server.posts(), 1);
}

/// The one request that `act` leads to: its first line, its head, its body.
async fn request_of<F: Future>(
    act: impl FnOnce(Arc<ConnectClient>) -> F,
) -> (String, String, Value) {
    let server = Server::bind().await;
    let client = Arc::new(client(server.url("http"), LONG));
    server.run(&[], act(client)).await;
    let request = server.requests().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let (first, head) = head.split_once("\r\n").unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    (first.to_owned(), head.to_lowercase(), body)
}

#[tokio::test]
async fn requests_are_exactly_what_the_platform_documents() {
    let (first, head, body) = request_of(|c| async move { c.send_message(&message()).await }).await;
    assert_eq!(first, "POST /v1/line/send/message/ HTTP/1.1");
    assert!(head.contains("authorization: basic yxbponbhc3mtd29yza=="), "{head}");
    assert!(head.contains("content-type: application/json"));
    assert!(head.contains(concat!("user-agent: freeline/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(
        body,
        json!({"line_id":"L","user_id":"U","author_id":"S","text":"secret text",
               "general_settings":true})
    );

    let hook = |c: Arc<ConnectClient>| async move { c.set_hook(HookKind::Bot, &"L".into()).await };
    let (first, _, body) = request_of(hook).await;
    assert_eq!(first, "POST /v1/hook/ HTTP/1.1");
    assert_eq!(
        body,
        json!({"type":"bot","id":"L","url":"https://we/connect/hook/",
               "back_auth":{"type":"bearer","token":"hook-token"}})
    );

    let delete =
        |c: Arc<ConnectClient>| async move { c.delete_hook(HookKind::Line, &"a/b".into()).await };
    let (first, _, body) = request_of(delete).await;
    assert_eq!((first.as_str(), body), ("DELETE /v1/hook/line/a%2Fb/ HTTP/1.1", Value::Null));

    let (first, ..) = request_of(|c| async move { c.list_lines().await }).await;
    assert_eq!(first, "GET /v1/line/ HTTP/1.1");
    let (first, ..) = request_of(|c| async move { c.list_treatments(None).await }).await;
    assert_eq!(first, "GET /v1/line/treatment/ HTTP/1.1");
    let one = |c: Arc<ConnectClient>| async move { c.list_treatments(Some(&"L&x".into())).await };
    let (first, ..) = request_of(one).await;
    assert_eq!(first, "GET /v1/line/treatment/?line_id=L%26x HTTP/1.1");
}

#[tokio::test]
async fn a_call_that_would_mean_something_else_is_not_made() {
    let nowhere = client("http://127.0.0.1:1".parse().unwrap(), LONG);
    let refused = |answer: Answer| matches!(answer, Answer::Refused { status: 400, .. });
    for id in ["", ".", ".."] {
        assert!(refused(nowhere.delete_hook(HookKind::Line, &id.into()).await), "{id}");
    }
    assert!(refused(nowhere.set_hook(HookKind::Line, &"".into()).await));
    assert!(refused(nowhere.list_treatments(Some(&"".into())).await.unwrap_err()));
    let specialist = OutgoingMessage { mode: SendMode::Specialist, author: None, ..message() };
    assert!(refused(nowhere.send_message(&specialist).await));
}

#[tokio::test]
async fn listings_are_read_and_their_failures_judged_like_any_other() {
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    let rows = r#"[{"treatment_id":"t","line_id":"l","user_id":"u"},{"treatment_id":5}]"#;
    let lines = format!("[{}{{\"line_id\":\"last\"}}]", "{\"line_id\":\"x\"},".repeat(100_000));
    let steps = [
        answer("200 OK", rows),
        answer("200 OK", &lines),
        answer("200 OK", "null"),
        answer("403 Forbidden", ""),
    ];
    server
        .run(&steps, async {
            assert_eq!(client.list_treatments(None).await.unwrap().len(), 1);
            assert_eq!(client.list_lines().await.unwrap().len(), 100_001);
            check_unknown(&client.list_lines().await.unwrap_err(), "not a JSON array");
            let refused = Answer::Refused { status: 403, text: String::new() };
            assert_eq!(client.list_lines().await.unwrap_err(), refused);
        })
        .await;
}

#[tokio::test]
async fn nothing_secret_is_in_debug_output_or_in_details() {
    let client = client("http://127.0.0.1:1".parse().unwrap(), LONG);
    let shown = format!("{client:?} {:?}", client.send_message(&message()).await);
    for hidden in ["pass-word", "hook-token", "secret text", "\"api\"", "we/connect"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let good = || client("https://h/x".parse().unwrap(), LONG).settings;
    let new = |settings| {
        let budget = Budget::new(&Rate::parse("1/s").unwrap());
        ConnectClient::new(settings, budget, Arc::new(ManualClock::new(Time::default())))
    };
    assert!(new(good()).is_ok());
    for url in ["ftp://h/", "https://a:b@h/", "https://h/?x", "https://h/#x", "data:x"] {
        let settings = ConnectSettings { base_url: url.parse().unwrap(), ..good() };
        assert!(matches!(new(settings), Err(ClientError::Address)), "{url}");
    }
    for login in ["", "a:b"] {
        let settings = ConnectSettings { login: login.to_owned(), ..good() };
        assert!(matches!(new(settings), Err(ClientError::Login)), "{login}");
    }
    let timeouts = Timeouts { connect: LONG.total, ..LONG };
    let settings = ConnectSettings { timeouts, ..good() };
    assert!(matches!(new(settings), Err(ClientError::Timeouts)));
}

/// A clock that shows each look another time, and stays at the last.
struct Looks(Mutex<Vec<Time>>);

impl Looks {
    /// Seconds after `now()`, the first look first.
    fn at(seconds: &[i64]) -> Arc<Self> {
        let times = seconds.iter().rev().map(|s| now().plus(Span::from_secs(*s)));
        Arc::new(Self(Mutex::new(times.collect())))
    }
}

impl Clock for Looks {
    fn now(&self) -> Time {
        let mut times = self.0.lock().unwrap();
        if times.len() > 1 { times.pop().unwrap() } else { times[0] }
    }
}

fn too_late() -> Answer {
    Answer::NotDone { why: NotDone::TooLate, retry_after: None }
}

#[tokio::test]
async fn a_message_whose_deadline_came_with_its_permit_is_not_begun() {
    let server = Server::bind().await;
    let client = client_at(server.url("http"), LONG, Looks::at(&[4]));
    assert_eq!(server.run(&[], client.send_message(&message())).await, too_late());
    assert_eq!(server.requests(), Vec::<String>::new());
    assert_eq!(client.budget().left(), 100, "the platform has not counted it");
}

#[tokio::test]
async fn a_message_whose_deadline_came_with_its_connection_is_not_begun() {
    let server = Server::bind().await;
    // In time for the permit, too late on the new connection; in time, too late on an old one.
    let client = client_at(server.url("http"), LONG, Looks::at(&[3, 4, 0, 0, 0, 3, 4, 0]));
    let messages = async {
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(client.send_message(&message()).await);
        }
        answers
    };
    let answers = server.run(&[], messages).await;
    assert_eq!(answers, [too_late(), Answer::Done, too_late(), Answer::Done]);
    assert_eq!(server.posts(), 2, "{:?}", server.requests());
    assert!(server.requests().iter().all(|request| request.contains("secret text")));
}
