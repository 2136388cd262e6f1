//! A life: the program, the platform, the people and the ERP, moved on step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use freeline::connect::HookKind;
use freeline::core::id::{LineId, UserId};
use freeline::core::time::{Span, Time};
use freeline::store::{NewPayment, Store};

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
pub(super) const BEGIN: Time = Time::from_micros(1_772_442_000_000_000);

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
    pub(super) asked: BTreeMap<usize, Asked>,
    /// Bodies that were answered 200.
    pub(super) acknowledged: BTreeSet<Vec<u8>>,
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
            clocks,
            platform,
            letters,
            turnstile,
            replicas: Vec::new(),
            around,
            direct,
            asked: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
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
    pub(super) fn store(&self, replica: usize) -> Arc<dyn Store> {
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
        if let Some(breach) = truth.breaches(self.now(), at_rest).first() {
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
                let mut words = format!("replica {replica}, once around:");
                for (worker, name) in WORKERS.iter().enumerate() {
                    let (went, _) = self.go(replica, worker, Calls::ALL).await;
                    write!(words, " {name} {went:?}").expect("a String takes it");
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
            Step::AnswerAgain { replica, other } => {
                return Ok(Some(self.answer_again(replica, other).await));
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

    /// See [`Step::AnswerAgain`].
    async fn answer_again(&mut self, replica: usize, other: usize) -> String {
        let until = |count, fate, goes_on| Calls { count, fate, goes_on };
        for (replica, worker, calls) in [
            (replica, DISPATCHER, Calls::ALL),
            // It claims, and may not call; that nothing was sent is written down unheard.
            (replica, SENDER, until(2, Fate::NoBudget, false)),
            (replica, SENDER, until(2, Fate::FailsAfter, false)),
            (other, SENDER, until(1, Fate::Fine, false)),
        ] {
            let words = self.go(replica, worker, calls).await.1;
            self.tell(words);
        }
        self.go(replica, SENDER, Calls::ALL).await.1
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

pub(super) fn line_id(n: usize) -> LineId {
    format!("line-{n}").into()
}

pub(super) fn user_id(n: usize) -> UserId {
    format!("user-{n}").into()
}
