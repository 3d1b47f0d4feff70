//! The service without gRPC: queries, and how they are answered.

mod admin;
mod answer;
mod batch;
mod call;
mod check;
mod combine;
pub mod gauges;
mod index;
mod open;
mod report;
pub mod size;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ocelli_index::Hash;
use ocelli_proto::v1;
use ocelli_text::quoted;
use tokio::sync::watch as channel;

use crate::config::Config;
use crate::encoder_client::EncoderClient;
use crate::error::{Error, Result};
use crate::leaf::ImageName;
use crate::metrics::Metrics;
use crate::pool::{Full, Pool};
pub use admin::{Change, GenerationState, Generations, IndexState};
pub use call::Call;
use index::{OpenIndex, Slot};

/// One query and how to answer it.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The index and its generation.
    pub target: Target,
    /// The terms, whose weighted mean is looked for.
    pub terms: Vec<Term>,
    /// How to answer it, as the client wants it.
    pub options: v1::SearchOptions,
}

/// Many queries of one index with the same options.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The index and its generation.
    pub target: Target,
    /// The terms of each query, or the error in them.
    pub queries: Vec<Result<Vec<Term>>>,
    /// How to answer each query, as the client wants it.
    pub options: v1::SearchOptions,
}

/// An index and one of its generations.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Name of the index; empty for the server's only one.
    pub index: String,
    /// The generation that must answer; 0 for the current one.
    pub generation: u64,
}

/// Images whose vectors are wanted.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// The index and its generation.
    pub target: Target,
    /// Each image, or the error in its name.
    pub images: Vec<Result<ImageName>>,
    /// Names of columns whose values are wanted too.
    pub attributes: Vec<String>,
}

/// One weighted term of a query.
#[derive(Clone, Debug)]
pub struct Term {
    /// The weight, which may be negative.
    pub weight: f32,
    /// The vector, id, key or image of the term.
    pub value: TermValue,
}

/// The thing that a term of a query looks for.
#[derive(Clone, Debug)]
pub enum TermValue {
    /// A descriptor, (dim,), and the hash of the spec that made it, where the client knows it.
    Vector(Vec<f32>, Option<Hash>),
    /// An image of the index.
    Indexed(ImageName),
    /// An image for the encoder service.
    Image(v1::EncodeRequest),
}

/// Answers queries on the indexes that it holds.
pub struct Searcher {
    indexes: BTreeMap<String, Slot>,
    encoder: Option<EncoderClient>,
    config: Config,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    slow: report::SlowLog,
    in_flight: Arc<AtomicUsize>,
    draining: AtomicBool,
    stopping: channel::Sender<bool>,
}

impl Searcher {
    /// The configuration: limits and defaults of queries.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The number of requests that run or wait.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Checks, before a request is read, that a query would not be refused for overload.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admits(&self) -> std::result::Result<(), Full> {
        self.pool.admits()
    }

    /// The error of a query that is not admitted.
    pub fn refusal(&self, full: Full) -> Error {
        self.pool.refusal(full)
    }

    /// Counters and times of queries.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The number of jobs that run or wait for a thread.
    pub fn jobs(&self) -> usize {
        self.pool.jobs()
    }

    /// The number of search threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Whether the server wants traffic.
    pub fn ready(&self) -> bool {
        !self.draining.load(Ordering::SeqCst) && !*self.stopping.borrow()
    }

    /// Ends streams of queries after their running queries, and declares that no traffic is wanted.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when the server stops.
    pub fn stopping(&self) -> channel::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// The slot of this name. The empty name is the only index.
    fn slot(&self, name: &str) -> Result<&Slot> {
        let names = || Vec::from_iter(self.indexes.keys().map(String::as_str)).join(", ");
        if name.is_empty() {
            let mut all = self.indexes.values();
            return match (all.next(), all.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(Error::invalid(format!(
                    "the query names no index, and this server has {}: {}",
                    self.indexes.len(),
                    names()
                ))
                .at("index")),
            };
        }
        self.indexes.get(name).ok_or_else(|| {
            let message = format!("no index is called {}; there are: {}", quoted(name), names());
            Error::not_found(message).because(v1::ErrorReason::IndexNotFound).at("index")
        })
    }

    /// The open generation that answers a query. A query holds it to its end.
    fn index(&self, target: &Target) -> Result<Arc<OpenIndex>> {
        let index = self.slot(&target.index)?.serving()?;
        check::generation(&index, target.generation)?;
        Ok(index)
    }
}

impl fmt::Debug for Searcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Searcher").field("indexes", &self.indexes.keys()).finish_non_exhaustive()
    }
}
