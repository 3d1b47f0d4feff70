//! Refuses calls before anything else is done for them: before routes, timers, spans and tokens,
//! which together cost as much as HTTP/2 itself. Under overload most calls are refused, and their
//! cost reduces the number of answers.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower_layer::Layer;

use super::Rpc;
use super::context::RequestId;

/// A check before anything else is done for a call. It gets the call's path, and refuses the call
/// by returning a refusal.
#[derive(Clone)]
pub struct Gate(Arc<Refuses>);

type Refuses = dyn Fn(&str) -> Option<Arc<Refusal>> + Send + Sync;

impl Gate {
    /// A gate that asks `refuses`.
    pub fn new(refuses: impl Fn(&str) -> Option<Arc<Refusal>> + Send + Sync + 'static) -> Gate {
        Gate(Arc::new(refuses))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// The status of refused calls, as the headers of a response.
#[derive(Debug)]
pub struct Refusal {
    code: Code,
    headers: HeaderMap,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        let code = status.code();
        Refusal { code, headers: status.into_http::<Body>().headers().clone() }
    }
}

impl Refusal {
    fn response(&self, id: &RequestId) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers.clone();
        id.write(response.headers_mut());
        response
    }
}

/// Puts a gate before a service. A refused call is counted in `rpc` and has an id.
#[derive(Clone)]
pub(crate) struct Gates(pub(crate) Option<(Gate, Rpc)>);

impl<S> Layer<S> for Gates {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.0.clone(), inner }
    }
}

/// A service behind a gate.
#[derive(Clone)]
pub(crate) struct Gated<S> {
    gate: Option<(Gate, Rpc)>,
    inner: S,
}

impl<S, B> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if let Some((Gate(refuses), rpc)) = &self.gate
            && let Some(refusal) = refuses(path)
        {
            rpc.count_path(path, refusal.code);
            return Either::Left(ready(Ok(refusal.response(&RequestId::of(request.headers())))));
        }
        Either::Right(self.inner.call(request))
    }
}
