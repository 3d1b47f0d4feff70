//! The wire contract `ocelli.v1`: its messages, clients and servers, and the map from error codes
//! to gRPC status.
//!
//! - [`v1`]: messages, clients and servers, generated from `proto/ocelli/v1/*.proto`.
//! - [`codec`]: reads and writes messages; a malformed request is its sender's fault.
//! - [`status`]: the one map from error codes to gRPC status.
//! - [`limits`]: limits of messages.
//! - [`log_limit`]: a limit for lines of a log.
//!
//! A search, from any program that has a [`tonic`] channel:
//!
//! ```no_run
//! use ocelli_proto::tonic::transport::Channel;
//! use ocelli_proto::v1::search_service_client::SearchServiceClient;
//! use ocelli_proto::v1::{QueryKey, QueryTerm, SearchOptions, SearchRequest, query_term::Term};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = Channel::from_static("http://127.0.0.1:7070").connect().await?;
//! let term = Term::Key(QueryKey { key: "eiffel/1.jpg".to_owned() });
//! let request = SearchRequest {
//!     terms: vec![QueryTerm { term: Some(term), ..QueryTerm::default() }],
//!     options: Some(SearchOptions { k: 10, ..SearchOptions::default() }),
//!     ..SearchRequest::default()
//! };
//! let response = SearchServiceClient::new(channel).search(request).await?.into_inner();
//! for (id, score) in response.ids.iter().zip(&response.scores) {
//!     println!("{id} {score}");
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod codec;
pub mod limits;
pub mod log_limit;
mod names;
pub mod status;

// A program that speaks ocelli.v1 must use the release of tonic that the generated code uses.
pub use tonic;

/// Messages, clients and servers of the package `ocelli.v1`.
#[allow(missing_docs, unused_qualifications, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("ocelli.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of `ocelli.v1`, with its imports and comments.
/// The reflection service answers from it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ocelli.v1.bin"));
