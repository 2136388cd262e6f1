//! Treatments, for reading.

use sqlx::FromRow;

use super::rows::{TREATMENT, TreatmentReportRow, time};
use super::{Conn, Statement};
use crate::core::id::TreatmentId;
use crate::store::error::Doing;
use crate::store::{ConversationRecord, Result, TreatmentFilter, TreatmentRecord};

/// The payment that a treatment serves: the first one, should several have ended up in it.
pub(super) const PAYMENT_OF: &str = ", (SELECT MIN(d.payment_id) FROM dispatches d \
     WHERE d.treatment_id IS NOT NULL AND d.treatment_id = t.treatment_id) AS payment_id";

pub(super) async fn list(
    conn: &mut Conn,
    filter: &TreatmentFilter,
) -> Result<Vec<TreatmentRecord>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(TREATMENT).push(PAYMENT_OF);
    push_filter(&mut wanted, filter);
    fetch(conn, &mut wanted).await
}

/// How much was said in a treatment, and when last.
const SAID_IN: &str = ", (SELECT COUNT(*) FROM utterances u WHERE u.treatment_id IS NOT NULL \
     AND u.treatment_id = t.treatment_id) AS messages, (SELECT MAX(u.at) FROM utterances u \
     WHERE u.treatment_id IS NOT NULL AND u.treatment_id = t.treatment_id) AS last_message_at";

#[derive(FromRow)]
struct ConversationRow {
    #[sqlx(flatten)]
    treatment: TreatmentReportRow,
    messages: i64,
    last_message_at: Option<i64>,
}

pub(super) async fn list_conversations(
    conn: &mut Conn,
    filter: &TreatmentFilter,
) -> Result<Vec<ConversationRecord>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(TREATMENT).push(PAYMENT_OF).push(SAID_IN);
    push_filter(&mut wanted, filter);
    let rows: Vec<ConversationRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("list conversations")?;
    let record = |row: ConversationRow| {
        Ok(ConversationRecord {
            treatment: row.treatment.into_record()?,
            messages: row.messages,
            last_message_at: time(row.last_message_at),
        })
    };
    rows.into_iter().map(record).collect()
}

/// ` FROM treatments t`, the page of them that is asked for.
fn push_filter(wanted: &mut Statement, filter: &TreatmentFilter) {
    wanted.push(" FROM treatments t WHERE 1 = 1");
    match filter.open {
        Some(true) => {
            wanted.push(" AND t.ended_at IS NULL");
        }
        Some(false) => {
            wanted.push(" AND t.ended_at IS NOT NULL");
        }
        None => {}
    }
    if let Some(line) = &filter.line {
        wanted.push(" AND t.line_id = ").push_bind(line.as_str().to_owned());
    }
    if let Some(user) = &filter.user {
        wanted.push(" AND t.user_id = ").push_bind(user.as_str().to_owned());
    }
    if let Some(cursor) = &filter.cursor {
        wanted.push(" AND (t.opened_at < ").push_bind(cursor.at.micros());
        wanted.push(" OR (t.opened_at = ").push_bind(cursor.at.micros());
        wanted.push(" AND t.treatment_id < ").push_bind(cursor.id.clone()).push("))");
    }
    wanted.push(" ORDER BY t.opened_at DESC, t.treatment_id DESC LIMIT ");
    wanted.push_bind(filter.limit);
}

pub(super) async fn one(conn: &mut Conn, id: &TreatmentId) -> Result<Option<TreatmentRecord>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(TREATMENT).push(PAYMENT_OF).push(" FROM treatments t WHERE t.treatment_id = ");
    wanted.push_bind(id.as_str().to_owned());
    Ok(fetch(conn, &mut wanted).await?.pop())
}

async fn fetch(conn: &mut Conn, wanted: &mut Statement) -> Result<Vec<TreatmentRecord>> {
    let rows: Vec<TreatmentReportRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("list treatments")?;
    rows.into_iter().map(TreatmentReportRow::into_record).collect()
}
