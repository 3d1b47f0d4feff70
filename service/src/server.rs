//! A gRPC server with health and reflection beside a role's own services, and with a graceful end.
//!
//! Message limits belong to each generated service: set `max_decoding_message_size` and
//! `max_encoding_message_size` there before handing it over.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use std::{io, io::Write};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::connections::{Bodies, Connections, ConnectionsConfig, Guarded};
use crate::linger::Lingering;
use crate::observe::{Gate, Gates, Rpc};
use crate::security::{self, Security};
use ocelli_proto::DESCRIPTOR_SET;
use ocelli_proto::limits::DEFAULT_MAX_MESSAGE_BYTES;

/// A bound server that does not answer yet. Bind before the expensive part of a start: then a port
/// in use is an error at once. Clients that connect before [`Server::serve`] wait.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    health: HealthReporter,
    max_concurrent_streams: u32,
    connections: Option<Connections>,
    security: Security,
    rpc: Option<Rpc>,
    gate: Option<Gate>,
    starting: bool,
}

/// For each request of a connection that may run: the requests that its client may have given up
/// before the server looks at them. Under overload with short deadlines, clients give up several
/// times as many requests as they get answers.
const RESETS_PER_STREAM: usize = 16;

/// Requests of one connection that are answered at a time, unless a role says otherwise.
const MAX_CONCURRENT_STREAMS: u32 = 128;

/// Bytes that a client may send before the server reads them, on a connection and on each stream.
const WINDOW_BYTES: u32 = 1 << 20;

/// The largest request of health and reflection: the name of a service, or of a symbol.
const SMALL_MESSAGE_BYTES: usize = 8 << 10;

/// The report of the health service, which can be changed while the server runs.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// Reports from now on that `service` is serving or not. The empty name is the whole server.
    pub async fn set(&self, service: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.set_service_status(service, status).await;
    }
}

impl Server {
    /// Binds `listen`, a host or address with a port (`127.0.0.1:7070`); port 0 takes a free one.
    ///
    /// # Errors
    /// No such address, a port in use, no permission: one line that names the address.
    pub async fn bind(listen: &str) -> Result<Server> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener
            .local_addr()
            .with_context(|| format!("cannot read the address of {listen}"))?;
        Ok(Server {
            listener,
            address,
            health: HealthReporter::new(),
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            connections: None,
            security: Security::default(),
            rpc: None,
            gate: None,
            starting: false,
        })
    }

    /// The address as it was bound, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The health service, for reports beside those of [`Server::serve`].
    pub fn health(&self) -> Health {
        Health(self.health.clone())
    }

    /// Health reports NOT_SERVING at first, until [`Health::set`] changes it for each service and
    /// for the empty name.
    pub fn starting(self) -> Server {
        Server { starting: true, ..self }
    }

    /// Answers at most `streams` requests of one connection at a time; further ones wait in the
    /// client.
    pub fn max_concurrent_streams(self, streams: u32) -> Server {
        Server { max_concurrent_streams: streams, ..self }
    }

    /// Limits connections and bodies by `connections`. Without a call of this, the defaults apply.
    pub fn limited(self, connections: Connections) -> Server {
        Server { connections: Some(connections), ..self }
    }

    /// Demands TLS, client certificates and tokens, as `security` is configured.
    ///
    /// # Errors
    /// An address that other machines reach, and too little security for that.
    pub fn secured(self, security: Security) -> Result<Server> {
        security.allows(self.address)?;
        Ok(Server { security, ..self })
    }

    /// Counts and times every call in `rpc`, and gives it an id. `gate` may refuse a call before
    /// that.
    pub fn observed(self, rpc: Rpc, gate: Option<Gate>) -> Server {
        Server { rpc: Some(rpc), gate, ..self }
    }

    /// [`announce`]s this server's address.
    pub fn announce(&self) {
        announce(self.address);
    }

    /// Answers requests to `routes` until `stop` is ready. Then health says NOT_SERVING, no new
    /// connection is accepted, and running requests may take `drain_timeout` to end.
    ///
    /// Health reports `service_names` (for example `ocelli.v1.SearchService`) and the empty name,
    /// which stands for the whole server.
    ///
    /// # Errors
    /// The listening socket fails.
    pub async fn serve(
        mut self,
        routes: Routes,
        service_names: &[&str],
        drain_timeout: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let (health, address) = (self.health.clone(), self.address);
        let report = async |serving| {
            for name in service_names.iter().copied().chain([""]) {
                health.set_service_status(name, serving).await;
            }
        };
        match self.starting {
            true => report(ServingStatus::NotServing).await,
            false => report(ServingStatus::Serving).await,
        }
        let routes = self.with_own_services(routes)?;
        let defaults =
            || Connections::new(&ConnectionsConfig::default(), DEFAULT_MAX_MESSAGE_BYTES);
        let connections = self.connections.take().map_or_else(defaults, Ok)?;
        // Ends with this function.
        let mut watch = JoinSet::new();
        watch.spawn(self.security.clone().watch());

        let (drain, draining) = oneshot::channel::<()>();
        let tls = self.security.tls().is_some();
        let serve = self.answer(routes, connections, draining);
        tokio::pin!(serve);
        tracing::info!(%address, tls, "listening");
        tokio::select! {
            ended = &mut serve => return ended.context("the server ended"),
            () = stop => {}
        }
        report(ServingStatus::NotServing).await;
        tracing::info!(timeout_ms = drain_timeout.as_millis() as u64, "draining");
        // An error means that the server has ended already.
        let _ = drain.send(());
        match tokio::time::timeout(drain_timeout, serve).await {
            Ok(ended) => ended.context("the server ended")?,
            Err(_) => tracing::warn!("requests were cut off: the drain timeout is over"),
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// `routes` with health and reflection, behind tokens and certificates, counted.
    fn with_own_services(&self, routes: Routes) -> Result<Routes> {
        let health = HealthService::from_health_reporter(self.health.clone());
        let health = HealthServer::new(health).max_decoding_message_size(SMALL_MESSAGE_BYTES);
        let routes = with_reflection(routes.add_service(health))?;
        let routes = self.security.protect(routes);
        // Outside of the security: a request without a token is counted, too, and an overloaded
        // server's gate refuses it first.
        Ok(match &self.rpc {
            Some(rpc) => rpc.wrap(routes),
            None => routes,
        })
    }

    /// Answers requests to `routes` until `draining` is ready and what runs has ended.
    async fn answer(
        self,
        routes: Routes,
        connections: Connections,
        draining: oneshot::Receiver<()>,
    ) -> Result<(), tonic::transport::Error> {
        let draining = async {
            // An error means that the sender is gone: end as well.
            let _ = draining.await;
        };
        let streams = self.max_concurrent_streams;
        let router = tonic::transport::Server::builder()
            .layer(Gates(self.gate.zip(self.rpc)))
            .layer(Bodies::new(&connections))
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(connections.keepalive_interval()))
            .http2_keepalive_timeout(Some(connections.keepalive_timeout()))
            .max_concurrent_streams(streams)
            // The number of requests that clients may give up before the server looks at them, when
            // all run out of time, say. The default of 20 would end the connection, and the other
            // requests with it.
            .http2_max_pending_accept_reset_streams(Some(streams as usize * RESETS_PER_STREAM))
            .add_routes(routes);
        match self.security.tls() {
            Some(tls) => {
                let secured = security::incoming(tls, self.listener, connections);
                router.serve_with_incoming_shutdown(secured, draining).await
            }
            None => {
                let plain = plain(self.listener, connections);
                router.serve_with_incoming_shutdown(plain, draining).await
            }
        }
    }
}

/// Writes the line `listening on ADDRESS` to standard output, for scripts that wait for it. If
/// standard output is closed, the log has a warning and the server serves all the same.
pub fn announce(address: SocketAddr) {
    let mut stdout = io::stdout();
    let written = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::warn!(%error, %address, "cannot say on standard output that the server listens");
    }
}

/// Connections to `listener` without TLS.
fn plain(
    listener: TcpListener,
    connections: Connections,
) -> impl Stream<Item = io::Result<Guarded<Lingering>>> {
    let next = async |(listener, connections): (TcpListener, Connections)| {
        let (socket, peer, place) = connections.door().accept(&listener).await;
        let guarded = Guarded::new(Lingering::new(socket), peer, None, place, &connections);
        Some((Ok(guarded), (listener, connections)))
    };
    futures_util::stream::unfold((listener, connections), next)
}

/// The time that a client still waits, from the request's `grpc-timeout`; `None` without a limit.
///
/// tonic ends a request at that time with CANCELLED. A service that wants to answer
/// DEADLINE_EXCEEDED, or to pass the remaining time on, reads it here. A malformed value is
/// ignored, as by tonic, whose own parser is private.
pub fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // The specification allows eight digits, so that no unit overflows below.
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// Becomes ready at SIGTERM or SIGINT.
///
/// # Errors
/// The handlers cannot be installed.
pub fn shutdown_signal() -> Result<impl Future<Output = ()>> {
    // Installed now, not at the first poll: a signal during the start must not be lost.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    })
}

/// `routes` with the reflection service in both versions: old clients know v1alpha only.
fn with_reflection(routes: Routes) -> Result<Routes> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().context("the descriptor set")?;
    let v1alpha = builder().build_v1alpha().context("the descriptor set")?;
    Ok(routes
        .add_service(v1.max_decoding_message_size(SMALL_MESSAGE_BYTES))
        .add_service(v1alpha.max_decoding_message_size(SMALL_MESSAGE_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_the_specification_writes_them() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("a header value"));
            deadline(&metadata)
        };
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("15m"), Some(Duration::from_millis(15)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        for malformed in ["", "S", "-1S", "1", "123456789S", "1s", "+1S"] {
            assert_eq!(read(malformed), None, "{malformed:?}");
        }
        assert_eq!(deadline(&MetadataMap::new()), None);
    }

    /// A server that starts serves at once, is NOT_SERVING until it says otherwise, and at its end
    /// again.
    #[tokio::test]
    async fn a_server_that_starts_is_not_serving() -> Result<()> {
        use tonic_health::pb::HealthCheckRequest;
        use tonic_health::pb::health_check_response::ServingStatus;
        use tonic_health::pb::health_client::HealthClient;

        let server = Server::bind("127.0.0.1:0").await?.starting();
        let (address, health) = (server.address(), server.health());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            server.serve(Routes::default(), &["a.B"], Duration::from_secs(5), stop).await
        });
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        let mut client = HealthClient::new(endpoint.connect().await?);
        let mut found = Vec::new();
        for round in 0..2 {
            for name in ["a.B", ""] {
                let request = HealthCheckRequest { service: name.to_owned() };
                found.push(client.check(request).await?.into_inner().status());
                if round == 0 {
                    health.set(name, true).await;
                }
            }
        }
        let (not, yes) = (ServingStatus::NotServing, ServingStatus::Serving);
        assert_eq!(found, [not, not, yes, yes]);
        drop(client);
        let _ = stop.send(());
        serving.await?
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() -> Result<()> {
        let first = Server::bind("127.0.0.1:0").await?;
        let address = first.address().to_string();
        let error = Server::bind(&address).await.expect_err("the port is in use");
        let line = format!("{error:#}");
        assert!(line.contains(&address) && line.contains("in use"), "{line}");
        Ok(())
    }
}
