//! The nearest of many rows to each of many vectors, with the bits of [`crate::dense::nearest`].
//!
//! 16-bit integers rule out nearly all rows, floats in the fixed order decide among the rest. A row
//! is c = s ĉ + e with s = ‖c‖ / 32767, a vector x = u x̂ + f likewise, each with a scale of its
//! own. Then |⟨x, c⟩ − u s ⟨x̂, ĉ⟩| ≤ ‖f‖ ‖c‖ + ‖u x̂‖ ‖e‖ (Cauchy–Schwarz), where ‖f‖ ≤ ½ u √d up
//! to rounding. So E, twice the largest such error, bounds how far ‖c‖² − 2 u s ⟨x̂, ĉ⟩ is from
//! ‖x − c‖² − ‖x‖². Let R bound the rounding of both float computations. A row that is nearest by
//! float is by at most 2 R farther than the row with the least approximation, and so its
//! approximation is greater by at most 2 E + 2 R.
//!
//! No sum overflows where it counts: ‖x̂‖ and ‖ĉ‖ are at most 32767 + ½ √d, so |⟨x̂, ĉ⟩| < 2³¹ for
//! any d below 2²⁸, and a wrapped sum on the way there wraps back.
//!
//! Whatever the level, the rows that floats look at hold the nearest, so the answer is the same.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod grouped;
mod several;
#[cfg(test)]
mod tests;
mod work;

pub use self::grouped::{GroupedRows, GroupedScratch};
pub use self::several::SeveralScratch;
use self::work::{Kernels, Tile, Within, Work, at_level};
use crate::dense::{self, norm_sq};
use crate::level::Simd;

/// Rows in a tile: four AVX-512 registers of 32-bit sums.
const TILE: usize = 64;
/// The costs of a tile's rows for six vectors.
type TileCosts = [[f32; TILE]; VECTORS];
/// Vectors that go through a tile together: 24 registers of sums, which leaves eight for operands.
const VECTORS: usize = 6;
/// Vectors that go through all tiles together, so that a tile comes from the nearest cache.
const BLOCK: usize = 16 * VECTORS;
/// Largest magnitude of a rounded coordinate.
const LARGEST: f64 = 32767.0;
/// 1.5 · 2²³: floats near it are whole numbers, and the low 16 bits of its own bits are zero.
const ROUNDER: f32 = 12_582_912.0;
/// Norms below this (but not zero) are left to the definition: their reciprocals are not finite.
const SMALLEST_NORM: f32 = 1e-25;

/// Rows (n, d) as 16-bit integers, beside the floats that they were made from.
#[derive(Debug)]
pub struct NearestRows<'a> {
    rows: &'a [f32],
    d: usize,
    /// (n, ⌈d / 2⌉): two coordinates a word, the first in the low half.
    words: Vec<i32>,
    /// ‖c‖² of each row.
    norms: Vec<f32>,
    /// −2 s of each row.
    factors: Vec<f32>,
    largest_norm: f64,
    largest_error: f64,
    /// All rows, in tiles.
    all: Tiles,
}

/// Rows as the kernels read them.
#[derive(Debug, Default)]
struct Tiles {
    /// Index of each row, (n,).
    ids: Vec<u32>,
    /// (n / 64, ⌈d / 2⌉, 64).
    words: Vec<i32>,
    /// ‖c‖² of each row, infinite if there is no row.
    norms: Vec<f32>,
    /// −2 s of each row.
    factors: Vec<f32>,
}

/// Buffers of [`NearestRows::assign`], to be used again.
#[derive(Debug, Default)]
pub struct NearestScratch {
    /// (BLOCK, ⌈d / 2⌉).
    words: Vec<i32>,
    /// Per vector of the block: places of rows that floats may have to look at, and their costs.
    candidates: Vec<Vec<(u32, f32)>>,
    ids: Vec<u32>,
    distances: Vec<f32>,
    /// Centroids that [`NearestRows::assign_among`] is about.
    some: Tiles,
}

/// A vector on its way through the tiles.
#[derive(Clone, Copy, Debug)]
struct Vector {
    /// u; not finite where only the definition may judge.
    unit: f32,
    slack: f64,
    /// Least cost so far plus the slack.
    limit: f32,
}

impl Vector {
    /// None, or one that only the definition may judge: no cost is within its limit.
    const ABSENT: Self = Self { unit: f32::NAN, slack: 0.0, limit: f32::NEG_INFINITY };

    /// Lowers the limit to what the costs of a tile allow. A bit for each cost within it.
    #[inline(always)]
    fn tighten(&mut self, costs: &[f32; TILE], within: impl Fn(&[f32; TILE], f32) -> u64) -> u64 {
        let limit = (f64::from(least(costs)) + self.slack) as f32;
        self.limit = self.limit.min(limit.next_up());
        within(costs, self.limit)
    }
}

/// Terms of a tile's costs beside the products: cost = norm + factor · u · ⟨x̂, ĉ⟩.
#[derive(Clone, Copy)]
struct Terms<'a> {
    norms: &'a [f32; TILE],
    factors: &'a [f32; TILE],
}

impl Tiles {
    /// The terms of the tile that begins with row `first`.
    #[inline(always)]
    fn terms(&self, first: usize) -> Terms<'_> {
        Terms {
            norms: self.norms[first..].first_chunk().expect("whole tiles"),
            factors: self.factors[first..].first_chunk().expect("whole tiles"),
        }
    }
}

impl<'a> NearestRows<'a> {
    /// Rounds `rows` (n, d).
    ///
    /// # Panics
    /// If there is no row, if the length is no multiple of `d`, or if a value is not finite.
    pub fn new(rows: &'a [f32], d: usize) -> Self {
        let mut this = Self::rounded(rows, d);
        let mut all = Tiles::default();
        this.lay(0..this.len() as u32, &mut all);
        this.all = all;
        this
    }

    /// The rows as integers, none of them in a tile.
    fn rounded(rows: &'a [f32], d: usize) -> Self {
        assert!(d > 0 && !rows.is_empty() && rows.len().is_multiple_of(d), "rows of another shape");
        let (n, pairs) = (rows.len() / d, d.div_ceil(2));
        let mut this = Self {
            rows,
            d,
            words: Vec::with_capacity(n * pairs),
            norms: Vec::with_capacity(n),
            factors: Vec::with_capacity(n),
            largest_norm: 0.0,
            largest_error: 0.0,
            all: Tiles::default(),
        };
        let mut rounded = vec![0i16; 2 * pairs];
        for row in rows.chunks_exact(d) {
            let norm_sq: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            assert!(norm_sq.is_finite(), "rows are finite");
            let norm = norm_sq.sqrt();
            // Zero rows and tiny ones round to nothing; what they lose is their error.
            let scale = if norm >= f64::from(SMALLEST_NORM) { norm / LARGEST } else { 0.0 };
            let mut error = 0f64;
            for (r, &x) in rounded.iter_mut().zip(row) {
                let x = f64::from(x);
                *r = if scale > 0.0 {
                    (x / scale).round().clamp(-LARGEST, LARGEST) as i16
                } else {
                    0
                };
                error += (x - scale * f64::from(*r)).powi(2);
            }
            this.words.extend(rounded.as_chunks::<2>().0.iter().map(|two| word(two[0], two[1])));
            this.norms.push(norm_sq as f32);
            this.factors.push((-2.0 * scale) as f32);
            this.largest_norm = this.largest_norm.max(norm);
            this.largest_error = this.largest_error.max(error.sqrt());
        }
        this
    }

    /// Number of rows.
    fn len(&self) -> usize {
        self.norms.len()
    }

    /// Lays the rows `ids` in `tiles`.
    fn lay(&self, ids: impl Iterator<Item = u32>, tiles: &mut Tiles) {
        let pairs = self.d.div_ceil(2);
        tiles.ids.clear();
        tiles.ids.extend(ids);
        let padded = tiles.ids.len().next_multiple_of(TILE);
        // What was there before stays in lanes without a row: their norm rules them out.
        tiles.words.resize(padded * pairs, 0);
        tiles.norms.clear();
        tiles.factors.clear();
        for (ids, words) in tiles.ids.chunks(TILE).zip(tiles.words.chunks_exact_mut(pairs * TILE)) {
            for (lane, &id) in ids.iter().enumerate() {
                let row = &self.words[id as usize * pairs..][..pairs];
                for (&word, words) in row.iter().zip(words.as_chunks_mut::<TILE>().0) {
                    words[lane] = word;
                }
                tiles.norms.push(self.norms[id as usize]);
                tiles.factors.push(self.factors[id as usize]);
            }
        }
        tiles.norms.resize(padded, f32::INFINITY);
        tiles.factors.resize(padded, 0.0);
    }

    /// Writes to `out` (n,) for each of the vectors `x` (n, d) the index of the nearest row by
    /// [`dense::l2_sq`], ties to the smaller index, and that distance: what [`dense::nearest`]
    /// says.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn assign(
        &self,
        simd: Simd,
        x: &[f32],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        assert_eq!(x.len(), out.len() * self.d, "vectors of another shape");
        self.blocks(simd, x, &self.all, out, scratch);
    }

    /// Writes to `out` (n,) for each of the vectors `x` (n, d) which of the rows `ids` is the
    /// nearest by [`dense::l2_sq`], ties to the smaller index, and that distance. Those that come
    /// first in `ids` had better be near: then the rest is ruled out at less cost.
    ///
    /// # Panics
    /// If the shapes do not fit together, `ids` is empty or names no row.
    pub fn assign_among(
        &self,
        simd: Simd,
        x: &[f32],
        ids: &[u32],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        assert_eq!(x.len(), out.len() * self.d, "vectors of another shape");
        assert!(!ids.is_empty(), "no row to choose from");
        let mut some = std::mem::take(&mut scratch.some);
        self.lay(ids.iter().copied(), &mut some);
        self.blocks(simd, x, &some, out, scratch);
        scratch.some = some;
    }

    fn blocks(
        &self,
        simd: Simd,
        x: &[f32],
        tiles: &Tiles,
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        for (x, out) in x.chunks(BLOCK * self.d).zip(out.chunks_mut(BLOCK)) {
            at_level(simd, Assign { rows: self, simd, x, tiles, out, scratch });
        }
    }

    fn assign_by_definition(&self, x: &[f32], tiles: &Tiles, out: &mut [(u32, f32)]) {
        for (x, out) in x.chunks_exact(self.d).zip(out) {
            let row = |id: u32| &self.rows[id as usize * self.d..][..self.d];
            let found = tiles.ids.iter().map(|&id| (id, dense::l2_sq(x, row(id))));
            *out = found.reduce(nearer).expect("tiles have a row");
        }
    }

    /// One block through all tiles.
    #[inline(always)]
    fn block(
        &self,
        simd: Simd,
        x: &[f32],
        tiles: &Tiles,
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
        Kernels { tile, within }: &Kernels<impl Tile, impl Within>,
    ) {
        let pairs = self.d.div_ceil(2);
        let mut vectors = [Vector::ABSENT; BLOCK];
        scratch.words.resize(BLOCK * pairs, 0);
        scratch.candidates.resize_with(BLOCK, Vec::new);
        for (i, x) in x.chunks_exact(self.d).enumerate() {
            vectors[i] = self.round(x, &mut scratch.words[i * pairs..][..pairs]);
            scratch.candidates[i].clear();
        }
        let mut costs = [[0f32; TILE]; VECTORS];
        for (number, rows) in tiles.words.chunks_exact(pairs * TILE).enumerate() {
            let first = number * TILE;
            let terms = tiles.terms(first);
            for start in (0..out.len()).step_by(VECTORS) {
                let six: &mut [Vector; VECTORS] =
                    vectors[start..].first_chunk_mut().expect("a block is whole sixes");
                let words = &scratch.words[start * pairs..][..VECTORS * pairs];
                let mut hits = tile(words, six, rows, terms, &mut costs);
                while hits != 0 {
                    let v = hits.trailing_zeros() as usize;
                    hits &= hits - 1;
                    let mut lanes = six[v].tighten(&costs[v], within);
                    while lanes != 0 {
                        let lane = lanes.trailing_zeros() as usize;
                        lanes &= lanes - 1;
                        let candidate = ((first + lane) as u32, costs[v][lane]);
                        scratch.candidates[start + v].push(candidate);
                    }
                }
            }
        }
        self.choose(simd, x, tiles, &vectors, out, scratch);
    }

    /// Writes the nearest of each vector's candidates.
    #[inline(always)]
    fn choose(
        &self,
        simd: Simd,
        x: &[f32],
        tiles: &Tiles,
        vectors: &[Vector; BLOCK],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        for (i, (x, out)) in x.chunks_exact(self.d).zip(out.iter_mut()).enumerate() {
            if !vectors[i].unit.is_finite() {
                self.assign_by_definition(x, tiles, std::slice::from_mut(out));
                continue;
            }
            let near = scratch.candidates[i].iter().filter(|(_, cost)| *cost <= vectors[i].limit);
            scratch.ids.clear();
            scratch.ids.extend(near.map(|(place, _)| tiles.ids[*place as usize]));
            dense::l2_sqs_of(simd, x, self.rows, &scratch.ids, &mut scratch.distances);
            let found = scratch.ids.iter().copied().zip(scratch.distances.iter().copied());
            *out = found.reduce(nearer).expect("the least cost is within its limit");
        }
    }

    /// Rounds a vector to `words` (⌈d / 2⌉,).
    #[inline(always)]
    fn round(&self, x: &[f32], words: &mut [i32]) -> Vector {
        let norm = norm_sq(x).sqrt();
        let wide = f64::from(norm) * 1.001 + self.largest_norm;
        // Half of it is the rounding of the approximation (six operations), half that of the exact
        // sum (d / 16 + 6 of them), each off by at most 2⁻²⁴ of what is largest on the way, (‖x‖ +
        // ‖c‖)². The constant is for products too small for a float.
        let rounding =
            (self.d as f64 / 16.0 + 16.0) * f64::from(f32::EPSILON) * wide * wide + 1e-28;
        // 0.51 in place of ½: the product with a rounded reciprocal is off by less than 0.01.
        let unit = f64::from(norm) / LARGEST;
        let lost = 0.51 * unit * (self.d as f64).sqrt();
        let product_error =
            lost * self.largest_norm + (f64::from(norm) * 1.001 + lost) * self.largest_error;
        let slack = 2.0 * (2.0 * product_error + rounding);
        let usable = norm == 0.0 || norm >= SMALLEST_NORM;
        // False for NaN too.
        if !(usable && wide * wide + slack < f64::from(f32::MAX) / 8.0) {
            words.fill(0);
            return Vector::ABSENT;
        }
        let inverse = if norm > 0.0 { (LARGEST / f64::from(norm)) as f32 } else { 0.0 };
        let largest = LARGEST as f32;
        // Where the last place of a float is worth 1, the sum is rounded to whole numbers, ties to
        // even, and its low 16 bits are the number's.
        let rounded = |x: f32| {
            let x = x * inverse;
            let x = if x < largest { x } else { largest };
            let x = if x > -largest { x } else { -largest };
            (x + ROUNDER).to_bits() as i16
        };
        let (two, rest) = x.as_chunks::<2>();
        for (w, two) in words.iter_mut().zip(two) {
            *w = word(rounded(two[0]), rounded(two[1]));
        }
        if let (Some(w), [last]) = (words.last_mut(), rest) {
            *w = word(rounded(*last), 0);
        }
        Vector { unit: unit as f32, slack, limit: f32::INFINITY }
    }
}

/// A block of vectors on its way to the nearest of the rows in tiles.
struct Assign<'w, 'a> {
    rows: &'w NearestRows<'a>,
    simd: Simd,
    x: &'w [f32],
    tiles: &'w Tiles,
    out: &'w mut [(u32, f32)],
    scratch: &'w mut NearestScratch,
}

impl Work for Assign<'_, '_> {
    #[inline(always)]
    fn run<T: Tile, W: Within>(self, kernels: &Kernels<T, W>) {
        self.rows.block(self.simd, self.x, self.tiles, self.out, self.scratch, kernels);
    }

    fn by_definition(self) {
        self.rows.assign_by_definition(self.x, self.tiles, self.out);
    }
}

/// The nearer of two rows; of two that are equally near that with the smaller index.
#[inline(always)]
fn nearer(a: (u32, f32), b: (u32, f32)) -> (u32, f32) {
    if b.1 < a.1 || (b.1 == a.1 && b.0 < a.0) { b } else { a }
}

/// The least cost.
#[inline(always)]
fn least(costs: &[f32; TILE]) -> f32 {
    let mut least = [f32::INFINITY; 16];
    for costs in costs.as_chunks::<16>().0 {
        for (least, &cost) in least.iter_mut().zip(costs) {
            *least = if cost < *least { cost } else { *least };
        }
    }
    least.into_iter().fold(f32::INFINITY, f32::min)
}

/// Two coordinates in one word.
#[inline(always)]
fn word(low: i16, high: i16) -> i32 {
    i32::from(low as u16) | i32::from(high) << 16
}
