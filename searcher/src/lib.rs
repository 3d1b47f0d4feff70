//! The gRPC search server: the library behind `ocelli-searcher`.
//!
//! ```text
//!  SearchRequest ─► grpc ─► convert ─► service::Searcher ───────────────────────► convert ─► SearchResponse
//!                                       │ check, encode images     (async threads)  ▲
//!                                       ▼                                           │
//!                                      pool ─► root: resolve ids and keys, combine, ─┘
//!                                               ask the leaves, merge, read keys
//! ```
//!
//! The service holds each index as one open generation that is replaced as a whole: a query keeps
//! the one that it began with.
//!
//! A [`leaf`] searches the shards of one snapshot; the [`root`] asks the leaves of an index and
//! merges their hits. Both are in this process today and know nothing of gRPC.

#![forbid(unsafe_code)]

pub mod answer;
pub mod config;
mod convert;
pub mod encoder_client;
pub mod error;
pub mod grpc;
pub mod leaf;
pub mod metrics;
pub mod options;
pub mod pool;
pub mod root;
pub mod run;
pub mod service;
pub mod times;

pub use config::Config;
pub use error::{Error, Result};
pub use service::Searcher;
