//! A life of a store, random but repeatable: the same seed makes the same calls.

use freeline::core::dispatch::Rehook;
use freeline::core::id::{LineId, PaymentId};
use freeline::core::number::Number;
use freeline::core::occupancy::Listed;
use freeline::core::outcome::{Answer, NotDone};
use freeline::core::payment::Command;
use freeline::core::time::{Span, Time};
use freeline::ids::{Ids, RandomIds};
use freeline::store::{
    ClaimedDispatch, ClaimedNotice, Directory, HookRecord, HookState, LineEntry, NewEvent,
    NewPayment, NoticeOutcome, Store, StoredHookKind, TreatmentFilter,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::build::{NOW, counterparty, line, manager, payment};
use super::event::{answer, close, moved_from, moved_to, received, received_bytes, text, with};
use super::steps::{refused, unknown};

const LINES: [&str; 6] = ["l0", "l1", "l2", "l3", "l4", "l5"];
const USERS: u32 = 6;

/// Lives through `steps` random steps; answers what the store answered to each.
pub(crate) async fn live(store: &dyn Store, seed: u64, steps: usize) -> Vec<String> {
    let mut life = Life {
        store,
        dice: StdRng::seed_from_u64(seed),
        ids: RandomIds::from_seed(seed),
        now: NOW,
        payments: Vec::new(),
        claimed: Vec::new(),
        notices: Vec::new(),
        heard: Vec::new(),
        told: Vec::new(),
    };
    life.begin().await;
    for _ in 0..steps {
        life.step().await;
    }
    life.told
}

struct Life<'a> {
    store: &'a dyn Store,
    dice: StdRng,
    ids: RandomIds,
    now: Time,
    payments: Vec<(PaymentId, Number)>,
    claimed: Vec<ClaimedDispatch>,
    notices: Vec<ClaimedNotice>,
    heard: Vec<NewEvent>,
    told: Vec<String>,
}

impl Life<'_> {
    fn tell(&mut self, what: &str, answer: &impl std::fmt::Debug) {
        self.told.push(format!("{} {} {what}: {answer:?}", self.told.len(), self.now));
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.dice.random_range(0..100) < percent
    }

    fn line(&mut self) -> LineId {
        LINES[self.dice.random_range(0..LINES.len())].into()
    }

    fn user(&mut self) -> String {
        format!("u{}", self.dice.random_range(0..USERS))
    }

    fn moment(&mut self) -> Time {
        self.now.minus(Span::from_secs(self.dice.random_range(0..20)))
    }

    fn directory(&mut self) -> Directory {
        let lines = LINES.iter().enumerate().filter(|_| self.dice.random_range(0..10) > 0);
        let lines: Vec<LineEntry> = lines
            .map(|(n, id)| LineEntry {
                capacity: if n % 3 == 0 { 2 } else { 1 },
                position: i64::from(n > 2),
                ..line(id, if n % 2 == 0 { "anna" } else { "boris" })
            })
            .collect();
        let mut managers = vec![manager("anna"), manager("boris")];
        managers[1].enabled = self.chance(80);
        let names = ["acme", "bolt", "crate"];
        let known = names.iter().filter(|_| self.dice.random_range(0..4) > 0);
        let customers = known.map(|name| counterparty(name, "anna")).collect();
        Directory { managers, lines, counterparties: customers }
    }

    async fn begin(&mut self) {
        let directory = self.directory();
        self.store.replace_directory(&directory, self.now).await.unwrap();
        for line in LINES {
            self.store.record_hooked(&line.into(), true, self.now).await.unwrap();
            self.store.record_look(&line.into(), &[], self.now, self.now).await.unwrap();
        }
    }

    async fn step(&mut self) {
        self.now = self.now.plus(Span::from_millis(self.dice.random_range(0..3_000)));
        match self.dice.random_range(0..100) {
            0..18 => self.pay().await,
            18..48 => self.hear().await,
            48..64 => self.dispatch().await,
            64..72 => self.claim().await,
            72..84 => self.answer().await,
            84..88 => self.command().await,
            88..92 => self.look().await,
            92..96 => self.notify().await,
            _ => self.change().await,
        }
    }

    async fn pay(&mut self) {
        let number = Number::from_random(self.ids.random());
        let id = PaymentId::new(self.ids.uuid(self.now));
        let repeated = self.chance(10) && !self.payments.is_empty();
        let key =
            if repeated { "key-0".to_owned() } else { format!("key-{}", self.payments.len()) };
        let names = ["acme", "bolt", "crate", "nobody"];
        let new = NewPayment {
            content: key.clone(),
            key,
            id: id.clone(),
            number: number.clone(),
            counterparty: Some(names[self.dice.random_range(0..4)].into()),
            manager: self.chance(70).then(|| if self.chance(50) { "anna" } else { "boris" }.into()),
            priority: self.dice.random_range(0..3),
            hold: self.chance(5).then(|| "ask".to_owned()),
            user: self.chance(90).then(|| self.user().into()),
            ..payment(0)
        };
        let added = self.store.add_payment(&new, self.now).await.unwrap();
        if !repeated {
            self.payments.push((id, number));
        }
        self.tell("add", &added);
    }

    fn event(&mut self) -> NewEvent {
        if self.chance(10) && !self.heard.is_empty() {
            let n = self.dice.random_range(0..self.heard.len());
            return self.heard[n].clone();
        }
        let (line, other, user, at) = (self.line(), self.line(), self.user(), self.moment());
        let (treatment, next) = (self.treatment(&user), self.treatment(&user));
        let chat = (line.as_str(), user.as_str(), treatment.as_str());
        let id = format!("m{}", self.heard.len());
        let written = match self.dice.random_range(0..self.payments.len().max(1)) {
            n if n < self.payments.len() => format!("№ {}", self.payments[n].1),
            _ => String::new(),
        };
        let body = match self.dice.random_range(0..12) {
            0..4 => text(&id, chat, at),
            4..6 => answer(&id, chat, &written, at),
            6..9 => close(&id, chat, at),
            9 => moved_to(&id, chat, (other.as_str(), &next), at),
            10 => moved_from(&id, chat, (other.as_str(), &next), at),
            _ => return received_bytes(b"{\"message_time\": 1}", self.now),
        };
        let bots = json!({"event_source": "bot", "treatment_id": null});
        let body = if self.chance(25) { with(body, bots) } else { body };
        let event = received(&body, self.now);
        self.heard.push(event.clone());
        event
    }

    /// A treatment of a user: a few, so that they come again.
    fn treatment(&mut self, user: &str) -> String {
        format!("t-{user}-{}", self.dice.random_range(0..self.heard.len() / 20 + 3))
    }

    async fn hear(&mut self) {
        let count = self.dice.random_range(1..6);
        let events: Vec<NewEvent> = (0..count).map(|_| self.event()).collect();
        let kept = self.store.keep_events(&events).await.unwrap();
        self.tell("keep", &kept);
        if self.chance(80) {
            let limit = self.dice.random_range(1..8);
            let applied = self.store.apply_events(self.now, limit).await.unwrap();
            self.tell("apply", &applied);
        }
    }

    async fn dispatch(&mut self) {
        let rechecked = self.store.recheck_payments(self.now, 64).await.unwrap();
        let round = self.store.dispatch(self.now).await.unwrap();
        self.tell("dispatch", &(rechecked, round));
    }

    async fn claim(&mut self) {
        let (owner, limit) =
            (if self.chance(50) { "me" } else { "you" }, self.dice.random_range(1..4));
        let until = self.now.plus(Span::from_secs(15));
        let claimed = self.store.claim_dispatches(owner, self.now, until, limit).await.unwrap();
        let seen: Vec<_> = claimed.iter().map(|c| (&c.about, c.fence, c.rehook)).collect();
        let seen = format!("{seen:?}");
        self.tell("claim", &seen);
        self.claimed.extend(claimed);
    }

    async fn answer(&mut self) {
        if self.chance(15) || self.claimed.is_empty() {
            let survivor = if self.chance(30) { Some("me") } else { None };
            let expired = self.store.expire_claims(self.now, survivor).await.unwrap();
            return self.tell("expire", &expired);
        }
        let n = self.dice.random_range(0..self.claimed.len());
        let claimed = self.claimed.swap_remove(n);
        if claimed.rehook == Rehook::Wanted {
            self.store.record_rehook(claimed.id, claimed.fence, Rehook::Done).await.unwrap();
        }
        let answer = match self.dice.random_range(0..10) {
            0..5 => Answer::Done,
            5 => Answer::NotDone { why: NotDone::RateLimited, retry_after: None },
            6 => refused(403, ""),
            7 => refused(404, "no"),
            8 => refused(422, "bad"),
            _ => unknown(),
        };
        let mine = self.store.record_answer(claimed.id, claimed.fence, &answer, self.now).await;
        self.tell("answer", &(answer, mine.unwrap()));
    }

    async fn command(&mut self) {
        if self.payments.is_empty() {
            return;
        }
        let commands = [Command::Hold, Command::Release, Command::Cancel, Command::Retry];
        let command = commands[self.dice.random_range(0..4)];
        let id = self.payments[self.dice.random_range(0..self.payments.len())].0.clone();
        let done = self.store.command_payment(&id, command, "because", self.now).await.unwrap();
        self.tell("command", &(command, done));
    }

    async fn look(&mut self) {
        let due = self.store.lines_to_look_at(self.now, 4).await.unwrap();
        self.tell("looks", &due);
        for line in due {
            if self.chance(30) {
                self.store.postpone_look(&line, self.now).await.unwrap();
                continue;
            }
            let filter = TreatmentFilter {
                open: Some(true),
                line: Some(line.clone()),
                limit: 9,
                ..TreatmentFilter::default()
            };
            let open = self.store.list_treatments(&filter).await.unwrap();
            let mut listed: Vec<Listed> = Vec::new();
            for one in open {
                if self.chance(70) {
                    let initialized_at = Some(one.opened_at);
                    listed.push(Listed { treatment: one.id, user: one.user, initialized_at });
                }
            }
            let asked_at = self.moment();
            self.store.record_look(&line, &listed, asked_at, self.now).await.unwrap();
        }
    }

    async fn notify(&mut self) {
        let until = self.now.plus(Span::from_secs(9));
        let claimed = self.store.claim_notices("me", self.now, until, 3).await.unwrap();
        let seen: Vec<_> =
            claimed.iter().map(|n| (&n.payment, n.episode, &n.lines, n.fence)).collect();
        let seen = format!("{seen:?}");
        self.tell("notices", &seen);
        self.notices.extend(claimed);
        if let Some(notice) = self.notices.pop() {
            let outcome = match self.dice.random_range(0..4) {
                0 | 1 => NoticeOutcome::Sent,
                2 => NoticeOutcome::NotSent("later".to_owned()),
                _ => NoticeOutcome::Refused("never".to_owned()),
            };
            let mine = self.store.record_notice(notice.id, notice.fence, &outcome, self.now).await;
            self.tell("notice", &mine.unwrap());
        }
        let expired = self.store.expire_notices(self.now, None).await.unwrap();
        self.tell("expired notices", &expired);
    }

    async fn change(&mut self) {
        let line = self.line();
        match self.dice.random_range(0..8) {
            0 | 1 => {
                let reason = self.chance(40).then_some("holiday");
                let known = self.store.pause_line(&line, reason, self.now).await.unwrap();
                self.tell("pause", &known);
            }
            2 => {
                let hooked = self.chance(70);
                let news = self.store.record_hooked(&line, hooked, self.now).await.unwrap();
                self.tell("hooked", &news);
            }
            3 => {
                let hook = HookRecord {
                    kind: StoredHookKind::Bot,
                    state: HookState::Foreign,
                    url: None,
                    fingerprint: None,
                    detail: None,
                    checked_at: self.now,
                };
                // A line that is not in the directory has no hooks.
                if self.store.hook_targets().await.unwrap().iter().any(|t| t.line == line) {
                    self.store.record_hook(&line, &hook).await.unwrap();
                }
            }
            4 => self.store.forget_occupancy(Span::ZERO, self.now).await.unwrap(),
            5 => {
                let put =
                    self.store.put_counterparty(&counterparty("nobody", "boris"), self.now).await;
                self.tell("put", &put.unwrap());
            }
            6 => self.now = self.now.plus(Span::from_secs(self.dice.random_range(10..4_000))),
            _ => {
                let directory = self.directory();
                self.store.replace_directory(&directory, self.now).await.unwrap();
            }
        }
    }
}
