//! A client whose every answer is remembered as the platform's health.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::connect::{
    Chat, ChatAddress, Competence, HookKind, OpenTreatment, OutgoingFile, OutgoingMessage, Person,
    PlatformLine, Subscription,
};
use crate::core::id::{LineId, UserId};
use crate::core::outcome::{Answer, NotDone};
use crate::health::Health;

/// Passes every call on, and tells [`Health`] how it ended.
pub struct WatchedChat {
    inner: Arc<dyn Chat>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
}

impl WatchedChat {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn Chat>, health: Arc<Health>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, health, clock }
    }

    fn ended(&self, answer: &Answer) {
        let trouble = match answer {
            Answer::Done | Answer::Refused { .. } => None,
            // What was not begun says nothing about the platform.
            Answer::NotDone {
                why: NotDone::NoBudget | NotDone::TooLate | NotDone::NoFile(_) | NotDone::Stopping,
                ..
            } => return,
            Answer::NotDone { why: NotDone::NeverConnected(detail), .. }
            | Answer::Unknown { detail } => Some(detail.as_str()),
            Answer::NotDone { why: NotDone::RateLimited, .. } => Some("429, too many calls"),
            Answer::NotDone { why: NotDone::Unauthorized, .. } => {
                Some("401, FREELINE_CONNECT_LOGIN and FREELINE_CONNECT_PASSWORD are not accepted")
            }
        };
        self.health.platform_answered(trouble, self.clock.now());
    }

    fn told(&self, answer: Answer) -> Answer {
        self.ended(&answer);
        answer
    }

    fn read<T>(&self, read: Result<T, Answer>) -> Result<T, Answer> {
        self.ended(read.as_ref().err().unwrap_or(&Answer::Done));
        read
    }
}

#[async_trait]
impl Chat for WatchedChat {
    async fn send_message(&self, message: &OutgoingMessage) -> Answer {
        self.told(self.inner.send_message(message).await)
    }

    async fn send_file(&self, file: &OutgoingFile) -> Answer {
        self.told(self.inner.send_file(file).await)
    }

    async fn drop_keyboard(&self, chat: &ChatAddress) -> Answer {
        self.told(self.inner.drop_keyboard(chat).await)
    }

    async fn drop_treatment(&self, chat: &ChatAddress, author: Option<&UserId>) -> Answer {
        self.told(self.inner.drop_treatment(chat, author).await)
    }

    async fn appoint_any(&self, chat: &ChatAddress) -> Answer {
        self.told(self.inner.appoint_any(chat).await)
    }

    async fn appoint(
        &self,
        chat: &ChatAddress,
        specialist: &UserId,
        author: Option<&UserId>,
    ) -> Answer {
        self.told(self.inner.appoint(chat, specialist, author).await)
    }

    async fn reroute(&self, chat: &ChatAddress, to: &LineId, quote: Option<&str>) -> Answer {
        self.told(self.inner.reroute(chat, to, quote).await)
    }

    async fn set_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        self.told(self.inner.set_hook(kind, line).await)
    }

    async fn delete_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        self.told(self.inner.delete_hook(kind, line).await)
    }

    async fn list_lines(&self) -> Result<Vec<PlatformLine>, Answer> {
        self.read(self.inner.list_lines().await)
    }

    async fn list_treatments(&self, line: Option<&LineId>) -> Result<Vec<OpenTreatment>, Answer> {
        self.read(self.inner.list_treatments(line).await)
    }

    async fn list_subscriptions(
        &self,
        user: Option<&UserId>,
        line: Option<&LineId>,
    ) -> Result<Vec<Subscription>, Answer> {
        self.read(self.inner.list_subscriptions(user, line).await)
    }

    async fn list_subscribers(&self) -> Result<Vec<Person>, Answer> {
        self.read(self.inner.list_subscribers().await)
    }

    async fn subscriber(&self, user: &UserId) -> Result<Person, Answer> {
        self.read(self.inner.subscriber(user).await)
    }

    async fn list_specialists(&self, line: Option<&LineId>) -> Result<Vec<Person>, Answer> {
        self.read(self.inner.list_specialists(line).await)
    }

    async fn available_specialists(&self, line: &LineId) -> Result<Vec<UserId>, Answer> {
        self.read(self.inner.available_specialists(line).await)
    }

    async fn list_competences(
        &self,
        user: Option<&UserId>,
        line: Option<&LineId>,
    ) -> Result<Vec<Competence>, Answer> {
        self.read(self.inner.list_competences(user, line).await)
    }
}
