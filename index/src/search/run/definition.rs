//! The naive search, which says what a search finds.

use crate::base::error::Result;
use crate::search::engine::Scratch;
use crate::search::hit::{Best, Hit};
use crate::search::naive::scan_shard;
use crate::search::params::SearchParams;
use crate::search::refine::refined_score;
use crate::search::snapshot::Snapshot;

impl Snapshot {
    /// The naive float scan: every code of every probed list scored one by one. The specification
    /// of [`Self::search`] and the oracle of its tests.
    ///
    /// # Errors
    /// As [`Self::search`], without partial answers.
    pub fn search_naive(&self, x: &[f32], params: &SearchParams) -> Result<Vec<Hit>> {
        self.naive_in_lists(x, params, params.k)
    }

    /// The k best rows by [`Self::search_naive`] in the lists that a search for `lists_for` rows
    /// probes.
    pub(crate) fn naive_in_lists(
        &self,
        x: &[f32],
        params: &SearchParams,
        lists_for: usize,
    ) -> Result<Vec<Hit>> {
        let p = self.model.parts();
        let query = self.model.prepare(x)?;
        let lists = if self.is_direct(params) {
            self.model.probe(&query, p.nlist)
        } else {
            let of = SearchParams { k: lists_for, ..params.clone() };
            self.probe(x, &of, &mut Scratch::default())?.lists
        };
        let mut best = Best::new(params.k.max(params.refine_candidates), p.metric);
        for (index, member) in (0u32..).zip(&self.members) {
            let filter = params.filter.as_ref().map(|f| &f.shards[index as usize]);
            let alive = |ordinal, slot| {
                member.alive(ordinal)
                    && filter.is_none_or(|f| {
                        !f.deny.contains(slot) && f.allow.as_ref().is_none_or(|a| a.contains(slot))
                    })
            };
            scan_shard(&self.model, &member.shard, index, alive, &lists, &query.z, &mut best)?;
        }
        let mut hits = best.into_sorted();
        if params.refine_candidates > 0 {
            for hit in &mut hits {
                let shard = self.shard_of(hit.row)?;
                hit.score = refined_score(&self.model, &query, shard, hit.row.ordinal)?;
            }
            hits.sort_by(|a, b| a.order(b, p.metric));
            hits.truncate(params.k);
        }
        self.model.intact()?;
        Ok(hits)
    }
}
