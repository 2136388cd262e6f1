//! A TCP stream that never hands out more than one line at a time.
//!
//! Answers that come together with the one to STARTTLS are not protected by TLS: somebody in
//! between may have added them, so that they are taken for the server's answers to what is said
//! inside TLS (CVE-2011-0411 is the same for commands). lettre keeps what it has read ahead over
//! the start of TLS. With this stream below it there is nothing read ahead: such bytes stay in
//! the socket, where the TLS handshake stumbles over them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that are read at once.
const READ_BYTES_MAX: usize = 4_096;

/// See the module's text.
#[derive(Debug)]
pub(super) struct LineStream(TcpStream);

impl LineStream {
    /// Over a connected stream.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for LineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [0; READ_BYTES_MAX];
        let wanted = buf.remaining().min(READ_BYTES_MAX);
        let mut peeked = ReadBuf::new(space.get_mut(..wanted).unwrap_or_default());
        let available = ready!(self.0.poll_peek(cx, &mut peeked))?;
        let line_end = peeked.filled().iter().position(|byte| *byte == b'\n');
        let taken = line_end.map_or(available, |at| at + 1);
        let mut line = ReadBuf::new(space.get_mut(..taken).unwrap_or_default());
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut line))?;
        buf.put_slice(line.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}
