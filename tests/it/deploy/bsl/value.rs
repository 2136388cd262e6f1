//! Values of the language.

use std::cell::RefCell;
use std::rc::Rc;

use jiff::civil::DateTime;
use serde_json::{Map, Value as Json};

use super::host::Host;

/// Digits behind the point that a number keeps: the module counts money and seconds.
const HUNDREDTHS: i64 = 100;

/// A value. Structures, maps and arrays are shared, as references are.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Undefined,
    Bool(bool),
    /// In hundredths.
    Number(i64),
    Text(String),
    Date(DateTime),
    Structure(Rc<RefCell<Vec<(String, Value)>>>),
    Map(Rc<RefCell<Vec<(String, Value)>>>),
    Array(Rc<RefCell<Vec<Value>>>),
    /// What `Тип` and `ТипЗнч` answer.
    Type(String),
    /// A name of the platform's global context, and what stands behind it, such as
    /// `КодировкаТекста.UTF8`.
    Word(String),
    Host(Rc<Host>),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn whole(number: i64) -> Self {
        Self::Number(number * HUNDREDTHS)
    }

    pub(super) fn array(values: Vec<Self>) -> Self {
        Self::Array(Rc::new(RefCell::new(values)))
    }

    /// `12.5` as the source writes it.
    pub(super) fn number(literal: &str) -> Self {
        let (whole, rest) = literal.split_once('.').unwrap_or((literal, ""));
        assert!(rest.len() <= 2, "{literal} has more than two digits behind the point");
        let hundredths: i64 = format!("{rest:0<2}").parse().expect("digits");
        Self::Number(whole.parse::<i64>().expect("digits") * HUNDREDTHS + hundredths)
    }

    pub(super) fn type_name(&self) -> &str {
        match self {
            Self::Undefined => "Неопределено",
            Self::Bool(_) => "Булево",
            Self::Number(_) => "Число",
            Self::Text(_) => "Строка",
            Self::Date(_) => "Дата",
            Self::Structure(_) => "Структура",
            Self::Map(_) => "Соответствие",
            Self::Array(_) => "Массив",
            Self::Type(_) => "Тип",
            Self::Word(word) => word,
            Self::Host(host) => host.type_name(),
        }
    }

    pub(super) fn as_bool(&self) -> bool {
        match self {
            Self::Bool(yes) => *yes,
            other => panic!("{} is no condition", other.type_name()),
        }
    }

    pub(super) fn as_whole(&self) -> i64 {
        match self {
            Self::Number(number) if number % HUNDREDTHS == 0 => number / HUNDREDTHS,
            other => panic!("{other:?} is no whole number"),
        }
    }

    pub(super) fn as_hundredths(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("{} is no number", other.type_name()),
        }
    }

    pub(super) fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("{} is no text", other.type_name()),
        }
    }

    pub(super) fn as_date(&self) -> DateTime {
        match self {
            Self::Date(date) => *date,
            other => panic!("{} is no date", other.type_name()),
        }
    }

    /// What the platform makes of it where a text is wanted: digits of numbers come in groups.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => {
                let whole = grouped(number / HUNDREDTHS);
                match number % HUNDREDTHS {
                    0 => whole,
                    rest => format!("{whole},{rest:02}"),
                }
            }
            other => panic!("a text of {} is not for people", other.type_name()),
        }
    }

    pub(super) fn is_filled(&self) -> bool {
        match self {
            Self::Undefined => false,
            Self::Bool(_) => true,
            Self::Number(number) => *number != 0,
            Self::Text(text) => !text.trim().is_empty(),
            Self::Date(date) => *date != empty_date(),
            other => panic!("whether {} is filled", other.type_name()),
        }
    }

    /// Equality of plain values; others are equal to themselves only, and not asked about.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Text(a), Self::Text(b))
            | (Self::Type(a), Self::Type(b))
            | (Self::Word(a), Self::Word(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            _ => false,
        }
    }

    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Undefined => Json::Null,
            Self::Bool(yes) => Json::from(*yes),
            Self::Number(_) => Json::from(self.as_whole()),
            Self::Text(text) => Json::from(text.as_str()),
            Self::Structure(fields) | Self::Map(fields) => {
                let fields = fields.borrow();
                let each = fields.iter().map(|(name, value)| (name.clone(), value.to_json()));
                Json::Object(each.collect::<Map<_, _>>())
            }
            Self::Array(values) => Json::Array(values.borrow().iter().map(Self::to_json).collect()),
            other => panic!("{} cannot be written as JSON", other.type_name()),
        }
    }

    /// As `ПрочитатьJSON` makes maps of objects.
    pub(super) fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Undefined,
            Json::Bool(yes) => Self::Bool(*yes),
            Json::Number(number) => Self::whole(number.as_i64().expect("a whole number")),
            Json::String(text) => Self::text(text),
            Json::Array(values) => Self::array(values.iter().map(Self::from_json).collect()),
            Json::Object(fields) => {
                let read = fields.iter().map(|(key, value)| (key.clone(), Self::from_json(value)));
                Self::Map(Rc::new(RefCell::new(read.collect())))
            }
        }
    }
}

pub(super) fn empty_date() -> DateTime {
    jiff::civil::date(1, 1, 1).to_datetime(jiff::civil::Time::midnight())
}

/// Whether a key may stand in a structure.
pub(super) fn is_name(text: &str) -> bool {
    let starts = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Digits in groups of three with unbreakable blanks between them.
fn grouped(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}
