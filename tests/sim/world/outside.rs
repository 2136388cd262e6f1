//! What the workers call outside: the platform and the mail server, whose answers the plan decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use freeline::connect::{
    Chat, ChatAddress, Competence, HookKind, OpenTreatment, OutgoingFile, OutgoingMessage, Person,
    PlatformLine, SendMode, Subscription,
};
use freeline::core::id::{LineId, UserId};
use freeline::core::outcome::{Answer, NotDone};
use freeline::core::time::{Span, Time};
use freeline::mail::{Delivery, Mail, Mailer};

use super::clocks::Clocks;
use super::platform::{SharedPlatform, row};
use super::turnstile::{Fate, Turnstile};

/// The longest that a call to the platform takes: then the client gives it up by itself.
const CALL_MAX: Span = Span::from_secs(12);
/// The longest that handing over a letter takes.
const MAIL_MAX: Span = Span::from_secs(60);

/// The platform as one replica's client sees it.
pub(super) struct SimChat {
    pub(super) platform: SharedPlatform,
    pub(super) turnstile: Turnstile,
    pub(super) clocks: Clocks,
}

impl SimChat {
    /// One call: it stands before its work and again before its answer.
    async fn call<T>(
        &self,
        (call, answer): (&'static str, &'static str),
        work: impl FnOnce(&SharedPlatform, Time) -> Result<T, (u16, &'static str)> + Send,
    ) -> Result<T, Answer>
    where
        T: Send,
    {
        let began = self.clocks.truth();
        let fate = self.turnstile.pass(call).await;
        let now = self.clocks.truth();
        let ended = if now.since(began) > CALL_MAX {
            Err(unknown("the time for the call was up"))
        } else if now < self.platform.lock().down_until {
            Err(not_done(NotDone::NeverConnected("connection refused".to_owned())))
        } else {
            match fate {
                Fate::Fine => work(&self.platform, now).map_err(refused),
                Fate::FailsAfter => match work(&self.platform, now) {
                    Ok(_) => Err(unknown("502 after the work was done")),
                    Err(words) => Err(refused(words)),
                },
                Fate::LostBefore => Err(unknown("503")),
                Fate::FailsBefore => {
                    Err(not_done(NotDone::NeverConnected("connection refused".to_owned())))
                }
                Fate::Busy => Err(Answer::NotDone {
                    why: NotDone::RateLimited,
                    retry_after: Some(Span::from_secs(2)),
                }),
                Fate::Refuses => Err(refused((403, ""))),
                Fate::Unauthorized => Err(not_done(NotDone::Unauthorized)),
                Fate::NoBudget => Err(not_done(NotDone::NoBudget)),
            }
        };
        match self.turnstile.pass(answer).await {
            Fate::Fine | Fate::Busy | Fate::Refuses | Fate::Unauthorized | Fate::NoBudget => ended,
            Fate::FailsBefore | Fate::FailsAfter | Fate::LostBefore => {
                Err(unknown("the answer was lost"))
            }
        }
    }
}

fn unknown(detail: &str) -> Answer {
    Answer::Unknown { detail: detail.to_owned() }
}

fn not_done(why: NotDone) -> Answer {
    Answer::NotDone { why, retry_after: None }
}

fn refused((status, text): (u16, &str)) -> Answer {
    Answer::Refused { status, text: text.to_owned() }
}

fn answer(ended: Result<(), Answer>) -> Answer {
    ended.err().unwrap_or(Answer::Done)
}

#[async_trait]
impl Chat for SimChat {
    async fn send_message(&self, message: &OutgoingMessage) -> Answer {
        let is_bot = message.mode == SendMode::Bot;
        let names = ("send_message", "the answer to send_message");
        let work = |platform: &SharedPlatform, now| platform.lock().send(message, is_bot, now);
        answer(self.call(names, work).await)
    }

    async fn set_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        let names = ("set_hook", "the answer to set_hook");
        let work = |platform: &SharedPlatform, _| platform.lock().set_hook(kind, line);
        answer(self.call(names, work).await)
    }

    async fn delete_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        let names = ("delete_hook", "the answer to delete_hook");
        let work = |platform: &SharedPlatform, _| {
            platform.lock().forget_hook(kind, line);
            Ok(())
        };
        answer(self.call(names, work).await)
    }

    async fn list_lines(&self) -> Result<Vec<PlatformLine>, Answer> {
        let names = ("list_lines", "the answer to list_lines");
        self.call(names, |platform, _| Ok(platform.lock().list_lines())).await
    }

    async fn list_treatments(&self, line: Option<&LineId>) -> Result<Vec<OpenTreatment>, Answer> {
        let names = ("list_treatments", "the answer to list_treatments");
        let work = |platform: &SharedPlatform, _| {
            Ok(platform.lock().list_open(line).iter().map(row).collect::<Vec<_>>())
        };
        self.call(names, work).await
    }

    // Nobody in this world converses: these are never called, and never get anywhere.

    async fn send_file(&self, _: &OutgoingFile) -> Answer {
        nobody()
    }

    async fn drop_keyboard(&self, _: &ChatAddress) -> Answer {
        nobody()
    }

    async fn drop_treatment(&self, _: &ChatAddress, _: Option<&UserId>) -> Answer {
        nobody()
    }

    async fn appoint_any(&self, _: &ChatAddress) -> Answer {
        nobody()
    }

    async fn appoint(&self, _: &ChatAddress, _: &UserId, _: Option<&UserId>) -> Answer {
        nobody()
    }

    async fn reroute(&self, _: &ChatAddress, _: &LineId, _: Option<&str>) -> Answer {
        nobody()
    }

    async fn list_subscriptions(
        &self,
        _: Option<&UserId>,
        _: Option<&LineId>,
    ) -> Result<Vec<Subscription>, Answer> {
        Err(nobody())
    }

    async fn list_subscribers(&self) -> Result<Vec<Person>, Answer> {
        Err(nobody())
    }

    async fn subscriber(&self, _: &UserId) -> Result<Person, Answer> {
        Err(nobody())
    }

    async fn list_specialists(&self, _: Option<&LineId>) -> Result<Vec<Person>, Answer> {
        Err(nobody())
    }

    async fn available_specialists(&self, _: &LineId) -> Result<Vec<UserId>, Answer> {
        Err(nobody())
    }

    async fn list_competences(
        &self,
        _: Option<&UserId>,
        _: Option<&LineId>,
    ) -> Result<Vec<Competence>, Answer> {
        Err(nobody())
    }
}

/// The answer to a call that this world does not have.
fn nobody() -> Answer {
    not_done(NotDone::NeverConnected("connection refused".to_owned()))
}

/// The letters that the mail server took, counted by their ids.
#[derive(Clone, Default)]
pub(super) struct Letters(Arc<Mutex<BTreeMap<String, u32>>>);

impl Letters {
    fn take(&self, id: &str) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *taken.entry(id.to_owned()).or_default() += 1;
    }

    /// How often each letter was taken.
    pub(super) fn taken(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The mail server as one replica's client sees it.
pub(super) struct SimMailer {
    pub(super) letters: Letters,
    pub(super) turnstile: Turnstile,
    pub(super) clocks: Clocks,
}

#[async_trait]
impl Mailer for SimMailer {
    async fn send(&self, mail: &Mail) -> Delivery {
        let began = self.clocks.truth();
        let fate = self.turnstile.pass("send a letter").await;
        let ended = if self.clocks.truth().since(began) > MAIL_MAX {
            Delivery::Unknown("the time was up".to_owned())
        } else {
            match fate {
                Fate::Fine => {
                    self.letters.take(&mail.id);
                    Delivery::Sent
                }
                Fate::FailsAfter => {
                    self.letters.take(&mail.id);
                    Delivery::Unknown("the connection broke".to_owned())
                }
                Fate::LostBefore => Delivery::Unknown("the connection broke".to_owned()),
                Fate::Refuses => Delivery::Refused("550 no such mailbox".to_owned()),
                Fate::FailsBefore | Fate::Busy | Fate::Unauthorized | Fate::NoBudget => {
                    Delivery::NotSent("451 come later".to_owned())
                }
            }
        };
        match self.turnstile.pass("the mail server's answer").await {
            Fate::FailsBefore | Fate::FailsAfter | Fate::LostBefore => {
                Delivery::Unknown("the answer was lost".to_owned())
            }
            _ => ended,
        }
    }
}
