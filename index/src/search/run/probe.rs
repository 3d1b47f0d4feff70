//! The lists of a query.

use std::time::Instant;

use super::{Lists, Probed};
use crate::base::error::{Error, Result};
use crate::model::Query;
use crate::search::engine::Scratch;
use crate::search::params::SearchParams;
use crate::search::snapshot::Snapshot;

impl Snapshot {
    /// The lists that a search of x (dim,) scans, best first: number, the part of a score that the
    /// centroid decides, and rows in all shards.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn probed_lists(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<(u32, f32, u64)>> {
        let probed = self.probe(x, params, scratch)?;
        let rows = |list: u32| {
            let mut rows = 0;
            for member in &self.members {
                rows += u64::from(member.shard.list(list)?.len);
            }
            Ok(rows)
        };
        probed.lists.iter().map(|&(list, score)| Ok((list, score, rows(list)?))).collect()
    }

    pub(super) fn check(&self, params: &SearchParams) -> Result<()> {
        if params.k == 0 || params.nprobe == 0 {
            return Err(Error::invalid(format!(
                "k = {} and nprobe = {}: both must be at least 1",
                params.k, params.nprobe
            )));
        }
        if params.filter.as_ref().is_some_and(|f| f.generation != self.generation.number) {
            return Err(Error::invalid(format!(
                "the filter was resolved for another generation than {}",
                self.generation.number
            )));
        }
        if !params.without.is_empty() && !params.allow_partial {
            return Err(Error::invalid("a search without some shards gives a partial answer"));
        }
        if params.refine_candidates > 0 && self.fine_codec().is_none() {
            return Err(Error::invalid(format!(
                "refine = {}: the index, or one of its shards, has no finer codes (a model \
                 with a fine codec makes them when it is built; imported codes have none)",
                params.refine_candidates
            )));
        }
        Ok(())
    }

    /// Transforms queries (n, dim) and chooses their lists.
    pub(super) fn probe_tile(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<Probed>> {
        let start = Instant::now();
        let dim = self.model.parts().dim;
        let queries =
            x.chunks_exact(dim).map(|x| self.model.prepare(x)).collect::<Result<Vec<Query>>>()?;
        let Scratch { simd, probe, .. } = scratch;
        let nprobe = self.first_nprobe(params);
        let mut lists: Vec<Lists> = match queries.as_slice() {
            [a, b, c, d] => {
                let tile = [a, b, c, d];
                self.model.probe_tile(*simd, tile, nprobe, probe.each_mut()).into()
            }
            many => self.model.probe_batch_with(*simd, many, nprobe, &mut probe[0]),
        };
        for (query, lists) in queries.iter().zip(&mut lists) {
            self.reach(*simd, query, params, lists, &mut probe[0]);
        }
        let time = start.elapsed() / queries.len().max(1) as u32;
        let probed = queries.into_iter().zip(lists);
        Ok(probed.map(|(query, lists)| Probed { query, lists, time }).collect())
    }

    /// Transforms a query and chooses its lists.
    pub(super) fn probe(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Probed> {
        self.check(params)?;
        let start = Instant::now();
        let query = self.model.prepare(x)?;
        let (simd, probe) = (scratch.simd, &mut scratch.probe[0]);
        let mut lists = self.model.probe_with(simd, &query, self.first_nprobe(params), probe);
        self.reach(simd, &query, params, &mut lists, probe);
        Ok(Probed { query, lists, time: start.elapsed() })
    }
}
