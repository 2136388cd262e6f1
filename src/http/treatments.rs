//! Treatments.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use crate::core::id::TreatmentId;
use crate::http::Context;
use crate::http::fields::{Query, path_id};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::store::{TreatmentFilter, TreatmentRecord};

/// A treatment as it stands.
#[derive(Serialize)]
pub(super) struct TreatmentOut {
    treatment_id: String,
    line_id: String,
    user_id: String,
    state: &'static str,
    opened_at: String,
    opener: &'static str,
    last_event_at: String,
    closed_at: Option<String>,
    end_kind: Option<&'static str>,
    moved_to: Option<String>,
    payment_id: Option<String>,
}

impl From<TreatmentRecord> for TreatmentOut {
    fn from(treatment: TreatmentRecord) -> Self {
        Self {
            treatment_id: treatment.id.to_string(),
            line_id: treatment.line.to_string(),
            user_id: treatment.user.to_string(),
            state: if treatment.ended.is_some() { "closed" } else { "open" },
            opened_at: treatment.opened_at.to_string(),
            opener: treatment.opener.as_str(),
            last_event_at: treatment.last_event_at.to_string(),
            closed_at: treatment.ended.map(|(at, _)| at.to_string()),
            end_kind: treatment.ended.map(|(_, kind)| kind.as_str()),
            moved_to: treatment.moved_to.map(|id| id.to_string()),
            payment_id: treatment.payment.map(|id| id.to_string()),
        }
    }
}

/// `GET /treatments`.
pub(super) async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<TreatmentOut>>, Problem> {
    let filter = read_filter(query.as_deref())?;
    let wanted = TreatmentFilter { limit: filter.limit + 1, ..filter.clone() };
    let found = context.store.list_treatments(&wanted).await?;
    let cursor =
        |treatment: &TreatmentRecord| page::after(treatment.opened_at, treatment.id.as_str());
    Ok(Json(Page::of(found, filter.limit, cursor, Into::into)))
}

fn read_filter(query: Option<&str>) -> Result<TreatmentFilter, Problem> {
    let query = Query::parse(query, &["state", "line_id", "user_id", "limit", "cursor"]);
    let open = query.parsed("state", "open or closed", |state| match state {
        "open" => Some(true),
        "closed" => Some(false),
        _ => None,
    });
    let filter = TreatmentFilter {
        open,
        line: query.text("line_id"),
        user: query.text("user_id"),
        cursor: page::cursor(&query),
        limit: page::limit(&query),
    };
    query.finish(filter)
}

/// `GET /treatments/{treatment_id}`.
pub(super) async fn show(
    State(context): State<Context>,
    Path(treatment_id): Path<String>,
) -> Result<Json<TreatmentOut>, Problem> {
    Ok(Json(one(&context, &path_id(treatment_id, "treatment")?).await?.into()))
}

pub(super) async fn one(context: &Context, id: &TreatmentId) -> Result<TreatmentRecord, Problem> {
    context.store.treatment(id).await?.ok_or_else(|| Problem::not_found("treatment"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::time::Time;
    use crate::core::treatment::{EndKind, Opener};
    use crate::http::problem::FieldError;
    use crate::store::Cursor;

    #[test]
    fn a_treatment_is_open_until_it_ended() {
        let at = Time::from_micros(0);
        let mut treatment = TreatmentRecord {
            id: "t1".into(),
            line: "l1".into(),
            user: "u1".into(),
            opened_at: at,
            opener: Opener::User,
            last_event_at: at,
            ended: None,
            moved_to: None,
            payment: None,
        };
        let epoch = "1970-01-01T00:00:00Z";
        let mut expected = json!({
            "treatment_id": "t1", "line_id": "l1", "user_id": "u1", "state": "open",
            "opened_at": epoch, "opener": "user", "last_event_at": epoch, "closed_at": null,
            "end_kind": null, "moved_to": null, "payment_id": null,
        });
        let shown = |treatment: &TreatmentRecord| {
            serde_json::to_value(TreatmentOut::from(treatment.clone())).unwrap()
        };
        assert_eq!(shown(&treatment), expected);
        treatment.ended = Some((at, EndKind::Moved));
        treatment.moved_to = Some("t2".into());
        expected["state"] = "closed".into();
        expected["closed_at"] = epoch.into();
        expected["end_kind"] = "moved".into();
        expected["moved_to"] = "t2".into();
        assert_eq!(shown(&treatment), expected);
    }

    #[test]
    fn a_list_is_filtered_and_a_cursor_goes_there_and_back() {
        let at = Time::from_micros(-5);
        let query = format!("state=closed&line_id=l1&user_id=u1&cursor={}", page::after(at, "t1"));
        assert_eq!(
            read_filter(Some(&query)).unwrap(),
            TreatmentFilter {
                open: Some(false),
                line: Some("l1".into()),
                user: Some("u1".into()),
                cursor: Some(Cursor { at, id: "t1".to_owned() }),
                limit: 100,
            }
        );
        assert_eq!(
            read_filter(Some("state=ended")).unwrap_err().errors(),
            [FieldError::new("?state", "expected open or closed")]
        );
    }
}
