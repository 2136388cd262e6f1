//! The text of the message that hands a payment over to a specialist.
//!
//! Invariant: whatever the template or the payment itself says, the text carries the payment's
//! number, because the echo of our own message is recognised by it; and it is never longer than
//! [`TEXT_CHARS_MAX`].

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, Value};

use crate::core::money::{Currency, Money};
use crate::core::time::Time;
use crate::text::{FIELD_CHARS_MAX, cut, many_lines, moscow_time, one_line, plain_text_templates};

/// Longest message text, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;

/// Longest payment number, in characters.
const NUMBER_CHARS_MAX: usize = 64;

/// The template that is used when no other one is set.
const BUILT_IN: &str = include_str!("message.txt.j2");

/// The field that a long text loses first.
const PURPOSE: &str = "purpose";

/// The name under which a template is kept in its environment.
const NAME: &str = "message";

/// What a message tells about a payment.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageData {
    /// The payment's number, as people quote it: `FL-4J7Q-2M9X`.
    pub number: String,
    /// How much was paid.
    pub amount: Money,
    /// In which currency.
    pub currency: Currency,
    /// Who paid.
    pub counterparty_name: Option<String>,
    /// The payer's tax number (ИНН).
    pub inn: Option<String>,
    /// The order it was paid for.
    pub order: Option<String>,
    /// What the payer wrote it is for.
    pub purpose: Option<String>,
    /// When it was paid.
    pub paid_at: Time,
    /// The counterparty's main manager.
    pub manager_name: String,
    /// The payment's own text, used instead of the template.
    pub text: Option<String>,
}

/// A template of the message, proven to render.
pub struct MessageTemplate {
    environment: Environment<'static>,
}

impl MessageTemplate {
    /// The Russian template that comes with the program.
    #[expect(clippy::missing_panics_doc, reason = "the text is constant and proven by a test")]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the built-in template is proven by a test")
    }

    /// Reads a template and proves it on sample payments, with and without optional fields.
    pub fn parse(text: &str) -> Result<Self, TemplateProblem> {
        let mut environment = plain_text_templates();
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|error| TemplateProblem::syntax(&error))?;
        let template = Self { environment };
        template.require_known_names(text)?;
        for sample in [sample_payment(), smallest_payment()] {
            let rendered = template
                .fill(&Fields::of(&sample))
                .map_err(|error| TemplateProblem::unusable(&error))?;
            if many_lines(&rendered).is_empty() {
                return Err(TemplateProblem::Empty);
            }
        }
        Ok(template)
    }

    /// The text for one payment: its own if it has one, otherwise the template's.
    pub fn render(&self, data: &MessageData) -> Result<String, TemplateProblem> {
        let number = one_line(&data.number, NUMBER_CHARS_MAX);
        let own_text = data.text.as_deref().map(many_lines).filter(|text| !text.is_empty());
        let text = match own_text {
            Some(text) => text,
            None => self
                .fill_within_bound(Fields::of(data))
                .map_err(|error| TemplateProblem::not_rendered(&error))?,
        };
        Ok(with_number(&text, &number))
    }

    /// Fills the template; a text that gets too long loses the end of its purpose first.
    fn fill_within_bound(&self, mut fields: Fields) -> Result<String, minijinja::Error> {
        let text = many_lines(&self.fill(&fields)?);
        let excess = text.chars().count().saturating_sub(TEXT_CHARS_MAX);
        if excess == 0 {
            return Ok(text);
        }
        fields.shorten_purpose(excess);
        Ok(many_lines(&self.fill(&fields)?))
    }

    fn fill(&self, fields: &Fields) -> Result<String, minijinja::Error> {
        self.environment.get_template(NAME)?.render(fields.value())
    }

    /// Refuses names that do not exist, also where the samples do not lead.
    fn require_known_names(&self, text: &str) -> Result<(), TemplateProblem> {
        let template =
            self.environment.get_template(NAME).map_err(|error| TemplateProblem::syntax(&error))?;
        let functions: BTreeSet<&str> =
            self.environment.globals().map(|(name, _value)| name).collect();
        let fields = Fields::of(&sample_payment());
        let used: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        let unknown = used.into_iter().find(|name| {
            !fields.0.contains_key(name.as_str()) && !functions.contains(name.as_str())
        });
        match unknown {
            None => Ok(()),
            Some(name) => {
                let line =
                    text.lines().position(|line| line.contains(&name)).map_or(1, |at| at + 1);
                Err(TemplateProblem::UnknownName { line, name })
            }
        }
    }
}

impl std::fmt::Debug for MessageTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageTemplate").finish_non_exhaustive()
    }
}

/// Why a template cannot be used. The texts name the template only, never a payment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateProblem {
    /// It is not written in the template language.
    #[error(
        "The message template has a syntax error in line {line}: {detail}. \
         Correct it; the language is Jinja."
    )]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What the language's parser says.
        detail: String,
    },
    /// It uses a name that no payment has.
    #[error(
        "The message template uses an unknown name {name:?} in line {line}. Use one of: {}.",
        Fields::names()
    )]
    UnknownName {
        /// Line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// It cannot be rendered with a sample payment.
    #[error(
        "The message template cannot be rendered, see line {line}: {detail}. \
         An absent field is an empty text: test it with {{% if … %}}."
    )]
    Unusable {
        /// Line, from 1.
        line: usize,
        /// What went wrong.
        detail: String,
    },
    /// It renders to nothing.
    #[error(
        "The message template gives an empty text for a sample payment. \
         Write at least the payment's number into it: {{{{ number }}}}."
    )]
    Empty,
}

impl TemplateProblem {
    fn syntax(error: &minijinja::Error) -> Self {
        Self::Syntax { line: error.line().unwrap_or(1), detail: detail(error) }
    }

    fn unusable(error: &minijinja::Error) -> Self {
        Self::Unusable { line: error.line().unwrap_or(1), detail: detail(error) }
    }

    /// For a real payment: only the kind of the error, its detail could quote the payment.
    fn not_rendered(error: &minijinja::Error) -> Self {
        Self::Unusable { line: error.line().unwrap_or(1), detail: error.kind().to_string() }
    }
}

/// What the template language says, without its own file name and line.
fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// `text` within its bound and with `number` in it, on a line of its own if it was not there.
fn with_number(text: &str, number: &str) -> String {
    let text = cut(text, TEXT_CHARS_MAX);
    if text.contains(number) {
        return text;
    }
    let last_line = format!("\n№\u{a0}{number}");
    let room = TEXT_CHARS_MAX.saturating_sub(last_line.chars().count());
    format!("{}{last_line}", cut(text.trim_end(), room))
}

/// The names that a template can use and what stands for them.
///
/// An absent field is an empty text, which is false in `if`.
struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    fn of(data: &MessageData) -> Self {
        let field = |text: Option<&str>| one_line(text.unwrap_or_default(), FIELD_CHARS_MAX);
        Self(BTreeMap::from([
            ("number", one_line(&data.number, NUMBER_CHARS_MAX)),
            ("amount", data.amount.to_russian(data.currency)),
            ("amount_plain", data.amount.to_string()),
            ("currency", data.currency.to_string()),
            ("counterparty_name", field(data.counterparty_name.as_deref())),
            ("inn", field(data.inn.as_deref())),
            ("order", field(data.order.as_deref())),
            (PURPOSE, many_lines(data.purpose.as_deref().unwrap_or_default())),
            ("paid_at", moscow_time(data.paid_at)),
            ("manager_name", field(Some(&data.manager_name))),
        ]))
    }

    /// Cuts `chars` characters off the purpose.
    fn shorten_purpose(&mut self, chars: usize) {
        if let Some(purpose) = self.0.get_mut(PURPOSE) {
            *purpose = cut(purpose, purpose.chars().count().saturating_sub(chars));
        }
    }

    /// All names, for the eye.
    fn names() -> String {
        let names: Vec<&str> = Self::of(&sample_payment()).0.into_keys().collect();
        names.join(", ")
    }

    fn value(&self) -> Value {
        Value::from_pairs(self.0.iter().map(|(name, text)| (*name, text.as_str())))
    }
}

/// A payment in which every field is there.
fn sample_payment() -> MessageData {
    MessageData {
        counterparty_name: Some("ООО «Ромашка»".to_owned()),
        inn: Some("7700000000".to_owned()),
        order: Some("ЗК-001".to_owned()),
        purpose: Some("Оплата по счёту 1".to_owned()),
        ..smallest_payment()
    }
}

/// A payment in which every optional field is absent.
fn smallest_payment() -> MessageData {
    MessageData {
        number: "FL-0000-0000".to_owned(),
        amount: Money::from_kopecks(1).expect("one kopeck is more than zero"),
        currency: Currency::RUB,
        counterparty_name: None,
        inn: None,
        order: None,
        purpose: None,
        paid_at: Time::from_micros(0),
        manager_name: "Иванова Мария".to_owned(),
        text: None,
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
