//! Searches of a snapshot: probe, scan the lists of every shard, refine.

mod batch;
mod definition;
mod probe;
mod scan;

use std::time::Duration;

use super::engine::{Scratch, Sharing};
use super::params::{RangeResult, SearchParams, SearchResult};
use super::snapshot::Snapshot;
use crate::base::error::{Error, Result};
use crate::model::Query;

/// Lists, best first, each with the part of the score that its centroid decides.
type Lists = Vec<(u32, f32)>;

/// A query with its lists.
struct Probed {
    query: Query,
    lists: Lists,
    time: Duration,
}

impl Snapshot {
    /// The k best rows for the query x (dim,).
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Invalid`] for the query or the parameters; [`Error::Corrupt`] if
    /// a shard fails and no partial answer is allowed, or all shards fail.
    pub fn search(&self, x: &[f32], params: &SearchParams) -> Result<SearchResult> {
        self.search_with(x, params, &mut Scratch::default())
    }

    /// [`Self::search`] with buffers that the caller's thread keeps from query to query.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn search_with(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<SearchResult> {
        let probed = self.probe(x, params, scratch)?;
        self.scan(&probed, params, scratch)
    }

    /// All rows for the query x (dim,) that are at least as good as `threshold` (a squared distance
    /// or an inner product, as the metric says): the best k of them.
    ///
    /// # Errors
    /// As [`Self::search`]; [`Error::Invalid`] for a threshold that is no number, or with `refine`.
    pub fn search_range(
        &self,
        x: &[f32],
        threshold: f32,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<RangeResult> {
        if !threshold.is_finite() || params.refine_candidates > 0 {
            return Err(Error::invalid(format!(
                "range search: threshold {threshold}, refine {}; expected a finite number and 0",
                params.refine_candidates
            )));
        }
        // One more tells whether there are more; and a zero has no sign here.
        let more = SearchParams { k: params.k.saturating_add(1), ..params.clone() };
        let ceiling = self.model.metric().cost(threshold) + 0.0;
        // As many lists as hold what is near, whether that is k rows or not.
        let probed = self.probe(x, &SearchParams { k: 1, ..params.clone() }, scratch)?;
        let alone = Sharing::Never;
        let mut results = self.scan_tile(&[&probed], ceiling, Vec::new(), alone, &more, scratch)?;
        let mut result = results.pop().ok_or_else(|| Error::invalid("no query"))?;
        let truncated = result.hits.len() > params.k;
        result.hits.truncate(params.k);
        Ok(RangeResult { result, truncated })
    }
}
