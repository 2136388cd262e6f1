//! What happens to treatments, and the events each happening is told with.
//!
//! Every trace is one that was recorded (`connect-api.md` 3.10); its rare variants are thrown with
//! the recorded frequency.

use serde_json::{Value, json};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;

use super::bodies::{self, Envelope, Stamp};
use super::files::NewFile;
use super::holding::Holder;
use super::model::{Broadcast, Closing, Held, Model, Refused, Treatment};

/// What a specialist says when nothing else was given.
pub(super) const DEFAULT_TEXT: &str = "Здравствуйте!";

/// A treatment about to be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The line.
    pub line: LineId,
    /// The user; becomes known and a subscriber of the line.
    pub user: UserId,
    /// The type of its first event: 1, 20, 50, 70, 80 or 81.
    pub message_type: i64,
    /// Who acts, if not the obvious person: a specialist makes 1 and 70 specialist-started.
    pub author: Option<UserId>,
    /// The text of a message.
    pub text: Option<String>,
}

impl Opening {
    /// The user writes a message.
    pub fn by_user(line: &LineId, user: &UserId) -> Self {
        let (line, user) = (line.clone(), user.clone());
        Self { line, user, message_type: 1, author: None, text: None }
    }

    /// A specialist writes a message.
    pub fn by_specialist(line: &LineId, user: &UserId, specialist: &UserId) -> Self {
        Self { author: Some(specialist.clone()), ..Self::by_user(line, user) }
    }

    /// The same with another first event.
    #[must_use]
    pub fn with_type(self, message_type: i64) -> Self {
        Self { message_type, ..self }
    }

    /// The same with this text.
    #[must_use]
    pub fn with_text(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }
}

/// Events of one happening, and the treatment after it.
pub(super) type Told = Result<(Treatment, Vec<Broadcast>), Refused>;

impl Model {
    /// A treatment opens; if the user has one there already, it goes on with the same event.
    pub(super) fn open(&mut self, opening: &Opening, now: Time) -> Told {
        let Opening { line, user, message_type, .. } = opening;
        if !matches!(message_type, 1 | 20 | 50 | 70 | 80 | 81) {
            return Err(Refused::NoOpening(*message_type));
        }
        self.subscribe(line, user)?;
        let specialist = opening.author.clone().filter(|author| author != user);
        let by_specialist = specialist.is_some() || matches!(message_type, 50 | 80 | 81);
        let author = if by_specialist {
            specialist.or_else(|| self.any_specialist())
        } else {
            Some(user.clone())
        };
        let at = self.stamp(now);
        let is_new = self.require_open(line, user).is_err();
        // The bot comes first where there is one (connect-api.md 5.4).
        let to_bot = matches!(message_type, 1 | 70) && is_new && self.bot_lines.contains(line);
        let holder = author.clone().filter(|_| by_specialist).map(Holder::Specialist);
        let holder = holder.or_else(|| to_bot.then_some(Holder::Bot));
        let held = self.continue_or_begin(line, user, holder, at);
        let message_id = self.new_message_id();
        let extra = self.first_extra(opening, author.as_ref());
        let first = tell(*message_type, author.as_ref(), &held, &message_id, at, extra);
        let mut events = vec![first];
        match (message_type, by_specialist, is_new) {
            (1 | 70, false, true) if !to_bot => events.push(self.assign(line, user, now)),
            (1 | 70, false, _) => self.user_said(line, user, at),
            (1 | 70, true, true) => {
                let taken = tell(81, author.as_ref(), &held, &message_id, at, None);
                // 1 of 15 recorded pairs came the other way round.
                let place = usize::from(!self.happens(1, 15));
                events.insert(place, taken);
            }
            _ => {}
        }
        Ok((self.shown(line, user)?, events))
    }

    /// What the first event carries beside its envelope.
    fn first_extra(
        &mut self,
        opening: &Opening,
        author: Option<&UserId>,
    ) -> Option<(&'static str, Value)> {
        let text = || opening.text.as_deref().unwrap_or(DEFAULT_TEXT);
        match opening.message_type {
            1 => Some(("text", json!(text()))),
            70 => {
                let file_id = self.new_message_id();
                Some(("file", self.files.keep(&file_id, &NewFile::scan(), None)))
            }
            80 => author.map(|author| ("text", json!(bodies::assignment_text(author)))),
            20 => {
                let specialist = self.any_specialist().unwrap_or_else(|| opening.user.clone());
                Some(("call", bodies::link(&opening.user, &specialist)))
            }
            50 => author.map(|author| ("rda", bodies::link(author, &opening.user))),
            _ => None,
        }
    }

    /// Somebody writes; without an open treatment one opens.
    pub(super) fn write(
        &mut self,
        line: &LineId,
        user: &UserId,
        author: Option<&UserId>,
        text: &str,
        now: Time,
    ) -> Told {
        let Ok(held) = self.require_open(line, user).cloned() else {
            let author = author.cloned();
            let opening = Opening { author, ..Opening::by_user(line, user).with_text(text) };
            return self.open(&opening, now);
        };
        let author = author.unwrap_or(user);
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let extra = Some(("text", json!(text)));
        let mut events = vec![tell(1, Some(author), &held, &message_id, at, extra)];
        if author == user {
            self.user_said(line, user, at);
            // Who writes again is sometimes assigned anew inside the open treatment.
            if held.holder != Holder::Bot && self.happens(1, 20) {
                events.push(self.assign(line, user, now));
            }
        } else if held.specialist().is_none() && self.specialists.contains(author) {
            // Who answers in the place of the bot or of the queue takes the treatment.
            self.hold(line, user, Holder::Specialist(author.clone()), at);
            events.push(tell(81, Some(author), &held, &message_id, at, None));
        }
        Ok((self.shown(line, user)?, events))
    }

    /// The system assigns a specialist (80), or queues the user (83) when there is none.
    pub(super) fn assign(&mut self, line: &LineId, user: &UserId, now: Time) -> Broadcast {
        let specialist = self.free_specialist();
        self.assign_to(line, user, specialist.as_ref(), now)
    }

    /// The system assigns this specialist (80), or queues the user (83) when there is nobody.
    pub(super) fn assign_to(
        &mut self,
        line: &LineId,
        user: &UserId,
        specialist: Option<&UserId>,
        now: Time,
    ) -> Broadcast {
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let holder = specialist.cloned().map_or(Holder::Queue, Holder::Specialist);
        let held = self.continue_or_begin(line, user, Some(holder), at);
        match specialist {
            Some(one) => {
                let extra = Some(("text", json!(bodies::assignment_text(one))));
                tell(80, specialist, &held, &message_id, at, extra)
            }
            None => tell(83, Some(user), &held, &message_id, at, None),
        }
    }

    /// A specialist takes over an open treatment himself (81).
    pub(super) fn take(
        &mut self,
        line: &LineId,
        user: &UserId,
        specialist: &UserId,
        now: Time,
    ) -> Told {
        self.require_specialist(specialist)?;
        self.require_open(line, user)?;
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let holder = Holder::Specialist(specialist.clone());
        let held = self.continue_or_begin(line, user, Some(holder), at);
        let event = tell(81, Some(specialist), &held, &message_id, at, None);
        Ok((Treatment::from(&held), vec![event]))
    }

    /// A treatment closes: by a specialist (82) or automatically (90-93).
    pub(super) fn close(
        &mut self,
        line: &LineId,
        user: &UserId,
        message_type: i64,
        author: Option<&UserId>,
        now: Time,
    ) -> Told {
        if !matches!(message_type, 82 | 90..=93) {
            return Err(Refused::NoClosing(message_type));
        }
        let mut held = self.require_open(line, user)?.clone();
        let author = author.cloned().or_else(|| held.specialist().cloned());
        let author = author.or_else(|| self.any_specialist());
        let closer = author.clone().filter(|_| message_type == 82);
        held.holder = closer.map_or(Holder::Queue, Holder::Specialist);
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let digits = self.initialized_digits();
        let closing = Closing { message_type, message_id: message_id.clone(), at };
        let carried = Some(("treatment", ended(&held, at, digits)));
        let event = tell(message_type, author.as_ref(), &held, &message_id, at, carried.clone());
        let mut events = vec![event];
        // 2 of 14 recorded automatic closes came twice, with different ids.
        if message_type == 90 && self.happens(2, 14) {
            let (again, at) = (self.new_message_id(), self.stamp(now));
            events.push(tell(message_type, author.as_ref(), &held, &again, at, carried));
        }
        self.end(line, user, Held { closing: Some(closing), ..held.clone() });
        let shown = Treatment { closed_by: Some(message_type), ..Treatment::from(&held) };
        Ok((shown, events))
    }

    /// The user rates a closed treatment (17): the id of the close comes again.
    pub(super) fn rate(&mut self, treatment: &TreatmentId, quality: i64, now: Time) -> Told {
        if !(1..=5).contains(&quality) {
            return Err(Refused::Quality(quality));
        }
        if self.open.values().any(|held| held.id == *treatment) {
            return Err(Refused::StillOpen(treatment.clone()));
        }
        let held = self.find_closed(treatment).cloned();
        let held = held.ok_or_else(|| Refused::UnknownTreatment(treatment.clone()))?;
        let Some(closing) = &held.closing else {
            return Err(Refused::StillOpen(treatment.clone()));
        };
        let digits = self.initialized_digits();
        let mut carried = ended(&held, closing.at, digits);
        if let Some(fields) = carried.as_object_mut() {
            fields.insert("quality".to_owned(), json!(quality));
        }
        let at = self.stamp(now);
        let envelope = Envelope {
            message_time: at.text(3),
            ..envelope(17, Some(&held.user), &held, &closing.message_id, at)
        };
        let body = envelope.body(Some(("treatment", carried)));
        let event = Broadcast { line: held.line.clone(), message_type: Some(17), body };
        Ok((Treatment::from(&held), vec![event]))
    }

    /// `initialized_at` shows six digits, sometimes none.
    fn initialized_digits(&mut self) -> usize {
        if self.happens(1, 4) { 0 } else { 6 }
    }

    /// The open treatment of the user on the line, or a new one; `holder` gets it. Without one it
    /// stays where it is, or a new one waits in the queue.
    pub(super) fn continue_or_begin(
        &mut self,
        line: &LineId,
        user: &UserId,
        holder: Option<Holder>,
        at: Stamp,
    ) -> Held {
        let key = (line.clone(), user.clone());
        if let Some(held) = self.open.get(&key).cloned() {
            let given = holder.and_then(|holder| self.hold(line, user, holder, at).cloned());
            return given.unwrap_or(held);
        }
        let held = Held {
            id: self.new_treatment_id(),
            line: line.clone(),
            user: user.clone(),
            since: at,
            holder: Holder::Bot,
            waiting_since: None,
            closing: None,
        };
        self.open.insert(key, held.clone());
        let holder = holder.unwrap_or(Holder::Queue);
        let held = self.hold(line, user, holder, at).cloned().unwrap_or(held);
        self.newly_opened.push(Treatment::from(&held));
        held
    }

    /// Takes the treatment out of the open ones and remembers how it ended.
    pub(super) fn end(&mut self, line: &LineId, user: &UserId, held: Held) {
        if let Some(open) = self.open.remove(&(line.clone(), user.clone())) {
            self.forget_waiting(&open);
        }
        self.remember_closed(held);
    }

    /// The open treatment, as the sandbox shows it.
    pub(super) fn shown(&self, line: &LineId, user: &UserId) -> Result<Treatment, Refused> {
        self.require_open(line, user).map(Treatment::from)
    }
}

/// One event about a treatment.
pub(super) fn tell(
    message_type: i64,
    author: Option<&UserId>,
    held: &Held,
    message_id: &str,
    at: Stamp,
    extra: Option<(&str, Value)>,
) -> Broadcast {
    let body = envelope(message_type, author, held, message_id, at).body(extra);
    Broadcast { line: held.line.clone(), message_type: Some(message_type), body }
}

/// The common keys of an event about a treatment.
fn envelope<'a>(
    message_type: i64,
    author: Option<&'a UserId>,
    held: &'a Held,
    message_id: &'a str,
    at: Stamp,
) -> Envelope<'a> {
    Envelope {
        message_type,
        author,
        user: &held.user,
        line: &held.line,
        treatment: Some(&held.id),
        message_id,
        message_time: at.text(9),
    }
}

/// The `treatment` of a closing event.
fn ended(held: &Held, at: Stamp, digits: usize) -> Value {
    json!({
        "treatment_id": held.id.as_str(),
        "user_id": held.user.as_str(),
        "line_id": held.line.as_str(),
        "initialized_at": held.since.text(digits),
        "treatment_duration": at.seconds_since(held.since),
        "current_specialist": held.specialist().map(UserId::as_str),
    })
}
