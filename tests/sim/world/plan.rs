//! What happens in one life: drawn from a seed, a list of steps that can be shortened at will.
//!
//! Steps name nothing that must exist: "the fourth open conversation" is taken modulo how many there
//! are, and a step that finds nothing does nothing. So any part of a plan is a plan.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use freeline::core::dispatch::SendMode;

use super::platform::Manners;
use super::turnstile::{Calls, Fate};

/// Steps of one plan.
const STEPS: std::ops::Range<usize> = 80..280;

/// What stays as it is during one life.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    pub(super) lines: usize,
    pub(super) users: usize,
    pub(super) mode: SendMode,
    pub(super) manners: Manners,
}

/// The workers of a replica; the sender has two lanes.
pub(super) const WORKERS: [&str; 7] =
    ["intake", "dispatcher", "sender", "other sender", "notifier", "reconciler", "expirer"];

/// Their places.
pub(super) const INTAKE: usize = 0;
pub(super) const DISPATCHER: usize = 1;
pub(super) const SENDER: usize = 2;
/// The second lane's place among them.
pub(super) const OTHER_SENDER: usize = 3;
/// The reconciler's place among them.
pub(super) const RECONCILER: usize = 5;

/// Workers by how often they are drawn.
const OFTEN: [usize; 15] = [0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5, 5, 6];

/// How a delivery of an event goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Post {
    Delivered,
    DeliveredAndAgain,
    Lost,
    /// Answered 503.
    NotKept,
    /// Kept, but the answer did not come back.
    KeptUnheard,
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A worker makes so many calls.
    Go {
        replica: usize,
        worker: usize,
        calls: Calls,
    },
    /// All workers of a replica do what there is to do, once.
    Round {
        replica: usize,
    },
    /// A replica dies and starts anew.
    Crash {
        replica: usize,
    },
    /// A replica stops as asked, and starts anew.
    Restart {
        replica: usize,
    },
    /// Time passes; unless all stand still, the lease is kept meanwhile.
    Pass {
        millis: i64,
        kept: bool,
    },
    SetClock {
        off_ms: i64,
    },
    Deliver {
        which: usize,
        replica: usize,
        post: Post,
    },
    /// The oldest ones, so many.
    DeliverSome {
        count: usize,
        replica: usize,
    },
    /// The dispatcher works, then a lane of the sender makes so many calls.
    Send {
        replica: usize,
        lane: usize,
        calls: Calls,
    },
    /// An answer is written down and its sender does not hear so; another replica claims the call
    /// anew, and only then the first one writes its answer down once more.
    AnswerAgain {
        replica: usize,
        other: usize,
    },
    /// Some events come in and are taken into account.
    Hear {
        count: usize,
        replica: usize,
    },
    Pay {
        n: usize,
        user: usize,
        whose: usize,
        priority: i64,
        hold: bool,
        fate: Fate,
    },
    PayAgain {
        which: usize,
        changed: bool,
    },
    Order {
        which: usize,
        what: usize,
        fate: Fate,
    },
    PutWhole {
        without: usize,
    },
    PutLine {
        line: usize,
        manager: usize,
        capacity: i64,
        enabled: bool,
    },
    PutManager {
        manager: usize,
        enabled: bool,
    },
    PutCounterparty {
        which: usize,
        manager: usize,
    },
    Pause {
        line: usize,
        resumed: bool,
    },
    UserWrites {
        line: usize,
        user: usize,
    },
    SpecialistWrites {
        line: usize,
        user: usize,
        quotes: Option<usize>,
    },
    Closes {
        which: usize,
        automatic: bool,
    },
    Rates {
        which: usize,
    },
    Moves {
        which: usize,
        line: usize,
    },
    ForgetHook {
        line: usize,
        bot: bool,
    },
    Refuse {
        line: usize,
        user: usize,
    },
    Permit,
    PlatformDown {
        secs: i64,
    },
    StrangeEvent {
        which: usize,
    },
}

/// Draws the setting and the steps of a seed.
pub(super) fn draw(seed: u64) -> (Setting, Vec<Step>) {
    let mut dice = StdRng::seed_from_u64(seed);
    let setting = Setting {
        seed,
        replicas: *pick(&mut dice, &[1, 1, 2, 2, 3]),
        lines: dice.random_range(2..=4),
        users: dice.random_range(2..=4),
        mode: if dice.random_ratio(3, 4) { SendMode::Bot } else { SendMode::Specialist },
        manners: Manners {
            bot_without_id: *pick(&mut dice, &[0, 0, 1, 2]),
            bot_bare: dice.random_ratio(1, 5),
            moves_name: dice.random_ratio(4, 5),
            clock_off_ms: dice.random_range(-5_000..5_000),
        },
    };
    // Each life has its own temper: some things never happen in it, others all the time.
    let mut temper = [0_u32; KINDS.len()];
    for (weight, (usual, _)) in temper.iter_mut().zip(&KINDS) {
        *weight = usual * pick(&mut dice, &[0, 1, 1, 1, 3]);
    }
    // Somebody has to work, and something has to come in.
    for (weight, least) in temper.iter_mut().zip([40, 15, 10, 3, 10]) {
        *weight = least.max(*weight);
    }
    let faults = *pick(&mut dice, &[0, 8, 20, 35]);
    let count = dice.random_range(STEPS);
    let mut steps = vec![Step::PutWhole { without: 0 }];
    // Most lives begin in peace.
    if dice.random_ratio(4, 5) {
        steps.extend([Step::Round { replica: 0 }; 2]);
    }
    let mut chance = Chance { dice, faults, setting: setting.clone(), payments: 0 };
    let total: u32 = temper.iter().sum();
    while steps.len() < count {
        let mut at = chance.dice.random_range(0..total);
        for (weight, (_, make)) in temper.iter().zip(&KINDS) {
            if at < *weight {
                steps.push(make(&mut chance));
                break;
            }
            at -= weight;
        }
    }
    (setting, steps)
}

struct Chance {
    dice: StdRng,
    faults: u32,
    setting: Setting,
    payments: usize,
}

fn pick<'a, T>(dice: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[dice.random_range(0..from.len())]
}

impl Chance {
    fn which(&mut self) -> usize {
        self.dice.random_range(0..64)
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.dice.random_range(0..100) < percent
    }

    fn replica(&mut self) -> usize {
        self.dice.random_range(0..self.setting.replicas)
    }

    fn line(&mut self) -> usize {
        self.dice.random_range(0..self.setting.lines)
    }

    fn user(&mut self) -> usize {
        self.dice.random_range(0..self.setting.users)
    }

    fn fate(&mut self) -> Fate {
        let faults = self.faults;
        if self.percent(faults) { *pick(&mut self.dice, &Fate::FAULTS) } else { Fate::Fine }
    }

    fn store_fate(&mut self) -> Fate {
        let faults = self.faults;
        match (self.percent(faults), self.percent(50)) {
            (false, _) => Fate::Fine,
            (true, false) => Fate::FailsBefore,
            (true, true) => Fate::FailsAfter,
        }
    }
}

/// Draws one step of its kind.
type Maker = fn(&mut Chance) -> Step;

/// The kinds of steps with their usual weights.
const KINDS: [(u32, Maker); 26] = [
    (80, |c| Step::Go {
        replica: c.replica(),
        worker: *pick(&mut c.dice, &OFTEN),
        calls: Calls {
            count: *pick(&mut c.dice, &[1, 2, 2, 3, 3, 5, 8]),
            fate: c.fate(),
            goes_on: c.percent(60),
        },
    }),
    (30, |c| Step::Send {
        replica: c.replica(),
        lane: c.dice.random_range(0..2),
        calls: Calls {
            count: *pick(&mut c.dice, &[1, 2, 2, 3, 3, 4]),
            fate: c.fate(),
            goes_on: c.percent(50),
        },
    }),
    (20, |c| Step::Hear { count: c.dice.random_range(2..12), replica: c.replica() }),
    (5, |c| Step::Round { replica: c.replica() }),
    (14, |c| {
        c.payments += 1;
        Step::Pay {
            n: c.payments,
            user: c.user(),
            whose: c.which(),
            priority: c.dice.random_range(0..3),
            hold: c.percent(8),
            fate: c.store_fate(),
        }
    }),
    (3, |c| Step::Crash { replica: c.replica() }),
    (2, |c| Step::Restart { replica: c.replica() }),
    (20, |c| Step::Pass {
        millis: match c.dice.random_range(0..100) {
            0..30 => c.dice.random_range(1..1_000),
            30..90 => c.dice.random_range(1_000..20_000),
            90..97 => c.dice.random_range(20_000..180_000),
            _ => 3_600_000,
        },
        kept: c.percent(85),
    }),
    (2, |c| Step::SetClock { off_ms: c.dice.random_range(-15_000..15_000) }),
    (24, |c| Step::Deliver {
        // The oldest ones most of the time.
        which: if c.percent(60) { c.dice.random_range(0..2) } else { c.which() },
        replica: c.replica(),
        post: match c.dice.random_range(0..100) {
            0..3 => Post::Lost,
            3..12 => Post::DeliveredAndAgain,
            12..16 => Post::NotKept,
            16..20 => Post::KeptUnheard,
            _ => Post::Delivered,
        },
    }),
    (8, |c| Step::DeliverSome { count: c.dice.random_range(2..12), replica: c.replica() }),
    (3, |c| Step::PayAgain { which: c.which(), changed: c.percent(30) }),
    (8, |c| Step::Order { which: c.which(), what: c.which(), fate: c.store_fate() }),
    (1, |c| Step::PutWhole { without: c.dice.random_range(0..16) & c.dice.random_range(0..16) }),
    (3, |c| Step::PutLine {
        line: c.line(),
        manager: c.dice.random_range(0..2),
        capacity: c.dice.random_range(1..3),
        enabled: c.percent(70),
    }),
    (1, |c| Step::PutManager { manager: c.dice.random_range(0..2), enabled: c.percent(60) }),
    (2, |c| Step::PutCounterparty { which: c.which(), manager: c.dice.random_range(0..2) }),
    (3, |c| Step::Pause { line: c.line(), resumed: c.percent(60) }),
    (4, |c| Step::UserWrites { line: c.line(), user: c.user() }),
    (3, |c| Step::SpecialistWrites {
        line: c.line(),
        user: c.user(),
        quotes: if c.percent(10) { Some(c.which()) } else { None },
    }),
    (20, |c| Step::Closes { which: c.which(), automatic: c.percent(15) }),
    (4, |c| {
        if c.percent(40) {
            Step::Rates { which: c.which() }
        } else {
            Step::Moves { which: c.which(), line: c.line() }
        }
    }),
    (1, |c| Step::ForgetHook { line: c.line(), bot: c.percent(50) }),
    (3, |c| match c.dice.random_range(0..3) {
        0 => Step::Permit,
        1 => Step::Refuse { line: c.line(), user: c.user() },
        _ => Step::PlatformDown { secs: c.dice.random_range(1..90) },
    }),
    (1, |c| Step::StrangeEvent { which: c.which() }),
    (4, |c| Step::AnswerAgain { replica: c.replica(), other: c.replica() }),
];
