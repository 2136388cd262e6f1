//! Treatments: which are open, which are over, whatever order the events come in.
//!
//! The rules are those of `connect-api.md` 5.7. [`Treatments`] holds the part of them that one
//! decision needs: the store loads every treatment that the events name, and of every (line, user)
//! they name the open ones and the [`LOADED_OF_PAIR`] with the newest beginnings.
//!
//! Invariant: the order in which events arrive does not matter. Each treatment keeps its earliest
//! known beginning and its end, if that was heard; what follows from comparing the treatments of
//! one (line, user) is an inference, [`EndKind::Superseded`], and is drawn anew after each event.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::{Span, Time};
use crate::core::why::codes;

/// What a provisional id begins with: bot events may lack the treatment's id, and until an event
/// brings it the treatment is kept under an id of our own.
const PROVISIONAL: char = '~';

/// How many treatments of one (line, user) a decision looks at, those with the newest beginnings.
pub const LOADED_OF_PAIR: usize = 8;

/// How far apart the two halves of one move may be: the same second was recorded.
const HALVES_APART_MAX: Span = Span::from_secs(5);

/// How far the platform's clock may be from ours.
pub const CLOCKS_APART_MAX: Span = Span::from_secs(60);

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

impl EndKind {
    /// How sure it is: what was heard beats what a list lacks, and that beats an inference.
    const fn weight(self) -> u8 {
        match self {
            Self::Closed | Self::Moved => 2,
            Self::NotListed => 1,
            Self::Superseded => 0,
        }
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
    /// When it began in the platform's time, as early as is known: when only its end was heard,
    /// that; when only its rating was heard and that does not say, the epoch.
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

    /// Its end, unless that is only inferred.
    fn sure_end(&self) -> Option<&End> {
        self.end.as_ref().filter(|end| end.kind.weight() > 0)
    }

    /// Whether it is over only because a list of open treatments did not have it, and that list is
    /// surely older than `at`, whatever the two clocks say.
    fn was_unlisted_before(&self, at: Time) -> bool {
        // No sign of life is taken in after an end: this is when the list was asked for.
        let asked_at = self.heard_at;
        self.end.as_ref().is_some_and(|end| end.kind == EndKind::NotListed)
            && at > asked_at.plus(CLOCKS_APART_MAX)
    }

    /// Whether it was open at `at` or later, as far as is known.
    fn reaches(&self, at: Time) -> bool {
        self.end.as_ref().is_none_or(|end| end.at >= at)
    }

    /// Takes an earlier beginning into account.
    fn began_by(&mut self, sign: &Sign) {
        if sign.opener == Opener::Moved
            || (sign.at < self.opened_at && sign.opener != Opener::Unknown)
        {
            self.opener = sign.opener;
        }
        self.opened_at = sign.beginning(self.open_by(sign.at));
    }

    /// When it was open at the latest, now that it is known to have been open by `at`.
    fn open_by(&self, at: Time) -> Time {
        if self.opened_at == Time::default() { at } else { self.opened_at.min(at) }
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

impl Sign {
    /// The earlier of `known` and the beginning that the event states.
    ///
    /// `connect-api.md` 1.4: that may lack its fraction of a second, so it counts only from the
    /// second before on.
    fn beginning(&self, known: Time) -> Time {
        self.initialized_at.filter(|at| at.whole_second() < known.whole_second()).unwrap_or(known)
    }

    /// The id of a treatment that begins with this sign and does not say its own.
    fn provisional_id(&self) -> TreatmentId {
        provisional_id(&self.line, &self.user, self.at)
    }

    fn treatment(&self, id: &TreatmentId, opened_at: Time, end: Option<End>) -> Treatment {
        Treatment {
            id: id.clone(),
            line: self.line.clone(),
            user: self.user.clone(),
            opened_at,
            opener: self.opener,
            last_event_at: self.at,
            heard_at: self.heard_at,
            end,
        }
    }
}

/// The treatments that one decision needs, and which of them it changed.
#[derive(Clone, Default, Debug)]
pub struct Treatments {
    by_id: BTreeMap<TreatmentId, Treatment>,
    by_pair: BTreeMap<(LineId, UserId), BTreeSet<TreatmentId>>,
    changed: BTreeSet<TreatmentId>,
    lines_touched: BTreeSet<LineId>,
}

/// Whether a provisional treatment has become a real one that is not among those of its chat.
fn has_owner_elsewhere(provisional: &Treatment, real: &[&Treatment]) -> bool {
    let owner = provisional.end.as_ref().and_then(|end| end.moved_to.as_ref());
    owner.is_some_and(|owner| real.iter().all(|treatment| treatment.id != *owner))
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
        self.touch_with(id, sign, false);
    }

    /// Something was written in it, which proves it open at that time: a sign of life that also
    /// opens it again where only a list made before did not have it.
    pub fn written_in(&mut self, id: &TreatmentId, sign: &Sign) {
        self.touch_with(id, sign, true);
    }

    fn touch_with(&mut self, id: &TreatmentId, sign: &Sign, proves_open: bool) {
        let treatment = match self.by_id.get(id) {
            Some(known) => {
                let mut known = known.clone();
                // A late sign of what is over still tells when it began.
                known.began_by(sign);
                if proves_open && known.was_unlisted_before(sign.at) {
                    known.end = None;
                }
                if known.sure_end().is_none() {
                    // Without the event of its move heard, it is where its newest event says.
                    if sign.at >= known.last_event_at && sign.line != known.line {
                        self.forget(&known);
                        known.line = sign.line.clone();
                    }
                    known.last_event_at = known.last_event_at.max(sign.at);
                    known.heard_at = known.heard_at.max(sign.heard_at);
                }
                known
            }
            None => sign.treatment(id, sign.beginning(sign.at), None),
        };
        let pair = (treatment.line.clone(), treatment.user.clone());
        self.put(treatment);
        self.settle_pair(&pair.0, &pair.1);
    }

    /// A sign of life without a treatment's id: means the open one of the pair, or a new one.
    ///
    /// Answers the id it was taken for; `None` if it is older than what is known of the pair.
    pub fn touch_pair(&mut self, sign: &Sign, may_open: bool) -> Option<TreatmentId> {
        if self.is_over_since(&sign.line, &sign.user, sign.at) {
            return None;
        }
        let mut treatment = match self.open_of(&sign.line, &sign.user) {
            Some(open) => open.clone(),
            None if may_open => sign.treatment(&sign.provisional_id(), sign.at, None),
            None => return None,
        };
        // It may be a sign of the treatment before this one: only a provisional one, which has no
        // signs of its own, takes its beginning from it. And it alone has to know later which sign
        // could have begun another treatment.
        if treatment.is_provisional() && may_open {
            treatment.began_by(sign);
        }
        if may_open || !treatment.is_provisional() {
            treatment.last_event_at = treatment.last_event_at.max(sign.at);
        }
        treatment.heard_at = treatment.heard_at.max(sign.heard_at);
        let id = treatment.id.clone();
        self.put(treatment);
        self.settle_pair(&sign.line, &sign.user);
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
        let mut treatment = match self.by_id.get(id) {
            Some(known) => known.clone(),
            None => sign.treatment(id, sign.beginning(sign.at), None),
        };
        treatment.opened_at = sign.beginning(treatment.open_by(sign.at));
        match &mut treatment.end {
            Some(over) if over.kind.weight() >= kind.weight() => {
                // Both halves of a move tell its time: it was over at the first of them. The time
                // of a close may have been unknown.
                over.at = match kind {
                    EndKind::Moved => over.at.min(sign.at),
                    EndKind::Closed => over.at.max(sign.at),
                    EndKind::Superseded | EndKind::NotListed => over.at,
                };
                over.moved_to = over.moved_to.take().or(moved_to);
            }
            end => {
                *end = Some(End { at: sign.at, kind, moved_to });
                treatment.last_event_at = treatment.last_event_at.max(sign.at);
                treatment.heard_at = treatment.heard_at.max(sign.heard_at);
            }
        }
        let pair = (treatment.line.clone(), treatment.user.clone());
        self.put(treatment);
        self.settle_pair(&pair.0, &pair.1);
    }

    /// Ends the open one of a pair, unless it began after the sign.
    ///
    /// Answers the id of the one that ended. If none was known, a tombstone of the pair is left,
    /// so that late signs from before do not open one.
    pub fn end_pair(
        &mut self,
        sign: &Sign,
        kind: EndKind,
        moved_to: Option<TreatmentId>,
    ) -> Option<TreatmentId> {
        if self.is_over_since(&sign.line, &sign.user, sign.at) {
            return None;
        }
        let open = self.open_of(&sign.line, &sign.user).filter(|open| open.opened_at <= sign.at);
        if open.is_some_and(|open| Some(&open.id) == moved_to.as_ref()) {
            return None;
        }
        let open = open.map(|open| open.id.clone());
        let id = open.clone().unwrap_or_else(|| sign.provisional_id());
        self.end(&id, sign, kind, moved_to);
        open
    }

    /// Notes where one of a pair went on that was heard to have moved to nobody knows which
    /// treatment.
    pub fn moved_from_pair(&mut self, sign: &Sign, target: &TreatmentId) {
        let moved = self.of_pair(&sign.line, &sign.user).find(|treatment| {
            treatment.end.as_ref().is_some_and(|end| {
                let apart = end.at.since(sign.at).max(sign.at.since(end.at));
                end.kind == EndKind::Moved && end.moved_to.is_none() && apart <= HALVES_APART_MAX
            })
        });
        let known = moved.and_then(|moved| Some((moved.id.clone(), moved.end.as_ref()?.at)));
        if let Some((id, at)) = known {
            // It may be another one that moved at the same moment: its own half knows when.
            let sign = Sign { at, ..sign.clone() };
            self.end(&id, &sign, EndKind::Moved, Some(target.clone()));
        }
    }

    /// A rating: it comes up to months after the close, so it may never open. Of a treatment that
    /// was never heard of it leaves a tombstone, which is no later than its beginning.
    pub fn rate(&mut self, id: &TreatmentId, sign: &Sign) {
        if self.by_id.contains_key(id) {
            return;
        }
        let at = sign.initialized_at.unwrap_or_default();
        let end = End { at, kind: EndKind::Closed, moved_to: None };
        self.put(Treatment { last_event_at: at, ..sign.treatment(id, at, Some(end)) });
        self.settle_pair(&sign.line, &sign.user);
    }

    /// The one of a user on a line that a sign of life at `at` belongs to.
    pub fn at(&self, line: &LineId, user: &UserId, at: Time) -> Option<&Treatment> {
        let of_pair = self.of_pair(line, user);
        let reaching = of_pair.filter(|treatment| {
            treatment.is_open() || treatment.sure_end().is_some_and(|end| end.at >= at)
        });
        reaching.min_by_key(|treatment| treatment.opened_at)
    }

    /// Whether the end of one of the pair at `at` or later was heard.
    fn is_over_since(&self, line: &LineId, user: &UserId, at: Time) -> bool {
        let mut ends = self.of_pair(line, user).filter_map(Treatment::sure_end);
        ends.any(|end| end.at >= at)
    }

    /// One user has at most one open treatment on a line: of several the newest lives.
    ///
    /// A treatment that is over counts too: what began before it cannot still be open.
    fn settle_pair(&mut self, line: &LineId, user: &UserId) {
        let ends = self.ends_of_real(line, user);
        self.write_ends(ends);
        let ends = self.ends_of_provisional(line, user);
        self.write_ends(ends);
        self.reopen_provisional(line, user);
    }

    fn write_ends(&mut self, ends: Vec<(TreatmentId, Option<End>)>) {
        for (id, end) in ends {
            if let Some(treatment) = self.by_id.get(&id).cloned() {
                self.put(Treatment { end, ..treatment });
            }
        }
    }

    /// The treatments of a pair: those without an id of the platform's, and the others.
    fn split_pair(&self, line: &LineId, user: &UserId) -> (Vec<&Treatment>, Vec<&Treatment>) {
        self.of_pair(line, user).partition(|treatment| treatment.is_provisional())
    }

    /// The ends that have to change of those whose end was not heard.
    fn ends_of_real(&self, line: &LineId, user: &UserId) -> Vec<(TreatmentId, Option<End>)> {
        let (provisional, real) = self.split_pair(line, user);
        let Some(newest) = newest_of(&real) else { return Vec::new() };
        // Ends that were heard without the treatment's id.
        let ends: Vec<&End> = provisional.iter().filter_map(|one| one.sure_end()).collect();
        let living = real.iter().filter(|treatment| treatment.sure_end().is_none());
        let changed = living.filter_map(|treatment| {
            let end = if treatment.id == newest.id {
                end_after(&ends, treatment)
            } else {
                let (at, kind) = (newest.opened_at, EndKind::Superseded);
                Some(End { at, kind, moved_to: None })
            };
            (treatment.end != end).then(|| (treatment.id.clone(), end))
        });
        changed.collect()
    }

    fn ends_of_provisional(&self, line: &LineId, user: &UserId) -> Vec<(TreatmentId, Option<End>)> {
        let (provisional, real) = self.split_pair(line, user);
        let ends: Vec<&End> = provisional.iter().filter_map(|one| one.sure_end()).collect();
        let living = provisional.iter().filter(|treatment| treatment.sure_end().is_none());
        let changed = living.filter_map(|treatment| {
            let end = match self.owner(treatment) {
                Some(owner) => Some(End {
                    at: owner.opened_at.max(treatment.opened_at),
                    kind: EndKind::Superseded,
                    moved_to: Some(owner.id.clone()),
                }),
                // Its owner may have gone to another line since: that does not open it again.
                None if has_owner_elsewhere(treatment, &real) => treatment.end.clone(),
                None => end_after(&ends, treatment),
            };
            (treatment.end != end).then(|| (treatment.id.clone(), end))
        });
        changed.collect()
    }

    /// The real treatment that a provisional one has been all the time.
    fn owner(&self, provisional: &Treatment) -> Option<&Treatment> {
        let of_pair = self.of_pair(&provisional.line, &provisional.user);
        let real = of_pair.filter(|treatment| !treatment.is_provisional());
        real.filter(|treatment| treatment.reaches(provisional.opened_at)).min_by_key(|t| t.rank())
    }

    /// Signs without an id that are newer than every end of the pair belong to a new treatment.
    fn reopen_provisional(&mut self, line: &LineId, user: &UserId) {
        let (provisional, real) = self.split_pair(line, user);
        let own = provisional.into_iter().filter(|one| !has_owner_elsewhere(one, &real));
        let Some(newest) = own.max_by_key(|treatment| treatment.last_event_at) else {
            return;
        };
        let at = newest.last_event_at;
        if self.open_of(line, user).is_some() || self.is_over_since(line, user, at) {
            return;
        }
        let id = provisional_id(line, user, at);
        let again = Treatment { id, opened_at: at, end: None, ..newest.clone() };
        self.put(again);
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

/// Of the treatments of one chat the one that can be open: that which began last, unless it is over
/// and another one was alive after it. Beginnings may be known to the second only.
fn newest_of<'a>(real: &[&'a Treatment]) -> Option<&'a Treatment> {
    let last = real.iter().copied().max_by_key(|treatment| treatment.rank())?;
    let Some(end) = last.sure_end() else { return Some(last) };
    let alive_after =
        real.iter().copied().filter(|t| t.sure_end().is_none() && t.last_event_at > end.at);
    alive_after.max_by_key(|treatment| (treatment.last_event_at, &treatment.id)).or(Some(last))
}

/// Which of the ends heard for the pair is that of `treatment`: the first after it began.
fn end_after(ends: &[&End], treatment: &Treatment) -> Option<End> {
    let after = ends.iter().filter(|end| {
        end.at >= treatment.opened_at && end.moved_to.as_ref() != Some(&treatment.id)
    });
    after.min_by_key(|end| end.at).map(|end| End::clone(end))
}

fn provisional_id(line: &LineId, user: &UserId, at: Time) -> TreatmentId {
    TreatmentId::new(format!("{PROVISIONAL}{line}/{user}/{}", at.micros()))
}

#[cfg(test)]
mod tests;
