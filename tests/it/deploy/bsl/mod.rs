//! As much of 1C:Enterprise as `deploy/1c/freeline_client.bsl` needs: its language, read with the
//! public grammar, and the functions and objects of the platform that it uses.
//!
//! So the module itself says what it sends, and to the real service. What it uses and this does not
//! know ends the test: nothing is passed over. Where the platform is known to surprise
//! (digits of numbers come in groups, dates have no offset, keys of structures must be names),
//! this does as the platform does.

mod eval;
mod host;
mod library;
mod value;

use std::collections::VecDeque;

use serde_json::Value as Json;
use tree_sitter::{Node, Parser, Tree};

use eval::Machine;
use value::Value;

/// Name of the module in a configuration.
pub(super) const MODULE: &str = "FreelineКлиент";
/// The time zone of a session.
const SESSION_ZONE: &str = "Europe/Moscow";

/// A request as the module made it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) server: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) address: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
    /// In seconds.
    pub(super) timeout: i64,
    /// Whether it is encrypted, and the certificate checked.
    pub(super) is_secure: bool,
    /// Number of its connection.
    pub(super) connection: usize,
}

impl Sent {
    pub(super) fn json(&self) -> Json {
        serde_json::from_str(self.body.as_deref().expect("a body")).expect("a body of JSON")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What is behind the module's connections.
pub(super) enum Wire {
    /// The address that it names.
    Real(tokio::runtime::Handle, reqwest::Client),
    /// Status and body of each answer, or the platform's words for why there is none.
    Script(VecDeque<Result<(u16, String), String>>),
}

impl Wire {
    pub(super) fn real() -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self::Real(tokio::runtime::Handle::current(), client)
    }

    pub(super) fn script(answers: &[Result<(u16, &str), &str>]) -> Self {
        let own = |answer: &Result<(u16, &str), &str>| match answer {
            Ok((status, body)) => Ok((*status, (*body).to_owned())),
            Err(words) => Err((*words).to_owned()),
        };
        Self::Script(answers.iter().map(own).collect())
    }

    fn send(&mut self, sent: &Sent) -> Result<(u16, String), String> {
        let (handle, client) = match self {
            Self::Script(answers) => return answers.pop_front().expect("no answer is left"),
            Self::Real(handle, client) => (handle, client),
        };
        assert!(!sent.is_secure, "the service of the tests speaks plain HTTP");
        let method = sent.method.parse().expect("a method");
        let url = format!("http://{}:{}{}", sent.server, sent.port, sent.address);
        let mut call = client.request(method, url);
        for (name, value) in &sent.headers {
            call = call.header(name, value);
        }
        if let Some(body) = &sent.body {
            call = call.body(body.clone());
        }
        handle.block_on(async {
            let answer = call.send().await.map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            Ok((status, answer.text().await.map_err(|error| error.to_string())?))
        })
    }
}

/// What 1C is like when the module is called.
pub(super) struct House {
    pub(super) wire: Wire,
    /// The address in the settings.
    pub(super) address: String,
    /// The secret in the settings.
    pub(super) secret: String,
    pub(super) in_transaction: bool,
    /// What the standard library's secure storage has; without one the library is not there.
    pub(super) stored_secret: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was returned, or the text of the exception.
    pub(super) result: Result<Json, String>,
    pub(super) sent: Vec<Sent>,
    /// The event log: level and comment.
    pub(super) log: Vec<(String, String)>,
}

impl Outcome {
    pub(super) fn json(&self) -> &Json {
        self.result.as_ref().unwrap_or_else(|raised| panic!("an exception: {raised}"))
    }
}

/// Runs some code of somebody who uses the module. It has `Настройки`; what it returns is told.
///
/// Blocks until the answers are there.
pub(super) fn run(module: &str, code: &str, house: House) -> Outcome {
    let caller = format!(
        "Функция Тест(Знач Адрес, Знач Секрет)\nНастройки = {MODULE}.\
        НовыеНастройки(Адрес, Секрет);\n{code}\nКонецФункции\n"
    );
    let (ours, theirs) = (parse(module), parse(&caller));
    for (tree, text) in [(&ours, module), (&theirs, caller.as_str())] {
        assert_eq!(mistakes(tree), Vec::<String>::new(), "{text:.200}");
    }
    let arguments = [Value::text(&house.address), Value::text(&house.secret)];
    let mut machine = Machine::new(house);
    machine.load(ours.root_node(), module, true);
    machine.load(theirs.root_node(), &caller, false);
    let result = machine.call("Тест", arguments.into()).map(|value| value.to_json());
    let Machine { sent, log, .. } = machine;
    Outcome { result, sent, log }
}

/// Reads the language by the public grammar.
pub(super) fn parse(text: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bsl::LANGUAGE.into()).expect("the grammar fits");
    parser.parse(text, None).expect("a tree")
}

/// Where a text is not of the language.
pub(super) fn mistakes(tree: &Tree) -> Vec<String> {
    let is_mistake = |node: &Node<'_>| node.is_error() || node.is_missing();
    let place = |node: Node<'_>| {
        let at = node.start_position();
        format!("{}:{} is not of the language", at.row + 1, at.column + 1)
    };
    all(tree.root_node()).into_iter().filter(is_mistake).map(place).collect()
}

/// A node and everything in it.
pub(super) fn all(node: Node<'_>) -> Vec<Node<'_>> {
    let (mut found, mut waiting) = (Vec::new(), vec![node]);
    while let Some(node) = waiting.pop() {
        found.push(node);
        let mut cursor = node.walk();
        waiting.extend(node.children(&mut cursor));
    }
    found
}

/// What of a node is no comment and has a name in the grammar.
pub(super) fn parts(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    let parts = node.named_children(&mut cursor);
    parts.filter(|part| part.kind() != "line_comment").collect()
}
