//! What can happen, as plain values: a list of steps is a whole history, and any part of it can be
//! played too. A step that makes no sense at its moment does nothing.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $weight:literal;)*) => {
        /// What happens in a step.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(super) enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub(super) const fn weight(self) -> u32 {
                match self { $(Self::$variant => $weight,)* }
            }
        }
    };
}

kinds! {
    /// Time goes by; every step takes a little too.
    Pass = "pass", 8;
    /// Our clock is set, at most a few seconds off.
    Clock = "clock", 1;
    /// A payment comes in.
    Arrive = "arrive", 7;
    /// A user writes.
    UserWrites = "user-writes", 4;
    /// A specialist writes first.
    SpecialistWrites = "specialist-writes", 2;
    /// An open treatment is closed.
    Close = "close", 7;
    /// An open treatment goes to another line.
    Reroute = "reroute", 2;
    /// A treatment that is over is rated.
    Rate = "rate", 1;
    /// Something happens in a treatment that says nothing new.
    Chatter = "chatter", 2;
    /// A specialist quotes the number of a message in its chat.
    Quote = "quote", 1;
    /// A person holds, releases, cancels or retries a payment.
    Command = "command", 2;
    /// The directory says something else about a line.
    Line = "line", 2;
    /// The directory says something else about a manager.
    Manager = "manager", 1;
    /// The directory says something else about a counterparty.
    Counterparty = "counterparty", 1;
    /// A broadcast is lost.
    Lose = "lose", 2;
    /// The platform forgets hooks of a line.
    ForgetHooks = "forget-hooks", 1;
    /// A broadcast arrives; perhaps it will arrive again.
    Deliver = "deliver", 26;
    /// The platform deals with a call.
    Serve = "serve", 8;
    /// The events that were kept are taken in.
    Intake = "intake", 11;
    /// The dispatcher does a step.
    Dispatch = "dispatch", 10;
    /// A sender claims a dispatch.
    Claim = "claim", 8;
    /// A sender makes its call.
    Send = "send", 8;
    /// A sender hears of its call, or stops waiting.
    Answer = "answer", 8;
    /// Claims that ran out come into doubt.
    Expire = "expire", 2;
    /// The reconciler asks what is open.
    LookAsk = "look-ask", 4;
    /// The reconciler hears what is open.
    LookAnswer = "look-answer", 5;
    /// The reconciler compares the hooks of a line.
    SyncHooks = "sync-hooks", 3;
    /// A replica dies with all it had in hand.
    Crash = "crash", 1;
    /// A replica starts.
    Start = "start", 2;
    /// Nobody knows whether events were missed.
    Gap = "gap", 1;
}

/// One step; the numbers pick among what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) a: u8,
    pub(super) b: u8,
    pub(super) c: u8,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.kind.word(), self.a, self.b, self.c)
    }
}

impl Step {
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default();
        let kind = Kind::ALL.iter().copied().find(|kind| kind.word() == word);
        let kind = kind.unwrap_or_else(|| panic!("{word:?} is no step"));
        let mut number = || words.next().map_or(0, |word| word.parse().expect("a number"));
        Self { kind, a: number(), b: number(), c: number() }
    }
}

/// A whole history: the world it happens in, and what happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct History {
    pub(super) world: u32,
    pub(super) steps: Vec<Step>,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "world {}", self.world)?;
        self.steps.iter().try_for_each(|step| write!(f, "; {step}"))
    }
}

impl History {
    /// Reads what its `Display` wrote.
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let world = parts.next().and_then(|first| first.strip_prefix("world "));
        let world = world.expect("a history begins with its world").parse().expect("a number");
        Self { world, steps: parts.map(Step::parse).collect() }
    }
}
