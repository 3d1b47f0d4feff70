//! Searches of a snapshot: probe, scan the lists of every shard, refine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_vector::Simd;
use ocelli_vector::lut::ByteTable;

use super::engine::{
    self, Buffers, Candidates, Excluded, PROBE_TILE, Remember, Request, Scratch, Sharing, Target,
};
use super::hit::{Best, Hit, Merge};
use super::naive::scan_shard;
use super::params::{RangeResult, SearchParams, SearchResult, ShardFailure};
use super::refine::{refine, refined_score};
use super::snapshot::{Member, Snapshot};
use super::stages::Stage;
use crate::base::error::{Error, Result};
use crate::model::Query;

/// Most queries of a batch whose probed lists are in memory at a time.
const BATCH: usize = 16_384;
/// Most probed lists of a batch that are in memory at a time.
const BATCH_LISTS: usize = 1 << 24;

/// Lists, best first, each with the part of the score that its centroid decides.
type Lists = Vec<(u32, f32)>;

/// A query with its lists.
struct Probed {
    query: Query,
    lists: Lists,
    time: Duration,
}

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

    fn check(&self, params: &SearchParams) -> Result<()> {
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
    fn probe_tile(
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
    fn probe(&self, x: &[f32], params: &SearchParams, scratch: &mut Scratch) -> Result<Probed> {
        self.check(params)?;
        let start = Instant::now();
        let query = self.model.prepare(x)?;
        let (simd, probe) = (scratch.simd, &mut scratch.probe[0]);
        let mut lists = self.model.probe_with(simd, &query, self.first_nprobe(params), probe);
        self.reach(simd, &query, params, &mut lists, probe);
        Ok(Probed { query, lists, time: start.elapsed() })
    }

    /// Scans a query's lists in every shard.
    fn scan(
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
    fn scan_tile(
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
        buffers.candidates.start(match model.fine_codec() {
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
    fn with_left_out(
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
