//! The receiver of changes: one POST for each, signed, and what it came to.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::ChangeOut;
use super::signature::PushSecrets;
use crate::core::retry::{Backoff, read_retry_after};
use crate::core::time::Time;
use crate::lifecycle::install_tls;
use crate::store::{Change, PushOutcome};

/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read, so that its connection can be used again; none is kept.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What is sent: by Standard Webhooks 1.0, "Payload structure".
#[derive(Serialize)]
struct Payload {
    r#type: String,
    timestamp: String,
    data: ChangeOut,
}

/// How long a call may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallLimits {
    /// For the connection, name and TLS included.
    pub connect: Duration,
    /// For the whole call: less than a claim.
    pub total: Duration,
}

impl Default for CallLimits {
    /// 5 s and 20 s: 1C may have to begin a session first.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(20) }
    }
}

/// There is no client, for instance because no CA certificates were found.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be set up; are CA certificates installed?")]
pub struct NoClient(#[source] reqwest::Error);

/// Where changes are sent to. One call puts one request on the wire and follows no redirect.
pub struct Receiver {
    http: reqwest::Client,
    url: SecretString,
    secrets: PushSecrets,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Receiver {
    /// Sets a client up. Calls nothing yet. `url` may hold a login and a password, which are sent
    /// as HTTP Basic (RFC 7617).
    pub fn new(
        url: SecretString,
        secrets: PushSecrets,
        limits: CallLimits,
    ) -> Result<Self, NoClient> {
        install_tls();
        let http = reqwest::Client::builder()
            .user_agent(concat!("freeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .http1_only()
            .referer(false)
            .no_proxy()
            .build()
            .map_err(NoClient)?;
        Ok(Self { http, url, secrets })
    }

    /// Sends a change once, signed for this moment.
    pub async fn send(&self, change: &Change, now: Time) -> PushOutcome {
        let Ok(url) = Url::parse(self.url.expose_secret()) else {
            return failed("the address of the receiver cannot be called", false);
        };
        let id = message_id(change);
        let timestamp = now.micros().div_euclid(1_000_000);
        let payload = Payload {
            r#type: format!("{}.{}", change.kind, change.state),
            timestamp: change.at.to_string(),
            data: change.clone().into(),
        };
        let Ok(body) = serde_json::to_string(&payload) else {
            return failed("the change cannot be written as JSON", false);
        };
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-signature", self.secrets.sign(&id, timestamp, &body))
            .header("webhook-timestamp", timestamp)
            .header("webhook-id", id)
            .body(body);
        match request.send().await {
            Ok(answer) => judge(answer, now).await,
            Err(error) if error.is_connect() => failed("the receiver could not be reached", true),
            Err(error) if error.is_timeout() => failed("no answer in time", false),
            Err(_) => failed("the connection was lost before the answer came", false),
        }
    }
}

/// The same for each try of one change, and another one in another database.
fn message_id(change: &Change) -> String {
    format!("chg_{}_{}", change.seq, change.at.micros())
}

fn failed(detail: &str, is_away: bool) -> PushOutcome {
    PushOutcome::Failed { detail: detail.to_owned(), retry_after: None, is_away }
}

/// The status alone says whether it was taken.
async fn judge(mut answer: reqwest::Response, now: Time) -> PushOutcome {
    let status = answer.status();
    let wish = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = wish.and_then(|text| read_retry_after(text, now, Backoff::PUSH.longest));
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > ANSWER_BYTES_MAX {
            break;
        }
    }
    if status.is_success() {
        return PushOutcome::Delivered;
    }
    if status == StatusCode::GONE {
        return PushOutcome::Gone;
    }
    let is_away = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    let detail = format!("the receiver answered {}", status.as_u16());
    PushOutcome::Failed { detail, retry_after, is_away }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::core::time::Span;
    use crate::store::ChangeKind;

    fn change() -> Change {
        Change {
            seq: 7,
            at: Time::from_micros(1_772_442_000_000_000),
            kind: ChangeKind::Message,
            id: "m".to_owned(),
            state: "sent".to_owned(),
            reason: None,
            end_kind: None,
            line: None,
            user: None,
            treatment: None,
            moved_to: None,
            payment: None,
        }
    }

    fn receiver(url: &str) -> Receiver {
        let secrets = PushSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let short = Duration::from_millis(300);
        let limits = CallLimits { connect: short, total: short };
        Receiver::new(SecretString::from(url), secrets, limits).unwrap()
    }

    /// What one call comes to whose answer is this, and what was asked.
    async fn answered(answer: &'static str) -> (PushOutcome, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://me:secret@{}/hs/x", listener.local_addr().unwrap());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 16 * 1024];
            let mut read = 0;
            while !asked[..read].ends_with(b"}}") {
                read += stream.read(&mut asked[read..]).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            String::from_utf8(asked[..read].to_vec()).unwrap()
        };
        let receiver = receiver(&url);
        let change = change();
        let sending = receiver.send(&change, Time::from_micros(1_772_442_060_500_000));
        if answer.is_empty() {
            tokio::select! {
                outcome = sending => (outcome, String::new()),
                asked = serving => panic!("it never answers: {asked}"),
            }
        } else {
            tokio::join!(sending, serving)
        }
    }

    fn said(detail: &str, retry_after: Option<i64>, is_away: bool) -> PushOutcome {
        let retry_after = retry_after.map(Span::from_secs);
        PushOutcome::Failed { detail: detail.to_owned(), retry_after, is_away }
    }

    #[tokio::test]
    async fn the_status_alone_says_whether_a_change_was_taken() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PushOutcome::Delivered),
            ("HTTP/1.1 204 No Content\r\n\r\n", PushOutcome::Delivered),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbroken", PushOutcome::Delivered),
            ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", PushOutcome::Gone),
            (
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                said("the receiver answered 302", None, false),
            ),
            (
                "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
                said("the receiver answered 500", None, false),
            ),
            (
                "HTTP/1.1 503 Later\r\nRetry-After: 70\r\nContent-Length: 0\r\n\r\n",
                said("the receiver answered 503", Some(70), true),
            ),
            (
                "HTTP/1.1 429 Slow\r\nRetry-After: 999999\r\nContent-Length: 0\r\n\r\n",
                said("the receiver answered 429", Some(10_800), true),
            ),
        ] {
            let (outcome, asked) = answered(answer).await;
            assert_eq!(outcome, expected, "{answer}");
            let asked = asked.to_ascii_lowercase();
            assert!(asked.starts_with("post /hs/x http/1.1"), "{asked}");
            assert!(asked.contains("authorization: basic bwu6c2vjcmv0"), "{asked}");
            assert!(asked.contains("webhook-id: chg_7_1772442000000000"), "{asked}");
            assert!(asked.contains("webhook-timestamp: 1772442060"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_slow_or_not_there_is_not_waited_for() {
        assert_eq!(answered("").await.0, said("no answer in time", None, false));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let outcome = receiver(&url).send(&change(), Time::from_micros(0)).await;
        assert_eq!(outcome, said("the receiver could not be reached", None, true));
    }
}
