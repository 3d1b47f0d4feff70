//! The context of one call, which follows it over tasks and threads: its id, its span and its
//! trace.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header with a request's id, in requests and answers.
const HEADER: &str = "x-request-id";
/// The same header as a name that is hashed already.
static HEADER_NAME: HeaderName = HeaderName::from_static(HEADER);
/// The longest id that a client may choose, in bytes.
const MAX_ID_BYTES: usize = 64;

/// The id of a request: the client's, or a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id in `headers`: at most 64 letters, digits and `-_.:`. Without an id, or with other
    /// characters, which would let a client forge log lines: a new id.
    pub(super) fn of(headers: &HeaderMap) -> RequestId {
        let given = headers.get(&HEADER_NAME).and_then(|value| value.to_str().ok());
        let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
        match given {
            Some(id) if (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(fits) => {
                RequestId(id.into())
            }
            _ => RequestId::draw(),
        }
    }

    /// A new id of 16 hexadecimal digits. This process never makes it again, and others hardly ever
    /// do.
    fn draw() -> RequestId {
        static SEED: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = *SEED.get_or_init(|| RandomState::new().build_hasher().finish());
        // An odd factor permutes the numbers of 64 bits.
        let count = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        RequestId(format!("{:016x}", seed ^ count).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes the id into the headers of an answer.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if let Ok(mut id) = HeaderValue::from_str(&self.0) {
            // Each id occurs once. In the connection's table of headers it would push out headers
            // that repeat, which then cost 0.2 to 0.6 µs to be written again.
            id.set_sensitive(true);
            headers.insert(HEADER_NAME.clone(), id);
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

tokio::task_local! {
    static REQUEST: RequestId;
}

/// The call that a task works for. It can be taken to another task or thread.
#[derive(Clone, Debug)]
pub struct Context {
    id: Option<RequestId>,
    span: Span,
}

impl Context {
    /// The call of the current task.
    pub fn current() -> Context {
        Context { id: REQUEST.try_with(RequestId::clone).ok(), span: Span::current() }
    }

    pub(super) fn new(id: RequestId, span: Span) -> Context {
        Context { id: Some(id), span }
    }

    /// The span of the call.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// `work` as a part of this call, on any task.
    pub fn attach<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        let Context { id, span } = self;
        let work = work.instrument(span);
        async move {
            match id {
                Some(id) => REQUEST.scope(id, work).await,
                None => work.await,
            }
        }
    }
}

/// Adds an attribute to `span`, if spans are traced.
pub fn set_attribute(span: &Span, name: String, value: i64) {
    if super::init::tracing() {
        span.set_attribute(name, value);
    }
}

/// Makes `span` part of the trace that `headers` name, if they name one.
pub(super) fn adopt(span: &Span, headers: &HeaderMap) {
    if !super::init::tracing() {
        return;
    }
    let context =
        global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    // An error means that no collector is configured, or that the span is not recorded.
    let _ = span.set_parent(context);
}

/// Writes the current call's id and trace into the metadata of a call to another service.
pub fn propagate(metadata: &mut MetadataMap) {
    if let Ok(id) = REQUEST.try_with(|id| MetadataValue::try_from(id.as_str()))
        && let Ok(id) = id
    {
        metadata.insert(HEADER, id);
    }
    if super::init::tracing() {
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Metadata(metadata));
        });
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let Ok(key) = MetadataKey::from_bytes(key.as_bytes())
            && let Ok(value) = MetadataValue::try_from(&value)
        {
            self.0.insert(key, value);
        }
    }
}
