//! Functions of the platform's global context.

use std::rc::Rc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::SESSION_ZONE;
use super::eval::{Machine, Raised};
use super::host::Host;
use super::value::{Value, empty_date};

/// Names of the global context, and what the module may take of them.
const GLOBALS: &[(&str, &[&str])] = &[
    ("КодировкаТекста", &["UTF8"]),
    ("ИспользованиеByteOrderMark", &["НеИспользовать"]),
    ("СпособКодированияСтроки", &["КодировкаURL"]),
    ("УровеньЖурналаРегистрации", &["Предупреждение", "Ошибка"]),
    ("Метаданные", &["ОбщиеМодули"]),
];

pub(super) fn is_global(name: &str) -> bool {
    GLOBALS.iter().any(|(known, _)| *known == name)
}

/// What is given to a call, taken one after the other.
pub(super) struct Given {
    name: String,
    values: std::vec::IntoIter<Option<Value>>,
}

impl Given {
    pub(super) fn new(name: &str, values: Vec<Option<Value>>) -> Self {
        Self { name: name.to_owned(), values: values.into_iter() }
    }

    pub(super) fn optional(&mut self) -> Option<Value> {
        self.values.next().flatten()
    }

    pub(super) fn required(&mut self) -> Value {
        self.optional().unwrap_or_else(|| panic!("{} is not given enough", self.name))
    }

    /// The result, once all was taken.
    pub(super) fn done(mut self, value: Value) -> Value {
        assert!(self.values.next().is_none(), "{} is given too much", self.name);
        value
    }
}

/// `base.name`.
pub(super) fn field(base: &Value, name: &str) -> Value {
    match base {
        Value::Structure(fields) => {
            let fields = fields.borrow();
            let found =
                fields.iter().find(|(known, _)| known.to_lowercase() == name.to_lowercase());
            found.unwrap_or_else(|| panic!("there is no field {name}")).1.clone()
        }
        Value::Word(word) => {
            let known = GLOBALS.iter().find(|(known, _)| known == word);
            assert!(known.is_some_and(|(_, parts)| parts.contains(&name)), "{word}.{name}");
            Value::Word(format!("{word}.{name}"))
        }
        Value::Host(host) => match (&**host, name) {
            (Host::Answer { status, .. }, "КодСостояния") => {
                Value::whole(i64::from(*status))
            }
            (host, _) => panic!("{} has no {name}", host.type_name()),
        },
        other => panic!("{} has no {name}", other.type_name()),
    }
}

/// `base[at]`.
pub(super) fn entry(base: &Value, at: &Value) -> Value {
    match base {
        Value::Array(values) => {
            let at = usize::try_from(at.as_whole()).expect("a place");
            values.borrow().get(at).expect("a place in the array").clone()
        }
        Value::Map(fields) => {
            let fields = fields.borrow();
            let found = fields.iter().find(|(key, _)| key == at.as_text());
            found.map_or(Value::Undefined, |(_, value)| value.clone())
        }
        other => panic!("an entry of {}", other.type_name()),
    }
}

/// `20260305140700` or `20260305`.
pub(super) fn date(digits: &str) -> Result<Value, Raised> {
    let digits = format!("{digits:0<14}");
    let format = jiff::fmt::strtime::BrokenDownTime::parse("%Y%m%d%H%M%S", &digits);
    let date = format.and_then(|parsed| parsed.to_datetime());
    date.map(Value::Date).map_err(|_| "Преобразование значения к типу Дата".to_owned())
}

fn zone(given: &mut Given) -> TimeZone {
    TimeZone::get(given.required().as_text()).expect("a time zone")
}

fn moved(date: DateTime, from: &TimeZone, to: &TimeZone) -> Value {
    let zoned = from.to_zoned(date).expect("a time of that zone");
    Value::Date(zoned.with_time_zone(to.clone()).datetime())
}

fn chars(given: &mut Given) -> Vec<char> {
    given.required().as_text().chars().collect()
}

fn count(number: usize) -> Value {
    Value::whole(i64::try_from(number).expect("few"))
}

/// `Формат`: those parts of its language that the module uses.
fn format(value: &Value, how: &str) -> String {
    let parts: Vec<(&str, &str)> =
        how.split("; ").map(|part| part.split_once('=').expect("name=value")).collect();
    let part = |name: &str| parts.iter().find(|(known, _)| *known == name).map(|(_, is)| *is);
    if let Value::Date(date) = value {
        if *date == empty_date() {
            return String::new();
        }
        let pattern = match (part("ДФ"), parts.len()) {
            (Some("yyyy-MM-dd"), 1) => "%Y-%m-%d",
            (Some("HH:mm:ss"), 1) => "%H:%M:%S",
            other => panic!("{other:?} is no format of dates here"),
        };
        return date.strftime(pattern).to_string();
    }
    let known = ["ЧДЦ", "ЧРД", "ЧГ", "ЧН"];
    assert!(parts.iter().all(|(name, _)| known.contains(name)), "{how}");
    assert_eq!(part("ЧГ"), Some("0"), "digits would come in groups");
    let number = value.as_hundredths();
    if number == 0 {
        return part("ЧН").unwrap_or("").to_owned();
    }
    let sign = if number < 0 { "-" } else { "" };
    let (whole, rest) = (number.abs() / 100, number.abs() % 100);
    match part("ЧДЦ") {
        Some("2") => format!("{sign}{whole}{}{rest:02}", part("ЧРД").unwrap_or(",")),
        digits => {
            assert!(matches!(digits, Some("0") | None) && rest == 0, "{how} of {number}");
            format!("{sign}{whole}")
        }
    }
}

/// `КодироватьСтроку` for an address: all but the unreserved (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

impl Machine<'_> {
    /// A function of the platform.
    pub(super) fn platform(
        &mut self,
        name: &str,
        given: Vec<Option<Value>>,
    ) -> Result<Value, Raised> {
        let mut given = Given::new(name, given);
        let value = match texts(name, &mut given) {
            Some(value) => value,
            None => self.surroundings(name, &mut given)?,
        };
        Ok(given.done(value))
    }

    fn surroundings(&mut self, name: &str, given: &mut Given) -> Result<Value, Raised> {
        Ok(match name {
            "ТипЗнч" => Value::Type(given.required().type_name().to_owned()),
            "Тип" => Value::Type(given.required().as_text().to_owned()),
            "Макс" => {
                let (a, b) = (given.required(), given.required());
                Value::Number(a.as_hundredths().max(b.as_hundredths()))
            }
            "Дата" => date(given.required().as_text())?,
            "УниверсальноеВремя" => {
                let date = given.required().as_date();
                moved(date, &zone(given), &TimeZone::UTC)
            }
            "МестноеВремя" => {
                let date = given.required().as_date();
                moved(date, &TimeZone::UTC, &zone(given))
            }
            "ЧасовойПоясСеанса" => Value::text(SESSION_ZONE),
            "ТранзакцияАктивна" => Value::Bool(self.house.in_transaction),
            "УстановитьПривилегированныйРежим" => {
                self.is_privileged = given.required().as_bool();
                Value::Undefined
            }
            "Вычислить" => Value::Word(given.required().as_text().to_owned()),
            "ЗаписатьJSON" => {
                let writer = given.required();
                let Value::Host(host) = &writer else { panic!("an ЗаписьJSON writes") };
                let Host::Writer(text) = &**host else { panic!("an ЗаписьJSON writes") };
                let before = text.replace(Some(given.required().to_json().to_string()));
                assert_eq!(before.as_deref(), Some(""), "it writes into a text, once");
                Value::Undefined
            }
            "ПрочитатьJSON" => {
                let reader = given.required();
                let Value::Host(host) = &reader else { panic!("a ЧтениеJSON reads") };
                let Host::Reader(text) = &**host else { panic!("a ЧтениеJSON reads") };
                let text = text.borrow().clone().expect("it reads a text");
                let json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                assert!(given.required().as_bool(), "objects are read as maps");
                Value::from_json(&json)
            }
            "ИнформацияОбОшибке" => {
                Value::Host(Rc::new(Host::Error(self.raised().to_owned())))
            }
            "КраткоеПредставлениеОшибки" => {
                let error = given.required();
                let Value::Host(host) = &error else {
                    panic!("an ИнформацияОбОшибке is shown")
                };
                let Host::Error(words) = &**host else {
                    panic!("an ИнформацияОбОшибке is shown")
                };
                Value::text(words)
            }
            "ЗаписьЖурналаРегистрации" => {
                assert_eq!(given.required().as_text(), "Freeline");
                let level = given.required().type_name().to_owned();
                assert!(given.optional().is_none() && given.optional().is_none());
                self.log.push((level, given.required().as_text().to_owned()));
                Value::Undefined
            }
            other => panic!("the function {other} is not known"),
        })
    }
}

/// Functions of texts and plain values.
fn texts(name: &str, given: &mut Given) -> Option<Value> {
    Some(match name {
        "ЗначениеЗаполнено" => Value::Bool(given.required().is_filled()),
        "ПустаяСтрока" => Value::Bool(given.required().as_text().trim().is_empty()),
        "СокрЛП" => Value::text(given.required().shown().trim()),
        "Формат" => Value::Text(format(&given.required(), given.required().as_text())),
        "НРег" => Value::Text(given.required().as_text().to_lowercase()),
        "СтрДлина" => count(chars(given).len()),
        "Лев" => {
            let text = chars(given);
            let length = usize::try_from(given.required().as_whole()).expect("a length");
            Value::Text(text.into_iter().take(length).collect())
        }
        "Сред" => {
            let text = chars(given);
            let from = usize::try_from(given.required().as_whole()).expect("a place");
            Value::Text(text.into_iter().skip(from - 1).collect())
        }
        "СтрНайти" => {
            let text = given.required();
            let found = text.as_text().split_once(given.required().as_text());
            count(found.map_or(0, |(before, _)| before.chars().count() + 1))
        }
        "СтрЗаменить" => {
            let (text, from, to) = (given.required(), given.required(), given.required());
            Value::Text(text.as_text().replace(from.as_text(), to.as_text()))
        }
        "СтрНачинаетсяС" => {
            let (text, start) = (given.required(), given.required());
            Value::Bool(text.as_text().starts_with(start.as_text()))
        }
        "СтрЗаканчиваетсяНа" => {
            let (text, end) = (given.required(), given.required());
            Value::Bool(text.as_text().ends_with(end.as_text()))
        }
        "СтрРазделить" => {
            let (text, separator) = (given.required(), given.required());
            assert!(!given.required().as_bool(), "empty parts are left out");
            let parts = text.as_text().split(separator.as_text()).filter(|part| !part.is_empty());
            Value::array(parts.map(Value::text).collect())
        }
        "Число" => Value::number(given.required().as_text()),
        "КодироватьСтроку" => {
            let text = given.required();
            let how = given.required();
            assert_eq!(how.type_name(), "СпособКодированияСтроки.КодировкаURL");
            Value::Text(encoded(text.as_text()))
        }
        _ => return None,
    })
}
