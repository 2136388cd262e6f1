//! Reading JSON bodies and queries so that everything that is wrong is told at once.
//!
//! [`Fields`] takes an object apart field by field and collects errors with their JSON pointers
//! (RFC 6901). What nobody asked for is refused: a misspelt field that is silently ignored costs a
//! payment. NUL is refused everywhere: PostgreSQL cannot keep it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::core::time::Time;
use crate::http::problem::{Code, FieldError, Problem};

/// Longest id and key, in characters.
pub(super) const ID_CHARS: usize = 128;
/// Longest name, in characters.
pub(super) const NAME_CHARS: usize = 200;
/// Longest text of a message, in characters.
pub(super) const TEXT_CHARS: usize = 4_000;
/// Longest purpose, in characters.
pub(super) const PURPOSE_CHARS: usize = 1_000;
/// Longest reason, in characters.
pub(super) const REASON_CHARS: usize = 500;

/// Errors that are collected at the most: millions of wrong entries fit into one directory.
pub(super) const ERRORS_MAX: usize = 1_000;

/// Where errors are collected.
#[derive(Debug, Default)]
pub(super) struct Errors(RefCell<Vec<FieldError>>);

impl Errors {
    pub(super) fn add(&self, pointer: impl Into<String>, message: impl Into<String>) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(FieldError::new(pointer, message));
        }
    }

    pub(super) fn into_inner(self) -> Vec<FieldError> {
        self.0.into_inner()
    }

    /// The value that was read, if nothing was wrong on the way.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match (self.into_inner(), value) {
            (errors, Some(value)) if errors.is_empty() => Ok(value),
            (errors, None) if errors.is_empty() => {
                Err(vec![FieldError::new("", "it cannot be read")])
            }
            (errors, _) => Err(errors),
        }
    }
}

/// Reads a body as JSON: 400 when it is none.
pub(super) fn parse_json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Eof => "the body ends too early",
            _ => "the body is not JSON",
        };
        Problem::new(Code::InvalidJson, format!("{what} ({place})"))
    })
}

/// An object that is being read.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    pointer: String,
    errors: &'a Errors,
}

impl<'a> Fields<'a> {
    /// Begins to read an object that may have these fields and no others.
    pub(super) fn of(
        value: &'a Value,
        pointer: &str,
        allowed: &[&str],
        errors: &'a Errors,
    ) -> Option<Self> {
        let Value::Object(object) = value else {
            errors.add(pointer, format!("expected an object, not {}", kind(value)));
            return None;
        };
        for name in object.keys().filter(|name| !allowed.contains(&name.as_str())) {
            let expected = allowed.join(", ");
            let at = format!("{pointer}/{}", escape(name));
            errors.add(at, format!("unknown field; expected one of {expected}"));
        }
        Some(Self { object, pointer: pointer.to_owned(), errors })
    }

    /// Pointer to one of its fields.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }

    /// Says what is wrong with one of its fields.
    pub(super) fn wrong(&self, name: &str, message: impl Into<String>) {
        self.errors.add(self.at(name), message);
    }

    /// Says what is wrong with it as a whole.
    pub(super) fn wrong_as_a_whole(&self, message: impl Into<String>) {
        self.errors.add(self.pointer.clone(), message);
    }

    /// The field, unless it is absent or null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn missing(&self, name: &str) {
        self.wrong(name, "it is required");
    }

    /// A text of at most `chars_max` characters; empty counts as absent.
    pub(super) fn text(&self, name: &str, chars_max: usize) -> Option<String> {
        let value = self.get(name)?;
        let Value::String(text) = value else {
            self.wrong(name, format!("expected a text, not {}", kind(value)));
            return None;
        };
        if text.contains('\0') {
            self.wrong(name, "it holds a NUL character, which cannot be kept");
            return None;
        }
        let chars = text.chars().count();
        if chars > chars_max {
            let message = format!("it has {chars} characters; at most {chars_max} are kept");
            self.wrong(name, message);
            return None;
        }
        Some(text.clone()).filter(|text| !text.trim().is_empty())
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str, chars_max: usize) -> Option<String> {
        let errors_before = self.errors.0.borrow().len();
        let text = self.text(name, chars_max);
        if text.is_none() && self.errors.0.borrow().len() == errors_before {
            self.missing(name);
        }
        text
    }

    /// An id: a text without control characters.
    pub(super) fn id<T: From<String>>(&self, name: &str) -> Option<T> {
        self.text(name, ID_CHARS).and_then(|text| self.plain(name, text)).map(Into::into)
    }

    /// An id that must be there.
    pub(super) fn required_id<T: From<String>>(&self, name: &str) -> Option<T> {
        self.required_text(name, ID_CHARS).and_then(|text| self.plain(name, text)).map(Into::into)
    }

    fn plain(&self, name: &str, text: String) -> Option<String> {
        if text.chars().any(char::is_control) || text.trim() != text {
            self.wrong(name, "it may not hold control characters or begin or end with blanks");
            return None;
        }
        Some(text)
    }

    /// A whole number within bounds, or the default when it is absent.
    pub(super) fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<i64>,
        default: i64,
    ) -> Option<i64> {
        let Some(value) = self.get(name) else { return Some(default) };
        let number = value.as_i64().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (from, to) = (bounds.start(), bounds.end());
            self.wrong(name, format!("expected a whole number from {from} to {to}"));
        }
        number
    }

    /// Yes or no, or the default when it is absent.
    pub(super) fn flag(&self, name: &str, default: bool) -> Option<bool> {
        let Some(value) = self.get(name) else { return Some(default) };
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong(name, format!("expected true or false, not {}", kind(value)));
        }
        flag
    }

    /// A time in RFC 3339 that must be there.
    pub(super) fn required_time(&self, name: &str) -> Option<Time> {
        let text = self.required_text(name, ID_CHARS)?;
        let time = Time::parse_rfc3339(&text);
        if time.is_none() {
            self.wrong(name, "expected a time such as 2026-03-05T14:07:00+03:00");
        }
        time
    }

    /// A text that `parse` reads; must be there.
    pub(super) fn required_parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        hint: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.get(name) {
            None => {
                self.missing(name);
                None
            }
            Some(value) => self.parsed_value(name, value, hint, parse),
        }
    }

    /// A text that `parse` reads, or the default when it is absent.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        hint: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.get(name) {
            None => Some(default),
            Some(value) => self.parsed_value(name, value, hint, parse),
        }
    }

    fn parsed_value<T, E: std::fmt::Display>(
        &self,
        name: &str,
        value: &Value,
        hint: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Value::String(text) = value else {
            self.wrong(name, format!("expected {hint}, not {}", kind(value)));
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.wrong(name, error.to_string());
                None
            }
        }
    }

    /// A list that must be there, each entry read by `read` with its pointer.
    pub(super) fn required_list<T>(
        &self,
        name: &str,
        read: impl Fn(&'a Value, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        match self.get(name) {
            Some(Value::Array(entries)) => {
                let read_one = |(index, entry)| read(entry, &format!("{}/{index}", self.at(name)));
                Some(entries.iter().enumerate().filter_map(read_one).collect())
            }
            Some(other) => {
                self.wrong(name, format!("expected a list, not {}", kind(other)));
                None
            }
            None => {
                self.missing(name);
                None
            }
        }
    }
}

/// A word for what a value is.
const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Escapes a name for a JSON pointer (RFC 6901, section 3) and keeps it short.
fn escape(name: &str) -> String {
    let short: String = name.chars().take(NAME_CHARS).collect();
    short.replace('~', "~0").replace('/', "~1")
}

/// The id in an address: what cannot be one names nothing.
pub(super) fn path_id<T: From<String>>(text: String, what: &str) -> Result<T, Problem> {
    if text.chars().any(char::is_control) || text.chars().count() > ID_CHARS {
        return Err(Problem::not_found(what));
    }
    Ok(text.into())
}

/// Says that one of these words is expected.
pub(super) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    format!("one of {}", words.collect::<Vec<_>>().join(", "))
}

/// A query string that is being read; parameters that nobody asked for are refused.
#[derive(Debug)]
pub(super) struct Query {
    given: BTreeMap<String, String>,
    errors: Errors,
}

impl Query {
    /// Reads `a=b&c=d` that may have these parameters and no others.
    pub(super) fn parse(query: Option<&str>, allowed: &[&str]) -> Self {
        let errors = Errors::default();
        let mut given = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            let at = || format!("?{}", name.chars().take(NAME_CHARS).collect::<String>());
            if !allowed.contains(&&*name) {
                let expected = allowed.join(", ");
                errors.add(at(), format!("unknown parameter; expected one of {expected}"));
            } else if value.contains('\0') {
                errors.add(at(), "it holds a NUL character");
            } else if given.insert(name.to_string(), value.to_string()).is_some() {
                errors.add(at(), "it is given twice");
            }
        }
        given.retain(|_, value| !value.is_empty());
        Self { given, errors }
    }

    /// The parameter as text.
    pub(super) fn text<T: From<String>>(&self, name: &str) -> Option<T> {
        self.given.get(name).cloned().map(Into::into)
    }

    /// What a person typed, of at most `chars_max` characters; must be there.
    pub(super) fn required_text(&self, name: &str, chars_max: usize) -> Option<&str> {
        let at = || format!("?{name}");
        let Some(text) = self.given.get(name) else {
            self.errors.add(at(), "it is required");
            return None;
        };
        let chars = text.chars().count();
        if chars > chars_max {
            self.errors.add(at(), format!("it has {chars} characters; at most {chars_max} may be"));
            return None;
        }
        Some(text)
    }

    /// A time in RFC 3339.
    pub(super) fn time(&self, name: &str) -> Option<Time> {
        self.parsed(name, "a time such as 2026-03-05T11:07:00Z", Time::parse_rfc3339)
    }

    /// The parameter, read by `parse`; `expected` tells what it should have been.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.given.get(name)?;
        let parsed = parse(text);
        if parsed.is_none() {
            self.errors.add(format!("?{name}"), format!("expected {expected}"));
        }
        parsed
    }

    /// The value that was read, if nothing was wrong on the way.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problem> {
        self.errors.finish(Some(value)).map_err(Problem::validation)
    }
}
