//! Hears which statements a store runs.

use std::collections::BTreeSet;
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::{Event, Instrument, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The span in which statements are listened for: other tests may run in the same process.
const LISTENED: &str = "statements_are_listened_for";

static HEARD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Runs `what` and answers the text of every statement that sqlx ran for it.
pub(crate) async fn statements_of<T>(what: impl Future<Output = T>) -> (T, BTreeSet<String>) {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Ear);
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
    });
    let result = what.instrument(tracing::info_span!("statements_are_listened_for")).await;
    (result, std::mem::take(&mut *HEARD.lock().expect("nobody panics while listening")))
}

struct Ear;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let listened = context
            .event_scope(event)
            .is_some_and(|mut scope| scope.any(|span| span.name() == LISTENED));
        if !listened || event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let statement = if words.statement.is_empty() { words.summary } else { words.statement };
        HEARD.lock().expect("nobody panics while listening").insert(statement.trim().to_owned());
    }
}

#[derive(Default)]
struct Words {
    summary: String,
    statement: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => self.summary = value.to_owned(),
            "db.statement" => self.statement = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
