//! The gRPC search server: the library behind `ocelli-searcher`. It answers queries on the indexes
//! of a configuration, over `ocelli.v1.SearchService`, and is administered over
//! `ocelli.v1.AdminService`.
//!
//! ```text
//!  SearchRequest ─► grpc ─► convert ─► service::Searcher ─────────────► convert ─► SearchResponse
//!                                       │ check, encode images (async)    ▲
//!                                       ▼                                 │
//!                                      pool ─► root: resolve, combine, ───┘
//!                                               ask the leaves, merge, read keys and attributes
//! ```
//!
//! - [`grpc`] and `convert`: the services of `ocelli.v1`, and their messages; `predicate`: filters
//!   by attributes among them.
//! - [`service`]: a [`Searcher`] checks queries and holds the indexes. Each index is one open
//!   generation, which is replaced as a whole: a query keeps the generation that it began with.
//! - [`pool`]: the search threads and their queue.
//! - [`root`] and [`leaf`]: a leaf searches the shards of one snapshot; the root asks the leaves of
//!   an index and merges their hits. Both are in this process today and know nothing of gRPC.
//! - [`run`]: the server from start to end.
//!
//! A query by key, without gRPC:
//!
//! ```no_run
//! use std::path::PathBuf;
//! use std::time::Instant;
//!
//! use ocelli_searcher::leaf::ImageName;
//! use ocelli_searcher::service::{Query, Term, TermValue};
//! use ocelli_searcher::{Config, Searcher};
//!
//! # async fn run() -> anyhow::Result<()> {
//! let mut config = Config::load(None)?;
//! config.indexes.insert("paris".to_owned(), PathBuf::from("paris.index"));
//! let searcher = Searcher::open(&config)?;
//! let image = ImageName::Key("eiffel/1.jpg".to_owned());
//! let terms = vec![Term { weight: 1.0, value: TermValue::Indexed(image) }];
//! let query = Query { terms, ..Query::default() };
//! let answer = searcher.search(query, Instant::now(), None).await?;
//! println!("{:?}", answer.merged.ids);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod answer;
pub mod config;
mod convert;
pub mod encoder_client;
pub mod error;
pub mod grpc;
pub mod leaf;
pub mod limit;
pub mod metrics;
pub mod options;
pub mod pool;
mod predicate;
pub mod root;
pub mod run;
pub mod service;
pub mod times;

pub use config::Config;
pub use error::{Error, Result};
pub use service::Searcher;
