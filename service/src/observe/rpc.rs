//! Counts and times every call of a gRPC server, under the usual names of gRPC dashboards.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context as Task, Poll};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::{Body, Frame, SizeHint};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::service::Routes;
use tracing::Span;

use super::REQUEST_SECONDS;
use super::context::{Context, RequestId, adopt};
use ocelli_proto::DESCRIPTOR_SET;
use ocelli_proto::status::name;

/// The label of unknown methods. A path from a client must not become a series of metrics.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    grpc_service: String,
    grpc_method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    grpc_service: String,
    grpc_method: String,
    grpc_code: &'static str,
}

/// The metrics of one method.
struct Method {
    /// `SearchService/Search`, for spans.
    name: String,
    labels: MethodLabels,
    in_flight: Gauge,
    seconds: Histogram,
    /// Calls that ended, by code. A counter is registered with its first call.
    handled: [OnceLock<Counter>; CODES],
}

/// The number of gRPC codes.
const CODES: usize = 17;

/// The metrics of a server's calls, for [`crate::server::Server::observed`].
#[derive(Clone)]
pub struct Rpc(Arc<Inner>);

struct Inner {
    /// The methods by path.
    methods: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
    handled: Family<CodeLabels, Counter>,
}

impl Rpc {
    /// The calls of every method of `ocelli.v1`, in `registry`.
    pub fn register(registry: &mut Registry) -> Rpc {
        let handled = Family::<CodeLabels, Counter>::default();
        let in_flight = Family::<MethodLabels, Gauge>::default();
        let seconds = Family::<MethodLabels, Histogram, _>::new_with_constructor(|| {
            Histogram::new(REQUEST_SECONDS)
        });
        registry.register("grpc_server_handled", "Calls that ended, by code", handled.clone());
        registry.register(
            "grpc_server_in_flight",
            "Calls that run or wait, streams included",
            in_flight.clone(),
        );
        registry.register(
            "grpc_server_handling_seconds",
            "Time from a call's headers to its last byte",
            seconds.clone(),
        );
        let method = |service: &str, method: &str| {
            let labels =
                MethodLabels { grpc_service: service.to_owned(), grpc_method: method.to_owned() };
            let short = service.rsplit('.').next().unwrap_or(service);
            Arc::new(Method {
                name: format!("{short}/{method}"),
                in_flight: in_flight.get_or_create(&labels).clone(),
                seconds: seconds.get_or_create(&labels).clone(),
                handled: Default::default(),
                labels,
            })
        };
        let methods = names().map(|(service, name)| {
            let path = format!("/{service}/{name}");
            (path, method(&service, &name))
        });
        let methods = methods.collect();
        Rpc(Arc::new(Inner { methods, unknown: method(UNKNOWN, UNKNOWN), handled }))
    }

    /// `routes`, every call of which is counted, timed, and part of a span with its id.
    pub(crate) fn wrap(&self, routes: Routes) -> Routes {
        let router = routes.into_axum_router();
        Routes::from(router.layer(from_fn_with_state(self.clone(), observe)))
    }

    /// The method that a path names.
    fn method(&self, path: &str) -> &Arc<Method> {
        self.0.methods.get(path).unwrap_or(&self.0.unknown)
    }

    /// Counts a call that ended at once.
    pub(super) fn count_path(&self, path: &str, code: Code) {
        self.count(self.method(path), code);
    }

    fn count(&self, method: &Method, code: Code) {
        let counter = |code: Code| {
            let MethodLabels { grpc_service, grpc_method } = method.labels.clone();
            let labels = CodeLabels { grpc_service, grpc_method, grpc_code: name(code) };
            self.0.handled.get_or_create(&labels).clone()
        };
        if let Some(known) = method.handled.get(code as usize) {
            known.get_or_init(|| counter(code)).inc();
        }
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("methods", &self.0.methods.len()).finish_non_exhaustive()
    }
}

/// Service and method names of `ocelli.v1` and of health.
fn names() -> impl Iterator<Item = (String, String)> {
    let ours = FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap_or_default();
    let health =
        FileDescriptorSet::decode(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap_or_default();
    ours.file.into_iter().chain(health.file).flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let full = format!("{package}.{}", service.name());
            let method = move |method: prost_types::MethodDescriptorProto| {
                (full.clone(), method.name().to_owned())
            };
            service.method.into_iter().map(method)
        })
    })
}

async fn observe(State(rpc): State<Rpc>, request: Request, next: Next) -> Response {
    let method = rpc.method(request.uri().path());
    let id = RequestId::of(request.headers());
    let span = tracing::info_span!(
        "rpc",
        otel.kind = "server",
        otel.name = method.name,
        method = method.name,
        request_id = id.as_str(),
        code = tracing::field::Empty,
    );
    adopt(&span, request.headers());
    method.in_flight.inc();
    let mut ticket = Ticket {
        rpc: rpc.clone(),
        method: Arc::clone(method),
        start: Instant::now(),
        span: span.clone(),
        // A client has given up a call that is dropped before its end.
        code: Code::Cancelled,
    };
    let mut response = Context::new(id.clone(), span).attach(next.run(request)).await;
    id.write(response.headers_mut());
    match code(response.headers()) {
        // The response has headers only.
        Some(code) => {
            ticket.code = code;
            response
        }
        None => response.map(|inner| axum::body::Body::new(Watched { inner, ticket })),
    }
}

/// The status in headers or trailers.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// A call that runs; counted when this is dropped.
struct Ticket {
    rpc: Rpc,
    method: Arc<Method>,
    start: Instant,
    span: Span,
    code: Code,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.method.in_flight.dec();
        self.method.seconds.observe(self.start.elapsed().as_secs_f64());
        self.rpc.count(&self.method, self.code);
        self.span.record("code", name(self.code));
    }
}

/// A response's body. It observes the call's end and its status.
struct Watched {
    inner: axum::body::Body,
    ticket: Ticket,
}

impl Body for Watched {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Watched { inner, ticket } = &mut *self;
        // The answers of a stream are made in here.
        let polled = ticket.span.in_scope(|| Pin::new(inner).poll_frame(task));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    ticket.code = code;
                }
            }
            Poll::Ready(Some(Err(_))) => ticket.code = Code::Internal,
            Poll::Ready(None) | Poll::Pending => {}
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
