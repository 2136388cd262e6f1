//! The listener: takes connections and answers what comes on them, HTTP/1 only (nginx and the
//! platform speak it).
//!
//! Whoever can reach the port can open connections and say little or nothing on them, so
//! everything that one could hold on to has a bound:
//!
//! | what | bound | what happens |
//! | --- | --- | --- |
//! | connections at once | [`CONNECTIONS_MAX`] | further ones wait in the system's queue; those that do nothing make room |
//! | the head of a request, from its first byte or from the connection's beginning | [`HEAD_WITHIN`] | closed |
//! | the pause before the next request | [`IDLE_WITHIN`] | closed |
//! | bytes of a head | [`HEAD_BYTES_MAX`] | 431 |
//! | headers | [`HEADERS_MAX`] | 431 |
//! | an answer that nobody reads on | [`READ_ON_WITHIN`] | closed |
//! | the body of a request | `BODY_WITHIN` of `http::arrival`, bytes in `http::routes` | 408, 413 |
//!
//! A head with both `Transfer-Encoding` and `Content-Length` is read by the former, and its
//! connection closes behind it (RFC 9112, section 6.1): no second request can hide in the body.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::patience::{Exchange, Patient};
use crate::lifecycle::Tasks;

/// Connections at once: well below the 1,024 files that a process may usually have open.
pub(super) const CONNECTIONS_MAX: usize = 512;
/// How long the head of a request may take.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may rest between two requests: longer than nginx keeps one (a minute),
/// so that it is not nginx which learns too late that we have closed it.
const IDLE_WITHIN: Duration = Duration::from_secs(75);
/// How long a client may not read on while an answer is on its way to it.
pub(super) const READ_ON_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of the head of a request: its first line and its headers.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Bytes that are read ahead or wait to be written on one connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection without a request may stay when others wait for its place.
const GRACE: Duration = Duration::from_secs(1);
/// How often those that wait for a place make the idle ones go.
const MAKE_ROOM_EVERY: Duration = Duration::from_millis(100);
/// The pause after a connection could not be taken: the process may lack a free file.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Answers what comes on `listener` until a stop is asked for and `grace` is over, then until every
/// request in flight is answered or it is too late for that.
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks, grace: Duration) {
    let stopping = tasks.clone();
    let closing = async move {
        stopping.stopping().await;
        tokio::time::sleep(grace).await;
    };
    let closing: Closing = closing.boxed().shared();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let crowd = Arc::new(Notify::new());
    loop {
        let Some(place) = place(&places, &crowd, &closing).await else { break };
        let taken = tokio::select! {
            taken = listener.accept() => taken,
            () = closing.clone() => break,
        };
        match taken {
            Ok((stream, _)) => {
                let stop = Stop { closing: closing.clone(), tasks: tasks.clone() };
                let (router, crowd) = (router.clone(), Arc::clone(&crowd));
                tasks.spawn_guest(connection(stream, router, crowd, stop, place));
            }
            // The client was gone again.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "could not take a connection: {error}");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_FAILURE) => {}
                    () = closing.clone() => break,
                }
            }
        }
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    tokio::select! {
        // All places are free when every connection has ended; the semaphore is never closed.
        all = places.acquire_many(all) => drop(all),
        () = tasks.late() => {
            tracing::warn!("some requests did not end in time and are not answered");
        }
    }
}

/// Ends when no more requests are taken.
type Closing = Shared<BoxFuture<'static, ()>>;

/// How a connection learns of the stop.
struct Stop {
    closing: Closing,
    tasks: Tasks,
}

/// Waits for a place for one more connection; `None` at a stop.
async fn place(
    places: &Arc<Semaphore>,
    crowd: &Notify,
    closing: &Closing,
) -> Option<OwnedSemaphorePermit> {
    loop {
        if closing.peek().is_some() {
            return None;
        }
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        crowd.notify_waiters();
        tokio::select! {
            place = Arc::clone(places).acquire_owned() => return place.ok(),
            () = tokio::time::sleep(MAKE_ROOM_EVERY) => {}
            () = closing.clone() => return None,
        }
    }
}

/// Whether only the connection that was to be taken has failed, not the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers what comes on one connection until it ends.
async fn connection(
    stream: TcpStream,
    router: Router,
    crowd: Arc<Notify>,
    stop: Stop,
    _place: OwnedSemaphorePermit,
) {
    let exchange = Arc::new(Exchange::default());
    let stream = Patient::new(stream, Arc::clone(&exchange), HEAD_WITHIN, READ_ON_WITHIN);
    let answer = |request: Request<Incoming>| {
        let (router, answering) = (router.clone(), exchange.begin());
        async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            drop(answering);
            answer
        }
    };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_WITHIN)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let mut serving = std::pin::pin!(serving);
    let began = Instant::now();
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke: {error}");
                }
                return;
            }
            () = stop.closing.clone(), if !is_stopping => {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
            () = stop.tasks.late() => return,
            () = crowd.notified() => {
                if exchange.is_answering() || began.elapsed() < GRACE {
                    continue;
                }
                if exchange.requests() == 0 {
                    // It has said nothing, or not even a head, while others wait.
                    return;
                }
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
