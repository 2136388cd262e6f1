use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use proptest::prelude::*;

use super::*;

/// A call as the platform may have seen it: counted somewhere between the two.
type Call = (Instant, Instant);

/// The most calls that the platform can have counted in one window.
fn most_in_a_window(calls: &[Call], window: Duration) -> usize {
    let touching = |from: Instant| {
        calls.iter().filter(|(start, end)| *end >= from && *start <= from + window).count()
    };
    calls.iter().map(|(_, end)| touching(*end)).max().unwrap_or(0)
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Ends,
    NeverConnects,
}

fn plan() -> impl Strategy<Value = Vec<(u64, u64, Fate)>> {
    let latency = prop_oneof![Just(0), 1_u64..50, 50_u64..3_000, Just(10_000)];
    let fate = prop_oneof![9 => Just(Fate::Ends), 1 => Just(Fate::NeverConnects)];
    let gap = prop_oneof![5 => Just(0), 1 => 1_u64..400, 1 => Just(2_000)];
    proptest::collection::vec((gap, latency, fate), 1..400)
}

/// Makes the calls of the plan as early as the ledger lets them.
fn run(rate: &Rate, plan: &[(u64, u64, Fate)]) -> Vec<Call> {
    let mut ledger = Ledger::new(rate);
    let mut now = Instant::now();
    let mut running: Vec<(Instant, Instant, Fate)> = Vec::new();
    let mut calls = Vec::new();
    let mut end_until = |now: Instant, ledger: &mut Ledger, running: &mut Vec<_>| {
        running.sort_by_key(|&(_, end, _)| end);
        while let Some(&(start, end, fate)) = running.first().filter(|call| call.1 <= now) {
            running.remove(0);
            match fate {
                Fate::Ends => {
                    ledger.end(end);
                    calls.push((start, end));
                }
                Fate::NeverConnects => ledger.give_back(),
            }
        }
    };
    for &(gap, latency, fate) in plan {
        now += Duration::from_millis(gap);
        end_until(now, &mut ledger, &mut running);
        while let Err(at) = ledger.take(now) {
            let next_end = running.iter().map(|call| call.1).min();
            now = at.into_iter().chain(next_end).min().expect("something makes room");
            end_until(now, &mut ledger, &mut running);
        }
        running.push((now, now + Duration::from_millis(latency), fate));
    }
    end_until(now + Duration::from_secs(100), &mut ledger, &mut running);
    calls
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_calls_than_its_limit_whatever_the_latencies(plan in plan()) {
        let rate = Rate::parse("20/s,90/min").unwrap();
        let calls = run(&rate, &plan);
        for limit in rate.limits() {
            let most = most_in_a_window(&calls, limit.window());
            prop_assert!(most <= usize::try_from(limit.calls()).unwrap(), "{most} in {limit:?}");
        }
    }
}

#[test]
fn a_quick_caller_gets_the_whole_budget() {
    let plan = vec![(0, 0, Fate::Ends); 41];
    let calls = run(&Rate::parse("20/s,600/min").unwrap(), &plan);
    assert_eq!(most_in_a_window(&calls, Duration::from_millis(900)), 20);
    let whole = calls.last().unwrap().0 - calls.first().unwrap().0;
    assert!(whole < Duration::from_millis(2_100), "{whole:?}");
}

#[tokio::test]
async fn limits_hold_for_concurrent_callers_that_may_give_up_midway() {
    let window = Duration::from_millis(40);
    let budget = Budget::new(&Rate::of(&[(3, window), (12, window * 8)]));
    let calls = Mutex::new(Vec::new());
    let one = |number: u64| {
        let (budget, calls) = (&budget, &calls);
        async move {
            let call = async {
                let permit = budget.take(Priority::Message).await.unwrap();
                let start = Instant::now();
                let guard = scopeguard(permit, start, calls);
                tokio::time::sleep(Duration::from_millis(number * 7 % 30)).await;
                drop(guard);
            };
            // Every third caller gives up at some time, waiting or calling.
            let patience = if number.is_multiple_of(3) { number * 4 } else { 60_000 };
            tokio::time::timeout(Duration::from_millis(patience), call).await.ok();
        }
    };
    join_all((0..40).map(one)).await;
    let calls = calls.into_inner().unwrap();
    assert!(calls.len() >= 26);
    assert!(most_in_a_window(&calls, window) <= 3);
    assert!(most_in_a_window(&calls, window * 8) <= 12);
}

/// Notes the call when it ends or is dropped, just before its permit goes.
struct Noted<'a>(Option<Permit>, Instant, &'a Mutex<Vec<Call>>);

fn scopeguard(permit: Permit, start: Instant, calls: &Mutex<Vec<Call>>) -> Noted<'_> {
    Noted(Some(permit), start, calls)
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.2.lock().unwrap().push((self.1, Instant::now()));
        drop(self.0.take());
    }
}

#[tokio::test]
async fn callers_are_served_in_the_order_of_coming_and_messages_first() {
    let budget = Budget::new(&Rate::of(&[(1, Duration::from_millis(5))]));
    let first = budget.take(Priority::Housekeeping).await.unwrap();
    let order = Mutex::new(Vec::new());
    let caller = |name: &'static str, priority| {
        let (budget, order) = (&budget, &order);
        async move {
            let permit = budget.take(priority).await.unwrap();
            order.lock().unwrap().push(name);
            drop(permit);
        }
    };
    let ended = async {
        tokio::task::yield_now().await;
        drop(first);
    };
    tokio::join!(
        caller("housekeeping 1", Priority::Housekeeping),
        caller("housekeeping 2", Priority::Housekeeping),
        caller("message 1", Priority::Message),
        caller("message 2", Priority::Message),
        ended,
    );
    assert_eq!(
        order.into_inner().unwrap(),
        ["message 1", "message 2", "housekeeping 1", "housekeeping 2"]
    );
}

#[tokio::test]
async fn a_waiting_message_that_gives_up_lets_housekeeping_through() {
    let budget = Budget::new(&Rate::of(&[(1, Duration::from_millis(5))]));
    let first = budget.take(Priority::Message).await.unwrap();
    let served = AtomicU32::new(0);
    let message = tokio::time::timeout(Duration::from_millis(10), budget.take(Priority::Message));
    let housekeeping = async {
        assert!(budget.take(Priority::Housekeeping).await.is_some());
        served.fetch_add(1, Ordering::SeqCst);
    };
    let ended = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(first);
    };
    let (given_up, (), ()) = tokio::join!(message, housekeeping, ended);
    assert!(given_up.is_err());
    assert_eq!(served.into_inner(), 1);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_bound() {
    let rate = Rate::of(&[(1, Duration::from_hours(1))]);
    let budget = Budget::with_wait(&rate, Duration::from_millis(10));
    let running = budget.take(Priority::Message).await.unwrap();
    assert!(budget.take(Priority::Message).await.is_none(), "while the call runs");
    drop(running);
    assert!(budget.take(Priority::Message).await.is_none(), "while it rests");
}

#[tokio::test]
async fn a_call_that_never_connected_costs_nothing() {
    let budget = Budget::new(&Rate::parse("2/h").unwrap());
    assert_eq!(budget.left(), 2);
    for _ in 0..10 {
        budget.take(Priority::Message).await.unwrap().give_back();
    }
    assert_eq!(budget.left(), 2);
    drop(budget.take(Priority::Message).await);
    assert_eq!(budget.left(), 1);
}
