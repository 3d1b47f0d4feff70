//! The server from start to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_service::connections::Connections;
use ocelli_service::observe::{Endpoint, Rpc};
use ocelli_service::security::Security;
use ocelli_service::server::{Health, Server, shutdown_signal};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::grpc::admission::gate;
use crate::grpc::{SERVICE_NAMES, routes};
use crate::service::Searcher;
use crate::service::gauges::Gauges;

/// The time between two updates of the health reports.
const HEALTH: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT. Writes `listening on ADDRESS` to standard output when every
/// index that can be opened is open.
///
/// # Errors
/// A configuration out of range, a port in use, an address without the security that it needs, a
/// folder that is not an index directory, no index that can be opened.
pub async fn serve(config: Config) -> Result<()> {
    config.check()?;
    let stop = shutdown_signal()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    ocelli_service::role::raise_file_limit();
    // First, because it is cheap and often wrong.
    let security = Security::open(&config.security)?;
    let connections = Connections::new(&config.connections, config.max_message_bytes)?;
    let certificates = security.certificates();
    let server = Server::bind(&config.listen).await?.secured(security)?;
    let endpoint = Endpoint::bind(&config.metrics).await?;
    let searcher = Arc::new(Searcher::open(&config)?);
    let mut registry = Registry::default();
    let rpc = Rpc::register(&mut registry);
    searcher.metrics().register(&mut registry);
    registry.register_collector(Box::new(Gauges(Arc::clone(&searcher))));
    registry.register_collector(Box::new(certificates));
    if let Some(endpoint) = endpoint {
        let searcher = Arc::clone(&searcher);
        let connections = connections.clone();
        tokio::spawn(endpoint.serve(registry, connections, move || searcher.ready()));
    }
    // In the background: queries without images need no encoder.
    tokio::spawn({
        let searcher = Arc::clone(&searcher);
        async move { searcher.compare_encoder().await }
    });
    let reload_interval = Duration::from_millis(config.security.reload_interval_ms);
    tokio::spawn(Arc::clone(&searcher).watch_encoder(reload_interval));
    if config.watch_ms > 0 {
        tokio::spawn(Arc::clone(&searcher).watch(Duration::from_millis(config.watch_ms)));
    }
    tokio::spawn({
        let searcher = Arc::clone(&searcher);
        async move {
            while hangup.recv().await.is_some() {
                tracing::info!("SIGHUP: opening every index again");
                searcher.reload_all().await;
            }
        }
    });
    tokio::spawn(report(Arc::clone(&searcher), server.health()));
    server.announce();
    let stop = {
        let searcher = Arc::clone(&searcher);
        async move {
            stop.await;
            searcher.stop();
        }
    };
    let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
    let gate = gate(Arc::clone(&searcher));
    let routes = routes(searcher, config.max_message_bytes);
    server
        .observed(rpc, Some(gate))
        .limited(connections)
        .max_concurrent_streams(config.max_concurrent_requests)
        .serve(routes, &SERVICE_NAMES, drain_timeout, stop)
        .await
}

/// Keeps the health reports up to date: `""` and the search service report whether traffic is
/// wanted, `index/NAME` whether all shards of that index answer.
pub async fn report(searcher: Arc<Searcher>, health: Health) {
    let mut told: BTreeMap<String, bool> = BTreeMap::new();
    let mut stopping = searcher.stopping();
    loop {
        if *stopping.borrow() {
            // From here on, the server itself reports NOT_SERVING.
            return;
        }
        let ready = searcher.ready();
        let mut now =
            BTreeMap::from([(String::new(), ready), (SERVICE_NAMES[0].to_owned(), ready)]);
        for index in searcher.states() {
            let sound = index.generation != 0 && index.faults.is_empty();
            now.insert(format!("index/{}", index.name), ready && sound);
        }
        for (name, serving) in now {
            if told.get(&name) != Some(&serving) {
                health.set(&name, serving).await;
                told.insert(name, serving);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(HEALTH) => {}
            _ = stopping.changed() => {}
        }
    }
}
