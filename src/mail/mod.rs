//! Mail: the notices that go out over SMTP.
//!
//! [`Mailer`] is the port; `smtp` speaks to a real server.

pub mod notice;
pub mod smtp;

use async_trait::async_trait;

/// Hands one e-mail to a mail server.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands over `mail`, once: it never repeats by itself.
    async fn send(&self, mail: &Mail) -> Delivery;
}

/// One e-mail in plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Becomes the `Message-ID` (without angle brackets and domain): the same notice keeps it
    /// over all tries, so that a reader's program shows it once.
    pub id: String,
    /// The recipient's address.
    pub to: String,
    /// Subject, any characters.
    pub subject: String,
    /// Body, plain text, any characters.
    pub body: String,
}

/// What is known after handing a mail over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The server took it.
    Sent,
    /// It surely was not taken and may be tried again: no connection, a 4xx answer at any step,
    /// or a refusal of us and not of this mail, such as of a wrong password.
    NotSent(String),
    /// The server refused the recipient or the mail itself for good (5xx).
    Refused(String),
    /// The content went out and no answer came back: it may have been taken.
    Unknown(String),
}
