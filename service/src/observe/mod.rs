//! Logs, metrics and traces of a process, and the HTTP endpoint that serves metrics.
//!
//! - [`init`]: logs to standard error and, if a collector is configured, traces by OTLP.
//! - [`Rpc`]: counts and times every call of a gRPC server, gives it an id, and opens its span.
//! - [`Gate`]: refuses calls under overload, before they cost anything.
//! - [`Endpoint`]: `/metrics` for Prometheus, `/livez` and `/readyz` for the orchestrator and the
//!   load balancer.

mod context;
mod endpoint;
mod families;
mod gate;
mod init;
mod process;
mod rpc;

#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use context::{Context, RequestId, propagate, set_attribute};
pub use endpoint::Endpoint;
pub use families::{Stages, collect};
pub(crate) use gate::Gates;
pub use gate::{Gate, Refusal};
pub use init::{Telemetry, init};
pub use rpc::Rpc;

/// Buckets for times of requests in seconds: from 100 µs to a minute.
pub const REQUEST_SECONDS: [f64; 18] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// Table `metrics` of a role's configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address and port of the endpoint; empty for none.
    pub listen: String,
    /// Whether an address that other machines reach may be used. The endpoint has neither TLS nor
    /// tokens.
    pub insecure: bool,
}

/// Table `traces` of a role's configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The OTLP/gRPC collector, `http://HOST:PORT`; empty for none.
    pub otlp_url: String,
    /// The share of requests that are traced, 0 to 1, unless the client has decided.
    pub sample_share: f64,
}
