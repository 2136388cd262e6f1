//! What the platform's own directory tells: lines, people, subscriptions, competences.
//!
//! Its listings and its events tell the same things (`connect-api.md` 3.6, 3.7, 4.10), up to 15
//! minutes late (4.10). Not to be mixed up with our directory of managers and counterparties.

use std::fmt;

use crate::core::id::{LineId, UserId};
use crate::core::time::Time;

/// A line as the platform lists it (`connect-api.md` 2.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlatformLine {
    /// Its id.
    pub line: LineId,
    /// Its name.
    pub name: String,
    /// Whether the line permits an external bot.
    pub allow_bot: bool,
    /// Address of the `line` hook.
    pub hook_line: Option<String>,
    /// Address of the `bot` hook.
    pub hook_bot: Option<String>,
}

/// A client user or a specialist, as the platform knows them (`connect-api.md` 3.7, User).
///
/// What the platform left out is empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Their id.
    pub id: UserId,
    /// First name.
    pub name: String,
    /// Family name.
    pub surname: String,
    /// Patronymic.
    pub patronymic: String,
    /// Position at work.
    pub post: String,
    /// Telephone, in whatever form it was typed.
    pub phone: String,
    /// E-mail address, unchecked.
    pub email: String,
}

impl fmt::Debug for Person {
    /// Only the id: the rest is nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A user may write on a line (`connect-api.md` 3.7, Subscription).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// Who.
    pub user: UserId,
    /// Where.
    pub line: LineId,
    /// Since when; `None` if the platform did not say, or not readably.
    pub set_at: Option<Time>,
    /// Until when; `None` for ever, or if it cannot be read.
    pub expires_at: Option<Time>,
}

/// A specialist works on a line (`connect-api.md` 3.7, Competence).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Competence {
    /// Where.
    pub line: LineId,
    /// Who.
    pub specialist: UserId,
    /// 0 observer, 1 high, 2 medium, 3 standard; `None` if the platform did not say.
    pub pool_priority: Option<i64>,
    /// Whether the specialist is one of a franchisee.
    pub is_franch_spec: bool,
}

/// One change of the platform's directory, as it is broadcast (`connect-api.md` 3.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryChange {
    /// What was done to it.
    pub action: DirectoryAction,
    /// What it was done to, as it is afterwards; of a deleted one, as it last was.
    pub entry: DirectoryEntry,
}

/// `action` of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirectoryAction {
    /// `add`.
    Added,
    /// `update`.
    Updated,
    /// `delete`.
    Deleted,
    /// Left out, or a word we do not know.
    Unknown,
}

/// What a change is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirectoryEntry {
    /// `subscriber`: a client user.
    Person(Person),
    /// `support_line`.
    Line(PlatformLine),
    /// `competence`.
    Competence(Competence),
    /// `subscription`.
    Subscription(Subscription),
}
