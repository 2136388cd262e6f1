//! HTTP: the platform's callback, the REST API for the ERP, and the readiness of the service.
//!
//! All routes stand in [`routes`]; one file a resource. The wire types of our API live only here:
//! bodies and queries are read into the types of `core` and `store` at the border.
//!
//! Invariant: a handler never decides a business rule. It reads, asks the store, and writes.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{ApiToken, HookAuth};
use crate::connect::Chat;
use crate::core::dispatch::SendMode;
use crate::findings::Findings;
use crate::health::Health;
use crate::ids::Ids;
use crate::lifecycle::Tasks;
use crate::store::Store;
use crate::wake::Wake;

mod actions;
mod arrival;
mod auth;
mod callback;
mod changes;
mod directory;
mod events;
mod fields;
mod follow;
mod health;
mod history;
mod keeper;
mod lines;
mod log;
mod messages;
mod outgoing;
mod page;
mod parked;
mod patience;
mod payments;
mod problem;
mod readable;
#[cfg(test)]
mod resource_tests;
mod routes;
mod server;
mod status;
mod treatments;
mod users;

pub use directory::parse_directory;
pub use routes::router;
pub use server::serve;

/// What the HTTP side is made of.
pub struct Parts<'a> {
    /// The tables.
    pub store: Arc<dyn Store>,
    /// The platform.
    pub chat: Arc<dyn Chat>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New identifiers.
    pub ids: Arc<dyn Ids>,
    /// What is known of the services we depend on.
    pub health: Arc<Health>,
    /// What the auditor found.
    pub findings: Arc<Findings>,
    /// Rung when something may have changed.
    pub wake: Wake,
    /// Where tasks are spawned, and whether a stop was asked for.
    pub tasks: Tasks,
    /// Who may call the API.
    pub api_tokens: &'a [ApiToken],
    /// What the platform must send with every event.
    pub hook_auth: &'a HookAuth,
    /// Whether notices can be sent.
    pub mail_configured: bool,
    /// How messages are written when nobody says.
    pub default_mode: SendMode,
}

/// What every handler works with.
#[derive(Clone)]
pub struct Context {
    store: Arc<dyn Store>,
    chat: Arc<dyn Chat>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    health: Arc<Health>,
    findings: Arc<Findings>,
    tasks: Tasks,
    tokens: Arc<auth::Tokens>,
    callback: Arc<auth::CallbackAuth>,
    keeper: keeper::EventKeeper,
    follow: follow::Follow,
    mail_configured: bool,
    default_mode: SendMode,
}

impl Context {
    /// Of these parts; starts the tasks that keep events and watch for changes.
    pub fn new(parts: Parts<'_>) -> Self {
        Self {
            keeper: keeper::EventKeeper::start(Arc::clone(&parts.store), &parts.tasks),
            follow: follow::Follow::start(Arc::clone(&parts.store), parts.wake, &parts.tasks),
            tokens: Arc::new(auth::Tokens::new(parts.api_tokens)),
            callback: Arc::new(auth::CallbackAuth::new(parts.hook_auth)),
            store: parts.store,
            chat: parts.chat,
            clock: parts.clock,
            ids: parts.ids,
            health: parts.health,
            findings: parts.findings,
            tasks: parts.tasks,
            mail_configured: parts.mail_configured,
            default_mode: parts.default_mode,
        }
    }
}
