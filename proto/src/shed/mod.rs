//! Requests are refused before HTTP/2 knows of them.
//!
//! An overloaded server must look at everything that it is sent, and refuse most of it: at three times what it can
//! answer, two requests for each that is answered. To open a stream, to run a task, to write an answer and to close the
//! stream costs an eighth of a search. So frames are looked at on their way in, below the HTTP/2 that answers them:
//! a request that is refused goes no further, and its answer, nothing but headers that were made before, is put
//! between the frames on their way out.
//!
//! Who answers requests misses nothing: streams that it never hears of are as good as closed to it (RFC 9113, 5.1.1). What
//! it must hear of is what headers change for later headers; `hpack` sees to that. While nothing is refused, not a byte is
//! another. Whatever makes no sense goes through as it is, for HTTP/2 itself to judge.

mod frames;
mod hpack;
mod huffman;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

pub(crate) use frames::{Answer, Verdict};
use frames::{Flow, Inbound, Outbound};

/// The header that carries a request's id.
const REQUEST_ID: &str = "x-request-id";
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Answers that a client does not read, in bytes, before nothing more is read of it.
const MAX_UNSENT_BYTES: usize = 64 << 10;

/// Judges the requests of all connections.
pub(crate) struct Front {
    judge: Box<Judge>,
    counted: AtomicUsize,
}

/// What becomes of a request: of its path, of the id that its client gave, and of the number of requests that passed,
/// count, and have no answer.
pub(crate) type Judge = dyn Fn(&str, Option<&[u8]>, usize) -> Verdict + Send + Sync;

impl Front {
    pub(crate) fn new(
        judge: impl Fn(&str, Option<&[u8]>, usize) -> Verdict + Send + Sync + 'static,
    ) -> Front {
        Front { judge: Box::new(judge), counted: AtomicUsize::new(0) }
    }

    fn judge(&self, seen: &hpack::Seen) -> Verdict {
        let path = seen.path.as_deref().and_then(|path| std::str::from_utf8(path).ok());
        let Some(path) = path else { return Verdict::Passed };
        let counted = self.counted.load(Ordering::Relaxed);
        let verdict = (self.judge)(path, seen.request_id.as_deref(), counted);
        if verdict == Verdict::Counted {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    fn ended(&self, requests: usize) {
        self.counted.fetch_sub(requests, Ordering::Relaxed);
    }
}

/// The headers of a refusal.
pub(crate) fn answer<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Answer {
    frames::answer(headers)
}

/// `answer` with the request's id.
pub(crate) fn with_id(answer: &Answer, id: &str) -> Answer {
    let mut answer = answer.clone();
    hpack::write_field(&mut answer, REQUEST_ID.as_bytes(), id.as_bytes());
    answer
}

thread_local! {
    /// What is read goes on at once: 10,000 connections need no buffers while they are idle.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection that speaks HTTP/2, without the requests that are refused.
pub(crate) struct Shed<S> {
    stream: S,
    front: Option<Arc<Front>>,
    inbound: Inbound,
    outbound: Outbound,
    flow: Flow,
    /// How much of what passed was taken, and of the answers was sent.
    taken: usize,
    sent: usize,
}

impl<S> Shed<S> {
    /// `stream` behind `front`; without one, as it is.
    pub(crate) fn new(stream: S, front: Option<Arc<Front>>) -> Shed<S> {
        Shed {
            stream,
            front,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            flow: Flow::default(),
            taken: 0,
            sent: 0,
        }
    }
}

impl<S> Drop for Shed<S> {
    fn drop(&mut self) {
        if let Some(front) = &self.front {
            front.ended(self.inbound.counted());
        }
    }
}

impl<S> fmt::Debug for Shed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shed").finish_non_exhaustive()
    }
}

impl<S: Connected> Connected for Shed<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shed<S> {
    /// Sends answers, if this is between two frames.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.flow.answers.len() {
            // In the midst of an answer, or where one may begin.
            if self.sent == 0 && !self.outbound.between() {
                return Poll::Ready(Ok(()));
            }
            let rest = self.flow.answers.get(self.sent..).unwrap_or_default();
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        self.flow.answers = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Bytes of who answers requests went out.
    fn note_sent(&mut self, bytes: &[u8]) {
        let Shed { inbound, outbound, front, .. } = self;
        let mut ended = 0;
        outbound.sent(bytes, |stream| ended += usize::from(inbound.answered(stream)));
        if let Some(front) = front {
            front.ended(ended);
        }
    }

    /// Hands out what passed; whether there was something.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.flow.passed.get(self.taken..).unwrap_or_default();
        let n = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..n).unwrap_or_default());
        self.taken += n;
        if self.taken == self.flow.passed.len() {
            self.taken = 0;
            // Not cleared: an idle connection holds nothing.
            self.flow.passed = Vec::new();
        }
        n > 0
    }

    /// Reads once. Ready: something came in, or (`false`) nothing will any more.
    fn poll_fill(&mut self, cx: &mut Context<'_>, front: &Front) -> Poll<io::Result<bool>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buf = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let found = buf.filled();
            let judge = |seen: &hpack::Seen| front.judge(seen);
            let taken = self.inbound.take(found, &mut self.flow, judge);
            front.ended(std::mem::take(&mut self.flow.given_up));
            let more = !found.is_empty();
            taken.map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "headers that make no sense")
            })?;
            Poll::Ready(Ok(more))
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Shed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(front) = this.front.clone() else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        loop {
            if this.hand_out(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // Pending: it is known when there is room again, and then this is called again.
            if let Poll::Ready(sent) = this.poll_answers(cx) {
                sent?;
            }
            if this.flow.answers.len() - this.sent > MAX_UNSENT_BYTES {
                return Poll::Pending;
            }
            match this.poll_fill(cx, &front) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Shed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.front.is_none() {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        ready!(this.poll_answers(cx))?;
        // With answers that wait, no further than to the next place for them.
        let most = match this.flow.answers.is_empty() {
            true => bytes.len(),
            false => bytes.len().min(this.outbound.until_between().max(1)),
        };
        let part = bytes.get(..most).unwrap_or_default();
        let n = ready!(Pin::new(&mut this.stream).poll_write(cx, part))?;
        this.note_sent(bytes.get(..n).unwrap_or_default());
        // What fails here fails again at the next write.
        let _ = this.poll_answers(cx);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.front.is_some() && !this.flow.answers.is_empty() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return Pin::new(this).poll_write(cx, first.map_or(&[], |slice| slice));
        }
        let n = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        if this.front.is_some() {
            let mut left = n;
            for slice in slices {
                let part = slice.get(..left.min(slice.len())).unwrap_or_default();
                this.note_sent(part);
                left -= part.len();
            }
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answers(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answers(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "shed_tests.rs"]
mod tests;
