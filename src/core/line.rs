//! Lines and their occupancy.

use crate::core::id::{LineId, ManagerId};
use crate::core::time::Time;
use crate::core::why::codes;

codes! {
    /// What can be done with a line.
    LineState {
        /// It has room.
        Free = "free",
        /// It serves as many treatments as it may.
        Busy = "busy",
        /// Its room is set aside for payments that are being sent.
        Reserved = "reserved",
        /// A person paused it.
        Paused = "paused",
        /// The directory disables it or no longer has it.
        Disabled = "disabled",
        /// What is open on it is not known: never dispatched to.
        Unknown = "unknown",
    }
}

/// What decides the state of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupancy {
    /// In the directory and enabled there.
    pub enabled: bool,
    /// Paused by a person.
    pub paused: bool,
    /// Our hooks are set and its open treatments have been looked at since.
    pub known: bool,
    /// How many treatments it may serve at once, at least 1.
    pub capacity: i64,
    /// Open treatments on it, whoever opened them.
    pub open: i64,
    /// Reservations on it whose treatment is not open yet.
    pub reserved: i64,
}

impl Occupancy {
    /// The state that follows.
    pub const fn state(self) -> LineState {
        if !self.enabled {
            LineState::Disabled
        } else if self.paused {
            LineState::Paused
        } else if !self.known {
            LineState::Unknown
        } else if self.open >= self.capacity {
            LineState::Busy
        } else if self.open + self.reserved >= self.capacity {
            LineState::Reserved
        } else {
            LineState::Free
        }
    }

    /// How many more payments may be set aside for it.
    pub fn room(self) -> i64 {
        match self.state() {
            LineState::Free => self.capacity - self.open - self.reserved,
            LineState::Busy
            | LineState::Reserved
            | LineState::Paused
            | LineState::Disabled
            | LineState::Unknown => 0,
        }
    }
}

/// A line as the dispatcher sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its id.
    pub id: LineId,
    /// Its name.
    pub name: String,
    /// Whose line it is.
    pub manager: ManagerId,
    /// Lines fill in this order.
    pub position: i64,
    /// When it was last set aside for a payment.
    pub last_used_at: Option<Time>,
    /// What decides its state.
    pub occupancy: Occupancy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_room_only_when_it_is_known_enabled_unpaused_and_below_capacity() {
        let free = Occupancy {
            enabled: true,
            paused: false,
            known: true,
            capacity: 2,
            open: 1,
            reserved: 0,
        };
        let check = |occupancy: Occupancy, state, room| {
            assert_eq!((occupancy.state(), occupancy.room()), (state, room), "{occupancy:?}");
        };
        check(free, LineState::Free, 1);
        check(Occupancy { open: 0, ..free }, LineState::Free, 2);
        check(Occupancy { open: 2, ..free }, LineState::Busy, 0);
        check(Occupancy { open: 7, ..free }, LineState::Busy, 0);
        check(Occupancy { reserved: 1, ..free }, LineState::Reserved, 0);
        check(Occupancy { known: false, ..free }, LineState::Unknown, 0);
        check(Occupancy { paused: true, known: false, ..free }, LineState::Paused, 0);
        check(Occupancy { enabled: false, paused: true, ..free }, LineState::Disabled, 0);
    }
}
