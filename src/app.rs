//! Composition: which parts the application is made of, and how it runs and stops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{Database, HookAuth, Settings, SqlitePlace};
use crate::connect::budget::Budget;
use crate::connect::client::{ConnectClient, ConnectSettings, Timeouts};
use crate::connect::watched::WatchedChat;
use crate::connect::{BackAuth, Chat, hook_fingerprint, wire};
use crate::core::dispatch::Policy;
use crate::core::invariant::Breach;
use crate::core::time::Span;
use crate::feed::{CallLimits, Receiver};
use crate::findings::Findings;
use crate::health::Health;
use crate::http;
use crate::ids::Ids;
use crate::lifecycle::Tasks;
use crate::mail::Mailer;
use crate::mail::smtp::SmtpMailer;
use crate::message::MessageTemplate;
use crate::store::bounds::PUSHES_AT_ONCE;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Rules, Store};
use crate::telemetry::Chain;
use crate::wake::{Wake, Worker};
use crate::worker::auditor::Auditor;
use crate::worker::courier::{self, Courier};
use crate::worker::dispatcher::Dispatcher;
use crate::worker::expirer::Expirer;
use crate::worker::hooks::HookPolicy;
use crate::worker::intake::Intake;
use crate::worker::janitor::Janitor;
use crate::worker::notifier::Notifier;
use crate::worker::pusher::Pusher;
use crate::worker::reconciler::Reconciler;
use crate::worker::sender::{BEGUN_WITHIN, LANES, Sender};
use crate::worker::{self, Gate, Parts, Step};

/// How often what was counted is put together, so that it does not grow while nobody asks.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How long requests and calls in hand may take, once no more requests are taken. With the default
/// grace before it, [`LET_GO_WITHIN`](crate::lifecycle::LET_GO_WITHIN) and [`CLOSE_WITHIN`] after
/// it, a stop takes less than the ten seconds after which others lose patience.
const FINISH_WITHIN: Duration = Duration::from_secs(6);
/// Tries at the start to have the waiting payments looked at; each waits some seconds for a lock.
const RECHECK_TRIES: u32 = 6;
/// How long the end of everything may take, with the database gone or slow.
const CLOSE_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a call waits for the budget: short, because a claim's lease covers it. Who waits longer
/// would be too late to begin.
const BUDGET_WAIT: Duration = Duration::from_secs(2);
const _: () = assert!(BUDGET_WAIT.as_secs() <= BEGUN_WITHIN.whole_secs().unsigned_abs());

/// Workers that [`App::drain`] steps: so many steps find out that there is nothing to do.
pub const DRAINED: usize = 9;

/// The application, put together and not running yet.
pub struct App {
    parts: Parts,
    tasks: Tasks,
    wake: Wake,
    router: axum::Router,
    stop_grace: Duration,
    intake: Arc<Intake>,
    dispatcher: Arc<Dispatcher>,
    expirer: Arc<Expirer>,
    sender: Arc<Sender>,
    courier: Arc<Courier>,
    notifier: Arc<Notifier>,
    reconciler: Arc<Reconciler>,
    auditor: Arc<Auditor>,
    janitor: Arc<Janitor>,
    pusher: Arc<Pusher>,
}

/// What comes from outside the settings.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New identifiers.
    pub ids: Arc<dyn Ids>,
    /// Where tasks are spawned.
    pub tasks: Tasks,
}

impl App {
    /// Puts the application together: opens the database and brings its schema up to date.
    pub async fn build(settings: &Settings, around: Surroundings) -> anyhow::Result<Self> {
        let Surroundings { clock, ids, tasks } = around;
        let wake = Wake::default();
        let health = Arc::new(Health::default());
        let findings = Arc::new(Findings::default());
        let template = template(settings)?;
        let mailer = mailer(settings, &clock)?;
        let chat = connect_client(&settings.connect, &settings.hook, &clock, &tasks)?;
        let chat: Arc<dyn Chat> = Arc::new(chat);
        let watched = WatchedChat::new(chat, Arc::clone(&health), Arc::clone(&clock));
        let chat: Arc<dyn Chat> = Arc::new(watched);
        let store = open_store(&settings.database, rules(settings), wake.clone(), &tasks).await?;
        // Settings may name another user or specialist than at the last start.
        recheck_all(&*store).await.context("could not look at the waiting payments")?;
        let receiver = receiver(settings)?;
        if receiver.is_some() {
            store.begin_pushing().await.context("could not begin to send changes")?;
        }
        let parts = Parts {
            store: Arc::clone(&store),
            chat: Arc::clone(&chat),
            mailer,
            clock: Arc::clone(&clock),
            health: Arc::clone(&health),
            template: Arc::new(template),
            owner: ids.uuid(clock.now()).into(),
            gate: Gate::new(wake.clone()),
            tasks: tasks.clone(),
        };
        let is_alone = matches!(settings.database, Database::Sqlite(_));
        let check_every = Span::from_duration(settings.hook.check_every);
        let mode = settings.dispatch.mode;
        let reconciler = Reconciler::new(parts.clone(), policy(settings), check_every, is_alone);
        let router = http::router(http::Context::new(http::Parts {
            store,
            chat,
            clock,
            ids,
            health,
            findings: Arc::clone(&findings),
            wake: wake.clone(),
            tasks: tasks.clone(),
            api_tokens: &settings.http.api_tokens,
            hook_auth: &settings.hook.auth,
            mail_configured: settings.mail.is_some(),
            default_mode: mode,
        }));
        let changes_kept = Span::from_duration(settings.feed.kept);
        Ok(Self {
            pusher: Arc::new(Pusher::new(parts.clone(), receiver, wake.clone())),
            janitor: Arc::new(Janitor { parts: parts.clone(), changes_kept }),
            intake: Arc::new(Intake::new(parts.clone())),
            dispatcher: Arc::new(Dispatcher(parts.clone())),
            expirer: Arc::new(Expirer::new(parts.clone(), is_alone)),
            sender: Arc::new(Sender::new(parts.clone(), mode, wake.clone())),
            courier: Arc::new(Courier::new(parts.clone(), wake.clone())),
            notifier: Arc::new(Notifier(parts.clone())),
            reconciler: Arc::new(reconciler),
            auditor: Arc::new(Auditor::new(parts.clone(), findings)),
            parts,
            tasks,
            wake,
            router,
            stop_grace: settings.http.stop_grace,
        })
    }

    /// The tables, for whoever tests or shows the application.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// The HTTP side, without a listener.
    pub fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// Serves on `listener` and runs the workers until a stop is asked for.
    ///
    /// Then `/readyz` says so at once and the workers begin nothing new; the lease is given back,
    /// so that another replica goes on. Requests are taken for the grace of the settings, and what
    /// is in flight and in hand is finished. What takes too long is let go: a call whose answer did
    /// not come is written down as a doubt.
    pub async fn run(mut self, listener: TcpListener) -> anyhow::Result<()> {
        self.spawn_workers();
        self.serve_http(listener);
        // Events are kept for as long as somebody serves: nobody else may hold their way in.
        drop(std::mem::take(&mut self.router));
        self.tasks.stopping().await;
        self.tasks.shutdown(self.stop_grace + FINISH_WITHIN).await;
        self.leave().await;
        tracing::info!("stopped");
        anyhow::ensure!(!self.tasks.has_failed(), "a part of the application failed; see the log");
        Ok(())
    }

    /// Gives the lease back and closes the connections. A lease that is not given back ends by
    /// itself, and what is open in the database is ended by it.
    async fn leave(&self) {
        let leaving = async {
            let resigned = self.reconciler.resign().await;
            self.parts.store.close().await;
            resigned
        };
        match tokio::time::timeout(CLOSE_WITHIN, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = Chain(&error);
                tracing::warn!(%error, "the lease is not given back: {error}");
            }
            Err(_) => tracing::warn!("the lease is not given back: the database does not answer"),
        }
    }

    /// Serves HTTP on `listener` as a task; at a stop requests are taken for the grace of the
    /// settings, and those in flight are answered.
    pub fn serve_http(&self, listener: TcpListener) {
        let serving =
            http::serve(listener, self.router.clone(), self.tasks.clone(), self.stop_grace);
        self.tasks.spawn("http server", serving);
    }

    /// Shows on `listener` what is counted, at `/metrics`.
    pub fn serve_metrics(&self, listener: TcpListener, metrics: PrometheusHandle) {
        let upkeep = (metrics.clone(), self.tasks.clone());
        self.tasks.spawn("upkeep of metrics", async move {
            let (metrics, tasks) = upkeep;
            while !tasks.is_stopping() {
                metrics.run_upkeep();
                tokio::select! {
                    () = tokio::time::sleep(METRICS_UPKEEP_EVERY) => {}
                    () = tasks.stopping() => {}
                }
            }
        });
        let shown = axum::routing::get(move || std::future::ready(metrics.render()));
        let router = axum::Router::new().route("/metrics", shown);
        let serving = http::serve(listener, router, self.tasks.clone(), Duration::ZERO);
        self.tasks.spawn("metrics", serving);
    }

    fn spawn_workers(&self) {
        let spawn = |name, kind, step: Arc<dyn Step>| {
            let (clock, wake) = (Arc::clone(&self.parts.clock), self.wake.clone());
            self.tasks.spawn(name, worker::run(kind, step, clock, wake, self.tasks.clone()));
        };
        spawn("intake", Worker::Intake, Arc::<Intake>::clone(&self.intake));
        spawn("dispatcher", Worker::Dispatcher, Arc::<Dispatcher>::clone(&self.dispatcher));
        spawn("expirer", Worker::Expirer, Arc::<Expirer>::clone(&self.expirer));
        for _ in 0..LANES {
            spawn("sender", Worker::Sender, Arc::<Sender>::clone(&self.sender));
        }
        for _ in 0..courier::LANES {
            spawn("courier", Worker::Courier, Arc::<Courier>::clone(&self.courier));
        }
        spawn("notifier", Worker::Notifier, Arc::<Notifier>::clone(&self.notifier));
        spawn("auditor", Worker::Auditor, Arc::<Auditor>::clone(&self.auditor));
        spawn("janitor", Worker::Janitor, Arc::<Janitor>::clone(&self.janitor));
        for _ in 0..PUSHES_AT_ONCE {
            spawn("pusher", Worker::Pusher, Arc::<Pusher>::clone(&self.pusher));
        }
        self.spawn_reconciler();
    }

    /// The reconciler gives its lease back as soon as it ends, before all else is at its end.
    fn spawn_reconciler(&self) {
        let reconciler = Arc::clone(&self.reconciler);
        let (clock, wake) = (Arc::clone(&self.parts.clock), self.wake.clone());
        let step: Arc<dyn Step> = Arc::<Reconciler>::clone(&self.reconciler);
        let running = worker::run(Worker::Reconciler, step, clock, wake, self.tasks.clone());
        self.tasks.spawn("reconciler", async move {
            running.await;
            if let Err(error) = reconciler.resign().await {
                let error = Chain(&error);
                tracing::warn!(%error, "could not give the lease back, it is tried again: {error}");
            }
        });
    }

    /// Checks now what must always be true; answers what is broken.
    pub async fn audit(&self) -> store::Result<Vec<Breach>> {
        self.auditor.audit().await
    }

    /// Steps every worker until none has anything to do; for tests, in place of running them.
    ///
    /// Answers how many steps that took, at most `steps_max`.
    pub async fn drain(&self, steps_max: usize) -> store::Result<usize> {
        let workers: [&dyn Step; DRAINED] = [
            &*self.expirer,
            &*self.reconciler,
            &*self.intake,
            &*self.dispatcher,
            &*self.sender,
            &*self.courier,
            &*self.notifier,
            &*self.janitor,
            &*self.pusher,
        ];
        let mut steps = 0;
        while steps < steps_max {
            let mut did = false;
            for worker in workers {
                did |= worker.step().await?;
                steps += 1;
            }
            if !did {
                break;
            }
        }
        Ok(steps)
    }
}

/// Tries again while somebody else is in the way: PostgreSQL may notice only after a while that a
/// process was killed in the middle of a decision, and keeps its locks until then.
async fn recheck_all(store: &dyn Store) -> store::Result<()> {
    for _ in 1..RECHECK_TRIES {
        match store.recheck_all().await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let error = Chain(&error);
                tracing::warn!(%error, "the start is held up, it is tried again: {error}");
            }
        }
    }
    store.recheck_all().await
}

/// Opens the database that the settings name.
pub async fn open_store(
    database: &Database,
    rules: Rules,
    wake: Wake,
    tasks: &Tasks,
) -> anyhow::Result<Arc<dyn Store>> {
    use secrecy::ExposeSecret as _;
    Ok(match database {
        Database::Sqlite(SqlitePlace::File(path)) => {
            let path: &Path = path;
            Arc::new(SqliteStore::open(path, rules, wake).await?)
        }
        Database::Sqlite(SqlitePlace::Memory) => {
            Arc::new(SqliteStore::open_in_memory("freeline", rules, wake).await?)
        }
        Database::Postgres { url } => {
            let opened = PostgresStore::open(url.expose_secret(), rules, wake, tasks).await;
            Arc::new(opened.context(
                "the PostgreSQL that FREELINE_DATABASE_URL names cannot be used; \
                 is it running, and may this user create tables in it?",
            )?)
        }
    })
}

/// What the store has to know of the settings.
pub fn rules(settings: &Settings) -> Rules {
    Rules {
        policy: Policy {
            mode: settings.dispatch.mode,
            in_doubt_after: Span::from_duration(settings.dispatch.in_doubt_after),
        },
        default_user: settings.dispatch.user.clone(),
        default_author: settings.dispatch.author.clone(),
        read_event: |body| wire::read_event(body).map_err(|unreadable| unreadable.to_string()),
        hand_over: settings.dispatch.hand_over,
        look_after_silence: Span::from_duration(settings.dispatch.look_after_silence),
        notices_are_sent: settings.mail.is_some(),
    }
}

/// Our side of every hook.
pub fn policy(settings: &Settings) -> HookPolicy {
    HookPolicy {
        url: settings.hook.url.clone(),
        fingerprint: hook_fingerprint(&settings.hook.url, &back_auth(&settings.hook.auth)),
        takeover: settings.hook.takeover,
        mode: settings.dispatch.mode,
    }
}

/// What the platform is told to send back.
pub fn back_auth(auth: &HookAuth) -> BackAuth {
    match auth {
        HookAuth::None => BackAuth::None,
        HookAuth::Bearer(token) => BackAuth::Bearer { token: token.clone() },
        HookAuth::Basic { login, password } => {
            BackAuth::Basic { login: login.clone(), password: password.clone() }
        }
    }
}

/// The platform's client with its budget, which the stop of `tasks` closes.
pub fn connect_client(
    connect: &crate::config::ConnectSettings,
    hook: &crate::config::HookSettings,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> anyhow::Result<ConnectClient> {
    let budget = Budget::until_stop(&connect.rate, BUDGET_WAIT, tasks.clone());
    let settings = ConnectSettings {
        base_url: connect.url.clone(),
        login: connect.login.clone(),
        password: connect.password.clone(),
        hook_url: hook.url.clone(),
        hook_auth: back_auth(&hook.auth),
        timeouts: Timeouts::default(),
    };
    ConnectClient::new(settings, budget, Arc::clone(clock)).context("could not set up the client")
}

fn template(settings: &Settings) -> anyhow::Result<MessageTemplate> {
    match &settings.dispatch.template {
        None => Ok(MessageTemplate::built_in()),
        Some(text) => MessageTemplate::parse(text)
            .context("the file that FREELINE_MESSAGE_TEMPLATE names cannot be used"),
    }
}

fn receiver(settings: &Settings) -> anyhow::Result<Option<Arc<Receiver>>> {
    let Some(push) = &settings.feed.push else { return Ok(None) };
    let receiver = Receiver::new(push.url.clone(), push.secrets.clone(), CallLimits::default());
    Ok(Some(Arc::new(receiver.context("changes cannot be sent")?)))
}

fn mailer(settings: &Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Arc<dyn Mailer>>> {
    let Some(mail) = &settings.mail else { return Ok(None) };
    let mailer = SmtpMailer::new(&mail.url, mail.from.clone(), Arc::clone(clock))
        .context("FREELINE_SMTP_URL cannot be used")?;
    Ok(Some(Arc::new(mailer)))
}

/// A client for our own service on this machine.
pub fn local_http_client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    crate::lifecycle::install_tls();
    reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("could not set up an HTTP client")
}
