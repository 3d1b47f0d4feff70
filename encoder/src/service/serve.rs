//! The server around an encoder, from the first connection to the last.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_pictures::ViewOptions;
use ocelli_service::connections::{Connections, ConnectionsConfig};
use ocelli_service::observe::{Endpoint, MetricsConfig, Rpc};
use ocelli_service::security::{Security, SecurityConfig};
use ocelli_service::server::{Health, Server, announce, shutdown_signal};
use prometheus_client::registry::Registry;

use super::slot::Slot;
use super::{Encoder, EncoderOptions, Metrics, grpc};
use crate::pipeline::Pipeline;

/// Options of the service.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Threads, batches and queue.
    pub encoder: EncoderOptions,
    /// The largest request in bytes.
    pub max_message_bytes: usize,
    /// Time for running requests to end at shutdown.
    pub drain_timeout: Duration,
    /// The endpoint for Prometheus.
    pub metrics: MetricsConfig,
    /// Limits of connections and bodies.
    pub connections: ConnectionsConfig,
    /// TLS and tokens.
    pub security: SecurityConfig,
}

/// Serves until SIGTERM or SIGINT. It listens at once; `open` reads the network meanwhile, on a
/// thread of its own. Until that is done health says NOT_SERVING, and requests are told so
/// (UNAVAILABLE, NOT_READY). Then it writes `listening on ADDRESS` to standard output.
///
/// When this returns, threads may still read the network or compute answers that no client waits
/// for. The process should end without running destructors.
///
/// # Errors
/// A port in use, an address that is not secured as it must be, and what `open` returns.
pub async fn serve(
    options: ServeOptions,
    open: impl FnOnce() -> Result<(Pipeline, ViewOptions)> + Send + 'static,
) -> Result<()> {
    let stop = shutdown_signal()?;
    let security = Security::open(&options.security)?;
    let certificates = security.certificates();
    let connections = Connections::new(&options.connections, options.max_message_bytes)?;
    let server = Server::bind(&options.listen).await?.secured(security)?.starting();
    let endpoint = Endpoint::bind(&options.metrics).await?;
    let metrics = Metrics::new(options.encoder.workers);
    let mut registry = Registry::default();
    let rpc = Rpc::register(&mut registry);
    metrics.register(&mut registry);
    registry.register_collector(Box::new(certificates));
    let slot = Arc::new(Slot::empty());
    if let Some(endpoint) = endpoint {
        let slot = Arc::clone(&slot);
        let connections = connections.clone();
        tokio::spawn(endpoint.serve(registry, connections, move || slot.ready()));
    }
    let address = server.address();
    tracing::info!(%address, "reading the network: NOT_SERVING until it is ready");
    let encoder = options.encoder;
    let loading = tokio::task::spawn_blocking(move || {
        let (pipeline, view_options) = open()?;
        let started = Encoder::counting(&pipeline, &view_options, encoder, metrics)?;
        tracing::info!(
            spec = %started.spec().hash(),
            device = %pipeline.network().device(),
            workers = encoder.workers,
            "ready"
        );
        anyhow::Ok(started)
    });
    let health = server.health();
    let mut failed = None;
    let until = async {
        let loaded = async { loading.await.context("the thread that reads the network")? };
        if let Err(error) = until_stopped(&slot, &health, loaded, stop, || announce(address)).await
        {
            failed = Some(error);
        }
        slot.stop();
    };
    let routes = grpc::routes(Arc::clone(&slot), options.max_message_bytes);
    let server = server.observed(rpc, None).limited(connections);
    server.serve(routes, &grpc::SERVICE_NAMES, options.drain_timeout, until).await?;
    // Never dropped: it would wait for threads, which may compute for seconds although no client
    // waits.
    std::mem::forget(slot);
    failed.map_or(Ok(()), Err)
}

/// Waits until the encoder is `loaded`, puts it into `slot`, reports the service as ready, and
/// waits for `stop`.
async fn until_stopped(
    slot: &Slot,
    health: &Health,
    loaded: impl Future<Output = Result<Encoder>>,
    stop: impl Future<Output = ()>,
    announce: impl FnOnce(),
) -> Result<()> {
    tokio::pin!(stop);
    let encoder = tokio::select! {
        () = &mut stop => return Ok(()),
        loaded = loaded => loaded?,
    };
    slot.fill(Arc::new(encoder));
    for name in grpc::SERVICE_NAMES.into_iter().chain([""]) {
        health.set(name, true).await;
    }
    announce();
    stop.await;
    Ok(())
}
