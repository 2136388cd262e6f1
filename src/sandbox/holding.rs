//! Who has a treatment: the bot, a specialist, or the queue (`connect-api.md` 5.4).
//!
//! Invariant: whoever waits, a user for the bot's answer or a treatment for a free specialist,
//! stands in exactly one of two lists, oldest first; nobody else does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::core::id::{LineId, UserId};
use crate::core::time::{Span, Time};

use super::bodies::{self, Stamp};
use super::model::{Broadcast, Held, Model, Refused, Treatment};
use super::traces::tell;

/// Who has an open treatment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// The bot; it must answer the user in time.
    Bot,
    /// A specialist.
    Specialist(UserId),
    /// Nobody: it waits for a free specialist.
    Queue,
}

impl Holder {
    /// The specialist, if it is one.
    pub fn specialist(&self) -> Option<&UserId> {
        match self {
            Self::Specialist(specialist) => Some(specialist),
            Self::Bot | Self::Queue => None,
        }
    }

    /// `bot`, `queue`, or the id of the specialist.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bot => "bot",
            Self::Queue => "queue",
            Self::Specialist(specialist) => specialist.as_str(),
        }
    }
}

/// Treatments that wait for something, since when.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeSet<(Stamp, LineId, UserId)>);

impl Waiting {
    fn add(&mut self, held: &Held, since: Stamp) {
        self.0.insert((since, held.line.clone(), held.user.clone()));
    }

    fn remove(&mut self, held: &Held, since: Stamp) {
        self.0.remove(&(since, held.line.clone(), held.user.clone()));
    }

    /// Who has waited longest.
    fn first(&self) -> Option<&(Stamp, LineId, UserId)> {
        self.0.first()
    }
}

impl Model {
    /// Gives an open treatment to `holder`; whoever waited in it waits no more.
    pub(super) fn hold(
        &mut self,
        line: &LineId,
        user: &UserId,
        holder: Holder,
        at: Stamp,
    ) -> Option<&Held> {
        let held = self.open.get_mut(&(line.clone(), user.clone()))?;
        if let Some(since) = held.waiting_since.take() {
            self.unanswered.remove(held, since);
            self.queued.remove(held, since);
        }
        if holder == Holder::Queue {
            held.waiting_since = Some(at);
            self.queued.add(held, at);
        }
        held.holder = holder;
        Some(held)
    }

    /// A treatment is open no more: nobody waits in it.
    pub(super) fn forget_waiting(&mut self, held: &Held) {
        if let Some(since) = held.waiting_since {
            self.unanswered.remove(held, since);
            self.queued.remove(held, since);
        }
    }

    /// The user says something: if the bot has the treatment, its time runs from the first word
    /// that it has not answered.
    pub(super) fn user_said(&mut self, line: &LineId, user: &UserId, at: Stamp) {
        let Some(held) = self.open.get_mut(&(line.clone(), user.clone())) else { return };
        if held.holder == Holder::Bot && held.waiting_since.is_none() {
            held.waiting_since = Some(at);
            self.unanswered.add(held, at);
        }
    }

    /// The bot says something: the user has an answer.
    pub(super) fn bot_said(&mut self, line: &LineId, user: &UserId, at: Stamp) {
        if self.require_open(line, user).is_ok_and(|held| held.holder == Holder::Bot) {
            self.hold(line, user, Holder::Bot, at);
        }
    }

    /// Since when the first of the users who got no answer from the bot has waited.
    pub(super) fn first_unanswered(&self) -> Option<Time> {
        self.unanswered.first().map(|(since, ..)| since.time())
    }

    /// Takes the longest unanswered user away from the bot, if the bot's time is over.
    pub(super) fn hand_over_overdue(
        &mut self,
        patience: Span,
        now: Time,
    ) -> (Option<Treatment>, Vec<Broadcast>) {
        let overdue = self.unanswered.first().filter(|(at, ..)| now.since(at.time()) >= patience);
        let Some((_, line, user)) = overdue.cloned() else { return (None, Vec::new()) };
        let event = self.assign(&line, &user, now);
        (self.shown(&line, &user).ok(), vec![event])
    }

    /// Gives the longest queued treatment to a free specialist: 86 and 80.
    pub(super) fn serve_queue(&mut self, now: Time) -> (Option<Treatment>, Vec<Broadcast>) {
        let Some((_, line, user)) = self.queued.first().cloned() else {
            return (None, Vec::new());
        };
        let (Ok(held), Some(specialist)) =
            (self.require_open(&line, &user).cloned(), self.free_specialist())
        else {
            return (None, Vec::new());
        };
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        let freed = tell(86, Some(&user), &held, &message_id, at, None);
        let assigned = self.assign_to(&line, &user, Some(&specialist), now);
        (self.shown(&line, &user).ok(), vec![freed, assigned])
    }

    /// The specialist becomes available or not; treatments they have stay theirs.
    pub(super) fn set_available(
        &mut self,
        specialist: &UserId,
        is_available: bool,
    ) -> Result<(), Refused> {
        self.require_specialist(specialist)?;
        if is_available {
            self.away.remove(specialist);
        } else {
            self.away.insert(specialist.clone());
        }
        Ok(())
    }

    /// A treatment passes from one specialist of the line to another (84).
    pub(super) fn hand_to(
        &mut self,
        line: &LineId,
        user: &UserId,
        (from, to): (&UserId, &UserId),
        now: Time,
    ) -> Result<Broadcast, Refused> {
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        self.hold(line, user, Holder::Specialist(to.clone()), at);
        let held = self.require_open(line, user)?.clone();
        let carried = Some(("treatment", bodies::treatment(&held)));
        Ok(tell(84, Some(from), &held, &message_id, at, carried))
    }

    /// The specialist gives the treatment to the bot, which goes on at a point of its scenario
    /// (200).
    pub(super) fn give_to_bot(
        &mut self,
        line: &LineId,
        user: &UserId,
        redirect: Option<&str>,
        now: Time,
    ) -> Result<(Treatment, Vec<Broadcast>), Refused> {
        let author = self.require_open(line, user)?.specialist().cloned();
        if !self.bot_lines.contains(line) {
            return Err(Refused::NoBot(line.clone()));
        }
        let author = author.or_else(|| self.any_specialist());
        let (message_id, at) = (self.new_message_id(), self.stamp(now));
        self.hold(line, user, Holder::Bot, at);
        let held = self.require_open(line, user)?.clone();
        let data: Value = redirect.map_or_else(|| json!({}), |point| json!({"redirect": point}));
        let event = tell(200, author.as_ref(), &held, &message_id, at, Some(("data", data)));
        Ok((Treatment::from(&held), vec![event]))
    }
}
