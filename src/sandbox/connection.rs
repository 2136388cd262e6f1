//! Connections that a handler can cut, so that the client sees a lost answer and not a status.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Accepts connections that can be cut.
pub(super) struct CuttableListener(pub(super) TcpListener);

/// The other end of a connection, and the scissors.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Its address.
    pub(super) addr: SocketAddr,
    cut: CancellationToken,
}

impl Peer {
    /// Closes the connection without an answer. Never returns: the server drops the call as soon
    /// as it notices.
    pub(super) async fn cut(&self) -> std::convert::Infallible {
        self.cut.cancel();
        std::future::pending().await
    }
}

impl Listener for CuttableListener {
    type Io = Cuttable;
    type Addr = Peer;

    async fn accept(&mut self) -> (Cuttable, Peer) {
        let (stream, addr) = <TcpListener as Listener>::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY on a connection to the sandbox");
        }
        let cut = CancellationToken::new();
        let waiting = Box::pin(cut.clone().cancelled_owned());
        (Cuttable { stream, waiting, cut: cut.clone() }, Peer { addr, cut })
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let addr = self.0.local_addr()?;
        Ok(Peer { addr, cut: CancellationToken::new() })
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A TCP stream that fails once it is cut.
pub(super) struct Cuttable {
    stream: TcpStream,
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
    cut: CancellationToken,
}

/// The error of a connection that was cut.
fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the sandbox cut the connection")
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Polled first on purpose: it is what wakes the server up when a handler cuts.
        if self.waiting.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(was_cut()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.is_cancelled() {
            return Poll::Ready(Err(was_cut()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
