//! Payments: taken in, looked at, and moved by people.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;

use crate::core::id::PaymentId;
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
        counterparty: payment.counterparty.as_ref().map(|id| id.as_str()),
        manager: payment.manager.as_ref().map(|id| id.as_str()),
        amount: amount(payment.amount),
        currency: &payment.currency,
        paid_at: payment.paid_at.to_string(),
        order: payment.order.as_deref(),
        purpose: payment.purpose.as_deref(),
        priority: payment.priority,
        hold: payment.hold.as_deref(),
        mismatch: payment.mismatch.as_deref(),
        user_id: payment.user.as_ref().map(|id| id.as_str()),
        author_id: payment.author.as_ref().map(|id| id.as_str()),
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
