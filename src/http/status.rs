//! The state of the whole: counts, ages, and the services we depend on.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::core::id::LineId;
use crate::core::line::LineState;
use crate::core::payment::PaymentState;
use crate::core::silence::Sureness;
use crate::core::time::Time;
use crate::findings::Report;
use crate::health::Dependency;
use crate::http::Context;
use crate::http::lines::HookOut;
use crate::http::problem::Problem;
use crate::store::{EventState, HookRecord, PushReport, StatusReport, StoredHookKind};

type Counts = BTreeMap<String, i64>;

/// The whole at one look.
#[derive(Serialize)]
pub(super) struct StatusOut {
    payments: Counts,
    lines: Counts,
    sureness: Counts,
    oldest_silence: Option<SilenceOut>,
    events: Counts,
    notices: Counts,
    oldest_waiting: Option<WaitingOut>,
    last_event_at: Option<String>,
    hooks: BTreeMap<&'static str, Counts>,
    hook_problems: Vec<HookProblemOut>,
    platform: DependencyOut,
    mail: MailOut,
    push: Option<PushOut>,
    audit: AuditOut,
}

/// How the sending of changes goes.
#[derive(Serialize)]
struct PushOut {
    waiting: i64,
    oldest_waiting_at: Option<String>,
    parked: i64,
    /// Since when the receiver wants nothing more.
    stopped_at: Option<String>,
}

impl From<PushReport> for PushOut {
    fn from(report: PushReport) -> Self {
        Self {
            waiting: report.waiting,
            oldest_waiting_at: report.oldest_waiting.map(|at| at.to_string()),
            parked: report.parked,
            stopped_at: report.stopped_at.map(|at| at.to_string()),
        }
    }
}

/// What the auditor found: promises that are broken.
#[derive(Serialize)]
struct AuditOut {
    /// `null` before the first audit.
    at: Option<String>,
    breaches: Vec<BreachOut>,
    /// How many more there are.
    others: usize,
}

#[derive(Serialize)]
struct BreachOut {
    code: &'static str,
    detail: String,
    since: String,
}

impl From<Report> for AuditOut {
    fn from(report: Report) -> Self {
        let breaches = report.findings.into_iter().map(|finding| BreachOut {
            code: finding.breach.code(),
            detail: finding.breach.to_string(),
            since: finding.since.to_string(),
        });
        Self {
            at: report.audited_at.map(|at| at.to_string()),
            breaches: breaches.collect(),
            others: report.others,
        }
    }
}

#[derive(Serialize)]
struct WaitingOut {
    received_at: String,
    age_seconds: i64,
}

/// The line whose state is unsure for longest.
#[derive(Serialize)]
struct SilenceOut {
    line_id: String,
    since: String,
    age_seconds: i64,
}

#[derive(Serialize)]
struct HookProblemOut {
    line_id: String,
    #[serde(flatten)]
    hook: HookOut,
}

/// What is known of a service we depend on.
#[derive(PartialEq, Debug, Serialize)]
pub(super) struct DependencyOut {
    /// `null` until it is called for the first time.
    reachable: Option<bool>,
    /// When it last answered.
    at: Option<String>,
    /// Since when it does not answer.
    since: Option<String>,
    detail: Option<String>,
}

impl From<Dependency> for DependencyOut {
    fn from(dependency: Dependency) -> Self {
        match dependency {
            Dependency::Untried => Self { reachable: None, at: None, since: None, detail: None },
            Dependency::Up { at } => {
                let at = Some(at.to_string());
                Self { reachable: Some(true), at, since: None, detail: None }
            }
            Dependency::Down { since, detail } => {
                let since = Some(since.to_string());
                Self { reachable: Some(false), at: None, since, detail: Some(detail) }
            }
        }
    }
}

#[derive(Serialize)]
struct MailOut {
    configured: bool,
    #[serde(flatten)]
    state: DependencyOut,
}

/// `GET /status`.
pub(super) async fn show(State(context): State<Context>) -> Result<Json<StatusOut>, Problem> {
    let now = context.clock.now();
    let report = context.store.status(now).await?;
    let platform = context.health.platform().into();
    let mail = MailOut { configured: context.mail_configured, state: context.health.mail().into() };
    let push = context.store.push_report().await?.map(Into::into);
    let audit = context.findings.report().into();
    Ok(Json(status(report, Around { platform, mail, push, audit }, now)))
}

/// What this process knows without its database.
struct Around {
    platform: DependencyOut,
    mail: MailOut,
    push: Option<PushOut>,
    audit: AuditOut,
}

fn status(report: StatusReport, around: Around, now: Time) -> StatusOut {
    let waiting = |received_at: Time| WaitingOut {
        received_at: received_at.to_string(),
        age_seconds: now.since(received_at).whole_secs(),
    };
    let mut hooks: BTreeMap<&'static str, Counts> =
        StoredHookKind::ALL.iter().map(|kind| (kind.as_str(), Counts::new())).collect();
    for (kind, state, n) in report.hooks {
        hooks.entry(kind.as_str()).or_default().insert(state.to_string(), n);
    }
    let problem = |(line, hook): (LineId, HookRecord)| HookProblemOut {
        line_id: line.to_string(),
        hook: hook.into(),
    };
    let silence = |(line, since): (LineId, Time)| SilenceOut {
        line_id: line.to_string(),
        since: since.to_string(),
        age_seconds: now.since(since).whole_secs(),
    };
    StatusOut {
        payments: counts(PaymentState::ALL, report.payments),
        lines: counts(LineState::ALL, report.lines),
        sureness: counts(Sureness::ALL, report.sureness),
        oldest_silence: report.oldest_silence.map(silence),
        events: counts(&[EventState::New, EventState::Quarantined], report.events),
        notices: report.notices.into_iter().collect(),
        oldest_waiting: report.oldest_waiting.map(waiting),
        last_event_at: report.last_event.map(|at| at.to_string()),
        hooks,
        hook_problems: report.hook_problems.into_iter().map(problem).collect(),
        platform: around.platform,
        mail: around.mail,
        push: around.push,
        audit: around.audit,
    }
}

/// Counts by state, with a zero for each state that nothing is in.
fn counts<S: Copy + ToString>(states: &[S], counted: Vec<(S, i64)>) -> Counts {
    let mut counts: Counts = states.iter().map(|state| (state.to_string(), 0)).collect();
    counts.extend(counted.into_iter().map(|(state, n)| (state.to_string(), n)));
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::invariant::Breach;
    use crate::findings::Finding;
    use crate::store::HookState;

    #[test]
    fn every_state_is_there_and_what_is_not_known_is_null() {
        let now = Time::parse_rfc3339("2026-03-05T11:07:30.5Z").unwrap();
        let foreign = HookRecord {
            kind: StoredHookKind::Line,
            state: HookState::Foreign,
            url: Some("https://elsewhere.example/".to_owned()),
            fingerprint: None,
            detail: None,
            checked_at: now,
        };
        let report = StatusReport {
            payments: vec![(PaymentState::Queued, 3)],
            lines: vec![(LineState::Busy, 2)],
            sureness: vec![(Sureness::Silent, 1)],
            oldest_silence: Time::parse_rfc3339("2026-03-05T09:06:30Z").map(|at| ("l1".into(), at)),
            events: vec![(EventState::New, 1)],
            notices: vec![("sent".to_owned(), 4)],
            oldest_waiting: Time::parse_rfc3339("2026-03-05T11:07:00Z"),
            last_event: None,
            hooks: vec![(StoredHookKind::Line, HookState::Set, 8)],
            hook_problems: vec![("l1".into(), foreign)],
        };
        let down = Dependency::Down { since: now, detail: "no route".to_owned() };
        let mail = MailOut { configured: false, state: Dependency::Untried.into() };
        let finding = Finding { breach: Breach::SentTwice("p1".into()), since: now };
        let audit = Report { audited_at: Some(now), findings: vec![finding], others: 0 };
        let push = Some(PushReport::default().into());
        let around = Around { platform: down.into(), mail, push, audit: audit.into() };
        assert_eq!(
            serde_json::to_value(status(report, around, now)).unwrap(),
            json!({
                "payments": {"held": 0, "queued": 3, "sending": 0, "in_doubt": 0,
                    "dispatched": 0, "closed": 0, "rejected": 0, "cancelled": 0},
                "lines": {"free": 0, "busy": 2, "reserved": 0, "paused": 0, "disabled": 0,
                    "unknown": 0},
                "sureness": {"heard": 0, "looked": 0, "idle": 0, "silent": 1, "unknown": 0},
                "oldest_silence": {"line_id": "l1", "since": "2026-03-05T09:06:30Z",
                    "age_seconds": 7_260},
                "events": {"new": 1, "quarantined": 0},
                "notices": {"sent": 4},
                "oldest_waiting": {"received_at": "2026-03-05T11:07:00Z", "age_seconds": 30},
                "last_event_at": null,
                "hooks": {"line": {"set": 8}, "bot": {}},
                "hook_problems": [{"line_id": "l1", "kind": "line", "state": "foreign",
                    "url": "https://elsewhere.example/", "detail": null,
                    "checked_at": "2026-03-05T11:07:30.5Z"}],
                "platform": {"reachable": false, "at": null, "since": "2026-03-05T11:07:30.5Z",
                    "detail": "no route"},
                "mail": {"configured": false, "reachable": null, "at": null, "since": null,
                    "detail": null},
                "push": {"waiting": 0, "oldest_waiting_at": null, "parked": 0, "stopped_at": null},
                "audit": {"at": "2026-03-05T11:07:30.5Z", "others": 0, "breaches": [
                    {"code": "sent_twice", "since": "2026-03-05T11:07:30.5Z",
                        "detail": "payment p1 has several dispatches under way or taken"}]},
            })
        );
    }
}
