//! The server from start to end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ocelli_proto::server::{Server, shutdown_signal};

use crate::config::Config;
use crate::grpc::{SERVICE_NAMES, routes};
use crate::service::Searcher;

/// Serves until SIGTERM or SIGINT. Says `listening on ADDRESS` on standard output when every index is
/// open.
///
/// # Errors
/// A configuration out of range, a port in use, an index that cannot be opened.
pub async fn serve(config: Config) -> Result<()> {
    config.check()?;
    let stop = shutdown_signal()?;
    // First, because it is cheap and often what is wrong.
    let server = Server::bind(&config.listen).await?;
    let searcher = Arc::new(Searcher::open(&config)?);
    // Beside the serving: queries without images need no encoder.
    tokio::spawn({
        let searcher = Arc::clone(&searcher);
        async move { searcher.compare_encoder().await }
    });
    server.announce()?;
    let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
    let routes = routes(searcher, config.max_message_bytes);
    server.serve(routes, &SERVICE_NAMES, drain_timeout, stop).await
}
