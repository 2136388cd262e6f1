//! What an auditor looks at: everything that is under way, and a page of what is not, as it was at
//! one moment.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{DISPATCH, LineRow, PAYMENT, PaymentRow, TREATMENT};
use super::view::{fetch_dispatches, fetch_treatments};
use super::{Conn, Statement, in_list, lines};
use crate::core::dispatch::Dispatch;
use crate::core::id::{PaymentId, TreatmentId};
use crate::core::payment::Payment;
use crate::core::time::{Span, Time};
use crate::store::error::Doing;
use crate::store::{Audited, Cursor, Result};

/// Payments of one page, and waiting ones looked at beside free lines.
const PAGE: i64 = 1_000;
/// Lines, dispatches under way and open treatments looked at, each.
const UNDER_WAY_MAX: i64 = 10_000;
/// A manager who is due within this time is about to be looked at: our clock may have been set back
/// since that was written.
const SOON: Span = Span::from_secs(60);
/// Values bound in one statement.
const VALUES: usize = 1_000;

pub(super) async fn load(
    conn: &mut Conn,
    after: Option<&Cursor>,
    again: &[PaymentId],
    now: Time,
) -> Result<Audited> {
    let mut audited = Audited { at_rest: is_at_rest(conn, now).await?, ..Audited::default() };
    load_lines(conn, &mut audited).await?;
    let mut dispatches = BTreeMap::new();
    for dispatch in active(conn).await? {
        dispatches.insert(dispatch.id, dispatch);
    }
    let mut wanted: BTreeSet<PaymentId> = again.iter().cloned().collect();
    wanted.extend(dispatches.values().map(|dispatch| dispatch.payment.clone()));
    let mut payments: BTreeMap<PaymentId, Payment> = BTreeMap::new();
    audited.next = page(conn, after, &mut payments).await?;
    audited.has_more = i64::try_from(payments.len()).is_ok_and(|n| n == PAGE);
    waiting_beside_free_lines(conn, &mut payments).await?;
    by_ids(conn, &wanted, &mut payments).await?;
    let ids: Vec<PaymentId> = payments.keys().cloned().collect();
    for chunk in ids.chunks(VALUES) {
        let mut of_payments = Statement::new("SELECT ");
        of_payments.push(DISPATCH).push(" FROM dispatches d WHERE d.payment_id");
        in_list(&mut of_payments, chunk);
        for dispatch in fetch_dispatches(conn, &mut of_payments).await? {
            dispatches.insert(dispatch.id, dispatch);
        }
        let mut notices =
            Statement::new("SELECT payment_id, episode FROM notices WHERE payment_id");
        in_list(&mut notices, chunk);
        let rows: Vec<(String, i64)> =
            notices.build_query_as().fetch_all(&mut *conn).await.doing("load notices")?;
        audited.notices.extend(rows.into_iter().map(|(id, episode)| (id.into(), episode)));
    }
    audited.dispatches = dispatches.into_values().collect();
    audited.payments = payments.into_values().collect();
    load_treatments(conn, &mut audited).await?;
    load_refusals(conn, &mut audited, now).await?;
    Ok(audited)
}

/// Whether the workers have looked at all there is: only then may nothing wait beside a free line.
async fn is_at_rest(conn: &mut Conn, now: Time) -> Result<bool> {
    let mut busy = Statement::new(
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM events WHERE state = 'new' LIMIT 1) AS e) \
         + (SELECT COUNT(*) FROM (SELECT 1 FROM payments WHERE recheck = 1 LIMIT 1) AS p) \
         + (SELECT COUNT(*) FROM (SELECT 1 FROM managers WHERE due_at IS NOT NULL AND due_at <= ",
    );
    busy.push_bind(now.plus(SOON).micros()).push(" LIMIT 1) AS m)");
    let (found,): (i64,) =
        busy.build_query_as().fetch_one(conn).await.doing("see whether the workers rest")?;
    Ok(found == 0)
}

async fn load_lines(conn: &mut Conn, audited: &mut Audited) -> Result<()> {
    let mut wanted = lines::select();
    wanted.push("l.present = 1 ORDER BY l.line_id LIMIT ").push_bind(UNDER_WAY_MAX);
    let rows = lines::load(conn, &mut wanted).await?;
    audited.lines = rows.iter().map(LineRow::to_line).collect();
    Ok(())
}

async fn active(conn: &mut Conn) -> Result<Vec<Dispatch>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(DISPATCH).push(
        " FROM dispatches d WHERE d.phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open') \
         ORDER BY d.line_id, d.user_id LIMIT ",
    );
    wanted.push_bind(UNDER_WAY_MAX);
    fetch_dispatches(conn, &mut wanted).await
}

/// The payments that changed next after `after`; answers the last of them.
async fn page(
    conn: &mut Conn,
    after: Option<&Cursor>,
    payments: &mut BTreeMap<PaymentId, Payment>,
) -> Result<Option<Cursor>> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(" FROM payments p");
    if let Some(after) = after {
        wanted.push(" WHERE p.updated_at > ").push_bind(after.at.micros());
        wanted.push(" OR (p.updated_at = ").push_bind(after.at.micros());
        wanted.push(" AND p.id > ").push_bind(after.id.clone()).push(")");
    }
    wanted.push(" ORDER BY p.updated_at, p.id LIMIT ").push_bind(PAGE);
    let rows: Vec<PaymentRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load changed payments")?;
    let last = rows.last().map(PaymentRow::to_cursor);
    for row in rows {
        let payment = row.to_payment()?;
        payments.insert(payment.id.clone(), payment);
    }
    Ok(last)
}

async fn waiting_beside_free_lines(
    conn: &mut Conn,
    payments: &mut BTreeMap<PaymentId, Payment>,
) -> Result<()> {
    let mut wanted = Statement::new("SELECT ");
    wanted.push(PAYMENT).push(
        " FROM payments p WHERE p.state = 'queued' AND p.manager_id IN \
         (SELECT manager_id FROM lines WHERE state = 'free') \
         ORDER BY p.received_at, p.id LIMIT ",
    );
    wanted.push_bind(PAGE);
    keep(conn, &mut wanted, payments).await
}

async fn by_ids(
    conn: &mut Conn,
    wanted: &BTreeSet<PaymentId>,
    payments: &mut BTreeMap<PaymentId, Payment>,
) -> Result<()> {
    let missing: Vec<&PaymentId> = wanted.iter().filter(|id| !payments.contains_key(*id)).collect();
    for chunk in missing.chunks(VALUES) {
        let mut named = Statement::new("SELECT ");
        named.push(PAYMENT).push(" FROM payments p WHERE p.id");
        in_list(&mut named, chunk);
        keep(conn, &mut named, payments).await?;
    }
    Ok(())
}

async fn keep(
    conn: &mut Conn,
    wanted: &mut Statement,
    payments: &mut BTreeMap<PaymentId, Payment>,
) -> Result<()> {
    let rows: Vec<PaymentRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("load payments")?;
    for row in rows {
        let payment = row.to_payment()?;
        payments.insert(payment.id.clone(), payment);
    }
    Ok(())
}

/// The open treatments, and those of the dispatches that were loaded.
async fn load_treatments(conn: &mut Conn, audited: &mut Audited) -> Result<()> {
    let mut open = Statement::new("SELECT ");
    open.push(TREATMENT).push(" FROM treatments t WHERE t.ended_at IS NULL ");
    open.push("ORDER BY t.line_id, t.user_id LIMIT ").push_bind(UNDER_WAY_MAX);
    let mut found = fetch_treatments(conn, &mut open).await?;
    let known: BTreeSet<TreatmentId> = found.iter().map(|one| one.id.clone()).collect();
    let named: BTreeSet<&TreatmentId> =
        audited.dispatches.iter().filter_map(|dispatch| dispatch.treatment.as_ref()).collect();
    let missing: Vec<&TreatmentId> = named.into_iter().filter(|id| !known.contains(*id)).collect();
    for chunk in missing.chunks(VALUES) {
        let mut named = Statement::new("SELECT ");
        named.push(TREATMENT).push(" FROM treatments t WHERE t.treatment_id");
        in_list(&mut named, chunk);
        found.extend(fetch_treatments(conn, &mut named).await?);
    }
    audited.treatments = found;
    Ok(())
}

async fn load_refusals(conn: &mut Conn, audited: &mut Audited, now: Time) -> Result<()> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT r.line_id, r.user_id FROM lines l JOIN refusals r ON r.line_id = l.line_id \
         WHERE l.present = 1 AND r.until > $1",
    )
    .bind(now.micros())
    .fetch_all(conn)
    .await
    .doing("load refusals")?;
    audited.refused = rows.into_iter().map(|(line, user)| (line.into(), user.into())).collect();
    Ok(())
}
