//! Events on their way to the hooks: at least once, in order per line unless told otherwise.
//!
//! One task owns every event in hand. Events of one lane (a line and a kind of hook) are sent one
//! after the other; what failed is sent again later, out of turn, as the platform does.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::connect::HookKind;
use crate::core::id::LineId;
use crate::lifecycle::Tasks;

use super::config::SandboxConfig;
use super::faults::EventFate;
use super::hooks::Hook;

/// Events that may wait to be taken in.
const QUEUE_MAX: usize = 1_024;
/// Events in hand; beyond it whoever causes events waits.
const IN_HAND_MAX: usize = 100_000;
/// Deliveries under way at once.
const UNDER_WAY_MAX: usize = 16;

/// What keeps its order: the events of one line for one kind of hook.
pub(super) type Lane = (HookKind, LineId);

/// One event on its way to one hook.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    lane: Lane,
    hook: Hook,
    body: Bytes,
    fate: EventFate,
    /// Which copy this is, counted from 1.
    copy: u16,
}

impl Delivery {
    /// The first copy.
    pub(super) fn new(lane: Lane, hook: Hook, body: String, fate: EventFate) -> Self {
        Self { lane, hook, body: Bytes::from(body), fate, copy: 1 }
    }

    /// Whether it is never delivered.
    pub(super) fn is_lost(&self) -> bool {
        self.fate.lost
    }
}

/// The way into the delivery, and how much is in it.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Delivery>,
    in_hand: Arc<watch::Sender<usize>>,
}

impl Outbox {
    /// Waits for room for `count` events; `None` after the stop.
    pub(super) async fn reserve(&self, count: usize) -> Option<mpsc::PermitIterator<'_, Delivery>> {
        let mut in_hand = self.in_hand.subscribe();
        in_hand.wait_for(|in_hand| in_hand.saturating_add(count) <= IN_HAND_MAX).await.ok()?;
        self.queue.reserve_many(count).await.ok()
    }

    /// Takes an event in.
    pub(super) fn post(&self, permit: mpsc::Permit<'_, Delivery>, delivery: Delivery) {
        self.in_hand.send_modify(|in_hand| *in_hand += 1);
        permit.send(delivery);
    }

    /// Waits until no event is in hand.
    pub(super) async fn quiesce(&self) {
        let mut in_hand = self.in_hand.subscribe();
        // It cannot fail: the sender stands in `self`.
        if in_hand.wait_for(|in_hand| *in_hand == 0).await.is_err() {
            tracing::debug!("the delivery of the sandbox has ended");
        }
    }
}

/// What one of the waited-for futures reports.
enum Happened {
    /// A copy was sent; whether it was answered with 200.
    Sent(Delivery, bool),
    /// A copy is due out of turn.
    Due(Delivery),
    /// The event held back under this number was held back long enough.
    HeldEnough(u64),
}

type Waiting = Pin<Box<dyn Future<Output = Happened> + Send>>;

/// One lane's events, in order.
#[derive(Default)]
struct LaneQueue {
    waiting: VecDeque<Delivery>,
    busy: bool,
}

/// An event held back until later ones went by.
struct HeldBack {
    number: u64,
    remaining: u8,
    delivery: Delivery,
}

/// The task that delivers.
struct Courier {
    client: reqwest::Client,
    copies_max: u16,
    retry_after: Duration,
    duplicate_after: Duration,
    held_back_max: Duration,
    in_hand: Arc<watch::Sender<usize>>,
    lanes: BTreeMap<Lane, LaneQueue>,
    /// Lanes with something to send and nothing under way.
    ready: VecDeque<Lane>,
    /// What goes out of turn.
    out_of_turn: VecDeque<Delivery>,
    held_back: Vec<HeldBack>,
    held_back_count: u64,
    under_way: usize,
    happenings: FuturesUnordered<Waiting>,
}

/// Starts the delivery; nothing is sent while `down` says so.
pub(super) fn start(
    config: &SandboxConfig,
    down: watch::Receiver<bool>,
    tasks: &Tasks,
) -> Result<Outbox, reqwest::Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(config.delivery_timeout)
        .build()?;
    let (queue, incoming) = mpsc::channel(QUEUE_MAX);
    let in_hand = Arc::new(watch::Sender::new(0));
    let courier = Courier {
        client,
        copies_max: config.copies_max,
        retry_after: config.retry_after,
        duplicate_after: config.duplicate_after,
        held_back_max: config.held_back_max,
        in_hand: Arc::clone(&in_hand),
        lanes: BTreeMap::new(),
        ready: VecDeque::new(),
        out_of_turn: VecDeque::new(),
        held_back: Vec::new(),
        held_back_count: 0,
        under_way: 0,
        happenings: FuturesUnordered::new(),
    };
    let stopping = tasks.clone();
    tasks.spawn("sandbox delivery", async move {
        let running = courier.run(incoming, down);
        tokio::select! {
            () = running => {}
            () = stopping.stopping() => {}
        }
    });
    Ok(Outbox { queue, in_hand })
}

impl Drop for Courier {
    fn drop(&mut self) {
        // Whoever waits for quiet must not wait for a delivery that has ended.
        self.in_hand.send_replace(0);
    }
}

impl Courier {
    async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Delivery>,
        mut down: watch::Receiver<bool>,
    ) {
        loop {
            let is_down = *down.borrow_and_update();
            if !is_down {
                self.send_what_may_go();
            }
            tokio::select! {
                taken = incoming.recv() => match taken {
                    Some(delivery) => self.take_in(delivery),
                    None => return,
                },
                Some(happened) = self.happenings.next() => self.note(happened),
                changed = down.changed() => if changed.is_err() { return },
            }
        }
    }

    /// A new event: waits in its lane, or is held back.
    fn take_in(&mut self, delivery: Delivery) {
        if delivery.fate.overtaken_by == 0 {
            let lane = self.lanes.entry(delivery.lane.clone()).or_default();
            if !lane.busy && lane.waiting.is_empty() {
                self.ready.push_back(delivery.lane.clone());
            }
            lane.waiting.push_back(delivery);
            return;
        }
        self.held_back_count += 1;
        let number = self.held_back_count;
        let remaining = delivery.fate.overtaken_by;
        self.held_back.push(HeldBack { number, remaining, delivery });
        let pause = self.held_back_max;
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Happened::HeldEnough(number)
        }));
    }

    /// Starts as many deliveries as may be under way.
    fn send_what_may_go(&mut self) {
        while self.under_way < UNDER_WAY_MAX {
            let Some(delivery) = self.out_of_turn.pop_front().or_else(|| self.next_in_turn())
            else {
                return;
            };
            self.under_way += 1;
            self.happenings.push(Box::pin(send(self.client.clone(), delivery)));
        }
    }

    /// The oldest event of the lane whose turn it is.
    fn next_in_turn(&mut self) -> Option<Delivery> {
        let lane = self.ready.pop_front()?;
        let queue = self.lanes.get_mut(&lane)?;
        queue.busy = true;
        queue.waiting.pop_front()
    }

    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Due(delivery) => self.out_of_turn.push_back(delivery),
            Happened::HeldEnough(number) => self.release(|held| held.number == number),
            Happened::Sent(delivery, accepted) => {
                self.under_way = self.under_way.saturating_sub(1);
                if delivery.copy == 1 && delivery.fate.overtaken_by == 0 {
                    self.free_lane(&delivery.lane);
                }
                for held in &mut self.held_back {
                    held.remaining = held.remaining.saturating_sub(1);
                }
                self.release(|held| held.remaining == 0);
                self.settle(delivery, accepted);
            }
        }
    }

    /// Lets go of events held back.
    fn release(&mut self, whether: impl Fn(&HeldBack) -> bool) {
        let released = self.held_back.extract_if(.., |held| whether(held));
        self.out_of_turn.extend(released.map(|held| held.delivery));
    }

    /// The lane's first copy was answered: its next event may go. An idle lane is forgotten.
    fn free_lane(&mut self, lane: &Lane) {
        if let Some(queue) = self.lanes.get_mut(lane) {
            queue.busy = false;
            if queue.waiting.is_empty() {
                self.lanes.remove(lane);
            } else {
                self.ready.push_back(lane.clone());
            }
        }
    }

    /// After a copy: another one later, or the event is out of hand.
    fn settle(&mut self, delivery: Delivery, accepted: bool) {
        let again = !accepted || (delivery.fate.duplicated && delivery.copy == 1);
        if !again || delivery.copy >= self.copies_max {
            if !accepted {
                tracing::info!(line.id = %delivery.lane.1, "the sandbox gave up an event");
            }
            self.in_hand.send_modify(|in_hand| *in_hand = in_hand.saturating_sub(1));
            return;
        }
        let pause = if accepted { self.duplicate_after } else { self.retry_after };
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Happened::Due(Delivery { copy: delivery.copy + 1, ..delivery })
        }));
    }
}

/// Posts one copy.
async fn send(client: reqwest::Client, delivery: Delivery) -> Happened {
    let mut request = client
        .post(delivery.hook.target.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .body(delivery.body.clone());
    if let Some(authorization) = &delivery.hook.authorization {
        request = request.header(header::AUTHORIZATION, authorization.clone());
    }
    let accepted = match request.send().await {
        Ok(answer) => answer.status() == reqwest::StatusCode::OK,
        Err(_) => false,
    };
    Happened::Sent(delivery, accepted)
}
