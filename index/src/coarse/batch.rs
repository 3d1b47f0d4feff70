//! Probes of many queries.

use ocelli_vector::Simd;

use crate::level::simd;
use crate::model::{Model, ProbeBuffers, Query};

/// Queries whose groups are in memory at a time: a few kilobytes each.
const BLOCK: usize = 4096;

impl Model {
    /// [`Self::probe`] of each query, in their order. Queries are taken in the order of their
    /// nearest groups, so that members that were just read are read again from the cache.
    pub fn probe_batch(&self, queries: &[Query], nprobe: usize) -> Vec<Vec<(u32, f32)>> {
        self.probe_batch_with(simd(), queries, nprobe, &mut ProbeBuffers::default())
    }

    /// [`Self::probe_batch`] with a level and buffers of its caller's.
    pub(crate) fn probe_batch_with(
        &self,
        simd: Simd,
        queries: &[Query],
        nprobe: usize,
        buffers: &mut ProbeBuffers,
    ) -> Vec<Vec<(u32, f32)>> {
        let Some(groups) = &self.groups else {
            let probe = |q| self.probe_with(simd, q, nprobe, buffers);
            return queries.iter().map(probe).collect();
        };
        let effort = super::default_effort(groups.groups(), nprobe);
        let mut out = vec![Vec::new(); queries.len()];
        for (queries, out) in queries.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            let choose = |q| groups.choose(simd, &self.wanted(q, nprobe), effort);
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
