//! Closes connections without losing the bytes that were just sent.
//!
//! A socket that is closed while it has unread bytes of its peer is reset. A reset discards what
//! the peer has not read yet, for example the end of a large answer, if the peer's window updates
//! for its beginning arrive late. So, after the last byte, this side shuts down its direction and
//! discards what it reads until the peer has closed too. Neither tokio nor hyper does this.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a peer may take to close.
const LINGER: Duration = Duration::from_secs(2);

/// A TCP connection that is closed as the [module docs](self) describe.
pub(crate) struct Lingering {
    stream: TcpStream,
    /// The end of the wait for the peer; set when this direction is shut down.
    until: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, until: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let until = this.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut nothing = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut nothing);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                // The peer has closed, or has gone.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return until.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// All of a large answer arrives although the peer has sent what nobody reads.
    #[tokio::test]
    async fn what_was_sent_arrives_whatever_was_not_read() -> io::Result<()> {
        const BYTES: usize = 8 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            let mut stream = Lingering::new(stream);
            stream.write_all(&vec![7; BYTES]).await?;
            stream.shutdown().await
        });
        let mut client = TcpStream::connect(address).await?;
        let mut found = 0;
        let mut buf = vec![0; 64 << 10];
        loop {
            // As a client's window updates: sent to the end, read by nobody. The server may be gone
            // by then.
            let _ = client.write(&[1; 32]).await;
            match client.read(&mut buf).await? {
                0 => break,
                n => found += n,
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(client);
        assert_eq!(found, BYTES);
        server.await?
    }
}
