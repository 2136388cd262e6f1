//! Everything that the promises speak of, read past the store: the one place that knows the tables.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use freeline::core::dispatch::{Dispatch, Phase, Rehook};
use freeline::core::id::{LineId, PaymentId, UserId};
use freeline::core::invariant::{Breach, Whole, breaches};
use freeline::core::line::{Line, Occupancy};
use freeline::core::number::Number;
use freeline::core::payment::{Payment, PaymentState};
use freeline::core::time::{Span, Time};
use freeline::core::treatment::{Opener, Treatment};
use freeline::core::why::{Reason, ReasonCode};

use super::database::Direct;

/// One statement, since it is asked after every step: each row begins with the name of its kind.
const EVERYTHING: &str = "\
SELECT 'payment', id, number, state, manager_id, user_id, CAST(dispatched_at AS TEXT), \
  CAST(episode AS TEXT), CAST(noticed AS TEXT), CAST(recheck AS TEXT), reason, treatment_id \
  FROM payments \
UNION ALL SELECT 'dispatch', CAST(id AS TEXT), payment_id, line_id, user_id, CAST(slot AS TEXT), \
  phase, treatment_id, CAST(fence AS TEXT), CAST(due_at AS TEXT), CAST(lease_until AS TEXT), \
  CAST(capacity AS TEXT) FROM dispatches \
UNION ALL SELECT 'treatment', treatment_id, line_id, user_id, CAST(opened_at AS TEXT), opener, \
  NULL, NULL, NULL, NULL, NULL, NULL FROM treatments WHERE ended_at IS NULL \
UNION ALL SELECT 'line', line_id, manager_id, CAST(capacity AS TEXT), CAST(enabled AS TEXT), \
  CASE WHEN paused IS NULL THEN '0' ELSE '1' END, \
  CASE WHEN known_at IS NULL OR hooked_at IS NULL THEN '0' ELSE '1' END, \
  CAST((SELECT COUNT(*) FROM treatments t WHERE t.line_id = l.line_id AND t.ended_at IS NULL) \
    AS TEXT), \
  CAST((SELECT COUNT(*) FROM dispatches d WHERE d.line_id = l.line_id \
    AND d.phase IN ('reserved', 'sending', 'in_doubt', 'sent') \
    AND NOT (d.phase = 'in_doubt' AND d.slot IS NULL) AND NOT EXISTS (SELECT 1 \
    FROM treatments t WHERE t.line_id = d.line_id AND t.user_id = d.user_id \
    AND t.ended_at IS NULL)) AS TEXT), state, NULL, NULL FROM lines l WHERE present = 1 \
UNION ALL SELECT 'refusal', line_id, user_id, CAST(until AS TEXT), \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM refusals \
UNION ALL SELECT 'notice', payment_id, CAST(episode AS TEXT), state, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM notices \
UNION ALL SELECT 'manager', id, CAST(due_at AS TEXT), NULL, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM managers \
UNION ALL SELECT 'events', state, CAST(COUNT(*) AS TEXT), NULL, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM events GROUP BY state \
ORDER BY 1, 2, 3";

/// The tables at one moment.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) payments: Vec<Payment>,
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) treatments: Vec<Treatment>,
    pub(super) lines: Vec<Line>,
    pub(super) refusals: BTreeMap<(LineId, UserId), Time>,
    pub(super) notices: Vec<(PaymentId, i64, String)>,
    /// Payments that are to be looked at again.
    pub(super) rechecks: BTreeSet<PaymentId>,
    /// The episode that each payment was last noticed in.
    pub(super) noticed: BTreeMap<PaymentId, i64>,
    pub(super) managers_due: Vec<Time>,
    /// Kept events that were not taken into account yet.
    pub(super) events_new: i64,
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

fn time(text: &str) -> Option<Time> {
    (!text.is_empty()).then(|| Time::from_micros(number(text)))
}

impl Truth {
    pub(super) async fn read(direct: &mut Direct) -> Self {
        let mut truth = Self::default();
        for row in direct.rows(EVERYTHING).await {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            truth.take(&cells);
        }
        truth.dispatches.sort_by_key(|dispatch| dispatch.id);
        truth
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of row")]
    fn take(&mut self, cells: &[&str]) {
        match cells {
            [
                "payment",
                id,
                code,
                state,
                manager,
                user,
                dispatched,
                episode,
                noticed,
                recheck,
                reason,
                treatment,
            ] => {
                let id = PaymentId::from(*id);
                self.noticed.insert(id.clone(), number(noticed));
                if *recheck == "1" {
                    self.rechecks.insert(id.clone());
                }
                let some = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
                self.payments.push(Payment {
                    id,
                    number: Number::parse(code).expect("a number"),
                    state: PaymentState::parse(state).expect("a state"),
                    reason: Reason::plain(ReasonCode::parse(reason).expect("a reason")),
                    manager: some(manager).map(Into::into),
                    user: some(user).map(Into::into),
                    author: None,
                    hold: None,
                    line: None,
                    treatment: some(treatment).map(Into::into),
                    dispatched_at: time(dispatched),
                    closed_at: None,
                    episode: number(episode),
                    attempts: 0,
                    happened: Vec::new(),
                });
            }
            [
                "dispatch",
                id,
                payment,
                line,
                user,
                slot,
                phase,
                treatment,
                fence,
                due,
                lease,
                capacity,
            ] => {
                self.dispatches.push(Dispatch {
                    id: number(id),
                    payment: (*payment).into(),
                    line: (*line).into(),
                    user: (*user).into(),
                    author: None,
                    slot: (!slot.is_empty()).then(|| number(slot)),
                    capacity: number(capacity),
                    phase: Phase::parse(phase).expect("a phase"),
                    treatment: (!treatment.is_empty()).then(|| (*treatment).into()),
                    fence: number(fence),
                    due_at: time(due).expect("a time"),
                    lease_until: time(lease),
                    failures: 0,
                    claimed_at: None,
                    sent_at: None,
                    rehook: Rehook::No,
                    echo: None,
                    proof_at: None,
                });
            }
            ["treatment", id, line, user, since, by_whom, ..] => self.treatments.push(Treatment {
                id: (*id).into(),
                line: (*line).into(),
                user: (*user).into(),
                opened_at: time(since).expect("a time"),
                opener: Opener::parse(by_whom).expect("an opener"),
                last_event_at: Time::default(),
                heard_at: Time::default(),
                end: None,
            }),
            [
                "line",
                id,
                whose,
                capacity,
                is_enabled,
                is_paused,
                is_known,
                opened,
                set_aside,
                ..,
            ] => {
                self.lines.push(Line {
                    id: (*id).into(),
                    name: (*id).to_owned(),
                    manager: (*whose).into(),
                    position: 0,
                    last_used_at: None,
                    occupancy: Occupancy {
                        enabled: *is_enabled == "1",
                        paused: *is_paused == "1",
                        known: *is_known == "1",
                        capacity: number(capacity),
                        open: number(opened),
                        reserved: number(set_aside),
                    },
                });
            }
            ["refusal", line, user, until, ..] => {
                let pair = ((*line).into(), (*user).into());
                self.refusals.insert(pair, time(until).expect("a time"));
            }
            ["notice", payment, episode, state, ..] => {
                self.notices.push(((*payment).into(), number(episode), (*state).to_owned()));
            }
            ["manager", _, due, ..] => self.managers_due.extend(time(due)),
            ["events", "new", count, ..] => self.events_new = number(count),
            ["events", ..] => {}
            other => panic!("an unknown row: {other:?}"),
        }
    }

    /// Whether everything that came in was looked at by now.
    pub(super) fn is_at_rest(&self, now: Time) -> bool {
        self.events_new == 0
            && self.rechecks.is_empty()
            // Our clock may have been set back since that was written: it is about to be looked at.
            && self.managers_due.iter().all(|due| *due > now.plus(Span::from_secs(60)))
    }

    /// Every promise that is broken.
    pub(super) fn breaches(&self, now: Time, at_rest: bool) -> Vec<Breach> {
        let refused = self.refusals.iter().filter(|(_, until)| **until > now);
        let refused = refused.map(|(pair, _)| pair.clone()).collect();
        let notices: Vec<(PaymentId, i64)> =
            self.notices.iter().map(|(payment, episode, _)| (payment.clone(), *episode)).collect();
        breaches(&Whole {
            payments: &self.payments,
            dispatches: &self.dispatches,
            treatments: &self.treatments,
            lines: &self.lines,
            refused: &refused,
            notices: &notices,
            at_rest,
        })
    }
}
