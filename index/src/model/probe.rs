//! Probing: which lists a query looks at.

use ocelli_vector::{Simd, relative, shortlist};

use super::groups::{self, Wanted};
use super::{Model, Query};
use crate::base::level::simd;
use ocelli_vector::ranked::Ranked;

/// Candidates whose centroids are fetched ahead: a shortlist. More would push each other out.
const PREFETCHED: usize = 512;
/// Elements of centroids up to which they are not fetched ahead: 4 MiB, which stay in near caches.
/// There asking takes longer than waiting does, .25 of 1.3 µs for a hundred candidates (Zen 5).
const NEAR: usize = 1 << 20;
/// Queries of a batch whose groups are in memory at a time: a few kilobytes each.
const BLOCK: usize = 4096;

/// Buffers that the choice of lists uses again and again.
#[derive(Debug, Default)]
pub(crate) struct ProbeBuffers {
    shortlist: shortlist::Buffers,
    scores: Vec<f32>,
    ranked: Vec<Ranked>,
}

impl Model {
    /// The `nprobe` best lists for a query, best first, each with the part of the score that the
    /// centroid decides: ‖q − c‖² for L2, ⟨q, c⟩ plus the offset for inner product. Ties go to the
    /// smaller list. Where the centroids are in groups, the best of the groups that are looked at
    /// by default ([`groups`]); else the best of all.
    pub fn probe(&self, query: &Query, nprobe: usize) -> Vec<(u32, f32)> {
        self.probe_with(simd(), query, nprobe, &mut ProbeBuffers::default())
    }

    /// [`Self::probe`] that looks at the members of `groups` groups, at least 1: fewer are faster,
    /// all of them are exact. Without groups every probe is exact.
    pub fn probe_groups(&self, query: &Query, nprobe: usize, groups: usize) -> Vec<(u32, f32)> {
        self.probe_at(simd(), query, nprobe, Some(groups), &mut ProbeBuffers::default())
    }

    /// [`Self::probe`] with a given level and given buffers.
    pub(crate) fn probe_with(
        &self,
        simd: Simd,
        query: &Query,
        nprobe: usize,
        buffers: &mut ProbeBuffers,
    ) -> Vec<(u32, f32)> {
        let [lists] = self.probe_tile(simd, [query], nprobe, [buffers]);
        lists
    }

    /// [`Self::probe_with`] of several queries, with the same results: centroids are read once for
    /// all, unless they are in groups.
    pub(crate) fn probe_tile<const Q: usize>(
        &self,
        simd: Simd,
        queries: [&Query; Q],
        nprobe: usize,
        mut buffers: [&mut ProbeBuffers; Q],
    ) -> [Vec<(u32, f32)>; Q] {
        if self.groups.is_some() {
            return std::array::from_fn(|i| {
                self.probe_at(simd, queries[i], nprobe, None, &mut *buffers[i])
            });
        }
        let Wanted { metric, nprobe, .. } = self.wanted(queries[0], nprobe);
        // Bytes choose candidates, floats in the fixed order decide among them: the same lists and
        // the same bits as if every centroid had been computed.
        let zs = queries.map(|q| q.z.as_slice());
        let bytes = buffers.each_mut().map(|b| &mut b.shortlist);
        let short = self.shortlist().shortlists(simd, metric, zs, nprobe, bytes);
        std::array::from_fn(|i| self.decide(simd, queries[i], nprobe, short, &mut *buffers[i]))
    }

    /// [`Self::probe_with`] and the number of groups that are looked at, by default what suits
    /// nprobe.
    pub(crate) fn probe_at(
        &self,
        simd: Simd,
        query: &Query,
        nprobe: usize,
        groups: Option<usize>,
        buffers: &mut ProbeBuffers,
    ) -> Vec<(u32, f32)> {
        let Some(all) = &self.groups else {
            return self.probe_with(simd, query, nprobe, buffers);
        };
        let want = self.wanted(query, nprobe);
        let effort = groups.unwrap_or_else(|| groups::default_effort(all.groups(), nprobe));
        let chosen = all.choose(simd, &want, effort);
        self.probe_chosen(simd, query, nprobe, &chosen, buffers)
    }

    /// The `nprobe` best of the members of these groups.
    pub(crate) fn probe_chosen(
        &self,
        simd: Simd,
        query: &Query,
        nprobe: usize,
        chosen: &[(u32, f32)],
        buffers: &mut ProbeBuffers,
    ) -> Vec<(u32, f32)> {
        if let Some(all) = &self.groups {
            let want = self.wanted(query, nprobe);
            all.gather(simd, &want, chosen, &mut buffers.shortlist.rows);
        }
        self.decide(simd, query, nprobe, self.groups.is_some(), buffers)
    }

    /// The demand of a probe.
    pub(crate) fn wanted<'a>(&self, query: &'a Query, nprobe: usize) -> Wanted<'a> {
        let nprobe = nprobe.clamp(1, self.parts.nlist);
        Wanted { metric: self.parts.metric, q: &query.z, nprobe }
    }

    /// The part of a query's score that the centroid of a list decides: the bits that
    /// [`Self::probe`] gives.
    pub(crate) fn base(&self, simd: Simd, query: &Query, list: u32) -> f32 {
        let (metric, mut out) = (self.parts.metric, Vec::with_capacity(1));
        metric.of_rows(simd, &query.z, &self.parts.coarse, &[list], &mut out);
        query.with_offset(metric, out[0])
    }

    /// The `nprobe` best of a query's candidates, of all lists if there is no shortlist, by
    /// float. An offset is added afterwards: it is the same for all, and its rounding would make
    /// ties.
    fn decide(
        &self,
        simd: Simd,
        query: &Query,
        nprobe: usize,
        short: bool,
        buffers: &mut ProbeBuffers,
    ) -> Vec<(u32, f32)> {
        let p = &self.parts;
        let nprobe = nprobe.clamp(1, p.nlist);
        let ProbeBuffers { shortlist, scores, ranked } = buffers;
        let candidates = &mut shortlist.rows;
        if !short {
            candidates.clear();
            candidates.extend(0..p.nlist as u32);
        }
        if p.coarse.len() > NEAR {
            relative::prefetch(&p.coarse, p.d, &candidates[..candidates.len().min(PREFETCHED)]);
        }
        p.metric.of_rows(simd, &query.z, &p.coarse, candidates, scores);
        ranked.clear();
        let costs = scores.iter().map(|&score| p.metric.cost(score));
        ranked.extend(candidates.iter().zip(costs).map(|(&l, cost)| Ranked::new(cost, l)));
        Ranked::keep_best(simd, ranked, nprobe);
        let mut lists: Vec<(u32, f32)> =
            ranked.iter().map(|r| (r.number(), p.metric.score(r.cost()))).collect();
        // Last: a sum's rounding could make ties that the shortlist does not know of.
        lists.iter_mut().for_each(|(_, score)| *score = query.with_offset(p.metric, *score));
        lists
    }

    /// [`Self::probe`] of each query, in their order. Queries are taken in the order of their
    /// nearest groups, so that members that were just read are read again from the cache.
    pub fn probe_batch(&self, queries: &[Query], nprobe: usize) -> Vec<Vec<(u32, f32)>> {
        self.probe_batch_with(simd(), queries, nprobe, &mut ProbeBuffers::default())
    }

    /// [`Self::probe_batch`] with a given level and given buffers.
    pub(crate) fn probe_batch_with(
        &self,
        simd: Simd,
        queries: &[Query],
        nprobe: usize,
        buffers: &mut ProbeBuffers,
    ) -> Vec<Vec<(u32, f32)>> {
        let Some(all) = &self.groups else {
            let probe = |q| self.probe_with(simd, q, nprobe, buffers);
            return queries.iter().map(probe).collect();
        };
        let effort = groups::default_effort(all.groups(), nprobe);
        let mut out = vec![Vec::new(); queries.len()];
        for (queries, out) in queries.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            let choose = |q| all.choose(simd, &self.wanted(q, nprobe), effort);
            let mut order: Vec<(usize, Vec<(u32, f32)>)> =
                queries.iter().map(choose).enumerate().collect();
            order.sort_by_key(|(i, chosen)| (chosen.first().map(|c| c.0), *i));
            for (i, chosen) in order {
                let query = &queries[i];
                out[i] = self.probe_chosen(simd, query, nprobe, &chosen, buffers);
            }
        }
        out
    }
}
