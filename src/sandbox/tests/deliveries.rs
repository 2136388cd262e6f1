//! Events on their way out: order, copies, faults.

use std::time::Duration;

use serde_json::json;

use super::super::{Faults, Opening, SandboxConfig};
use super::{Receiver, World, as_specialist, l, s, u};

const SEND: &str = "/v1/line/send/message/";

/// Writes numbered messages to some lines.
async fn write_numbered(world: &World, lines: u16, count: u16) {
    for number in 0..count {
        for line in 1..=lines {
            let text = format!("{line}/{number:03}");
            world.handle.write(&l(line), &u(1), Some(&s(1)), &text).await.unwrap();
        }
    }
    world.handle.quiesce().await;
}

/// The texts said on a line.
fn said_on(receiver: &Receiver, line: u16) -> Vec<String> {
    let prefix = format!("{line}/");
    receiver.said().into_iter().filter(|text| text.starts_with(&prefix)).collect()
}

async fn hooked(failures: usize) -> (World, Receiver) {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, failures).await;
    world.hook_all(&receiver).await;
    (world, receiver)
}

#[tokio::test]
async fn without_faults_the_events_of_a_line_keep_their_order() {
    let (world, receiver) = hooked(0).await;
    write_numbered(&world, 4, 25).await;
    for line in 1..=4 {
        let said = said_on(&receiver, line);
        assert_eq!(said.len(), 25);
        assert!(said.is_sorted(), "{said:?}");
    }
}

#[tokio::test]
async fn an_event_goes_to_the_lines_hook_and_to_the_bots_if_it_is_for_bots() {
    let (world, all) = hooked(0).await;
    let bot = Receiver::start(&world.tasks, 0).await;
    world.hook_bot(&bot, &l(1)).await;
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(50)).await.unwrap();
    world.handle.close(&l(1), &u(1), 82).await.unwrap();
    world.handle.quiesce().await;
    assert_eq!(all.types(), [50, 82]);
    assert_eq!(bot.types(), [82]);
}

#[tokio::test]
async fn the_platform_authenticates_itself_as_it_was_told() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    for back_auth in [
        json!({"type": "bearer", "token": "t0ken"}),
        json!({"type": "basic", "login": "me", "password": "pw"}),
    ] {
        let url = receiver.url();
        let body = json!({"type": "line", "id": l(1).as_str(), "url": url, "back_auth": back_auth});
        assert_eq!(world.call("POST", "/v1/hook/", body).await.0, 200);
        world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
        world.handle.quiesce().await;
    }
    let sent: Vec<String> = receiver.authorizations().into_iter().flatten().collect();
    assert_eq!(sent, ["Bearer t0ken", "Basic bWU6cHc="]);
    let shown = world.client.get(format!("{}/sandbox/state", world.handle.url()));
    let shown = shown.send().await.unwrap().text().await.unwrap();
    assert!(!shown.contains("t0ken") && !shown.contains("bWU6cHc="), "{shown}");
}

#[tokio::test]
async fn an_event_that_is_not_taken_comes_again_unchanged() {
    let (world, receiver) = hooked(2).await;
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
    world.handle.quiesce().await;
    let texts = receiver.texts();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[tokio::test]
async fn an_event_comes_three_times_at_most() {
    let (world, receiver) = hooked(100).await;
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
    world.handle.quiesce().await;
    assert_eq!(receiver.texts().len(), 3);
}

#[tokio::test]
async fn later_events_overtake_one_that_waits_for_its_retry() {
    let config =
        SandboxConfig { retry_after: Duration::from_millis(300), ..SandboxConfig::quick() };
    let world = World::start(config).await;
    let receiver = Receiver::start(&world.tasks, 1).await;
    world.hook_all(&receiver).await;
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
    world.handle.close(&l(1), &u(1), 82).await.unwrap();
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [81, 82, 81]);
}

#[tokio::test]
async fn duplicated_events_come_twice_and_lost_ones_never() {
    let (world, receiver) = hooked(0).await;
    world.handle.set_faults(Faults { duplicate: 1.0, ..Faults::default() }).unwrap();
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
    world.handle.quiesce().await;
    let texts = receiver.texts();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
    world.handle.set_faults(Faults { lose: 1.0, ..Faults::default() }).unwrap();
    world.handle.close(&l(1), &u(1), 82).await.unwrap();
    world.handle.quiesce().await;
    assert_eq!(receiver.texts().len(), 2);
}

#[tokio::test]
async fn reordered_events_all_come_but_in_another_order() {
    let (world, receiver) = hooked(0).await;
    world.handle.set_faults(Faults { reorder: 0.3, ..Faults::default() }).unwrap();
    write_numbered(&world, 1, 40).await;
    let mut said = said_on(&receiver, 1);
    assert_eq!(said.len(), 40);
    assert!(!said.is_sorted());
    said.sort();
    said.dedup();
    assert_eq!(said.len(), 40);
}

#[tokio::test]
async fn the_same_seed_loses_the_same_events() {
    let left = async |seed| {
        let (world, receiver) = hooked(0).await;
        let faults = Faults { lose: 0.5, seed: Some(seed), ..Faults::default() };
        world.handle.set_faults(faults).unwrap();
        write_numbered(&world, 1, 30).await;
        said_on(&receiver, 1)
    };
    let first = left(3).await;
    assert!(!first.is_empty() && first.len() < 30);
    assert_eq!(first, left(3).await);
    assert_ne!(first, left(4).await);
}

#[tokio::test]
async fn the_same_seed_fails_the_same_calls() {
    let answers = async |seed| {
        let world = World::quick().await;
        let faults =
            Faults { status_5xx: 0.3, status_429: 0.3, seed: Some(seed), ..Faults::default() };
        world.handle.set_faults(faults).unwrap();
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(world.call("POST", SEND, as_specialist(1, "Счёт 7")).await.0);
        }
        let done = answers.iter().filter(|status| **status == 200).count();
        assert_eq!(world.handle.message_count(), done);
        answers
    };
    let first = answers(3).await;
    assert_eq!(first, answers(3).await);
    assert_ne!(first, answers(4).await);
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_after_the_message_was_taken() {
    let world = World::quick().await;
    world.handle.set_faults(Faults { drop_after: 1.0, ..Faults::default() }).unwrap();
    let request = world.request("POST", SEND).body(as_specialist(1, "Счёт 7").to_string());
    let error = request.send().await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
    assert_eq!(world.handle.messages().len(), 1);
    assert!(world.handle.find_open(&l(1), &u(1)).is_some());
}

#[tokio::test]
async fn a_lost_call_closes_the_connection_before_anything_happened() {
    let world = World::quick().await;
    world.get("/v1/line/").await;
    world.handle.set_faults(Faults { drop_before: 1.0, ..Faults::default() }).unwrap();
    let request = world.request("POST", SEND).body(as_specialist(1, "Счёт 7").to_string());
    assert!(request.send().await.is_err());
    assert!(world.handle.messages().is_empty());
    assert_eq!(world.handle.calls("POST /v1/line/send/message/"), 1);
}

#[tokio::test]
async fn a_slow_answer_comes_after_the_message_was_taken() {
    let world = World::quick().await;
    world.handle.set_faults(Faults { slow_ms: 60_000, ..Faults::default() }).unwrap();
    let request = world.request("POST", SEND).body(as_specialist(1, "Счёт 7").to_string());
    let error = request.timeout(Duration::from_millis(100)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(world.handle.messages().len(), 1);
}

#[tokio::test]
async fn a_refused_line_answers_its_status_and_the_others_do_not() {
    let world = World::quick().await;
    let refuse = [(l(2).to_string(), 403)].into();
    world.handle.set_faults(Faults { refuse, ..Faults::default() }).unwrap();
    let answer = world.call("POST", SEND, as_specialist(2, "Счёт 7")).await;
    assert_eq!(answer, (403, String::new()));
    assert_eq!(world.call("POST", SEND, as_specialist(1, "Счёт 8")).await.0, 200);
    assert_eq!(world.handle.message_count(), 1);
}

#[tokio::test]
async fn while_the_platform_is_down_calls_break_and_events_wait() {
    let (world, receiver) = hooked(0).await;
    world.handle.set_faults(Faults { down: true, ..Faults::default() }).unwrap();
    assert!(world.request("GET", "/v1/line/").send().await.is_err());
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(30), world.handle.quiesce()).await;
    assert!(quiet.is_err());
    assert!(receiver.texts().is_empty());
    world.handle.set_faults(Faults::default()).unwrap();
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [81]);
}

#[tokio::test]
async fn forgotten_hooks_get_nothing_until_they_are_set_again() {
    let (world, receiver) = hooked(0).await;
    world.handle.set_faults(Faults { forget_hooks: true, ..Faults::default() }).unwrap();
    world.handle.open(Opening::by_user(&l(1), &u(1)).with_type(81)).await.unwrap();
    world.hook_all(&receiver).await;
    world.handle.close(&l(1), &u(1), 82).await.unwrap();
    world.handle.quiesce().await;
    assert_eq!(receiver.types(), [82]);
}
