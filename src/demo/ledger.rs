//! What the demo saw: printed line by line, and added up at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::core::id::LineId;
use crate::core::number::Number;
use crate::core::time::{Span, Time};
use crate::sandbox::MessageRecord;

/// Payments, freed lines, and the times between.
pub(super) struct Ledger {
    clock: Arc<dyn Clock>,
    started_at: Time,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    payments: BTreeMap<Number, Time>,
    freed: BTreeMap<LineId, Time>,
    waits: Vec<Span>,
}

/// How a message came about.
pub(super) enum Cause {
    /// A line was free when the payment came: so long after it.
    AtOnce(Span),
    /// The payment waited, and went out so long after a line got free.
    LineFreed(Span),
    /// It is not the message of a payment of ours.
    Unknown,
}

impl Ledger {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let started_at = clock.now();
        Self { clock, started_at, seen: Mutex::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints one step. A closed terminal is no reason to stop the play.
    pub(super) fn say(&self, step: &str) {
        let since = self.clock.now().since(self.started_at);
        let (secs, millis) = (since.whole_secs(), since.micros() / 1_000 % 1_000);
        let mut out = std::io::stdout();
        if writeln!(out, "{secs:>4}.{millis:03}  {step}").is_err() {
            tracing::debug!("nobody reads the demo any more");
        }
    }

    pub(super) fn payment_in(&self, number: Number, at: Time) {
        self.seen().payments.insert(number, at);
    }

    pub(super) fn line_freed(&self, line: &LineId, at: Time) {
        self.seen().freed.insert(line.clone(), at);
    }

    /// Tells how a message came about, and counts the waits for a freed line.
    pub(super) fn message_out(&self, message: &MessageRecord) -> Cause {
        let mut seen = self.seen();
        let numbers = Number::find_all(&message.text);
        let Some(paid) = numbers.iter().find_map(|number| seen.payments.get(number)).copied()
        else {
            return Cause::Unknown;
        };
        match seen.freed.remove(&message.line) {
            Some(freed) if freed > paid => {
                let wait = message.at.since(freed);
                seen.waits.push(wait);
                Cause::LineFreed(wait)
            }
            Some(_) | None => Cause::AtOnce(message.at.since(paid)),
        }
    }

    /// Prints the sums; an error if a message went out twice.
    pub(super) fn summary(&self, messages: Vec<MessageRecord>) -> anyhow::Result<()> {
        let mut seen = self.seen();
        let mut sent: BTreeMap<Number, usize> = BTreeMap::new();
        for message in messages {
            for number in Number::find_all(&message.text) {
                *sent.entry(number).or_default() += 1;
            }
        }
        let doubled = sent.values().filter(|times| **times > 1).count();
        let waiting = seen.payments.keys().filter(|number| !sent.contains_key(*number)).count();
        seen.waits.sort_unstable();
        let median = seen.waits.get(seen.waits.len() / 2).copied();
        let worst = seen.waits.last().copied();
        let mut out = std::io::stdout();
        writeln!(out)?;
        writeln!(out, "payments in    {}", seen.payments.len())?;
        writeln!(out, "messages out   {}", sent.len())?;
        writeln!(out, "still waiting  {waiting}")?;
        writeln!(out, "doubled        {doubled}")?;
        match (median, worst) {
            (Some(median), Some(worst)) => writeln!(
                out,
                "from a freed line to the message: median {median}, worst {worst} ({} times)",
                seen.waits.len()
            )?,
            _ => writeln!(out, "no payment had to wait for a line")?,
        }
        anyhow::ensure!(doubled == 0, "{doubled} payments were sent twice");
        Ok(())
    }
}
