//! The e-mail "all lines are busy": once for each payment and episode.

use freeline::core::line::LineState;
use freeline::core::time::Time;
use freeline::store::{ClaimedNotice, NoticeLine, NoticeOutcome, Rules, Store, bounds};

use crate::support::build::{NOW, at, directory, line, payment};
use crate::support::database::rules;
use crate::support::event::{answer, close, text};
use crate::support::on_both_engines;
use crate::support::steps::{
    add, answered, details, dispatch, furnish, hear, open_line, refused, sending, timeline,
};

async fn claim(store: &dyn Store, now: Time) -> Vec<ClaimedNotice> {
    store.claim_notices("me", now, now.plus(bounds::NOTICE_LEASE), 100).await.unwrap()
}

/// How many notices there are, by state.
async fn counts(store: &dyn Store) -> Vec<(String, i64)> {
    store.status(NOW).await.unwrap().notices
}

fn count(state: &str, n: i64) -> Vec<(String, i64)> {
    vec![(state.to_owned(), n)]
}

/// Anna's only line is busy with somebody.
async fn busy_house(store: &dyn Store) {
    furnish(store, [line("a", "anna")]).await;
    hear(store, &[text("m1", ("a", "u", "t"), at(-5))], at(-5)).await;
    dispatch(store, at(-5)).await;
}

on_both_engines! {
    async fn a_payment_that_finds_no_line_is_told_of_once(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        add(&*store, payment(1), NOW).await;
        assert_eq!(store.dispatch(NOW).await.unwrap().unwrap().notices, 1);
        add(&*store, payment(2), at(1)).await;
        while store.recheck_payments(at(1), 256).await.unwrap() > 0 {}
        assert_eq!(store.dispatch(at(1)).await.unwrap().unwrap().notices, 1);
        assert_eq!(counts(&*store).await, count("due", 2));
        let claimed = claim(&*store, at(1)).await;
        assert_eq!(claimed.len(), 2);
        let notice = &claimed[0];
        assert_eq!((notice.payment.as_str(), notice.episode), ("payment-1", 1));
        assert_eq!(notice.recipient, "anna@example.org");
        assert_eq!(notice.about.manager_name, "Manager anna");
        let busy = NoticeLine {
            name: "Line a".to_owned(),
            state: LineState::Busy,
            since: at(-5),
            open: 1,
        };
        assert_eq!(notice.lines, [busy]);
    }

    async fn a_payment_that_finds_a_line_is_not_told_of(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        assert_eq!(store.dispatch(NOW).await.unwrap().unwrap().notices, 0);
        assert_eq!(counts(&*store).await, []);
    }

    async fn a_payment_beside_a_paused_line_is_told_of_once_the_line_is_known(db) {
        let store = db.open().await;
        store.replace_directory(&directory([line("a", "anna")]), NOW).await.unwrap();
        store.pause_line(&"a".into(), Some("holiday"), NOW).await.unwrap();
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        assert_eq!(counts(&*store).await, []);
        open_line(&*store, "a", at(1)).await;
        dispatch(&*store, at(1)).await;
        assert_eq!(counts(&*store).await, count("due", 1));
    }

    async fn waiting_anew_is_told_of_anew(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna"), line("b", "anna")]).await;
        store.pause_line(&"b".into(), Some("holiday"), at(-1)).await.unwrap();
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, refused(404, "no"), at(1)).await;
        dispatch(&*store, at(1)).await;
        dispatch(&*store, at(2)).await;
        let notices = claim(&*store, at(2)).await;
        let told: Vec<_> = notices.iter().map(|n| (n.payment.as_str(), n.episode)).collect();
        assert_eq!(told, [("payment-1", 2)]);
    }

    async fn nothing_is_told_before_the_first_look_at_the_lines_and_then_it_is(db) {
        let store = db.open().await;
        store.replace_directory(&directory([line("a", "anna")]), NOW).await.unwrap();
        store.record_hooked(&"a".into(), true, NOW).await.unwrap();
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        assert_eq!(counts(&*store).await, []);
        let listed = freeline::core::occupancy::Listed {
            treatment: "t".into(),
            user: "u".into(),
            initialized_at: Some(at(-60)),
        };
        store.record_look(&"a".into(), &[listed], at(1), at(2)).await.unwrap();
        dispatch(&*store, at(2)).await;
        assert_eq!(counts(&*store).await, count("due", 1));
    }

    async fn a_manager_without_lines_is_told_at_once(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        assert_eq!(counts(&*store).await, count("due", 1));
        assert_eq!(claim(&*store, NOW).await[0].lines, []);
    }

    async fn more_notices_than_one_round_writes_are_all_written(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        for n in 1..=150 {
            add(&*store, payment(n), NOW).await;
        }
        dispatch(&*store, NOW).await;
        assert_eq!(counts(&*store).await, count("due", 150));
    }

    async fn notices_that_cannot_be_sent_are_only_shown(db) {
        let store = db.open_with(Rules { notices_are_sent: false, ..rules() }).await;
        busy_house(&*store).await;
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        assert_eq!(counts(&*store).await, count("shown", 1));
        assert_eq!(claim(&*store, at(9)).await, []);
        assert_eq!(store.next_due().await.unwrap().notifier, None);
    }

    async fn a_sent_notice_stands_in_the_timeline_and_is_done(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        let notice = claim(&*store, NOW).await.remove(0);
        assert_eq!(claim(&*store, at(1)).await, [], "it is claimed");
        let sent = NoticeOutcome::Sent;
        assert!(store.record_notice(notice.id, notice.fence, &sent, at(2)).await.unwrap());
        assert!(!store.record_notice(notice.id, notice.fence, &sent, at(3)).await.unwrap());
        let found = details(&*store, "payment-1").await.payment;
        assert_eq!((found.notified_at, found.updated_at), (Some(at(2)), at(2)));
        assert_eq!(timeline(&*store, "payment-1").await, ["queued", "noticed"]);
        assert_eq!(counts(&*store).await, count("sent", 1));
        assert_eq!(claim(&*store, at(9_999)).await, []);
    }

    async fn a_notice_that_was_not_taken_is_tried_again_later(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        let notice = claim(&*store, NOW).await.remove(0);
        let not_sent = NoticeOutcome::NotSent("greylisted".to_owned());
        assert!(store.record_notice(notice.id, notice.fence, &not_sent, NOW).await.unwrap());
        assert_eq!(store.next_due().await.unwrap().notifier, Some(at(5)));
        assert_eq!(claim(&*store, at(4)).await, []);
        let again = claim(&*store, at(5)).await.remove(0);
        assert_eq!(again.id, notice.id);
        assert!(again.fence > notice.fence);
        let late = store.record_notice(notice.id, notice.fence, &NoticeOutcome::Sent, at(6)).await;
        assert!(!late.unwrap(), "an answer with an older fence is not ours any more");
        assert!(store.record_notice(again.id, again.fence, &not_sent, at(6)).await.unwrap());
        assert_eq!(store.next_due().await.unwrap().notifier, Some(at(16)));
    }

    async fn a_refused_or_doubtful_notice_is_never_sent_again(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        for n in 1..=2 {
            add(&*store, payment(n), NOW).await;
        }
        dispatch(&*store, NOW).await;
        let claimed = claim(&*store, NOW).await;
        let outcomes = [
            NoticeOutcome::Refused("no such mailbox".to_owned()),
            NoticeOutcome::Unknown("cut off".to_owned()),
        ];
        for (notice, outcome) in claimed.iter().zip(&outcomes) {
            assert!(store.record_notice(notice.id, notice.fence, outcome, at(1)).await.unwrap());
        }
        assert_eq!(claim(&*store, at(9_999)).await, []);
        assert_eq!(timeline(&*store, "payment-1").await, ["queued", "notice_refused"]);
        assert_eq!(counts(&*store).await, [("refused".to_owned(), 1), ("unknown".to_owned(), 1)]);
    }

    async fn a_notice_whose_sender_vanished_may_have_been_sent(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        for n in 1..=2 {
            add(&*store, payment(n), NOW).await;
            dispatch(&*store, NOW).await;
        }
        let until = at(90);
        assert_eq!(store.claim_notices("me", NOW, until, 1).await.unwrap().len(), 1);
        assert_eq!(store.claim_notices("other", NOW, until, 1).await.unwrap().len(), 1);
        assert_eq!(store.expire_notices(at(89), None).await.unwrap(), 0);
        assert_eq!(store.expire_notices(at(1), Some("me")).await.unwrap(), 1);
        assert_eq!(counts(&*store).await, [("sending".to_owned(), 1), ("unknown".to_owned(), 1)]);
        assert_eq!(store.next_due().await.unwrap().claims, Some(until));
        assert_eq!(store.expire_notices(until, None).await.unwrap(), 1);
        assert_eq!(counts(&*store).await, count("unknown", 2));
    }

    async fn a_payment_that_was_told_of_still_goes_when_a_line_is_free(db) {
        let store = db.open().await;
        busy_house(&*store).await;
        add(&*store, payment(1), NOW).await;
        dispatch(&*store, NOW).await;
        hear(&*store, &[close("m2", ("a", "u", "t"), at(5))], at(5)).await;
        assert_eq!(dispatch(&*store, at(5)).await.len(), 1);
        // Its notice may still go out: it was true when it was written.
        assert_eq!(claim(&*store, at(6)).await.len(), 1);
        hear(&*store, &[answer("m3", ("a", "user-1", "t2"), "hello", at(7))], at(7)).await;
        assert_eq!(counts(&*store).await, count("sending", 1));
    }
}
