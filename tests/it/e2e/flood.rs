//! Many messages over an ugly platform: each of them arrives once, in the order of its chat.

use std::collections::BTreeMap;

use freeline::connect::HookKind;
use freeline::core::time::Span;
use freeline::sandbox::{Faults, SandboxConfig, line_id, user_id};
use serde_json::json;

use crate::support::{Setup, TestDatabase, World, on_both};

/// How many messages when nobody says otherwise.
const MESSAGES: usize = 300;
/// Users who are written to, each on one of the nine lines.
const USERS: u16 = 60;
/// Half minutes after which all must have arrived: a doubt takes four of them, and one message in
/// ten comes into doubt at each try.
const HALF_MINUTES_MAX: usize = 400;

/// How many messages: `FREELINE_MESSAGES`, or some hundred.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn count() -> usize {
    let given = std::env::var("FREELINE_MESSAGES").ok();
    given.map_or(MESSAGES, |text| text.parse().expect("FREELINE_MESSAGES"))
}

/// Takes the bot from every third line, as if somebody had removed it.
async fn disconnect_a_third(world: &World) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (url, config) = (world.sandbox.url(), world.sandbox.config());
    for n in [3, 6, 9] {
        let path = format!("{url}/v1/hook/{}/{}/", HookKind::Bot.word(), line_id(n));
        let call = http.delete(path).basic_auth(&config.login, Some(&config.password));
        assert_eq!(call.send().await.unwrap().status(), 200);
    }
}

on_both!(every_message_arrives_once_and_in_order_over_an_ugly_platform);
async fn every_message_arrives_once_and_in_order_over_an_ugly_platform(database: TestDatabase) {
    let sandbox = SandboxConfig::quick().with_users(USERS);
    let setup = Setup { sandbox, ..Setup::default() }.with("FREELINE_HAND_OVER", "no");
    let world = World::ready_with(database, setup).await;
    disconnect_a_third(&world).await;
    let faults = Faults { drop_after: 0.05, status_5xx: 0.05, ..Faults::default() };
    world.sandbox.set_faults(faults).unwrap();
    let count = count();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for n in 0..count {
        let user = u16::try_from(n % usize::from(USERS)).unwrap() + 1;
        let (line, user) = (line_id(user % 9 + 1), user_id(user));
        let text = format!("Сообщение {n}");
        let body = json!({ "key": format!("k{n}"), "line_id": line.as_str(),
            "user_id": user.as_str(), "text": text });
        let (status, answer) = world.post("/messages", &body).await;
        assert_eq!(status, 202, "{answer}");
        expected.entry(user.to_string()).or_default().push(text);
    }
    let mut half_minutes = 0;
    while world.sandbox.message_count() < count {
        assert!(half_minutes < HALF_MINUTES_MAX, "{} of {count}", world.sandbox.message_count());
        world.clock.advance(Span::from_secs(30));
        world.settle().await;
        half_minutes += 1;
    }
    // Whatever is still in doubt has its time, and nothing more arrives.
    world.sandbox.set_faults(Faults::default()).unwrap();
    world.pass(300).await;
    let mut arrived: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in world.sandbox.messages() {
        arrived.entry(message.user.to_string()).or_default().push(message.text);
    }
    assert_eq!(arrived, expected);
    let unfinished = ["queued", "sending", "in_doubt", "rejected"];
    for state in unfinished {
        let found = world.get(&format!("/messages?state={state}")).await;
        assert_eq!(found["items"], json!([]), "{state}");
    }
    println!("{count} messages, each once, after {half_minutes} half minutes of the test's clock");
}
