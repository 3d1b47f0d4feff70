//! The scan of the lists of queries in every shard, and the scores of the best by finer codes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_vector::Simd;
use ocelli_vector::lut::ByteTable;

use super::Probed;
use crate::base::error::{Error, Result};
use crate::search::engine::{
    self, Buffers, Candidates, Excluded, Remember, Request, Scratch, Sharing, Target,
};
use crate::search::hit::{Hit, Merge};
use crate::search::params::{SearchParams, SearchResult, ShardFailure};
use crate::search::refine::refine;
use crate::search::snapshot::{Member, Snapshot};
use crate::search::stages::Stage;

/// Queries that are scanned together.
#[derive(Clone, Copy)]
struct Tile<'a> {
    probed: &'a [&'a Probed],
    /// The table of each query, and perhaps more of them.
    tables: &'a [ByteTable],
    /// Rows that cost more are of no interest; finite in a range search.
    ceiling: f32,
    /// Rows wanted of the scan.
    k: usize,
    sharing: Sharing,
    params: &'a SearchParams,
    simd: Simd,
}

impl Snapshot {
    /// Scans a query's lists in every shard.
    pub(super) fn scan(
        &self,
        probed: &Probed,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<SearchResult> {
        let (ceiling, alone) = (f32::INFINITY, Sharing::Never);
        let results = self.scan_tile(&[probed], ceiling, Vec::new(), alone, params, scratch)?;
        results.into_iter().next().ok_or_else(|| Error::invalid("no query"))
    }

    /// [`Self::scan`] of several queries, in every shard but those that failed before. With a
    /// finite `ceiling`, all rows up to that cost are wanted, as far as k reaches.
    pub(super) fn scan_tile(
        &self,
        probed: &[&Probed],
        ceiling: f32,
        failed: Vec<ShardFailure>,
        sharing: Sharing,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>> {
        let (model, metric) = (&self.model, self.model.metric());
        let start = Instant::now();
        let mut failed = self.with_left_out(failed, params)?;
        let Scratch { simd, tables, workings, buffers, .. } = scratch;
        let simd = *simd;
        buffers.start(match model.fine_codec() {
            Some(codec) if params.refine_candidates > 0 && codec.needs_code() => Remember::Codes,
            Some(_) if params.refine_candidates > 0 => Remember::Places,
            _ => Remember::Nothing,
        });
        tables.resize_with(tables.len().max(probed.len()), ByteTable::default);
        for (table, probed) in tables.iter_mut().zip(probed) {
            engine::fill_table(simd, model, &probed.query, table, workings);
        }
        let tabled = Instant::now();
        let k = params.k.max(params.refine_candidates).min(self.rows() as usize).max(1);
        let tile = Tile { probed, tables, ceiling, k, sharing, params, simd };
        let best = self.scan_members(&tile, buffers, &mut failed)?;
        // Refined hits are sorted by their new scores.
        let refines = params.refine_candidates > 0;
        let sort = |best: Merge| if refines { best.into_unsorted() } else { best.into_sorted() };
        let mut hits: Vec<Vec<Hit>> = best.into_iter().map(sort).collect();
        let scanned = Instant::now();
        let candidates = &buffers.candidates;
        if refines
            && let Err((index, error)) = self.refine(simd, probed, candidates, params.k, &mut hits)
        {
            if !params.allow_partial {
                return Err(error);
            }
            // Its hits took the place of other hits: these are wanted now.
            let name = self.members[index as usize].name.clone();
            failed.push(ShardFailure { name, error });
            return self.scan_tile(probed, ceiling, failed, sharing, params, scratch);
        }
        // The lists, tables and scores count only if the model is still whole behind them.
        model.intact()?;
        let share = |time: Duration| time / probed.len().max(1) as u32;
        let times = [
            (Stage::Lut, share(tabled - start)),
            (Stage::Scan, share(scanned - tabled)),
            (Stage::Refine, if refines { share(scanned.elapsed()) } else { Duration::ZERO }),
        ];
        let failed: Arc<[ShardFailure]> = failed.into();
        let result = |(probed, hits): (&&Probed, Vec<Hit>)| SearchResult {
            hits,
            metric,
            shards_asked: self.members.len() + self.missing.len(),
            failed: Arc::clone(&failed),
            times: times.into_iter().chain([(Stage::Probe, probed.time)]).collect(),
        };
        Ok(probed.iter().zip(hits).map(result).collect())
    }

    /// `failed`, and the shards that are missing or are left out by the parameters.
    ///
    /// # Errors
    /// That of a missing shard, or of one whose attributes are damaged, unless a partial answer is
    /// allowed.
    pub(super) fn with_left_out(
        &self,
        mut failed: Vec<ShardFailure>,
        params: &SearchParams,
    ) -> Result<Vec<ShardFailure>> {
        for missing in &self.missing {
            if !params.allow_partial {
                return Err(missing.error.clone());
            }
            if failed.iter().all(|f| f.name != missing.name) {
                failed.push(missing.clone());
            }
        }
        for (name, error) in params.filter.iter().flat_map(|filter| &filter.failed) {
            if !params.allow_partial {
                return Err(error.clone());
            }
            if failed.iter().all(|f| f.name != *name) {
                failed.push(ShardFailure { name: name.clone(), error: error.clone() });
            }
        }
        for member in &self.members {
            if let Some(what) = params.without.get(&member.name)
                && failed.iter().all(|f| f.name != member.name)
            {
                let error = Error::corrupt(member.shard.path(), what);
                failed.push(ShardFailure { name: member.name.clone(), error });
            }
        }
        Ok(failed)
    }

    /// Scans every shard but those that failed, and adds those that fail now, where a partial
    /// answer is allowed.
    ///
    /// # Errors
    /// That of a shard that fails, unless a partial answer is allowed and another shard answers.
    fn scan_members(
        &self,
        tile: &Tile<'_>,
        buffers: &mut Buffers,
        failed: &mut Vec<ShardFailure>,
    ) -> Result<Vec<Merge>> {
        let merge = || Merge::new(tile.k, self.model.metric());
        let mut best: Vec<Merge> = tile.probed.iter().map(|_| merge()).collect();
        for (index, member) in (0u32..).zip(&self.members) {
            if failed.iter().any(|f| f.name == member.name) {
                continue;
            }
            let hits = self.scan_member(tile, index, member, &best, buffers);
            // Hits count only if the file is still whole behind them.
            match hits.and_then(|hits| member.shard.intact().map(|()| hits)) {
                Ok(hits) => best.iter_mut().zip(hits).for_each(|(best, hits)| best.add(hits)),
                // A cancelled search gives no partial answer either.
                Err(error @ Error::Cancelled { .. }) => return Err(error),
                Err(error) if tile.params.allow_partial => {
                    failed.push(ShardFailure { name: member.name.clone(), error });
                }
                Err(error) => return Err(error),
            }
        }
        if failed.len() == self.members.len() + self.missing.len()
            && let Some(first) = failed.pop()
        {
            return Err(first.error);
        }
        Ok(best)
    }

    /// The best hits of one shard for each query, given the best of the shards before it.
    fn scan_member(
        &self,
        tile: &Tile<'_>,
        index: u32,
        member: &Member,
        best: &[Merge],
        buffers: &mut Buffers,
    ) -> Result<Vec<Vec<Hit>>> {
        let Tile { probed, tables, k, params, simd, .. } = *tile;
        let model = &*self.model;
        let filter = params.filter.as_ref();
        let excluded = Excluded {
            deleted: member.deleted.as_deref(),
            filter: filter.map(|f| &f.shards[index as usize]),
        };
        let target = Target { model, simd, shard: &member.shard, index, excluded };
        let mut requests: Vec<Request<'_>> = Vec::with_capacity(probed.len());
        for ((probed, table), best) in probed.iter().zip(tables).zip(best) {
            let (range, cancel) = (tile.ceiling < f32::INFINITY, params.cancel.as_ref());
            let (lists, ceiling) = (&probed.lists, best.ceiling().min(tile.ceiling));
            let z = &probed.query.z;
            requests.push(Request { z, table, lists, k, ceiling, range, cancel });
        }
        match requests.as_slice() {
            many if self.is_direct(params) => {
                let one = |(request, probed): (_, &&Probed)| {
                    let base = |list| model.base(simd, &probed.query, list);
                    engine::score_allowed(&target, request, base, buffers)
                };
                many.iter().zip(probed).map(one).collect()
            }
            [one] => engine::scan_one(&target, one, buffers).map(|hits| vec![hits]),
            many => engine::scan_batch(&target, many, tile.sharing, buffers),
        }
    }

    /// Scores the hits of each query again and keeps the k best. An error names its shard's number.
    fn refine(
        &self,
        simd: Simd,
        probed: &[&Probed],
        candidates: &Candidates,
        k: usize,
        hits: &mut [Vec<Hit>],
    ) -> std::result::Result<(), (u32, Error)> {
        let shard = |i: u32| &*self.members[i as usize].shard;
        for (probed, hits) in probed.iter().zip(hits) {
            refine(simd, &self.model, &probed.query, candidates, shard, k, hits)?;
        }
        // Scores count only if the files are still whole behind them.
        (0u32..).zip(&self.members).try_for_each(|(i, m)| m.shard.intact().map_err(|e| (i, e)))
    }
}
