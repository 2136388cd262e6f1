//! Objects of the platform, and what can be done with values.

use std::cell::RefCell;
use std::rc::Rc;

use super::eval::{Machine, Raised};
use super::library::Given;
use super::value::{Value, is_name};
use super::{MODULE, Sent};

/// An object of the platform.
#[derive(Debug)]
pub(super) enum Host {
    Connection {
        number: usize,
        server: String,
        port: u16,
        timeout: i64,
        is_secure: bool,
    },
    Request {
        address: String,
        headers: Vec<(String, String)>,
        body: RefCell<Option<String>>,
    },
    Answer {
        status: u16,
        body: String,
    },
    Writer(RefCell<Option<String>>),
    Reader(RefCell<Option<String>>),
    /// Certificates of the operating system.
    Certificates,
    /// An encrypted connection that checks the certificate.
    Secure,
    /// What `ИнформацияОбОшибке` answers.
    Error(String),
}

impl Host {
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "HTTPСоединение",
            Self::Request { .. } => "HTTPЗапрос",
            Self::Answer { .. } => "HTTPОтвет",
            Self::Writer(_) => "ЗаписьJSON",
            Self::Reader(_) => "ЧтениеJSON",
            Self::Certificates => "СертификатыУдостоверяющихЦентровОС",
            Self::Secure => "ЗащищенноеСоединениеOpenSSL",
            Self::Error(_) => "ИнформацияОбОшибке",
        }
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let Value::Map(pairs) = value else { panic!("headers are a Соответствие") };
    pairs.borrow().iter().map(|(name, value)| (name.clone(), value.shown())).collect()
}

impl Machine<'_> {
    /// `Новый …`.
    pub(super) fn make(&mut self, kind: &str, given: Vec<Option<Value>>) -> Value {
        let mut given = Given::new(kind, given);
        let made = match kind {
            "Структура" => return given.done(Value::Structure(Rc::default())),
            "Соответствие" => return given.done(Value::Map(Rc::default())),
            "Массив" => return given.done(Value::array(Vec::new())),
            "ЗаписьJSON" => Host::Writer(RefCell::new(None)),
            "ЧтениеJSON" => Host::Reader(RefCell::new(None)),
            "СертификатыУдостоверяющихЦентровОС" => {
                Host::Certificates
            }
            "ЗащищенноеСоединениеOpenSSL" => {
                let client = given.optional();
                assert!(client.is_none_or(|client| client.equals(&Value::Undefined)));
                // Without them the platform takes any certificate.
                let authorities = given.required();
                assert_eq!(authorities.type_name(), "СертификатыУдостоверяющихЦентровОС");
                Host::Secure
            }
            "HTTPЗапрос" => Host::Request {
                address: given.required().as_text().to_owned(),
                headers: pairs(&given.required()),
                body: RefCell::new(None),
            },
            "HTTPСоединение" => self.connect(&mut given),
            other => panic!("Новый {other} is not known"),
        };
        given.done(Value::Host(Rc::new(made)))
    }

    fn connect(&mut self, given: &mut Given) -> Host {
        self.connections += 1;
        let server = given.required().as_text().to_owned();
        let port = u16::try_from(given.required().as_whole()).expect("a port");
        assert!(given.optional().is_none(), "a login is not sent");
        assert!(given.optional().is_none(), "a password is not sent");
        let proxy = given.required();
        assert!(proxy.equals(&Value::Undefined), "no proxy here");
        let timeout = given.required().as_whole();
        let is_secure = match given.required() {
            Value::Undefined => false,
            other => {
                assert_eq!(other.type_name(), "ЗащищенноеСоединениеOpenSSL");
                true
            }
        };
        Host::Connection { number: self.connections, server, port, timeout, is_secure }
    }

    /// `base.name(…)`.
    pub(super) fn method(
        &mut self,
        base: &Value,
        name: &str,
        given: Vec<Option<Value>>,
    ) -> Result<Value, Raised> {
        let mut given = Given::new(name, given);
        let value = match (base, name) {
            (Value::Structure(fields), "Вставить") => {
                let field = given.required().as_text().to_owned();
                assert!(is_name(&field), "\"{field}\" is no name of a field");
                insert(&mut fields.borrow_mut(), field, given.required());
                Value::Undefined
            }
            (Value::Map(fields), "Вставить") => {
                let key = given.required().as_text().to_owned();
                insert(&mut fields.borrow_mut(), key, given.required());
                Value::Undefined
            }
            (Value::Array(values), "Добавить") => {
                values.borrow_mut().push(given.required());
                Value::Undefined
            }
            (Value::Array(values), "Количество") => {
                Value::whole(i64::try_from(values.borrow().len()).expect("few"))
            }
            (Value::Word(word), "Найти") if word == "Метаданные.ОбщиеМодули" =>
            {
                assert_eq!(given.required().as_text(), "ОбщегоНазначения");
                match self.house.stored_secret {
                    Some(_) => Value::Word("Метаданные.ОбщиеМодули.ОбщегоНазначения".to_owned()),
                    None => Value::Undefined,
                }
            }
            (Value::Word(word), "ПрочитатьДанныеИзБезопасногоХранилища")
                if word == "ОбщегоНазначения" =>
            {
                assert!(self.is_privileged, "the storage wants the privileged mode");
                assert_eq!(given.required().as_text(), "Freeline");
                assert_eq!(given.required().as_text(), "Секрет");
                match self.house.stored_secret.as_deref() {
                    None | Some("") => Value::Undefined,
                    Some(secret) => Value::text(secret),
                }
            }
            (Value::Host(host), _) => self.host_method(host, name, &mut given)?,
            _ => panic!("{} has no {name} ({MODULE} uses it)", base.type_name()),
        };
        Ok(given.done(value))
    }

    fn host_method(&mut self, host: &Host, name: &str, given: &mut Given) -> Result<Value, Raised> {
        match (host, name) {
            (Host::Writer(text), "УстановитьСтроку") => {
                text.replace(Some(String::new()));
                Ok(Value::Undefined)
            }
            (Host::Writer(text), "Закрыть") => {
                Ok(Value::Text(text.take().expect("it was set to a text")))
            }
            (Host::Reader(text), "УстановитьСтроку") => {
                text.replace(Some(given.required().as_text().to_owned()));
                Ok(Value::Undefined)
            }
            (Host::Reader(text), "Закрыть") => {
                text.take();
                Ok(Value::Undefined)
            }
            (Host::Request { body, .. }, "УстановитьТелоИзСтроки") => {
                let text = given.required().as_text().to_owned();
                assert_eq!(given.required().type_name(), "КодировкаТекста.UTF8");
                let mark = "ИспользованиеByteOrderMark.НеИспользовать";
                assert_eq!(given.required().type_name(), mark);
                body.replace(Some(text));
                Ok(Value::Undefined)
            }
            (Host::Connection { .. }, "ВызватьHTTPМетод") => {
                let method = given.required();
                self.exchange(host, method.as_text(), &given.required())
            }
            (Host::Answer { body, .. }, "ПолучитьТелоКакСтроку") => {
                assert_eq!(given.required().type_name(), "КодировкаТекста.UTF8");
                Ok(Value::text(body))
            }
            _ => panic!("{} has no {name}", host.type_name()),
        }
    }

    fn exchange(&mut self, host: &Host, method: &str, request: &Value) -> Result<Value, Raised> {
        let Host::Connection { number, server, port, timeout, is_secure } = host else {
            panic!("a connection calls")
        };
        let Value::Host(request) = request else { panic!("an HTTPЗапрос is sent") };
        let Host::Request { address, headers, body } = &**request else {
            panic!("an HTTPЗапрос is sent")
        };
        let sent = Sent {
            method: method.to_owned(),
            server: server.clone(),
            port: *port,
            address: address.clone(),
            headers: headers.clone(),
            body: body.borrow().clone(),
            timeout: *timeout,
            is_secure: *is_secure,
            connection: *number,
        };
        let answer = self.house.wire.send(&sent);
        self.sent.push(sent);
        let (status, body) = answer?;
        Ok(Value::Host(Rc::new(Host::Answer { status, body })))
    }
}

fn insert(fields: &mut Vec<(String, Value)>, name: String, value: Value) {
    match fields.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => fields.push((name, value)),
    }
}
