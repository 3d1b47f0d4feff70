//! A connection whose client must open HTTP/2 in time, and must read what the server sends.
//!
//! The HTTP/2 library (h2) has no such limits: it waits for the first bytes for ever, and sends
//! pings only after them. So this module counts bytes until the client's preface and first frame
//! are complete. It looks at no byte after those.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use super::ledger::Ledger;
use super::{Cause, Connections, Place};

/// Bytes that open HTTP/2, before the first frame.
const PREFACE: usize = 24;
/// Bytes of a frame's head. The first three are the length of what follows.
const FRAME_HEAD: usize = 9;

/// The client of a connection. It is in the extensions of each request.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// The certificates that the client has shown, its own first.
    pub(crate) certificates: Option<Arc<Vec<CertificateDer<'static>>>>,
    /// Bytes of the bodies of this connection's requests.
    pub(super) ledger: Arc<Ledger>,
}

/// A connection with limits.
pub(crate) struct Guarded<IO> {
    io: IO,
    peer: Peer,
    place: Place,
    /// The first bytes; `None` when HTTP/2 is open.
    opening: Option<Opening>,
    /// Set while nothing can be written; ends when the client has stalled for too long.
    stalled: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// A client that was silent for this long has not answered a ping.
    silence: Duration,
    last_read: Instant,
    /// Whether the reason for the connection's end is known: its client has ended it, or it was cut
    /// off.
    ended: bool,
}

/// The first bytes of a client.
struct Opening {
    until: Pin<Box<Sleep>>,
    seen: usize,
    /// The length of the first frame, as far as its bytes have come.
    length: usize,
}

impl Opening {
    /// Reads the next bytes. True when the first frame is complete.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let length_at = PREFACE..PREFACE + 3;
        for (at, byte) in (self.seen..).zip(bytes) {
            if at >= length_at.end {
                break;
            }
            if at >= length_at.start {
                self.length = self.length << 8 | usize::from(*byte);
            }
        }
        self.seen = self.seen.saturating_add(bytes.len());
        self.seen >= PREFACE + FRAME_HEAD && self.seen >= PREFACE + FRAME_HEAD + self.length
    }
}

impl<IO> Guarded<IO> {
    /// A guard of `io`, with the limits of `connections`.
    pub(crate) fn new(
        io: IO,
        address: SocketAddr,
        certificates: Option<Arc<Vec<CertificateDer<'static>>>>,
        place: Place,
        connections: &Connections,
    ) -> Guarded<IO> {
        let ledger = Arc::new(Ledger::new(address, connections));
        let until = Box::pin(tokio::time::sleep(connections.handshake_timeout()));
        Guarded {
            io,
            peer: Peer { address, certificates, ledger },
            place,
            opening: Some(Opening { until, seen: 0, length: 0 }),
            stalled: None,
            patience: connections.keepalive_interval() + connections.keepalive_timeout(),
            silence: connections.keepalive_interval() + connections.keepalive_timeout() / 2,
            last_read: Instant::now(),
            ended: false,
        }
    }

    fn cut_off(&mut self, cause: Cause) -> io::Error {
        if !self.ended {
            self.ended = true;
            self.place.cut_off(cause, self.peer.address);
        }
        io::Error::new(io::ErrorKind::TimedOut, cause.words())
    }

    /// The result of a write; an error if nothing could be written for too long.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.cut_off(Cause::Stalled))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<IO> Drop for Guarded<IO> {
    fn drop(&mut self) {
        // The HTTP/2 library does not say why it ends a connection. A client that answers pings has
        // sent something since the last ping.
        if !self.ended && self.last_read.elapsed() >= self.silence {
            self.place.cut_off(Cause::Silent, self.peer.address);
        }
    }
}

impl<IO> Connected for Guarded<IO> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => {
                let new = buf.filled().get(before..).unwrap_or_default();
                this.ended |= new.is_empty();
                this.last_read = Instant::now();
                if this.opening.as_mut().is_some_and(|opening| opening.read(new)) {
                    this.opening = None;
                }
            }
            Poll::Ready(Err(_)) => this.ended = true,
            Poll::Pending => {}
        }
        // Single bytes do not extend the time.
        if let Some(opening) = &mut this.opening
            && !this.ended
            && opening.until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(this.cut_off(Cause::Preface)));
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.written(cx, polled)
    }
}
