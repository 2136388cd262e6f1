//! Supervised tasks and the three-step stop.
//!
//! Every background task is spawned here and nowhere else, so that none is left behind when the
//! process stops. The *soft* signal asks a task to finish what it has in hand; the *late* one to let
//! go of it and to write down what is known of it; the *hard* one drops it where it stands.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks may take to let go of what they have in hand.
pub const LET_GO_WITHIN: Duration = Duration::from_secs(1);

/// The tasks of one running application, and its stop signals.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    soft: CancellationToken,
    late: CancellationToken,
    hard: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// No tasks yet, running.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `task`. It should end soon after [`Tasks::stopping`] and is dropped at the hard
    /// stop. A panic in it stops the whole application, as a failure.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.clone();
        let hard = self.hard.clone();
        // The inner task catches a panic, the outer one reports it: a worker that died silently
        // would leave payments waiting for ever.
        let inner = self.tracker.spawn(async move { hard.run_until_cancelled(task).await });
        tokio::spawn(async move {
            if let Err(error) = inner.await
                && error.is_panic()
            {
                tracing::error!(task = name, "task {name} panicked; the application stops");
                tasks.failed.cancel();
                tasks.soft.cancel();
            }
        });
    }

    /// Spawns what somebody outside has set going, such as a connection. It is waited for like any
    /// other task, but a panic in it ends nothing else: it must not be theirs to stop us.
    pub fn spawn_guest(&self, task: impl Future<Output = ()> + Send + 'static) {
        let hard = self.hard.clone();
        self.tracker.spawn(async move { hard.run_until_cancelled(task).await });
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Reports that a task cannot go on: stops the application as a failure.
    pub fn fail(&self) {
        self.failed.cancel();
        self.soft.cancel();
    }

    /// Whether the stop was asked for by a failure.
    pub fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits until a stop is asked for.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until there is no more time to finish what is in hand.
    pub async fn late(&self) {
        self.late.cancelled().await;
    }

    /// Asks every task to finish, waits for them up to `patience`, gives them [`LET_GO_WITHIN`] to
    /// let go, then drops the rest.
    pub async fn shutdown(&self, patience: Duration) {
        self.soft.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                "some tasks did not finish in time and let go of what they have in hand"
            );
        }
        self.late.cancel();
        if tokio::time::timeout(LET_GO_WITHIN, self.tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not let go in time and are dropped");
        }
        self.hard.cancel();
        self.tracker.wait().await;
    }
}

/// Installs this process's one TLS provider, unless that was done before.
pub fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::debug!("somebody else has installed the TLS provider in the same moment");
    }
}

/// Asks `tasks` to stop at the first SIGTERM or SIGINT, and ends the process at the second.
pub fn stop_on_signals(tasks: &Tasks) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Heard and left alone: a file at its limit is an error of that write, as on a full disk, and
    // no reason to end.
    drop(signal(SignalKind::from_raw(FILE_LIMIT))?);
    let stop = tasks.clone();
    // Outside the tracker: it must outlive the stop to hear a second signal.
    spawn_untracked(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tracing::info!("stopping; a second signal ends at once");
        stop.stop();
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tracing::warn!("ended by a second signal");
        end_at_once();
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "listens for signals until the process ends")]
fn spawn_untracked(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(clippy::exit, reason = "a second signal means: do not wait for anything")]
fn end_at_once() {
    std::process::exit(EXIT_BY_SIGNAL);
}

/// SIGXFSZ, the same number on Linux, macOS and the BSDs.
const FILE_LIMIT: i32 = 25;

/// What a shell shows for a process that SIGINT ended.
const EXIT_BY_SIGNAL: i32 = 130;
