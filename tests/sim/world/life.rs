//! A life: the program, the platform, the people and the ERP, moved on step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freeline::connect::HookKind;
use freeline::core::id::{LineId, PaymentId, UserId};
use freeline::core::number::Number;
use freeline::core::payment::{Command, PaymentState};
use freeline::core::time::{Span, Time};
use freeline::store::{Added, Counterparty, Directory, LineEntry, Manager, NewPayment, Store};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use super::clocks::Clocks;
use super::database::Direct;
use super::engine::{Engine, Place};
use super::event;
use super::outside::{Letters, SimChat, SimMailer};
use super::plan::{DISPATCHER, INTAKE, Post, RECONCILER, SENDER, Setting, Step, WORKERS};
use super::platform::{Platform, SharedPlatform};
use super::replica::{Around, Replica, Went};
use super::store::SimStore;
use super::truth::Truth;
use super::turnstile::{Calls, Fate, Turnstile};

/// The moment at which lives begin: 2026-03-02 09:00 UTC.
const BEGIN: Time = Time::from_micros(1_772_442_000_000_000);

/// How far time goes on at once: nobody has been away for long.
const KEPT_EVERY: Span = Span::from_secs(45);

/// How the words about a worker end that found nothing to do, and so has changed nothing.
const NOTHING: &str = "and has nothing to do";

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// Which promise: a shorter plan has to break the same.
    pub(super) promise: &'static str,
    pub(super) words: String,
}

pub(super) fn broken<T>(promise: &'static str, words: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { promise, words: words.into() })
}

/// A payment that the ERP wants to hand over.
pub(super) struct Asked {
    pub(super) new: NewPayment,
    /// It was answered 201 or 200; else the ERP asks again.
    pub(super) is_accepted: bool,
    /// A person sent it again out of a doubt, or took it back in one.
    pub(super) is_settled_by_hand: bool,
}

/// What went on in a life, for figures over many.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Figures {
    pub(super) steps: u64,
    pub(super) payments: u64,
    pub(super) messages: u64,
    /// Sent before the end began.
    pub(super) early: u64,
    pub(super) doubted: u64,
    pub(super) doubled_in_good_faith: u64,
    pub(super) guessed_by_look: u64,
    pub(super) settled_by_hand: u64,
    pub(super) letters: u64,
    pub(super) answers_refused: u64,
}

pub(super) struct Life {
    pub(super) setting: Setting,
    pub(super) clocks: Clocks,
    pub(super) platform: SharedPlatform,
    pub(super) letters: Letters,
    pub(super) turnstile: Turnstile,
    pub(super) replicas: Vec<Replica>,
    pub(super) around: Vec<Around>,
    pub(super) direct: Direct,
    pub(super) directory: Directory,
    pub(super) asked: BTreeMap<usize, Asked>,
    /// Bodies that were answered 200.
    pub(super) acknowledged: BTreeSet<Vec<u8>>,
    /// Lines whose capacity was lowered: what is on them already stays.
    lowered: BTreeSet<LineId>,
    lives: usize,
    strange: usize,
    pub(super) trace: Vec<String>,
    pub(super) figures: Figures,
}

impl Life {
    pub(super) async fn begin(setting: &Setting, engine: &mut Engine) -> Self {
        let Place { stores, broken, direct } = engine.place(setting.mode).await;
        let clocks = Clocks::new(BEGIN);
        let lines = (0..setting.lines).map(line_id);
        let platform = SharedPlatform::new(Platform::new(lines, setting.manners));
        let (letters, turnstile) = (Letters::default(), Turnstile::default());
        let around = |store| Around {
            store: Arc::new(SimStore {
                inner: store,
                broken: Arc::clone(&broken),
                turnstile: turnstile.clone(),
                platform: platform.clone(),
            }),
            chat: Arc::new(SimChat {
                platform: platform.clone(),
                turnstile: turnstile.clone(),
                clocks: clocks.clone(),
            }),
            mailer: Arc::new(SimMailer {
                letters: letters.clone(),
                turnstile: turnstile.clone(),
                clocks: clocks.clone(),
            }),
            clock: Arc::new(clocks.clone()),
            mode: setting.mode,
            is_alone: setting.replicas == 1,
        };
        let around: Vec<Around> = stores.into_iter().take(setting.replicas).map(around).collect();
        let mut life = Self {
            setting: setting.clone(),
            directory: directory(setting),
            clocks,
            platform,
            letters,
            turnstile,
            replicas: Vec::new(),
            around,
            direct,
            asked: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            lowered: BTreeSet::new(),
            lives: 0,
            strange: 0,
            trace: Vec::new(),
            figures: Figures::default(),
        };
        for at in 0..setting.replicas {
            let replica = life.started(at);
            life.replicas.push(replica);
        }
        life
    }

    fn started(&mut self, at: usize) -> Replica {
        self.lives += 1;
        Replica::start(&self.around[at], &format!("process {}", self.lives))
    }

    pub(super) fn now(&self) -> Time {
        use freeline::clock::Clock as _;
        self.clocks.now()
    }

    pub(super) fn tell(&mut self, words: impl AsRef<str>) {
        let time = self.clocks.truth().to_string();
        let time = time.split('T').nth(1).unwrap_or("").trim_end_matches('Z');
        self.trace.push(format!("{time:<15} {}", words.as_ref()));
    }

    /// The store as the replica's HTTP side sees it.
    fn store(&self, replica: usize) -> Arc<dyn Store> {
        Arc::clone(&self.around[replica % self.around.len()].store)
    }

    /// Takes a step, and looks at all promises after it.
    pub(super) async fn step(&mut self, step: Step) -> Result<(), Failure> {
        self.figures.steps += 1;
        self.turnstile.forget();
        let Some(words) = self.take(step).await? else { return Ok(()) };
        let nothing = words.ends_with(NOTHING);
        self.tell(words);
        if self.turnstile.has_changed() && !nothing {
            self.look().await?;
        }
        Ok(())
    }

    /// Looks whether every promise is kept at this moment.
    pub(super) async fn look(&mut self) -> Result<Truth, Failure> {
        let truth = Truth::read(&mut self.direct).await;
        self.look_at(&truth, false)?;
        Ok(truth)
    }

    pub(super) fn look_at(&self, truth: &Truth, at_rest: bool) -> Result<(), Failure> {
        use freeline::core::invariant::Breach;
        let found = truth.breaches(self.now(), at_rest).into_iter().find(
            |breach| !matches!(breach, Breach::OverCapacity(line) if self.lowered.contains(line)),
        );
        if let Some(breach) = found {
            return broken("an invariant", format!("{breach:?}"));
        }
        for (letter, times) in self.letters.taken() {
            if times > 1 {
                return broken("one letter", format!("{letter} was taken {times} times"));
            }
        }
        let platform = self.platform.lock();
        for message in platform.messages.iter().filter(|message| message.is_breach) {
            let asked = self.asked.values().find(|asked| asked.new.number == message.number);
            if asked.is_none_or(|asked| !asked.is_settled_by_hand) {
                let words = format!("{} went out again although it was known", message.number);
                return broken("one message", words);
            }
        }
        Ok(())
    }

    /// Carries a step out; answers what happened, or nothing if there was nothing to do.
    async fn take(&mut self, step: Step) -> Result<Option<String>, Failure> {
        let now = self.now();
        let words = match step {
            Step::Go { replica, worker, calls } => {
                return Ok(Some(self.go(replica, worker, calls).await.1));
            }
            Step::Round { replica } => {
                let mut words = format!("replica {replica}, once around: ");
                for worker in 0..WORKERS.len() {
                    let (went, _) = self.go(replica, worker, Calls::ALL).await;
                    words.push_str(&format!("{} {went:?}, ", WORKERS[worker]));
                }
                words
            }
            Step::Crash { replica } => {
                let replica = replica % self.replicas.len();
                self.replicas[replica] = self.started(replica);
                format!("replica {replica} crashes, process {} takes its place", self.lives)
            }
            Step::Restart { replica } => {
                let replica = replica % self.replicas.len();
                let next = self.started(replica);
                let last = std::mem::replace(&mut self.replicas[replica], next);
                last.stop(&self.turnstile).await;
                format!("replica {replica} stops, process {} takes its place", self.lives)
            }
            Step::Pass { millis, kept } => {
                let whole = Span::from_millis(millis);
                let end = self.clocks.truth().plus(whole);
                while self.clocks.truth() < end {
                    let left = end.since(self.clocks.truth());
                    self.clocks.pass(if kept { left.min(KEPT_EVERY) } else { left });
                    for replica in 0..self.replicas.len() {
                        if kept && !self.replicas[replica].is_going(RECONCILER) {
                            self.go(replica, RECONCILER, Calls::ALL).await;
                        }
                    }
                }
                format!("{whole} pass{}", if kept { ", and the lease is kept" } else { "" })
            }
            Step::SetClock { off_ms } => {
                self.clocks.set_off(off_ms);
                format!("our clock is set {off_ms} ms off")
            }
            Step::Deliver { which, replica, post } => {
                return Ok(self.deliver(which, replica, post).await);
            }
            Step::Send { replica, lane, calls } => {
                let (went, words) = self.go(replica, DISPATCHER, Calls::ALL).await;
                if went == Went::Did {
                    self.tell(words);
                }
                return Ok(Some(self.go(replica, SENDER + lane % 2, calls).await.1));
            }
            Step::Hear { count, replica } => {
                for _ in 0..count {
                    let Some(words) = self.deliver(0, replica, Post::Delivered).await else {
                        break;
                    };
                    self.tell(words);
                }
                return Ok(Some(self.go(replica, INTAKE, Calls::ALL).await.1));
            }
            Step::DeliverSome { count, replica } => {
                let waiting = self.platform.lock().outbox.len();
                for _ in 0..waiting.min(count) {
                    if let Some(words) = self.deliver(0, replica, Post::Delivered).await {
                        self.tell(words);
                    }
                }
                return Ok((waiting > 0).then(|| "and those were all".to_owned()));
            }
            Step::Pay { n, user, whose, priority, hold, fate } => {
                self.pay(n, (user, whose, priority, hold), fate).await?
            }
            Step::PayAgain { which, changed } => return self.pay_again(which, changed).await,
            Step::Order { which, what, fate } => return Ok(self.order(which, what, fate).await),
            Step::ForgetHook { .. }
            | Step::Refuse { .. }
            | Step::Permit
            | Step::PlatformDown { .. }
            | Step::UserWrites { .. }
            | Step::SpecialistWrites { .. }
            | Step::Closes { .. }
            | Step::Rates { .. }
            | Step::Moves { .. } => return Ok(self.outside(step)),
            Step::StrangeEvent { which } => return Ok(Some(self.strange(which, now).await)),
            Step::PutWhole { .. }
            | Step::PutLine { .. }
            | Step::PutManager { .. }
            | Step::PutCounterparty { .. }
            | Step::Pause { .. } => self.directory_changes(step).await,
        };
        Ok(Some(words))
    }

    /// A worker goes on.
    pub(super) async fn go(
        &mut self,
        replica: usize,
        worker: usize,
        calls: Calls,
    ) -> (Went, String) {
        let replica = replica % self.replicas.len();
        let went = self.replicas[replica].go(worker, &self.turnstile, calls).await;
        let end = match went {
            Went::Stands => format!("and stands before {}", self.turnstile.at()),
            Went::Did => "and did something".to_owned(),
            Went::Nothing => NOTHING.to_owned(),
            Went::Failed => "and the database failed it".to_owned(),
        };
        let name = WORKERS[worker];
        (went, format!("replica {replica}, {name}: {} {end}", self.turnstile.told()))
    }

    /// The platform delivers an event; unless it is answered 200 it comes again.
    pub(super) async fn deliver(
        &mut self,
        which: usize,
        replica: usize,
        post: Post,
    ) -> Option<String> {
        let delivery = {
            let mut platform = self.platform.lock();
            if self.clocks.truth() < platform.down_until {
                return None;
            }
            let which = which.checked_rem(platform.outbox.len())?;
            platform.outbox.remove(which)
        };
        let what = delivery.words();
        if post == Post::Lost {
            self.platform.lock().has_lost = true;
            return Some(format!("the platform loses {what}"));
        }
        let fate = match post {
            Post::NotKept => Fate::FailsBefore,
            Post::KeptUnheard => Fate::FailsAfter,
            Post::Lost | Post::Delivered | Post::DeliveredAndAgain => Fate::Fine,
        };
        let (store, body) = (self.store(replica), delivery.body.to_string());
        let new = event::received_bytes(body.as_bytes(), self.now());
        let kept = self.turnstile.run(store.keep_events(&[new]), fate).await;
        let mut platform = self.platform.lock();
        if kept.is_ok() || post == Post::KeptUnheard {
            platform.was_heard(&delivery);
        }
        let again = super::platform::Delivery { times: delivery.times + 1, ..delivery };
        let comes_again = kept.is_err() || (post == Post::DeliveredAndAgain && again.times < 3);
        if comes_again {
            platform.outbox.push(again);
        }
        Some(match kept {
            Ok(kept) => {
                self.acknowledged.insert(body.into_bytes());
                format!("{what} is delivered to replica {replica}: {:?}", kept[0])
            }
            Err(_) => format!("{what} is answered 503, {post:?}"),
        })
    }

    async fn pay(
        &mut self,
        n: usize,
        (user, whose, priority, hold): (usize, usize, i64, bool),
        fate: Fate,
    ) -> Result<String, Failure> {
        let seed = self.setting.seed.wrapping_mul(1_000_003).wrapping_add(n as u64);
        let number = Number::from_random(StdRng::seed_from_u64(seed).next_u64());
        let (counterparty, manager) = match whose % 4 {
            0 => (Some("acme"), None),
            1 => (Some("bolt"), Some("boris")),
            2 => (None, Some("boris")),
            _ => (None, Some("anna")),
        };
        let new = NewPayment {
            id: format!("payment-{n:03}").into(),
            number,
            key: format!("key-{n}"),
            content: format!("content of {n}"),
            counterparty: counterparty.map(Into::into),
            manager: manager.map(Into::into),
            amount: 1_234_567,
            currency: "RUB".to_owned(),
            paid_at: BEGIN,
            order: None,
            purpose: None,
            priority,
            hold: hold.then(|| "ask first".to_owned()),
            mismatch: None,
            user: Some(user_id(user)),
            author: None,
            text: None,
        };
        let words = format!("the ERP hands over {} ({}) for {}", new.id, new.number, user_id(user));
        let store = self.store(0);
        let added = self.turnstile.run(store.add_payment(&new, self.now()), fate).await;
        let is_accepted = added.is_ok();
        self.asked.insert(n, Asked { new, is_accepted, is_settled_by_hand: false });
        match added {
            Ok(Added::New) => Ok(format!("{words}: 201")),
            Ok(other) => broken("one payment a key", format!("{words}: {other:?}")),
            Err(_) => Ok(format!("{words}: 503, {fate:?}")),
        }
    }

    /// The ERP repeats a payment, as it is or changed under the same key.
    pub(super) async fn pay_again(
        &mut self,
        which: usize,
        changed: bool,
    ) -> Result<Option<String>, Failure> {
        let Some(n) = which.checked_rem(self.asked.len()) else { return Ok(None) };
        let (store, now) = (self.store(0), self.now());
        let asked = self.asked.values_mut().nth(n).expect("there are so many");
        let mut new = asked.new.clone();
        // A request of its own gets an id of its own.
        new.id = format!("{}-again-{}", new.id, self.figures.steps).into();
        if changed && asked.is_accepted {
            new.content.push_str(", changed");
        }
        let added = self.turnstile.run(store.add_payment(&new, now), Fate::Fine).await;
        let words = format!("the ERP repeats {}: {added:?}", asked.new.key);
        match added.expect("the database is there") {
            Added::New if !asked.is_accepted => asked.new.id = new.id,
            Added::Same(id) if new.content == asked.new.content && id == asked.new.id => {}
            Added::Conflict(id) if new.content != asked.new.content && id == asked.new.id => {}
            _ => return broken("one payment a key", words),
        }
        asked.is_accepted = true;
        Ok(Some(words))
    }

    /// A person gives an order about a payment.
    async fn order(&mut self, which: usize, what: usize, fate: Fate) -> Option<String> {
        let n = which.checked_rem(self.asked.len())?;
        let id = self.asked.values().nth(n)?.new.id.clone();
        let command = match what % 8 {
            0..3 => Command::Hold,
            3..6 => Command::Release,
            6 => Command::Cancel,
            _ => Command::Retry,
        };
        self.command(&id, command, fate).await
    }

    pub(super) async fn command(
        &mut self,
        id: &PaymentId,
        command: Command,
        fate: Fate,
    ) -> Option<String> {
        let (store, now) = (self.store(0), self.now());
        let before = self.around[0].store_past(id, &self.turnstile).await?;
        let done = self.turnstile.run(store.command_payment(id, command, "so be it", now), fate);
        let done = done.await;
        let was_in_doubt = before == PaymentState::InDoubt;
        let asked = self.asked.values_mut().find(|asked| asked.new.id == *id)?;
        if was_in_doubt && matches!(command, Command::Cancel | Command::Retry) {
            asked.is_settled_by_hand = true;
        }
        let done = match done {
            Ok(Some(Ok(()))) => "done".to_owned(),
            Ok(Some(Err(refused))) => refused.to_string(),
            Ok(None) => "not known".to_owned(),
            Err(_) => format!("503, {fate:?}"),
        };
        Some(format!("a person: {command:?} {id} ({before}): {done}"))
    }

    /// What happens on the platform.
    fn outside(&mut self, step: Step) -> Option<String> {
        let now = self.clocks.truth();
        let mut platform = self.platform.lock();
        let open = |platform: &Platform, which: usize| {
            let which = which.checked_rem(platform.open.len())?;
            platform.open.keys().nth(which).cloned()
        };
        Some(match step {
            Step::ForgetHook { line, bot } => {
                let kind = if bot { HookKind::Bot } else { HookKind::Line };
                platform.forget_hook(kind, &line_id(line));
                format!("the platform forgets the {} hook of {}", kind.word(), line_id(line))
            }
            Step::Refuse { line, user } => {
                platform.refused.insert((line_id(line), user_id(user)));
                format!("{} is no subscriber of {} any more", user_id(user), line_id(line))
            }
            Step::Permit => {
                platform.refused.clear();
                "all users are subscribers again".to_owned()
            }
            Step::PlatformDown { secs } => {
                platform.down_until = now.plus(Span::from_secs(secs));
                format!("the platform is down for {secs} s")
            }
            Step::UserWrites { line, user } => {
                let talk = platform.user_writes(&line_id(line), &user_id(user), now);
                format!("{} writes on {} ({talk})", user_id(user), line_id(line))
            }
            Step::SpecialistWrites { line, user, quotes } => {
                let said = quotes.and_then(|n| n.checked_rem(platform.messages.len()));
                let said = said.map(|n| format!("see {}", platform.messages[n].number));
                let said = said.unwrap_or_else(|| "Hello".to_owned());
                let (line, user) = (line_id(line), user_id(user));
                let talk = platform.specialist_writes(&line, &user, &said, now);
                format!("a specialist writes to {user} on {line} ({talk}): {said}")
            }
            Step::Closes { which, automatic } => {
                let pair = open(&platform, which)?;
                let talk = platform.close(&pair, if automatic { 90 } else { 82 }, now)?;
                format!("{talk} of {} on {} is closed", pair.1, pair.0)
            }
            Step::Rates { which } => format!("{} is rated", platform.rate(which, now)?),
            Step::Moves { which, line } => {
                let pair = open(&platform, which)?;
                let (from, to) = platform.move_to(&pair, &line_id(line), now)?;
                format!("{from} of {} on {} moves to {} ({to})", pair.1, pair.0, line_id(line))
            }
            _ => return None,
        })
    }

    /// Something comes in that nobody understands.
    async fn strange(&mut self, which: usize, now: Time) -> String {
        self.strange += 1;
        let n = self.strange;
        let body = match which % 4 {
            0 => format!(r#"{{"n":{n}}}"#),
            1 => format!(r#"{{"message_type":82,"event_source":"line","n":{n}}}"#),
            2 => format!(r#"{{"message_type":"?","message_id":"s{n}"}}"#),
            _ => format!(r#"{{"event_type":"subscriber","action":"add","n":{n}}}"#),
        };
        let new = event::received_bytes(body.as_bytes(), now);
        let store = self.store(0);
        let kept = self.turnstile.run(store.keep_events(&[new]), Fate::Fine).await;
        kept.expect("the database is there");
        let words = format!("{body} comes in");
        self.acknowledged.insert(body.into_bytes());
        words
    }

    /// The ERP changes the directory.
    pub(super) async fn directory_changes(&mut self, step: Step) -> String {
        let (store, now) = (self.store(0), self.now());
        let turnstile = self.turnstile.clone();
        match step {
            Step::PutWhole { without } => {
                let mut given = directory(&self.setting);
                let mut at = 0;
                given.lines.retain(|_| {
                    at += 1;
                    without >> at & 1 == 0
                });
                for line in &given.lines {
                    let known = self.directory.lines.iter().find(|known| known.line == line.line);
                    if known.is_some_and(|known| known.capacity > line.capacity) {
                        self.lowered.insert(line.line.clone());
                    }
                }
                let put = turnstile.run(store.replace_directory(&given, now), Fate::Fine).await;
                put.expect("the database is there");
                let words = format!("the ERP puts a directory of {} lines", given.lines.len());
                self.directory = given;
                words
            }
            Step::PutLine { line, manager, capacity, enabled } => {
                let entry = LineEntry {
                    capacity,
                    enabled,
                    manager: MANAGERS[manager % 2].into(),
                    ..line_entry(line)
                };
                let known = self.directory.lines.iter().find(|known| known.line == entry.line);
                if known.is_none_or(|known| known.capacity > capacity) {
                    self.lowered.insert(entry.line.clone());
                }
                let put = turnstile.run(store.put_line(&entry, now), Fate::Fine).await;
                put.expect("the database is there");
                let words = format!(
                    "the ERP puts {}: of {}, capacity {capacity}, enabled {enabled}",
                    entry.line, entry.manager
                );
                self.directory.lines.retain(|known| known.line != entry.line);
                self.directory.lines.push(entry);
                words
            }
            Step::PutManager { manager, enabled } => {
                let manager = Manager { enabled, ..manager_entry(MANAGERS[manager % 2]) };
                let put = turnstile.run(store.put_manager(&manager, now), Fate::Fine).await;
                put.expect("the database is there");
                format!("the ERP puts {}: enabled {enabled}", manager.id)
            }
            Step::PutCounterparty { which, manager } => {
                let id = ["acme", "bolt"][which % 2];
                let entry = counterparty(id, MANAGERS[manager % 2]);
                let put = turnstile.run(store.put_counterparty(&entry, now), Fate::Fine).await;
                put.expect("the database is there");
                format!("the ERP gives {id} to {}", entry.manager)
            }
            Step::Pause { line, resumed } => {
                let reason = (!resumed).then_some("holiday");
                let id = line_id(line);
                let put = turnstile.run(store.pause_line(&id, reason, now), Fate::Fine).await;
                put.expect("the database is there");
                let what = if resumed { "resumed" } else { "paused" };
                format!("{} is {what}", line_id(line))
            }
            _ => String::new(),
        }
    }
}

impl Around {
    /// Where a payment is.
    async fn store_past(&self, id: &PaymentId, turnstile: &Turnstile) -> Option<PaymentState> {
        let details = turnstile.run(self.store.payment(id), Fate::Fine).await;
        Some(details.expect("the database is there")?.payment.state)
    }
}

const MANAGERS: [&str; 2] = ["anna", "boris"];

pub(super) fn line_id(n: usize) -> LineId {
    format!("line-{n}").into()
}

fn user_id(n: usize) -> UserId {
    format!("user-{n}").into()
}

fn manager_entry(id: &str) -> Manager {
    Manager {
        id: id.into(),
        name: format!("Manager {id}"),
        email: format!("{id}@example.org"),
        specialist: Some("specialist".into()),
        enabled: true,
    }
}

fn line_entry(n: usize) -> LineEntry {
    LineEntry {
        line: line_id(n),
        name: format!("Line {n}"),
        manager: MANAGERS[n % 2].into(),
        capacity: if n % 3 == 0 { 2 } else { 1 },
        position: i64::from(n > 1),
        enabled: true,
    }
}

fn counterparty(id: &str, manager: &str) -> Counterparty {
    Counterparty {
        id: id.into(),
        name: format!("Customer {id}"),
        inn: None,
        manager: manager.into(),
        user: None,
    }
}

/// Everything enabled.
pub(super) fn directory(setting: &Setting) -> Directory {
    Directory {
        managers: MANAGERS.iter().map(|id| manager_entry(id)).collect(),
        lines: (0..setting.lines).map(line_entry).collect(),
        counterparties: vec![counterparty("acme", "anna"), counterparty("bolt", "anna")],
    }
}

impl Figures {
    /// Adds those of another life.
    pub(super) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.payments += other.payments;
        self.messages += other.messages;
        self.early += other.early;
        self.doubted += other.doubted;
        self.doubled_in_good_faith += other.doubled_in_good_faith;
        self.guessed_by_look += other.guessed_by_look;
        self.settled_by_hand += other.settled_by_hand;
        self.letters += other.letters;
        self.answers_refused += other.answers_refused;
    }
}
