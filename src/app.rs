//! Composition: which parts the application is made of, and how it runs and stops.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{Database, HookAuth, Settings, SqlitePlace};
use crate::connect::budget::Budget;
use crate::connect::client::{ConnectClient, ConnectSettings, Timeouts};
use crate::connect::watched::WatchedChat;
use crate::connect::{BackAuth, Chat, hook_fingerprint, wire};
use crate::core::dispatch::Policy;
use crate::core::time::Span;
use crate::health::Health;
use crate::http;
use crate::ids::Ids;
use crate::lifecycle::Tasks;
use crate::mail::Mailer;
use crate::mail::smtp::SmtpMailer;
use crate::message::MessageTemplate;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Rules, Store};
use crate::telemetry::Chain;
use crate::wake::{Wake, Worker};
use crate::worker::dispatcher::Dispatcher;
use crate::worker::hooks::HookPolicy;
use crate::worker::intake::Intake;
use crate::worker::notifier::Notifier;
use crate::worker::reconciler::Reconciler;
use crate::worker::sender::{LANES, Sender};
use crate::worker::{self, Gate, Parts, Step};

/// How long the whole stop may take before what is left is dropped.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How long saying goodbye to the database may take after that: one that is away must not keep us.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// How long a call waits for the budget: short, because a claim's lease covers it.
const BUDGET_WAIT: Duration = Duration::from_secs(3);

/// The application, put together and not running yet.
pub struct App {
    parts: Parts,
    tasks: Tasks,
    wake: Wake,
    router: axum::Router,
    intake: Arc<Intake>,
    dispatcher: Arc<Dispatcher>,
    sender: Arc<Sender>,
    notifier: Arc<Notifier>,
    reconciler: Arc<Reconciler>,
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
        let template = template(settings)?;
        let mailer = mailer(settings, &clock)?;
        let chat: Arc<dyn Chat> = Arc::new(chat(settings, &clock)?);
        let store = open_store(&settings.database, rules(settings), wake.clone(), &tasks).await?;
        // Settings may name another user or specialist than at the last start.
        store.recheck_all().await.context("could not look at the waiting payments")?;
        let parts = Parts {
            store: Arc::clone(&store),
            chat: Arc::new(WatchedChat::new(chat, Arc::clone(&health), Arc::clone(&clock))),
            mailer,
            clock: Arc::clone(&clock),
            health: Arc::clone(&health),
            template: Arc::new(template),
            owner: ids.uuid(clock.now()).into(),
            gate: Gate::default(),
        };
        let is_alone = matches!(settings.database, Database::Sqlite(_));
        let check_every = Span::from_duration(settings.hook.check_every);
        let mode = settings.dispatch.mode;
        let reconciler = Reconciler::new(parts.clone(), policy(settings), check_every, is_alone);
        let router = http::router(http::Context::new(http::Parts {
            store,
            clock,
            ids,
            health,
            tasks: tasks.clone(),
            api_tokens: &settings.http.api_tokens,
            hook_auth: &settings.hook.auth,
            mail_configured: settings.mail.is_some(),
        }));
        Ok(Self {
            intake: Arc::new(Intake(parts.clone())),
            dispatcher: Arc::new(Dispatcher(parts.clone())),
            sender: Arc::new(Sender::new(parts.clone(), mode, wake.clone())),
            notifier: Arc::new(Notifier(parts.clone())),
            reconciler: Arc::new(reconciler),
            parts,
            tasks,
            wake,
            router,
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

    /// Serves on `listener` and runs the workers until a stop is asked for; then answers what is
    /// in flight, finishes what is in hand, and gives back what others may do.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        self.spawn_workers();
        self.serve_http(listener);
        self.tasks.stopping().await;
        self.tasks.shutdown(STOP_WITHIN).await;
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
        match tokio::time::timeout(LEAVE_WITHIN, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = Chain(&error);
                tracing::warn!(%error, "the lease is not given back: {error}");
            }
            Err(_) => tracing::warn!("the lease is not given back: the database does not answer"),
        }
    }

    /// Serves HTTP on `listener` as a task; requests in flight are answered at a stop.
    pub fn serve_http(&self, listener: TcpListener) {
        let (tasks, router) = (self.tasks.clone(), self.router.clone());
        let stopping = self.tasks.clone();
        self.tasks.spawn("http server", async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            let served = axum::serve(listener, service)
                .with_graceful_shutdown(async move { stopping.stopping().await })
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended: {error}");
                tasks.fail();
            }
        });
    }

    fn spawn_workers(&self) {
        let spawn = |name, kind, step: Arc<dyn Step>| {
            let (clock, wake) = (Arc::clone(&self.parts.clock), self.wake.clone());
            self.tasks.spawn(name, worker::run(kind, step, clock, wake, self.tasks.clone()));
        };
        spawn("intake", Worker::Intake, Arc::<Intake>::clone(&self.intake));
        spawn("dispatcher", Worker::Dispatcher, Arc::<Dispatcher>::clone(&self.dispatcher));
        for _ in 0..LANES {
            spawn("sender", Worker::Sender, Arc::<Sender>::clone(&self.sender));
        }
        spawn("notifier", Worker::Notifier, Arc::<Notifier>::clone(&self.notifier));
        spawn("reconciler", Worker::Reconciler, Arc::<Reconciler>::clone(&self.reconciler));
    }

    /// Steps every worker until none has anything to do; for tests, in place of running them.
    ///
    /// Answers how many steps that took, at most `steps_max`.
    pub async fn drain(&self, steps_max: usize) -> store::Result<usize> {
        let workers: [&dyn Step; 5] =
            [&*self.reconciler, &*self.intake, &*self.dispatcher, &*self.sender, &*self.notifier];
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

fn chat(settings: &Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<ConnectClient> {
    connect_client(&settings.connect, &settings.hook, clock)
}

/// The platform's client with its budget.
pub fn connect_client(
    connect: &crate::config::ConnectSettings,
    hook: &crate::config::HookSettings,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<ConnectClient> {
    let budget = Budget::with_wait(&connect.rate, BUDGET_WAIT);
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
