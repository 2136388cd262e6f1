//! The platform's commands as they change its memory (`connect-api.md` 4.1-4.7).

use serde_json::json;

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;

use super::bodies::Envelope;
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

/// A message of `POST /v1/line/send/message/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) line: LineId,
    pub(super) user: UserId,
    pub(super) author: Option<UserId>,
    pub(super) text: String,
    pub(super) flags: MessageFlags,
}

impl Model {
    /// A message arrives; what it opens or continues, and its events.
    pub(super) fn send(
        &mut self,
        sent: &Sent,
        now: Time,
    ) -> Result<(Option<TreatmentId>, Vec<Broadcast>), Refused> {
        let Sent { line, user, flags, .. } = sent;
        self.require_subscriber(line, user)?;
        if let Some(author) = &sent.author {
            self.require_specialist(author)?;
        }
        let author = sent.author.as_ref();
        let is_new = self.require_open(line, user).is_err();
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let text = Some(("text", json!(sent.text)));
        if is_new && flags.notification_only {
            let envelope = Envelope {
                message_type: 1,
                author,
                user,
                line,
                treatment: None,
                message_id: &message_id,
                message_time: at.text(9),
            };
            let body = envelope.body(text);
            let event = Broadcast { line: line.clone(), message_type: Some(1), body };
            return Ok((None, vec![event]));
        }
        let as_specialist = flags.bot_as_spec && !flags.notification_only;
        let holder = author.filter(|_| as_specialist && is_new);
        let held = self.continue_or_begin(line, user, holder, at);
        let mut events = vec![tell(1, author, &held, &message_id, at, text)];
        if as_specialist && is_new {
            let taken = tell(81, author, &held, &message_id, at, None);
            // 1 of 15 recorded pairs came the other way round.
            let place = usize::from(!self.happens(1, 15));
            events.insert(place, taken);
        }
        Ok((Some(held.id), events))
    }

    /// The current treatment closes; without one nothing happens.
    pub(super) fn drop_treatment(
        &mut self,
        line: &LineId,
        user: &UserId,
        author: Option<&UserId>,
        now: Time,
    ) -> Result<Vec<Broadcast>, Refused> {
        self.require_subscriber(line, user)?;
        if self.require_open(line, user).is_err() {
            return Ok(Vec::new());
        }
        self.close(line, user, 82, author, now).map(|(_, events)| events)
    }

    /// The current treatment gets this specialist or any; without one nothing happens.
    pub(super) fn appoint(
        &mut self,
        line: &LineId,
        user: &UserId,
        specialist: Option<&UserId>,
        now: Time,
    ) -> Result<Vec<Broadcast>, Refused> {
        self.require_subscriber(line, user)?;
        if let Some(one) = specialist {
            self.require_specialist(one)?;
        }
        if self.require_open(line, user).is_err() {
            return Ok(Vec::new());
        }
        Ok(vec![match specialist {
            Some(one) => self.assign_to(line, user, Some(one), now),
            None => self.assign(line, user, now),
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
        self.require_subscriber(line, user)?;
        self.require_subscriber(to_line, user)?;
        if self.require_open(line, user).is_err() {
            return Ok(Vec::new());
        }
        self.reroute(line, user, to_line, now).map(|(_, events)| events)
    }
}
