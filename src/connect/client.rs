//! The real client: HTTP to the platform.
//!
//! Promise: one call of [`Chat`] puts at most one request on the wire. Redirects are not followed
//! and nothing is repeated; what a call came to is judged in [`verdict`], where everything that is
//! not proven is [`Answer::Unknown`].
//!
//! Why nothing is sent twice: reqwest's own retries are switched off. `hyper-util` beneath it takes
//! another connection only for a request that it got back whole, before a byte of it was written,
//! because the pooled connection had been closed meanwhile. And HTTP/2 with its refused streams is
//! not spoken.
//!
//! A message has a deadline, that of its claim. It is looked at after the wait for a permit, and
//! once more when the connection stands and takes the request ([`last_look`]).
//!
//! Secrets, texts and addresses are neither logged nor shown by `Debug`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, redirect, retry};
use secrecy::SecretString;
use url::Url;

use super::budget::{Budget, Priority};
use super::{
    BackAuth, Chat, ChatAddress, Competence, HookKind, OpenTreatment, OutgoingFile,
    OutgoingMessage, Person, PlatformLine, Subscription, wire,
};
use crate::clock::Clock;
use crate::core::id::{LineId, UserId};
use crate::core::outcome::Answer;
use crate::ids::RandomIds;
use crate::lifecycle::install_tls;
use call::{Call, Content};
use upload::Upload;

mod call;
mod last_look;
mod upload;
mod verdict;

/// The longest answer of a command that is read, in bytes; they are empty (`connect-api.md` 1.1).
pub const COMMAND_BYTES_MAX: usize = 64 * 1_024;

/// The longest listing that is read, in bytes; a treatment takes about 250.
pub const LISTING_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// How long an idle connection is kept.
///
/// Short, because a request on a connection that the platform is about to close ends in
/// [`Answer::Unknown`]: servers commonly keep theirs for 60 s or more.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// After so long a silence a connection is asked whether its other end is there, and how often it is
/// asked again (three times).
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a call may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For the connection, name and TLS included. Must be shorter than `total`: only a timeout of
    /// the connection proves that nothing was sent.
    pub connect: Duration,
    /// From the start of the request to the end of the answer; the wait for a permit is not in it.
    pub total: Duration,
    /// The same for a call that carries a file.
    pub file: Duration,
}

/// How long a call that carries a file may take, unless told otherwise.
///
/// 50 MB within 2 minutes are 3.5 Mbit/s. A claim on a file must outlast its deadline by this.
pub const FILE_CALL_MAX: Duration = Duration::from_mins(2);

impl Default for Timeouts {
    /// 5 s and 10 s; the vendor's own bot gives up after 10 s (`connect-api.md` 1.1). Files have
    /// [`FILE_CALL_MAX`].
    fn default() -> Self {
        let (connect, total) = (Duration::from_secs(5), Duration::from_secs(10));
        Self { connect, total, file: FILE_CALL_MAX }
    }
}

/// Where the platform is and how we are known to it.
#[derive(Clone)]
pub struct ConnectSettings {
    /// The platform's address, `https://push.1c-connect.com`; may have a path of its own.
    pub base_url: Url,
    /// Login of the API user.
    pub login: String,
    /// Its password.
    pub password: SecretString,
    /// The public address of our callback, exactly as it is to be registered.
    pub hook_url: String,
    /// What the platform must send to it.
    pub hook_auth: BackAuth,
    /// How long a call may take.
    pub timeouts: Timeouts,
}

impl fmt::Debug for ConnectSettings {
    /// Only what is nobody's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectSettings")
            .field("host", &self.base_url.host_str())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the platform cannot be called.
    #[error(
        "the platform's address is not of the form https://host/, without credentials, query or fragment"
    )]
    Address,
    /// HTTP Basic ends the login at its first colon (RFC 7617).
    #[error("the login of the API user must not be empty or contain a colon")]
    Login,
    /// The limits of time contradict each other.
    #[error("the timeout of the connection must be above zero and below that of the whole call")]
    Timeouts,
    /// The HTTP client could not be built, for instance because no CA certificates were found.
    #[error("the HTTP client could not be set up; are CA certificates installed?")]
    Http(#[source] reqwest::Error),
}

/// The platform, over HTTP.
pub struct ConnectClient {
    http: reqwest::Client,
    settings: ConnectSettings,
    budget: Arc<Budget>,
    /// For deadlines, and dates in `Retry-After`.
    clock: Arc<dyn Clock>,
    /// For the boundaries of forms.
    ids: RandomIds,
}

impl fmt::Debug for ConnectClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ConnectClient {
    /// Sets a client up. Calls nothing yet.
    ///
    /// Installs the process's TLS provider if `main` has not done so. Proxies named in the
    /// environment are not used: all settings are ours.
    pub fn new(
        settings: ConnectSettings,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        check(&settings)?;
        install_tls();
        let http = reqwest::Client::builder()
            .user_agent(concat!("freeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.timeouts.connect)
            .timeout(settings.timeouts.total)
            .pool_idle_timeout(IDLE_MAX)
            // One whose other end is gone is thrown away before a message is tried on it.
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .http1_only()
            .referer(false)
            .no_proxy()
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { http, settings, budget, clock, ids: RandomIds::from_system() })
    }

    /// The budget that every call is made within.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// A call whose answer says nothing but yes or no.
    async fn command(&self, call: Call<'_>) -> Answer {
        match self.exchange(call).await {
            Ok(_) => Answer::Done,
            Err(answer) => answer,
        }
    }

    /// A command that a person waits for, on the current treatment of a chat; `others` are the ids
    /// that it names beside those of the chat.
    async fn act(
        &self,
        template: &'static str,
        chat: &ChatAddress,
        body: String,
        others: &[&str],
    ) -> Answer {
        let chat = [chat.line.as_str(), chat.user.as_str()];
        let call = Call {
            method: Method::POST,
            template,
            ids: chat.iter().chain(others).copied().collect(),
            body: Content::Json(body),
            priority: Priority::Message,
            ..Call::default()
        };
        self.command(call).await
    }

    /// A listing, narrowed down by `query`.
    async fn list<T>(
        &self,
        template: &'static str,
        query: Vec<(&'static str, &str)>,
        read: fn(&[u8]) -> Result<wire::Listing<T>, wire::NotAList>,
    ) -> Result<Vec<T>, Answer> {
        // An empty filter might list everything.
        let ids = query.iter().map(|(_, id)| *id).collect();
        let call = Call { template, ids, query, bytes_max: LISTING_BYTES_MAX, ..Call::default() };
        self.read_list(call, read).await
    }

    /// A call whose answer is a JSON array.
    async fn read_list<T>(
        &self,
        call: Call<'_>,
        read: fn(&[u8]) -> Result<wire::Listing<T>, wire::NotAList>,
    ) -> Result<Vec<T>, Answer> {
        let path = call.template;
        let body = self.exchange(call).await?;
        let listing = read(&body).map_err(|error| Answer::Unknown { detail: error.to_string() })?;
        if listing.skipped > 0 {
            let (skipped, kept) = (listing.skipped, listing.rows.len());
            tracing::warn!(path, skipped, kept, "{skipped} rows of {path} could not be read");
        }
        Ok(listing.rows)
    }
}

/// Refuses settings that cannot work.
fn check(settings: &ConnectSettings) -> Result<(), ClientError> {
    let url = &settings.base_url;
    let callable = matches!(url.scheme(), "https" | "http") && url.has_host();
    let bare = url.username().is_empty() && url.password().is_none();
    if !callable || !bare || url.query().is_some() || url.fragment().is_some() {
        return Err(ClientError::Address);
    }
    if settings.login.is_empty() || settings.login.contains(':') {
        return Err(ClientError::Login);
    }
    let Timeouts { connect, total, file } = settings.timeouts;
    if connect.is_zero() || connect >= total || connect >= file {
        return Err(ClientError::Timeouts);
    }
    Ok(())
}

#[async_trait]
impl Chat for ConnectClient {
    async fn send_message(&self, message: &OutgoingMessage) -> Answer {
        if let Some(problem) = message.manner().problem() {
            return verdict::refused_here(problem);
        }
        let call = Call {
            method: Method::POST,
            template: "/v1/line/send/message/",
            ids: vec![message.line.as_str(), message.user.as_str()],
            body: Content::Json(wire::send_message(message)),
            priority: Priority::Message,
            deadline: Some(message.deadline),
            ..Call::default()
        };
        self.command(call).await
    }

    async fn send_file(&self, file: &OutgoingFile) -> Answer {
        if let Some(problem) = file.manner().problem() {
            return verdict::refused_here(problem);
        }
        let form = match Upload::open(file, &self.ids).await {
            Ok(form) => form,
            Err(no_file) => return no_file,
        };
        let call = Call {
            method: Method::POST,
            template: if file.is_image { "/v1/line/send/image/" } else { "/v1/line/send/file/" },
            ids: vec![file.line.as_str(), file.user.as_str()],
            body: Content::File(form),
            priority: Priority::Message,
            deadline: Some(file.deadline),
            ..Call::default()
        };
        self.command(call).await
    }

    async fn drop_keyboard(&self, chat: &ChatAddress) -> Answer {
        self.act("/v1/line/drop/keyboard/", chat, wire::command(chat), &[]).await
    }

    async fn drop_treatment(&self, chat: &ChatAddress, author: Option<&UserId>) -> Answer {
        let body = wire::drop_treatment(chat, author);
        self.act("/v1/line/drop/treatment/", chat, body, author.map(UserId::as_str).as_slice())
            .await
    }

    async fn appoint_any(&self, chat: &ChatAddress) -> Answer {
        self.act("/v1/line/appoint/start/", chat, wire::command(chat), &[]).await
    }

    async fn appoint(
        &self,
        chat: &ChatAddress,
        specialist: &UserId,
        author: Option<&UserId>,
    ) -> Answer {
        let body = wire::appoint(chat, specialist, author);
        self.act("/v1/line/appoint/spec/", chat, body, &[specialist.as_str()]).await
    }

    async fn reroute(&self, chat: &ChatAddress, to: &LineId, quote: Option<&str>) -> Answer {
        let body = wire::reroute(chat, to, quote);
        self.act("/v1/line/reroute/", chat, body, &[to.as_str()]).await
    }

    async fn set_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        let (url, auth) = (&self.settings.hook_url, &self.settings.hook_auth);
        let call = Call {
            method: Method::POST,
            template: "/v1/hook/",
            ids: vec![line.as_str()],
            body: Content::Json(wire::set_hook(kind, line, url, auth)),
            ..Call::default()
        };
        self.command(call).await
    }

    async fn delete_hook(&self, kind: HookKind, line: &LineId) -> Answer {
        let call = Call {
            method: Method::DELETE,
            template: match kind {
                HookKind::Line => "/v1/hook/line/{id}/",
                HookKind::Bot => "/v1/hook/bot/{id}/",
            },
            ids: vec![line.as_str()],
            ..Call::default()
        };
        self.command(call).await
    }

    async fn list_lines(&self) -> Result<Vec<PlatformLine>, Answer> {
        self.list("/v1/line/", Vec::new(), wire::read_lines).await
    }

    async fn list_treatments(&self, line: Option<&LineId>) -> Result<Vec<OpenTreatment>, Answer> {
        self.list("/v1/line/treatment/", filter(None, line), wire::read_treatments).await
    }

    async fn list_subscriptions(
        &self,
        user: Option<&UserId>,
        line: Option<&LineId>,
    ) -> Result<Vec<Subscription>, Answer> {
        let query = filter(user, line);
        self.list("/v1/line/subscriptions/", query, wire::read_subscriptions).await
    }

    async fn list_subscribers(&self) -> Result<Vec<Person>, Answer> {
        self.list("/v1/line/subscribers/", Vec::new(), wire::read_people).await
    }

    async fn subscriber(&self, user: &UserId) -> Result<Person, Answer> {
        let (template, ids) = ("/v1/line/subscriber/{id}/", vec![user.as_str()]);
        let body = self.exchange(Call { template, ids, ..Call::default() }).await?;
        wire::read_person(&body).map_err(|error| Answer::Unknown { detail: error.to_string() })
    }

    async fn list_specialists(&self, line: Option<&LineId>) -> Result<Vec<Person>, Answer> {
        self.list("/v1/line/specialists/", filter(None, line), wire::read_people).await
    }

    async fn available_specialists(&self, line: &LineId) -> Result<Vec<UserId>, Answer> {
        let template = "/v1/line/specialists/{id}/available/";
        let ids = vec![line.as_str()];
        let call = Call { template, ids, bytes_max: LISTING_BYTES_MAX, ..Call::default() };
        self.read_list(call, wire::read_ids).await
    }

    async fn list_competences(
        &self,
        user: Option<&UserId>,
        line: Option<&LineId>,
    ) -> Result<Vec<Competence>, Answer> {
        let query = filter(user, line);
        self.list("/v1/line/competences/", query, wire::read_competences).await
    }
}

/// The query of a listing that is narrowed down.
fn filter<'a>(user: Option<&'a UserId>, line: Option<&'a LineId>) -> Vec<(&'static str, &'a str)> {
    let user = user.map(|user| ("user_id", user.as_str()));
    let line = line.map(|line| ("line_id", line.as_str()));
    user.into_iter().chain(line).collect()
}

#[cfg(test)]
mod tests;
