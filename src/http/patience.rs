//! A connection that does not wait for ever: neither for the rest of a head, nor for a client
//! that does not read its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What is known of the requests on one connection.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    requests: AtomicU64,
    is_answering: AtomicBool,
}

impl Exchange {
    /// A head has arrived; its request is being answered until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.is_answering.store(true, Ordering::Release);
        Answering(Arc::clone(self))
    }

    /// How many heads have arrived.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Acquire)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Exchange>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.is_answering.store(false, Ordering::Release);
    }
}

/// A stream whose reads fail when a head takes too long, and whose writes fail when nothing is
/// taken off it for too long.
///
/// The first head is waited for from the beginning, a later one from its first byte.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    exchange: Arc<Exchange>,
    head_within: Duration,
    read_on_within: Duration,
    /// The head that is arriving, by the number of those before it, and until when it may.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    /// Until when something must be taken off the stream, while it is full.
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Must be called within a runtime.
    pub(super) fn new(
        stream: S,
        exchange: Arc<Exchange>,
        head_within: Duration,
        read_on_within: Duration,
    ) -> Self {
        let first = Box::pin(tokio::time::sleep(head_within));
        let head = Some((0, first));
        Self { stream, exchange, head_within, read_on_within, head, write: None }
    }

    /// The wait for the head that is arriving.
    fn head(&mut self) -> Option<Pin<&mut Sleep>> {
        let before = self.exchange.requests();
        if self.exchange.is_answering() || self.head.as_ref().is_some_and(|(n, _)| *n != before) {
            self.head = None;
        }
        self.head.as_mut().map(|(_, until)| until.as_mut())
    }

    /// Bytes have come: of a head, unless a request is being answered.
    fn heard(&mut self) {
        if self.head().is_none() && !self.exchange.is_answering() {
            let until = Instant::now() + self.head_within;
            let head = (self.exchange.requests(), Box::pin(tokio::time::sleep_until(until)));
            self.head = Some(head);
        }
    }

    /// What came of a write: an error when the stream has been full for too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write = None;
            return polled;
        }
        let within = self.read_on_within;
        let until = self.write.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        match until.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(too_slow("nobody reads the answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn too_slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() && buffer.filled().len() > before {
            self.heard();
        }
        // Looked at whatever has come: one byte now and then is not a head.
        match self.head().map(|until| until.poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(too_slow("the head of a request is late"))),
            _ => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const WITHIN: Duration = Duration::from_millis(50);

    fn patient(bytes: usize) -> (Patient<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(bytes);
        (Patient::new(ours, Arc::default(), WITHIN, WITHIN), theirs)
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_not_waited_for() {
        let (mut stream, _client) = patient(8);
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_is_late() {
        let (mut stream, mut client) = patient(1);
        let writes = async {
            while client.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(WITHIN / 10).await;
            }
        };
        let reads = async {
            let error = loop {
                match stream.read_u8().await {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            drop(stream);
            error
        };
        let ((), error) = tokio::join!(writes, reads);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_next_head_is_waited_for_from_its_first_byte() {
        let (mut stream, mut client) = patient(8);
        client.write_u8(b'a').await.unwrap();
        stream.read_u8().await.unwrap();
        let answering = stream.exchange.begin();
        drop(answering);
        let silence = tokio::time::timeout(WITHIN * 4, stream.read_u8()).await;
        assert!(silence.is_err(), "an idle connection is left alone: {silence:?}");
        client.write_u8(b'b').await.unwrap();
        stream.read_u8().await.unwrap();
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_body_is_not_a_head() {
        let (mut stream, mut client) = patient(8);
        let _answering = stream.exchange.begin();
        client.write_u8(b'a').await.unwrap();
        stream.read_u8().await.unwrap();
        assert!(tokio::time::timeout(WITHIN * 4, stream.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_not_waited_for() {
        let (mut stream, _client) = patient(8);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
