//! The text of the notice "all lines are busy".
//!
//! Invariant: the subject is one line, and every text that somebody else wrote is cut and freed
//! from control characters before it stands in a mail.

use minijinja::{Value, context};

use crate::core::money::{Currency, Money};
use crate::core::time::Time;
use crate::text::{FIELD_CHARS_MAX, moscow_time, one_line, plain_text_templates};

/// Most lines of the platform that a notice lists; the rest is counted.
pub const LISTED_LINES_MAX: usize = 50;

/// Longest name of a counterparty in the subject, in characters.
const SUBJECT_NAME_CHARS_MAX: usize = 80;

const SUBJECT: &str = include_str!("templates/notice.subject.txt.j2");
const BODY: &str = include_str!("templates/notice.body.txt.j2");

/// What a notice tells.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// The payment that waits.
    pub payment: NoticePayment,
    /// The counterparty's main manager.
    pub manager_name: String,
    /// The manager's lines, none of them free; empty if the manager has none at all.
    pub lines: Vec<NoticeLine>,
}

/// The payment that waits.
#[derive(Clone, PartialEq, Eq)]
pub struct NoticePayment {
    /// Its number, as people quote it: `FL-4J7Q-2M9X`.
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
    /// When we learned of it.
    pub received_at: Time,
    /// From 0 to 9, higher first.
    pub priority: u8,
}

/// A line that cannot take the payment.
#[derive(Clone, PartialEq, Eq)]
pub struct NoticeLine {
    /// Its name.
    pub name: String,
    /// Its state in Russian words: `занята`, `на паузе`.
    pub state: String,
    /// Since when it has been so.
    pub since: Option<Time>,
    /// How many treatments are open on it; none is not mentioned.
    pub treatments: usize,
}

/// Why a notice could not be written. It names the template, never what stands in the notice.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("The built-in template of the notice failed in line {line}: {kind}. Report this bug.")]
pub struct NoticeProblem {
    line: usize,
    kind: String,
}

/// The subject and the body of a notice, in Russian.
pub fn render_notice(notice: &Notice) -> Result<(String, String), NoticeProblem> {
    let fields = fields(notice);
    let subject = render(SUBJECT, &fields)?;
    let body = render(BODY, &fields)?;
    Ok((one_line(&subject, FIELD_CHARS_MAX), body))
}

fn render(template: &str, fields: &Value) -> Result<String, NoticeProblem> {
    plain_text_templates().render_str(template, fields.clone()).map_err(|error| NoticeProblem {
        line: error.line().unwrap_or(1),
        kind: error.kind().to_string(),
    })
}

/// The names that the templates use. An absent field is an empty text, which is false in `if`.
fn fields(notice: &Notice) -> Value {
    let payment = &notice.payment;
    let lines: Vec<Value> = notice.lines.iter().take(LISTED_LINES_MAX).map(line_fields).collect();
    context! {
        number => field(&payment.number),
        amount => payment.amount.to_russian(payment.currency),
        counterparty_name => optional_field(payment.counterparty_name.as_deref()),
        counterparty_short =>
            one_line(payment.counterparty_name.as_deref().unwrap_or_default(), SUBJECT_NAME_CHARS_MAX),
        inn => optional_field(payment.inn.as_deref()),
        order => optional_field(payment.order.as_deref()),
        purpose => optional_field(payment.purpose.as_deref()),
        paid_at => moscow_time(payment.paid_at),
        received_at => moscow_time(payment.received_at),
        priority => payment.priority.to_string(),
        manager_name => field(&notice.manager_name),
        lines => lines,
        lines_left_out => notice.lines.len().saturating_sub(LISTED_LINES_MAX),
    }
}

fn line_fields(line: &NoticeLine) -> Value {
    context! {
        name => field(&line.name),
        state => field(&line.state),
        since => line.since.map(moscow_time).unwrap_or_default(),
        treatments => line.treatments,
    }
}

fn field(text: &str) -> String {
    one_line(text, FIELD_CHARS_MAX)
}

fn optional_field(text: Option<&str>) -> String {
    field(text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse_rfc3339(text).unwrap()
    }

    fn line(name: &str, state: &str, since: Option<&str>, treatments: usize) -> NoticeLine {
        NoticeLine { name: name.into(), state: state.into(), since: since.map(at), treatments }
    }

    fn notice() -> Notice {
        Notice {
            payment: NoticePayment {
                number: "FL-4J7Q-2M9X".into(),
                amount: Money::parse("12345.67").unwrap(),
                currency: Currency::RUB,
                counterparty_name: Some("ООО «Ромашка»".into()),
                inn: Some("7700000000".into()),
                order: Some("ЗК-001".into()),
                purpose: Some("Оплата по счёту 1".into()),
                paid_at: at("2026-03-05T11:07:00Z"),
                received_at: at("2026-03-05T11:08:30Z"),
                priority: 5,
            },
            manager_name: "Иванова Мария".into(),
            lines: vec![
                line("Линия 1", "занята", Some("2026-03-05T10:55:00Z"), 1),
                line("Линия 2", "на паузе", None, 0),
            ],
        }
    }

    #[test]
    fn the_notice_tells_the_payment_the_manager_and_the_lines() {
        let (subject, body) = render_notice(&notice()).unwrap();
        assert_eq!(
            subject,
            "Все линии заняты: оплата FL-4J7Q-2M9X, ООО «Ромашка», 12\u{a0}345,67\u{a0}₽"
        );
        insta::assert_snapshot!(body.replace('\u{a0}', "~"), @r"
        Здравствуйте!

        Поступила оплата, а все линии поддержки менеджера заняты. Как только одна из них освободится, сообщение об оплате уйдёт в неё само. Если ждать нельзя, завершите одно из обращений или свяжитесь с клиентом напрямую.

        Оплата №~FL-4J7Q-2M9X
          Сумма: 12~345,67~₽
          Контрагент: ООО «Ромашка»
          ИНН: 7700000000
          Заказ: ЗК-001
          Назначение: Оплата по счёту 1
          Оплачено: 05.03.2026 14:07~МСК
          Получено: 05.03.2026 14:08~МСК
          Приоритет: 5 из~9

        Основной менеджер: Иванова Мария

        Линии:
          – Линия 1: занята с~05.03.2026 13:55~МСК, обращений: 1
          – Линия 2: на паузе

        Это письмо отправлено автоматически, один раз. Отвечать на него не нужно.
        ");
    }

    #[test]
    fn a_manager_without_lines_reads_what_to_do() {
        let (subject, body) = render_notice(&Notice { lines: vec![], ..notice() }).unwrap();
        assert_eq!(
            subject,
            "Нет ни одной линии: оплата FL-4J7Q-2M9X, ООО «Ромашка», 12\u{a0}345,67\u{a0}₽"
        );
        insta::assert_snapshot!(body.replace('\u{a0}', "~"), @r"
        Здравствуйте!

        Поступила оплата, а у менеджера нет ни одной линии поддержки, и передать её некуда. Добавьте менеджеру линию в справочнике или включите отключённую: после этого сообщение об оплате уйдёт само. До тех пор свяжитесь с клиентом напрямую.

        Оплата №~FL-4J7Q-2M9X
          Сумма: 12~345,67~₽
          Контрагент: ООО «Ромашка»
          ИНН: 7700000000
          Заказ: ЗК-001
          Назначение: Оплата по счёту 1
          Оплачено: 05.03.2026 14:07~МСК
          Получено: 05.03.2026 14:08~МСК
          Приоритет: 5 из~9

        Основной менеджер: Иванова Мария

        Это письмо отправлено автоматически, один раз. Отвечать на него не нужно.
        ");
    }

    #[test]
    fn absent_fields_leave_no_trace() {
        let mut notice = notice();
        notice.payment = NoticePayment {
            counterparty_name: None,
            inn: None,
            order: None,
            purpose: None,
            ..notice.payment
        };
        let (subject, body) = render_notice(&notice).unwrap();
        assert_eq!(subject, "Все линии заняты: оплата FL-4J7Q-2M9X, 12\u{a0}345,67\u{a0}₽");
        for word in ["Контрагент", "ИНН", "Заказ", "Назначение", "none", "undefined"]
        {
            assert!(!body.contains(word), "{word} in {body}");
        }
        assert!(body.contains("₽\n  Оплачено"), "{body}");
    }

    #[test]
    fn hostile_fields_are_cut_and_stay_on_their_line() {
        let hostile = format!("x\r\nBcc: a@b\0{{{{ number }}}}{}", "ж".repeat(10_000));
        let mut notice = notice();
        notice.payment.counterparty_name = Some(hostile.clone());
        notice.payment.purpose = Some(hostile.clone());
        notice.manager_name.clone_from(&hostile);
        notice.lines = vec![line(&hostile, &hostile, None, 2); 1_000];
        let (subject, body) = render_notice(&notice).unwrap();
        assert!(!subject.chars().any(char::is_control), "{subject}");
        assert!(subject.chars().count() < 160, "{subject}");
        assert!(!body.chars().any(|char| char.is_control() && char != '\n'));
        assert!(body.contains("Контрагент: x Bcc: a@b {{ number }}жж"));
        assert!(body.contains("\n  … и ещё 950\n"));
        assert!(body.chars().count() < 60_000);
    }
}
