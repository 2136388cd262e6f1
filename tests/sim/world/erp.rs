//! What the ERP and the people at its forms do: payments, orders about them, and the directory.

use freeline::core::id::PaymentId;
use freeline::core::number::Number;
use freeline::core::payment::{Command, PaymentState};
use freeline::store::{Added, Counterparty, Directory, LineEntry, Manager, NewPayment};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use super::life::{Asked, BEGIN, Failure, Life, broken, line_id, user_id};
use super::plan::{Setting, Step};
use super::replica::Around;
use super::turnstile::{Fate, Turnstile};

impl Life {
    pub(super) async fn pay(
        &mut self,
        n: usize,
        (user, whose, priority, hold): (usize, usize, i64, bool),
        fate: Fate,
    ) -> Result<String, Failure> {
        let seed = self
            .setting
            .seed
            .wrapping_mul(1_000_003)
            .wrapping_add(u64::try_from(n).expect("a small one"));
        let number = Number::from_random(StdRng::seed_from_u64(seed).next_u64());
        let (counterparty, manager) = match whose % 4 {
            0 => (Some("acme"), None),
            1 => (Some("bolt"), Some("boris")),
            2 => (None, Some("boris")),
            _ => (None, Some("anna")),
        };
        let new = NewPayment {
            id: format!("payment-{n:03}").into(),
            number,
            key: format!("key-{n}"),
            content: format!("content of {n}"),
            counterparty: counterparty.map(Into::into),
            manager: manager.map(Into::into),
            amount: 1_234_567,
            currency: "RUB".to_owned(),
            paid_at: BEGIN,
            order: None,
            purpose: None,
            priority,
            hold: hold.then(|| "ask first".to_owned()),
            mismatch: None,
            user: Some(user_id(user)),
            author: None,
            text: None,
        };
        let words = format!("the ERP hands over {} ({}) for {}", new.id, new.number, user_id(user));
        let store = self.store(0);
        let added = self.turnstile.run(store.add_payment(&new, self.now()), fate).await;
        let is_accepted = added.is_ok();
        self.asked.insert(n, Asked { new, is_accepted, is_settled_by_hand: false });
        match added {
            Ok(Added::New) => Ok(format!("{words}: 201")),
            Ok(other) => broken("one payment a key", format!("{words}: {other:?}")),
            Err(_) => Ok(format!("{words}: 503, {fate:?}")),
        }
    }

    /// The ERP repeats a payment, as it is or changed under the same key.
    pub(super) async fn pay_again(
        &mut self,
        which: usize,
        changed: bool,
    ) -> Result<Option<String>, Failure> {
        let Some(n) = which.checked_rem(self.asked.len()) else { return Ok(None) };
        let (store, now) = (self.store(0), self.now());
        let asked = self.asked.values_mut().nth(n).expect("there are so many");
        let mut new = asked.new.clone();
        // A request of its own gets an id of its own.
        new.id = format!("{}-again-{}", new.id, self.figures.steps).into();
        if changed && asked.is_accepted {
            new.content.push_str(", changed");
        }
        let added = self.turnstile.run(store.add_payment(&new, now), Fate::Fine).await;
        let words = format!("the ERP repeats {}: {added:?}", asked.new.key);
        match added.expect("the database is there") {
            Added::New if !asked.is_accepted => asked.new.id = new.id,
            Added::Same(id) if new.content == asked.new.content && id == asked.new.id => {}
            Added::Conflict(id) if new.content != asked.new.content && id == asked.new.id => {}
            _ => return broken("one payment a key", words),
        }
        asked.is_accepted = true;
        Ok(Some(words))
    }

    /// A person gives an order about a payment.
    pub(super) async fn order(&mut self, which: usize, what: usize, fate: Fate) -> Option<String> {
        let n = which.checked_rem(self.asked.len())?;
        let id = self.asked.values().nth(n)?.new.id.clone();
        let command = match what % 8 {
            0..3 => Command::Hold,
            3..6 => Command::Release,
            6 => Command::Cancel,
            _ => Command::Retry,
        };
        self.command(&id, command, fate).await
    }

    pub(super) async fn command(
        &mut self,
        id: &PaymentId,
        command: Command,
        fate: Fate,
    ) -> Option<String> {
        let (store, now) = (self.store(0), self.now());
        let before = self.around[0].store_past(id, &self.turnstile).await?;
        let done = self.turnstile.run(store.command_payment(id, command, "so be it", now), fate);
        let done = done.await;
        let was_in_doubt = before == PaymentState::InDoubt;
        let asked = self.asked.values_mut().find(|asked| asked.new.id == *id)?;
        if was_in_doubt && matches!(command, Command::Cancel | Command::Retry) {
            asked.is_settled_by_hand = true;
        }
        let done = match done {
            Ok(Some(Ok(()))) => "done".to_owned(),
            Ok(Some(Err(refused))) => refused.to_string(),
            Ok(None) => "not known".to_owned(),
            Err(_) => format!("503, {fate:?}"),
        };
        Some(format!("a person: {command:?} {id} ({before}): {done}"))
    }

    /// The ERP changes the directory.
    pub(super) async fn directory_changes(&mut self, step: Step) -> String {
        let (store, now) = (self.store(0), self.now());
        let turnstile = self.turnstile.clone();
        match step {
            Step::PutWhole { without } => {
                let mut given = directory(&self.setting);
                let mut at = 0;
                given.lines.retain(|_| {
                    at += 1;
                    (without >> at).is_multiple_of(2)
                });
                let put = turnstile.run(store.replace_directory(&given, now), Fate::Fine).await;
                put.expect("the database is there");
                let words = format!("the ERP puts a directory of {} lines", given.lines.len());
                words
            }
            Step::PutLine { line, manager, capacity, enabled } => {
                let entry = LineEntry {
                    capacity,
                    enabled,
                    manager: MANAGERS[manager % 2].into(),
                    ..line_entry(line)
                };
                let put = turnstile.run(store.put_line(&entry, now), Fate::Fine).await;
                put.expect("the database is there");
                let words = format!(
                    "the ERP puts {}: of {}, capacity {capacity}, enabled {enabled}",
                    entry.line, entry.manager
                );
                words
            }
            Step::PutManager { manager, enabled } => {
                let manager = Manager { enabled, ..manager_entry(MANAGERS[manager % 2]) };
                let put = turnstile.run(store.put_manager(&manager, now), Fate::Fine).await;
                put.expect("the database is there");
                format!("the ERP puts {}: enabled {enabled}", manager.id)
            }
            Step::PutCounterparty { which, manager } => {
                let id = ["acme", "bolt"][which % 2];
                let entry = counterparty(id, MANAGERS[manager % 2]);
                let put = turnstile.run(store.put_counterparty(&entry, now), Fate::Fine).await;
                put.expect("the database is there");
                format!("the ERP gives {id} to {}", entry.manager)
            }
            Step::Pause { line, resumed } => {
                let reason = (!resumed).then_some("holiday");
                let id = line_id(line);
                let put = turnstile.run(store.pause_line(&id, reason, now), Fate::Fine).await;
                put.expect("the database is there");
                let what = if resumed { "resumed" } else { "paused" };
                format!("{} is {what}", line_id(line))
            }
            _ => String::new(),
        }
    }
}

impl Around {
    /// Where a payment is.
    async fn store_past(&self, id: &PaymentId, turnstile: &Turnstile) -> Option<PaymentState> {
        let details = turnstile.run(self.store.payment(id), Fate::Fine).await;
        Some(details.expect("the database is there")?.payment.state)
    }
}

const MANAGERS: [&str; 2] = ["anna", "boris"];

fn manager_entry(id: &str) -> Manager {
    Manager {
        id: id.into(),
        name: format!("Manager {id}"),
        email: format!("{id}@example.org"),
        specialist: Some("specialist".into()),
        enabled: true,
    }
}

fn line_entry(n: usize) -> LineEntry {
    LineEntry {
        line: line_id(n),
        name: format!("Line {n}"),
        manager: MANAGERS[n % 2].into(),
        capacity: if n.is_multiple_of(3) { 2 } else { 1 },
        position: i64::from(n > 1),
        enabled: true,
    }
}

fn counterparty(id: &str, manager: &str) -> Counterparty {
    Counterparty {
        id: id.into(),
        name: format!("Customer {id}"),
        inn: None,
        manager: manager.into(),
        user: None,
    }
}

/// Everything enabled.
pub(super) fn directory(setting: &Setting) -> Directory {
    Directory {
        managers: MANAGERS.iter().map(|id| manager_entry(id)).collect(),
        lines: (0..setting.lines).map(line_entry).collect(),
        counterparties: vec![counterparty("acme", "anna"), counterparty("bolt", "anna")],
    }
}
