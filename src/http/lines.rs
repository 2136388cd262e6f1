//! Lines and what is open on them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use crate::core::id::{LineId, PaymentId};
use crate::core::line::LineState;
use crate::core::time::Time;
use crate::http::Context;
use crate::http::fields::{Errors, Fields, Query, REASON_CHARS, one_of, parse_json, path_id};
use crate::http::page::{self, Page};
use crate::http::payments::read_reason;
use crate::http::problem::Problem;
use crate::store::{HookRecord, LineFilter, LineReport, TreatmentRecord};

/// A line with its occupancy.
#[derive(Serialize)]
pub(super) struct LineOut {
    line_id: String,
    name: String,
    manager: String,
    enabled: bool,
    present: bool,
    capacity: i64,
    position: i64,
    state: &'static str,
    since: String,
    known_at: Option<String>,
    sureness: SurenessOut,
    last_event_at: Option<String>,
    looked_at: Option<String>,
    next_look_at: Option<String>,
    paused: Option<String>,
    treatments: Vec<OpenOut>,
    /// The first of `reservations`: most lines serve one treatment at a time.
    reservation: Option<ReservationOut>,
    reservations: Vec<ReservationOut>,
    hooks: Vec<HookOut>,
}

/// How sure the state is, and how old.
#[derive(Serialize)]
struct SurenessOut {
    code: &'static str,
    text: &'static str,
    /// Since the state was last sure.
    age_seconds: Option<i64>,
}

#[derive(Serialize)]
struct OpenOut {
    treatment_id: String,
    user_id: String,
    opened_at: String,
    last_event_at: String,
    payment_id: Option<String>,
}

#[derive(Clone, Serialize)]
struct ReservationOut {
    payment_id: String,
    since: String,
}

/// What is known of one hook.
#[derive(Serialize)]
pub(super) struct HookOut {
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) url: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) checked_at: String,
}

impl From<HookRecord> for HookOut {
    fn from(hook: HookRecord) -> Self {
        Self {
            kind: hook.kind.as_str(),
            state: hook.state.as_str(),
            url: hook.url,
            detail: hook.detail,
            checked_at: hook.checked_at.to_string(),
        }
    }
}

impl LineOut {
    fn of(line: LineReport, now: Time) -> Self {
        let (sureness, sure_at) = line.signs.sureness(now, line.look_after_silence);
        let sureness = SurenessOut {
            code: sureness.as_str(),
            text: sureness.words(),
            age_seconds: sure_at.map(|at| now.since(at).whole_secs()),
        };
        let written = |at: Time| at.to_string();
        let open = |treatment: TreatmentRecord| OpenOut {
            treatment_id: treatment.id.to_string(),
            user_id: treatment.user.to_string(),
            opened_at: treatment.opened_at.to_string(),
            last_event_at: treatment.last_event_at.to_string(),
            payment_id: treatment.payment.map(|id| id.to_string()),
        };
        let reservation = |(payment, since): (PaymentId, Time)| ReservationOut {
            payment_id: payment.to_string(),
            since: since.to_string(),
        };
        let reservations: Vec<_> = line.reservations.into_iter().map(reservation).collect();
        Self {
            line_id: line.entry.line.to_string(),
            name: line.entry.name,
            manager: line.entry.manager.to_string(),
            enabled: line.entry.enabled,
            present: line.present,
            capacity: line.entry.capacity,
            position: line.entry.position,
            state: line.state.as_str(),
            since: line.since.to_string(),
            known_at: line.known_at.map(written),
            sureness,
            last_event_at: line.signs.heard_at.map(written),
            looked_at: line.signs.looked_at.map(written),
            next_look_at: line.signs.look_at.map(written),
            paused: line.paused,
            treatments: line.treatments.into_iter().map(open).collect(),
            reservation: reservations.first().cloned(),
            reservations,
            hooks: line.hooks.into_iter().map(Into::into).collect(),
        }
    }
}

/// `GET /lines`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<LineOut>>, Problem> {
    let filter = read_filter(query.as_deref())?;
    let wanted = LineFilter { limit: filter.limit + 1, ..filter.clone() };
    let found = context.store.list_lines(&wanted).await?;
    let cursor = |line: &LineReport| page::after_name(line.entry.line.as_str());
    let now = context.clock.now();
    let out = |line| LineOut::of(line, now);
    Ok(Json(Page::of(found, filter.limit, cursor, out)))
}

fn read_filter(query: Option<&str>) -> Result<LineFilter, Problem> {
    let query = Query::parse(query, &["manager", "state", "limit", "cursor"]);
    let states = one_of(LineState::ALL.iter().map(|state| state.as_str()));
    let filter = LineFilter {
        line: None,
        manager: query.text("manager"),
        state: query.parsed("state", &states, LineState::parse),
        after: page::name_cursor(&query).map(LineId::new),
        limit: page::limit(&query),
    };
    query.finish(filter)
}

/// `GET /lines/{line_id}`.
pub(super) async fn show(
    State(context): State<Context>,
    Path(line_id): Path<String>,
) -> Result<Json<LineOut>, Problem> {
    one(&context, path_id(line_id, "line")?).await
}

async fn one(context: &Context, line: LineId) -> Result<Json<LineOut>, Problem> {
    let filter = LineFilter { line: Some(line), limit: 1, ..LineFilter::default() };
    let found = context.store.list_lines(&filter).await?.pop();
    let now = context.clock.now();
    found.map(|line| Json(LineOut::of(line, now))).ok_or_else(|| Problem::not_found("line"))
}

/// `POST /lines/{line_id}/pause`.
pub(super) async fn pause(
    State(context): State<Context>,
    Path(line_id): Path<String>,
    body: Bytes,
) -> Result<Json<LineOut>, Problem> {
    let line = path_id(line_id, "line")?;
    let reason = read_reason(&body)?;
    set_paused(&context, line, Some(&reason)).await
}

/// `POST /lines/{line_id}/resume`.
pub(super) async fn resume(
    State(context): State<Context>,
    Path(line_id): Path<String>,
    body: Bytes,
) -> Result<Json<LineOut>, Problem> {
    let line = path_id(line_id, "line")?;
    check_resume(&body)?;
    set_paused(&context, line, None).await
}

/// A body may be left out; its reason is read so that a client may always send one.
fn check_resume(body: &[u8]) -> Result<(), Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let value = parse_json(body)?;
    let errors = Errors::default();
    let read = Fields::of(&value, "", &["reason"], &errors)
        .map(|fields| fields.text("reason", REASON_CHARS));
    errors.finish(read).map(|_| ()).map_err(Problem::validation)
}

async fn set_paused(
    context: &Context,
    line: LineId,
    reason: Option<&str>,
) -> Result<Json<LineOut>, Problem> {
    if !context.store.pause_line(&line, reason, context.clock.now()).await? {
        return Err(Problem::not_found("line"));
    }
    one(context, line).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::silence::Signs;
    use crate::core::time::Span;
    use crate::http::problem::FieldError;
    use crate::store::{HookState, LineEntry, StoredHookKind};

    #[test]
    fn a_line_is_shown_whole_and_what_is_absent_is_null() {
        let at = Time::from_micros(0);
        let line = LineReport {
            entry: LineEntry {
                line: "l1".into(),
                name: "Линия 1".to_owned(),
                manager: "m1".into(),
                capacity: 2,
                position: 3,
                enabled: true,
            },
            present: true,
            paused: None,
            state: LineState::Reserved,
            since: at,
            known_at: None,
            signs: Signs { heard_at: Some(at), look_at: Some(at), ..Signs::default() },
            look_after_silence: Span::from_secs(7_200),
            treatments: Vec::new(),
            reservations: vec![("p1".into(), at), ("p2".into(), at)],
            hooks: vec![HookRecord {
                kind: StoredHookKind::Bot,
                state: HookState::NotAllowed,
                url: None,
                fingerprint: Some("secret digest".to_owned()),
                detail: Some("no bot".to_owned()),
                checked_at: at,
            }],
        };
        let epoch = "1970-01-01T00:00:00Z";
        assert_eq!(
            serde_json::to_value(LineOut::of(line, at)).unwrap(),
            json!({
                "line_id": "l1", "name": "Линия 1", "manager": "m1", "enabled": true,
                "present": true, "capacity": 2, "position": 3, "state": "reserved",
                "since": epoch, "known_at": null, "paused": null, "treatments": [],
                "sureness": {"code": "unknown", "age_seconds": null,
                    "text": "its hooks are not all set, or it was not looked at since"},
                "last_event_at": epoch, "looked_at": null, "next_look_at": epoch,
                "reservation": {"payment_id": "p1", "since": epoch},
                "reservations": [
                    {"payment_id": "p1", "since": epoch},
                    {"payment_id": "p2", "since": epoch},
                ],
                "hooks": [{"kind": "bot", "state": "not_allowed", "url": null,
                    "detail": "no bot", "checked_at": epoch}],
            })
        );
    }

    #[test]
    fn a_list_is_filtered() {
        let query = format!("manager=m1&state=busy&limit=5&cursor={}", page::after_name("l 1"));
        assert_eq!(
            read_filter(Some(&query)).unwrap(),
            LineFilter {
                line: None,
                manager: Some("m1".into()),
                state: Some(LineState::Busy),
                after: Some("l 1".into()),
                limit: 5,
            }
        );
        let states = "expected one of free, busy, reserved, paused, disabled, unknown";
        assert_eq!(
            read_filter(Some("state=gone")).unwrap_err().errors(),
            [FieldError::new("?state", states)]
        );
    }

    #[test]
    fn a_line_is_resumed_without_a_body_or_with_a_reason() {
        for body in ["", " \n", "{}", r#"{"reason": "repaired"}"#] {
            assert_eq!(check_resume(body.as_bytes()), Ok(()), "{body}");
        }
        let unknown = FieldError::new("/raeson", "unknown field; expected one of reason");
        assert_eq!(check_resume(br#"{"raeson": "x"}"#).unwrap_err().errors(), [unknown]);
        assert!(check_resume(b"{").is_err());
    }
}
