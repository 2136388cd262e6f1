//! Changes are told in the order of their commits: none is skipped, none comes twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use freeline::core::outcome::Answer;
use freeline::core::payment::Command;
use freeline::core::time::Time;
use freeline::core::treatment::EndKind;
use freeline::store::{Change, ChangeKind, ChangesFrom, NewPayment, Store};
use freeline::wake::{Wake, Worker};
use tokio::task::JoinSet;

use crate::support::build::{NOW, at, line, payment, payment_of};
use crate::support::database::{PATIENCE, rules};
use crate::support::event::{answer, close, moved_from, moved_to, text};
use crate::support::on_both_engines;
use crate::support::steps::{add, answered, dispatch, furnish, hear, refused, sending};

/// More than any test here writes.
const ALL: i64 = 10_000;
/// Tasks that write at once.
const WRITERS: u64 = 6;
/// Payments of each of them.
const PAYMENTS_EACH: u64 = 8;

async fn behind(store: &dyn Store, seq: i64) -> Vec<Change> {
    let changes = store.changes(ChangesFrom::Behind(seq), ALL).await.unwrap();
    changes.expect("they are kept").items
}

/// What happened behind `seq`, in short.
async fn told(store: &dyn Store, seq: i64) -> Vec<String> {
    let short = |change: Change| {
        let why = change.reason.map(|reason| reason.code.as_str());
        let why = why.or_else(|| change.end_kind.map(EndKind::as_str)).unwrap_or("-");
        format!("{} {} {} {why}", change.kind, change.id, change.state)
    };
    behind(store, seq).await.into_iter().map(short).collect()
}

on_both_engines! {
    async fn every_step_of_a_payment_and_of_its_treatment_is_a_change(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, Answer::Done, at(1)).await;
        let number = claimed.about.payment.number.to_string();
        hear(&*store, &[answer("m1", ("a", "user-1", "t1"), &number, at(2))], at(2)).await;
        hear(&*store, &[text("m2", ("a", "user-1", "t1"), at(3))], at(3)).await;
        hear(&*store, &[close("m3", ("a", "user-1", "t1"), at(4))], at(4)).await;
        assert_eq!(
            told(&*store, 0).await,
            [
                "payment payment-1 queued queued",
                "payment payment-1 sending line_reserved",
                "payment payment-1 dispatched message_taken",
                "treatment t1 open -",
                "payment payment-1 dispatched treatment_seen",
                "treatment t1 closed closed",
                "payment payment-1 closed treatment_closed",
            ]
        );
    }

    async fn a_change_says_enough_to_act_without_a_second_call(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let given = NewPayment { order: Some("order 7".to_owned()), ..payment(1) };
        let claimed = sending(&*store, given.clone(), NOW).await;
        answered(&*store, &claimed, Answer::Done, at(1)).await;
        let number = given.number.to_string();
        hear(&*store, &[answer("m1", ("a", "user-1", "t1"), &number, at(2))], at(2)).await;
        let [treatment, paid] = behind(&*store, 3).await.try_into().expect("two changes");
        for (change, seq, kind) in
            [(&treatment, 4, ChangeKind::Treatment), (&paid, 5, ChangeKind::Payment)]
        {
            assert_eq!((change.seq, change.kind, change.at), (seq, kind, at(2)));
            assert_eq!(change.line, Some("a".into()));
            assert_eq!(change.user, Some("user-1".into()));
            assert_eq!(change.treatment, Some("t1".into()));
            let payment = change.payment.as_ref().expect("it is of a payment");
            assert_eq!((&payment.id, &payment.number), (&given.id, &given.number));
            assert_eq!((&payment.key, &payment.order), (&given.key, &given.order));
        }
    }

    async fn what_nobody_can_see_is_no_change(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment(1), NOW).await;
        hear(&*store, &[text("m1", ("a", "u", "t1"), at(1))], at(1)).await;
        let before = store.newest_change().await.unwrap();
        store.add_payment(&payment(1), at(2)).await.unwrap();
        hear(&*store, &[text("m2", ("a", "u", "t1"), at(3))], at(3)).await;
        store.put_manager(&crate::support::build::manager("anna"), at(4)).await.unwrap();
        store.recheck_all().await.unwrap();
        store.recheck_payments(at(5), ALL).await.unwrap();
        let id = "payment-1".into();
        store.command_payment(&id, Command::Release, "go", at(6)).await.unwrap();
        assert_eq!(told(&*store, before).await, Vec::<String>::new());
    }

    async fn a_held_payment_a_refusal_and_a_command_are_changes(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        add(&*store, payment_of(2, "nobody"), NOW).await;
        let claimed = sending(&*store, payment(1), NOW).await;
        answered(&*store, &claimed, refused(403, "not a subscriber"), at(1)).await;
        dispatch(&*store, at(2)).await;
        let id = "payment-1".into();
        store.command_payment(&id, Command::Cancel, "no", at(3)).await.unwrap().unwrap().unwrap();
        assert_eq!(
            told(&*store, 0).await,
            [
                "payment payment-2 held counterparty_unknown",
                "payment payment-1 queued queued",
                "payment payment-1 sending line_reserved",
                "payment payment-1 queued line_refused",
                "payment payment-1 rejected refused_for_good",
                "payment payment-1 cancelled cancelled_by_person",
            ]
        );
    }

    async fn a_treatment_that_moves_ends_on_one_line_and_goes_on_on_the_other(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        hear(&*store, &[text("m1", ("a", "u", "t1"), at(1))], at(1)).await;
        let to = moved_to("m2", ("a", "u", "t1"), ("b", "t2"), at(2));
        let from = moved_from("m3", ("b", "u", "t2"), ("a", "t1"), at(2));
        hear(&*store, &[to, from], at(2)).await;
        let changes = behind(&*store, 1).await;
        let mut moved: Vec<_> = changes
            .iter()
            .map(|one| (one.id.as_str(), one.state.as_str(), one.line.clone(), one.moved_to.clone()))
            .collect();
        moved.sort();
        assert_eq!(
            moved,
            [
                ("t1", "closed", Some("a".into()), Some("t2".into())),
                ("t2", "open", Some("b".into()), None),
            ]
        );
    }

    async fn a_reader_goes_on_behind_what_it_has_read(db) {
        let store = db.open().await;
        let empty = store.changes(ChangesFrom::Oldest, 10).await.unwrap().unwrap();
        assert_eq!((empty.items.len(), empty.next), (0, 0), "before anything happened");
        furnish(&*store, []).await;
        for n in 1..=5 {
            add(&*store, payment(n), NOW).await;
        }
        let mut seen = Vec::new();
        let mut from = ChangesFrom::Oldest;
        loop {
            let page = store.changes(from, 2).await.unwrap().expect("they are kept");
            if page.items.is_empty() {
                assert_eq!(from, ChangesFrom::Behind(page.next), "the cursor stays");
                break;
            }
            seen.extend(page.items.iter().map(|change| change.seq));
            from = ChangesFrom::Behind(page.next);
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        let now = store.changes(ChangesFrom::Now, 2).await.unwrap().unwrap();
        assert_eq!((now.items.len(), now.next), (0, 5));
        assert_eq!(store.changes(ChangesFrom::Behind(6), 2).await.unwrap(), None, "never given");
    }

    async fn old_changes_are_forgotten_in_batches_and_the_newest_never_is(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        assert_eq!(store.forget_changes(at(100), 10).await.unwrap(), 0, "there is nothing");
        for n in 1..=6 {
            add(&*store, payment(n), at(i64::try_from(n).unwrap())).await;
        }
        assert_eq!(store.forget_changes(at(1), 10).await.unwrap(), 0, "none is old");
        assert_eq!(store.forget_changes(at(5), 3).await.unwrap(), 3);
        assert_eq!(store.forget_changes(at(5), 3).await.unwrap(), 1);
        assert_eq!(store.forget_changes(at(5), 3).await.unwrap(), 0);
        let kept = store.changes(ChangesFrom::Oldest, ALL).await.unwrap().unwrap();
        assert_eq!(kept.items.iter().map(|one| one.seq).collect::<Vec<_>>(), [5, 6]);
        // Whoever has read the fourth misses nothing, whoever has read only the third does.
        assert_eq!(behind(&*store, 4).await.len(), 2);
        assert_eq!(store.changes(ChangesFrom::Behind(3), ALL).await.unwrap(), None);
        assert_eq!(store.changes(ChangesFrom::Behind(0), ALL).await.unwrap(), None);
        assert_eq!(store.forget_changes(at(1_000), ALL).await.unwrap(), 1);
        assert_eq!(store.forget_changes(at(1_000), ALL).await.unwrap(), 0);
        assert_eq!(store.newest_change().await.unwrap(), 6);
        add(&*store, payment(7), at(2_000)).await;
        assert_eq!(behind(&*store, 6).await[0].seq, 7, "numbers go on");
    }

    async fn a_clock_that_was_set_back_leaves_no_gap(db) {
        let store = db.open().await;
        furnish(&*store, []).await;
        for (n, second) in [(1, 1), (2, 50), (3, 2), (4, 51)] {
            add(&*store, payment(n), at(second)).await;
        }
        assert_eq!(store.forget_changes(at(10), ALL).await.unwrap(), 1);
        let kept = store.changes(ChangesFrom::Oldest, ALL).await.unwrap().unwrap();
        assert_eq!(kept.items.iter().map(|one| one.seq).collect::<Vec<_>>(), [2, 3, 4]);
    }

    async fn a_change_rings_for_whoever_waits_for_it(db) {
        let wake = Wake::default();
        let store = db.open_ringing(rules(), wake.clone()).await;
        let rung = async || {
            tokio::time::timeout(PATIENCE, wake.rung(Worker::Feed)).await.expect("somebody rings");
        };
        furnish(&*store, [line("a", "anna")]).await;
        rung().await;
        let claimed = sending(&*store, payment(1), NOW).await;
        rung().await;
        answered(&*store, &claimed, Answer::Done, at(1)).await;
        rung().await;
        hear(&*store, &[text("m", ("a", "user-1", "t"), at(2))], at(2)).await;
        rung().await;
    }

    async fn a_reader_beside_many_writers_gets_each_change_once_and_in_order(db) {
        let stores = db.open_twice().await;
        furnish(&*stores[0], ["a", "b", "c", "d"].map(|id| line(id, "anna"))).await;
        let from = stores[0].newest_change().await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        for store in &stores {
            readers.spawn(follow(Arc::clone(store), from, Arc::clone(&is_over)));
        }
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&stores[usize::try_from(writer % 2).unwrap()]);
            writers.spawn(async move { write(&*store, writer).await });
        }
        writers.join_all().await;
        is_over.store(true, Ordering::SeqCst);
        let heard = readers.join_all().await;
        let all = behind(&*stores[0], from).await;
        assert!(all.len() >= usize::try_from(3 * WRITERS * PAYMENTS_EACH).unwrap());
        for heard in heard {
            assert_eq!(heard, all);
        }
        let gaps = all.iter().zip(from + 1..).filter(|(change, seq)| change.seq != *seq);
        assert_eq!(gaps.count(), 0);
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        for change in all.iter().filter(|change| change.kind == ChangeKind::Payment) {
            let before = last.insert(&change.id, &change.state);
            let first = before.is_none();
            assert_eq!(first, change.reason.as_ref().unwrap().code.as_str() == "queued");
        }
        for (id, state) in last {
            let now = stores[0].payment(&id.into()).await.unwrap().unwrap().payment.state;
            assert_eq!(state, now.as_str(), "the last change of {id} is how it stands");
        }
    }
}

/// Reads page after page until everybody has written and nothing is left.
async fn follow(store: Arc<dyn Store>, mut next: i64, is_over: Arc<AtomicBool>) -> Vec<Change> {
    let mut heard = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::SeqCst);
        let page = store.changes(ChangesFrom::Behind(next), 7).await.unwrap().expect("kept");
        if page.items.is_empty() && was_over {
            return heard;
        }
        next = page.next;
        heard.extend(page.items);
        tokio::task::yield_now().await;
    }
}

/// Payments, dispatches, answers, events and commands, as they come.
async fn write(store: &dyn Store, writer: u64) {
    for n in 0..PAYMENTS_EACH {
        let n = writer * 1_000 + n;
        let now = at(i64::try_from(n).unwrap());
        add(store, payment(n), now).await;
        store.dispatch(now).await.unwrap();
        let until = Time::NEVER;
        for claimed in store.claim_dispatches("me", now, until, 2).await.unwrap() {
            store.record_answer(claimed.id, claimed.fence, &Answer::Done, now).await.unwrap();
            let (line, user) = (claimed.line.as_str(), claimed.user.as_str());
            let treatment = format!("t-{}", claimed.id);
            let number = claimed.about.payment.number.to_string();
            let chat = (line, user, treatment.as_str());
            let opened = answer(&format!("o{}", claimed.id), chat, &number, now);
            hear(store, &[opened], now).await;
            hear(store, &[close(&format!("c{}", claimed.id), chat, now)], now).await;
        }
        let id = format!("payment-{n}").as_str().into();
        let words = "no longer";
        // One that is being sent cannot be cancelled, and that is no change either.
        let answer = store.command_payment(&id, Command::Cancel, words, now).await.unwrap();
        assert!(answer.is_some(), "it is there");
    }
}
