//! Requests that wait for the next change.
//!
//! One task watches for all of them: it is rung for, or its timer runs out, and it looks at the
//! number of the newest change once, however many requests wait. While none does it looks at
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::lifecycle::Tasks;
use crate::store::Store;
use crate::telemetry;
use crate::wake::{Wake, Worker};

/// Requests that may wait at once: an eighth of the connections, so that there is always room for
/// those who bring something.
pub(super) const WAITING_MAX: usize = 64;
/// What a lost ring costs.
const TICK: Duration = Duration::from_secs(5);
/// The pause after the database failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Where requests wait for changes.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    places: Arc<Semaphore>,
    newest: watch::Receiver<i64>,
    tasks: Tasks,
}

/// A request's right to wait. Whatever is committed while it is held is noticed.
#[derive(Debug)]
pub(super) struct Place {
    newest: watch::Receiver<i64>,
    tasks: Tasks,
    _permit: OwnedSemaphorePermit,
}

impl Follow {
    /// Starts the task that watches; it ends at a stop.
    pub(super) fn start(store: Arc<dyn Store>, wake: Wake, tasks: &Tasks) -> Self {
        let places = Arc::new(Semaphore::new(WAITING_MAX));
        let (tell, newest) = watch::channel(0);
        let watching = watch_changes(store, wake, tell, Arc::clone(&places), tasks.clone());
        tasks.spawn("feed", watching);
        Self { places, newest, tasks: tasks.clone() }
    }

    /// A place to wait; `None` while all are taken. To be had before the changes are read behind
    /// which is waited.
    pub(super) fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { newest: self.newest.clone(), tasks: self.tasks.clone(), _permit: permit })
    }
}

impl Place {
    /// Waits for a change behind `seq`, at most until `deadline` or a stop; answers whether there
    /// is one.
    pub(super) async fn wait(&mut self, seq: i64, deadline: Instant) -> bool {
        tokio::select! {
            newer = self.newest.wait_for(|newest| *newest > seq) => newer.is_ok(),
            () = tokio::time::sleep_until(deadline) => false,
            () = self.tasks.stopping() => false,
        }
    }
}

async fn watch_changes(
    store: Arc<dyn Store>,
    wake: Wake,
    newest: watch::Sender<i64>,
    places: Arc<Semaphore>,
    tasks: Tasks,
) {
    while !tasks.is_stopping() {
        tokio::select! {
            () = wake.rung(Worker::Feed) => {}
            () = tokio::time::sleep(TICK) => {}
            () = tasks.stopping() => return,
        }
        if places.available_permits() == WAITING_MAX {
            continue;
        }
        match store.newest_change().await {
            Ok(seq) => {
                newest.send_if_modified(|known| std::mem::replace(known, seq) != seq);
            }
            Err(error) => {
                telemetry::tell_outage("it is not known whether something changed", &error);
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
