//! Keeps events: many requests, one commit.
//!
//! A commit costs one wait for the disk, however many rows it holds. One task gathers all events
//! that wait, writes them in one transaction, and only then lets their requests be answered.
//!
//! Invariant: nobody is told that an event is kept before it is committed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::lifecycle::Tasks;
use crate::store::{Kept, NewEvent, Store, StoreError};
use crate::telemetry;

/// Events that may wait for the next commit; more are refused, the platform repeats them.
const QUEUE: usize = 4_096;
/// Events in one commit at the most.
const BATCH_EVENTS: usize = 256;
/// Bytes of bodies in one commit at the most, but for a single larger event.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long a request waits for its commit: shorter than the platform and nginx wait for us.
const PATIENCE: Duration = Duration::from_secs(4);

/// The way in for events.
#[derive(Clone, Debug)]
pub(super) struct EventKeeper {
    queue: mpsc::Sender<Waiting>,
}

/// An event and the request that waits for it.
struct Waiting {
    event: NewEvent,
    answer: oneshot::Sender<bool>,
}

/// The event could not be kept: the platform has to send it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotKept;

impl EventKeeper {
    /// Starts the task that writes; it ends when every keeper is gone, and at the end of a stop as
    /// soon as nothing waits: requests in flight still come to it.
    pub(super) fn start(store: Arc<dyn Store>, tasks: &Tasks) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tasks.spawn("event keeper", keep_all(store, waiting, tasks.clone()));
        Self { queue }
    }

    /// Waits until the event is on disk.
    pub(super) async fn keep(&self, event: NewEvent) -> Result<(), NotKept> {
        let (answer, kept) = oneshot::channel();
        self.queue.try_send(Waiting { event, answer }).map_err(|_| NotKept)?;
        match tokio::time::timeout(PATIENCE, kept).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(NotKept),
        }
    }
}

async fn keep_all(store: Arc<dyn Store>, mut waiting: mpsc::Receiver<Waiting>, tasks: Tasks) {
    loop {
        let first = tokio::select! {
            biased;
            first = waiting.recv() => first,
            () = tasks.late() => waiting.try_recv().ok(),
        };
        let Some(first) = first else { return };
        let batch = gather(first, &mut waiting);
        keep_batch(&*store, batch).await;
    }
}

/// The first and whatever waits behind it.
fn gather(first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut bytes = first.event.body.len();
    let mut batch = vec![first];
    while batch.len() < BATCH_EVENTS && bytes < BATCH_BYTES {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += next.event.body.len();
        batch.push(next);
    }
    batch
}

async fn keep_batch(store: &dyn Store, batch: Vec<Waiting>) {
    let (events, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.event, waiting.answer)).unzip();
    let kept = match store.keep_events(&events).await {
        Ok(kept) => {
            let copies = kept.iter().filter(|kept| **kept == Kept::Copy).count();
            tracing::debug!(events = kept.len(), copies, "events are on disk");
            vec![true; events.len()]
        }
        Err(error) => {
            log_failure(&error, events.len());
            if error.is_outage() {
                vec![false; events.len()]
            } else {
                keep_one_by_one(store, &events).await
            }
        }
    };
    for (answer, kept) in answers.into_iter().zip(kept) {
        if answer.send(kept).is_err() {
            tracing::debug!("a request went away before its event was dealt with");
        }
    }
}

/// One event that the database does not take must not keep the others out. Ends at an outage: each
/// event would wait for it anew, and those behind them too.
async fn keep_one_by_one(store: &dyn Store, events: &[NewEvent]) -> Vec<bool> {
    let mut kept = vec![false; events.len()];
    if events.len() == 1 {
        return kept;
    }
    for (event, kept) in events.iter().zip(&mut kept) {
        match store.keep_events(std::slice::from_ref(event)).await {
            Ok(_) => *kept = true,
            Err(error) if error.is_outage() => break,
            Err(_) => {}
        }
    }
    kept
}

fn log_failure(error: &StoreError, events: usize) {
    telemetry::tell_outage(&format!("{events} events could not be kept"), error);
}
