//! Who has a treatment, and what commands, buttons and people make of it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::clock::{Clock, ManualClock};
use crate::core::time::{Span, Time};
use crate::lifecycle::Tasks;

use super::super::{Faults, Holder, Opening, Sandbox, SandboxConfig};
use super::{Receiver, World, as_specialist, l, s, u};

const SEND: &str = "/v1/line/send/message/";
const NOT_SUBSCRIBER: &str = r#"{"error":"User is not a subscriber or never been online"}"#;
const COMMANDS: [&str; 5] = [
    "/v1/line/drop/keyboard/",
    "/v1/line/drop/treatment/",
    "/v1/line/appoint/start/",
    "/v1/line/appoint/spec/",
    "/v1/line/reroute/",
];

/// A sandbox with bots on the first two lines, whose events go to a receiver.
async fn with_bots(config: SandboxConfig) -> (World, Receiver) {
    let world = World::start(config).await;
    let bot = Receiver::start(&world.tasks, 0).await;
    for line in [1, 2] {
        world.hook_bot(&bot, &l(line)).await;
    }
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    (world, receiver)
}

fn chat(line: u16) -> Value {
    json!({"line_id": l(line).as_str(), "user_id": u(1).as_str()})
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

/// What every command needs: a specialist and a target.
fn command(line: u16) -> Value {
    let body = with(chat(line), "spec_id", json!(s(2).as_str()));
    with(body, "to_line_id", json!(l(2).as_str()))
}

fn as_bot(line: u16, text: &str) -> Value {
    with(chat(line), "text", json!(text))
}

impl World {
    async fn done(&self, path: &str, body: Value) {
        assert_eq!(self.call("POST", path, body).await, (200, String::new()), "{path}");
    }

    fn holder(&self, line: u16) -> Holder {
        self.handle.find_open(&l(line), &u(1)).expect("it is open").holder
    }

    /// A call of the sandbox's own paths.
    async fn control(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/sandbox/{path}", self.handle.url());
        let answer = self.client.post(url).body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn a_message_says_who_has_the_treatment() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    let note = with(as_bot(1, "x"), "notification_only", json!(true));
    world.done(SEND, note.clone()).await;
    assert_eq!(world.handle.find_open(&l(1), &u(1)), None);
    world.done(SEND, as_bot(1, "x")).await;
    assert_eq!(world.holder(1), Holder::Bot);
    world.done(SEND, as_specialist(1, "x")).await;
    assert_eq!(world.holder(1), Holder::Specialist(s(1)));
    for body in [note, as_bot(1, "x")] {
        world.done(SEND, body).await;
        assert_eq!(world.holder(1), Holder::Specialist(s(1)), "he keeps it");
    }
    world.handle.quiesce().await;
    assert_eq!(receiver.types().iter().filter(|code| **code == 81).count(), 1);
    let state = world.handle.state().to_json();
    assert_eq!(state["treatments"][0]["holder"], s(1).as_str());
}

#[tokio::test]
async fn a_user_gets_to_the_bot_first_where_there_is_one() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    for (line, holder) in [(1, "bot"), (3, "specialist")] {
        world.handle.open(Opening::by_user(&l(line), &u(1))).await.unwrap();
        let is_bot = world.holder(line) == Holder::Bot;
        assert_eq!(is_bot, holder == "bot", "{line}");
    }
    world.handle.quiesce().await;
    let mut types = receiver.types();
    types.sort_unstable();
    assert_eq!(types, [1, 1, 80]);
}

#[tokio::test]
async fn commands_are_refused_without_a_bot_and_without_the_line() {
    let world = World::quick().await;
    let stranger = with(command(1), "user_id", json!("stranger"));
    let no_line = with(command(1), "line_id", json!("elsewhere"));
    for path in COMMANDS {
        for (body, status, text) in [
            (stranger.clone(), 403, NOT_SUBSCRIBER),
            (command(1), 403, ""),
            (no_line.clone(), 403, ""),
            (json!({"line_id": 7}), 400, ""),
            (json!([]), 400, ""),
        ] {
            let answer = world.call("POST", path, body.clone()).await;
            assert_eq!(answer, (status, text.to_owned()), "{path} {body}");
        }
    }
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_bot(&receiver, &l(1)).await;
    for path in COMMANDS {
        assert_eq!(world.call("POST", path, command(1)).await.0, 200, "{path}");
    }
    world
        .handle
        .set_faults(Faults { refuse: [(l(1).to_string(), 409)].into(), ..Faults::default() })
        .unwrap();
    for path in COMMANDS {
        assert_eq!(world.call("POST", path, command(1)).await.0, 409, "{path}");
    }
}

#[tokio::test]
async fn commands_that_lack_something_or_name_nobody_are_refused() {
    let (world, _receiver) = with_bots(SandboxConfig::quick()).await;
    for (path, body, status) in [
        ("/v1/line/appoint/spec/", chat(1), 400),
        ("/v1/line/reroute/", chat(1), 400),
        ("/v1/line/reroute/", with(command(1), "quote", json!(7)), 400),
        ("/v1/line/appoint/spec/", with(chat(1), "spec_id", json!("nobody")), 403),
        ("/v1/line/appoint/spec/", with(command(1), "author_id", json!("nobody")), 403),
        ("/v1/line/drop/treatment/", with(chat(1), "author_id", json!("nobody")), 403),
        ("/v1/line/reroute/", with(chat(1), "to_line_id", json!("elsewhere")), 403),
    ] {
        let answer = world.call("POST", path, body.clone()).await;
        assert_eq!(answer, (status, String::new()), "{path} {body}");
    }
    let path = "/v1/line/reroute/";
    world.handle.subscribe(&l(2), &u(1), false).await.unwrap();
    assert_eq!(world.call("POST", path, command(1)).await, (403, NOT_SUBSCRIBER.to_owned()));
}

#[tokio::test]
async fn a_specialist_is_appointed_with_80_and_takes_over_from_another_with_84() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    world.done(SEND, as_bot(1, "x")).await;
    let appoint = |number: u16| with(chat(1), "spec_id", json!(s(number).as_str()));
    world.done("/v1/line/appoint/spec/", appoint(1)).await;
    assert_eq!(world.holder(1), Holder::Specialist(s(1)));
    world.done("/v1/line/appoint/spec/", appoint(2)).await;
    assert_eq!(world.holder(1), Holder::Specialist(s(2)));
    world.handle.set_available(&s(3), false).await.unwrap();
    let refused = world.call("POST", "/v1/line/appoint/spec/", appoint(3)).await;
    assert_eq!(refused, (403, String::new()));
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [1, 80, 84]);
    let handed = &receiver.events()[2];
    assert_eq!(handed["author_id"], s(1).as_str());
    assert_eq!(handed["treatment"]["current_specialist"], s(2).as_str());
    assert_eq!(handed["treatment"].get("treatment_duration"), None);
}

#[tokio::test]
async fn without_a_free_specialist_a_treatment_waits_until_one_is_free() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    for number in 1..=3 {
        let body = json!({"specialist_id": s(number).as_str(), "available": false});
        assert_eq!(world.control("specialist", body).await.0, 200);
    }
    let path = format!("/v1/line/specialists/{}/available/", l(1));
    assert_eq!(world.get(&path).await, json!([]));
    world.done(SEND, as_bot(1, "x")).await;
    world.done("/v1/line/appoint/start/", chat(1)).await;
    assert_eq!(world.holder(1), Holder::Queue);
    let body = json!({"specialist_id": s(2).as_str(), "available": true});
    assert_eq!(world.control("specialist", body).await.0, 200);
    assert_eq!(world.holder(1), Holder::Specialist(s(2)));
    assert_eq!(world.get(&path).await, json!([s(2).as_str()]));
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [1, 83, 86, 80]);
    assert_eq!(receiver.events()[3]["author_id"], s(2).as_str());
    let body = json!({"specialist_id": "nobody", "available": true});
    assert_eq!(world.control("specialist", body).await.0, 404);
}

#[tokio::test]
async fn a_closed_treatment_waits_for_nobody() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    for number in 1..=3 {
        world.handle.set_available(&s(number), false).await.unwrap();
    }
    world.done(SEND, as_bot(1, "x")).await;
    world.done("/v1/line/appoint/start/", chat(1)).await;
    let close = with(chat(1), "author_id", json!(s(3).as_str()));
    world.done("/v1/line/drop/treatment/", close).await;
    world.handle.set_available(&s(1), true).await.unwrap();
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [1, 83, 82]);
    assert_eq!(receiver.events()[2]["author_id"], s(3).as_str());
}

#[tokio::test]
async fn a_keyboard_stays_until_it_is_dropped_and_its_buttons_can_be_pressed() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    let press = |text: &str| with(chat(1), "text", json!(text));
    let (status, refused) = world.control("press", press("Да")).await;
    assert_eq!(status, 404, "{refused}");
    let keyboard = json!([[{"id": "1", "text": "Да"}], [{"text": "Нет"}]]);
    world.done(SEND, with(as_bot(1, "?"), "keyboard", keyboard.clone())).await;
    world.done(SEND, as_bot(1, "…")).await;
    let state = world.handle.state().to_json();
    let shown = json!([with(chat(1), "keyboard", keyboard)]);
    assert_eq!(state["keyboards"], shown);
    assert_eq!(world.control("press", press("Может быть")).await.0, 404);
    let (status, treatment) = world.control("press", press("Нет")).await;
    assert_eq!((status, &treatment["holder"]), (200, &json!("bot")));
    world.handle.quiesce().await;
    let pressed = receiver.events().pop().unwrap();
    assert_eq!((&pressed["text"], &pressed["author_id"]), (&json!("Нет"), &json!(u(1).as_str())));
    world.done("/v1/line/drop/keyboard/", chat(1)).await;
    world.done("/v1/line/drop/keyboard/", chat(1)).await;
    assert_eq!(world.control("press", press("Нет")).await.0, 404);
    assert_eq!(world.handle.state().keyboards, []);
}

#[tokio::test]
async fn a_keyboard_that_is_none_is_malformed() {
    let (world, _receiver) = with_bots(SandboxConfig::quick()).await;
    for keyboard in
        [json!([]), json!([[]]), json!([[{"text": ""}]]), json!([[{"id": "1"}]]), json!("x")]
    {
        let body = with(as_bot(1, "?"), "keyboard", keyboard);
        assert_eq!(world.call("POST", SEND, body.clone()).await.0, 400, "{body}");
    }
    let good = json!([[{"text": "Да"}]]);
    for flag in ["bot_as_spec", "notification_only"] {
        let body = with(as_specialist(1, "?"), "keyboard", good.clone());
        assert_eq!(world.call("POST", SEND, with(body, flag, json!(true))).await.0, 400, "{flag}");
    }
}

#[tokio::test]
async fn a_line_is_given_and_taken_with_an_event_and_what_is_open_there_closes() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    world.done(SEND, as_bot(1, "x")).await;
    for on in [false, false, true] {
        assert_eq!(world.control("subscribe", with(chat(1), "on", json!(on))).await.0, 200);
    }
    world.handle.quiesce().await;
    let events = receiver.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event["event_type"].as_str().unwrap(), event["message_type"].as_i64()))
        .collect();
    let (line, changed) = ("line", ("subscription", None));
    assert_eq!(told, [(line, Some(1)), changed, (line, Some(92)), changed]);
    assert_eq!((&events[1]["action"], &events[3]["action"]), (&json!("delete"), &json!("add")));
    assert_eq!(events[1]["subscription"]["line_id"], l(1).as_str());
    assert_eq!(
        world.control("subscribe", json!({"line_id": "x", "user_id": "u", "on": true})).await.0,
        404
    );
}

#[tokio::test]
async fn a_specialist_gives_a_treatment_to_the_bot() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    world.done(SEND, as_specialist(1, "x")).await;
    let to_bot = with(chat(1), "redirect", json!("hours,level:1"));
    assert_eq!(world.control("to_bot", to_bot).await.1["holder"], "bot");
    world.handle.quiesce().await;
    let event = receiver.events().pop().unwrap();
    assert_eq!((&event["message_type"], &event["author_id"]), (&json!(200), &json!(s(1).as_str())));
    assert_eq!(event["data"], json!({"redirect": "hours,level:1"}));
    world.done(SEND, as_specialist(3, "x")).await;
    assert_eq!(world.control("to_bot", chat(3)).await.0, 409, "there is no bot");
}

/// A sandbox whose clock stands still, with bots.
async fn timed(config: SandboxConfig) -> (World, Receiver, Arc<ManualClock>) {
    let tasks = Tasks::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clock = Arc::new(ManualClock::new(Time::parse_rfc3339("2024-02-01T10:00:00Z").unwrap()));
    let shown: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let handle = Sandbox::start(config, listener, &tasks, shown).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let world = World { handle, client, tasks };
    let bot = Receiver::start(&world.tasks, 0).await;
    world.hook_bot(&bot, &l(1)).await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    (world, receiver, clock)
}

#[tokio::test]
async fn a_user_whom_the_bot_lets_wait_is_given_to_a_specialist() {
    let (world, receiver, clock) = timed(SandboxConfig::quick()).await;
    world.handle.open(Opening::by_user(&l(1), &u(1))).await.unwrap();
    clock.advance(Span::from_secs(29));
    world.handle.write(&l(1), &u(1), None, "?").await.unwrap();
    assert_eq!(world.handle.hand_over_overdue().await, 0);
    clock.advance(Span::from_secs(1));
    assert_eq!(
        world.control("overdue", json!({})).await.1["handed_over"],
        1,
        "the first word counts"
    );
    assert!(matches!(world.holder(1), Holder::Specialist(_)));
    assert_eq!(world.handle.hand_over_overdue().await, 0);
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [1, 1, 80]);
}

#[tokio::test]
async fn a_bot_that_answers_keeps_the_treatment() {
    let (world, _receiver, clock) = timed(SandboxConfig::quick()).await;
    world.done(SEND, as_bot(1, "Оплата")).await;
    clock.advance(Span::from_secs(100));
    assert_eq!(world.handle.hand_over_overdue().await, 0, "nobody waits for an answer");
    world.handle.write(&l(1), &u(1), None, "?").await.unwrap();
    clock.advance(Span::from_secs(29));
    let note = with(as_bot(1, "…"), "notification_only", json!(true));
    world.done(SEND, note).await;
    clock.advance(Span::from_secs(1));
    assert_eq!(world.handle.hand_over_overdue().await, 1, "a notification is no answer");
    world.handle.close(&l(1), &u(1), 82).await.unwrap();

    world.handle.open(Opening::by_user(&l(1), &u(1))).await.unwrap();
    world.done(SEND, as_bot(1, "Здравствуйте")).await;
    clock.advance(Span::from_secs(100));
    assert_eq!(world.handle.hand_over_overdue().await, 0);
    assert_eq!(world.holder(1), Holder::Bot);
}

#[tokio::test]
async fn the_bots_time_runs_by_itself_and_can_be_shortened() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    world.handle.open(Opening::by_user(&l(1), &u(1))).await.unwrap();
    assert_eq!(world.holder(1), Holder::Bot);
    assert_eq!(world.control("faults", json!({"bot_patience_ms": 1})).await.0, 200);
    receiver.wait_for_type(80).await;
    assert!(matches!(world.holder(1), Holder::Specialist(_)));
    assert_eq!(world.control("faults", json!({"bot_patience_ms": 600_001})).await.0, 400);
    let config = SandboxConfig {
        bot_patience: std::time::Duration::from_millis(1),
        bot_timer: true,
        ..SandboxConfig::quick()
    };
    let (world, receiver) = with_bots(config).await;
    world.handle.open(Opening::by_user(&l(1), &u(1))).await.unwrap();
    receiver.wait_for_type(80).await;
}

#[tokio::test]
async fn a_specialist_who_answers_in_the_place_of_the_bot_takes_the_treatment() {
    let (world, receiver) = with_bots(SandboxConfig::quick()).await;
    world.handle.open(Opening::by_user(&l(1), &u(1))).await.unwrap();
    world.handle.write(&l(1), &u(1), Some(&s(2)), "Здравствуйте").await.unwrap();
    assert_eq!(world.holder(1), Holder::Specialist(s(2)));
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [1, 1, 81]);
}

#[tokio::test]
async fn competences_and_people_are_listed() {
    let world = World::quick().await;
    let count = async |path: &str| world.get(path).await.as_array().unwrap().len();
    assert_eq!(count("/v1/line/competences/").await, 27);
    let path = format!("/v1/line/competences/?user_id={}&line_id={}", s(2), l(4));
    assert_eq!(
        world.get(&path).await,
        json!([{"line_id": l(4).as_str(), "specialist_id": s(2).as_str(), "pool_priority": 2,
                "is_franch_spec": false}])
    );
    assert_eq!(count("/v1/line/competences/?user_id=nobody").await, 0);
    let person = world.get(&format!("/v1/line/subscriber/{}/", u(1))).await;
    assert_eq!(
        (&person["email"], &person["phone"]),
        (&json!("1@example.org"), &json!("+7 000 0000001"))
    );
    let path = "/v1/line/subscriber/nobody/";
    assert_eq!(world.call("GET", path, Value::Null).await, (403, String::new()));
}
