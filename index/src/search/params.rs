//! The parameters of a search, and its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cancel::Cancel;
use super::filter::RowFilter;
use super::hit::Hit;
use super::stages::StageTimes;
use crate::base::error::Error;
use crate::model::Metric;

/// Parameters of a search.
#[derive(Clone, Debug)]
pub struct SearchParams {
    /// Number of hits, at least 1.
    pub k: usize,
    /// Lists scanned in each shard, at least 1; cut to nlist. With a filter that allows some rows
    /// only, as many more as hold as large a share of the nearest of these.
    pub nprobe: usize,
    /// Rows, the best of the scan, that are scored again by their finer codes (at least k of them);
    /// the hits are the best k by the new scores. 0: the scores of the scan are final.
    pub refine_candidates: usize,
    /// Whether to answer from the other shards where one fails.
    pub allow_partial: bool,
    /// Shards that failed elsewhere (their keys, say), by name, each with what was found: they are
    /// not searched, and are among those that failed. None unless a partial answer is allowed.
    pub without: Arc<BTreeMap<String, String>>,
    /// Rows that may be found; without a filter, all rows that are not deleted. With a small set of
    /// allowed rows each is scored and `nprobe` has no effect
    /// ([`Snapshot::is_direct`](super::snapshot::Snapshot::is_direct)).
    pub filter: Option<Arc<RowFilter>>,
    /// Ends the search early, between two lists.
    pub cancel: Option<Cancel>,
}

impl Default for SearchParams {
    /// Ten hits of sixteen lists, without anything else.
    fn default() -> Self {
        Self {
            k: 10,
            nprobe: 16,
            refine_candidates: 0,
            allow_partial: false,
            without: Arc::default(),
            filter: None,
            cancel: None,
        }
    }
}

/// Answer of a search.
#[derive(Debug)]
pub struct SearchResult {
    /// Best first, ties by smaller id; fewer than k where the probed lists hold fewer.
    pub hits: Vec<Hit>,
    /// The metric of the scores.
    pub metric: Metric,
    /// Shards that were asked.
    pub shards_asked: usize,
    /// The shards that failed; empty unless a partial answer was allowed.
    pub failed: Arc<[ShardFailure]>,
    /// The time of each stage.
    pub times: StageTimes,
}

/// Answer of a range search.
#[derive(Debug)]
pub struct RangeResult {
    /// The rows that are at least as good as the threshold, best first, at most k.
    pub result: SearchResult,
    /// Whether there are more than k.
    pub truncated: bool,
}

/// A shard that could not answer, or a file that could not be opened.
#[derive(Clone, Debug)]
pub struct ShardFailure {
    /// Name of the shard in the generation.
    pub name: String,
    /// The reason.
    pub error: Error,
}
