//! The wire contract `ocelli.v1`, and what every Ocelli role does the same way.
//!
//! - [`v1`]: messages, clients and servers generated from `proto/ocelli/v1/*.proto`.
//! - [`codec`]: messages on the wire.
//! - [`status`]: the one map from error codes to gRPC status.
//! - [`role`]: layered configuration, logs and exit code of a program.
//! - [`observe`]: logs, metrics and traces.
//! - [`connections`]: what a server takes in: connections, first bytes, bodies of requests.
//! - [`stream`]: requests in a stream, each answered for itself.
//! - [`server`]: a gRPC server with health, reflection and graceful shutdown.
//! - [`security`]: TLS, client certificates and bearer tokens of such a server.
//! - [`client`]: how a client reaches it.

#![forbid(unsafe_code)]

pub mod client;
pub mod codec;
pub mod connections;
mod linger;
pub mod observe;
pub mod role;
pub mod security;
mod seldom;
pub mod server;
pub mod status;
pub mod stream;

// A program that speaks ocelli.v1 must use the release of tonic that the generated code uses.
pub use tonic;

/// Messages, clients and servers of the package `ocelli.v1`.
#[allow(missing_docs, unused_qualifications, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("ocelli.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of `ocelli.v1`, its imports and comments: what
/// the reflection service answers from.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ocelli.v1.bin"));

/// Message limit of servers and clients unless configured, in bytes: photos of 64 MiB fit.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 << 20;
