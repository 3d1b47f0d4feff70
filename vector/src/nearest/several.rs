//! The nearest few of many rows to each of many vectors.
//!
//! As for the nearest alone, integers rule out nearly all rows, and floats in the fixed order
//! decide among the rest. By approximation, a row that is among the `count` nearest costs at most
//! the slack more than the row of that rank. The rows that a vector has met so far say how much
//! that is at most: when it holds several times `count` of them, those that cost more go.

use super::work::{Kernels, Tile, Within, Work, at_level};
use super::{BLOCK, NearestRows, TILE, VECTORS, Vector};
use crate::dense;
use crate::level::Simd;
use crate::smallest::kth_smallest_at_most;

/// Rows that a vector holds before it drops some, for each that is wanted.
const HELD: usize = 4;

/// Buffers of [`NearestRows::several`], to be used again.
#[derive(Debug, Default)]
pub struct SeveralScratch {
    /// (BLOCK, ⌈d / 2⌉).
    words: Vec<i32>,
    /// Rows that floats may have to look at, for each vector of a block.
    held: Vec<Held>,
    distances: Vec<f32>,
    /// Bits of a distance, and the index.
    keys: Vec<u64>,
}

/// Rows that a vector holds, and their costs by approximation.
#[derive(Debug, Default)]
struct Held {
    ids: Vec<u32>,
    costs: Vec<f32>,
}

impl Held {
    /// Adds those of a tile's rows whose lanes are set.
    #[inline(always)]
    fn push(&mut self, ids: &[u32], costs: &[f32; TILE], mut lanes: u64) {
        if lanes == u64::MAX {
            self.ids.extend_from_slice(ids);
            self.costs.extend_from_slice(costs);
            return;
        }
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            self.ids.push(ids[lane]);
            self.costs.push(costs[lane]);
        }
    }

    /// Lowers a vector's limit to what `count` of the rows allow, and drops those beyond it.
    fn drop_beyond(&mut self, simd: Simd, count: usize, vector: &mut Vector) {
        let reached = kth_smallest_at_most(simd, &self.costs, count);
        vector.limit = vector.limit.min(((f64::from(reached) + vector.slack) as f32).next_up());
        let mut kept = 0;
        for i in 0..self.costs.len() {
            let cost = self.costs[i];
            (self.ids[kept], self.costs[kept]) = (self.ids[i], cost);
            kept += usize::from(cost <= vector.limit);
        }
        self.ids.truncate(kept);
        self.costs.truncate(kept);
    }
}

impl NearestRows<'_> {
    /// Writes to `out` (n, count) for each of the vectors `x` (n, d) the indices of the `count`
    /// nearest rows by [`dense::l2_sq`], the nearest first, ties by the smaller index.
    ///
    /// # Panics
    /// If the shapes do not fit together, or `count` is 0 or more than the rows.
    pub fn several(
        &self,
        simd: Simd,
        x: &[f32],
        count: usize,
        out: &mut [u32],
        scratch: &mut SeveralScratch,
    ) {
        assert!((1..=self.len()).contains(&count), "expected 1 to {} rows", self.len());
        assert_eq!(x.len() * count, out.len() * self.d, "vectors of another shape");
        for (x, out) in x.chunks(BLOCK * self.d).zip(out.chunks_mut(BLOCK * count)) {
            at_level(simd, Several { rows: self, simd, x, count, out, scratch });
        }
    }

    /// Writes to `out` the nearest of the rows `ids` to x (d,), the nearest first.
    pub(super) fn nearest_of(
        &self,
        simd: Simd,
        x: &[f32],
        ids: &[u32],
        out: &mut [u32],
        (distances, keys): (&mut Vec<f32>, &mut Vec<u64>),
    ) {
        dense::l2_sqs_of(simd, x, self.rows, ids, distances);
        keys.clear();
        // Floats that are not negative are ordered as their bits are.
        let key = |(&id, x): (&u32, &f32)| u64::from(x.to_bits()) << 32 | u64::from(id);
        keys.extend(ids.iter().zip(&*distances).map(key));
        keys.select_nth_unstable(out.len() - 1);
        keys.truncate(out.len());
        keys.sort_unstable();
        out.iter_mut().zip(keys).for_each(|(out, key)| *out = *key as u32);
    }

    /// One block through all rows that are in tiles.
    #[inline(always)]
    pub(super) fn block_several(
        &self,
        simd: Simd,
        x: &[f32],
        out: &mut [u32],
        count: usize,
        scratch: &mut SeveralScratch,
        Kernels { tile, within }: &Kernels<impl Tile, impl Within>,
    ) {
        let pairs = self.d.div_ceil(2);
        let n = x.len() / self.d;
        let SeveralScratch { words, held, distances, keys } = scratch;
        let mut vectors = [Vector::ABSENT; BLOCK];
        let mut most = [HELD * count; BLOCK];
        words.resize(BLOCK * pairs, 0);
        held.resize_with(BLOCK, Held::default);
        for (i, x) in x.chunks_exact(self.d).enumerate() {
            vectors[i] = self.round(x, &mut words[i * pairs..][..pairs]);
            // Whatever a row costs; lanes without a row cost more.
            vectors[i].limit = vectors[i].limit.min(f32::MAX);
            held[i].ids.clear();
            held[i].costs.clear();
        }
        let mut tile_costs = [[0f32; TILE]; VECTORS];
        for (number, rows) in self.all.words.chunks_exact(pairs * TILE).enumerate() {
            let first = number * TILE;
            let terms = self.all.terms(first);
            for start in (0..n).step_by(VECTORS) {
                let six: &mut [Vector; VECTORS] =
                    vectors[start..].first_chunk_mut().expect("a block is whole sixes");
                let words = &words[start * pairs..][..VECTORS * pairs];
                let mut hits = tile(words, six, rows, terms, &mut tile_costs);
                while hits != 0 {
                    let v = hits.trailing_zeros() as usize;
                    hits &= hits - 1;
                    let lanes = within(&tile_costs[v], six[v].limit);
                    let held = &mut held[start + v];
                    // The last tile may be shorter.
                    let end = self.all.ids.len().min(first + TILE);
                    held.push(&self.all.ids[first..end], &tile_costs[v], lanes);
                    if held.ids.len() >= most[start + v] {
                        held.drop_beyond(simd, count, &mut six[v]);
                        most[start + v] = (HELD * count).max(2 * held.ids.len());
                    }
                }
            }
        }
        let rows = x.chunks_exact(self.d).zip(out.chunks_exact_mut(count)).enumerate();
        for (i, (x, out)) in rows {
            let ids = if vectors[i].unit.is_finite() {
                held[i].drop_beyond(simd, count, &mut vectors[i]);
                &held[i].ids
            } else {
                &self.all.ids
            };
            self.nearest_of(simd, x, ids, out, (distances, keys));
        }
    }
}

/// A block of vectors on its way to the nearest few rows.
struct Several<'w, 'a> {
    rows: &'w NearestRows<'a>,
    simd: Simd,
    x: &'w [f32],
    count: usize,
    out: &'w mut [u32],
    scratch: &'w mut SeveralScratch,
}

impl Work for Several<'_, '_> {
    #[inline(always)]
    fn run<T: Tile, W: Within>(self, kernels: &Kernels<T, W>) {
        self.rows.block_several(self.simd, self.x, self.out, self.count, self.scratch, kernels);
    }

    fn by_definition(self) {
        let SeveralScratch { distances, keys, .. } = self.scratch;
        let (rows, ids) = (self.rows, &self.rows.all.ids);
        for (x, out) in self.x.chunks_exact(rows.d).zip(self.out.chunks_exact_mut(self.count)) {
            rows.nearest_of(self.simd, x, ids, out, (distances, keys));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Rows and vectors with ties, of all sizes, some of which only floats may judge.
    #[test]
    fn every_level_equals_the_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for (d, n, vectors) in [(1, 5, 7), (3, 300, 100), (16, 7000, 97), (37, 130, 13)] {
            for grid in [true, false] {
                let mut draw = |n: usize| -> Vec<f32> {
                    let mut coordinate = || match grid {
                        true => f32::from(rng.random_range(-2i8..3)),
                        false => rng.random_range(-1.0..1.0),
                    };
                    (0..n * d).map(|_| coordinate()).collect()
                };
                let (rows, mut x) = (draw(n), draw(vectors));
                x[..d].fill(0.0);
                x[d..2 * d].fill(1e-30);
                x[2 * d..3 * d].fill(3e18);
                let nearest = NearestRows::new(&rows, d);
                for count in [1, 2, n / 3, n] {
                    let want: Vec<u32> =
                        x.chunks_exact(d).flat_map(|x| naive(x, &rows, count)).collect();
                    for simd in Simd::all() {
                        let mut out = vec![u32::MAX; want.len()];
                        let mut scratch = SeveralScratch::default();
                        nearest.several(simd, &x, count, &mut out, &mut scratch);
                        assert!(out == want, "{}, d {d}, n {n}, {count} of them", simd.level());
                    }
                }
            }
        }
    }

    fn naive(x: &[f32], rows: &[f32], count: usize) -> Vec<u32> {
        let all = (0..).zip(rows.chunks_exact(x.len()));
        let mut all: Vec<(f32, u32)> = all.map(|(id, row)| (dense::l2_sq(x, row), id)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all[..count].iter().map(|&(_, id)| id).collect()
    }
}
