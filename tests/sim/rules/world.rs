//! The world: the service, the platform, the people, and the faults between them.

use freeline::core::dispatch::{Phase, Policy, SendMode};
use freeline::core::id::LineId;
use freeline::core::line::{Line, LineState, Occupancy};
use freeline::core::occupancy::Listed;
use freeline::core::time::Time;

use super::calls::Call;
use super::platform::{Author, Broadcast, Platform};
use super::service::{Done, IN_DOUBT_AFTER, Rules};
use super::setting::{NAMES, Setting};
use super::step::{Kind, Step};
use super::tables::{CounterpartyRow, LineRow, ManagerRow, Tables};

/// Times that can go by in one step, in milliseconds.
const PASSES: [i64; 10] =
    [20, 300, 1_000, 3_000, 8_000, 16_000, 35_000, 125_000, 700_000, 3_700_000];
/// How far our clock may be from the true time, in seconds: a step of it is twice that at most.
const CLOCK_OFF_MAX: i64 = 2;

/// A look that a replica waits for.
pub(super) struct Look {
    pub(super) replica: u8,
    pub(super) line: LineId,
    pub(super) requested_at: Time,
    pub(super) asked_at: i64,
    /// What the platform answered, unless it has not got the question yet.
    pub(super) listed: Option<Vec<Listed>>,
}

/// What happened that is neither right nor wrong: counted.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) taken: u64,
    pub(super) doubts_for_people: u64,
    pub(super) blind: u64,
    pub(super) mistaken: u64,
    pub(super) stale: u64,
    pub(super) rounds_max: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.taken += other.taken;
        self.doubts_for_people += other.doubts_for_people;
        self.blind += other.blind;
        self.mistaken += other.mistaken;
        self.stale += other.stale;
        self.rounds_max = self.rounds_max.max(other.rounds_max);
    }
}

pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) tables: Tables,
    pub(super) platform: Platform,
    /// True time in microseconds.
    pub(super) now: i64,
    /// What our clock is ahead of the true time, in microseconds.
    pub(super) ahead: i64,
    /// For each replica the number of its start; `None` while it is down.
    pub(super) up: Vec<Option<u32>>,
    pub(super) starts: u32,
    pub(super) calls: Vec<Call>,
    pub(super) looks: Vec<Look>,
    /// Payments that a person wanted sent again without knowing, or that nobody could have known of.
    pub(super) risked: Vec<bool>,
    /// Payments that a person cancelled or retried while they were in doubt: what they left on the
    /// platform is beyond the places of its line.
    pub(super) let_go: Vec<bool>,
    /// Payments the platform refuses as such.
    pub(super) bad: Vec<bool>,
    pub(super) tally: Tally,
    /// Nothing is lost any more since all lines were looked at.
    pub(super) was_looked_at_last: bool,
    /// Checks after each step, whether anything was written or not.
    pub(super) checks_always: bool,
    /// What each step did, for whoever reads a failure.
    pub(super) story: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let mut tables = Tables::default();
        for number in 0..setting.lines() {
            let at = usize::from(number);
            tables.lines.push(Line {
                id: NAMES.lines[at].clone(),
                name: String::new(),
                manager: NAMES.managers[usize::from(setting.manager(number))].clone(),
                position: 0,
                last_used_at: None,
                occupancy: Occupancy {
                    enabled: true,
                    paused: false,
                    known: false,
                    capacity: setting.capacity(number),
                    open: 0,
                    reserved: 0,
                },
            });
            tables.line_rows.push(LineRow {
                enabled: true,
                present: true,
                paused: false,
                hooked_at: None,
                known_at: None,
                look_at: None,
                look_failures: 0,
                hooks_noted: false,
                state: LineState::Unknown,
            });
        }
        // The last manager and the last counterparty are not in the directory yet.
        for number in 0..3 {
            let present = number < 2;
            let manager = ManagerRow { exists: present, enabled: true, present, due_at: None };
            tables.managers.push(manager);
            let user = Some(number).filter(|number| *number == 0);
            tables.counterparties.push(CounterpartyRow { manager: number % 2, user, present });
        }
        let mut world = Self {
            setting,
            tables,
            platform: Platform::new(setting),
            now: 0,
            ahead: 0,
            up: vec![Some(1); usize::from(setting.replicas())],
            starts: 1,
            calls: Vec::new(),
            looks: Vec::new(),
            risked: Vec::new(),
            let_go: Vec::new(),
            bad: Vec::new(),
            tally: Tally::default(),
            was_looked_at_last: setting.nothing_is_lost(),
            checks_always: false,
            story: None,
        };
        world.tables.settle_directory(world.clock());
        world
    }

    /// Our clock.
    pub(super) fn clock(&self) -> Time {
        Time::from_micros(1_000_000_000_000 + self.now + self.ahead)
    }

    /// The platform's clock.
    pub(super) fn their_clock(&self) -> Time {
        let apart = self.setting.platform_clock() * 1_000_000;
        Time::from_micros(1_000_000_000_000 + self.now + apart)
    }

    pub(super) const fn rules(&self) -> Rules {
        Rules { policy: Policy { mode: self.setting.mode(), in_doubt_after: IN_DOUBT_AFTER } }
    }

    /// A replica that is up, the `which`th of them.
    pub(super) fn replica(&self, which: u8) -> Option<u8> {
        let up = || (0..).zip(&self.up).filter(|(_, start)| start.is_some());
        let which = usize::from(which).checked_rem(up().count())?;
        up().nth(which).map(|(replica, _)| replica)
    }

    pub(super) fn pass(&mut self, millis: i64) {
        self.now += millis * 1_000;
    }

    /// Lines that exist on the platform: those of the directory and one more.
    const fn lines(&self) -> u8 {
        self.setting.lines() + 1
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    /// Plays one step; answers whether anything could happen, or what it broke.
    pub(super) fn step(&mut self, step: Step) -> Done<bool> {
        self.now += 10_000;
        let Step { kind, a, b, c } = step;
        let at = self.their_clock();
        match kind {
            Kind::Pass => self.pass(PASSES[usize::from(a) % PASSES.len()]),
            Kind::Clock => {
                let off = i64::from(a) % (2 * CLOCK_OFF_MAX + 1) - CLOCK_OFF_MAX;
                self.ahead = off * 1_000_000;
            }
            Kind::Arrive => return Ok(self.arrive(a, b, c)),
            Kind::UserWrites => {
                self.platform.write((a % self.lines(), b % 3), Author::User, None, at);
            }
            Kind::SpecialistWrites => {
                self.platform.write((a % self.lines(), b % 3), Author::Specialist, None, at);
            }
            Kind::Close => {
                let Some(number) = self.platform.nth_open(a) else { return Ok(false) };
                self.platform.close(number, b, at);
            }
            Kind::Reroute => {
                let Some(number) = self.platform.nth_open(a) else { return Ok(false) };
                self.platform.reroute(number, b % self.lines(), c, at);
            }
            Kind::Rate => self.platform.rate(a, at),
            Kind::Chatter => self.platform.chatter(a, b, at),
            Kind::Quote => return Ok(self.quote(a, at)),
            Kind::Command => return self.person(a, b),
            Kind::Line => self.change_line(a, b, c),
            Kind::Manager => self.change_manager(a, b),
            Kind::Counterparty => self.change_counterparty(a, b),
            Kind::Lose => return Ok(self.lose(a)),
            Kind::ForgetHooks => self.forget_hooks(a, b),
            Kind::Deliver => return Ok(self.deliver(a, b)),
            Kind::Serve => return self.serve(a, b),
            Kind::Intake => return self.by_service(Self::intake),
            Kind::Dispatch => return self.by_service(Self::dispatch),
            Kind::Claim => return Ok(self.claim(a)),
            Kind::Send => return self.send(a, b),
            Kind::Answer => return self.answer(a, b),
            Kind::Expire => return self.by_service(Self::expire),
            Kind::LookAsk => return Ok(self.look_ask(a, b)),
            Kind::LookAnswer => return self.look_answer(a, b),
            Kind::SyncHooks => return Ok(self.sync_hooks(a, b)),
            Kind::Crash => return Ok(self.crash(a)),
            Kind::Start => return Ok(self.start(a)),
            Kind::Gap if self.replica(0).is_none() => return Ok(false),
            Kind::Gap => {
                let (rules, now) = (self.rules(), self.clock());
                self.tables.forget_occupancy(rules, now);
            }
        }
        Ok(true)
    }

    /// Whether this kind of step can do anything at this moment, as far as that is cheap to say.
    pub(super) fn can(&self, kind: Kind) -> bool {
        let has_new = || !self.tables.new_events.is_empty();
        let in_phase = |phase| self.tables.dispatches.iter().any(|one| one.phase == phase);
        match kind {
            Kind::Arrive => self.tables.payments.len() < 9,
            Kind::Close | Kind::Reroute | Kind::Chatter => self.platform.open().next().is_some(),
            Kind::Rate => self.platform.treatments.iter().any(|one| !one.is_open),
            Kind::Quote => !self.platform.taken.is_empty(),
            Kind::Command => !self.tables.payments.is_empty(),
            Kind::Deliver => !self.platform.on_the_way.is_empty(),
            Kind::Lose => !self.setting.nothing_is_lost() && !self.platform.on_the_way.is_empty(),
            Kind::ForgetHooks | Kind::Gap | Kind::Crash => !self.setting.nothing_is_lost(),
            Kind::Serve => self.calls.iter().any(Call::is_on_its_way),
            Kind::Intake => has_new(),
            Kind::Dispatch => {
                let due = self.tables.managers.iter().any(|one| one.due_at.is_some());
                due || self.tables.given.iter().any(|given| given.recheck)
            }
            Kind::Claim => in_phase(Phase::Reserved),
            Kind::Send | Kind::Answer => !self.calls.is_empty(),
            Kind::Expire => in_phase(Phase::Sending),
            Kind::LookAsk => self.tables.wants_look(self.clock()),
            Kind::LookAnswer => !self.looks.is_empty(),
            Kind::SyncHooks => {
                let lines = self.tables.lines.iter().zip(&self.tables.line_rows).enumerate();
                lines
                    .into_iter()
                    .any(|(at, (_, row))| row.present && (!row.hooks_noted || !self.has_hooks(at)))
            }
            Kind::Start => self.up.iter().any(Option::is_none),
            _ => true,
        }
    }

    /// A step of the service: some replica must be up.
    fn by_service(&mut self, what: impl FnOnce(&mut Self, Time) -> Done) -> Done<bool> {
        if self.replica(0).is_none() {
            return Ok(false);
        }
        let now = self.clock();
        what(self, now).map(|()| true)
    }

    /// Takes in what was kept.
    pub(super) fn intake(&mut self, now: Time) -> Done {
        self.hear();
        self.tables.intake(now)
    }

    /// Notes of which treatments the rules are about to hear.
    pub(super) fn hear(&mut self) {
        for (broadcast, _) in &self.tables.new_events {
            self.platform.heard(broadcast, self.now);
        }
    }

    fn dispatch(&mut self, now: Time) -> Done {
        self.tables.moment = self.now;
        let rules = self.rules();
        if self.tables.recheck(rules, now) == 0 {
            self.tables.round(now)?;
        }
        Ok(())
    }

    fn expire(&mut self, now: Time) -> Done {
        let survivor = self.up[0].filter(|_| self.setting.is_alone());
        self.tables.expire(self.rules(), now, survivor)
    }

    // --- broadcasts -------------------------------------------------------------------------------

    /// Mostly the oldest, now and then any.
    fn pick_broadcast(&self, which: u8) -> Option<usize> {
        let count = self.platform.on_the_way.len();
        let which = usize::from(which);
        (count > 0).then(|| if which < 160 { 0 } else { which % count })
    }

    fn deliver(&mut self, which: u8, again: u8) -> bool {
        let (Some(at), Some(_)) = (self.pick_broadcast(which), self.replica(0)) else {
            return false;
        };
        let broadcast = if again % 8 == 7 {
            self.platform.on_the_way[at]
        } else {
            self.platform.on_the_way.remove(at)
        };
        self.receive(broadcast);
        true
    }

    pub(super) fn receive(&mut self, broadcast: Broadcast) {
        let now = self.clock();
        self.tables.keep(broadcast, now);
        self.tell(|| format!("  {:?} {:?}", broadcast.source, broadcast.to_event()));
    }

    fn lose(&mut self, which: u8) -> bool {
        if self.setting.nothing_is_lost() {
            return false;
        }
        let Some(at) = self.pick_broadcast(which.saturating_add(100)) else { return false };
        let lost = self.platform.on_the_way.remove(at);
        self.platform.lost += 1;
        self.tell(|| format!("  lost: {} of T{}", lost.message_type, lost.treatment));
        true
    }

    // --- hooks ------------------------------------------------------------------------------------

    pub(super) fn has_hooks(&self, line: usize) -> bool {
        let (of_line, of_bot) = self.platform.hooks[line];
        of_line && (of_bot || self.setting.mode() == SendMode::Specialist)
    }

    fn forget_hooks(&mut self, line: u8, which: u8) {
        if self.setting.nothing_is_lost() {
            return;
        }
        let hooks = &mut self.platform.hooks[usize::from(line % self.setting.lines())];
        match which % 3 {
            0 => *hooks = (false, false),
            1 => hooks.0 = false,
            _ => hooks.1 = false,
        }
    }

    /// Compares the hooks of a line with ours and sets what is missing, as the reconciler does.
    pub(super) fn sync_hooks(&mut self, line: u8, how: u8) -> bool {
        let at = usize::from(line % self.setting.lines());
        if self.replica(0).is_none() || !self.tables.line_rows[at].present {
            return false;
        }
        let now = self.clock();
        if self.has_hooks(at) && self.tables.line_rows[at].hooks_noted {
            self.tables.record_hooked(at, true, now);
            return true;
        }
        if self.tables.line_rows[at].hooks_noted {
            self.tables.record_hooked(at, false, now);
            self.tables.line_rows[at].hooks_noted = false;
        }
        if how % 4 == 3 {
            // The call did not come through.
            self.tables.record_hooked(at, false, now);
            return true;
        }
        let of_bot = self.setting.mode() == SendMode::Bot;
        self.platform.hooks[at] = (true, of_bot || self.platform.hooks[at].1);
        self.tables.line_rows[at].hooks_noted = true;
        self.tables.record_hooked(at, true, now);
        true
    }

    // --- replicas ---------------------------------------------------------------------------------

    fn crash(&mut self, which: u8) -> bool {
        if self.setting.nothing_is_lost() {
            return false;
        }
        let Some(replica) = self.replica(which) else { return false };
        self.up[usize::from(replica)] = None;
        self.looks.retain(|look| look.replica != replica);
        self.calls.iter_mut().for_each(|call| call.orphan(replica));
        true
    }

    pub(super) fn start(&mut self, which: u8) -> bool {
        let down: Vec<usize> =
            (0..self.up.len()).filter(|replica| self.up[*replica].is_none()).collect();
        let Some(which) = usize::from(which).checked_rem(down.len()) else { return false };
        let nobody_heard = self.replica(0).is_none();
        self.starts += 1;
        self.up[down[which]] = Some(self.starts);
        if nobody_heard {
            let (rules, now) = (self.rules(), self.clock());
            self.tables.forget_occupancy(rules, now);
        }
        true
    }
}
