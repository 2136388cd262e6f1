//! Bodies of events, key by key as the platform sends them (`connect-api.md` 3.3, 3.8).
//!
//! Invariant: a key the platform leaves out is absent, never null.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::time::Time;

use super::model::Held;

/// Nanoseconds in a microsecond.
const NANOS_PER_MICRO: i64 = 1_000;
/// Nanoseconds in a second.
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A moment on the platform: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Stamp(i64);

impl Stamp {
    /// `time` and some nanoseconds.
    pub(super) fn new(time: Time, nanos: i64) -> Self {
        Self(time.micros().saturating_mul(NANOS_PER_MICRO).saturating_add(nanos))
    }

    /// Some nanoseconds later.
    pub(super) fn later(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The whole second it falls into.
    pub(super) fn second(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SECOND)
    }

    /// The same moment without nanoseconds.
    pub(super) fn time(self) -> Time {
        Time::from_micros(self.0.div_euclid(NANOS_PER_MICRO))
    }

    /// Whole seconds since `earlier`.
    pub(super) fn seconds_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0) / NANOS_PER_SECOND
    }

    /// RFC 3339, UTC, `Z`, with exactly `digits` fractional digits.
    pub(super) fn text(self, digits: usize) -> String {
        let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(self.0)) else {
            return String::new();
        };
        let mut text = String::new();
        // Writing into a String cannot fail.
        write!(text, "{at:.digits$}").unwrap_or_default();
        text
    }
}

/// What every event of a line says.
#[derive(Clone, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) message_type: i64,
    pub(super) author: Option<&'a UserId>,
    pub(super) user: &'a UserId,
    pub(super) line: &'a LineId,
    pub(super) treatment: Option<&'a TreatmentId>,
    pub(super) message_id: &'a str,
    pub(super) message_time: String,
}

impl Envelope<'_> {
    /// The body with one more key, or with none.
    pub(super) fn body(&self, extra: Option<(&str, Value)>) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("event_type", json!("line"));
        put("message_type", json!(self.message_type));
        if let Some(author) = self.author {
            put("author_id", json!(author.as_str()));
        }
        put("user_id", json!(self.user.as_str()));
        put("line_id", json!(self.line.as_str()));
        if let Some(treatment) = self.treatment {
            put("treatment_id", json!(treatment.as_str()));
        }
        put("message_id", json!(self.message_id));
        put("message_time", json!(self.message_time));
        if let Some((key, value)) = extra {
            put(key, value);
        }
        body
    }
}

/// The text of an assignment (type 80).
pub(super) fn assignment_text(specialist: &UserId) -> String {
    format!("<buhphone><name>{specialist}</name></buhphone>")
}

/// The `treatment` of a hand-over (type 84).
pub(super) fn treatment(held: &Held) -> Value {
    json!({
        "treatment_id": held.id.as_str(),
        "user_id": held.user.as_str(),
        "line_id": held.line.as_str(),
        "initialized_at": held.since.text(6),
        "current_specialist": held.specialist().map(UserId::as_str),
    })
}

/// The `call` or `rda` of an event: who calls whom.
pub(super) fn link(from: &UserId, to: &UserId) -> Value {
    json!({"src": from.as_str(), "dst": to.as_str()})
}

/// The `data` of one half of a move (type 89).
pub(super) fn movement(direction: &str, line: &LineId, treatment: &TreatmentId) -> Value {
    json!({
        "direction": direction,
        "line_id": line.as_str(),
        "treatment_id": treatment.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_shows_as_many_digits_as_asked_for() {
        let at = Time::parse_rfc3339("2022-09-16T13:23:27.504499Z").unwrap();
        let stamp = Stamp::new(at, 949);
        assert_eq!(stamp.text(9), "2022-09-16T13:23:27.504499949Z");
        assert_eq!(stamp.text(6), "2022-09-16T13:23:27.504499Z");
        assert_eq!(stamp.text(0), "2022-09-16T13:23:27Z");
        assert_eq!(stamp.time(), at);
    }

    #[test]
    fn an_author_that_is_not_known_leaves_no_key_behind() {
        let (user, line) = (UserId::from("u"), LineId::from("l"));
        let envelope = Envelope {
            message_type: 90,
            author: None,
            user: &user,
            line: &line,
            treatment: None,
            message_id: "m",
            message_time: String::new(),
        };
        let body = envelope.body(None);
        assert!(!body.contains_key("author_id") && !body.contains_key("treatment_id"));
    }
}
