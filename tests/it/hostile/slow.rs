//! Clients that take their time.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::memory::{Victim, verdict};
use crate::support::event::with;
use crate::support::{HOOK_TOKEN, TOKEN};

/// What the service allows for a head and for a body, and how much later the end may be seen.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const BODY_WITHIN: Duration = Duration::from_secs(20);
const READ_ON_WITHIN: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(8);
/// Between two bytes of a client that drips.
const DRIP_EVERY: Duration = Duration::from_millis(100);
/// Clients that ask and do not listen.
const DEAF: usize = 3;
/// Customers of a directory whose answer soon fills all buffers.
const CUSTOMERS: usize = 3_000;
/// Clients of each other kind.
const CLIENTS: usize = 20;

/// Says `beginning` at once and then `drip` again and again, nothing if it is empty, until the end;
/// answers what came back and how long it took.
async fn drip(victim: &Victim, beginning: &str, drip: &str) -> (String, Duration) {
    let began = Instant::now();
    let stream = TcpStream::connect(victim.service.address()).await.expect("it accepts");
    let (mut read, mut write) = stream.into_split();
    let dripping = async {
        let mut said = write.write_all(beginning.as_bytes()).await;
        while said.is_ok() {
            tokio::time::sleep(DRIP_EVERY).await;
            said = write.write_all(drip.as_bytes()).await;
        }
        std::future::pending::<()>().await;
    };
    let mut heard = Vec::new();
    let listening = async { drop(read.read_to_end(&mut heard).await) };
    let ended = async {
        tokio::select! { () = dripping => {} () = listening => {} }
    };
    tokio::time::timeout(BODY_WITHIN + LATER, ended).await.expect("it is not waited for");
    (String::from_utf8_lossy(&heard).into_owned(), began.elapsed())
}

fn head(target: &str, token: &str, more: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{more}\r\n"
    )
}

async fn heads_are_not_waited_for(victim: &Victim) {
    let cases = [("", ""), ("POST /connect", ""), ("G", "x"), ("GET / HTTP/1.1\r\n", "X: y\r\n")];
    let clients = cases.iter().cycle().take(CLIENTS);
    let dripped = clients.map(|(beginning, more)| drip(victim, beginning, more));
    for (_, took) in futures::future::join_all(dripped).await {
        assert!(took < HEAD_WITHIN + LATER, "{took:?}");
    }
}

async fn bodies_are_not_waited_for(victim: &Victim) {
    let (event, payment) = ("/connect/hook/", "/api/v1/payments");
    let (length, chunks) = ("Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n");
    let cases = [
        (head(event, HOOK_TOKEN, length) + "{", "", 408),
        (head(event, HOOK_TOKEN, length) + "{", " ", 408),
        (head(event, HOOK_TOKEN, chunks), "1\r\n{\r\n", 408),
        (head(payment, TOKEN, length) + "{", " ", 408),
        (head(payment, TOKEN, chunks), "", 408),
        (head("/api/v1/directory", TOKEN, length), " ", 405),
        (head(event, "wrong", length), " ", 401),
    ];
    let clients = cases.iter().cycle().take(CLIENTS);
    let dripped = clients.map(async |(beginning, more, status)| {
        let (heard, took) = drip(victim, beginning, more).await;
        let (found, code) = verdict(&heard);
        assert_eq!(found, *status, "{beginning}: {heard}");
        assert!(code.is_some(), "{beginning}: {heard}");
        assert!(took < BODY_WITHIN + LATER, "{beginning}: {took:?}");
        assert!(found == 408 || took < LATER, "{beginning}: refused only after {took:?}");
    });
    futures::future::join_all(dripped).await;
}

/// Asks again and again and never reads.
async fn answers_are_not_kept_ready(victim: &Victim) {
    let asking = async |_| {
        let mut stream = TcpStream::connect(victim.service.address()).await.expect("it accepts");
        let ask = format!(
            "GET /api/v1/directory HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        while stream.write_all(ask.as_bytes()).await.is_ok() {}
    };
    let all = futures::future::join_all((0..DEAF).map(asking));
    // Asking takes its time until the buffers of both sides are full.
    let within = READ_ON_WITHIN + LATER * 2;
    tokio::time::timeout(within, all).await.expect("nobody is answered who does not listen");
}

#[tokio::test]
async fn whoever_takes_his_time_is_not_waited_for_and_others_do_not_wait() {
    let customers = (0..CUSTOMERS).map(
        |n| json!({"id": format!("c{n}"), "name": "Customer of a long name", "manager": "m1"}),
    );
    let customers = json!({ "counterparties": customers.collect::<Vec<_>>() });
    let directory = with(crate::support::directory(), customers);
    let victim = Victim::start_with(&directory).await;
    let before = victim.files();
    let attack = async {
        tokio::join!(
            heads_are_not_waited_for(&victim),
            bodies_are_not_waited_for(&victim),
            answers_are_not_kept_ready(&victim),
        );
    };
    let mut slowest = Duration::ZERO;
    let others = async {
        loop {
            slowest = slowest.max(victim.is_well().await);
            tokio::time::sleep(DRIP_EVERY).await;
        }
    };
    tokio::select! { () = attack => {} () = others => {} }
    victim.is_well().await;
    println!("{} KiB more; the slowest good pair took {slowest:?}", victim.kept_its_memory());
    let few = async {
        while victim.files() > before + 2 {
            tokio::time::sleep(DRIP_EVERY).await;
        }
    };
    tokio::time::timeout(LATER, few).await.expect("no connection is left behind");
}
