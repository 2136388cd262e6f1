//! Treatments: which are open, which are over, whatever order the events come in.
//!
//! The rules are those of `connect-api.md` 5.7. [`Treatments`] holds the part of them that one
//! decision needs: the store loads every treatment that the events name, the open ones of every
//! (line, user) they name, and the newest of each such pair.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;
use crate::core::why::codes;

/// What a provisional id begins with: bot events may lack the treatment's id, and until an event
/// brings it the treatment is kept under an id of our own.
const PROVISIONAL: char = '~';

/// How many moves in a row are followed from a treatment to the one it became.
const MOVES_MAX: usize = 16;

codes! {
    /// Who opened a treatment, as far as we know.
    Opener {
        /// The client user.
        User = "user",
        /// A specialist, or we on behalf of one.
        Specialist = "specialist",
        /// It came from another line.
        Moved = "moved",
        /// Nobody told: it stood in a list of open treatments, or its first event was lost.
        Unknown = "unknown",
    }
}

codes! {
    /// How a treatment ended.
    EndKind {
        /// By a specialist or automatically.
        Closed = "closed",
        /// It moved to another line.
        Moved = "moved",
        /// A newer treatment of the same user on the same line exists.
        Superseded = "superseded",
        /// The platform no longer lists it.
        NotListed = "not_listed",
    }
}

/// The end of a treatment: its tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// When, in the platform's time.
    pub at: Time,
    /// How.
    pub kind: EndKind,
    /// The treatment it goes on in.
    pub moved_to: Option<TreatmentId>,
}

/// One treatment, open or over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Treatment {
    /// Its id; begins with `~` while it is provisional.
    pub id: TreatmentId,
    /// Its line.
    pub line: LineId,
    /// Its user.
    pub user: UserId,
    /// When it began in the platform's time; the epoch when only its end was heard.
    pub opened_at: Time,
    /// Who opened it.
    pub opener: Opener,
    /// The newest of its events, in the platform's time.
    pub last_event_at: Time,
    /// When we last heard of it, in our time.
    pub heard_at: Time,
    /// Its end; `None` while it is open.
    pub end: Option<End>,
}

impl Treatment {
    /// Whether its real id is not known yet.
    pub fn is_provisional(&self) -> bool {
        self.id.as_str().starts_with(PROVISIONAL)
    }

    /// Whether it is open.
    pub const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// What orders two treatments of one (line, user): the later one is the living one.
    fn rank(&self) -> (bool, Time, &TreatmentId) {
        (!self.is_provisional(), self.opened_at, &self.id)
    }
}

/// Something heard about a treatment, with both clocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sign {
    /// The line it is on.
    pub line: LineId,
    /// Its user.
    pub user: UserId,
    /// When it happened, in the platform's time.
    pub at: Time,
    /// When the treatment began, where the event says so.
    pub initialized_at: Option<Time>,
    /// Who opens it, should it be new.
    pub opener: Opener,
    /// When we heard it, in our time.
    pub heard_at: Time,
}

/// The treatments that one decision needs, and which of them it changed.
#[derive(Clone, Default, Debug)]
pub struct Treatments {
    by_id: BTreeMap<TreatmentId, Treatment>,
    by_pair: BTreeMap<(LineId, UserId), BTreeSet<TreatmentId>>,
    changed: BTreeSet<TreatmentId>,
    lines_touched: BTreeSet<LineId>,
}

impl Treatments {
    /// Of the loaded ones.
    pub fn new(loaded: impl IntoIterator<Item = Treatment>) -> Self {
        let mut treatments = Self::default();
        for treatment in loaded {
            treatments.insert(treatment);
        }
        treatments
    }

    /// The one with this id.
    pub fn by_id(&self, id: &TreatmentId) -> Option<&Treatment> {
        self.by_id.get(id)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Treatment> {
        self.by_id.values()
    }

    /// The open one of a user on a line; there is at most one (`connect-api.md` 5.2).
    pub fn open_of(&self, line: &LineId, user: &UserId) -> Option<&Treatment> {
        self.of_pair(line, user).filter(|treatment| treatment.is_open()).max_by_key(|t| t.rank())
    }

    /// Every one of a user on a line that is loaded.
    pub fn of_pair(&self, line: &LineId, user: &UserId) -> impl Iterator<Item = &Treatment> {
        let pair = self.by_pair.get(&(line.clone(), user.clone()));
        pair.into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// The treatment that this one has become after all its moves.
    pub fn follow(&self, id: &TreatmentId) -> Option<&Treatment> {
        let mut at = self.by_id.get(id)?;
        for _ in 0..MOVES_MAX {
            let next = at.end.as_ref().and_then(|end| end.moved_to.as_ref());
            match next.and_then(|next| self.by_id.get(next)) {
                Some(next) => at = next,
                None => break,
            }
        }
        Some(at)
    }

    /// The ones that were changed or added.
    pub fn changed(&self) -> impl Iterator<Item = &Treatment> {
        self.changed.iter().filter_map(|id| self.by_id.get(id))
    }

    /// The lines on which something opened, ended, or moved.
    pub const fn lines_touched(&self) -> &BTreeSet<LineId> {
        &self.lines_touched
    }

    /// A sign of life: opens it when it is new, never when it is over.
    pub fn touch(&mut self, id: &TreatmentId, sign: &Sign) {
        match self.by_id.get(id) {
            Some(known) if !known.is_open() => {}
            Some(known) => {
                let mut known = known.clone();
                // Without the event of its move heard, a treatment is where its newest event says.
                if sign.at >= known.last_event_at && sign.line != known.line {
                    self.forget(&known);
                    known.line = sign.line.clone();
                }
                known.opened_at = known.opened_at.min(sign.initialized_at.unwrap_or(sign.at));
                known.last_event_at = known.last_event_at.max(sign.at);
                known.heard_at = known.heard_at.max(sign.heard_at);
                let line = known.line.clone();
                self.put(known);
                self.settle_pair(&line, &sign.user);
            }
            None => {
                self.put(Treatment {
                    id: id.clone(),
                    line: sign.line.clone(),
                    user: sign.user.clone(),
                    opened_at: sign.initialized_at.unwrap_or(sign.at).min(sign.at),
                    opener: sign.opener,
                    last_event_at: sign.at,
                    heard_at: sign.heard_at,
                    end: None,
                });
                self.settle_pair(&sign.line, &sign.user);
            }
        }
    }

    /// A sign of life without a treatment's id: means the open one of the pair, or a new one.
    ///
    /// Answers the id it was taken for; `None` if it is older than what is known of the pair.
    pub fn touch_pair(&mut self, sign: &Sign, may_open: bool) -> Option<TreatmentId> {
        if let Some(open) = self.open_of(&sign.line, &sign.user) {
            let id = open.id.clone();
            self.touch(&id, sign);
            return Some(id);
        }
        let is_late = self
            .of_pair(&sign.line, &sign.user)
            .any(|over| over.end.as_ref().is_some_and(|end| end.at >= sign.at));
        if is_late || !may_open {
            return None;
        }
        let name = format!("{PROVISIONAL}{}/{}/{}", sign.line, sign.user, sign.at.micros());
        let id = TreatmentId::new(name);
        self.touch(&id, sign);
        Some(id)
    }

    /// Ends it; when it was never heard of, only its tombstone is written.
    pub fn end(
        &mut self,
        id: &TreatmentId,
        sign: &Sign,
        kind: EndKind,
        moved_to: Option<TreatmentId>,
    ) {
        let end = End { at: sign.at, kind, moved_to };
        match self.by_id.get(id) {
            Some(known) => {
                let mut known = known.clone();
                known.heard_at = known.heard_at.max(sign.heard_at);
                match &mut known.end {
                    // It is over already, but where it went on may be news.
                    Some(over) if over.moved_to.is_none() => over.moved_to = end.moved_to,
                    Some(_) => {}
                    None => {
                        known.last_event_at = known.last_event_at.max(sign.at);
                        known.end = Some(end);
                        self.lines_touched.insert(known.line.clone());
                    }
                }
                self.put(known);
            }
            None => self.put(Treatment {
                id: id.clone(),
                line: sign.line.clone(),
                user: sign.user.clone(),
                // Without its beginning it must not rank before a treatment that lives.
                opened_at: sign.initialized_at.unwrap_or_default(),
                opener: sign.opener,
                last_event_at: sign.at,
                heard_at: sign.heard_at,
                end: Some(end),
            }),
        }
        self.absorb_provisional(&sign.line, &sign.user, id, sign.at);
    }

    /// Ends the open one of a pair, unless it began after the sign.
    ///
    /// Answers the id of the one that ended.
    pub fn end_pair(
        &mut self,
        sign: &Sign,
        kind: EndKind,
        moved_to: Option<TreatmentId>,
    ) -> Option<TreatmentId> {
        let open = self.open_of(&sign.line, &sign.user)?;
        if open.opened_at > sign.at || Some(&open.id) == moved_to.as_ref() {
            return None;
        }
        let id = open.id.clone();
        self.end(&id, sign, kind, moved_to);
        Some(id)
    }

    /// One user has at most one open treatment on a line: of several the newest lives.
    ///
    /// A treatment that is over counts too: what began before it cannot still be open.
    fn settle_pair(&mut self, line: &LineId, user: &UserId) {
        let real = self.of_pair(line, user).filter(|treatment| !treatment.is_provisional());
        let Some(newest) = real.max_by_key(|treatment| treatment.rank()).cloned() else {
            return;
        };
        let older = self.of_pair(line, user).filter(|t| t.is_open() && t.id != newest.id);
        let older: Vec<Treatment> = older.cloned().collect();
        for mut treatment in older {
            let provisional = treatment.is_provisional();
            if provisional && !newest.is_open() && newest.opened_at < treatment.opened_at {
                continue;
            }
            let moved_to = provisional.then(|| newest.id.clone());
            treatment.end = Some(End { at: newest.opened_at, kind: EndKind::Superseded, moved_to });
            self.put(treatment);
        }
    }

    /// A provisional treatment that began before `at` was the real one `id` all the time.
    fn absorb_provisional(&mut self, line: &LineId, user: &UserId, id: &TreatmentId, at: Time) {
        let provisional = self.of_pair(line, user).find(|treatment| {
            treatment.is_open() && treatment.is_provisional() && treatment.opened_at <= at
        });
        if let Some(mut absorbed) = provisional.cloned() {
            let moved_to = Some(id.clone());
            absorbed.end = Some(End { at, kind: EndKind::Superseded, moved_to });
            self.put(absorbed);
        }
    }

    fn put(&mut self, treatment: Treatment) {
        let before = self.by_id.get(&treatment.id);
        if before == Some(&treatment) {
            return;
        }
        let same_place =
            before.is_some_and(|b| b.line == treatment.line && b.is_open() == treatment.is_open());
        if !same_place {
            self.lines_touched.insert(treatment.line.clone());
        }
        self.changed.insert(treatment.id.clone());
        self.insert(treatment);
    }

    fn insert(&mut self, treatment: Treatment) {
        let pair = (treatment.line.clone(), treatment.user.clone());
        self.by_pair.entry(pair).or_default().insert(treatment.id.clone());
        self.by_id.insert(treatment.id.clone(), treatment);
    }

    fn forget(&mut self, treatment: &Treatment) {
        self.lines_touched.insert(treatment.line.clone());
        let pair = (treatment.line.clone(), treatment.user.clone());
        if let Some(ids) = self.by_pair.get_mut(&pair) {
            ids.remove(&treatment.id);
        }
    }
}
