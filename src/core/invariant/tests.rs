use super::*;
use crate::core::id::{ManagerId, TreatmentId};
use crate::core::line::Occupancy;
use crate::core::script::{at, dispatch, payment};
use crate::core::treatment::Opener;

fn line(id: &str, capacity: i64) -> Line {
    Line {
        id: LineId::from(id),
        name: id.to_owned(),
        manager: ManagerId::from("M1"),
        position: 0,
        last_used_at: None,
        occupancy: Occupancy {
            enabled: true,
            paused: false,
            known: true,
            capacity,
            open: 0,
            reserved: 0,
        },
    }
}

fn open(id: &str, line: &str) -> Treatment {
    Treatment {
        id: TreatmentId::from(id),
        line: LineId::from(line),
        user: UserId::from("U1"),
        opened_at: at(0),
        opener: Opener::User,
        last_event_at: at(0),
        heard_at: at(0),
        end: None,
    }
}

#[test]
fn every_broken_promise_is_named() {
    use PaymentState as S;
    let p1 = || PaymentId::from("P1");
    let l1 = || LineId::from("L1");
    let check =
        |state: S, dispatches: &[Dispatch], treatments: &[Treatment], expected: &[Breach]| {
            let whole = Whole {
                payments: &[payment(1, state)],
                dispatches,
                treatments,
                lines: &[line("L1", 1)],
                refused: &BTreeSet::new(),
                notices: &[],
                at_rest: true,
            };
            assert_eq!(breaches(&whole), expected, "{state}");
        };
    let one = |phase| dispatch(1, "L1", phase);
    let two = |phase| Dispatch { id: 2, ..dispatch(2, "L2", phase) };
    let in_t1 = Dispatch { treatment: Some(TreatmentId::from("T1")), ..one(Phase::Open) };
    check(S::Sending, &[one(Phase::Reserved)], &[], &[]);
    check(S::Dispatched, &[one(Phase::Sent), two(Phase::Undone)], &[], &[]);
    check(S::Closed, &[one(Phase::Closed)], &[], &[]);
    check(S::Held, &[], &[], &[]);
    let both = [in_t1.clone(), two(Phase::Sent)];
    check(S::Dispatched, &both, &[open("T1", "L1")], &[Breach::SentTwice(p1())]);
    check(S::Dispatched, &[in_t1], &[], &[Breach::HeldByNothing(p1(), l1())]);
    check(S::Closed, &[one(Phase::Closed), two(Phase::Closed)], &[], &[Breach::SentTwice(p1())]);
    check(S::Held, &[one(Phase::Closed)], &[], &[Breach::MayGoOutAgain(p1())]);
    check(S::InDoubt, &[], &[], &[Breach::StateUnfounded(p1(), S::InDoubt)]);
    check(S::Cancelled, &[one(Phase::InDoubt)], &[], &[Breach::StateUnfounded(p1(), S::Cancelled)]);
    let taken = [Breach::StateUnfounded(p1(), S::Cancelled)];
    check(S::Cancelled, &[one(Phase::Closed)], &[], &taken);
    check(S::Queued, &[], &[], &[Breach::WaitsForNothing(p1(), l1())]);
    check(S::Queued, &[], &[open("T1", "L1")], &[]);
    let twice = [open("T1", "L1"), open("T2", "L1")];
    check(S::Held, &[], &twice, &[Breach::OpenTwice(l1(), UserId::from("U1"))]);
    let far = Dispatch { slot: Some(1), ..one(Phase::Reserved) };
    check(S::Sending, std::slice::from_ref(&far), &[], &[Breach::OverCapacity(l1())]);
    check(S::Sending, &[Dispatch { slot: None, ..far.clone() }], &[], &[]);
    // The line was made smaller since.
    check(S::Sending, &[Dispatch { capacity: 2, ..far }], &[], &[]);
    let other = Dispatch { id: 2, payment: PaymentId::from("P2"), ..one(Phase::Reserved) };
    let shared = [Breach::PlaceShared(l1(), 0), Breach::ChatShared(l1(), UserId::from("U1"))];
    check(S::Sending, &[one(Phase::Reserved), other], &[], &shared);
}

#[test]
fn a_second_notice_in_one_episode_is_named() {
    let notices = [1, 2, 1].map(|episode| (PaymentId::from("P1"), episode));
    let whole = Whole {
        payments: &[],
        dispatches: &[],
        treatments: &[],
        lines: &[],
        refused: &BTreeSet::new(),
        notices: &notices,
        at_rest: false,
    };
    assert_eq!(breaches(&whole), [Breach::NoticedTwice(PaymentId::from("P1"), 1)]);
}
