//! Answers in the words of this crate.

use std::sync::Arc;
use std::time::Duration;

use ocelli_index::{Hash, Metric, StageTimes};

use crate::error::Result;
use crate::leaf::Explained;
use crate::options::Options;
use crate::root::Merged;

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Hits, shards and the times of the search itself.
    pub merged: Merged,
    /// What the scores are.
    pub metric: Metric,
    /// The generation that answered.
    pub generation: u64,
    /// Whether an image was encoded at other sizes than the index's descriptors.
    pub sizes_differ: bool,
    /// Whether there are more hits than the limit of a range search.
    pub truncated: bool,
    /// Time outside of the search.
    pub waits: Waits,
    /// What was done and with which options, if that was asked.
    pub explained: Option<(Explained, Arc<Options>)>,
}

/// Where the time went outside of the search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// Waiting for the encoder service and for a compute thread, looking up ids and keys.
    pub times: StageTimes,
    /// From arrival to answer.
    pub total: Duration,
}

/// The answers to a batch.
#[derive(Clone, Debug)]
pub struct BatchAnswer {
    /// For each query its hits and whether an image was encoded at other sizes, or why there are
    /// none.
    pub results: Vec<Result<(Merged, bool)>>,
    /// What the scores are.
    pub metric: Metric,
    /// The generation that answered.
    pub generation: u64,
    /// Time outside of the search.
    pub waits: Waits,
}

/// The vectors of some images.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// For each image its vector, (dim,), or why there is none.
    pub vectors: Vec<Result<Vec<f32>>>,
    /// Dimension.
    pub dim: usize,
    /// Hash of the descriptor spec.
    pub spec: Hash,
    /// The generation that answered.
    pub generation: u64,
}
