//! A file on its way to the platform: `multipart/form-data`, streamed from the disk.
//!
//! Promises: the content is never whole in memory, only [`CHUNK_BYTES`] of it; the length is known
//! beforehand; the first byte leaves before the deadline or not at all, as with a
//! [message](super::last_look). The content goes out exactly as long as it was said to be: if it
//! was changed meanwhile and is too short, the call breaks off before the form is complete.
//!
//! Why the form is written here and not by reqwest's: that one has no last look at the clock, and
//! it writes a Russian file name in a form (`filename*=`) that RFC 7578, 4.2 forbids.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

use super::last_look::TooLate;
use crate::clock::Clock;
use crate::connect::{OutgoingFile, wire};
use crate::core::outcome::{Answer, NotDone};
use crate::core::time::Time;
use crate::ids::Ids;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 64 * 1_024;

/// A form whose file is open.
pub(super) struct Upload {
    pub(super) content_type: String,
    head: Bytes,
    file: File,
    bytes: u64,
    tail: Bytes,
}

impl Upload {
    /// Opens the file and writes the form around it.
    pub(super) async fn open(outgoing: &OutgoingFile, ids: &dyn Ids) -> Result<Self, Answer> {
        let no_file = |detail: String| {
            Err(Answer::NotDone { why: NotDone::NoFile(detail), retry_after: None })
        };
        // No address of the file in the words: they are kept and shown.
        let file = match File::open(&outgoing.content).await {
            Ok(file) => file,
            Err(error) => return no_file(format!("it cannot be opened: {}", error.kind())),
        };
        let bytes = outgoing.bytes;
        match file.metadata().await {
            Ok(found) if !found.is_file() => return no_file("it is not a file".to_owned()),
            Ok(found) if found.len() != bytes => {
                let len = found.len();
                return no_file(format!("it has {len} bytes and should have {bytes}"));
            }
            Ok(_) => {}
            Err(error) => return no_file(format!("it cannot be looked at: {}", error.kind())),
        }
        // Not to be guessed, or the content of a file could end its part and begin another.
        let boundary = format!("freeline-{:016x}{:016x}", ids.random(), ids.random());
        let head = format!(
            "--{boundary}\r\n\
             Content-Disposition: form-data; name=\"meta\"\r\n\
             Content-Type: application/json\r\n\r\n\
             {meta}\r\n\
             --{boundary}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            meta = wire::file_meta(outgoing),
            name = header_name(&outgoing.file_name),
        );
        Ok(Self {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            head: head.into(),
            file,
            bytes,
            tail: format!("\r\n--{boundary}--\r\n").into(),
        })
    }

    /// The body of a request that is kept back from `deadline` on.
    pub(super) fn body(self, deadline: Time, clock: Arc<dyn Clock>) -> reqwest::Body {
        let Self { head, file, bytes, tail, .. } = self;
        reqwest::Body::wrap(Form { head, file, left: bytes, tail, deadline, clock })
    }
}

/// The name in the head of the file's part; the one that is shown stands in `meta`.
///
/// What is escaped there is read differently by every server, so it is left out.
fn header_name(name: &str) -> String {
    let name = name.chars().filter(|sign| !sign.is_control());
    name.map(|sign| if matches!(sign, '"' | '\\' | '/') { '_' } else { sign }).collect()
}

/// What has not been given out yet.
struct Form {
    head: Bytes,
    file: File,
    left: u64,
    tail: Bytes,
    deadline: Time,
    clock: Arc<dyn Clock>,
}

/// Why a form broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("nothing was sent")]
    TooLate(#[from] TooLate),
    #[error("the file became shorter while it was sent")]
    Short,
    #[error("the file could not be read to its end: {0}")]
    Unread(std::io::ErrorKind),
}

impl Form {
    fn poll_file(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        let room = usize::try_from(self.left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut chunk = vec![0; room];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.file).poll_read(context, &mut buffer))
            .map_err(|error| Broken::Unread(error.kind()))?;
        let read = buffer.filled().len();
        chunk.truncate(read);
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        if read == 0 {
            return Poll::Ready(Err(Broken::Short));
        }
        self.left = self.left.saturating_sub(read);
        Poll::Ready(Ok(chunk.into()))
    }
}

impl Body for Form {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let bytes = if !self.head.is_empty() {
            if self.clock.now() >= self.deadline {
                return Poll::Ready(Some(Err(TooLate.into())));
            }
            std::mem::take(&mut self.head)
        } else if self.left > 0 {
            ready!(self.poll_file(context))?
        } else if !self.tail.is_empty() {
            std::mem::take(&mut self.tail)
        } else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_empty() && self.left == 0 && self.tail.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let around = self.head.len().saturating_add(self.tail.len());
        let around = u64::try_from(around).unwrap_or(u64::MAX);
        SizeHint::with_exact(self.left.saturating_add(around))
    }
}
