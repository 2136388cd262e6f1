use super::*;
use crate::core::script::payment;

fn standing() -> Standing {
    Standing {
        counterparty: Known::Yes(CounterpartyId::from("C1")),
        manager: Known::Yes(ManagerId::from("M1")),
        manager_enabled: true,
        user: Some(UserId::from("U1")),
        author: Some(UserId::from("specialist")),
        author_required: true,
    }
}

#[test]
fn a_payment_waits_for_a_line_only_when_all_it_needs_is_known() {
    let check = |change: fn(&mut Standing), expected: &str| {
        let mut standing = standing();
        change(&mut standing);
        for from in [PaymentState::Held, PaymentState::Queued] {
            let mut payment = payment(1, from);
            payment.reason = Reason::plain(ReasonCode::HeldOnArrival);
            admit(&mut payment, &standing, ReasonCode::DirectoryChanged);
            let told = match payment.happened.last() {
                Some((state, reason)) => format!("{state}: {}", reason.code),
                None => format!("{}: -", payment.state),
            };
            let expected = match (expected, from) {
                ("queued", PaymentState::Held) => "queued: directory_changed".to_owned(),
                ("queued", _) => "queued: -".to_owned(),
                _ => format!("held: {expected}"),
            };
            assert_eq!(told, expected, "from {from}");
            // Once is enough.
            assert!(!admit(&mut payment, &standing, ReasonCode::DirectoryChanged));
        }
    };
    check(|_| {}, "queued");
    check(|s| s.counterparty = Known::No(CounterpartyId::from("C2")), "queued");
    check(|s| s.counterparty = Known::NotNamed, "queued");
    check(|s| s.manager = Known::No(ManagerId::from("M2")), "manager_unknown");
    check(|s| s.manager = Known::NotNamed, "manager_unknown");
    check(
        |s| {
            s.manager = Known::NotNamed;
            s.counterparty = Known::No(CounterpartyId::from("C2"));
        },
        "counterparty_unknown",
    );
    check(|s| s.manager_enabled = false, "manager_disabled");
    check(|s| s.user = None, "no_user");
    check(|s| s.author = None, "no_author");
    check(
        |s| {
            s.author = None;
            s.author_required = false;
        },
        "queued",
    );
}

#[test]
fn a_payment_beyond_waiting_stays_as_it_is() {
    for state in PaymentState::ALL.iter().copied() {
        if matches!(state, PaymentState::Held | PaymentState::Queued) {
            continue;
        }
        let before = payment(1, state);
        let mut after = before.clone();
        let nobody = Standing { user: None, ..standing() };
        assert!(!admit(&mut after, &nobody, ReasonCode::DirectoryChanged));
        assert_eq!(after, before);
    }
}

#[test]
fn a_hold_outlasts_the_directory_and_ends_by_release() {
    let mut payment = payment(1, PaymentState::Queued);
    command(&mut payment, Command::Hold, "wait", false).unwrap();
    admit(&mut payment, &standing(), ReasonCode::DirectoryChanged);
    assert_eq!(payment.state, PaymentState::Held);
    command(&mut payment, Command::Release, "go", false).unwrap();
    admit(&mut payment, &standing(), ReasonCode::Released);
    assert_eq!((payment.state, payment.episode), (PaymentState::Queued, 2));
}

/// The row of one command: what it does in each state, `held`, `queued`, `sending` before the
/// call, `sending` during it, `in_doubt`, `dispatched`, `closed`, `rejected`, `cancelled`.
#[track_caller]
fn check(asked: Command, expected: [&str; 9]) {
    use PaymentState as S;
    let states = [
        (S::Held, false),
        (S::Queued, false),
        (S::Sending, false),
        (S::Sending, true),
        (S::InDoubt, false),
        (S::Dispatched, false),
        (S::Closed, false),
        (S::Rejected, false),
        (S::Cancelled, false),
    ];
    for ((state, may_be_sent), expected) in states.into_iter().zip(expected) {
        let before = payment(1, state);
        let mut after = before.clone();
        let told = match command(&mut after, asked, "so", may_be_sent) {
            Ok(follow) if after == before => format!("same {follow:?}"),
            Ok(follow) => format!("{} {follow:?}", after.state),
            Err(CommandRefused::BeingSent) => "being sent".to_owned(),
            Err(CommandRefused::WrongState { .. }) => "wrong".to_owned(),
        };
        assert_eq!(told, expected, "{asked:?} while {state}");
        assert!(told != "wrong" || after == before);
    }
}

#[test]
fn every_command_does_in_every_state_what_it_may() {
    let (held, queued, cancelled) = ("held GiveBack", "queued GiveBack", "cancelled GiveBack");
    let (wrong, busy, same) = ("wrong", "being sent", "same Nothing");
    check(Command::Hold, [held, held, held, busy, wrong, wrong, wrong, wrong, wrong]);
    let released = "held Nothing";
    check(Command::Release, [released, same, wrong, wrong, wrong, wrong, wrong, wrong, wrong]);
    check(
        Command::Cancel,
        [cancelled, cancelled, cancelled, busy, cancelled, wrong, wrong, cancelled, same],
    );
    check(Command::Retry, [wrong, same, wrong, wrong, queued, wrong, wrong, queued, wrong]);
}

#[test]
fn holding_twice_changes_nothing_and_a_new_wait_is_a_new_episode() {
    let mut payment = payment(1, PaymentState::Queued);
    command(&mut payment, Command::Hold, "wait", false).unwrap();
    let held = payment.clone();
    assert_eq!(command(&mut payment, Command::Hold, "again", false), Ok(Follow::Nothing));
    assert_eq!(payment, held);
    payment.become_(PaymentState::Queued, Reason::plain(ReasonCode::Released));
    payment.become_(PaymentState::Queued, Reason::plain(ReasonCode::Released));
    assert_eq!(payment.episode, 2);
}
