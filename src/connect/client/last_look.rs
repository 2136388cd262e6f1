//! The last look at the clock before a message goes out.
//!
//! Between the claim of a message and its first byte stand the wait for a permit and a new
//! connection, and the process may be stopped for any time at any of them: paused by its machine,
//! or by hand. When it goes on, the claim has run out, and another replica may have proven that
//! nothing was sent and sent it itself.
//!
//! So the body of the request looks at the clock at the moment when the connection takes it. The
//! head is not on the wire by then: it is flushed together with the body. And without its body the
//! platform could do nothing.
//!
//! What is left: a pause between this look and the kernel taking the bytes, without any wait
//! between the two, that lasts from there to the end of the claim and of the time for an echo; and
//! a machine that is paused together with its clock. No client can close that.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::core::time::Time;

/// A body that is given out before its deadline or not at all.
pub(super) struct LastLook {
    rest: Option<Bytes>,
    deadline: Time,
    clock: Arc<dyn Clock>,
}

/// The deadline had come.
#[derive(Debug, thiserror::Error)]
#[error("it was too late to begin")]
pub(super) struct TooLate;

impl LastLook {
    /// The body of a request that is kept back from `deadline` on.
    pub(super) fn body(text: String, deadline: Time, clock: Arc<dyn Clock>) -> reqwest::Body {
        reqwest::Body::wrap(Self { rest: Some(Bytes::from(text)), deadline, clock })
    }
}

impl Body for LastLook {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(bytes) = self.rest.take() else { return Poll::Ready(None) };
        if self.clock.now() >= self.deadline {
            return Poll::Ready(Some(Err(TooLate)));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}
