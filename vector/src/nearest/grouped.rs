//! The nearest of many rows to each of many vectors, among the rows of the groups near the vector.
//!
//! A vector meets the rows of the `effort` groups whose centres are nearest to it, and no others.
//! So it may miss a row that is a little nearer, at a small share of the comparisons. Both steps
//! are defined by floats in [`crate::dense`]'s one order, ties to the smaller index: the answer is
//! the same at every level.
//!
//! Vectors are taken group by group: those that look at a group go through its rows together. The
//! nearest group of each comes first, so that most of the other rows are ruled out at once.

use super::work::{Kernels, Tile, Within, Work, at_level};
use super::{NearestRows, SeveralScratch, TILE, Tiles, VECTORS, Vector, nearer};
use crate::dense;
use crate::level::Simd;

/// Vectors that are sorted by group together: enough for several sixes a group, few enough that
/// their coordinates stay in the second cache.
const BLOCK: usize = 4096;

/// Rows (n, d) in groups, ready to be searched.
#[derive(Debug)]
pub struct GroupedRows<'a> {
    rows: NearestRows<'a>,
    centres: NearestRows<'a>,
    /// The rows of each group.
    members: Vec<Tiles>,
}

/// Buffers of [`GroupedRows::assign`], to be used again.
#[derive(Debug, Default)]
pub struct GroupedScratch {
    /// (BLOCK, ⌈d / 2⌉).
    words: Vec<i32>,
    /// Coordinates of the six vectors that go through a group, (6, ⌈d / 2⌉).
    six: Vec<i32>,
    vectors: Vec<Vector>,
    /// Rows that floats may have to look at, for each vector, and their costs.
    candidates: Vec<Vec<(u32, f32)>>,
    several: SeveralScratch,
    /// The groups of each vector, (BLOCK, effort), the nearest first.
    chosen: Vec<u32>,
    ids: Vec<u32>,
    distances: Vec<f32>,
    /// For each group, where its vectors begin in `turns`.
    starts: Vec<u32>,
    /// Vectors in the order of the groups that they look at.
    turns: Vec<u32>,
}

impl<'a> GroupedRows<'a> {
    /// Puts `rows` (n, d) in groups: `members` has the rows of each of the `centres` (groups, d).
    /// A group without rows is never looked at.
    ///
    /// # Panics
    /// If there is no row or no centre, if the shapes do not fit together, if a value is not
    /// finite, or if a group names a row that is not there.
    pub fn new<'m>(
        rows: &'a [f32],
        d: usize,
        centres: &'a [f32],
        members: impl Iterator<Item = &'m [u32]>,
    ) -> Self {
        let rows = NearestRows::rounded(rows, d);
        let mut centres = NearestRows::rounded(centres, d);
        let members: Vec<Tiles> = members
            .map(|ids| {
                let mut tiles = Tiles::default();
                rows.lay(ids.iter().copied(), &mut tiles);
                tiles
            })
            .collect();
        assert_eq!(members.len(), centres.len(), "as many groups as centres");
        let mut all = Tiles::default();
        let filled = (0u32..).zip(&members).filter(|(_, tiles)| !tiles.ids.is_empty());
        centres.lay(filled.map(|(group, _)| group), &mut all);
        centres.all = all;
        Self { rows, centres, members }
    }

    /// Writes to `out` (n,) for each of the vectors `x` (n, d) the nearest by [`dense::l2_sq`] of
    /// the rows in the `effort` groups (at least one) whose centres are nearest, ties to the
    /// smaller index, and that distance. Where no group has a row, that is row 0 at an infinite
    /// distance.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn assign(
        &self,
        simd: Simd,
        x: &[f32],
        effort: usize,
        out: &mut [(u32, f32)],
        scratch: &mut GroupedScratch,
    ) {
        let d = self.rows.d;
        assert_eq!(x.len(), out.len() * d, "vectors of another shape");
        let filled = self.centres.all.ids.len();
        if filled == 0 {
            out.fill((0, f32::INFINITY));
            return;
        }
        let effort = effort.clamp(1, filled);
        for (x, out) in x.chunks(BLOCK * d).zip(out.chunks_mut(BLOCK)) {
            at_level(simd, Assign { rows: self, simd, x, effort, out, scratch });
        }
    }

    /// The answer for x (d,) by its definition.
    fn by_definition(&self, simd: Simd, x: &[f32], effort: usize) -> (u32, f32) {
        let (mut groups, mut distances, mut keys) = (vec![0; effort], Vec::new(), Vec::new());
        let (centres, scratch) = (&self.centres, (&mut distances, &mut keys));
        centres.nearest_of(simd, x, &centres.all.ids, &mut groups, scratch);
        let rows = groups.iter().flat_map(|&group| &self.members[group as usize].ids);
        let d = self.rows.d;
        let distance = |id: u32| dense::l2_sq(x, &self.rows.rows[id as usize * d..][..d]);
        let found = rows.map(|&id| (id, distance(id)));
        found.reduce(nearer).expect("a group that is looked at has a row")
    }

    /// One block: chooses the groups, takes the vectors through them, and decides.
    #[inline(always)]
    fn block(
        &self,
        simd: Simd,
        x: &[f32],
        effort: usize,
        out: &mut [(u32, f32)],
        scratch: &mut GroupedScratch,
        kernels: &Kernels<impl Tile, impl Within>,
    ) {
        let (d, pairs) = (self.rows.d, self.rows.d.div_ceil(2));
        let n = out.len();
        scratch.words.resize(BLOCK * pairs, 0);
        scratch.vectors.clear();
        scratch.candidates.resize_with(BLOCK, Vec::new);
        for (i, x) in x.chunks_exact(d).enumerate() {
            scratch.candidates[i].clear();
            let words = &mut scratch.words[i * pairs..][..pairs];
            scratch.vectors.push(self.rows.round(x, words));
        }
        scratch.chosen.resize(n * effort, 0);
        let blocks =
            x.chunks(super::BLOCK * d).zip(scratch.chosen.chunks_mut(super::BLOCK * effort));
        for (x, chosen) in blocks {
            self.centres.block_several(simd, x, chosen, effort, &mut scratch.several, kernels);
        }
        for ranks in [0..1, 1..effort] {
            self.sort_by_group(n, effort, ranks, scratch);
            for group in 0..self.members.len() {
                self.through_group(group, scratch, kernels);
            }
        }
        for (i, (x, out)) in x.chunks_exact(d).zip(out.iter_mut()).enumerate() {
            let GroupedScratch { vectors, candidates, ids, distances, .. } = scratch;
            if !vectors[i].unit.is_finite() {
                *out = self.by_definition(simd, x, effort);
                continue;
            }
            ids.clear();
            let near = candidates[i].iter().filter(|(_, cost)| *cost <= vectors[i].limit);
            ids.extend(near.map(|(id, _)| *id));
            dense::l2_sqs_of(simd, x, self.rows.rows, ids, distances);
            let found = ids.iter().copied().zip(distances.iter().copied());
            *out = found.reduce(nearer).expect("the least cost is within its limit");
        }
    }

    /// Sorts the vectors of a block by the groups that are theirs by `ranks`.
    fn sort_by_group(
        &self,
        n: usize,
        effort: usize,
        ranks: std::ops::Range<usize>,
        scratch: &mut GroupedScratch,
    ) {
        let GroupedScratch { chosen, starts, turns, .. } = scratch;
        starts.clear();
        starts.resize(self.members.len() + 1, 0);
        let of = |vector: usize| &chosen[vector * effort..][ranks.clone()];
        (0..n).flat_map(of).for_each(|&group| starts[group as usize + 1] += 1);
        for group in 0..self.members.len() {
            starts[group + 1] += starts[group];
        }
        turns.clear();
        turns.resize(n * ranks.len(), 0);
        // Each start moves to its end, which is where the next one began.
        for vector in 0..n {
            for &group in of(vector) {
                let place = &mut starts[group as usize];
                turns[*place as usize] = vector as u32;
                *place += 1;
            }
        }
        starts.rotate_right(1);
        starts[0] = 0;
    }

    /// Takes the vectors whose turn it is through the rows of a group.
    #[inline(always)]
    fn through_group(
        &self,
        group: usize,
        scratch: &mut GroupedScratch,
        Kernels { tile, within }: &Kernels<impl Tile, impl Within>,
    ) {
        let pairs = self.rows.d.div_ceil(2);
        let tiles = &self.members[group];
        let turns = scratch.starts[group] as usize..scratch.starts[group + 1] as usize;
        let mut costs = [[0f32; TILE]; VECTORS];
        for turn in turns.clone().step_by(VECTORS) {
            let numbers = &scratch.turns[turn..(turn + VECTORS).min(turns.end)];
            let mut six = [Vector::ABSENT; VECTORS];
            scratch.six.clear();
            for (six, &number) in six.iter_mut().zip(numbers) {
                *six = scratch.vectors[number as usize];
                let words = &scratch.words[number as usize * pairs..][..pairs];
                scratch.six.extend_from_slice(words);
            }
            scratch.six.resize(VECTORS * pairs, 0);
            for (at, rows) in tiles.words.chunks_exact(pairs * TILE).enumerate() {
                let first = at * TILE;
                let mut hits = tile(&scratch.six, &six, rows, tiles.terms(first), &mut costs);
                while hits != 0 {
                    let v = hits.trailing_zeros() as usize;
                    hits &= hits - 1;
                    let mut lanes = six[v].tighten(&costs[v], within);
                    let candidates = &mut scratch.candidates[numbers[v] as usize];
                    while lanes != 0 {
                        let lane = lanes.trailing_zeros() as usize;
                        lanes &= lanes - 1;
                        candidates.push((tiles.ids[first + lane], costs[v][lane]));
                    }
                }
            }
            for (six, &number) in six.iter().zip(numbers) {
                scratch.vectors[number as usize] = *six;
            }
        }
    }
}

/// A block of vectors on its way to the nearest row of near groups.
struct Assign<'w, 'a> {
    rows: &'w GroupedRows<'a>,
    simd: Simd,
    x: &'w [f32],
    effort: usize,
    out: &'w mut [(u32, f32)],
    scratch: &'w mut GroupedScratch,
}

impl Work for Assign<'_, '_> {
    #[inline(always)]
    fn run<T: Tile, W: Within>(self, kernels: &Kernels<T, W>) {
        self.rows.block(self.simd, self.x, self.effort, self.out, self.scratch, kernels);
    }

    fn by_definition(self) {
        for (x, out) in self.x.chunks_exact(self.rows.rows.d).zip(self.out) {
            *out = self.rows.by_definition(self.simd, x, self.effort);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The nearest row among those of the nearest groups, written down as it is said.
    fn naive(
        x: &[f32],
        rows: &[f32],
        centres: &[f32],
        members: &[Vec<u32>],
        effort: usize,
    ) -> (u32, u32) {
        let d = x.len();
        let mut near: Vec<(f32, usize)> = (0..members.len())
            .filter(|&group| !members[group].is_empty())
            .map(|group| (dense::l2_sq(x, &centres[group * d..][..d]), group))
            .collect();
        near.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let mut best: Option<(f32, u32)> = None;
        for (_, group) in near.into_iter().take(effort) {
            for &id in &members[group] {
                let found = (dense::l2_sq(x, &rows[id as usize * d..][..d]), id);
                if best.is_none_or(|best| found < best) {
                    best = Some(found);
                }
            }
        }
        best.map(|(distance, id)| (id, distance.to_bits())).unwrap()
    }

    /// Rows, centres and vectors with ties, groups of all sizes, empty ones among them.
    #[test]
    fn every_level_equals_the_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (d, n, groups, vectors) in
            [(1, 5, 3, 7), (3, 300, 9, 50), (16, 700, 25, 200), (37, 130, 2, 13), (8, 64, 70, 4200)]
        {
            for grid in [true, false] {
                let mut draw = |n: usize| -> Vec<f32> {
                    (0..n * d)
                        .map(|_| match grid {
                            true => rng.random_range(-2i32..3) as f32,
                            false => rng.random_range(-1.0..2.0),
                        })
                        .collect()
                };
                let (rows, centres, x) = (draw(n), draw(groups), draw(vectors));
                let mut members = vec![Vec::new(); groups];
                for row in 0..n as u32 {
                    // Low groups are large, the last one is empty.
                    let group = rng.random_range(0..groups) * rng.random_range(0..groups) / groups;
                    members[group].push(row);
                }
                members[groups - 1].clear();
                let grouped =
                    GroupedRows::new(&rows, d, &centres, members.iter().map(Vec::as_slice));
                for effort in [1, 2, 6, 100] {
                    let want: Vec<(u32, u32)> = x
                        .chunks_exact(d)
                        .map(|x| naive(x, &rows, &centres, &members, effort))
                        .collect();
                    for simd in Simd::all() {
                        let mut out = vec![(9, 0.0); vectors];
                        let scratch = &mut GroupedScratch::default();
                        grouped.assign(simd, &x, effort, &mut out, scratch);
                        let found: Vec<(u32, u32)> =
                            out.iter().map(|(id, d)| (*id, d.to_bits())).collect();
                        assert_eq!(found, want, "{} d {d} effort {effort}", simd.level());
                    }
                }
            }
        }
    }

    /// Tiny, huge and zero vectors go by the definition alone.
    #[test]
    fn vectors_beyond_the_integers() {
        let rows: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let centres = [4.5, 14.5, 30.0];
        let members = [(0..10).collect(), (10..20).collect(), (20..40).collect::<Vec<u32>>()];
        let grouped = GroupedRows::new(&rows, 1, &centres, members.iter().map(Vec::as_slice));
        let x = [1e-30, 1e30, 0.0, 12.4];
        for simd in Simd::all() {
            let mut out = vec![(9, 0.0); 4];
            grouped.assign(simd, &x, 1, &mut out, &mut GroupedScratch::default());
            let ids: Vec<u32> = out.iter().map(|found| found.0).collect();
            assert_eq!(ids, [0, 0, 0, 12], "{}", simd.level());
        }
    }
}
