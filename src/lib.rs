//! Freeline hands each new payment to a free support line of 1C-Connect.
//!
//! # Bird's eye view
//!
//! A trading company talks to its customers' managers through 1C-Connect, a platform of support
//! chats. When a customer has paid, a treatment has to be opened on a *free* line of that customer's
//! manager, so that the goods are shipped. The platform broadcasts what happens on its lines;
//! Freeline keeps those events, knows from them which lines are free, and sends each payment as one
//! message to one free line: in milliseconds, never twice, without asking the platform over and
//! over.
//!
//! ```text
//! platform ──POST /connect/hook/──▶ http ──insert, commit, 200──▶ store ──wake──▶ worker::intake ──▶ core ──▶ lines, treatments
//! ERP ───────POST /payments───────▶ http ──insert, commit, 201──▶ store ──wake──▶ worker::dispatcher ▶ core ▶ line set aside
//! store ──claim──▶ worker::sender ────POST /v1/line/send/message/──▶ platform     (no transaction open meanwhile)
//! store ──claim──▶ worker::notifier ──SMTP──▶ manager: "all lines are busy"
//! worker::reconciler ──hooks; one look at the lines at the start, and at one line in doubt or long silent──▶ platform
//! ```
//!
//! * The rules are pure functions in [`core`](mod@crate::core): they take what is, and what
//!   happened, and answer what follows. Everything else carries that out.
//! * The database is the truth and the queue. What has to happen is a row, written in the same
//!   transaction as its cause. Nothing waits in memory only, so a crash loses nothing.
//! * Workers take no input. They are woken, or their timer runs out, and they look at the tables;
//!   so a lost wake-up costs a moment, and another replica can always go on.
//!
//! # Code map
//!
//! Dependencies point one way, and `tests/tidy.rs` holds them to it:
//! `main → cli → app → {http, worker} → {store, connect, mail} → core`.
//!
//! | where | what belongs there | what never |
//! | --- | --- | --- |
//! | [`core`](mod@crate::core) | every business rule: [payments](crate::core::payment), [dispatches](crate::core::dispatch), [treatments](crate::core::treatment), [occupancy](crate::core::occupancy), [messages and actions](crate::core::outgoing), [silence](crate::core::silence), [what is said](crate::core::utterance) and [how it is searched](crate::core::search), [reasons](crate::core::why) | waiting, input and output, the clock, randomness, logs, another module of the crate |
//! | [`store`] | the trait [`Store`](store::Store), one method for each use case and transaction; one text of SQL, compiled for each engine | a rule, HTTP, the platform, mail |
//! | [`http`] | callback, API, health: reads a request into types, asks the store, writes the answer. All routes on one screen | a rule, a worker, SQL |
//! | [`worker`] | what happens by itself: intake, dispatcher, sender, courier, notifier, reconciler, expirer, auditor, janitor, pusher | HTTP; a transaction held across a call |
//! | [`connect`] | the platform's client: wire types, budget of calls, what a broken call proves | the database, anything about payments |
//! | [`mail`] | SMTP, the text of notices | the database |
//! | [`feed`] | how a change is told to the ERP: its JSON, its signature, one call to the receiver | which changes there are, when they are sent |
//! | [`message`] | the template of the message into the chat | who gets it |
//! | [`config`] | the settings, all problems at once; the only reader of the environment | use of what it reads |
//! | [`app`] | composition: which parts there are, how they start and stop | the command line |
//! | [`cli`] | commands, exit status; the only place that prints, with [`demo`] | a rule |
//! | [`demo`] | the whole story in a terminal | what `serve` needs |
//! | [`sandbox`] | a stand-in platform over real HTTP that can be told to do wrong; for the demo, tests, integrators | our side of the rules: it knows nothing of payments |
//! | [`lifecycle`] | tasks and the three-step stop; the only place that spawns | |
//! | [`clock`], [`ids`] | time and identifiers, as arguments; the only places that make them | |
//! | [`wake`] | one bell for each worker | what there is to do: that stands in the tables |
//! | [`health`], [`findings`] | what is known of the services we depend on; what the auditor found | decisions |
//! | [`telemetry`], [`text`] | the log; numbers and times for people | |
//!
//! Outside `src`: `migrations/` (one folder for each engine, the same names), `tests/it/` (the whole
//! from outside: `store` on both engines, `e2e` against the sandbox, `process` the program killed and
//! stopped, `replicas` on one PostgreSQL, `deploy` behind nginx and from 1C, `hostile` what nobody
//! should send, `faults` of what it depends on),
//! `tests/sim` (simulations), `tests/broken` (a safeguard taken out), `tests/tidy.rs` (house rules),
//! `deploy/` (nginx, the module for 1C), `tests/run`, `.ci/run`.
//!
//! # The path of one payment
//!
//! 1. `POST /api/v1/payments` → `http::payments::create` reads it, everything wrong at once.
//! 2. [`Store::add_payment`](store::Store::add_payment) writes it in one transaction;
//!    [`admit`](crate::core::payment::admit) says `held` or `queued`. Commit, 201, the dispatcher
//!    is rung for.
//! 3. [`Dispatcher`](worker::dispatcher::Dispatcher) →
//!    [`Store::dispatch`](store::Store::dispatch): for one manager, inside a serial transaction,
//!    [`choose`](crate::core::dispatch::choose) pairs waiting payments with free lines. A row of
//!    `dispatches` sets the line aside: it is the reservation and the order to send at once.
//! 4. [`Sender`](worker::sender::Sender) claims that row with a lease and a fencing number, commits,
//!    calls the platform once, and writes the [`Answer`](crate::core::outcome::Answer) down, if the
//!    number is still its own. [`conclude`](crate::core::dispatch::conclude) says what follows:
//!    `dispatched`, again, the next line, `rejected`, or `in_doubt`. A claim that nobody answers for
//!    becomes a doubt when it ends: [`Expirer`](worker::expirer::Expirer), in whatever replica.
//! 5. The platform broadcasts our own message. Its number names the payment (the *echo*), its
//!    treatment takes the place of the reservation.
//! 6. The treatment ends: `closed`, and the line takes the next payment.
//!
//! # The path of one message
//!
//! 1. `POST /api/v1/messages` (or a close, transfer or assignment of a treatment) →
//!    `http::messages`, `http::actions` → [`Store::add_outgoing`](store::Store::add_outgoing).
//! 2. [`Courier`](worker::courier::Courier) claims the oldest of each chat, one at a time, and calls
//!    the platform once; [`core::outgoing`] says what follows.
//! 3. Its echo, or the end of its treatment, settles a doubt; for a message the absence of an echo
//!    does, where echoes are known to come.
//!
//! # The path of one event
//!
//! 1. `POST /connect/hook/` → `http::callback::receive` checks the credentials and that it is one
//!    JSON object.
//! 2. `http::keeper` gathers all events that wait, and
//!    [`Store::keep_events`](store::Store::keep_events) writes them in one commit. Only then each
//!    is answered with 200; a failure is 503, and the platform repeats.
//! 3. [`Intake`](worker::intake::Intake) → [`Store::apply_events`](store::Store::apply_events)
//!    loads what the events may concern, and
//!    [`apply_event`](crate::core::occupancy::apply_event) opens, moves and ends treatments,
//!    recognises echoes, and moves dispatches and payments along.
//!    What was [said](crate::core::utterance) is written down in the same transaction, each message
//!    once, for `http::history`; what older versions took in is added when nothing new waits
//!    ([`Store::catch_up`](store::Store::catch_up)).
//! 4. Lines whose occupancy changed make their manager due, and the dispatcher is rung for.
//!
//! # The path of one change
//!
//! 1. Whatever moves a payment or a treatment writes a row of `changes` in the same transaction
//!    (`store/sql/changes.rs`). Decisions are serial, so the numbers are those of the commits.
//! 2. The commit rings for `Worker::Feed`: `http::follow` lets the requests go that wait for it, and
//!    [`Pusher`](worker::pusher::Pusher) claims the change, sends it and writes the outcome down.
//! 3. [`Janitor`](worker::janitor::Janitor) forgets it when it is old.
//!
//! # What must always be true
//!
//! | | invariant | enforced by | tested by |
//! | --- | --- | --- | --- |
//! | 1 | An event answered with 200 is on disk, a payment answered with 201 too | `http::keeper`; WAL with full sync on SQLite | `it/store/events.rs`, `it/process/kill.rs` (the process is killed) |
//! | 2 | At most one message for each payment; a doubt is settled, never sent again blindly | index `dispatches_once`; fencing numbers; [`conclude`](crate::core::dispatch::conclude), [`occupancy`](crate::core::occupancy) | `it/e2e/doubt.rs`, `it/process/`, `it/replicas`, `it/store/claims.rs`, `it/store/constraints.rs` |
//! | 3 | A line never has more than its capacity, nor two dispatches to one user | indexes `dispatches_slot`, `dispatches_pair`; serial transactions; [`choose`](crate::core::dispatch::choose) | `core/dispatch/tests.rs`, `it/store/constraints.rs`, `it/store/dispatch.rs` |
//! | 4 | No payment waits while a free line of its manager would take it | `managers.due_at`, wake-ups, the tick of [`worker`] | `it/e2e/main_job.rs`, `it/store/dispatch.rs` |
//! | 5 | At most one notice for each payment and episode of waiting | `UNIQUE (payment_id, episode)` | `it/e2e/notice.rs`, `it/store/notices.rs` |
//! | 6 | Nothing that came in is dropped; what is not understood is kept, counted, shown | `events.state = 'quarantined'` | `it/store/events.rs`, `it/store/apply.rs` |
//! | 7 | The platform is asked for treatments once at the start, and after a time in which nobody could hear events; then only about one line: to settle a doubt, or because what is open there has long been silent | [`reconciler`](worker::reconciler), [`silence`](crate::core::silence) | `it/e2e/main_job.rs`, `it/e2e/hooks.rs`, `it/e2e/away.rs`, `it/e2e/heal.rs`, `it/store/looks.rs` |
//! | 8 | Whoever follows the changes gets each once, in the order of the commits | serial transactions; the primary key of `changes` | `it/store/changes.rs`, `it/e2e/changes.rs` |
//!
//! [`core::invariant`] states 2 to 5 once more as a check of plain values.
//!
//! # Words
//!
//! One word for each idea, in code, API and log.
//!
//! | word | meaning |
//! | --- | --- |
//! | line | support line of the platform (линия поддержки) |
//! | user | the platform's client user that a treatment belongs to |
//! | specialist | employee of the platform's support side: the author of our messages |
//! | treatment | one conversation of one user on one line, open or closed (обращение) |
//! | manager | person of the company with lines of their own, an e-mail address and a specialist |
//! | counterparty | customer of the company; has a main manager (контрагент) |
//! | directory | managers, lines and counterparties, as the ERP gives them |
//! | payment | payment notification to be handed over, once |
//! | number | what a payment's message carries, so that its echo is recognised: `FL-4J7Q-2M9X` |
//! | reservation | a line set aside for one payment that is being sent |
//! | occupancy | open treatments and reservations of a line against its capacity |
//! | dispatch | one try to send one payment to one line; also its reservation |
//! | echo | our own message, broadcast back to us |
//! | look | one question to the platform which treatments are open |
//! | action | a treatment closed, transferred or assigned over the API |
//! | outgoing | a message or an action on its way into a chat |
//! | utterance | a text or file that somebody said in a treatment; `messages` in the API |
//! | notice | the e-mail "all lines are busy" to the manager |
//! | hook | a registration of our callback URL at the platform, kind `line` or `bot` |
//! | change | what a payment or treatment became, told to whoever follows |
//! | event | one broadcast received on the callback URL, kept as it came |
//!
//! # Where to start reading
//!
//! `http/routes.rs` (what can be asked), then [`core::dispatch`] and
//! [`core::occupancy`] (what follows from what), then
//! [`Store`](store::Store) (what is one transaction), then `tests/it/e2e/main_job.rs` (the story as
//! tests). `freeline demo` shows it run.
//!
//! # How to add
//!
//! **A rule**: in [`core`](mod@crate::core), with its table of cases beside it; if people should be
//! told why, a code in [`core::why`]. The store loads what the rule looks at
//! (`store/sql/view.rs`) and writes what it changed. Then a story in `tests/it/e2e`.
//!
//! **An endpoint**: a line in `http/routes.rs`, a handler in its resource's file that reads with
//! `http::fields`, asks one method of the store, and writes an `…Out` type; a row in the README's
//! tables (`tests/tidy.rs` asks for it). A new refusal is a code in `http/problem.rs`.
//!
//! **A method of the store**: in the trait, in `store/sql/` once for both engines, and a test in
//! `tests/it/store` that runs on both. Statements that must differ are words of the `dialect`.
//!
//! **A setting**: a constant in `config/variables.rs`, its field and parser in the section's file,
//! a paragraph in `.env.example`, the new table in the README. The tests say what was forgotten.
//!
//! **A migration**: `NNNN_what.sql` under the same name in both folders, never a change to one that
//! was released: its checksum is remembered. Old code runs against the new schema while replicas
//! are updated: add first, remove in a later version. SQLite tables are `STRICT`; times are
//! microseconds, money is kopecks. The files are built in, and cargo does not notice a new one:
//! touch `store/sqlite.rs` and `store/postgres.rs`. `tests/it/store/schema.rs` compares both
//! engines.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod core;
pub mod demo;
pub mod feed;
pub mod findings;
pub mod health;
pub mod http;
pub mod ids;
pub mod lifecycle;
pub mod mail;
pub mod message;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod wake;
pub mod worker;
