//! Payments: taken in, looked at, and moved by people.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;

use crate::core::id::{CounterpartyId, ManagerId, PaymentId, UserId};
use crate::core::money::{Currency, Money};
use crate::core::number::Number;
use crate::core::payment::{Command, CommandRefused, PaymentState};
use crate::core::time::Time;
use crate::core::why::Reason;
use crate::http::Context;
use crate::http::fields::{
    Errors, Fields, NAME_CHARS, PURPOSE_CHARS, Query, REASON_CHARS, TEXT_CHARS, one_of, parse_json,
    path_id,
};
use crate::http::page::{self, Page};
use crate::http::problem::{Code, Problem};
use crate::store::{
    Added, NewPayment, PaymentDetails, PaymentFilter, PaymentRecord, TimelineEntry,
};

/// The fields of a payment that comes in.
const PAYMENT: &[&str] = &[
    "key",
    "counterparty",
    "manager",
    "amount",
    "currency",
    "paid_at",
    "order",
    "purpose",
    "priority",
    "hold",
    "mismatch",
    "user_id",
    "author_id",
    "text",
];
/// The highest priority.
const PRIORITY_MAX: i64 = 9;

/// What a payment says, in the order and form in which two of them are compared.
///
/// It is stored as text with the payment: with another field or another order, a payment that is
/// sent again after an update would no longer be the same.
#[derive(Serialize)]
struct Content<'a> {
    counterparty: Option<&'a str>,
    manager: Option<&'a str>,
    amount: String,
    currency: &'a str,
    paid_at: String,
    order: Option<&'a str>,
    purpose: Option<&'a str>,
    priority: i64,
    hold: Option<&'a str>,
    mismatch: Option<&'a str>,
    user_id: Option<&'a str>,
    author_id: Option<&'a str>,
    text: Option<&'a str>,
}

/// Reads a payment; its content is still empty.
fn read(value: &Value, id: PaymentId, number: Number) -> Result<NewPayment, Problem> {
    let errors = Errors::default();
    let payment = payment(value, id, number, &errors);
    errors.finish(payment).map_err(Problem::validation)
}

fn payment(value: &Value, id: PaymentId, number: Number, errors: &Errors) -> Option<NewPayment> {
    let fields = Fields::of(value, "", PAYMENT, errors)?;
    let key = fields.required_id("key");
    let counterparty = fields.id("counterparty");
    let manager = fields.id("manager");
    if !["counterparty", "manager"].iter().any(|name| value.get(name).is_some_and(is_given)) {
        fields.wrong_as_a_whole("one of counterparty and manager is required");
    }
    let amount_hint = "a decimal text such as \"12345.67\"";
    let amount = fields.required_parsed("amount", amount_hint, Money::parse);
    let currency_hint = "a text such as \"RUB\"";
    let currency = fields.parsed("currency", currency_hint, Currency::RUB, Currency::parse);
    let paid_at = fields.required_time("paid_at");
    let order = fields.text("order", NAME_CHARS);
    let purpose = fields.text("purpose", PURPOSE_CHARS);
    let priority = fields.number("priority", 0..=PRIORITY_MAX, 0);
    let hold = fields.text("hold", REASON_CHARS);
    let mismatch = fields.text("mismatch", REASON_CHARS);
    let user = fields.id("user_id");
    let author = fields.id("author_id");
    let text = fields.text("text", TEXT_CHARS);
    Some(NewPayment {
        id,
        number,
        key: key?,
        content: String::new(),
        counterparty,
        manager,
        amount: amount?.kopecks(),
        currency: currency?.to_string(),
        paid_at: paid_at?,
        order,
        purpose,
        priority: priority?,
        hold,
        mismatch,
        user,
        author,
        text,
    })
}

/// Whether somebody meant to give it: what is wrong with it is told elsewhere.
fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    }
}

/// The canonical form of what a payment says.
fn content(payment: &NewPayment) -> Result<String, Problem> {
    let content = Content {
        counterparty: payment.counterparty.as_ref().map(CounterpartyId::as_str),
        manager: payment.manager.as_ref().map(ManagerId::as_str),
        amount: amount(payment.amount),
        currency: &payment.currency,
        paid_at: payment.paid_at.to_string(),
        order: payment.order.as_deref(),
        purpose: payment.purpose.as_deref(),
        priority: payment.priority,
        hold: payment.hold.as_deref(),
        mismatch: payment.mismatch.as_deref(),
        user_id: payment.user.as_ref().map(UserId::as_str),
        author_id: payment.author.as_ref().map(UserId::as_str),
        text: payment.text.as_deref(),
    };
    serde_json::to_string(&content).map_err(|error| {
        tracing::error!(%error, "a payment could not be written as JSON");
        Problem::new(Code::Internal, "the payment could not be taken in")
    })
}

/// Kopecks as the API writes them.
fn amount(kopecks: i64) -> String {
    Money::from_kopecks(kopecks).map_or_else(|_| kopecks.to_string(), |money| money.to_string())
}

/// A payment as it stands.
#[derive(Serialize)]
pub(super) struct PaymentOut {
    id: String,
    number: String,
    key: String,
    state: &'static str,
    reason: String,
    reason_code: &'static str,
    manager: Option<String>,
    given_manager: Option<String>,
    counterparty: Option<String>,
    amount: String,
    currency: String,
    paid_at: String,
    order: Option<String>,
    purpose: Option<String>,
    priority: i64,
    hold: Option<String>,
    mismatch: Option<String>,
    user_id: Option<String>,
    author_id: Option<String>,
    text: Option<String>,
    received_at: String,
    updated_at: String,
    line_id: Option<String>,
    treatment_id: Option<String>,
    dispatched_at: Option<String>,
    closed_at: Option<String>,
    notified_at: Option<String>,
    attempts: i64,
}

impl From<PaymentRecord> for PaymentOut {
    fn from(payment: PaymentRecord) -> Self {
        let given = payment.given;
        let time = |at: Option<Time>| at.map(|at| at.to_string());
        Self {
            id: given.id.to_string(),
            number: given.number.to_string(),
            key: given.key,
            state: payment.state.as_str(),
            reason: payment.reason.to_string(),
            reason_code: payment.reason.code.as_str(),
            manager: payment.manager.or_else(|| given.manager.clone()).map(|id| id.to_string()),
            given_manager: given.manager.map(|id| id.to_string()),
            counterparty: given.counterparty.map(|id| id.to_string()),
            amount: amount(given.amount),
            currency: given.currency,
            paid_at: given.paid_at.to_string(),
            order: given.order,
            purpose: given.purpose,
            priority: given.priority,
            hold: given.hold,
            mismatch: given.mismatch,
            user_id: payment.user.or(given.user).map(|id| id.to_string()),
            author_id: payment.author.or(given.author).map(|id| id.to_string()),
            text: given.text,
            received_at: payment.received_at.to_string(),
            updated_at: payment.updated_at.to_string(),
            line_id: payment.line.map(|id| id.to_string()),
            treatment_id: payment.treatment.map(|id| id.to_string()),
            dispatched_at: time(payment.dispatched_at),
            closed_at: time(payment.closed_at),
            notified_at: time(payment.notified_at),
            attempts: payment.attempts,
        }
    }
}

/// A payment with its history.
#[derive(Serialize)]
pub(super) struct DetailsOut {
    #[serde(flatten)]
    payment: PaymentOut,
    timeline: Vec<StepOut>,
    why: Vec<WhyOut>,
}

#[derive(Serialize)]
struct StepOut {
    at: String,
    state: &'static str,
    detail: String,
    reason_code: &'static str,
    line_id: Option<String>,
}

#[derive(Serialize)]
struct WhyOut {
    code: &'static str,
    line_id: Option<String>,
    text: String,
}

impl From<PaymentDetails> for DetailsOut {
    fn from(details: PaymentDetails) -> Self {
        let step = |step: TimelineEntry| StepOut {
            at: step.at.to_string(),
            state: step.state.as_str(),
            detail: step.reason.to_string(),
            reason_code: step.reason.code.as_str(),
            line_id: step.reason.line.map(|id| id.to_string()),
        };
        let why = |reason: Reason| WhyOut {
            code: reason.code.as_str(),
            text: reason.to_string(),
            line_id: reason.line.map(|id| id.to_string()),
        };
        Self {
            payment: details.payment.into(),
            timeline: details.timeline.into_iter().map(step).collect(),
            why: details.why.into_iter().map(why).collect(),
        }
    }
}

/// `POST /payments`.
pub(super) async fn create(
    State(context): State<Context>,
    body: Bytes,
) -> Result<Response, Problem> {
    let now = context.clock.now();
    let id = PaymentId::new(context.ids.uuid(now));
    let number = Number::from_random(context.ids.random());
    let mut payment = read(&parse_json(&body)?, id, number)?;
    payment.content = content(&payment)?;
    match context.store.add_payment(&payment, now).await? {
        Added::New => {
            let location = format!("/api/v1/payments/{}", payment.id);
            let details = details(&context, &payment.id).await?;
            let headers = [(header::LOCATION, location)];
            Ok((StatusCode::CREATED, headers, Json(details)).into_response())
        }
        Added::Same(id) => Ok(Json(details(&context, &id).await?).into_response()),
        Added::Conflict(id) => {
            let key = &payment.key;
            let detail = format!("the key \"{key}\" was used for the payment {id}, which differs");
            Err(Problem::new(Code::KeyConflict, detail))
        }
    }
}

async fn details(context: &Context, id: &PaymentId) -> Result<DetailsOut, Problem> {
    let found = context.store.payment(id).await?;
    found.map(Into::into).ok_or_else(|| Problem::not_found("payment"))
}

/// `GET /payments`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<PaymentOut>>, Problem> {
    let filter = read_filter(query.as_deref())?;
    let wanted = PaymentFilter { limit: filter.limit + 1, ..filter.clone() };
    let by_change = filter.updated_after.is_some();
    let cursor = |payment: &PaymentRecord| {
        let at = if by_change { payment.updated_at } else { payment.received_at };
        page::after(at, payment.given.id.as_str())
    };
    let found = context.store.list_payments(&wanted).await?;
    Ok(Json(Page::of(found, filter.limit, cursor, Into::into)))
}

fn read_filter(query: Option<&str>) -> Result<PaymentFilter, Problem> {
    let known = ["state", "manager", "counterparty", "key", "updated_after", "limit", "cursor"];
    let query = Query::parse(query, &known);
    let states = one_of(PaymentState::ALL.iter().map(|state| state.as_str()));
    let time = "a time such as 2026-03-05T11:07:00Z, with + written as %2B";
    let filter = PaymentFilter {
        state: query.parsed("state", &states, PaymentState::parse),
        manager: query.text("manager"),
        counterparty: query.text("counterparty"),
        key: query.text("key"),
        updated_after: query.parsed("updated_after", time, Time::parse_rfc3339),
        cursor: page::cursor(&query),
        limit: page::limit(&query),
    };
    query.finish(filter)
}

/// `GET /payments/{id}`.
pub(super) async fn show(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<DetailsOut>, Problem> {
    Ok(Json(details(&context, &path_id(id, "payment")?).await?))
}

/// `POST /payments/{id}/hold`.
pub(super) async fn hold(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<DetailsOut>, Problem> {
    command(&context, id, Command::Hold, &body).await
}

/// `POST /payments/{id}/release`.
pub(super) async fn release(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<DetailsOut>, Problem> {
    command(&context, id, Command::Release, &body).await
}

/// `POST /payments/{id}/cancel`.
pub(super) async fn cancel(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<DetailsOut>, Problem> {
    command(&context, id, Command::Cancel, &body).await
}

/// `POST /payments/{id}/retry`.
pub(super) async fn retry(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<DetailsOut>, Problem> {
    command(&context, id, Command::Retry, &body).await
}

async fn command(
    context: &Context,
    id: String,
    command: Command,
    body: &[u8],
) -> Result<Json<DetailsOut>, Problem> {
    let id = path_id(id, "payment")?;
    let words = read_reason(body)?;
    let now = context.clock.now();
    match context.store.command_payment(&id, command, &words, now).await? {
        None => Err(Problem::not_found("payment")),
        Some(Err(refused)) => Err(refusal(&refused)),
        Some(Ok(())) => Ok(Json(details(context, &id).await?)),
    }
}

fn refusal(refused: &CommandRefused) -> Problem {
    let code = match refused {
        CommandRefused::BeingSent => Code::BeingSent,
        CommandRefused::WrongState { .. } => Code::WrongState,
    };
    Problem::new(code, refused.to_string())
}

/// Reads `{reason}`.
pub(super) fn read_reason(body: &[u8]) -> Result<String, Problem> {
    let value = parse_json(body)?;
    let errors = Errors::default();
    let reason = Fields::of(&value, "", &["reason"], &errors)
        .and_then(|fields| fields.required_text("reason", REASON_CHARS));
    errors.finish(reason).map_err(Problem::validation)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::problem::FieldError;
    use crate::store::Cursor;

    fn read_it(value: &Value) -> Result<NewPayment, Problem> {
        read(value, PaymentId::new("p1"), Number::from_random(7))
    }

    fn good() -> Value {
        json!({
            "key": "k1",
            "counterparty": "c1",
            "amount": "12345.67",
            "paid_at": "2026-03-05T14:07:00+03:00",
        })
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut body = good();
        body[name] = value.into();
        body
    }

    fn wrong(body: &Value) -> Vec<(String, String)> {
        let problem = read_it(body).unwrap_err();
        problem.errors().iter().map(|e| (e.pointer.clone(), e.message.clone())).collect()
    }

    fn only(pointer: &str, message: &str) -> Vec<(String, String)> {
        vec![(pointer.to_owned(), message.to_owned())]
    }

    #[test]
    fn a_payment_needs_little_and_the_rest_has_defaults() {
        let payment = read_it(&good()).unwrap();
        assert_eq!(payment.amount, 1_234_567);
        assert_eq!(payment.currency, "RUB");
        assert_eq!(payment.priority, 0);
        assert_eq!(payment.manager, None);
        assert_eq!(payment.text, None);
    }

    #[test]
    fn an_amount_is_a_decimal_text_and_nothing_looser() {
        let not_decimal = "The amount is not a plain decimal number. Write digits and, if needed, \
             a point with one or two decimals, without spaces, sign or exponent, \
             for example \"12345.67\".";
        for text in ["12 345,67", "12345,67", "1e3", "+1", "12\u{0}", " 1"] {
            assert_eq!(wrong(&with("amount", text)), only("/amount", not_decimal), "{text}");
        }
        for (text, begin) in [
            ("-5", "The amount is negative. "),
            ("1.234", "The amount has more than two decimals. "),
            ("92233720368547758.08", "The amount is "),
            ("0.00", "The amount is "),
            ("", "The amount is empty. "),
        ] {
            let told = wrong(&with("amount", text));
            let [(pointer, message)] = told.as_slice() else { panic!("{text}: {told:?}") };
            assert_eq!(pointer, "/amount");
            assert!(message.starts_with(begin), "{text}: {message}");
        }
        let number = "expected a decimal text such as \"12345.67\", not a number";
        assert_eq!(wrong(&with("amount", 1000)), only("/amount", number));
        assert_eq!(wrong(&with("amount", 12.5)), only("/amount", number));
        assert_eq!(wrong(&with("amount", Value::Null)), only("/amount", "it is required"));
    }

    #[test]
    fn someone_must_be_named() {
        let message = "one of counterparty and manager is required";
        assert_eq!(wrong(&with("counterparty", Value::Null)), only("", message));
        assert_eq!(wrong(&with("counterparty", " ")), only("", message));
        // What is there and wrong is told once.
        let not_text = "expected a text, not a number";
        assert_eq!(wrong(&with("counterparty", 7)), only("/counterparty", not_text));
        let mut body = with("counterparty", Value::Null);
        body["manager"] = "m1".into();
        assert!(read_it(&body).is_ok());
    }

    #[test]
    fn every_other_field_has_its_bounds() {
        let key = format!("it has {} characters; at most 128 are kept", 129);
        assert_eq!(wrong(&with("key", "k".repeat(129))), only("/key", &key));
        let control = "it may not hold control characters or begin or end with blanks";
        assert_eq!(wrong(&with("key", "a\nb")), only("/key", control));
        let nul = "it holds a NUL character, which cannot be kept";
        assert_eq!(wrong(&with("purpose", "a\u{0}b")), only("/purpose", nul));
        let priority = "expected a whole number from 0 to 9";
        for value in [json!(10), json!(-1), json!(1.5), json!("1")] {
            assert_eq!(wrong(&with("priority", value)), only("/priority", priority));
        }
        let paid_at = "expected a time such as 2026-03-05T14:07:00+03:00";
        for text in ["05.03.2026", "2026-03-05", "2026-03-05T14:07:00"] {
            assert_eq!(wrong(&with("paid_at", text)), only("/paid_at", paid_at), "{text}");
        }
        for (name, most) in
            [("order", 200), ("purpose", 1_000), ("hold", 500), ("mismatch", 500), ("text", 4_000)]
        {
            assert!(read_it(&with(name, "я".repeat(most))).is_ok(), "{name}");
            let long = format!("it has {} characters; at most {most} are kept", most + 1);
            let told = wrong(&with(name, "я".repeat(most + 1)));
            assert_eq!(told, only(&format!("/{name}"), &long));
        }
        assert_eq!(
            wrong(&with("currency", "rub")),
            only("/currency", &Currency::parse("rub").unwrap_err().to_string())
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let known = PAYMENT.join(", ");
        let body = json!({"amount": 5, "ammount": "5", "a/b~": 1, "paid_at": null, "hold": []});
        assert_eq!(
            read_it(&body).unwrap_err().errors(),
            [
                FieldError::new("/a~1b~0", format!("unknown field; expected one of {known}")),
                FieldError::new("/ammount", format!("unknown field; expected one of {known}")),
                FieldError::new("/key", "it is required"),
                FieldError::new("", "one of counterparty and manager is required"),
                FieldError::new(
                    "/amount",
                    "expected a decimal text such as \"12345.67\", not a number"
                ),
                FieldError::new("/paid_at", "it is required"),
                FieldError::new("/hold", "expected a text, not a list"),
            ]
        );
        assert_eq!(wrong(&json!("x")), only("", "expected an object, not a text"));
    }

    #[test]
    fn the_content_of_a_payment_never_changes_its_form() {
        assert_eq!(
            content(&read_it(&good()).unwrap()).unwrap(),
            "{\"counterparty\":\"c1\",\"manager\":null,\"amount\":\"12345.67\",\
             \"currency\":\"RUB\",\"paid_at\":\"2026-03-05T11:07:00Z\",\"order\":null,\
             \"purpose\":null,\"priority\":0,\"hold\":null,\"mismatch\":null,\"user_id\":null,\
             \"author_id\":null,\"text\":null}"
        );
    }

    #[test]
    fn the_same_payment_written_differently_has_the_same_content() {
        let same = json!({
            "paid_at": "2026-03-05T11:07:00.000Z",
            "key": "k1",
            "amount": "12345.67",
            "currency": "RUB",
            "counterparty": "c1",
            "priority": 0,
            "purpose": "",
            "text": null,
        });
        let content_of = |body: &Value| content(&read_it(body).unwrap()).unwrap();
        assert_eq!(content_of(&same), content_of(&good()));
        for other in [with("amount", "12345.68"), with("priority", 1), with("purpose", "x")] {
            assert_ne!(content_of(&other), content_of(&good()));
        }
    }

    #[test]
    fn a_command_needs_a_reason() {
        assert_eq!(read_reason(br#"{"reason": "asked to wait"}"#).unwrap(), "asked to wait");
        let told = |body: &str| read_reason(body.as_bytes()).unwrap_err();
        let required = [FieldError::new("/reason", "it is required")];
        assert_eq!(told("{}").errors(), required);
        assert_eq!(told(r#"{"reason": " "}"#).errors(), required);
        let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(501));
        let message = "it has 501 characters; at most 500 are kept";
        assert_eq!(told(&long).errors(), [FieldError::new("/reason", message)]);
        assert_eq!(
            told(""),
            Problem::new(Code::InvalidJson, "the body ends too early (line 1, column 0)")
        );
    }

    #[test]
    fn a_refused_command_says_why() {
        assert_eq!(
            refusal(&CommandRefused::BeingSent),
            Problem::new(
                Code::BeingSent,
                "its message is being sent at this moment; try again in a few seconds"
            )
        );
        let closed = CommandRefused::WrongState {
            state: PaymentState::Closed,
            command: "release",
            allowed: "held",
        };
        let sentence = "it is closed, and release is possible only while it is held";
        assert_eq!(refusal(&closed), Problem::new(Code::WrongState, sentence));
    }

    #[test]
    fn a_list_is_filtered_and_a_cursor_goes_there_and_back() {
        let at = Time::from_micros(1_234_567);
        let query = format!(
            "state=in_doubt&manager=m1&counterparty=c1&key=k1&limit=7&cursor={}\
             &updated_after=2026-03-05T14:07:00%2B03:00",
            page::after(at, "p 1")
        );
        assert_eq!(
            read_filter(Some(&query)).unwrap(),
            PaymentFilter {
                state: Some(PaymentState::InDoubt),
                manager: Some("m1".into()),
                counterparty: Some("c1".into()),
                key: Some("k1".to_owned()),
                updated_after: Time::parse_rfc3339("2026-03-05T11:07:00Z"),
                cursor: Some(Cursor { at, id: "p 1".to_owned() }),
                limit: 7,
            }
        );
        let all = PaymentFilter { limit: 100, ..PaymentFilter::default() };
        assert_eq!(read_filter(None).unwrap(), all);
    }

    #[test]
    fn a_query_that_is_wrong_is_refused() {
        let query = "state=lost&limit=501&cursor=MCAA&updated_after=2026-03-05T14:07:00+03:00&x=1";
        assert_eq!(
            read_filter(Some(query)).unwrap_err().errors(),
            [
                FieldError::new(
                    "?x",
                    "unknown parameter; expected one of state, manager, counterparty, key, \
                     updated_after, limit, cursor"
                ),
                FieldError::new(
                    "?state",
                    "expected one of held, queued, sending, in_doubt, dispatched, closed, \
                     rejected, cancelled"
                ),
                FieldError::new(
                    "?updated_after",
                    "expected a time such as 2026-03-05T11:07:00Z, with + written as %2B"
                ),
                FieldError::new("?cursor", "expected the next_cursor of the page before"),
                FieldError::new("?limit", "expected a whole number from 1 to 500"),
            ]
        );
    }
}
