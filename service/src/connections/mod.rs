//! Limits of what comes in before a server knows its client: of connections, of their first bytes,
//! and of the bodies of requests. Each is limited in time and in number. What exceeds a limit is
//! cut off, counted, and logged.
//!
//! - `Door`: accepts connections, up to a number at a time.
//! - `Guarded`: a connection whose client must open HTTP/2 in time and must read what the server
//!   sends.
//! - `Bodies`: a layer that limits how long a request's body takes, and how many bytes of bodies
//!   a connection and the server hold.

mod bodies;
mod door;
mod guard;
mod ledger;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Deserialize;

pub(crate) use bodies::Bodies;
pub(crate) use door::{Door, Place};
pub(crate) use guard::{Guarded, Peer};
pub(crate) use ledger::Held;

use ocelli_proto::log_limit::LogLimit;

/// Table `connections` of a role's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsConfig {
    /// The most connections at a time; a further one is closed at once.
    pub max: u32,
    /// How long a client may take to shake hands (TLS), and then to open HTTP/2, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// The server pings a client that was silent for this long, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// How long a client may take to answer a ping, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// How long the body of a request may take, or one message of a stream, in milliseconds.
    pub body_timeout_ms: u64,
    /// The most bytes of bodies in memory at a time, of all connections together.
    pub max_body_bytes: u64,
    /// The most bytes of bodies in memory at a time, of one connection.
    pub max_connection_body_bytes: u64,
}

impl Default for ConnectionsConfig {
    fn default() -> ConnectionsConfig {
        ConnectionsConfig {
            max: 16_384,
            handshake_timeout_ms: 10_000,
            keepalive_interval_ms: 60_000,
            keepalive_timeout_ms: 20_000,
            body_timeout_ms: 60_000,
            max_body_bytes: 1 << 30,
            max_connection_body_bytes: 256 << 20,
        }
    }
}

impl ConnectionsConfig {
    /// Checks the ranges of the values.
    ///
    /// # Errors
    /// The first value that is out of range, with the range.
    pub fn check(&self) -> Result<()> {
        let at_least_one = [
            ("max", self.max.into()),
            ("handshake_timeout_ms", self.handshake_timeout_ms),
            ("keepalive_interval_ms", self.keepalive_interval_ms),
            ("keepalive_timeout_ms", self.keepalive_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("max_body_bytes", self.max_body_bytes),
            ("max_connection_body_bytes", self.max_connection_body_bytes),
        ];
        for (name, value) in at_least_one {
            ensure!(value >= 1, "connections.{name} is 0; expected at least 1");
        }
        // Gauges count in i64.
        ensure!(
            i64::try_from(self.max_body_bytes).is_ok(),
            "connections.max_body_bytes is {}; expected less than 2^63",
            self.max_body_bytes
        );
        Ok(())
    }
}

/// Why something was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// The limit of connections is reached.
    Full,
    /// A connection cannot be accepted: the limit of open files is reached.
    Descriptors,
    /// No TLS handshake, or none in time.
    TlsHandshake,
    /// HTTP/2 was not opened in time.
    Preface,
    /// The client does not answer pings.
    Silent,
    /// The client does not read what the server sends.
    Stalled,
    /// A body took too long.
    BodyTimeout,
    /// The limit of body bytes of a connection is exceeded.
    ConnectionBytes,
    /// The limit of body bytes of the server is exceeded.
    ServerBytes,
}

impl Cause {
    /// The number of causes.
    const COUNT: usize = Cause::ServerBytes as usize + 1;

    /// The label in metrics and logs.
    const fn name(self) -> &'static str {
        match self {
            Cause::Full => "full",
            Cause::Descriptors => "descriptors",
            Cause::TlsHandshake => "tls_handshake",
            Cause::Preface => "preface",
            Cause::Silent => "silent",
            Cause::Stalled => "stalled",
            Cause::BodyTimeout => "body_timeout",
            Cause::ConnectionBytes => "connection_bytes",
            Cause::ServerBytes => "server_bytes",
        }
    }

    /// The line of the log.
    const fn words(self) -> &'static str {
        match self {
            Cause::Full => "a connection was closed: there are as many as connections.max allows",
            Cause::Descriptors => {
                "no connection can be accepted: perhaps out of file descriptors (ulimit -n)"
            }
            Cause::TlsHandshake => "a connection was closed: no TLS handshake",
            Cause::Preface => {
                "a connection was closed: no HTTP/2 within connections.handshake_timeout_ms"
            }
            Cause::Silent => {
                "a connection was closed: no answer within connections.keepalive_timeout_ms"
            }
            Cause::Stalled => "a connection was closed: the client does not read what it is sent",
            Cause::BodyTimeout => {
                "a request was refused: its body took longer than connections.body_timeout_ms"
            }
            Cause::ConnectionBytes => {
                "a request was refused: over connections.max_connection_body_bytes"
            }
            Cause::ServerBytes => "a request was refused: over connections.max_body_bytes",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutOffLabels {
    port: &'static str,
    cause: &'static str,
}

/// Counts what is open and what was cut off, for metrics and the log.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Tallied>);

#[derive(Default)]
struct Tallied {
    open: Family<PortLabel, Gauge>,
    cut_off: Family<CutOffLabels, Counter>,
    /// Bytes of bodies in memory whose requests are not answered yet. The server's limit is checked
    /// against this gauge.
    body_bytes: Gauge,
    told: [LogLimit; Cause::COUNT],
}

impl Tally {
    fn register(&self, registry: &mut Registry) {
        let Tallied { open, cut_off, body_bytes, .. } = &*self.0;
        registry.register("ocelli_connections", "Open connections", open.clone());
        registry.register(
            "ocelli_cut_off",
            "Connections closed and requests refused for what came in, by cause",
            cut_off.clone(),
        );
        registry.register(
            "ocelli_body_bytes",
            "Bytes of request bodies that came and whose requests run",
            body_bytes.clone(),
        );
    }

    /// Counts something that was cut off. The log has a line for each cause from time to time.
    pub(crate) fn cut_off(&self, port: &'static str, cause: Cause, detail: &dyn fmt::Display) {
        let labels = CutOffLabels { port, cause: cause.name() };
        self.0.cut_off.get_or_create(&labels).inc();
        tracing::debug!(port, cause = cause.name(), %detail, "cut off");
        if let Some(count) = self.0.told[cause as usize].count() {
            let (name, words) = (cause.name(), cause.words());
            tracing::warn!(count, port, cause = name, last = %detail, "{words}");
        }
    }
}

/// The limits of a [`ConnectionsConfig`], and the present numbers that they limit.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    tally: Tally,
    door: Door,
    handshake_timeout: Duration,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    body_timeout: Duration,
    max_body_bytes: i64,
    max_connection_body_bytes: i64,
}

impl Connections {
    /// The limits of `config`. A message of `max_message_bytes` always fits: a smaller limit of
    /// bytes is raised to it.
    ///
    /// # Errors
    /// As [`ConnectionsConfig::check`].
    pub fn new(config: &ConnectionsConfig, max_message_bytes: usize) -> Result<Connections> {
        config.check()?;
        // A message has a head of five bytes.
        let message = max_message_bytes as u64 + 5;
        let bytes = |limit: u64| i64::try_from(limit.max(message)).unwrap_or(i64::MAX);
        let tally = Tally::default();
        Ok(Connections(Arc::new(Inner {
            door: Door::new("grpc", door::within_descriptors(config.max), tally.clone()),
            tally,
            handshake_timeout: Duration::from_millis(config.handshake_timeout_ms),
            keepalive_interval: Duration::from_millis(config.keepalive_interval_ms),
            keepalive_timeout: Duration::from_millis(config.keepalive_timeout_ms),
            body_timeout: Duration::from_millis(config.body_timeout_ms),
            max_body_bytes: bytes(config.max_body_bytes),
            max_connection_body_bytes: bytes(config.max_connection_body_bytes),
        })))
    }

    /// Registers the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.0.tally.register(registry);
    }

    /// The door of the gRPC port.
    pub(crate) fn door(&self) -> &Door {
        &self.0.door
    }

    /// The door of another port of the same process, for `max` connections at a time.
    pub(crate) fn other_door(&self, port: &'static str, max: u32) -> Door {
        Door::new(port, max, self.0.tally.clone())
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.0.handshake_timeout
    }

    pub(crate) fn keepalive_interval(&self) -> Duration {
        self.0.keepalive_interval
    }

    pub(crate) fn keepalive_timeout(&self) -> Duration {
        self.0.keepalive_timeout
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
