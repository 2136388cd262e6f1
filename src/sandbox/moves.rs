//! Moves of a treatment to another line (type 89, `connect-api.md` 3.5).

use crate::core::id::{LineId, UserId};
use crate::core::time::Time;

use super::bodies;
use super::model::{Closing, Held, Model, Treatment};
use super::traces::{Told, tell};

impl Model {
    /// The user's treatment moves: the source ends without an 82, the target begins or goes on.
    ///
    /// Two events, either one first; a new target is assigned (80) as a rule after them, once in
    /// a while before.
    pub(super) fn reroute(
        &mut self,
        line: &LineId,
        user: &UserId,
        to_line: &LineId,
        now: Time,
    ) -> Told {
        self.require_line(line)?;
        self.require_subscriber(to_line, user)?;
        let source = self.require_open(line, user)?.clone();
        let author = source.specialist().cloned().or_else(|| self.any_specialist());
        let first_at = self.stamp(now);
        let next_at = self.stamp(now);
        // Both halves carry the same second.
        let second_at = if next_at.second() == first_at.second() { next_at } else { first_at };
        let (to_id, from_id) = (self.new_message_id(), self.new_message_id());
        // 8 of 23 recorded pairs began with the target's half.
        let target_first = self.happens(8, 23);
        let (to_at, from_at) =
            if target_first { (second_at, first_at) } else { (first_at, second_at) };

        let closing = Closing { message_type: 89, message_id: to_id.clone(), at: to_at };
        self.end(line, user, Held { closing: Some(closing), ..source.clone() });
        let is_new = self.require_open(to_line, user).is_err();
        let target = self.continue_or_begin(to_line, user, None, from_at);

        let went = bodies::movement("to", &target.line, &target.id);
        let came = bodies::movement("from", &source.line, &source.id);
        let to = tell(89, author.as_ref(), &source, &to_id, to_at, Some(("data", went)));
        let from = tell(89, author.as_ref(), &target, &from_id, from_at, Some(("data", came)));
        let mut events = if target_first { vec![from, to] } else { vec![to, from] };
        if is_new {
            let assigned = self.assign(to_line, user, now);
            let place = if self.happens(1, 7) { 0 } else { events.len() };
            events.insert(place, assigned);
        }
        let target: Treatment = self.shown(to_line, user)?;
        Ok((target, events))
    }
}
