//! Who has an open treatment, and the hand-overs that follow.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{flag, word};
use super::{Conn, Statement, in_list, outgoing};
use crate::core::dispatch::{Phase, SendMode};
use crate::core::event::Event;
use crate::core::holding::{Holder, Holding};
use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::occupancy::View;
use crate::core::outgoing::OutgoingKind;
use crate::core::time::Time;
use crate::core::treatment::Treatment;
use crate::store::error::Doing;
use crate::store::{NewOutgoing, Result, Rules};

/// How many values one statement binds at the most.
const VALUES: usize = 8_000;

/// Takes into account who has the treatments that the events are about, and has those handed over
/// that the bot would keep from people.
pub(super) async fn hear(
    conn: &mut Conn,
    rules: &Rules,
    events: &[(i64, Event)],
    (before, after): (&View, &View),
    now: Time,
) -> Result<()> {
    if !rules.hand_over {
        return Ok(());
    }
    forget_ended(conn, after).await?;
    let heard: Vec<(String, &Event, &Treatment)> = events
        .iter()
        .filter_map(|(id, event)| Some((format!("event-{id}"), event, open_of(after, event)?)))
        .collect();
    let opened = opened_by_payments(before, after);
    let of_events = heard.iter().map(|(_, _, treatment)| *treatment);
    let concerned: BTreeMap<&TreatmentId, &Treatment> =
        of_events.chain(opened.iter().map(|(_, t)| *t)).map(|t| (&t.id, t)).collect();
    let bots = lines_of_bot(conn, concerned.values().map(|t| &t.line).collect()).await?;
    let concerned: Vec<&TreatmentId> = concerned
        .into_iter()
        .filter(|(_, treatment)| bots.contains(&treatment.line))
        .map(|(id, _)| id)
        .collect();
    if concerned.is_empty() {
        return Ok(());
    }
    let known = load(conn, &concerned).await?;
    let mut holdings = known.clone();
    let mut wanted: Vec<(String, &Treatment)> = Vec::new();
    for (cause, event, treatment) in heard.iter().filter(|(_, _, t)| bots.contains(&t.line)) {
        if holdings.entry(treatment.id.clone()).or_default().hear(event) {
            wanted.push((cause.clone(), treatment));
        }
    }
    for (cause, treatment) in opened.iter().filter(|(_, t)| bots.contains(&t.line)) {
        if holdings.entry(treatment.id.clone()).or_default().ask() {
            wanted.push((cause.clone(), treatment));
        }
    }
    for (id, holding) in &holdings {
        if known.get(id) != Some(holding) {
            write(conn, id, *holding).await?;
        }
    }
    for (cause, treatment) in wanted {
        hand_over(conn, rules, &cause, treatment, now).await?;
    }
    Ok(())
}

/// The open treatment that an event is about; the bot's copies may not name it.
fn open_of<'a>(after: &'a View, event: &Event) -> Option<&'a Treatment> {
    let (line, user) = (event.line.as_ref()?, event.user.as_ref()?);
    let treatment = match &event.treatment {
        Some(id) => after.treatments.by_id(id)?,
        None => after.treatments.open_of(line, user)?,
    };
    treatment.is_open().then_some(treatment)
}

/// Treatments that a payment is known to have opened only now.
fn opened_by_payments<'a>(before: &View, after: &'a View) -> Vec<(String, &'a Treatment)> {
    let is_new = |id: &i64| before.dispatches.get(id).is_none_or(|old| old.phase != Phase::Open);
    let opened = after.dispatches.iter().filter(|(id, d)| d.phase == Phase::Open && is_new(id));
    opened
        .filter_map(|(id, dispatch)| {
            let treatment = after.treatments.by_id(dispatch.treatment.as_ref()?)?;
            treatment.is_open().then(|| (format!("dispatch-{id}"), treatment))
        })
        .collect()
}

async fn forget_ended(conn: &mut Conn, after: &View) -> Result<()> {
    let ended: Vec<&TreatmentId> =
        after.treatments.changed().filter(|t| !t.is_open()).map(|t| &t.id).collect();
    for chunk in ended.chunks(VALUES) {
        let mut delete = Statement::new("DELETE FROM holdings WHERE treatment_id");
        in_list(&mut delete, chunk);
        delete.build().execute(&mut *conn).await.doing("forget who had what has ended")?;
    }
    Ok(())
}

/// Those of the lines whose bot is ours.
async fn lines_of_bot(conn: &mut Conn, lines: BTreeSet<&LineId>) -> Result<BTreeSet<LineId>> {
    let mut found = BTreeSet::new();
    for chunk in lines.into_iter().collect::<Vec<_>>().chunks(VALUES) {
        let mut wanted = Statement::new(
            "SELECT line_id FROM hooks WHERE kind = 'bot' AND state = 'set' AND line_id",
        );
        in_list(&mut wanted, chunk);
        let rows: Vec<(String,)> =
            wanted.build_query_as().fetch_all(&mut *conn).await.doing("list lines of the bot")?;
        found.extend(rows.into_iter().map(|(line,)| LineId::from(line)));
    }
    Ok(found)
}

async fn load(
    conn: &mut Conn,
    treatments: &[&TreatmentId],
) -> Result<BTreeMap<TreatmentId, Holding>> {
    let mut found = BTreeMap::new();
    for chunk in treatments.chunks(VALUES) {
        let mut wanted =
            Statement::new("SELECT treatment_id, holder, asked FROM holdings WHERE treatment_id");
        in_list(&mut wanted, chunk);
        let rows: Vec<(String, String, i64)> =
            wanted.build_query_as().fetch_all(&mut *conn).await.doing("load who has what")?;
        for (id, holder, asked) in rows {
            let holder = word("holdings", "holder", &holder, Holder::parse)?;
            found.insert(id.into(), Holding { holder, asked: asked == 1 });
        }
    }
    Ok(found)
}

async fn write(conn: &mut Conn, treatment: &TreatmentId, holding: Holding) -> Result<()> {
    sqlx::query(
        "INSERT INTO holdings (treatment_id, holder, asked) VALUES ($1, $2, $3) \
         ON CONFLICT (treatment_id) DO UPDATE SET holder = excluded.holder, asked = excluded.asked",
    )
    .bind(treatment.as_str().to_owned())
    .bind(holding.holder.as_str())
    .bind(flag(holding.asked))
    .execute(conn)
    .await
    .doing("write who has a treatment")
    .map(|_| ())
}

/// Has the treatment given to the specialist of its line's manager, or to any who is free.
async fn hand_over(
    conn: &mut Conn,
    rules: &Rules,
    cause: &str,
    treatment: &Treatment,
    now: Time,
) -> Result<()> {
    let specialist: Option<UserId> = outgoing::specialist_of_manager(conn, &treatment.line).await?;
    let new = NewOutgoing {
        // No dice are thrown in here: the cause makes it unique.
        id: format!("hand-over-{cause}").into(),
        key: None,
        content: format!("hand-over {cause}"),
        kind: OutgoingKind::Assign,
        line: treatment.line.clone(),
        user: treatment.user.clone(),
        author: None,
        mode: SendMode::Bot,
        text: None,
        keyboard: None,
        notification_only: false,
        general_settings: false,
        file: None,
        treatment: Some(treatment.id.clone()),
        to_line: None,
        specialist,
        or_any: true,
    };
    // Whatever else is under way for it gives it to somebody as well.
    outgoing::add(conn, rules, &new, now).await.map(|_| ())
}
