//! The answers of the service, before they are messages.

use std::sync::Arc;
use std::time::Duration;

use ocelli_index::attributes::Column;
use ocelli_index::{Hash, Metric, StageTimes};

use crate::error::Result;
use crate::leaf::{Described, Explained};
use crate::options::Options;
use crate::root::Merged;

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Hits, shards and the times of the search itself.
    pub merged: Merged,
    /// The metric of the scores.
    pub metric: Metric,
    /// The generation that answered.
    pub generation: u64,
    /// Whether an image was encoded at other sizes than the index's descriptors.
    pub sizes_differ: bool,
    /// Whether there are more hits than the limit of a range search.
    pub truncated: bool,
    /// Times outside of the search.
    pub waits: Waits,
    /// For `Explain`: what was done, and the options of the search.
    pub explained: Option<(Explained, Arc<Options>)>,
}

/// Times outside of the search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// The times of waiting for the encoder and for a thread, and of looking up ids and keys.
    pub times: StageTimes,
    /// The time from the request's arrival to its answer.
    pub total: Duration,
}

/// The answers to a batch.
#[derive(Clone, Debug)]
pub struct BatchAnswer {
    /// For each query: its hits and whether an image was encoded at other sizes, or its error.
    pub results: Vec<Result<(Merged, bool)>>,
    /// The metric of the scores.
    pub metric: Metric,
    /// The generation that answered.
    pub generation: u64,
    /// Times outside of the search.
    pub waits: Waits,
}

/// The vectors of some images.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// For each image: its vector and its values; or its error.
    pub images: Vec<Result<Described>>,
    /// The columns of attributes that were asked for.
    pub columns: Arc<[Column]>,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Hash of the descriptor spec.
    pub spec: Hash,
    /// The generation that answered.
    pub generation: u64,
}
