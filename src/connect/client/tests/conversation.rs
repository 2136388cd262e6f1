//! The calls of conversations and of the platform's directory.

use super::*;
use crate::connect::{Button, Keyboard};

fn chat() -> ChatAddress {
    ChatAddress { line: "L".into(), user: "U".into() }
}

fn keyboard(texts: &[&str]) -> Keyboard {
    let button = |text: &&str| Button { id: None, text: (*text).to_owned() };
    Keyboard(vec![texts.iter().map(button).collect()])
}

#[tokio::test]
async fn every_mode_of_a_message_has_its_own_fields() {
    let body = async |message: OutgoingMessage| {
        let (_, _, body) = request_of(|c| async move { c.send_message(&message).await }).await;
        body
    };
    let buttons = vec![
        vec![Button { id: Some("1".to_owned()), text: "Yes".to_owned() }],
        vec![Button { id: None, text: "No".to_owned() }],
    ];
    let keyboard = Some(Keyboard(buttons));
    let bot = OutgoingMessage { author: None, keyboard, general_settings: false, ..message() };
    assert_eq!(
        body(bot).await,
        json!({"line_id":"L","user_id":"U","text":"secret text",
               "keyboard":[[{"id":"1","text":"Yes"}],[{"text":"No"}]]})
    );
    let specialist = OutgoingMessage { mode: SendMode::Specialist, ..message() };
    assert_eq!(
        body(specialist.clone()).await,
        json!({"line_id":"L","user_id":"U","author_id":"S","text":"secret text",
               "bot_as_spec":true})
    );
    // Both flags together are not documented.
    let note = OutgoingMessage { notification_only: true, ..specialist };
    assert_eq!(
        body(note).await,
        json!({"line_id":"L","user_id":"U","author_id":"S","text":"secret text",
               "notification_only":true})
    );
}

#[tokio::test]
async fn a_keyboard_that_cannot_be_shown_is_not_sent() {
    let nowhere = client("http://127.0.0.1:1".parse().unwrap(), LONG);
    let with = |keyboard| OutgoingMessage { keyboard: Some(keyboard), ..message() };
    let good = || with(keyboard(&["Yes"]));
    for refused in [
        OutgoingMessage { mode: SendMode::Specialist, ..good() },
        OutgoingMessage { notification_only: true, ..good() },
        with(keyboard(&["Yes", "Yes"])),
        with(keyboard(&[])),
        with(Keyboard(Vec::new())),
    ] {
        let answer = nowhere.send_message(&refused).await;
        assert!(matches!(answer, Answer::Refused { status: 400, .. }), "{refused:?}: {answer:?}");
    }
    check_never_connected(&nowhere.send_message(&good()).await);
}

#[tokio::test]
async fn commands_are_exactly_what_the_platform_documents() {
    let author = Some(UserId::from("S"));
    let author = author.as_ref();
    let chat_body = json!({"line_id":"L","user_id":"U"});

    let (first, head, body) = request_of(async |c| c.drop_keyboard(&chat()).await).await;
    assert_eq!(first, "POST /v1/line/drop/keyboard/ HTTP/1.1");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, chat_body);

    let (first, _, body) = request_of(async |c| c.drop_treatment(&chat(), author).await).await;
    assert_eq!(first, "POST /v1/line/drop/treatment/ HTTP/1.1");
    assert_eq!(body, json!({"line_id":"L","user_id":"U","author_id":"S"}));
    let (_, _, body) = request_of(async |c| c.drop_treatment(&chat(), None).await).await;
    assert_eq!(body, chat_body);

    let (first, _, body) = request_of(async |c| c.appoint_any(&chat()).await).await;
    assert_eq!((first.as_str(), body), ("POST /v1/line/appoint/start/ HTTP/1.1", chat_body));

    let act = async |c: Arc<ConnectClient>| c.appoint(&chat(), &"S2".into(), author).await;
    let (first, _, body) = request_of(act).await;
    assert_eq!(first, "POST /v1/line/appoint/spec/ HTTP/1.1");
    assert_eq!(body, json!({"line_id":"L","user_id":"U","spec_id":"S2","author_id":"S"}));

    let act = async |c: Arc<ConnectClient>| c.reroute(&chat(), &"L2".into(), Some("as said")).await;
    let (first, _, body) = request_of(act).await;
    assert_eq!(first, "POST /v1/line/reroute/ HTTP/1.1");
    assert_eq!(body, json!({"line_id":"L","user_id":"U","to_line_id":"L2","quote":"as said"}));
}

#[tokio::test]
async fn listings_are_asked_for_as_the_platform_documents() {
    let (user, line) = (UserId::from("U"), LineId::from("L&x"));
    let first = async |act: Request| request_of(async |c| act(c).await).await.0;
    let (u, l) = (user.clone(), line.clone());
    let both = boxed(move |c| {
        let (u, l) = (u.clone(), l.clone());
        async move { drop(c.list_subscriptions(Some(&u), Some(&l)).await) }
    });
    let path = "GET /v1/line/subscriptions/?user_id=U&line_id=L%26x HTTP/1.1";
    assert_eq!(first(both).await, path);
    let all = boxed(|c| async move { drop(c.list_subscriptions(None, None).await) });
    assert_eq!(first(all).await, "GET /v1/line/subscriptions/ HTTP/1.1");
    let all = boxed(|c| async move { drop(c.list_subscribers().await) });
    assert_eq!(first(all).await, "GET /v1/line/subscribers/ HTTP/1.1");
    let one = boxed(|c| async move { drop(c.subscriber(&"a/b".into()).await) });
    assert_eq!(first(one).await, "GET /v1/line/subscriber/a%2Fb/ HTTP/1.1");
    let of_line = boxed(|c| async move { drop(c.list_specialists(Some(&"L".into())).await) });
    assert_eq!(first(of_line).await, "GET /v1/line/specialists/?line_id=L HTTP/1.1");
    let free = boxed(|c| async move { drop(c.available_specialists(&"L".into()).await) });
    assert_eq!(first(free).await, "GET /v1/line/specialists/L/available/ HTTP/1.1");
    let of_one = boxed(|c| async move { drop(c.list_competences(Some(&"U".into()), None).await) });
    assert_eq!(first(of_one).await, "GET /v1/line/competences/?user_id=U HTTP/1.1");
}

type Request = Box<dyn Fn(Arc<ConnectClient>) -> futures::future::BoxFuture<'static, ()>>;

fn boxed<F: Future<Output = ()> + Send + 'static>(
    act: impl Fn(Arc<ConnectClient>) -> F + 'static,
) -> Request {
    Box::new(move |client| Box::pin(act(client)))
}

#[tokio::test]
async fn a_command_is_judged_like_a_message() {
    let words = r#"{"error":"User is not a subscriber or never been online"}"#;
    let steps = [
        answer("200 OK", ""),
        answer("403 Forbidden", words),
        answer("403 Forbidden", ""),
        answer("429 Slow\r\nRetry-After: 3", ""),
        answer("401 Unauthorized", ""),
        answer("502 Bad Gateway", "<html>"),
        Step::AnswerAndClose(String::new()),
    ];
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    let answers = server
        .run(&steps, async {
            let mut answers = Vec::new();
            for _ in 0..steps.len() {
                answers.push(client.appoint_any(&chat()).await);
            }
            answers
        })
        .await;
    let refused = |text: &str| Answer::Refused { status: 403, text: text.to_owned() };
    let not_done = |why, retry_after| Answer::NotDone { why, retry_after };
    assert_eq!(
        answers[..5],
        [
            Answer::Done,
            refused("User is not a subscriber or never been online"),
            refused(""),
            not_done(NotDone::RateLimited, Some(Span::from_secs(3))),
            not_done(NotDone::Unauthorized, None),
        ]
    );
    check_unknown(&answers[5], "502");
    check_unknown(&answers[6], "the connection was lost");
    assert_eq!(server.posts(), steps.len(), "nothing is sent twice");
}

#[tokio::test]
async fn a_command_whose_ids_would_change_its_meaning_is_not_made() {
    let nowhere = client("http://127.0.0.1:1".parse().unwrap(), LONG);
    let refused = |answer: Answer| matches!(answer, Answer::Refused { status: 400, .. });
    let empty = ChatAddress { line: "".into(), user: "U".into() };
    assert!(refused(nowhere.drop_treatment(&empty, None).await));
    assert!(refused(nowhere.drop_treatment(&chat(), Some(&"".into())).await));
    assert!(refused(nowhere.appoint(&chat(), &"".into(), None).await));
    assert!(refused(nowhere.reroute(&chat(), &"".into(), None).await));
    assert!(refused(nowhere.subscriber(&"..".into()).await.unwrap_err()));
    assert!(refused(nowhere.available_specialists(&"".into()).await.unwrap_err()));
    assert!(refused(nowhere.list_subscriptions(Some(&"".into()), None).await.unwrap_err()));
}

#[tokio::test]
async fn the_directory_is_read_and_what_is_no_answer_is_unknown() {
    let steps = [
        answer("200 OK", r#"["a","b"]"#),
        answer("200 OK", r#"{"user_id":"U","name":"N"}"#),
        answer("200 OK", "[]"),
        answer("403 Forbidden", ""),
    ];
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    server
        .run(&steps, async {
            let free = client.available_specialists(&"L".into()).await.unwrap();
            assert_eq!(free, ["a".into(), "b".into()]);
            assert_eq!(client.subscriber(&"U".into()).await.unwrap().name, "N");
            let odd = client.subscriber(&"U".into()).await.unwrap_err();
            check_unknown(&odd, "not a JSON object");
            let refused = Answer::Refused { status: 403, text: String::new() };
            assert_eq!(client.list_subscribers().await.unwrap_err(), refused);
        })
        .await;
}

#[tokio::test]
async fn a_command_goes_before_a_listing_that_waits_for_the_budget() {
    let server = Server::bind().await;
    let mut client = client(server.url("http"), LONG);
    let rate = Rate::parse("1/h").unwrap();
    client.budget = Budget::with_wait(&rate, Duration::from_millis(100));
    let last = client.budget.take(Priority::Housekeeping).await.unwrap();
    let chat = chat();
    let all = async {
        // The listing asks first; both wait when the last permit comes back.
        tokio::join!(client.list_subscribers(), client.drop_keyboard(&chat), async {
            last.give_back();
        })
    };
    let (listed, dropped, ()) = server.run(&[], all).await;
    assert_eq!(dropped, Answer::Done);
    let no_budget = Answer::NotDone { why: NotDone::NoBudget, retry_after: None };
    assert_eq!(listed, Err(no_budget));
    assert_eq!(server.posts(), 1);
}
