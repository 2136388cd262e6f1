//! A stand-in for the 1C-Connect platform over real HTTP, ugly sides included.
//!
//! Used by tests, by `demo` and by integrators (`freeline sandbox`). It behaves as
//! `connect-api.md` describes the platform: what was recorded it repeats, rare variants with their
//! recorded frequency; what is undocumented it does in the simplest way. It can be told to do
//! wrong ([`Faults`]).
//!
//! Start reading at `model` (what is), `traces` (what happens), `world` (the one way to change
//! it), `delivery` (events on their way out), `holding` (who has a treatment: bot, specialist,
//! queue).
//!
//! Where a line has a bot, its users get to the bot first: their treatment opens without an 80,
//! and if the bot answers nothing for 30 s, a specialist gets it (`connect-api.md` 5.4).
//!
//! Invariant: chance comes from the configured seed only. The same seed and the same sequence of
//! calls and actions give the same ids, events and faults.
//!
//! Invariant: it never shows a secret, and is commanded from this machine only.

mod bodies;
mod config;
mod connection;
mod control;
mod delivery;
mod directory;
mod faults;
mod files;
mod gate;
mod handle;
mod holding;
mod hooks;
mod keyboards;
mod ledger;
mod model;
mod moves;
pub mod people;
mod platform;
mod refusal;
mod sending;
mod state;
mod traces;
mod uploads;
mod world;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::lifecycle::Tasks;

pub use config::{
    FILE_BYTES_MAX, FIRST_LINE_ID, FIRST_SPECIALIST_ID, LOGIN, PASSWORD, RateLimits, SandboxConfig,
    TECHNICAL_USER_ID, line_id, specialist_id, user_id,
};
pub use faults::{Faults, FaultsRefused};
pub use files::{FILES_BYTES_MAX, FILES_MAX, FileRecord};
pub use handle::SandboxHandle;
pub use holding::Holder;
pub use hooks::HookEntry;
pub use keyboards::{KEYBOARDS_MAX, KeyboardEntry, ShownButton, ShownKeyboard};
pub use ledger::{CALLS_MAX, MESSAGES_MAX, MessageRecord, OTHER_CALLS};
pub use model::{CLOSED_MAX, Refused, Treatment, USERS_MAX};
pub use people::PeopleConfig;
pub use sending::MessageFlags;
pub use state::{LineEntry, State};
pub use traces::Opening;

use connection::{CuttableListener, Peer};
use world::Shared;

/// The sandbox, to be started.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox;

/// Why a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener has no address.
    #[error("could not read the address that the sandbox listens on")]
    Address(#[source] std::io::Error),
    /// The client that delivers events was not built.
    #[error("could not build the HTTP client that delivers events")]
    Client(#[source] reqwest::Error),
}

impl Sandbox {
    /// Serves on `listener` until `tasks` are asked to stop.
    pub fn start(
        config: SandboxConfig,
        listener: TcpListener,
        tasks: &Tasks,
        clock: Arc<dyn Clock>,
    ) -> Result<SandboxHandle, StartError> {
        crate::lifecycle::install_tls();
        let addr = listener.local_addr().map_err(StartError::Address)?;
        let shared = Shared::new(config, base_url(addr), tasks, clock);
        let shared = Arc::new(shared.map_err(StartError::Client)?);
        let handle = SandboxHandle::new(Arc::clone(&shared), addr);
        let router = platform::router(&shared)
            .merge(files::router(&shared))
            .merge(control::router(handle.clone()));
        let service = router.into_make_service_with_connect_info::<Peer>();
        let stopping = tasks.clone();
        let serving = axum::serve(CuttableListener(listener), service)
            .with_graceful_shutdown(async move { stopping.stopping().await });
        tasks.spawn("sandbox server", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the sandbox's server ended: {error}");
            }
        });
        let stopping = tasks.clone();
        tasks.spawn("sandbox bot watch", async move {
            tokio::select! {
                () = shared.watch_bots() => {}
                () = stopping.stopping() => {}
            }
        });
        tracing::info!(%addr, "the sandbox listens on {addr}");
        Ok(handle)
    }
}

/// Where this machine reaches what listens on `addr`.
fn base_url(addr: SocketAddr) -> String {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, addr.port()))
}
