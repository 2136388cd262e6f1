//! A model of 1C-Connect: lines, hooks, conversations, and the events it wants to deliver.
//!
//! No I/O and no chance: whatever happens here was decided by the plan. It also remembers what has
//! become known to us, so that a message sent twice can be told from one sent again in good faith.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freeline::connect::{HookKind, OutgoingMessage, PlatformLine, SendMode};
use freeline::core::id::{LineId, UserId};
use freeline::core::number::Number;
use freeline::core::occupancy::Listed;
use freeline::core::time::{Span, Time};
use freeline::store::ClaimedDispatch;
use serde_json::{Value, json};

use super::event;

/// Where the platform sends its events: our hooks.
pub(super) const HOOK_URL: &str = "https://freeline.example.org/connect/hook/";

/// What the vendor's own bots are sent (`connect-api.md` 3.9).
const BOT_TYPES: [i64; 11] = [1, 20, 21, 70, 80, 81, 82, 83, 89, 90, 200];

/// How the platform writes what is not documented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manners {
    /// Which bot events lack the treatment's id: none (0), all (1), every second message (2).
    pub(super) bot_without_id: u8,
    /// Whether bot events come without their envelope.
    pub(super) bot_bare: bool,
    /// Whether the halves of a move name the treatment of the other side.
    pub(super) moves_name: bool,
    /// How far the platform's clock is off, in milliseconds.
    pub(super) clock_off_ms: i64,
}

#[derive(Clone, Default)]
pub(super) struct SharedPlatform(Arc<Mutex<Option<Platform>>>);

/// Access to the platform.
pub(super) struct Access<'a>(MutexGuard<'a, Option<Platform>>);

impl std::ops::Deref for Access<'_> {
    type Target = Platform;
    fn deref(&self) -> &Platform {
        self.0.as_ref().expect("it was set up")
    }
}

impl std::ops::DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Platform {
        self.0.as_mut().expect("it was set up")
    }
}

impl SharedPlatform {
    pub(super) fn new(platform: Platform) -> Self {
        Self(Arc::new(Mutex::new(Some(platform))))
    }

    pub(super) fn lock(&self) -> Access<'_> {
        Access(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An event that waits to be delivered.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Delivery {
    pub(super) body: Value,
    /// How often it was delivered.
    pub(super) times: u32,
}

impl Delivery {
    fn text(&self, key: &str) -> &str {
        self.body.get(key).and_then(Value::as_str).unwrap_or("-")
    }

    /// In a few words.
    pub(super) fn words(&self) -> String {
        let kind = self.body.get("message_type").and_then(Value::as_i64);
        let kind = kind.map_or_else(|| "?".to_owned(), |kind| kind.to_string());
        format!(
            "{} (type {kind} of {} on {}, {}, {})",
            self.text("message_id"),
            self.text("user_id"),
            self.text("line_id"),
            self.text("treatment_id"),
            self.text("event_source"),
        )
    }
}

#[derive(Clone, Debug)]
struct Line {
    hook_line: bool,
    hook_bot: bool,
}

/// A conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Talk {
    pub(super) id: String,
    pub(super) line: LineId,
    pub(super) user: UserId,
    since: Time,
    close: Option<(String, Time)>,
}

/// A message of ours that the platform took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) number: Number,
    pub(super) treatment: String,
    pub(super) at: Time,
    /// Whether anything that came in since then could tell us of it.
    pub(super) is_known: bool,
    /// Whether its echo came in.
    pub(super) is_echoed: bool,
    /// Whether it was known of an earlier message of the same payment when the call for this one
    /// was claimed.
    pub(super) is_breach: bool,
}

pub(super) struct Platform {
    lines: BTreeMap<LineId, Line>,
    pub(super) open: BTreeMap<(LineId, UserId), Talk>,
    pub(super) closed: Vec<Talk>,
    pub(super) outbox: Vec<Delivery>,
    pub(super) messages: Vec<Message>,
    pub(super) refused: BTreeSet<(LineId, UserId)>,
    pub(super) down_until: Time,
    /// Whether events were lost, or could not be sent because a hook was forgotten.
    pub(super) has_lost: bool,
    /// Answers that came when somebody else had the claim.
    pub(super) answers_refused: u32,
    claimed_blind: BTreeSet<Number>,
    manners: Manners,
    last: Time,
    counter: u64,
}

impl Platform {
    pub(super) fn new(lines: impl IntoIterator<Item = LineId>, manners: Manners) -> Self {
        let line = |id| (id, Line { hook_line: false, hook_bot: false });
        Self {
            lines: lines.into_iter().map(line).collect(),
            open: BTreeMap::new(),
            closed: Vec::new(),
            outbox: Vec::new(),
            messages: Vec::new(),
            refused: BTreeSet::new(),
            down_until: Time::default(),
            has_lost: false,
            answers_refused: 0,
            claimed_blind: BTreeSet::new(),
            manners,
            last: Time::default(),
            counter: 0,
        }
    }

    // --- what we call -----------------------------------------------------------------------

    /// A message; status and words if it is refused.
    pub(super) fn send(
        &mut self,
        message: &OutgoingMessage,
        is_bot: bool,
        now: Time,
    ) -> Result<(), (u16, &'static str)> {
        let pair = (message.line.clone(), message.user.clone());
        let line = self.lines.get(&message.line).ok_or((403, ""))?;
        if is_bot && !line.hook_bot {
            return Err((403, ""));
        }
        if self.refused.contains(&pair) {
            return Err((403, "User is not a subscriber or never been online"));
        }
        let at = self.stamp(now);
        let is_new = !self.open.contains_key(&pair);
        let talk = self.talk(&pair, at);
        let number = Number::find_all(&message.text).into_iter().next().expect("it has a number");
        let is_breach = self.messages.iter().any(|one| one.number == number && one.is_known)
            && !self.claimed_blind.contains(&number);
        self.messages.push(Message {
            number,
            treatment: talk.id.clone(),
            at,
            is_known: false,
            is_echoed: false,
            is_breach,
        });
        let id = self.next_id("m");
        let author = message.author.as_ref().map(|author| json!(author.as_str()));
        let author = author.unwrap_or(Value::Null);
        self.tell(1, &id, &talk, at, json!({"author_id": author, "text": message.text}));
        if is_new && !is_bot {
            self.tell(81, &id, &talk, at, json!({"author_id": author}));
        }
        Ok(())
    }

    pub(super) fn set_hook(
        &mut self,
        kind: HookKind,
        line: &LineId,
    ) -> Result<(), (u16, &'static str)> {
        let line = self.lines.get_mut(line).ok_or((403, ""))?;
        match kind {
            HookKind::Line => line.hook_line = true,
            HookKind::Bot => line.hook_bot = true,
        }
        Ok(())
    }

    pub(super) fn forget_hook(&mut self, kind: HookKind, line: &LineId) {
        if let Some(line) = self.lines.get_mut(line) {
            match kind {
                HookKind::Line => line.hook_line = false,
                HookKind::Bot => line.hook_bot = false,
            }
        }
    }

    /// Whether hooks are missing that we want on one of these lines.
    pub(super) fn lacks_hooks(&self, lines: &[&LineId], mode: SendMode) -> bool {
        let lacks = |line: &Line| !line.hook_line || (mode == SendMode::Bot && !line.hook_bot);
        lines.iter().filter_map(|line| self.lines.get(*line)).any(lacks)
    }

    /// Whether a person sees a message of this number.
    pub(super) fn has_message(&self, number: &Number) -> bool {
        self.messages.iter().any(|message| message.number == *number)
    }

    pub(super) fn list_lines(&self) -> Vec<PlatformLine> {
        let shown = |set: bool| set.then(|| HOOK_URL.to_owned());
        let line = |(id, line): (&LineId, &Line)| PlatformLine {
            line: id.clone(),
            name: format!("Line {id}"),
            allow_bot: true,
            hook_line: shown(line.hook_line),
            hook_bot: shown(line.hook_bot),
        };
        self.lines.iter().map(line).collect()
    }

    pub(super) fn list_open(&self, line: Option<&LineId>) -> Vec<Talk> {
        let wanted = |talk: &&Talk| line.is_none_or(|line| talk.line == *line);
        self.open.values().filter(wanted).cloned().collect()
    }

    // --- what people do ---------------------------------------------------------------------

    /// The user writes.
    pub(super) fn user_writes(&mut self, line: &LineId, user: &UserId, now: Time) -> String {
        let pair = (line.clone(), user.clone());
        let (at, is_new) = (self.stamp(now), !self.open.contains_key(&pair));
        let talk = self.talk(&pair, at);
        let id = self.next_id("m");
        self.tell(1, &id, &talk, at, json!({"author_id": user.as_str(), "text": "Hello"}));
        if is_new {
            let (id, at) = (self.next_id("m"), self.stamp(now));
            self.tell(
                80,
                &id,
                &talk,
                at,
                json!({"author_id": "specialist", "text": "<buhphone/>"}),
            );
        }
        talk.id
    }

    /// A specialist writes; what he writes may quote a message of ours.
    pub(super) fn specialist_writes(
        &mut self,
        line: &LineId,
        user: &UserId,
        text: &str,
        now: Time,
    ) -> String {
        let pair = (line.clone(), user.clone());
        let (at, is_new) = (self.stamp(now), !self.open.contains_key(&pair));
        let talk = self.talk(&pair, at);
        let id = self.next_id("m");
        self.tell(1, &id, &talk, at, json!({"author_id": "specialist", "text": text}));
        if is_new {
            self.tell(81, &id, &talk, at, json!({"author_id": "specialist"}));
        }
        talk.id
    }

    /// A conversation is closed: by a specialist (82), or by the platform (90).
    pub(super) fn close(
        &mut self,
        pair: &(LineId, UserId),
        kind: i64,
        now: Time,
    ) -> Option<String> {
        let mut talk = self.open.remove(pair)?;
        let (id, at) = (self.next_id("m"), self.stamp(now));
        talk.close = Some((id.clone(), at));
        let about = json!({"author_id": "specialist", "treatment": {
            "treatment_id": talk.id, "initialized_at": talk.since.to_string()}});
        self.tell(kind, &id, &talk, at, about.clone());
        if kind == 90 {
            // It was recorded twice within milliseconds, with another id.
            let (id, at) = (self.next_id("m"), self.stamp(now));
            self.tell(kind, &id, &talk, at, about);
        }
        self.closed.push(talk.clone());
        Some(talk.id)
    }

    /// The user rates a closed conversation.
    pub(super) fn rate(&mut self, which: usize, now: Time) -> Option<String> {
        let which = which.checked_rem(self.closed.len())?;
        let talk = self.closed.get_mut(which)?;
        // Once: the rating carries the id of the close.
        let (id, _) = talk.close.take()?;
        let talk = talk.clone();
        let at = self.stamp(now);
        let about = json!({"author_id": talk.user.as_str(), "treatment": {
            "treatment_id": talk.id, "initialized_at": talk.since.to_string(), "quality": 5}});
        self.tell(17, &id, &talk, at, about);
        Some(talk.id)
    }

    /// A conversation goes to another line (`connect-api.md` 3.5).
    pub(super) fn move_to(
        &mut self,
        pair: &(LineId, UserId),
        to: &LineId,
        now: Time,
    ) -> Option<(String, String)> {
        if pair.0 == *to {
            return None;
        }
        let mut source = self.open.remove(pair)?;
        let at = self.stamp(now);
        let target_pair = (to.clone(), pair.1.clone());
        let is_new = !self.open.contains_key(&target_pair);
        let target = self.talk(&target_pair, at);
        let ids = (self.next_id("m"), self.next_id("m"));
        let half = |direction: &str, other: &Talk, named: bool| {
            let id = if named { json!(other.id) } else { Value::Null };
            let data = json!({"direction": direction, "line_id": other.line.as_str()});
            let data = event::with(data, json!({"treatment_id": id}));
            json!({"author_id": "specialist", "data": data})
        };
        let named = self.manners.moves_name;
        let (to_half, from_half) = (half("to", &target, named), half("from", &source, named));
        source.close = Some((ids.0.clone(), at));
        // Messages of ours go on in the other conversation.
        for message in self.messages.iter_mut().filter(|one| one.treatment == source.id) {
            message.treatment.clone_from(&target.id);
        }
        self.tell(89, &ids.0, &source, at, to_half);
        if named || !is_new {
            self.tell(89, &ids.1, &target, at, from_half);
        }
        if is_new {
            let (id, at) = (self.next_id("m"), self.stamp(now));
            self.tell(
                80,
                &id,
                &target,
                at,
                json!({"author_id": "specialist", "text": "<buhphone/>"}),
            );
        }
        let moved = (source.id.clone(), target.id);
        self.closed.push(source);
        Some(moved)
    }

    // --- what becomes known to us -------------------------------------------------------------

    /// An event was delivered and kept.
    pub(super) fn was_heard(&mut self, delivery: &Delivery) {
        let text = delivery.body.get("text").and_then(Value::as_str).unwrap_or("");
        let numbers = Number::find_all(text);
        for message in &mut self.messages {
            // Only the echo proves; other events of its conversation do not tell whose it is.
            if numbers.contains(&message.number) {
                message.is_known = true;
                message.is_echoed = true;
            }
        }
    }

    /// A look was taken into account that shows these.
    pub(super) fn looked_at(&mut self, _line: &LineId, listed: &[Listed]) {
        for message in &mut self.messages {
            if listed.iter().any(|one| one.treatment.as_str() == message.treatment) {
                message.is_known = true;
            }
        }
    }

    /// Calls were claimed: which of them were claimed in good faith.
    pub(super) fn claimed(&mut self, claimed: &[ClaimedDispatch]) {
        for one in claimed {
            let number = &one.about.payment.number;
            let is_known =
                self.messages.iter().any(|message| message.number == *number && message.is_known);
            if is_known {
                self.claimed_blind.remove(number);
            } else {
                self.claimed_blind.insert(number.clone());
            }
        }
    }

    /// An answer was recorded, or refused because somebody else has the claim.
    pub(super) fn answer_recorded(&mut self, was_ours: bool) {
        self.answers_refused += u32::from(!was_ours);
    }

    // --- events -------------------------------------------------------------------------------

    fn talk(&mut self, pair: &(LineId, UserId), at: Time) -> Talk {
        if let Some(open) = self.open.get(pair) {
            return open.clone();
        }
        let id = self.next_id("t");
        let (line, user) = pair.clone();
        let talk = Talk { id, line, user, since: at, close: None };
        self.open.insert(pair.clone(), talk.clone());
        talk
    }

    fn next_id(&mut self, kind: &str) -> String {
        self.counter += 1;
        format!("{kind}{}", self.counter)
    }

    /// The moment of the next event, by the platform's clock: never before the one before.
    fn stamp(&mut self, now: Time) -> Time {
        let shown = Time::from_micros(now.micros() + self.manners.clock_off_ms * 1_000);
        self.last = shown.max(self.last.plus(Span::from_micros(1)));
        self.last
    }

    /// Puts an event into the outbox once for each hook of its line.
    fn tell(&mut self, kind: i64, id: &str, talk: &Talk, at: Time, more: Value) {
        let Some(line) = self.lines.get(&talk.line).cloned() else { return };
        let chat = (talk.line.as_str(), talk.user.as_str(), talk.id.as_str());
        let body = event::with(event::body(kind, id, chat, at), more);
        if line.hook_line {
            self.outbox.push(Delivery { body: body.clone(), times: 0 });
        } else {
            self.has_lost = true;
        }
        if line.hook_bot && BOT_TYPES.contains(&kind) {
            let mut more = json!({"event_source": "bot"});
            let lacks_id = match self.manners.bot_without_id {
                0 => false,
                1 => true,
                _ => id.len().is_multiple_of(2),
            };
            if lacks_id {
                more = event::with(more, json!({"treatment_id": "x"}));
                more["treatment_id"] = Value::Null;
            }
            if self.manners.bot_bare {
                more["event_source"] = Value::Null;
                more["event_type"] = Value::Null;
            }
            self.outbox.push(Delivery { body: event::with(body, more), times: 0 });
        }
    }
}

/// One row of the platform's list of open treatments.
pub(super) fn row(talk: &Talk) -> freeline::connect::OpenTreatment {
    freeline::connect::OpenTreatment {
        treatment: talk.id.as_str().into(),
        line: talk.line.clone(),
        user: talk.user.clone(),
        initialized_at: Some(talk.since),
    }
}
