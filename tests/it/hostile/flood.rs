//! The largest bodies that are taken, many of them: they never stand in memory together.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use super::memory::{Victim, event_request, get_request};
use crate::support::process::LOOK_EVERY;

/// How long any of it may take: a megabyte is read by a program without optimisation.
const WITHIN: Duration = Duration::from_secs(30);
/// Events of a megabyte.
const EVENTS: usize = 150;
/// Of which so many are under way at once.
const AT_ONCE: usize = 4;

/// An event of a megabyte that makes as many values as fit into it.
fn large(n: usize) -> Vec<u8> {
    let values = r#"{"":0},"#.repeat(140_000);
    format!(r#"{{"event_type":"line","message_type":2,"message_id":"{n}","x":[{values}0]}}"#).into()
}

async fn page(victim: &Victim, target: &str) -> Value {
    let heard = victim.say(&get_request(target), WITHIN).await.expect("an answer");
    assert!(heard.starts_with("HTTP/1.1 200"), "{target}");
    let (_, body) = heard.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn a_flood_of_the_largest_events_is_kept_and_shown_in_bounded_memory() {
    let victim = Victim::start().await;
    // The intake works while they come, and all at once after a start: both are batches.
    let posts = stream::iter(0..EVENTS).map(|n| {
        let (victim, request) = (&victim, event_request(&large(n), ""));
        async move { victim.say(&request, WITHIN).await.expect("an answer") }
    });
    let answers: Vec<String> = posts.buffer_unordered(AT_ONCE).collect().await;
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200")), "{answers:?}");
    let rests = async {
        while page(&victim, "/api/v1/events?state=new&limit=1").await["items"]
            != Value::from(vec![0; 0])
        {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(WITHIN, rests).await.expect("all are taken into account");

    let (mut seen, mut after) = (0, String::new());
    for _ in 0..EVENTS {
        let target = format!("/api/v1/events?message_type=2&limit=500&cursor={after}");
        let page = page(&victim, &target).await;
        seen += page["items"].as_array().expect("a list").len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut after);
        if seen > EVENTS / 4 {
            break;
        }
    }
    assert!(seen > EVENTS / 4, "pages go on one behind the other");
    println!("{} KiB more", victim.kept_its_memory());
    victim.is_well().await;
}
