//! Picks the known fields out of a JSON object and passes over everything else.
//!
//! Unlike a derived `Deserialize`, it tells *which* known field is wrong, and what is unknown may
//! have any form at all.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{DEPTH_MAX, ID_CHARS_MAX, Unreadable};
use crate::core::time::Time;

/// A field to be picked.
#[derive(Debug)]
pub(super) struct Known {
    /// Its name in the object.
    name: &'static str,
    /// Its name for people, with a dot before what is nested.
    path: &'static str,
    /// What is picked inside of it; empty for a plain value.
    inside: &'static [Known],
}

impl Known {
    /// A field with a plain value.
    pub(super) const fn plain(name: &'static str) -> Self {
        Self { name, path: name, inside: &[] }
    }

    /// A field with a plain value inside another one.
    pub(super) const fn nested(name: &'static str, path: &'static str) -> Self {
        Self { name, path, inside: &[] }
    }

    /// A field that holds an object.
    pub(super) const fn object(name: &'static str, inside: &'static [Self]) -> Self {
        Self { name, path: name, inside }
    }
}

/// One value, as far as anything here needs it.
#[derive(Debug)]
enum Loose {
    Null,
    Text(String),
    Whole(i64),
    Truth(bool),
    Object(Picked),
    Other,
}

/// What was picked out of one object.
#[derive(Debug, Default)]
pub(super) struct Picked(Vec<(&'static Known, Loose)>);

/// Picks `known` out of the JSON object that `body` is.
pub(super) fn pick(body: &[u8], known: &'static [Known]) -> Result<Picked, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::NotAnObject)?;
    if !text.trim_start().starts_with('{') || depth(text) > DEPTH_MAX {
        return Err(Unreadable::NotAnObject);
    }
    let trouble = Trouble::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let picked = reader.deserialize_map(ObjectVisitor { known, trouble: &trouble });
    let picked = picked.and_then(|picked| reader.end().map(|()| picked));
    let (name, expected) = match (picked, trouble.twice.get()) {
        (Ok(picked), None) => return Ok(picked),
        (_, Some(name)) => (name, "given once"),
        // A number outside of every range, or half of a surrogate pair.
        (Err(_), None) => {
            (trouble.at.get().unwrap_or("(a name)"), "a value that can be represented")
        }
    };
    // Such a body may still be a JSON object, which has to be kept.
    if is_json(text) {
        return Err(Unreadable::Field { name, expected });
    }
    Err(Unreadable::NotAnObject)
}

/// Cuts a JSON array into the texts of its elements; `None` if `body` is not one.
pub(super) fn elements(body: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if !text.starts_with('[') || !is_json(text) {
        return None;
    }
    let mut found = Vec::new();
    let (mut depth, mut begin) = (0_usize, 1_usize);
    for (at, byte) in structure(text) {
        match byte {
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if (byte == b',' && depth == 1) || depth == 0 {
            found.push(text.get(begin..at)?.trim());
            begin = at.saturating_add(1);
        }
    }
    found.retain(|element| !element.is_empty());
    Some(found)
}

/// Whether the text is one JSON value; what it holds is not looked at.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// How deep the brackets of a text are nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for (_, byte) in structure(text) {
        match byte {
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The brackets and commas that stand outside of strings, with their places.
fn structure(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().enumerate().filter(move |&(_, byte)| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b']' | b'{' | b'}' | b',' => return !quoted,
            _ => {}
        }
        false
    })
}

impl Picked {
    /// A text, its NUL characters replaced: PostgreSQL's TEXT cannot hold them.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some((_, Loose::Text(text))) if text.contains('\0') => {
                Ok(Some(text.replace('\0', "\u{FFFD}")))
            }
            Some((_, Loose::Text(text))) => Ok(Some(text)),
            Some((path, _)) => Err(Unreadable::Field { name: path, expected: "a text" }),
        }
    }

    /// An id or a word: kept as it is, bounded, without NUL; an empty one is none.
    pub(super) fn id(&mut self, name: &str) -> Result<Option<String>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some((_, Loose::Text(text))) if text.is_empty() => Ok(None),
            Some((_, Loose::Text(text)))
                if !text.contains('\0') && text.chars().nth(ID_CHARS_MAX).is_none() =>
            {
                Ok(Some(text))
            }
            Some((path, _)) => Err(Unreadable::Field {
                name: path,
                expected: "a text of at most 128 characters without NUL",
            }),
        }
    }

    /// A point in time (`connect-api.md` 1.4).
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Time>, Unreadable> {
        let Some((path, value)) = self.take(name) else { return Ok(None) };
        let time = match value {
            Loose::Text(text) => Time::parse_rfc3339(&text),
            _ => None,
        };
        time.map(Some).ok_or(Unreadable::Field { name: path, expected: "a time of RFC 3339" })
    }

    /// A whole number.
    pub(super) fn whole(&mut self, name: &str) -> Result<Option<i64>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some((_, Loose::Whole(number))) => Ok(Some(number)),
            Some((path, _)) => Err(Unreadable::Field { name: path, expected: "a whole number" }),
        }
    }

    /// Yes or no.
    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some((_, Loose::Truth(truth))) => Ok(Some(truth)),
            Some((path, _)) => Err(Unreadable::Field { name: path, expected: "true or false" }),
        }
    }

    /// An object with fields of its own.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some((_, Loose::Object(picked))) => Ok(Some(picked)),
            Some((path, _)) => Err(Unreadable::Field { name: path, expected: "an object" }),
        }
    }

    /// Takes a value out; absent and null are the same.
    fn take(&mut self, name: &str) -> Option<(&'static str, Loose)> {
        let place = self.0.iter().position(|(known, _)| known.name == name)?;
        let (known, value) = self.0.swap_remove(place);
        (!matches!(value, Loose::Null)).then_some((known.path, value))
    }
}

/// Where the reading stands, to be looked at when it fails.
#[derive(Default)]
struct Trouble {
    /// The known field that is being read.
    at: Cell<Option<&'static str>>,
    /// A known field that came twice: nobody can tell which of the two is meant.
    twice: Cell<Option<&'static str>>,
}

/// Reads one object.
struct ObjectVisitor<'a> {
    known: &'static [Known],
    trouble: &'a Trouble,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Picked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Picked, A::Error> {
        let mut picked = Picked::default();
        while let Some(name) = map.next_key_seed(NameSeed(self.known))? {
            let Some(known) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            self.trouble.at.set(Some(known.path));
            let value = map.next_value_seed(ValueSeed { known, trouble: self.trouble })?;
            self.trouble.at.set(None);
            if picked.0.iter().any(|(other, _)| other.name == known.name) {
                self.trouble.twice.set(Some(known.path));
            }
            picked.0.push((known, value));
        }
        Ok(picked)
    }
}

/// Reads the name of a field and looks it up.
struct NameSeed(&'static [Known]);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<&'static Known>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<&'static Known>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|known| known.name == name))
    }
}

/// Reads the value of a known field, whatever its form.
struct ValueSeed<'a> {
    known: &'static Known,
    trouble: &'a Trouble,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Loose;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Loose, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Loose, E> {
        Ok(Loose::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(i64::try_from(number).map_or(Loose::Other, Loose::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Loose, E> {
        Ok(Loose::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        if self.known.inside.is_empty() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Loose::Other);
        }
        ObjectVisitor { known: self.known.inside, trouble: self.trouble }
            .visit_map(map)
            .map(Loose::Object)
    }
}
