//! A small HTTP endpoint beside the gRPC port.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::MetricsConfig;
use super::process::Process;

/// The media type of what Prometheus reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A bound endpoint that does not answer yet.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// Binds what `config` names; nothing where it names nothing.
    ///
    /// # Errors
    /// No such address, a port in use; an address that other machines reach, unless that is wanted.
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
            "metrics.listen is {address}, which other machines reach without TLS or token; expected a loopback \
             address, or metrics.insecure = true where the network itself is trusted"
        );
        tracing::info!(%address, "metrics");
        Ok(Some(Endpoint { listener }))
    }

    /// Answers until the process ends: `/metrics` from `registry` and what the system says of this process,
    /// `/readyz` by `ready`, `/livez`.
    pub async fn serve(
        self,
        mut registry: Registry,
        ready: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        registry.register_collector(Box::new(Process));
        let (registry, ready) = (Arc::new(registry), Arc::new(ready));
        let routes = Router::new()
            .route("/metrics", get(move || async move { metrics(&registry) }))
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(move || async move { readiness(ready()) }));
        if let Err(error) = axum::serve(self.listener, routes).await {
            tracing::error!(%error, "the endpoint of the metrics ended");
        }
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
