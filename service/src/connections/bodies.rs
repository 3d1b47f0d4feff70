//! Limits of the bodies of requests: of their time and of their bytes in memory. tower-http limits
//! single bodies only, not those of a connection or a server, and has no deadline for the messages
//! of a stream.
//!
//! Bytes count when they arrive, not when a message's head announces them. So a client that
//! announces much and sends little takes little room from others. A long message counts
//! [`FIRST_BYTES`] as soon as its head is there, because memory is allocated in pieces of that
//! size. Bytes count until the request is answered; in a stream, until the answer to their message
//! is made.
//!
//! A body that would exceed the limit of its connection or of the server is refused, not delayed.
//! If bodies waited, they would fill the HTTP/2 window that they share with the bodies that must go
//! on.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::Message;
use prost::bytes::Bytes;
use prost_types::FileDescriptorSet;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tower_layer::Layer;

use super::ledger::Held;
use super::{Cause, Connections, Peer, Tally};
use ocelli_proto::DESCRIPTOR_SET;
use ocelli_proto::status::{Code, detailed, retriable};
use ocelli_proto::v1::ErrorReason;

/// The pause after which a request that was refused for its bytes may come again.
const RETRY: Duration = Duration::from_millis(500);

/// Bytes of a message's head: whether the message is compressed, and its length.
const MESSAGE_HEAD: usize = 5;

/// The memory that the first byte of a long message may take: a huge page.
const FIRST_BYTES: usize = 2 << 20;

/// The form of a method's requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One message: all of the body has one deadline.
    Unary,
    /// A stream of messages. Each message has a deadline, counted from its first byte.
    Stream,
    /// A stream of small messages, whose bytes are not counted.
    SmallStream,
}

/// Limits the bodies of requests, and counts their bytes.
#[derive(Clone)]
pub(crate) struct Bodies {
    tally: Tally,
    timeout: Duration,
    /// The methods with streams, by path; all others are [`Kind::Unary`].
    streams: Arc<HashMap<String, Kind>>,
}

impl Bodies {
    pub(crate) fn new(connections: &Connections) -> Bodies {
        let small = [
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let small = small.into_iter().flat_map(streams).map(|path| (path, Kind::SmallStream));
        let ours = streams(DESCRIPTOR_SET).into_iter().map(|path| (path, Kind::Stream));
        Bodies {
            tally: connections.0.tally.clone(),
            timeout: connections.0.body_timeout,
            streams: Arc::new(small.chain(ours).collect()),
        }
    }
}

/// The paths of methods whose requests are streams.
fn streams(descriptor_set: &[u8]) -> Vec<String> {
    let files = FileDescriptorSet::decode(descriptor_set).unwrap_or_default().file;
    let mut paths = Vec::new();
    for file in &files {
        for service in &file.service {
            let methods = service.method.iter().filter(|method| method.client_streaming());
            let path = |name: &str| format!("/{}.{}/{name}", file.package(), service.name());
            paths.extend(methods.map(|method| path(method.name())));
        }
    }
    paths
}

impl<S> Layer<S> for Bodies {
    type Service = BodiesService<S>;

    fn layer(&self, inner: S) -> BodiesService<S> {
        BodiesService { bodies: self.clone(), inner }
    }
}

/// A service with limits for the bodies of its requests.
#[derive(Clone)]
pub(crate) struct BodiesService<S> {
    bodies: Bodies,
    inner: S,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for BodiesService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Holding<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<Body>) -> Holding<S::Future> {
        let Some(ledger) = request.extensions().get::<Peer>().map(|peer| Arc::clone(&peer.ledger))
        else {
            return Holding { future: self.inner.call(request), _held: None };
        };
        let kind = self.bodies.streams.get(request.uri().path());
        let kind = kind.copied().unwrap_or(Kind::Unary);
        let held = Arc::new(Held::new(ledger));
        if kind == Kind::Stream {
            request.extensions_mut().insert(Arc::clone(&held));
        }
        let (tally, timeout) = (self.bodies.tally.clone(), self.bodies.timeout);
        let limited = |inner| {
            let held = Arc::clone(&held);
            Body::new(Limited {
                inner,
                held,
                tally,
                timeout,
                kind,
                messages: Messages::default(),
                late: None,
            })
        };
        let request = request.map(limited);
        Holding { future: self.inner.call(request), _held: Some(held) }
    }
}

pin_project! {
    /// A call whose body counts until its response is there.
    pub(crate) struct Holding<F> {
        #[pin]
        future: F,
        _held: Option<Arc<Held>>,
    }
}

impl<F: Future> Future for Holding<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(task)
    }
}

/// The state of the messages of a body.
#[derive(Default)]
struct Messages {
    /// The bytes of the present message's head that have come.
    head: Vec<u8>,
    /// Length of the present message, and how many of its bytes are missing.
    length: usize,
    missing: usize,
    /// Bytes of the earlier messages and of all heads.
    before: usize,
    /// The number of messages that have begun.
    begun: u64,
}

impl Messages {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let part = self.missing.min(bytes.len());
                self.missing -= part;
                bytes = bytes.get(part..).unwrap_or_default();
                continue;
            }
            if self.head.is_empty() {
                self.begun += 1;
            }
            let part = (MESSAGE_HEAD - self.head.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(part);
            self.head.extend(head);
            bytes = rest;
            if let [_, length @ ..] = self.head.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.before += MESSAGE_HEAD + self.length;
                self.length = u32::from_be_bytes(length) as usize;
                self.missing = self.length;
                self.head.clear();
            }
        }
    }

    /// The bytes of memory that the body takes now.
    fn taken(&self) -> usize {
        let came = self.length - self.missing;
        self.before + self.head.len() + came.max(self.length.min(FIRST_BYTES))
    }

    /// Whether a message has begun and is not complete.
    fn within(&self) -> bool {
        self.missing > 0 || !self.head.is_empty()
    }
}

/// A body with limits.
struct Limited {
    inner: Body,
    held: Arc<Held>,
    tally: Tally,
    timeout: Duration,
    kind: Kind,
    messages: Messages,
    /// The number of the message that is waited for, and the end of its time. `None` as long as
    /// nothing is waited for: most bodies arrive at once.
    late: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Limited {
    fn refuse(&mut self, cause: Cause) -> Status {
        // Nothing more is read, and the bytes that came no longer count.
        self.inner = Body::empty();
        self.tally.cut_off("grpc", cause, &self.held.address());
        drop(self.held.take());
        let limits = self.held.limits();
        let bytes = |whose: &str, limit: i64, key: &str| {
            let message = format!(
                "bodies of {whose} requests are over {limit} bytes (connections.{key}): send \
                 fewer at a time, or smaller ones"
            );
            retriable(Code::ResourceExhausted, message, ErrorReason::Overloaded, RETRY)
        };
        match cause {
            Cause::ConnectionBytes => bytes(
                "this connection's",
                limits.max_connection_body_bytes,
                "max_connection_body_bytes",
            ),
            Cause::ServerBytes => bytes("this server's", limits.max_body_bytes, "max_body_bytes"),
            _ => {
                let (what, ms) = (self.what(), self.timeout.as_millis());
                let message = format!(
                    "the {what} was not complete after {ms} ms (connections.body_timeout_ms)"
                );
                detailed(Code::DeadlineExceeded, message, ErrorReason::Deadline, "")
            }
        }
    }

    fn what(&self) -> &'static str {
        match self.kind {
            Kind::Unary => "request",
            Kind::Stream | Kind::SmallStream => "message",
        }
    }

    /// Counts the bytes that came and follows the messages in them.
    fn came(&mut self, data: &[u8]) -> Result<(), Cause> {
        let before = self.messages.taken();
        self.messages.read(data);
        match self.kind {
            Kind::Unary | Kind::Stream => self.held.add(self.messages.taken() - before),
            Kind::SmallStream => Ok(()),
        }
    }

    /// Whether the body or the message takes too long.
    fn is_late(&mut self, task: &mut Context<'_>) -> bool {
        if self.kind != Kind::Unary && !self.messages.within() {
            self.late = None;
            return false;
        }
        let number = self.messages.begun;
        let timeout = self.timeout;
        let new = || (number, Box::pin(tokio::time::sleep(timeout)));
        let late = self.late.get_or_insert_with(new);
        if late.0 != number {
            *late = new();
        }
        late.1.as_mut().poll(task).is_ready()
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(task);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && let Err(cause) = this.came(data)
                {
                    return Poll::Ready(Some(Err(this.refuse(cause))));
                }
            }
            Poll::Pending if this.is_late(task) => {
                return Poll::Ready(Some(Err(this.refuse(Cause::BodyTimeout))));
            }
            Poll::Ready(_) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_through_any_pieces() {
        // Messages of 3, 0 and 300 bytes.
        let mut bytes = vec![0, 0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 44];
        bytes.extend([9; 300]);
        for size in [1, 2, 5, 7, 100, 1000] {
            let mut messages = Messages::default();
            for piece in bytes.chunks(size) {
                messages.read(piece);
            }
            assert_eq!((messages.within(), messages.begun), (false, 3), "pieces of {size}");
            assert_eq!(messages.taken(), bytes.len(), "pieces of {size}");
            messages.read(&[0]);
            assert_eq!((messages.within(), messages.begun), (true, 4), "pieces of {size}");
            // A head of 8 MiB.
            messages.read(&[0, 128, 0, 0]);
            assert_eq!(messages.taken(), bytes.len() + 5 + FIRST_BYTES, "pieces of {size}");
            messages.read(&[7; 3 << 20]);
            assert_eq!(messages.taken(), bytes.len() + 5 + (3 << 20), "pieces of {size}");
        }
    }

    #[test]
    fn methods_with_streams_of_requests_are_known() {
        let bodies = Bodies::new(&Connections::new(&Default::default(), 1).expect("defaults"));
        let kind = |path: &str| bodies.streams.get(path).copied();
        assert!(kind("/ocelli.v1.SearchService/StreamSearch") == Some(Kind::Stream));
        assert!(kind("/ocelli.v1.EncoderService/StreamEncode") == Some(Kind::Stream));
        assert!(kind("/ocelli.v1.SearchService/RangeSearch").is_none());
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        assert!(kind(reflection) == Some(Kind::SmallStream));
    }
}
