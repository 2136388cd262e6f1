//! What people may do with a payment, in every state.

use freeline::core::outcome::Answer;
use freeline::core::payment::{Command, CommandRefused, PaymentState};
use freeline::store::{NewPayment, Store};

use crate::support::build::{NOW, at, line, payment};
use crate::support::event::{answer, close, text};
use crate::support::on_both_engines;
use crate::support::steps::{
    add, answered, claim, details, dispatch, furnish, hear, line_state, pairs, refused, sending,
    state, timeline, unknown,
};

const ALL: [Command; 4] = [Command::Hold, Command::Release, Command::Cancel, Command::Retry];

async fn command(store: &dyn Store, command: Command, seconds: i64) -> Result<(), CommandRefused> {
    store
        .command_payment(&"payment-1".into(), command, "says Anna", at(seconds))
        .await
        .unwrap()
        .expect("the payment is there")
}

/// Which of hold, release, cancel and retry lead where, from the state that `prepare` makes.
async fn check(
    db: &crate::support::database::TestDatabase,
    prepare: impl AsyncFn(&dyn Store),
    expected: [Option<PaymentState>; 4],
) {
    let store = db.open().await;
    let mut cleaner = db.direct().await;
    for (what, expected) in ALL.into_iter().zip(expected) {
        let tables =
            ["timeline", "notices", "dispatches", "payments", "refusals", "treatments", "events"];
        for table in tables {
            cleaner.run(&format!("DELETE FROM {table}")).await.unwrap();
        }
        furnish(&*store, [line("a", "anna")]).await;
        prepare(&*store).await;
        let before = details(&*store, "payment-1").await;
        let answer = command(&*store, what, 50).await;
        let after = details(&*store, "payment-1").await;
        assert_eq!(
            answer.is_ok(),
            expected.is_some(),
            "{what:?} of {:?}: {answer:?}",
            before.payment.state
        );
        match expected {
            Some(state) => assert_eq!(after.payment.state, state, "{what:?}"),
            None => assert_eq!(after, before, "{what:?}"),
        }
    }
}

const HELD: Option<PaymentState> = Some(PaymentState::Held);
const QUEUED: Option<PaymentState> = Some(PaymentState::Queued);
const CANCELLED: Option<PaymentState> = Some(PaymentState::Cancelled);

on_both_engines! {
    async fn a_held_payment_can_be_released_or_cancelled(db) {
        let held = async |store: &dyn Store| {
            add(store, NewPayment { hold: Some("ask".to_owned()), ..payment(1) }, NOW).await;
        };
        check(&db, held, [HELD, QUEUED, CANCELLED, None]).await;
    }

    async fn a_queued_payment_can_be_held_or_cancelled(db) {
        let queued = async |store: &dyn Store| {
            add(store, payment(1), NOW).await;
        };
        check(&db, queued, [HELD, QUEUED, CANCELLED, QUEUED]).await;
    }

    async fn a_reserved_payment_can_be_held_or_cancelled(db) {
        let reserved = async |store: &dyn Store| {
            add(store, payment(1), NOW).await;
            dispatch(store, NOW).await;
        };
        check(&db, reserved, [HELD, None, CANCELLED, None]).await;
    }

    async fn a_payment_that_is_being_sent_cannot_be_stopped(db) {
        let being_sent = async |store: &dyn Store| {
            sending(store, payment(1), NOW).await;
            assert_eq!(command(store, Command::Cancel, 1).await, Err(CommandRefused::BeingSent));
        };
        check(&db, being_sent, [None, None, None, None]).await;
    }

    async fn a_payment_in_doubt_can_be_cancelled_or_sent_again(db) {
        let in_doubt = async |store: &dyn Store| {
            let claimed = sending(store, payment(1), NOW).await;
            answered(store, &claimed, unknown(), at(1)).await;
        };
        check(&db, in_doubt, [None, None, CANCELLED, QUEUED]).await;
    }

    async fn a_rejected_payment_can_be_cancelled_or_sent_again(db) {
        let rejected = async |store: &dyn Store| {
            let claimed = sending(store, payment(1), NOW).await;
            answered(store, &claimed, refused(422, "bad"), at(1)).await;
        };
        check(&db, rejected, [None, None, CANCELLED, QUEUED]).await;
    }

    async fn a_dispatched_payment_is_beyond_commands(db) {
        let dispatched = async |store: &dyn Store| {
            let claimed = sending(store, payment(1), NOW).await;
            answered(store, &claimed, Answer::Done, at(1)).await;
        };
        check(&db, dispatched, [None, None, None, None]).await;
    }

    async fn a_closed_payment_is_beyond_commands(db) {
        let closed = async |store: &dyn Store| {
            let claimed = sending(store, payment(1), NOW).await;
            answered(store, &claimed, Answer::Done, at(1)).await;
            let chat = ("a", "user-1", "t");
            hear(store, &[text("m1", chat, at(2)), close("m2", chat, at(3))], at(4)).await;
            assert_eq!(state(store, "payment-1").await, PaymentState::Closed);
        };
        check(&db, closed, [None, None, None, None]).await;
    }

    async fn a_cancelled_payment_stays_cancelled(db) {
        let cancelled = async |store: &dyn Store| {
            add(store, payment(1), NOW).await;
            command(store, Command::Cancel, 1).await.unwrap();
        };
        check(&db, cancelled, [None, None, CANCELLED, None]).await;
    }

    async fn a_command_for_no_payment_answers_none(db) {
        let store = db.open().await;
        for what in ALL {
            let answer = store.command_payment(&"none".into(), what, "", NOW).await.unwrap();
            assert_eq!(answer, None);
        }
    }

    async fn a_retried_payment_whose_first_message_is_heard_to_be_over_is_not_sent_again(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, unknown(), NOW).await;
        command(&*store, Command::Retry, 1).await.unwrap();
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(1, "a")]));
        // One batch brings the echo of the first try and the end of its treatment.
        let chat = ("a", "user-1", "t");
        let number = claimed.about.payment.number.to_string();
        hear(&*store, &[answer("m1", chat, &number, NOW), close("m2", chat, at(2))], at(3)).await;
        assert_eq!(state(&*store, "payment-1").await, PaymentState::Closed);
        assert_eq!(claim(&*store, "me", at(9)).await.len(), 0);
    }

    async fn a_payment_taken_back_gives_its_line_to_the_next_at_once(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        add(&*store, payment(2), at(1)).await;
        assert_eq!(dispatch(&*store, at(1)).await, pairs(&[(1, "a")]));
        command(&*store, Command::Cancel, 2).await.unwrap();
        assert_eq!(line_state(&*store, "a").await, freeline::core::line::LineState::Free);
        assert_eq!(dispatch(&*store, at(2)).await, pairs(&[(2, "a")]));
        let claimed = claim(&*store, "me", at(2)).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].about.payment.id.as_str(), "payment-2");
    }

    async fn the_words_of_a_person_stand_in_the_timeline(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        add(&*store, payment(1), NOW).await;
        command(&*store, Command::Hold, 1).await.unwrap();
        command(&*store, Command::Hold, 2).await.unwrap();
        command(&*store, Command::Release, 3).await.unwrap();
        let found = details(&*store, "payment-1").await;
        let codes = ["queued", "held_by_person", "released", "released"];
        assert_eq!(timeline(&*store, "payment-1").await, codes);
        assert_eq!(found.timeline[1].reason.words.as_deref(), Some("says Anna"));
        assert_eq!((found.timeline[1].at, found.payment.updated_at), (at(1), at(3)));
    }

    async fn a_release_does_not_pass_over_what_the_directory_lacks(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        let held = NewPayment {
            hold: Some("ask".to_owned()),
            manager: Some("boris".into()),
            ..payment(1)
        };
        add(&*store, held, NOW).await;
        command(&*store, Command::Release, 1).await.unwrap();
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!(
            (found.state, found.reason.code.as_str()),
            (PaymentState::Held, "manager_unknown")
        );
    }
}
