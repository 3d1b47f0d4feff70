//! Answers in the words of this crate.

use std::time::Duration;

use ocelli_index::{Hash, Metric};

use crate::error::Result;
use crate::leaf::Explained;
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
    /// What was done, if that was asked.
    pub explained: Option<(Explained, Understood)>,
}

/// Where the time went outside of the search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// Waiting for the encoder service.
    pub encode: Duration,
    /// Waiting for a compute thread.
    pub queue: Duration,
    /// Looking up the query's ids and keys.
    pub resolve: Duration,
    /// From arrival to answer.
    pub total: Duration,
}

/// A query with its defaults filled in.
#[derive(Clone, Copy, Debug)]
pub struct Understood {
    /// Number of hits.
    pub k: usize,
    /// Lists scanned in each shard.
    pub nprobe: usize,
    /// Candidates scored again.
    pub refine: usize,
    /// Searches, one more than rounds of expansion.
    pub searches: u32,
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
