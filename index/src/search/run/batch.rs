//! Many queries at once: those that are near each other are scanned together.

use super::Probed;
use crate::base::error::{Error, Result};
use crate::search::engine::{self, PROBE_TILE, Scratch, Sharing};
use crate::search::params::{SearchParams, SearchResult};
use crate::search::snapshot::Snapshot;

/// Most queries of a batch whose probed lists are in memory at a time.
const BATCH: usize = 16_384;
/// Most probed lists of a batch that are in memory at a time.
const BATCH_LISTS: usize = 1 << 24;

impl Snapshot {
    /// One search for each of the queries `x` (n, dim), in their order; the answers are those of
    /// [`Self::search`]. Queries that are near each other are scanned together, so that codes stay
    /// warm. The times of a query are its share of the whole.
    ///
    /// # Errors
    /// As [`Self::search`], for the first query that fails.
    pub fn search_batch(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>> {
        let dim = self.model.parts().dim;
        if !x.len().is_multiple_of(dim) {
            return Err(Error::Dim {
                what: "batch of queries".into(),
                expected: dim,
                found: x.len(),
            });
        }
        self.check(params)?;
        let near = self.model.list_ranks();
        // Groups of centroids are read in an order of all queries' own.
        let nprobe = self.first_nprobe(params).min(self.model.parts().nlist);
        let most = (BATCH_LISTS / nprobe).clamp(1, BATCH);
        let probe_tile = if self.model.groups().is_some() { most } else { PROBE_TILE };
        let mut out: Vec<Option<SearchResult>> = Vec::new();
        // Probed lists wait in memory: so many queries at a time.
        for (start, block) in (0..).step_by(most).zip(x.chunks(most * dim)) {
            let mut probed = Vec::with_capacity(block.len() / dim);
            for (i, tile) in (start..).step_by(probe_tile).zip(block.chunks(probe_tile * dim)) {
                probed.extend((i..).zip(self.probe_tile(tile, params, scratch)?));
            }
            probed.sort_by_key(|(i, p)| (p.lists.first().map(|l| near[l.0 as usize]), *i));
            out.resize_with(start + probed.len(), || None);
            let rows = self.rows() / self.members.len().max(1) as u64;
            let queries = probed.len();
            let (at_a_time, sharing) =
                engine::queries_at_a_time(scratch, &self.model, params, queries, rows);
            for tile in probed.chunks(at_a_time) {
                let queries: Vec<&Probed> = tile.iter().map(|(_, p)| p).collect();
                let results = self.scan_together(&queries, sharing, params, scratch)?;
                for ((i, _), result) in tile.iter().zip(results) {
                    out[*i] = Some(result);
                }
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// Scans queries of a batch together. If a shard fails meanwhile, and a partial answer is
    /// allowed, each query is scanned again by itself: one that does not touch what is damaged
    /// has the whole answer, as it has alone.
    fn scan_together(
        &self,
        probed: &[&Probed],
        sharing: Sharing,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>> {
        let all = |scratch: &mut Scratch, probed: &[&Probed]| {
            self.scan_tile(probed, f32::INFINITY, Vec::new(), sharing, params, scratch)
        };
        let results = all(scratch, probed)?;
        let failed = results.first().map_or(0, |result| result.failed.len());
        if failed == 0 || failed == self.with_left_out(Vec::new(), params)?.len() {
            return Ok(results);
        }
        let mut results = Vec::with_capacity(probed.len());
        for one in probed {
            results.extend(all(scratch, &[one])?);
        }
        Ok(results)
    }
}
