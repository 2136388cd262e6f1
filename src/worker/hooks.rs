//! Compares the platform's hooks with ours and sets what is missing.

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use crate::connect::{HookKind, PlatformLine, SendMode};
use crate::core::hook::{HookStep, Ours, hook_step};
use crate::core::id::LineId;
use crate::core::outcome::{Answer, NotDone};
use crate::core::time::Time;
use crate::store::{self, HookRecord, HookState, HookTarget, StoredHookKind};
use crate::worker::Parts;

/// Our side of every hook.
#[derive(Clone, Debug)]
pub struct HookPolicy {
    /// Our address as registered.
    pub url: String,
    /// Digest of our address and credentials.
    pub fingerprint: String,
    /// Whether to replace somebody else's hook.
    pub takeover: bool,
    /// Which hooks the mode needs.
    pub mode: SendMode,
}

impl HookPolicy {
    /// The kinds of hook that every line needs.
    pub const fn kinds(&self) -> &'static [StoredHookKind] {
        match self.mode {
            SendMode::Bot => &[StoredHookKind::Line, StoredHookKind::Bot],
            SendMode::Specialist => &[StoredHookKind::Line],
        }
    }
}

/// What a comparison came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synced {
    /// Every line was dealt with.
    Whole,
    /// The platform did not answer, or not for all: again later.
    Partly,
}

/// Called between a call and what is written down of it: answers whether this process may go on.
pub type Tick = dyn Fn() -> BoxFuture<'static, store::Result<bool>> + Send + Sync;

/// After so many calls in a row without an answer the rest is left for later: other work waits.
const FAILURES_IN_A_ROW_MAX: u32 = 3;

/// Compares and sets the hooks of `targets`.
///
/// It ends when `tick` says so after a call: what that call came to may be old by then, and somebody
/// else knows better.
pub async fn sync(
    parts: &Parts,
    policy: &HookPolicy,
    targets: &[HookTarget],
    tick: &Tick,
) -> store::Result<Synced> {
    let Parts { store, chat, clock, .. } = parts;
    let own_urls = store.own_urls(&policy.url).await?;
    let Ok(listed) = chat.list_lines().await else { return Ok(Synced::Partly) };
    if !tick().await? {
        return Ok(Synced::Partly);
    }
    store.put_platform_lines(&listed, clock.now()).await?;
    let listed: BTreeMap<LineId, PlatformLine> =
        listed.into_iter().map(|line| (line.line.clone(), line)).collect();
    let mut synced = Synced::Whole;
    let mut failed_in_a_row = 0;
    for target in targets {
        if failed_in_a_row >= FAILURES_IN_A_ROW_MAX {
            break;
        }
        let mut all_set = true;
        for kind in policy.kinds() {
            let known = target.hooks.iter().find(|hook| hook.kind == *kind);
            let hook = One { parts, policy, own_urls: &own_urls, kind: *kind, target, known };
            let (record, again) = hook.sync(listed.get(&target.line), clock.now()).await?;
            if !tick().await? {
                return Ok(Synced::Partly);
            }
            all_set &= record.state == HookState::Set;
            if again {
                synced = Synced::Partly;
                failed_in_a_row += 1;
            } else {
                failed_in_a_row = 0;
            }
            if known.is_none_or(|known| !same(known, &record)) {
                store.record_hook(&target.line, &record).await?;
            }
        }
        store.record_hooked(&target.line, all_set, clock.now()).await?;
    }
    Ok(synced)
}

/// Whether a comparison found nothing new.
fn same(known: &HookRecord, found: &HookRecord) -> bool {
    HookRecord { checked_at: known.checked_at, ..found.clone() } == *known
}

/// One hook of one line.
struct One<'a> {
    parts: &'a Parts,
    policy: &'a HookPolicy,
    own_urls: &'a [String],
    kind: StoredHookKind,
    target: &'a HookTarget,
    known: Option<&'a HookRecord>,
}

impl One<'_> {
    /// Answers what is known of it now, and whether it is to be tried again soon.
    async fn sync(
        &self,
        listed: Option<&PlatformLine>,
        now: Time,
    ) -> store::Result<(HookRecord, bool)> {
        let Some(listed) = listed else {
            return Ok((self.record(HookState::NoSuchLine, None, None, now), false));
        };
        let found = match self.kind {
            StoredHookKind::Line => listed.hook_line.as_deref(),
            StoredHookKind::Bot => listed.hook_bot.as_deref(),
        };
        let ours = Ours {
            url: &self.policy.url,
            fingerprint: &self.policy.fingerprint,
            own_urls: self.own_urls,
            takeover: self.policy.takeover,
        };
        let set_with = self.known.and_then(|known| known.fingerprint.as_deref());
        match hook_step(found, set_with, ours) {
            HookStep::Keep => Ok((self.record_set(now), false)),
            HookStep::LeaveForeign => {
                let url = found.map(ToOwned::to_owned);
                Ok((self.record(HookState::Foreign, url, None, now), false))
            }
            HookStep::Set if self.kind == StoredHookKind::Bot && !listed.allow_bot => {
                Ok((self.record(HookState::NotAllowed, None, None, now), false))
            }
            HookStep::Set => self.set(found, now).await,
        }
    }

    async fn set(&self, found: Option<&str>, now: Time) -> store::Result<(HookRecord, bool)> {
        let line = &self.target.line;
        let was_set = self.known.is_some_and(|known| known.state == HookState::Set);
        let is_gone = found != Some(self.policy.url.as_str());
        if was_set && !is_gone {
            // Set with other credentials than ours now: what came with those may have been refused.
            self.parts.store.record_hooked(line, false, now).await?;
        } else if was_set {
            // The platform forgot it, or somebody moved it: what happened since was not heard.
            tracing::warn!(line.id = %line, "the {} hook of line {line} is gone, it is set anew", self.kind);
            self.parts.store.record_hooked(line, false, now).await?;
        }
        let kind = match self.kind {
            StoredHookKind::Line => HookKind::Line,
            StoredHookKind::Bot => HookKind::Bot,
        };
        let failed = |state, words| self.record(state, found.map(ToOwned::to_owned), words, now);
        Ok(match self.parts.chat.set_hook(kind, line).await {
            Answer::Done => (self.record_set(self.parts.clock.now()), false),
            Answer::Refused { status, text } => {
                let words = format!("{status} {text}").trim_end().to_owned();
                (failed(HookState::Refused, Some(words)), false)
            }
            Answer::NotDone { why, .. } => (failed(HookState::Wanted, Some(words_of(&why))), true),
            Answer::Unknown { detail } => (failed(HookState::Wanted, Some(detail)), true),
        })
    }

    fn record_set(&self, now: Time) -> HookRecord {
        HookRecord {
            fingerprint: Some(self.policy.fingerprint.clone()),
            ..self.record(HookState::Set, Some(self.policy.url.clone()), None, now)
        }
    }

    fn record(
        &self,
        state: HookState,
        url: Option<String>,
        detail: Option<String>,
        now: Time,
    ) -> HookRecord {
        HookRecord { kind: self.kind, state, url, fingerprint: None, detail, checked_at: now }
    }
}

/// A reason in words, for `/status`.
pub fn words_of(why: &NotDone) -> String {
    match why {
        NotDone::NeverConnected(detail) | NotDone::NoFile(detail) => detail.clone(),
        NotDone::RateLimited => "429, too many calls".to_owned(),
        NotDone::Unauthorized => "401, our credentials were refused".to_owned(),
        NotDone::NoBudget => "our budget of calls is used up".to_owned(),
        NotDone::TooLate => "it was too late to begin".to_owned(),
        NotDone::Stopping => "the service was about to stop".to_owned(),
    }
}
