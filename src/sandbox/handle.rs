//! The handle of a running sandbox: people act through it, tests and drivers look through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::core::id::{LineId, TreatmentId, UserId};

use super::config::SandboxConfig;
use super::faults::{Faults, FaultsRefused};
use super::ledger::MessageRecord;
use super::model::{Broadcast, Refused, Treatment};
use super::state::State;
use super::traces::Opening;
use super::world::Shared;

/// A running sandbox. Clones act on the same one.
pub struct SandboxHandle {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// How far [`SandboxHandle::next_message`] came on this clone.
    read: AtomicUsize,
}

impl Clone for SandboxHandle {
    fn clone(&self) -> Self {
        let read = AtomicUsize::new(self.read.load(Ordering::SeqCst));
        Self { shared: Arc::clone(&self.shared), addr: self.addr, read }
    }
}

impl std::fmt::Debug for SandboxHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl SandboxHandle {
    pub(super) fn new(shared: Arc<Shared>, addr: SocketAddr) -> Self {
        Self { shared, addr, read: AtomicUsize::new(0) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for a client of the platform, without a last slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it was started with.
    pub fn config(&self) -> &SandboxConfig {
        &self.shared.config
    }

    /// Somebody opens a treatment, or goes on with the one that is open; shows it.
    pub async fn open(&self, opening: Opening) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.open(&opening, now)).await
    }

    /// Somebody writes: the user, or `author` if given; opens a treatment if none is open.
    pub async fn write(
        &self,
        line: &LineId,
        user: &UserId,
        author: Option<&UserId>,
        text: &str,
    ) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.write(line, user, author, text, now)).await
    }

    /// A specialist takes the open treatment over (81).
    pub async fn take(
        &self,
        line: &LineId,
        user: &UserId,
        specialist: &UserId,
    ) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.take(line, user, specialist, now)).await
    }

    /// The open treatment closes: 82 by its specialist, 90-93 by itself.
    pub async fn close(
        &self,
        line: &LineId,
        user: &UserId,
        message_type: i64,
    ) -> Result<Treatment, Refused> {
        self.shared
            .change(|world, now| world.model.close(line, user, message_type, None, now))
            .await
    }

    /// The open treatment moves to another line (89); shows the treatment there.
    pub async fn reroute(
        &self,
        line: &LineId,
        user: &UserId,
        to_line: &LineId,
    ) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.reroute(line, user, to_line, now)).await
    }

    /// The user rates a closed treatment with 1 to 5 (17).
    pub async fn rate(&self, treatment: &TreatmentId, quality: i64) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.rate(treatment, quality, now)).await
    }

    /// The user presses a button of the keyboard that is shown; its text arrives as a message.
    pub async fn press(
        &self,
        line: &LineId,
        user: &UserId,
        text: &str,
    ) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.press(line, user, text, now)).await
    }

    /// A specialist gives the open treatment to the bot (200), at a point of its scenario.
    pub async fn give_to_bot(
        &self,
        line: &LineId,
        user: &UserId,
        redirect: Option<&str>,
    ) -> Result<Treatment, Refused> {
        self.shared.change(|world, now| world.model.give_to_bot(line, user, redirect, now)).await
    }

    /// The specialist becomes available or not. Who is, takes what waits in the queue (86, 80).
    pub async fn set_available(
        &self,
        specialist: &UserId,
        is_available: bool,
    ) -> Result<(), Refused> {
        self.shared.world().model.set_available(specialist, is_available)?;
        self.shared.serve_queue().await;
        Ok(())
    }

    /// The user gets the line or loses it (event `subscription`); an open treatment that is lost
    /// with it closes (92).
    pub async fn subscribe(
        &self,
        line: &LineId,
        user: &UserId,
        is_on: bool,
    ) -> Result<(), Refused> {
        self.shared.change(|world, now| world.model.set_subscription(line, user, is_on, now)).await
    }

    /// Gives every user to a specialist who has waited too long for the bot's answer; how many.
    pub async fn hand_over_overdue(&self) -> usize {
        self.shared.hand_over_overdue().await
    }

    /// Broadcasts any body as it is; `line_id` in it says where to.
    pub async fn broadcast(&self, body: Map<String, Value>) -> Result<(), Refused> {
        let line = body.get("line_id").and_then(Value::as_str).map(LineId::from);
        let line = line.ok_or(Refused::NoLine)?;
        let message_type = body.get("message_type").and_then(Value::as_i64);
        let event = Broadcast { line, message_type, body };
        self.shared.change(|_, _| Ok(((), vec![event]))).await
    }

    /// Puts these faults in the place of the ones in force.
    pub fn set_faults(&self, faults: Faults) -> Result<(), FaultsRefused> {
        self.shared.set_faults(faults)
    }

    /// Forgets all hooks now; later ones stay.
    pub fn forget_hooks(&self) {
        self.shared.forget_hooks();
    }

    /// Everything it knows now.
    pub fn state(&self) -> State {
        State::of(&self.shared.world())
    }

    /// The open treatment of the user on the line.
    pub fn find_open(&self, line: &LineId, user: &UserId) -> Option<Treatment> {
        self.shared.find_open(line, user)
    }

    /// Whether this very treatment is still open.
    pub fn is_open(&self, treatment: &Treatment) -> bool {
        self.shared.is_open(&treatment.line, &treatment.user, &treatment.id)
    }

    /// The messages taken, oldest first.
    pub fn messages(&self) -> Vec<MessageRecord> {
        self.shared.world().messages.all()
    }

    /// How many messages were ever taken.
    pub fn message_count(&self) -> usize {
        self.shared.world().messages.count()
    }

    /// How many calls arrived, such as `GET /v1/line/treatment/`; refused ones count too.
    ///
    /// The path always ends with a slash here, however it was sent.
    pub fn calls(&self, call: &str) -> u64 {
        self.shared.world().calls.of(call)
    }

    /// The next message that this clone of the handle has not given out yet; waits for it.
    ///
    /// A new clone goes on where the one it was made from stood.
    pub async fn next_message(&self) -> MessageRecord {
        let mut count = self.shared.watch_messages();
        loop {
            // Marked as seen before looking, so that a message in between wakes the wait below.
            count.mark_unchanged();
            if let Some(message) = self.take_unread() {
                return message;
            }
            if count.changed().await.is_err() {
                tracing::debug!("the sandbox has ended");
            }
        }
    }

    fn take_unread(&self) -> Option<MessageRecord> {
        let world = self.shared.world();
        let read = self.read.load(Ordering::SeqCst);
        let (position, message) = world.messages.at_or_after(read)?;
        self.read.store(position + 1, Ordering::SeqCst);
        Some(message)
    }

    /// Waits until `count` messages were taken in all, and gives all that are kept.
    pub async fn wait_for_messages(&self, count: usize) -> Vec<MessageRecord> {
        let mut taken = self.shared.watch_messages();
        if taken.wait_for(|taken| *taken >= count).await.is_err() {
            tracing::debug!("the sandbox has ended");
        }
        self.messages()
    }

    /// Treatments as they open from now on.
    pub fn watch_opened(&self) -> broadcast::Receiver<Treatment> {
        self.shared.watch_opened()
    }

    /// Waits until no event is waiting, held back or under delivery, retries included.
    ///
    /// While the platform is down (fault `down`) its events wait, and so does this.
    pub async fn quiesce(&self) {
        self.shared.quiesce().await;
    }
}
