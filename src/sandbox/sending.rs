//! The platform's commands as they change its memory (`connect-api.md` 4.1-4.7).

use serde_json::{Value, json};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;

use super::bodies::Envelope;
use super::files::{FileRecord, NewFile};
use super::holding::Holder;
use super::keyboards::ShownKeyboard;
use super::model::{Broadcast, Model, Refused};
use super::traces::tell;

/// Modes of a message (`connect-api.md` 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessageFlags {
    /// The bot keeps the treatment, the line's own rules of closing apply.
    pub general_settings: bool,
    /// The specialist writes.
    pub bot_as_spec: bool,
    /// Only a message: no treatment opens.
    pub notification_only: bool,
}

/// A message of `POST /v1/line/send/message/`, or a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) line: LineId,
    pub(super) user: UserId,
    pub(super) author: Option<UserId>,
    /// Of a file it is the comment, empty if there is none.
    pub(super) text: String,
    pub(super) flags: MessageFlags,
    pub(super) keyboard: Option<ShownKeyboard>,
    pub(super) file: Option<NewFile>,
}

impl Sent {
    /// Who gets the treatment by this message; `None`: whoever has it keeps it.
    fn holder(&self, before: Option<&Holder>) -> Option<Holder> {
        let MessageFlags { bot_as_spec, notification_only, .. } = self.flags;
        if bot_as_spec && !notification_only {
            return self.author.clone().map(Holder::Specialist);
        }
        before.is_none().then_some(Holder::Bot)
    }
}

/// What became of a message.
#[derive(Debug)]
pub(super) struct Taken {
    /// The treatment it went into.
    pub(super) treatment: Option<TreatmentId>,
    /// The file it carried.
    pub(super) file: Option<FileRecord>,
}

impl Model {
    /// A message arrives; what it opens or continues, and its events.
    pub(super) fn send(
        &mut self,
        sent: &Sent,
        now: Time,
    ) -> Result<(Taken, Vec<Broadcast>), Refused> {
        let Sent { line, user, flags, .. } = sent;
        self.require_subscriber(line, user)?;
        if let Some(author) = &sent.author {
            self.require_specialist(author)?;
        }
        let author = sent.author.as_ref();
        let is_new = self.require_open(line, user).is_err();
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let (message_type, content, file) = self.content(sent);
        let content = Some(content);
        self.show_keyboard(line, user, sent.keyboard.as_ref());
        if is_new && flags.notification_only {
            let envelope = Envelope {
                message_type,
                author,
                user,
                line,
                treatment: None,
                message_id: &message_id,
                message_time: at.text(9),
            };
            let body = envelope.body(content);
            let event = Broadcast { line: line.clone(), message_type: Some(message_type), body };
            return Ok((Taken { treatment: None, file }, vec![event]));
        }
        let before = self.require_open(line, user).ok().map(|held| held.holder.clone());
        let holder = sent.holder(before.as_ref());
        let is_taken_over = matches!(holder, Some(Holder::Specialist(_))) && holder != before;
        let held = self.continue_or_begin(line, user, holder, at);
        if !flags.notification_only {
            self.bot_said(line, user, at);
        }
        let mut events = vec![tell(message_type, author, &held, &message_id, at, content)];
        if is_taken_over {
            let taken = tell(81, author, &held, &message_id, at, None);
            // 1 of 15 recorded pairs came the other way round.
            let place = usize::from(!self.happens(1, 15));
            events.insert(place, taken);
        }
        Ok((Taken { treatment: Some(held.id), file }, events))
    }

    /// The type of a message, what its event carries, and its file.
    fn content(&mut self, sent: &Sent) -> (i64, (&'static str, Value), Option<FileRecord>) {
        let Some(file) = &sent.file else {
            return (1, ("text", json!(sent.text)), None);
        };
        let id = self.new_message_id();
        let comment = Some(sent.text.as_str()).filter(|text| !text.is_empty());
        let body = self.files.keep(&id, file, comment);
        (70, ("file", body), Some(FileRecord::of(&id, file)))
    }

    /// The current treatment closes; without one nothing happens.
    pub(super) fn drop_treatment(
        &mut self,
        line: &LineId,
        user: &UserId,
        author: Option<&UserId>,
        now: Time,
    ) -> Result<Vec<Broadcast>, Refused> {
        self.require_bot(line, user)?;
        if let Some(author) = author {
            self.require_specialist(author)?;
        }
        if self.require_open(line, user).is_err() {
            return Ok(Vec::new());
        }
        self.close(line, user, 82, author, now).map(|(_, events)| events)
    }

    /// The user's keyboard goes away, if there is one.
    pub(super) fn drop_keyboard(&mut self, line: &LineId, user: &UserId) -> Result<(), Refused> {
        self.require_bot(line, user)?;
        self.keyboards.remove(&(line.clone(), user.clone()));
        Ok(())
    }

    /// Refuses a command about a user who does not have the line, or on a line without a bot.
    fn require_bot(&self, line: &LineId, user: &UserId) -> Result<(), Refused> {
        self.require_subscriber(line, user)?;
        if self.bot_lines.contains(line) { Ok(()) } else { Err(Refused::NoBot(line.clone())) }
    }

    /// The current treatment gets this specialist (80, or 84 from another one) or any who is free,
    /// or else it waits in the queue (83). Without a treatment nothing happens.
    pub(super) fn appoint(
        &mut self,
        line: &LineId,
        user: &UserId,
        specialist: Option<&UserId>,
        now: Time,
    ) -> Result<Vec<Broadcast>, Refused> {
        self.require_bot(line, user)?;
        if let Some(one) = specialist {
            self.require_specialist(one)?;
            if self.away.contains(one) {
                return Err(Refused::NotAvailable(one.clone()));
            }
        }
        let Ok(held) = self.require_open(line, user) else { return Ok(Vec::new()) };
        let before = held.specialist().cloned();
        Ok(vec![match (specialist, before) {
            (Some(one), Some(before)) if before != *one => {
                self.hand_to(line, user, (&before, one), now)?
            }
            (Some(one), _) => self.assign_to(line, user, Some(one), now),
            (None, _) => self.assign(line, user, now),
        }])
    }

    /// The current treatment moves; without one nothing happens.
    pub(super) fn reroute_current(
        &mut self,
        line: &LineId,
        user: &UserId,
        to_line: &LineId,
        now: Time,
    ) -> Result<Vec<Broadcast>, Refused> {
        self.require_bot(line, user)?;
        self.require_subscriber(to_line, user)?;
        if self.require_open(line, user).is_err() {
            return Ok(Vec::new());
        }
        self.reroute(line, user, to_line, now).map(|(_, events)| events)
    }
}
