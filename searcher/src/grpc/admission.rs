//! Refuses requests before they are read while too many wait: a refusal must cost much less than an answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use crate::service::Searcher;

/// A service behind the pool's admission.
#[derive(Clone)]
pub struct Admission<S> {
    inner: S,
    searcher: Arc<Searcher>,
}

impl<S> Admission<S> {
    pub fn new(inner: S, searcher: Arc<Searcher>) -> Self {
        Admission { inner, searcher }
    }
}

impl<S: NamedService> NamedService for Admission<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.searcher.admits() {
            Ok(()) => Answer::Inner(self.inner.call(request)),
            Err(error) => Answer::Refused(Some(Status::from(error).into_http())),
        }
    }
}

/// What the service answers, or a refusal.
pub enum Answer<F> {
    Inner(F),
    /// Taken when it is polled.
    Refused(Option<Response<Body>>),
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answer::Inner(inner) => Pin::new(inner).poll(context),
            Answer::Refused(refused) => match refused.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Nobody polls a future that was ready.
                None => Poll::Pending,
            },
        }
    }
}
