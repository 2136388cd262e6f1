//! Builders that default everything: a test names only what it is about.

use freeline::core::number::Number;
use freeline::core::time::{Span, Time};
use freeline::store::{Counterparty, Directory, LineEntry, Manager, NewPayment};

/// The moment at which tests begin: 2026-03-02 09:00 UTC.
pub(crate) const NOW: Time = Time::from_micros(1_772_442_000_000_000);

/// So many seconds after [`NOW`], or before it.
pub(crate) const fn at(seconds: i64) -> Time {
    if seconds < 0 {
        NOW.minus(Span::from_secs(-seconds))
    } else {
        NOW.plus(Span::from_secs(seconds))
    }
}

/// A manager with an address.
pub(crate) fn manager(id: &str) -> Manager {
    Manager {
        id: id.into(),
        name: format!("Manager {id}"),
        email: format!("{id}@example.org"),
        specialist: None,
        enabled: true,
    }
}

/// A line for one treatment at a time.
pub(crate) fn line(id: &str, manager: &str) -> LineEntry {
    LineEntry {
        line: id.into(),
        name: format!("Line {id}"),
        manager: manager.into(),
        capacity: 1,
        position: 0,
        enabled: true,
    }
}

/// A customer with a user of its own.
pub(crate) fn counterparty(id: &str, manager: &str) -> Counterparty {
    Counterparty {
        id: id.into(),
        name: format!("Customer {id}"),
        inn: Some("7707083893".to_owned()),
        manager: manager.into(),
        user: Some(format!("user-of-{id}").into()),
    }
}

/// Anna and her lines.
pub(crate) fn directory(lines: impl IntoIterator<Item = LineEntry>) -> Directory {
    Directory {
        managers: vec![manager("anna")],
        lines: lines.into_iter().collect(),
        counterparties: Vec::new(),
    }
}

/// The `n`th payment: Anna's, for a user of its own (`user-n`).
pub(crate) fn payment(n: u64) -> NewPayment {
    NewPayment {
        id: format!("payment-{n}").into(),
        number: Number::from_random(n),
        key: format!("key-{n}"),
        content: format!("content of {n}"),
        counterparty: None,
        manager: Some("anna".into()),
        amount: 1_234_567,
        currency: "RUB".to_owned(),
        paid_at: at(-3_600),
        order: None,
        purpose: None,
        priority: 0,
        hold: None,
        mismatch: None,
        user: Some(format!("user-{n}").into()),
        author: None,
        text: None,
    }
}

/// The `n`th payment, of a counterparty that alone says whose it is.
pub(crate) fn payment_of(n: u64, counterparty: &str) -> NewPayment {
    NewPayment { counterparty: Some(counterparty.into()), manager: None, user: None, ..payment(n) }
}
