//! The platform's memory: lines, people and treatments. No I/O, no clock.
//!
//! What happens to a treatment stands in `traces`; this file holds what is and answers questions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Map, Value, json};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;

use super::bodies::Stamp;
use super::config::{SandboxConfig, line_id, line_name, specialist_id, user_id};
use super::files::Files;
use super::holding::{Holder, Waiting};
use super::keyboards::ShownKeyboard;

/// How many closed treatments are remembered, newest first to stay.
pub const CLOSED_MAX: usize = 10_000;
/// How many users may become known by writing.
pub const USERS_MAX: usize = 100_000;
/// How far an event's time may lie after the one before when the clock stands still.
const STEP_NANOS: i64 = 1_000;
/// Rows of the list of treatments in a row that repeat one specialist.
const ALIASED_RUN: usize = 8;

/// Why something cannot happen on the platform.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The line does not exist.
    #[error("There is no line {0}.")]
    UnknownLine(LineId),
    /// The user does not have the line.
    #[error("User is not a subscriber or never been online")]
    NotSubscriber,
    /// The specialist does not serve here.
    #[error("There is no specialist {0}.")]
    UnknownSpecialist(UserId),
    /// Too many users became known.
    #[error("There are {USERS_MAX} users already.")]
    TooManyUsers,
    /// The user has no open treatment on the line.
    #[error("User {1} has no open treatment on line {0}.")]
    NothingOpen(LineId, UserId),
    /// The treatment does not exist, or was closed too long ago.
    #[error("There is no treatment {0}.")]
    UnknownTreatment(TreatmentId),
    /// Only a closed treatment can be rated.
    #[error("Treatment {0} is still open.")]
    StillOpen(TreatmentId),
    /// The rating is out of range.
    #[error("quality is {0}: expected 1 to 5.")]
    Quality(i64),
    /// No treatment begins with this type of message.
    #[error("message_type is {0}: a treatment opens with 1, 20, 50, 70, 80 or 81.")]
    NoOpening(i64),
    /// No treatment ends with this type of message.
    #[error("message_type is {0}: a treatment closes with 82, 90, 91, 92 or 93.")]
    NoClosing(i64),
    /// The specialist is not available.
    #[error("Specialist {0} is not available.")]
    NotAvailable(UserId),
    /// Only a line with a bot can be given to it.
    #[error("There is no bot on line {0}.")]
    NoBot(LineId),
    /// No such button is shown to the user.
    #[error("No button \"{0}\" is shown to the user.")]
    NoButton(String),
    /// An event that goes nowhere.
    #[error("The event names no line_id.")]
    NoLine,
}

/// One event to be broadcast, without its `event_source`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Broadcast {
    /// The line whose hooks get it.
    pub(super) line: LineId,
    /// Its type; `None` for a body that has none.
    pub(super) message_type: Option<i64>,
    /// Its body.
    pub(super) body: Map<String, Value>,
}

/// A line of the platform.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) allow_bot: bool,
    pub(super) subscribers: BTreeSet<UserId>,
}

/// A conversation, open or closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) id: TreatmentId,
    pub(super) line: LineId,
    pub(super) user: UserId,
    pub(super) since: Stamp,
    pub(super) holder: Holder,
    /// Since when a user waits for the bot's answer, or the treatment for a specialist.
    pub(super) waiting_since: Option<Stamp>,
    pub(super) closing: Option<Closing>,
}

impl Held {
    pub(super) fn specialist(&self) -> Option<&UserId> {
        self.holder.specialist()
    }
}

/// How a conversation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Closing {
    pub(super) message_type: i64,
    pub(super) message_id: String,
    pub(super) at: Stamp,
}

/// A treatment, as the sandbox shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Treatment {
    /// Its id, a UUID v4.
    pub id: TreatmentId,
    /// Its line.
    pub line: LineId,
    /// Its user.
    pub user: UserId,
    /// When it began.
    pub initialized_at: Time,
    /// Who has it; nobody while it is queued or with the bot.
    pub specialist: Option<UserId>,
    /// Who has it, or had it last.
    pub holder: Holder,
    /// Type of the event that closed it; `None` while it is open.
    pub closed_by: Option<i64>,
}

impl From<&Held> for Treatment {
    fn from(held: &Held) -> Self {
        Self {
            id: held.id.clone(),
            line: held.line.clone(),
            user: held.user.clone(),
            initialized_at: held.since.time(),
            specialist: held.specialist().cloned(),
            holder: held.holder.clone(),
            closed_by: held.closing.as_ref().map(|closing| closing.message_type),
        }
    }
}

/// Everything the platform knows but for hooks.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) lines: BTreeMap<LineId, Line>,
    pub(super) users: BTreeSet<UserId>,
    pub(super) specialists: Vec<UserId>,
    /// The specialists who are not available.
    pub(super) away: BTreeSet<UserId>,
    /// The lines whose users get to the bot first.
    pub(super) bot_lines: BTreeSet<LineId>,
    pub(super) keyboards: BTreeMap<(LineId, UserId), ShownKeyboard>,
    pub(super) files: Files,
    /// Users who wait for the bot's answer.
    pub(super) unanswered: Waiting,
    /// Treatments that wait for a specialist.
    pub(super) queued: Waiting,
    pub(super) open: BTreeMap<(LineId, UserId), Held>,
    pub(super) closed: VecDeque<Held>,
    /// Treatments opened since they were last asked for.
    pub(super) newly_opened: Vec<Treatment>,
    pub(super) rng: StdRng,
    last: Stamp,
}

impl Model {
    /// The inhabitants that `config` asks for, no treatments.
    pub(super) fn new(config: &SandboxConfig) -> Self {
        let users: BTreeSet<UserId> = (1..=config.users).map(user_id).collect();
        let line = |number| Line {
            name: line_name(number),
            allow_bot: !config.lines_without_bot.contains(&number),
            subscribers: users.clone(),
        };
        Self {
            lines: (1..=config.lines).map(|number| (line_id(number), line(number))).collect(),
            users: users.clone(),
            specialists: (1..=config.specialists).map(specialist_id).collect(),
            away: BTreeSet::new(),
            bot_lines: BTreeSet::new(),
            keyboards: BTreeMap::new(),
            files: Files::at(String::new()),
            unanswered: Waiting::default(),
            queued: Waiting::default(),
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            newly_opened: Vec::new(),
            rng: StdRng::seed_from_u64(config.seed),
            last: Stamp::new(Time::default(), 0),
        }
    }

    /// The line, or the refusal of one that does not exist.
    pub(super) fn require_line(&self, line: &LineId) -> Result<&Line, Refused> {
        self.lines.get(line).ok_or_else(|| Refused::UnknownLine(line.clone()))
    }

    /// Refuses a user who does not have the line.
    pub(super) fn require_subscriber(&self, line: &LineId, user: &UserId) -> Result<(), Refused> {
        if self.require_line(line)?.subscribers.contains(user) {
            Ok(())
        } else {
            Err(Refused::NotSubscriber)
        }
    }

    /// Refuses whoever is not a specialist.
    pub(super) fn require_specialist(&self, specialist: &UserId) -> Result<(), Refused> {
        if self.specialists.contains(specialist) {
            Ok(())
        } else {
            Err(Refused::UnknownSpecialist(specialist.clone()))
        }
    }

    /// Makes the user known and a subscriber of the line.
    pub(super) fn subscribe(&mut self, line: &LineId, user: &UserId) -> Result<(), Refused> {
        let known = self.users.contains(user);
        if !known && self.users.len() >= USERS_MAX {
            return Err(Refused::TooManyUsers);
        }
        let held = self.lines.get_mut(line).ok_or_else(|| Refused::UnknownLine(line.clone()))?;
        held.subscribers.insert(user.clone());
        if !known {
            self.users.insert(user.clone());
        }
        Ok(())
    }

    /// The open treatment of the user on the line.
    pub(super) fn require_open(&self, line: &LineId, user: &UserId) -> Result<&Held, Refused> {
        self.open
            .get(&(line.clone(), user.clone()))
            .ok_or_else(|| Refused::NothingOpen(line.clone(), user.clone()))
    }

    /// The closed treatment with this id, if it is still remembered.
    pub(super) fn find_closed(&self, treatment: &TreatmentId) -> Option<&Held> {
        self.closed.iter().rev().find(|held| held.id == *treatment)
    }

    /// All treatments, open ones first.
    pub(super) fn treatments(&self) -> Vec<Treatment> {
        self.open.values().chain(&self.closed).map(Treatment::from).collect()
    }

    /// The moment of the next event: never before the one before.
    pub(super) fn stamp(&mut self, now: Time) -> Stamp {
        let nanos = self.rng.random_range(0..STEP_NANOS);
        let after = self.last.later(1 + self.rng.random_range(0..STEP_NANOS));
        self.last = Stamp::new(now, nanos).max(after);
        self.last
    }

    /// A `treatment_id`: a UUID v4.
    pub(super) fn new_treatment_id(&mut self) -> TreatmentId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        TreatmentId::new(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
    }

    /// A `message_id`: dashed like a UUID, of no version.
    pub(super) fn new_message_id(&mut self) -> String {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        uuid::Uuid::from_bytes(bytes).to_string()
    }

    /// Any specialist, or nobody if there is none.
    pub(super) fn any_specialist(&mut self) -> Option<UserId> {
        self.specialists.choose(&mut self.rng).cloned()
    }

    /// Any specialist who is available, or nobody if there is none.
    pub(super) fn free_specialist(&mut self) -> Option<UserId> {
        let free: Vec<_> = self.free_specialists().cloned().collect();
        free.choose(&mut self.rng).cloned()
    }

    /// The specialists who are available.
    pub(super) fn free_specialists(&self) -> impl Iterator<Item = &UserId> {
        self.specialists.iter().filter(|one| !self.away.contains(*one))
    }

    /// Whether a rare thing happens, `times` out of `of`.
    pub(super) fn happens(&mut self, times: u32, of: u32) -> bool {
        self.rng.random_ratio(times, of)
    }

    /// Remembers a closed treatment and forgets the oldest beyond the bound.
    pub(super) fn remember_closed(&mut self, held: Held) {
        self.closed.push_back(held);
        if self.closed.len() > CLOSED_MAX {
            self.closed.pop_front();
        }
    }

    /// The answer of `GET /v1/line/treatment/`.
    ///
    /// Its `current_specialist` is as wrong as recorded (`connect-api.md` 4.8): one id repeats
    /// over runs of rows, and a query of one line carries another id than the query of all.
    pub(super) fn list_treatments(&self, line: Option<&str>, user: Option<&str>) -> Vec<Value> {
        let wanted = |held: &&Held| {
            line.is_none_or(|line| line == held.line.as_str())
                && user.is_none_or(|user| user == held.user.as_str())
        };
        let rows = self.open.values().filter(wanted).enumerate();
        let row = |(index, held): (usize, &Held)| {
            let run = if line.is_some() { 1 } else { index / ALIASED_RUN };
            let alias = self.specialists.iter().cycle().nth(run);
            let shown = held.specialist().and(alias).map(UserId::as_str);
            json!({
                "treatment_id": held.id.as_str(),
                "user_id": held.user.as_str(),
                "line_id": held.line.as_str(),
                "initialized_at": held.since.text(6),
                "current_specialist": shown,
            })
        };
        rows.map(row).collect()
    }
}
