//! How long the body of a request may take to arrive.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use crate::http::problem::{Code, Problem};

/// How long a whole body may take, from the moment somebody wants to read it.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(20);

/// A body that is late ends in an error, and its request is answered with 408.
pub(super) async fn body_in_time(request: Request, next: Next) -> Response {
    let late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| {
        let late = Arc::clone(&late);
        Body::new(Arriving { body, within: BODY_WITHIN, until: None, late })
    });
    let response = next.run(request).await;
    if late.load(Ordering::Acquire) && !response.status().is_success() {
        let detail = format!("the body did not arrive within {} seconds", BODY_WITHIN.as_secs());
        return Problem::new(Code::RequestTimeout, detail).into_response();
    }
    response
}

/// A body on its way.
struct Arriving {
    body: Body,
    within: Duration,
    until: Option<Pin<Box<Sleep>>>,
    late: Arc<AtomicBool>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let within = self.within;
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Looked at whatever has come: a byte now and then is not a body.
        if !matches!(polled, Poll::Ready(None)) {
            let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
            if until.as_mut().poll(context).is_ready() {
                self.late.store(true, Ordering::Release);
                return Poll::Ready(Some(Err(axum::Error::new(Late))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body is late")]
struct Late;

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn arrives(body: Body) -> (bool, bool) {
        let late = Arc::new(AtomicBool::new(false));
        let within = Duration::from_millis(50);
        let arriving = Arriving { body, within, until: None, late: Arc::clone(&late) };
        let whole = Body::new(arriving).collect().await.is_ok();
        (whole, late.load(Ordering::Acquire))
    }

    #[tokio::test]
    async fn a_body_in_time_is_read_whole() {
        assert_eq!(arrives(Body::from("x")).await, (true, false));
    }

    #[tokio::test]
    async fn a_body_that_stops_or_drips_is_late() {
        let stops = stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(arrives(Body::from_stream(stops)).await, (false, true));
        let drips = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        assert_eq!(arrives(Body::from_stream(drips)).await, (false, true));
    }
}
