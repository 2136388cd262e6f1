//! A client whose every answer is remembered as the platform's health.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::connect::{Chat, HookKind, OpenTreatment, OutgoingMessage, PlatformLine};
use crate::core::id::LineId;
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
                why: NotDone::NoBudget | NotDone::TooLate | NotDone::Stopping,
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
}

#[async_trait]
impl Chat for WatchedChat {
    async fn send_message(&self, message: &OutgoingMessage) -> Answer {
        let answer = self.inner.send_message(message).await;
        self.ended(&answer);
        answer
    }

    async fn set_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        let answer = self.inner.set_hook(kind, line).await;
        self.ended(&answer);
        answer
    }

    async fn delete_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        let answer = self.inner.delete_hook(kind, line).await;
        self.ended(&answer);
        answer
    }

    async fn list_lines(&self) -> Result<Vec<PlatformLine>, Answer> {
        let listed = self.inner.list_lines().await;
        self.ended(listed.as_ref().err().unwrap_or(&Answer::Done));
        listed
    }

    async fn list_treatments(&self, line: Option<&LineId>) -> Result<Vec<OpenTreatment>, Answer> {
        let listed = self.inner.list_treatments(line).await;
        self.ended(listed.as_ref().err().unwrap_or(&Answer::Done));
        listed
    }
}
