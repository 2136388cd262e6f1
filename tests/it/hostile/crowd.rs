//! More connections than there are places.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use serde_json::json;

use super::memory::Victim;
use crate::support::build::NOW;
use crate::support::event;

/// Connections that say nothing.
const CROWD: usize = 2_000;
/// Files that this process needs for itself.
const OWN_FILES: usize = 200;
/// More files than the service has for connections and all else.
const FILES_MAX: usize = 512 + 100;
/// How long a good pair of requests may take in the crowd.
const WITHIN: Duration = Duration::from_secs(20);

/// How many connections this process may open.
fn size() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("of files");
    let soft = line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok());
    CROWD.min(soft.unwrap_or(usize::MAX).saturating_sub(OWN_FILES))
}

/// Opens many connections, says `beginning` on each, and stays until it is thrown out.
fn gather(victim: &Victim, beginning: &'static str) -> JoinSet<()> {
    let address = victim.service.address();
    let mut crowd = JoinSet::new();
    for _ in 0..size() {
        crowd.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else { return };
            drop(stream.write_all(beginning.as_bytes()).await);
            let mut heard = Vec::new();
            drop(stream.read_to_end(&mut heard).await);
        });
    }
    crowd
}

/// The largest body that is taken, and so many of them that they are more than the memory that may
/// be used.
const LARGE_BYTES: usize = 1_024 * 1_024;
const LARGE: usize = 96;

#[tokio::test]
async fn a_backlog_of_large_events_is_taken_in_without_all_of_it_in_memory() {
    let mut victim = Victim::start().await;
    let large = |n: usize| {
        let words = "x".repeat(LARGE_BYTES - 1_024);
        let (message, user, treatment) = (format!("m{n}"), format!("u{n}"), format!("t{n}"));
        let text = event::text(&message, ("line", &user, &treatment), NOW);
        let event = event::received(&event::with(text, json!({ "text": words })), NOW);
        assert!(event.body.len() <= LARGE_BYTES);
        event
    };
    victim.comes_back_to(&(0..LARGE).map(large).collect::<Vec<_>>()).await;
    let grown = victim.kept_its_memory();
    println!("{LARGE} large events took {grown} KiB more");
    victim.is_well().await;
    victim.logged_no_error();
}

async fn a_crowd(beginning: &'static str) {
    let victim = Victim::start().await;
    let crowd = gather(&victim, beginning);
    let first = victim.is_well_within(WITHIN).await;
    let files = victim.files();
    assert!(files < FILES_MAX, "{files} files are open");
    let second = victim.is_well_within(WITHIN).await;
    let grown = victim.kept_its_memory();
    println!("good pairs took {first:?} and {second:?}; {files} files, {grown} KiB more");
    drop(crowd);
    victim.is_well().await;
    victim.logged_no_error();
}

#[tokio::test]
async fn thousands_who_say_nothing_do_not_keep_others_out() {
    a_crowd("").await;
}

#[tokio::test]
async fn thousands_who_say_half_a_head_do_not_keep_others_out() {
    a_crowd("POST /connect/hook/ HTTP/1.1\r\nX-A: ").await;
}

#[tokio::test]
async fn thousands_who_asked_once_and_stay_do_not_keep_others_out() {
    a_crowd("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
}
