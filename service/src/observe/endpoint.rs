//! The HTTP endpoint for metrics and readiness, beside the gRPC port.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};

use super::MetricsConfig;
use super::process::Process;
use crate::connections::Connections;

/// The media type of metrics for Prometheus.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most connections at a time. One for each collector would be enough.
const MAX_CONNECTIONS: u32 = 64;

/// How long a client may take to send a request after it connects, or after its last answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may last. A collector then opens a new one.
const MAX_AGE: Duration = Duration::from_secs(60);

/// A bound endpoint that does not answer yet.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// Binds the address in `config`; `None` if there is none.
    ///
    /// # Errors
    /// No such address, a port in use; an address that other machines reach without `insecure`.
    pub async fn bind(config: &MetricsConfig) -> Result<Option<Endpoint>> {
        let MetricsConfig { listen, insecure } = config;
        if listen.is_empty() {
            return Ok(None);
        }
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("metrics: cannot listen on {listen}"))?;
        let address = listener.local_addr().context("metrics: cannot read the address")?;
        ensure!(
            *insecure || address.ip().is_loopback(),
            "metrics.listen is {address}, which other machines reach without TLS or token; \
             expected a loopback address, or metrics.insecure = true where the network itself \
             is trusted"
        );
        tracing::info!(%address, "metrics");
        Ok(Some(Endpoint { listener }))
    }

    /// Answers until the process ends: `/metrics` from `registry`, `connections` and the system's
    /// figures of this process, `/readyz` from `ready`, and `/livez`.
    pub async fn serve(
        self,
        mut registry: Registry,
        connections: Connections,
        ready: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        registry.register_collector(Box::new(Process));
        connections.register(&mut registry);
        let (registry, ready) = (Arc::new(registry), Arc::new(ready));
        let routes = Router::new()
            .route("/metrics", get(move || async move { metrics(&registry) }))
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(move || async move { readiness(ready()) }));
        let door = connections.other_door("metrics", MAX_CONNECTIONS);
        loop {
            let (socket, _, place) = door.accept(&self.listener).await;
            let routes = routes.clone();
            tokio::spawn(async move {
                answer(socket, routes).await;
                drop(place);
            });
        }
    }
}

/// Answers the requests of one connection, up to [`MAX_AGE`].
async fn answer(socket: TcpStream, routes: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes));
    // The end of one connection does not matter to the next.
    match tokio::time::timeout(MAX_AGE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "metrics: a connection ended"),
        Err(_) => tracing::debug!("metrics: a connection lasted too long"),
    }
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match text::encode(&mut text, registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn readiness(ready: bool) -> Response {
    match ready {
        true => (StatusCode::OK, "ready\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}
