//! Hands mails to a real server over SMTP.
//!
//! lettre builds the mail and speaks the commands, one by one: its pooled transport reports one
//! error for the whole conversation, and we must know whether the content had gone out, because
//! only then a mail without an answer may have been taken.
//!
//! Invariant: no address, text or password is in a log, an error or a `Debug` output of this
//! module. (lettre's feature `tracing` would log all of them; it must stay off.)

mod failure;
mod letter;
mod line_stream;
mod server;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Quit, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use secrecy::SecretString;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use self::failure::{CONTENT, DATA, Failure, RCPT_TO};
use self::letter::{Letter, ascii_address, compose};
use self::line_stream::LineStream;
use self::server::Server;
pub use self::server::SmtpSetupProblem;
use crate::clock::Clock;
use crate::mail::{Delivery, Mail, Mailer};

/// How long one address of the server may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take over one step of the conversation.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long handing over one mail may take in all, but for the goodbye.
pub const WHOLE_TIMEOUT: Duration = Duration::from_mins(1);

/// How long we wait for the server's goodbye; its absence changes nothing.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// The answer to `DATA`: now send the content.
const START_OF_CONTENT: u16 = 354;

/// How long the server may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmtpLimits {
    /// See [`CONNECT_TIMEOUT`].
    pub connect: Duration,
    /// See [`STEP_TIMEOUT`].
    pub step: Duration,
    /// See [`WHOLE_TIMEOUT`].
    pub whole: Duration,
    /// See [`GOODBYE_TIMEOUT`].
    pub goodbye: Duration,
}

impl Default for SmtpLimits {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            step: STEP_TIMEOUT,
            whole: WHOLE_TIMEOUT,
            goodbye: GOODBYE_TIMEOUT,
        }
    }
}

/// Hands mails to one server, over a new connection each.
pub struct SmtpMailer {
    server: Server,
    from: Mailbox,
    clock: Arc<dyn Clock>,
    tls: TlsParameters,
    limits: SmtpLimits,
}

impl SmtpMailer {
    /// For the server of `url`: `smtp://` uses STARTTLS when it is offered, `smtps://` is TLS from
    /// the first byte.
    ///
    /// A name and password are never sent in the clear to another machine.
    pub fn new(
        url: &SecretString,
        from: Mailbox,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SmtpSetupProblem> {
        let server = Server::parse(url)?;
        let sender = ascii_address(from.email.as_ref()).ok_or(SmtpSetupProblem::BadSender)?;
        // STARTTLS on this machine protects nothing, but some servers insist on it, and those of
        // a fresh Debian have a certificate that nobody signed: it is not looked at.
        let unchecked = server.loopback && !server.implicit_tls;
        let tls = TlsParameters::builder(server.host.clone())
            .dangerous_accept_invalid_certs(unchecked)
            .build()
            .map_err(|_| SmtpSetupProblem::NoTls)?;
        let from = Mailbox::new(from.name, sender);
        Ok(Self { server, from, clock, tls, limits: SmtpLimits::default() })
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: SmtpLimits) -> Self {
        Self { limits, ..self }
    }

    /// Everything up to the answer to the content; `content_is_out` tells how far it got.
    async fn converse(
        &self,
        letter: &Letter,
        content_is_out: &AtomicBool,
    ) -> (Option<AsyncSmtpConnection>, Result<(), Failure>) {
        let mut connection = match self.open(letter).await {
            Ok(connection) => connection,
            Err(failure) => return (None, Err(failure)),
        };
        let outcome = self.hand_over(&mut connection, letter, content_is_out).await;
        (Some(connection), outcome)
    }

    /// Connects, greets and starts TLS.
    async fn open(&self, letter: &Letter) -> Result<AsyncSmtpConnection, Failure> {
        let hello = ClientId::default();
        if self.server.implicit_tls {
            let connecting = AsyncSmtpConnection::connect_tokio1(
                (self.server.host.as_str(), self.server.port),
                Some(self.limits.connect),
                &hello,
                Some(self.tls.clone()),
                None,
            );
            return self.step("connecting with TLS", letter, connecting).await;
        }
        let stream = Box::new(LineStream::new(self.connect().await?));
        let greeting = AsyncSmtpConnection::connect_with_transport(stream, &hello);
        let mut connection = self.step("the greeting", letter, greeting).await?;
        if connection.can_starttls() {
            let starting = connection.starttls(self.tls.clone(), &hello);
            self.step("STARTTLS", letter, starting).await?;
        }
        if self.server.credentials.is_some() && !self.server.loopback && !connection.is_encrypted()
        {
            return Err(Failure::NoAnswer(
                "The mail server offers no STARTTLS, and the password is not sent in the clear. \
                 Use smtps:// or turn STARTTLS on at the server."
                    .to_owned(),
            ));
        }
        Ok(connection)
    }

    /// Connects to the first address of the server that accepts.
    async fn connect(&self) -> Result<TcpStream, Failure> {
        let failed = |why: &str| {
            Failure::NoAnswer(format!("The mail server could not be connected to: {why}"))
        };
        let host = (self.server.host.as_str(), self.server.port);
        let addresses: Vec<SocketAddr> = timeout(self.limits.connect, lookup_host(host))
            .await
            .map_err(|_elapsed| failed("its name was not resolved in time."))?
            .map_err(|_error| failed("its name is not known."))?
            .collect();
        let mut last = failed("its name has no address.");
        for address in addresses {
            last = match timeout(self.limits.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed(&error.to_string()),
                Err(_elapsed) => failed("it did not accept in time."),
            };
        }
        Err(last)
    }

    /// Signs in, names sender and recipient, hands the content over.
    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        letter: &Letter,
        content_is_out: &AtomicBool,
    ) -> Result<(), Failure> {
        if let Some(credentials) = &self.server.credentials {
            let signing_in = connection.auth(DEFAULT_MECHANISMS, credentials);
            self.step("AUTH", letter, signing_in).await?;
        }
        let sender = MailFrom::new(Some(self.from.email.clone()), Vec::new());
        self.step("MAIL FROM", letter, connection.command(sender)).await?;
        let recipient = Rcpt::new(letter.recipient.clone(), Vec::new());
        self.step(RCPT_TO, letter, connection.command(recipient)).await?;
        let go_on = self.step(DATA, letter, connection.command(Data)).await?;
        if !go_on.has_code(START_OF_CONTENT) {
            return Err(Failure::NoAnswer(format!(
                "The mail server answered {} to DATA instead of 354.",
                go_on.code()
            )));
        }
        // lettre asks for the next piece when it has written the one before, and writes the end
        // mark when there is none: from that moment on the server may take the mail.
        let pieces = std::iter::once(letter.content.as_slice()).chain(std::iter::from_fn(|| {
            content_is_out.store(true, Ordering::SeqCst);
            None
        }));
        let answer = self.step(CONTENT, letter, connection.message_iter(pieces)).await?;
        match u16::from(answer.code()) {
            200..=299 => Ok(()),
            code => Err(Failure::NoAnswer(format!(
                "The mail server answered {code} to the content, which has no meaning there."
            ))),
        }
    }

    /// One step of the conversation, in its time.
    async fn step<T>(
        &self,
        name: &str,
        letter: &Letter,
        action: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        match timeout(self.limits.step, action).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                Err(Failure::of(name, &error, &[&letter.recipient, &self.from.email]))
            }
            Err(_elapsed) => {
                Err(Failure::NoAnswer(format!("The mail server did not answer in time at {name}.")))
            }
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Delivery {
        let letter = match compose(mail, &self.from, self.clock.now()) {
            Ok(letter) => letter,
            Err(reason) => return Delivery::Refused(reason.to_owned()),
        };
        let content_is_out = AtomicBool::new(false);
        let conversation = Box::pin(self.converse(&letter, &content_is_out));
        let (connection, outcome) =
            timeout(self.limits.whole, conversation).await.unwrap_or_else(|_elapsed| {
                let text = "The mail server took too long over the whole mail.".to_owned();
                (None, Err(Failure::NoAnswer(text)))
            });
        let still_there = outcome.as_ref().map_or_else(Failure::is_answer, |()| true);
        if let Some(mut connection) = connection.filter(|_| still_there) {
            // A goodbye is good manners; what became of the mail is known already.
            drop(timeout(self.limits.goodbye, connection.command(Quit)).await);
        }
        match outcome {
            Ok(()) => Delivery::Sent,
            Err(failure) => failure.delivery(content_is_out.load(Ordering::SeqCst)),
        }
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer")
            .field("server", &self.server)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_real;
