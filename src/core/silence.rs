//! How sure the state of a line is, and when a silence on it is broken by a look.
//!
//! A close that never arrives would leave its line busy for good. So a treatment that is believed
//! open is believed only for a while after its last sign of life; then its line is looked at, alone,
//! and while it stays silent again after growing times.
//!
//! A line on which nothing is believed open is never looked at for its silence: nothing hangs on
//! it. Should an open have been lost there, the treatment's next event tells, whichever it is; until
//! then one payment may go to a line that already has a conversation. To rule that out, every free
//! line would have to be asked for on a timer, which is what this program exists to avoid.

use crate::core::retry::Backoff;
use crate::core::time::{Span, Time};
use crate::core::why::codes;

/// The longest time between two looks at a line that stays silent.
const LONGEST: Span = Span::from_secs(86_400);

/// When the next look at a line is due because of its silence. Kept for each known line.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Watch {
    /// When the quietest of its open treatments was last heard of, in our time; `None` while
    /// nothing is open. One that keeps talking does not vouch for another.
    pub quiet_since: Option<Time>,
    /// Looks since then that were due and found it still listed.
    pub looks: i64,
    /// When the next look is due.
    pub look_at: Option<Time>,
}

impl Watch {
    /// After events: a sign of life of the quietest treatment begins the silence anew. Anything
    /// else leaves the plan as it is, so that a look that was put off stays put off.
    #[must_use]
    pub fn after_events(self, quiet_since: Option<Time>, looked_at: Time, after: Span) -> Self {
        if quiet_since == self.quiet_since && quiet_since.is_some() == self.look_at.is_some() {
            return self;
        }
        Self::planned(quiet_since, 0, looked_at, after)
    }

    /// After a look asked for at `looked_at`: what is open still is listed, which is as good as a
    /// sign of life, only that the next silence is waited for longer.
    #[must_use]
    pub fn after_look(self, quiet_since: Option<Time>, looked_at: Time, after: Span) -> Self {
        let was_due = self.look_at.is_some_and(|due| due <= looked_at);
        let looks = if quiet_since == self.quiet_since { self.looks } else { 0 };
        let confirmed = was_due && quiet_since == self.quiet_since;
        Self::planned(quiet_since, looks + i64::from(confirmed), looked_at, after)
    }

    fn planned(quiet_since: Option<Time>, looks: i64, looked_at: Time, after: Span) -> Self {
        let look_at = quiet_since.map(|since| silence_ends(since, looks, looked_at, after));
        Self { quiet_since, looks, look_at }
    }
}

/// Until when a silence is waited for.
fn silence_ends(quiet_since: Time, looks: i64, looked_at: Time, after: Span) -> Time {
    let wait = Backoff { first: after, longest: LONGEST.max(after) }.after(looks + 1);
    quiet_since.max(looked_at).plus(wait)
}

codes! {
    /// How sure the state of a line is.
    Sureness {
        /// By an event.
        Heard = "heard",
        /// By a look that is newer than every event.
        Looked = "looked",
        /// Nothing is open as far as is known, and nothing was heard for long.
        Idle = "idle",
        /// What is believed open gave no sign of life for too long, and no look has confirmed it.
        Silent = "silent",
        /// Nothing is known.
        Unknown = "unknown",
    }
}

impl Sureness {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Heard => "its events came lately",
            Self::Looked => "confirmed by a look at the platform",
            Self::Idle => "nothing is open as far as is known, and nothing was heard for long",
            Self::Silent => {
                "no sign of life of what is open: the platform is being asked, or does not answer"
            }
            Self::Unknown => "its hooks are not all set, or it was not looked at since",
        }
    }
}

/// What is known of a line's signs of life, in our time.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Signs {
    /// When its open treatments were last looked at; `None` while they are not known.
    pub looked_at: Option<Time>,
    /// When the last event that names it came in.
    pub heard_at: Option<Time>,
    /// When the quietest of its open treatments was last heard of; `None` while nothing is open.
    pub quiet_since: Option<Time>,
    /// Looks since then that found it still listed.
    pub looks: i64,
    /// When it is looked at next.
    pub look_at: Option<Time>,
}

impl Signs {
    /// How sure the line's state is, and the time that it was last sure at.
    ///
    /// `after` is how long a silence is waited for.
    pub fn sureness(&self, now: Time, after: Span) -> (Sureness, Option<Time>) {
        let Some(looked_at) = self.looked_at else {
            return (Sureness::Unknown, None);
        };
        let heard_at = self.quiet_since.or(self.heard_at);
        let sure_at = heard_at.map_or(looked_at, |heard_at| heard_at.max(looked_at));
        // Not `look_at`: a look that was not answered is put off, and the silence goes on.
        let ends = |since| silence_ends(since, self.looks, looked_at, after);
        let sureness = match self.quiet_since {
            Some(since) if ends(since) <= now => Sureness::Silent,
            None if now.since(sure_at) > after => Sureness::Idle,
            _ if heard_at == Some(sure_at) => Sureness::Heard,
            _ => Sureness::Looked,
        };
        (sureness, Some(sure_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Span = Span::from_secs(2 * 3_600);

    fn at(minutes: i64) -> Time {
        Time::from_micros(1_700_000_000_000_000).plus(Span::from_secs(minutes * 60))
    }

    #[test]
    fn a_silent_line_is_looked_at_after_growing_times_and_a_sign_of_life_begins_anew() {
        let mut watch = Watch::default().after_events(Some(at(0)), at(-600), AFTER);
        let mut last = at(0);
        let mut hours = Vec::new();
        for _ in 0..7 {
            let due = watch.look_at.unwrap();
            hours.push(due.since(last).whole_secs() / 3_600);
            watch = watch.after_look(Some(at(0)), due, AFTER);
            last = due;
        }
        assert_eq!(hours, [2, 4, 8, 16, 24, 24, 24]);
        watch = watch.after_events(Some(at(9_999)), last, AFTER);
        assert_eq!((watch.looks, watch.look_at), (0, Some(at(9_999 + 120))));
    }

    #[test]
    fn a_silence_that_is_waited_for_longer_than_a_day_does_not_come_sooner_for_it() {
        let long = Span::from_secs(48 * 3_600);
        let watch = Watch::default().after_events(Some(at(0)), at(0), long);
        assert_eq!(watch.look_at, Some(at(48 * 60)));
        assert_eq!(watch.after_look(Some(at(0)), at(2_880), long).look_at, Some(at(2 * 2_880)));
    }

    #[test]
    fn a_line_with_nothing_open_is_never_looked_at_for_its_silence() {
        let open = Watch::default().after_events(Some(at(0)), at(0), AFTER);
        assert_eq!(open.after_events(None, at(0), AFTER), Watch::default());
        assert_eq!(open.after_look(None, at(120), AFTER), Watch::default());
        assert_eq!(Watch::default().after_events(None, at(0), AFTER), Watch::default());
    }

    #[test]
    fn the_quietest_treatment_counts_and_others_do_not_vouch_for_it() {
        let watch = Watch::default().after_events(Some(at(0)), at(0), AFTER);
        // Others talk: the oldest sign of life stays what it was, and so does the plan.
        assert_eq!(watch.after_events(Some(at(0)), at(0), AFTER), watch);
        let put_off = Watch { look_at: Some(at(121)), ..watch };
        assert_eq!(put_off.after_events(Some(at(0)), at(0), AFTER), put_off);
    }

    #[test]
    fn a_look_for_another_reason_is_a_sign_but_no_step_towards_longer_times() {
        let watch = Watch::default().after_events(Some(at(0)), at(-60), AFTER);
        let early = watch.after_look(Some(at(0)), at(60), AFTER);
        assert_eq!((early.looks, early.look_at), (0, Some(at(180))));
        // The first look after a time in which nothing could be heard, at what was silent before.
        let first = Watch::default().after_look(Some(at(-900)), at(0), AFTER);
        assert_eq!((first.looks, first.look_at), (0, Some(at(120))));
        // One that finds another treatment than the one that was waited for.
        let other = watch.after_look(Some(at(119)), at(120), AFTER);
        assert_eq!((other.looks, other.look_at), (0, Some(at(240))));
    }

    #[test]
    fn each_line_says_how_sure_its_state_is_and_since_when() {
        let sure = |looked: Option<i64>, heard: Option<i64>, quiet: Option<i64>, looks: i64| {
            let signs = Signs {
                looked_at: looked.map(at),
                heard_at: heard.map(at),
                quiet_since: quiet.map(at),
                looks,
                // Put off again and again.
                look_at: Some(at(1_001)),
            };
            signs.sureness(at(1_000), AFTER)
        };
        let check = |found, sureness, minutes: Option<i64>| {
            assert_eq!(found, (sureness, minutes.map(at)));
        };
        check(sure(None, Some(990), Some(990), 0), Sureness::Unknown, None);
        // Something is open.
        check(sure(Some(100), Some(990), Some(990), 0), Sureness::Heard, Some(990));
        check(sure(Some(800), Some(500), Some(500), 1), Sureness::Looked, Some(800));
        check(sure(Some(100), Some(700), Some(700), 0), Sureness::Silent, Some(700));
        check(sure(Some(760), Some(500), Some(500), 1), Sureness::Silent, Some(760));
        // Another treatment talks, the silent one is what counts.
        check(sure(Some(100), Some(999), Some(700), 0), Sureness::Silent, Some(700));
        // Nothing is open.
        check(sure(Some(100), Some(990), None, 0), Sureness::Heard, Some(990));
        check(sure(Some(990), Some(500), None, 0), Sureness::Looked, Some(990));
        check(sure(Some(990), None, None, 0), Sureness::Looked, Some(990));
        check(sure(Some(100), Some(500), None, 0), Sureness::Idle, Some(500));
        check(sure(Some(100), None, None, 0), Sureness::Idle, Some(100));
    }
}
