//! Files into chats, and back out of the sandbox.

use std::io::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::connect::budget::{Budget, Rate};
use crate::connect::client::{ConnectClient, ConnectSettings, Timeouts};
use crate::connect::wire::read_event;
use crate::connect::{BackAuth, Chat, OutgoingFile, SendMode};
use crate::core::outcome::Answer;
use crate::core::time::Span;

use super::super::{Faults, Opening, SandboxConfig};
use super::{LOGIN, PASSWORD, Receiver, World, l, s, u};

const FILE: &str = "/v1/line/send/file/";
const META: &str =
    "Content-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json";
const DATA: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"";

/// What a specialist sends, which needs no bot.
fn meta() -> Value {
    json!({
        "line_id": l(1).as_str(), "user_id": u(1).as_str(), "author_id": s(1).as_str(),
        "bot_as_spec": true, "file_name": "счёт.txt",
    })
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

impl World {
    /// A form of these parts, each a head and a content.
    async fn form(&self, path: &str, parts: &[(&str, &str)]) -> (u16, String) {
        let part = |(head, content): &(&str, &str)| format!("--b\r\n{head}\r\n\r\n{content}\r\n");
        let body = parts.iter().map(part).collect::<String>() + "--b--\r\n";
        let request = self.request("POST", path).body(body);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn send(&self, path: &str, meta: &Value, content: &str) -> (u16, String) {
        self.form(path, &[(META, &meta.to_string()), (DATA, content)]).await
    }

    /// What is found at an address that an event names.
    async fn download(&self, url: &str) -> (u16, Vec<u8>) {
        let answer = self.client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

#[tokio::test]
async fn a_file_arrives_as_an_event_of_type_70_and_can_be_downloaded() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    let commented = with(meta(), "comment", json!("Подпишите"));
    assert_eq!(world.send(FILE, &commented, "content").await, (200, String::new()));
    world.handle.quiesce().await;
    let events = receiver.events();
    let event = events.iter().find(|event| event["message_type"] == 70).unwrap();
    let file = &event["file"];
    assert_eq!((&file["file_name"], &file["file_size"]), (&json!("счёт.txt"), &json!(7)));
    assert_eq!((&file["comment"], &file["preview_link"]), (&json!("Подпишите"), &json!("")));
    let path = file["file_path"].as_str().unwrap();
    assert!(path.starts_with(&world.handle.url()), "{path}");
    assert_eq!(world.download(path).await, (200, b"content".to_vec()));
    assert_eq!(world.download(&format!("{path}x")).await.0, 404);
    let message = world.handle.next_message().await;
    let record = message.file.unwrap();
    assert_eq!((record.id.as_str(), record.bytes), (file["file_id"].as_str().unwrap(), 7));
    assert_eq!(message.text, "Подпишите");
    assert_eq!(message.treatment, Some(world.handle.find_open(&l(1), &u(1)).unwrap().id));
    assert_eq!(world.handle.state().to_json()["messages"][0]["file"]["file_size"], 7);
}

#[tokio::test]
async fn an_image_has_previews() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    assert_eq!(world.send("/v1/line/send/image", &meta(), "picture").await.0, 200);
    world.handle.quiesce().await;
    let events = receiver.events();
    let file = &events.iter().find(|event| event["message_type"] == 70).unwrap()["file"];
    assert_eq!((&file["preview_hi_sizes"], file.get("comment")), (&json!("500x326"), None));
    for key in ["preview_link", "preview_link_hi"] {
        let found = world.download(file[key].as_str().unwrap()).await;
        assert_eq!(found, (200, b"picture".to_vec()), "{key}");
    }
}

#[tokio::test]
async fn what_users_send_can_be_downloaded_too() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(70)).await.unwrap();
    world.handle.quiesce().await;
    let file = receiver.events().remove(0)["file"].clone();
    let (status, content) = world.download(file["file_path"].as_str().unwrap()).await;
    assert_eq!((status, json!(content.len())), (200, file["file_size"].clone()));
}

#[tokio::test]
async fn a_file_that_cannot_be_is_refused_as_a_message_is() {
    let world = World::quick().await;
    let not_subscriber = r#"{"error":"User is not a subscriber or never been online"}"#;
    let mut as_bot = meta();
    as_bot.as_object_mut().unwrap().remove("bot_as_spec");
    for (body, status, text) in [
        (with(meta(), "author_id", Value::Null), 400, ""),
        (with(meta(), "file_name", Value::Null), 400, ""),
        (with(meta(), "file_name", json!("")), 400, ""),
        (with(meta(), "comment", json!(7)), 400, ""),
        (with(meta(), "keyboard", json!([[{"text": "Да"}]])), 400, ""),
        (with(meta(), "line_id", json!("elsewhere")), 403, ""),
        (with(meta(), "author_id", json!("nobody")), 403, ""),
        (with(meta(), "user_id", json!("stranger")), 403, not_subscriber),
        (as_bot, 403, ""),
    ] {
        let answer = world.send(FILE, &body, "x").await;
        assert_eq!(answer, (status, text.to_owned()), "{body}");
    }
    let good = meta().to_string();
    let untyped = "Content-Disposition: form-data; name=\"meta\"";
    let unnamed = "Content-Disposition: form-data; name=\"file\"";
    let malformed: [&[(&str, &str)]; 6] = [
        &[(META, &good)],
        &[(DATA, "x")],
        &[(untyped, &good), (DATA, "x")],
        &[(META, &good), (unnamed, "x")],
        &[(META, &good), (META, &good), (DATA, "x")],
        &[(META, "{"), (DATA, "x")],
    ];
    for parts in malformed {
        assert_eq!(world.form(FILE, parts).await, (400, String::new()), "{parts:?}");
    }
    assert_eq!(world.call("POST", FILE, meta()).await.0, 400, "no form at all");
    assert!(world.handle.messages().is_empty());
}

#[tokio::test]
async fn a_file_is_struck_by_the_same_faults_as_a_message() {
    let world = World::quick().await;
    let set = |faults| world.handle.set_faults(faults).unwrap();
    set(Faults { file_bytes_max: Some(7), ..Faults::default() });
    assert_eq!(world.send(FILE, &meta(), "content").await.0, 200);
    assert_eq!(world.send(FILE, &meta(), "contents").await, (413, String::new()));
    let large = "x".repeat((1 << 20) + 1_000);
    assert_eq!(world.send(FILE, &meta(), &large).await.0, 413);
    set(Faults::default());
    assert_eq!(world.send(FILE, &meta(), &large).await.0, 200);
    set(Faults { status_429: 1.0, ..Faults::default() });
    assert_eq!(world.send(FILE, &meta(), "x").await.0, 429);
    set(Faults { refuse: [(l(1).to_string(), 503)].into(), ..Faults::default() });
    assert_eq!(world.send(FILE, &meta(), "x").await.0, 503);
    assert_eq!(world.handle.message_count(), 2);
}

#[tokio::test]
async fn our_own_client_and_the_sandbox_understand_each_other() {
    let world = World::start(SandboxConfig::quick()).await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    let settings = ConnectSettings {
        base_url: world.handle.url().parse().unwrap(),
        login: LOGIN.to_owned(),
        password: PASSWORD.into(),
        hook_url: receiver.url(),
        hook_auth: BackAuth::None,
        timeouts: Timeouts::default(),
    };
    let budget = Budget::new(&Rate::parse("1000/s").unwrap());
    let client = ConnectClient::new(settings, budget, Arc::new(SystemClock)).unwrap();
    let mut content = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|place| u8::try_from(place % 251).unwrap()).collect();
    content.write_all(&bytes).unwrap();
    let file = OutgoingFile {
        line: l(1),
        user: u(1),
        author: Some(s(1)),
        mode: SendMode::Specialist,
        notification_only: false,
        general_settings: false,
        keyboard: None,
        file_name: "скан \"1\".png".to_owned(),
        comment: Some("строка\nвторая".to_owned()),
        is_image: true,
        content: content.path().to_owned(),
        bytes: u64::try_from(bytes.len()).unwrap(),
        deadline: SystemClock.now().plus(Span::from_secs(60)),
    };
    assert_eq!(client.send_file(&file).await, Answer::Done);
    world.handle.quiesce().await;
    let texts = receiver.texts();
    let mut events = texts.iter().map(|text| read_event(text.as_bytes()).unwrap());
    let sent = events.find_map(|event| event.file).unwrap();
    assert_eq!(sent.name.as_deref(), Some("скан \"1\".png"));
    assert_eq!(sent.comment.as_deref(), Some("строка\nвторая"));
    assert_eq!(sent.bytes, Some(200_000));
    assert_eq!(world.download(&sent.url.unwrap()).await, (200, bytes));

    let people = client.list_subscribers().await.unwrap();
    assert_eq!(people, [client.subscriber(&u(1)).await.unwrap()]);
    assert_eq!(client.list_specialists(Some(&l(1))).await.unwrap().len(), 3);
    assert_eq!(client.available_specialists(&l(1)).await.unwrap(), [s(1), s(2), s(3)]);
    let subscriptions = client.list_subscriptions(Some(&u(1)), Some(&l(2))).await.unwrap();
    assert!(subscriptions[0].set_at.is_some() && subscriptions[0].expires_at.is_none());
    let competences = client.list_competences(Some(&s(3)), Some(&l(2))).await.unwrap();
    assert_eq!((competences.len(), competences[0].pool_priority), (1, Some(3)));
}
