//! What every Ocelli process that speaks gRPC does the same way: read its configuration, write
//! logs, metrics and traces, limit connections and requests, check the client's rights, serve, and
//! stop without losing an answer. The messages themselves are in [`ocelli_proto`].
//!
//! - [`role`]: layered configuration, logs and exit code of a program.
//! - [`server`]: a gRPC server with health, reflection and graceful shutdown.
//! - [`connections`]: limits of connections, of their first bytes, and of the bodies of requests.
//! - [`security`]: TLS, client certificates and bearer tokens of a server.
//! - [`observe`]: logs, metrics and traces.
//! - [`stream`]: answers the requests of a stream one by one.
//! - [`client`]: connects to such a server.
//!
//! A server that answers health checks until SIGTERM:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use ocelli_service::server::{Server, shutdown_signal};
//! use tonic::service::Routes;
//!
//! # async fn run() -> anyhow::Result<()> {
//! let server = Server::bind("127.0.0.1:7070").await?;
//! server.announce();
//! let stop = shutdown_signal()?;
//! server.serve(Routes::default(), &[], Duration::from_secs(10), stop).await
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod connections;
mod linger;
pub mod observe;
pub mod role;
pub mod security;
pub mod server;
pub mod stream;
