//! Who has a treatment: the bot, the queue, or a specialist; and when the bot must let go of it.
//!
//! On a line with a bot's hook the platform gives the user to the bot first and waits 30 s for its
//! answer (`connect-api.md` 5.4). We have nothing to say to him: as soon as he writes, he is handed
//! over.

use crate::core::event::{self, Event};
use crate::core::why::codes;

codes! {
    /// Who has a treatment, as far as its events tell.
    Holder {
        /// The bot, or nobody was named yet: on a line with a bot's hook that is the same.
        Bot = "bot",
        /// Nobody is free: it waits in the platform's queue.
        Queue = "queue",
        /// A specialist.
        Specialist = "specialist",
    }
}

/// What is known of one open treatment on a line whose bot is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Who has it.
    pub holder: Holder,
    /// A hand-over was asked for since the bot has it.
    pub asked: bool,
}

impl Default for Holding {
    fn default() -> Self {
        Self { holder: Holder::Bot, asked: false }
    }
}

impl Holding {
    /// Takes an event of the treatment into account; answers whether it is to be handed over now.
    ///
    /// The same event again, as the copy for the other kind of hook, asks for nothing.
    pub fn hear(&mut self, event: &Event) -> bool {
        match event.message_type {
            Some(event::ASSIGNED | event::TAKEN | event::HANDED_OVER) => {
                self.holder = Holder::Specialist;
                false
            }
            Some(event::QUEUED) => {
                self.holder = Holder::Queue;
                false
            }
            Some(event::GIVEN_TO_BOT) => {
                *self = Self::default();
                false
            }
            Some(event::TEXT | event::FILE) if event.author == event.user => self.ask(),
            _ => false,
        }
    }

    /// Whether a hand-over has to be asked for: once, while the bot has it.
    pub fn ask(&mut self) -> bool {
        let is_due = self.holder == Holder::Bot && !self.asked;
        self.asked |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::script::story;

    /// After which events of the story, counted from 1, the treatment is to be handed over.
    fn handed_over(text: &str) -> Vec<usize> {
        let mut holding = Holding::default();
        let events = story(text);
        let asked = |(place, event)| holding.hear(event).then_some(place + 1);
        events.iter().enumerate().filter_map(asked).collect()
    }

    #[test]
    fn a_user_who_writes_to_the_bot_is_handed_over_once() {
        assert_eq!(handed_over("1u T1"), [1]);
        assert_eq!(handed_over("70u T1"), [1]);
        assert_eq!(handed_over("1u T1 m=a | 1u T1 bot m=a | 1u T1"), [1]);
        // The treatment was opened by a message of ours.
        assert_eq!(handed_over("1s T1 | 1s T1 bot | 1u T1"), [3]);
    }

    #[test]
    fn who_is_with_a_specialist_or_in_the_queue_is_left_alone() {
        for story in ["80s T1 | 1u T1", "81s T1 | 1u T1", "84s T1 | 1u T1", "83- T1 | 1u T1"] {
            assert!(handed_over(story).is_empty(), "{story}");
        }
        assert_eq!(handed_over("1u T1 | 80s T1 | 1u T1"), [1]);
        assert!(handed_over("80u T1 | 50s T1 | 20u T1").is_empty(), "nobody wrote");
    }

    #[test]
    fn who_is_given_back_to_the_bot_is_handed_over_when_he_writes_again() {
        assert_eq!(handed_over("1u T1 | 80s T1 | 200s T1 | 1u T1 | 1u T1"), [1, 4]);
    }
}
