//! A platform full of life, and an ERP that hands payments over, whatever becomes of the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use freeline::clock::SystemClock;
use freeline::lifecycle::Tasks;
use freeline::sandbox::people::{self, PeopleConfig};
use freeline::sandbox::{
    Faults, Sandbox, SandboxConfig, SandboxHandle, TECHNICAL_USER_ID, line_id, specialist_id,
    user_id,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::support::process::{Client, LOOK_EVERY};

/// Managers with payments.
pub(super) const MANAGERS: u16 = 3;
/// Lines of each of them.
const LINES_EACH: u16 = 10;
/// Lines that nobody pays to: treatments move there.
const LINES_ASIDE: u16 = 3;
/// Payments that are handed over at once.
const SENDERS: u64 = 8;
/// Acknowledged payments that may wait for their message before the ERP hands over more.
const AHEAD: usize = 60;

/// Users, each subscribed to every line.
const USERS: u16 = 6;
const LINES: u16 = MANAGERS * LINES_EACH + LINES_ASIDE;

/// A platform that duplicates, reorders, loses answers and calls, and repeats for as long as it
/// takes what it could not deliver.
pub(super) async fn platform(seed: u64, tasks: &Tasks) -> SandboxHandle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let config = SandboxConfig {
        seed,
        copies_max: 1_000,
        retry_after: Duration::from_millis(150),
        ..SandboxConfig::quick().with_lines(LINES).with_users(USERS)
    };
    let sandbox =
        Sandbox::start(config, listener, tasks, Arc::new(SystemClock)).expect("a sandbox");
    let faults = Faults {
        duplicate: 0.2,
        reorder: 0.2,
        drop_before: 0.01,
        drop_after: 0.05,
        status_5xx: 0.01,
        status_429: 0.01,
        seed: Some(seed),
        ..Faults::default()
    };
    sandbox.set_faults(faults).expect("faults within bounds");
    sandbox
}

/// Starts the people: specialists take, close, and move treatments, users rate them; and until it
/// is `enough` users write on their own.
pub(super) fn people(
    sandbox: &SandboxHandle,
    seed: u64,
    enough: &CancellationToken,
    tasks: &Tasks,
) {
    let config = PeopleConfig {
        take_after: Duration::from_millis(1)..=Duration::from_millis(5),
        close_after: Duration::from_millis(5)..=Duration::from_millis(60),
        rated: 0.2,
        users_write_every: None,
        seed,
    };
    people::start(sandbox.clone(), config, tasks);
    let (handle, quiet) = (sandbox.clone(), enough.clone());
    tasks.spawn("users", async move { write(&handle, seed, &quiet).await });
    let (handle, stopping) = (sandbox.clone(), tasks.clone());
    tasks.spawn("movers", async move {
        tokio::select! {
            () = move_some(&handle, seed) => {}
            () = stopping.stopping() => {}
        }
    });
}

/// Users write on any line. The first one is left to the service.
async fn write(sandbox: &SandboxHandle, seed: u64, enough: &CancellationToken) {
    let mut dice = StdRng::seed_from_u64(seed);
    while !enough.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(dice.random_range(30..120))).await;
        let (line, user) = (line_id(dice.random_range(1..=LINES)), dice.random_range(2..=USERS));
        let wrote = sandbox.write(&line, &user_id(user), None, "Добрый день!").await;
        wrote.expect("they are subscribed to every line");
    }
}

/// Moves every twentieth treatment elsewhere; those of payments go where no payment is sent to, so
/// that a chat never holds what nobody could tell from our message.
async fn move_some(sandbox: &SandboxHandle, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut opened = sandbox.watch_opened();
    loop {
        let treatment = match opened.recv().await {
            Ok(treatment) => treatment,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if !dice.random_ratio(1, 20) {
            continue;
        }
        let is_of_payment = treatment.user.as_str() == TECHNICAL_USER_ID;
        let lines = if is_of_payment { LINES - LINES_ASIDE + 1..=LINES } else { 1..=LINES };
        let to = line_id(dice.random_range(lines));
        if let Err(error) = sandbox.reroute(&treatment.line, &treatment.user, &to).await {
            tracing::debug!(%error, "it is closed already");
        }
    }
}

/// The managers with their lines, and one aside.
pub(super) fn directory() -> Value {
    let managers = (1..=MANAGERS + 1).map(|n| {
        json!({ "id": format!("m{n}"), "name": format!("Менеджер {n}"),
            "email": format!("m{n}@example.org"), "specialist_id": specialist_id(1).as_str() })
    });
    let lines = (1..=LINES).map(|n| {
        json!({ "line_id": line_id(n).as_str(), "name": format!("Линия {n}"),
            "manager": format!("m{}", (n - 1) / LINES_EACH + 1), "position": n })
    });
    let counterparties = (1..=MANAGERS).map(|n| {
        json!({ "id": format!("c{n}"), "name": format!("ООО «Покупатель {n}»"),
            "manager": format!("m{n}") })
    });
    json!({ "managers": managers.collect::<Vec<_>>(), "lines": lines.collect::<Vec<_>>(),
        "counterparties": counterparties.collect::<Vec<_>>() })
}

/// A payment that was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Paid {
    /// Its number.
    pub(super) number: String,
    /// Its id.
    pub(super) id: String,
    /// What it is about, so that no two are alike.
    pub(super) amount: String,
    /// The same once more in another field.
    pub(super) order: String,
}

/// The ERP: hands payments over until it is told to stop, repeating each until it is answered.
pub(super) struct Erp {
    pub(super) client: Client,
    pub(super) sandbox: SandboxHandle,
    pub(super) seed: u64,
    pub(super) enough: CancellationToken,
    pub(super) acknowledged: AtomicUsize,
}

impl Erp {
    /// Answers every payment that was acknowledged, by its key.
    pub(super) async fn work(&self) -> BTreeMap<String, Paid> {
        let all = futures::future::join_all((0..SENDERS).map(|sender| self.send(sender))).await;
        all.into_iter().flatten().collect()
    }

    async fn send(&self, sender: u64) -> Vec<(String, Paid)> {
        let mut dice = StdRng::seed_from_u64(self.seed ^ (sender + 1));
        let mut paid = Vec::new();
        for index in 1.. {
            if self.enough.is_cancelled() {
                break;
            }
            if self.acknowledged.load(Ordering::SeqCst) > self.sandbox.message_count() + AHEAD {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let (key, body) = payment(sender, index, dice.random_range(1..=MANAGERS));
            let one = self.hand_over(&body).await;
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
            // The ERP forgets that it was answered: the same key is the same payment.
            if dice.random_ratio(1, 10) {
                assert_eq!(self.hand_over(&body).await, one, "the same key, another payment");
            }
            paid.push((key, one));
            tokio::time::sleep(Duration::from_millis(dice.random_range(20..200))).await;
        }
        paid
    }

    async fn hand_over(&self, body: &Value) -> Paid {
        let answer = self.client.call(Method::POST, "/payments", body).await;
        let text = |of: &Value, field: &str| of[field].as_str().expect("a text").to_owned();
        Paid {
            number: text(&answer, "number"),
            id: text(&answer, "id"),
            amount: text(body, "amount"),
            order: text(body, "order"),
        }
    }
}

fn payment(sender: u64, index: u64, manager: u16) -> (String, Value) {
    let key = format!("kill-{sender}-{index}");
    let body = json!({ "key": key, "counterparty": format!("c{manager}"),
        "amount": format!("{index}.{sender:02}"), "order": format!("Заказ {sender}/{index}"),
        "paid_at": "2026-03-05T14:07:00Z" });
    (key, body)
}
