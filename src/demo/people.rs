//! The people of the demo: who pays, who writes, who closes.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::core::number::Number;
use crate::core::time::Time;
use crate::demo::Stage;
use crate::demo::company::{COUNTERPARTIES, LINES, line_name, line_number, other_user};
use crate::demo::ledger::Cause;
use crate::lifecycle::Tasks;
use crate::sandbox::{MessageRecord, Opening, Treatment, line_id};

/// Time between two payments.
const PAYMENT_EVERY: std::ops::Range<u64> = 150..700;
/// Time until a specialist closes a treatment.
const CLOSE_AFTER: std::ops::Range<u64> = 1_500..4_000;
/// Time between two treatments that users open on their own.
const USER_EVERY: std::ops::Range<u64> = 2_000..5_000;
/// `message_type` of a close by a specialist.
const CLOSED_BY_SPECIALIST: i64 = 82;

async fn pause(rng: &mut StdRng, millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(millis))).await;
}

/// Pays, until the play ends.
pub(super) async fn send_payments(stage: Stage, acting: Tasks) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut index: u64 = 0;
    while !acting.is_stopping() {
        index += 1;
        if let Err(error) = pay(&stage, &mut rng, index).await {
            stage.ledger.say(&format!("a payment was not taken: {error:#}"));
        }
        tokio::select! {
            () = pause(&mut rng, PAYMENT_EVERY) => {}
            () = acting.stopping() => {}
        }
    }
}

async fn pay(stage: &Stage, rng: &mut StdRng, index: u64) -> anyhow::Result<()> {
    let chosen = rng.random_range(0..COUNTERPARTIES.len());
    let Some((counterparty, name, _, _)) = COUNTERPARTIES.get(chosen) else { return Ok(()) };
    let amount = format!("{}.{:02}", rng.random_range(1_000..900_000), rng.random_range(0..100));
    let now = stage.clock.now();
    let body = json!({
        "key": format!("demo-{index}"),
        "counterparty": counterparty,
        "amount": amount,
        "paid_at": now.to_string(),
        "order": format!("Заказ {}", 1_000 + index),
        "purpose": "Оплата по счёту",
    });
    let payment = stage.call(reqwest::Method::POST, "/api/v1/payments", &body).await?;
    let text = |pointer| payment.pointer(pointer).and_then(serde_json::Value::as_str);
    let number = text("/number")
        .and_then(Number::parse)
        .ok_or_else(|| anyhow::anyhow!("the service answered a payment without a number"))?;
    let received = text("/received_at").and_then(Time::parse_rfc3339).unwrap_or(now);
    stage.ledger.say(&format!("{number} comes in: {amount} RUB from {name}"));
    stage.ledger.payment_in(number, received);
    Ok(())
}

/// Prints every message that the platform takes.
pub(super) async fn watch_messages(stage: Stage) {
    let mut shown = 0;
    while !stage.tasks.is_stopping() {
        let messages = stage.sandbox.wait_for_messages(shown + 1).await;
        for message in messages.iter().skip(shown) {
            tell(&stage, message);
        }
        shown = messages.len();
    }
}

fn tell(stage: &Stage, message: &MessageRecord) {
    let number = Number::find_all(&message.text).into_iter().next();
    let number = number.map_or_else(|| "a message".to_owned(), |number| number.to_string());
    let line = line_number(&message.line).map_or_else(|| message.line.to_string(), line_name);
    let how = match stage.ledger.message_out(message) {
        Cause::AtOnce(span) => format!("{span} after it came in"),
        Cause::LineFreed(span) => format!("{span} after the line got free"),
        Cause::Unknown => "from somebody else".to_owned(),
    };
    stage.ledger.say(&format!("{number} goes out on «{line}», {how}"));
}

/// Specialists close every treatment after a while.
pub(super) async fn close_treatments(stage: Stage) {
    let mut opened = stage.sandbox.watch_opened();
    let mut rng = StdRng::seed_from_u64(2);
    let closing = Tasks::new();
    // A lag means that treatments were missed: the play is slow then, and goes on.
    while let Ok(treatment) = opened.recv().await {
        let after = Duration::from_millis(rng.random_range(CLOSE_AFTER));
        closing.spawn("a specialist", close(stage.clone(), treatment, after));
    }
}

async fn close(stage: Stage, treatment: Treatment, after: Duration) {
    tokio::select! {
        () = tokio::time::sleep(after) => {}
        () = stage.tasks.stopping() => return,
    }
    let Treatment { line, user, .. } = &treatment;
    let freed_at = stage.clock.now();
    stage.ledger.line_freed(line, freed_at);
    if stage.sandbox.close(line, user, CLOSED_BY_SPECIALIST).await.is_ok() {
        let name = line_number(line).map_or_else(|| line.to_string(), line_name);
        stage.ledger.say(&format!("a treatment on «{name}» is closed"));
    }
}

/// Users write on their own now and then.
pub(super) async fn open_treatments(stage: Stage) {
    let mut rng = StdRng::seed_from_u64(3);
    while !stage.tasks.is_stopping() {
        pause(&mut rng, USER_EVERY).await;
        let number = rng.random_range(1..=LINES);
        let user = other_user(rng.random_range(0..u16::MAX));
        let opening = Opening::by_user(&line_id(number), &user).with_text("Добрый день!");
        if stage.sandbox.open(opening).await.is_ok() {
            let line = line_name(number);
            stage.ledger.say(&format!("a user writes on «{line}»: the line is busy"));
        }
    }
}
