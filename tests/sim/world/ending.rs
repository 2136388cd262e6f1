//! How a life ends: faults stop, everything comes in, time passes, people tidy up; then all must be
//! well.

use std::collections::BTreeSet;

use freeline::core::dispatch::Phase;
use freeline::core::id::{LineId, PaymentId, UserId};
use freeline::core::payment::{Command, PaymentState};
use freeline::core::time::{Span, Time};
use freeline::core::why::ReasonCode;
use freeline::store::{EventFilter, EventState};

use super::life::{Failure, Life, broken};
use super::plan::{OTHER_SENDER, Post, RECONCILER, Step, WORKERS};
use super::replica::Went;
use super::truth::Truth;
use super::turnstile::{Calls, Fate};

/// Times that all workers are asked in a row before they have to be done.
const ASKED_MAX: usize = 300;
/// Pauses until everything has come to rest: 10 minutes until the hooks are compared, an hour until
/// a refusal is forgotten.
const PAUSES_MAX: usize = 200;
/// Times that people tidy up.
const TIDIED_MAX: usize = 40;
/// More than any life has.
const ALL: i64 = 100_000;

impl Life {
    /// Ends the life, and looks whether all went well in the end.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        self.tell("--- faults stop, and everything comes in");
        self.figures.early = count(self.platform.lock().messages.len());
        {
            let mut platform = self.platform.lock();
            platform.down_until = Time::default();
            platform.refused.clear();
        }
        for at in 0..self.asked.len() {
            if self.asked.values().nth(at).is_some_and(|asked| !asked.is_accepted) {
                let words = self.pay_again(at, false).await?;
                self.tell(words.unwrap_or_default());
            }
        }
        self.rest().await?;
        self.forget_what_was_lost().await?;
        self.look_after_rest().await?;
        self.tell("--- people tidy up");
        self.tidy_up().await?;
        self.look_at_events().await?;
        self.look_at_accounts().await
    }

    /// Lost events leave a line occupied that is free, or free that is occupied.
    ///
    /// What the program does by itself about a line that is silent for hours is told by
    /// `it/e2e/heal.rs`: hours in the steps of this ending would take longer than all the rest. Here
    /// it was away for a minute, and looks at all lines anew.
    async fn forget_what_was_lost(&mut self) -> Result<(), Failure> {
        if !self.platform.lock().has_lost {
            return Ok(());
        }
        self.tell("events were lost: what is open is looked at anew");
        let (store, now) = (self.around[0].store.clone(), self.now());
        self.turnstile
            .run(store.forget_occupancy(Span::ZERO, now), Fate::Fine)
            .await
            .expect("it is there");
        self.rest().await
    }

    /// Everything comes in and every worker works until nothing is left to do, while time passes.
    async fn rest(&mut self) -> Result<(), Failure> {
        for pause in 0..PAUSES_MAX {
            self.drain().await?;
            let truth = self.look().await?;
            if !self.has_more_to_come(&truth) {
                return Ok(());
            }
            let span = if pause < 10 { Span::from_secs(5) } else { Span::from_secs(45) };
            self.clocks.pass(span);
            self.tell(format!("{span} pass"));
        }
        let truth = Truth::read(&mut self.direct).await;
        broken("rest", format!("it never comes to rest: {truth:?}"))
    }

    /// Delivers and works until nobody has anything to do now.
    async fn drain(&mut self) -> Result<(), Failure> {
        for _ in 0..ASKED_MAX {
            let mut did = false;
            while let Some(words) = self.deliver(0, 0, Post::Delivered).await {
                self.tell(words);
                did = true;
            }
            for (replica, worker) in self.at_work() {
                let (went, words) = self.go(replica, worker, Calls::ALL).await;
                match went {
                    Went::Did => {
                        did = true;
                        self.tell(words);
                        self.look().await?;
                    }
                    Went::Nothing => {}
                    Went::Failed | Went::Stands => return broken("work", words),
                }
            }
            if !did {
                return Ok(());
            }
        }
        broken("rest", "the workers never stop")
    }

    /// The first replica's workers, the reconciler that may have the lease, and whoever is in the
    /// middle of something: the others would do the same.
    fn at_work(&self) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for replica in 0..self.replicas.len() {
            let wanted = |worker: &usize| {
                let is_first = replica == 0 && *worker != OTHER_SENDER;
                is_first || *worker == RECONCILER || self.replicas[replica].is_going(*worker)
            };
            all.extend((0..WORKERS.len()).filter(wanted).map(|worker| (replica, worker)));
        }
        all
    }

    /// Whether something will still happen by itself as time passes.
    fn has_more_to_come(&self, truth: &Truth) -> bool {
        let is_here = |line: &LineId| truth.lines.iter().any(|one| one.id == *line);
        let under_way = truth.dispatches.iter().any(|one| match one.phase {
            Phase::Reserved => is_here(&one.line),
            Phase::Sending => true,
            Phase::InDoubt => !one.needs_person(),
            Phase::Sent => one.treatment.is_none(),
            Phase::Open | Phase::Closed | Phase::Refused | Phase::Undone => false,
        });
        let mailing =
            truth.notices.iter().any(|(_, _, state)| state == "due" || state == "sending");
        let unknown = truth.lines.iter().any(|line| !line.occupancy.known);
        let lines: Vec<&LineId> = truth.lines.iter().map(|line| &line.id).collect();
        let unhooked = self.platform.lock().lacks_hooks(&lines, self.setting.mode);
        under_way || mailing || unknown || unhooked || !truth.is_at_rest(self.now())
    }

    /// Nothing moves any more: does anything wait that need not?
    async fn look_after_rest(&mut self) -> Result<(), Failure> {
        let truth = self.look().await?;
        self.look_at(&truth, true)?;
        self.look_at_occupancy(&truth)?;
        for payment in truth.payments.iter().filter(|one| one.state == PaymentState::Queued) {
            if truth.noticed.get(&payment.id) != Some(&payment.episode) {
                let words = format!("{} waits and nobody was told", payment.id);
                return broken("a notice", words);
            }
        }
        let letters = self.letters.taken();
        let name = |payment: &PaymentId, episode| format!("freeline-{payment}-{episode}");
        let mut told = BTreeSet::new();
        for (payment, episode, state) in &truth.notices {
            let name = name(payment, *episode);
            if state == "sent" && !letters.contains_key(&name) {
                return broken("a notice", format!("{name} counts as sent and was not"));
            }
            told.insert(name);
        }
        match letters.keys().find(|letter| !told.contains(*letter)) {
            Some(letter) => broken("a notice", format!("{letter} is not ours")),
            None => Ok(()),
        }
    }

    /// What we believe to be open is what is open.
    fn look_at_occupancy(&self, truth: &Truth) -> Result<(), Failure> {
        let is_here = |line: &LineId| truth.lines.iter().any(|one| one.id == *line);
        let ours = truth.treatments.iter().map(|one| (one.line.clone(), one.user.clone()));
        let ours: BTreeSet<(LineId, UserId)> = ours.filter(|(line, _)| is_here(line)).collect();
        let platform = self.platform.lock();
        let theirs = platform.open.keys().filter(|(line, _)| is_here(line)).cloned();
        let theirs: BTreeSet<(LineId, UserId)> = theirs.collect();
        if ours == theirs {
            return Ok(());
        }
        let too_many: Vec<_> = ours.difference(&theirs).collect();
        let missing: Vec<_> = theirs.difference(&ours).collect();
        broken("occupancy", format!("open here only: {too_many:?}, there only: {missing:?}"))
    }

    /// People close what is open, let go what is held, and settle what only they can settle.
    async fn tidy_up(&mut self) -> Result<(), Failure> {
        let words = self.directory_changes(Step::PutWhole { without: 0 }).await;
        self.tell(words);
        for line in 0..self.setting.lines {
            let words = self.directory_changes(Step::Pause { line, resumed: true }).await;
            self.tell(words);
        }
        for _ in 0..TIDIED_MAX {
            self.rest().await?;
            let truth = self.look().await?;
            self.look_at(&truth, true)?;
            let left: Vec<_> = truth.payments.iter().filter(|one| !is_done(one.state)).collect();
            if left.is_empty() && self.platform.lock().open.is_empty() {
                self.look_at_occupancy(&truth)?;
                return Ok(());
            }
            for payment in left {
                let message = self.platform.lock().has_message(&payment.number);
                let command = match payment.state {
                    PaymentState::Held => Command::Release,
                    PaymentState::InDoubt if message => Command::Cancel,
                    PaymentState::Rejected | PaymentState::InDoubt => Command::Retry,
                    _ => continue,
                };
                let words = self.command(&payment.id, command, Fate::Fine).await;
                self.tell(words.unwrap_or_default());
            }
            self.close_all();
            // What the platform refused is remembered for an hour.
            let now = self.now();
            let waits = truth.payments.iter().any(|one| one.state == PaymentState::Queued);
            if waits && truth.refusals.values().any(|until| *until > now) {
                self.wait_for_refusals(&truth).await?;
            }
        }
        let truth = Truth::read(&mut self.direct).await;
        broken("everything ends", format!("{truth:?}"))
    }

    fn close_all(&mut self) {
        let now = self.clocks.truth();
        let pairs: Vec<_> = self.platform.lock().open.keys().cloned().collect();
        for pair in pairs {
            let closed = self.platform.lock().close(&pair, 82, now);
            self.tell(format!("{} is closed", closed.unwrap_or_default()));
        }
    }

    /// An hour passes, in which the workers keep their lease.
    async fn wait_for_refusals(&mut self, truth: &Truth) -> Result<(), Failure> {
        let until = truth.refusals.values().copied().max().unwrap_or_default();
        self.tell(format!("until {until} refusals are remembered"));
        while self.now() <= until {
            self.clocks.pass(Span::from_secs(45));
            for replica in 0..self.replicas.len() {
                self.go(replica, RECONCILER, Calls::ALL).await;
            }
        }
        Ok(())
    }

    /// Every event that was answered 200 is there, and was looked at.
    async fn look_at_events(&mut self) -> Result<(), Failure> {
        let filter = EventFilter { limit: ALL, ..EventFilter::default() };
        let store = self.around[0].store.clone();
        let kept = self.turnstile.run(store.list_events(&filter), Fate::Fine).await;
        let kept = kept.expect("the database is there");
        if let Some(new) = kept.iter().find(|event| event.state == EventState::New) {
            return broken("events", format!("{} was never looked at", new.id));
        }
        let bodies: BTreeSet<&[u8]> = kept.iter().map(|event| event.body.as_slice()).collect();
        match self.acknowledged.iter().find(|body| !bodies.contains(body.as_slice())) {
            Some(lost) => broken("events", format!("{} is gone", String::from_utf8_lossy(lost))),
            None => Ok(()),
        }
    }

    /// Every payment is where its messages say it is.
    async fn look_at_accounts(&mut self) -> Result<(), Failure> {
        let truth = Truth::read(&mut self.direct).await;
        if truth.payments.len() != self.asked.len() {
            let (here, asked) = (truth.payments.len(), self.asked.len());
            return broken("accounts", format!("{here} payments of {asked}"));
        }
        let mut ids = Vec::new();
        for asked in self.asked.values() {
            ids.push((asked.new.id.clone(), asked.is_settled_by_hand));
        }
        for (id, is_settled_by_hand) in ids {
            let Some(payment) = truth.payments.iter().find(|one| one.id == id) else {
                return broken("accounts", format!("{id} is gone"));
            };
            let (sent, echoed) = {
                let platform = self.platform.lock();
                let ours = || platform.messages.iter().filter(|one| one.number == payment.number);
                (ours().count(), ours().filter(|one| one.is_echoed).count())
            };
            let is_sent = payment.state == PaymentState::Closed;
            self.figures.payments += 1;
            self.figures.messages += count(sent);
            let doubted = self.has_been(&id, ReasonCode::OutcomeUnknown).await;
            self.figures.doubted += u64::from(doubted);
            self.figures.settled_by_hand += u64::from(is_settled_by_hand);
            if is_settled_by_hand {
                continue;
            }
            self.figures.doubled_in_good_faith += u64::from(sent > 1);
            let words =
                format!("{id} is {}, and has {sent} messages, {echoed} heard", payment.state);
            if echoed > 0 && !is_sent {
                return broken("accounts", words);
            }
            if is_sent && sent == 0 {
                // A look may have taken a specialist's treatment for ours.
                if !self.has_been(&id, ReasonCode::FoundByLook).await {
                    return broken("accounts", words);
                }
                self.figures.guessed_by_look += 1;
            }
        }
        self.figures.letters += count(self.letters.taken().len());
        self.figures.answers_refused += u64::from(self.platform.lock().answers_refused);
        Ok(())
    }

    /// Whether this is in the timeline of a payment.
    async fn has_been(&mut self, id: &PaymentId, code: ReasonCode) -> bool {
        let store = self.around[0].store.clone();
        let details = self.turnstile.run(store.payment(id), Fate::Fine).await;
        let details = details.expect("the database is there").expect("it was listed");
        details.timeline.iter().any(|entry| entry.reason.code == code)
    }
}

fn count(things: usize) -> u64 {
    u64::try_from(things).expect("there are not so many")
}

fn is_done(state: PaymentState) -> bool {
    matches!(state, PaymentState::Closed | PaymentState::Cancelled)
}

/// The tables that no list of the store shows, without the times at which leases end.
const UNSEEN: &str = "\
SELECT 'dispatch', payment_id, line_id, user_id, author_id, CAST(slot AS TEXT), phase, \
  treatment_id, CAST(fence AS TEXT), owner, CAST(due_at AS TEXT), CAST(lease_until AS TEXT), \
  CAST(failures AS TEXT), CAST(created_at AS TEXT), CAST(claimed_at AS TEXT), \
  CAST(sent_at AS TEXT), rehook, echo FROM dispatches \
UNION ALL SELECT 'notice', payment_id, CAST(episode AS TEXT), manager_id, recipient, facts, state, \
  CAST(fence AS TEXT), owner, CAST(due_at AS TEXT), CAST(lease_until AS TEXT), \
  CAST(failures AS TEXT), CAST(created_at AS TEXT), CAST(sent_at AS TEXT), detail, \
  NULL, NULL, NULL FROM notices \
UNION ALL SELECT 'refusal', line_id, user_id, words, CAST(until AS TEXT), NULL, NULL, NULL, NULL, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM refusals \
UNION ALL SELECT 'lease', name, owner, CAST(until AS TEXT), NULL, NULL, NULL, NULL, NULL, NULL, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM leases \
UNION ALL SELECT 'manager', id, CAST(due_at AS TEXT), NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM managers \
UNION ALL SELECT 'address', url, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
  NULL, NULL, NULL, NULL, NULL FROM own_urls \
UNION ALL SELECT 'treatment', treatment_id, CAST(heard_at AS TEXT), NULL, NULL, NULL, NULL, NULL, \
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM treatments \
ORDER BY 1, 2, 3, 14, 9";

impl Life {
    /// Everything that is in the tables, as text.
    pub(super) async fn left(&mut self) -> Vec<String> {
        let (store, now) = (self.around[0].store.clone(), self.now());
        let mut left = self.turnstile.run(super::dump::dump(&*store, now), Fate::Fine).await;
        let rows = self.direct.rows(UNSEEN).await;
        left.extend(rows.iter().map(|row| row.join(" | ")));
        left
    }
}
