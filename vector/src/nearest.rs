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

use crate::dense::{self, norm_sq};
use crate::level::{Level, Simd};

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
/// Norms below this (but not zero) are left to the definition: their reciprocals are not finite.
const SMALLEST_NORM: f32 = 1e-25;

/// Rows (n, d) as 16-bit integers, beside the floats that they were made from.
#[derive(Debug)]
pub struct NearestRows<'a> {
    rows: &'a [f32],
    d: usize,
    /// (n / 64, ⌈d / 2⌉, 64): two coordinates a word, the first in the low half.
    words: Vec<i32>,
    /// ‖c‖² of each row, infinite if there is no row.
    norms: Vec<f32>,
    /// −2 s of each row.
    factors: Vec<f32>,
    largest_norm: f64,
    largest_error: f64,
}

/// Buffers of [`NearestRows::assign`], to be used again.
#[derive(Debug, Default)]
pub struct NearestScratch {
    /// (BLOCK, ⌈d / 2⌉).
    words: Vec<i32>,
    /// Per vector of the block: rows that floats may have to look at, ascending, and their costs.
    candidates: Vec<Vec<(u32, f32)>>,
    ids: Vec<u32>,
    distances: Vec<f32>,
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
}

/// What a tile's costs consist of beside the products: cost = norm + factor · u · ⟨x̂, ĉ⟩.
#[derive(Clone, Copy)]
struct Terms<'a> {
    norms: &'a [f32; TILE],
    factors: &'a [f32; TILE],
}

impl<'a> NearestRows<'a> {
    /// Rounds `rows` (n, d).
    ///
    /// # Panics
    /// If there is no row, or the length is no multiple of `d`.
    pub fn new(rows: &'a [f32], d: usize) -> Self {
        assert!(d > 0 && !rows.is_empty() && rows.len().is_multiple_of(d), "rows of another shape");
        let (n, pairs) = (rows.len() / d, d.div_ceil(2));
        let padded = n.next_multiple_of(TILE);
        let mut this = Self {
            rows,
            d,
            words: vec![0; padded * pairs],
            norms: vec![f32::INFINITY; padded],
            factors: vec![0.0; padded],
            largest_norm: 0.0,
            largest_error: 0.0,
        };
        let mut rounded = vec![0i16; 2 * pairs];
        for (i, row) in rows.chunks_exact(d).enumerate() {
            let norm_sq: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
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
            for (pair, two) in rounded.as_chunks::<2>().0.iter().enumerate() {
                this.words[(i / TILE * pairs + pair) * TILE + i % TILE] = word(two[0], two[1]);
            }
            this.norms[i] = norm_sq as f32;
            this.factors[i] = (-2.0 * scale) as f32;
            this.largest_norm = this.largest_norm.max(norm);
            this.largest_error = this.largest_error.max(error.sqrt());
        }
        this
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
        for (x, out) in x.chunks(BLOCK * self.d).zip(out.chunks_mut(BLOCK)) {
            match simd.level() {
                Level::Scalar => self.assign_by_definition(x, out),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: only a processor that has the level makes `simd`.
                Level::Avx2 => unsafe { self.block_avx2(simd, x, out, scratch) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Level::Avx512 => unsafe { self.block_avx512(simd, x, out, scratch) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Level::Avx512Vbmi => unsafe { self.block_vnni(simd, x, out, scratch) },
                #[cfg(not(target_arch = "x86_64"))]
                _ => self.assign_by_definition(x, out),
            }
        }
    }

    fn assign_by_definition(&self, x: &[f32], out: &mut [(u32, f32)]) {
        for (x, out) in x.chunks_exact(self.d).zip(out) {
            *out = dense::nearest(x, self.rows).map_or((0, 0.0), |(i, d)| (i as u32, d));
        }
    }

    /// One block through all tiles. `tile` writes the costs of a tile's 64 rows for six vectors,
    /// and returns a bit for each vector of which a cost is within its limit.
    #[inline(always)]
    fn block(
        &self,
        simd: Simd,
        x: &[f32],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
        tile: impl Fn(&[i32], &[Vector; VECTORS], &[i32], Terms<'_>, &mut TileCosts) -> u32,
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
        for (number, rows) in self.words.chunks_exact(pairs * TILE).enumerate() {
            let first = number * TILE;
            let terms = Terms {
                norms: self.norms[first..].first_chunk().expect("whole tiles"),
                factors: self.factors[first..].first_chunk().expect("whole tiles"),
            };
            for start in (0..out.len()).step_by(VECTORS) {
                let six: &mut [Vector; VECTORS] =
                    vectors[start..].first_chunk_mut().expect("a block is whole sixes");
                let words = &scratch.words[start * pairs..][..VECTORS * pairs];
                let mut hits = tile(words, six, rows, terms, &mut costs);
                while hits != 0 {
                    let v = hits.trailing_zeros() as usize;
                    hits &= hits - 1;
                    let vector = &mut six[v];
                    let least = costs[v].iter().copied().fold(f32::INFINITY, f32::min);
                    let limit = (f64::from(least) + vector.slack) as f32;
                    vector.limit = vector.limit.min(limit.next_up());
                    for (lane, &cost) in costs[v].iter().enumerate() {
                        if cost <= vector.limit {
                            scratch.candidates[start + v].push(((first + lane) as u32, cost));
                        }
                    }
                }
            }
        }
        for (i, (x, out)) in x.chunks_exact(self.d).zip(out.iter_mut()).enumerate() {
            if !vectors[i].unit.is_finite() {
                self.assign_by_definition(x, std::slice::from_mut(out));
                continue;
            }
            let near = scratch.candidates[i].iter().filter(|(_, cost)| *cost <= vectors[i].limit);
            scratch.ids.clear();
            scratch.ids.extend(near.map(|(id, _)| id));
            dense::l2_sqs_of(simd, x, self.rows, &scratch.ids, &mut scratch.distances);
            let mut best = (scratch.ids[0], scratch.distances[0]);
            for (&id, &distance) in scratch.ids.iter().zip(&scratch.distances).skip(1) {
                if distance < best.1 {
                    best = (id, distance);
                }
            }
            *out = best;
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
        let rounded = |x: f32| (x * inverse).round_ties_even().clamp(-largest, largest) as i16;
        let (two, rest) = x.as_chunks::<2>();
        for (w, two) in words.iter_mut().zip(two) {
            *w = word(rounded(two[0]), rounded(two[1]));
        }
        if let (Some(w), [last]) = (words.last_mut(), rest) {
            *w = word(rounded(*last), 0);
        }
        Vector { unit: unit as f32, slack, limit: f32::INFINITY }
    }

    /// # Safety
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn block_avx2(
        &self,
        simd: Simd,
        x: &[f32],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        self.block(simd, x, out, scratch, |x, six, rows, terms, costs| {
            // SAFETY: this function's own level; `block` gives whole tiles.
            unsafe { x86::tile_avx2(x, six, rows, terms, costs) }
        });
    }

    /// # Safety
    /// AVX-512 F, BW, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn block_avx512(
        &self,
        simd: Simd,
        x: &[f32],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        self.block(simd, x, out, scratch, |x, six, rows, terms, costs| {
            // SAFETY: as above.
            unsafe { x86::tile_avx512(x, six, rows, terms, costs) }
        });
    }

    /// # Safety
    /// AVX-512 F, BW, DQ, VL, VNNI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block_vnni(
        &self,
        simd: Simd,
        x: &[f32],
        out: &mut [(u32, f32)],
        scratch: &mut NearestScratch,
    ) {
        self.block(simd, x, out, scratch, |x, six, rows, terms, costs| {
            // SAFETY: as above.
            unsafe { x86::tile_vnni(x, six, rows, terms, costs) }
        });
    }
}

/// Two coordinates in one word.
#[inline(always)]
fn word(low: i16, high: i16) -> i32 {
    i32::from(low as u16) | i32::from(high) << 16
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{TILE, Terms, TileCosts, VECTORS, Vector};
    use std::arch::x86_64::*;

    /// Writes a tile of AVX-512: `$add(sum, rows, two)` adds the products of sixteen rows' two
    /// coordinates with a vector's.
    macro_rules! tile_512 {
        ($name:ident, $features:literal, |$sum:ident, $rows:ident, $two:ident| $add:expr) => {
            /// # Safety
            /// The features; `rows` is one tile, and each of the six vectors in `x` has as many
            /// words as a row.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(
                x: &[i32],
                six: &[Vector; VECTORS],
                rows: &[i32],
                terms: Terms<'_>,
                costs: &mut TileCosts,
            ) -> u32 {
                let rows = rows.as_chunks::<TILE>().0;
                let pairs = rows.len();
                let mut s = [[_mm512_setzero_si512(); TILE / 16]; VECTORS];
                for (pair, words) in rows.iter().enumerate() {
                    let mut row = [_mm512_setzero_si512(); TILE / 16];
                    for (i, row) in row.iter_mut().enumerate() {
                        // SAFETY: a tile's word is 64 times four bytes.
                        *row = unsafe { _mm512_loadu_si512(words.as_ptr().add(16 * i).cast()) };
                    }
                    for v in 0..VECTORS {
                        // SAFETY: the caller's promise: a vector has as many words.
                        let $two = _mm512_set1_epi32(unsafe { *x.get_unchecked(v * pairs + pair) });
                        for i in 0..TILE / 16 {
                            let ($sum, $rows) = (s[v][i], row[i]);
                            s[v][i] = $add;
                        }
                    }
                }
                let mut hits = 0;
                for v in 0..VECTORS {
                    let (unit, limit) = (_mm512_set1_ps(six[v].unit), _mm512_set1_ps(six[v].limit));
                    let mut hit = 0;
                    for i in 0..TILE / 16 {
                        // SAFETY: terms and costs have 64 elements.
                        unsafe {
                            let factor = _mm512_loadu_ps(terms.factors.as_ptr().add(16 * i));
                            let norm = _mm512_loadu_ps(terms.norms.as_ptr().add(16 * i));
                            let product = _mm512_cvtepi32_ps(s[v][i]);
                            let cost = _mm512_fmadd_ps(_mm512_mul_ps(factor, unit), product, norm);
                            _mm512_storeu_ps(costs[v].as_mut_ptr().add(16 * i), cost);
                            hit |= _mm512_cmp_ps_mask::<_CMP_LE_OQ>(cost, limit);
                        }
                    }
                    hits |= u32::from(hit != 0) << v;
                }
                hits
            }
        };
    }

    tile_512!(tile_avx512, "avx512f,avx512bw,avx512dq,avx512vl", |sum, rows, two| {
        _mm512_add_epi32(sum, _mm512_madd_epi16(rows, two))
    });
    tile_512!(tile_vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", |sum, rows, two| {
        _mm512_dpwssd_epi32(sum, rows, two)
    });

    /// Sixteen registers: three vectors by sixteen rows at a time.
    ///
    /// # Safety
    /// AVX2; `rows` is one tile, and each of the six vectors in `x` has as many words as a row.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn tile_avx2(
        x: &[i32],
        six: &[Vector; VECTORS],
        rows: &[i32],
        terms: Terms<'_>,
        costs: &mut TileCosts,
    ) -> u32 {
        const FEW: usize = 3;
        let rows = rows.as_chunks::<TILE>().0;
        let pairs = rows.len();
        let mut hits = 0;
        for first in (0..VECTORS).step_by(FEW) {
            for part in (0..TILE).step_by(16) {
                let mut s = [[_mm256_setzero_si256(); 2]; FEW];
                for (pair, words) in rows.iter().enumerate() {
                    // SAFETY: a tile's word is 64 times four bytes.
                    let row = unsafe {
                        let at = words.as_ptr().add(part);
                        [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())]
                    };
                    for (v, s) in (first..).zip(&mut s) {
                        // SAFETY: the caller's promise: a vector has as many words.
                        let two = _mm256_set1_epi32(unsafe { *x.get_unchecked(v * pairs + pair) });
                        for (s, row) in s.iter_mut().zip(row) {
                            *s = _mm256_add_epi32(*s, _mm256_madd_epi16(row, two));
                        }
                    }
                }
                for (v, s) in (first..).zip(&s) {
                    let (unit, limit) = (_mm256_set1_ps(six[v].unit), _mm256_set1_ps(six[v].limit));
                    for (at, &s) in [part, part + 8].into_iter().zip(s) {
                        // SAFETY: terms and costs have 64 elements.
                        unsafe {
                            let factor = _mm256_loadu_ps(terms.factors.as_ptr().add(at));
                            let norm = _mm256_loadu_ps(terms.norms.as_ptr().add(at));
                            let factor = _mm256_mul_ps(factor, unit);
                            let product = _mm256_mul_ps(factor, _mm256_cvtepi32_ps(s));
                            let cost = _mm256_add_ps(norm, product);
                            _mm256_storeu_ps(costs[v].as_mut_ptr().add(at), cost);
                            let hit = _mm256_cmp_ps::<_CMP_LE_OQ>(cost, limit);
                            hits |= u32::from(_mm256_movemask_ps(hit) != 0) << v;
                        }
                    }
                }
            }
        }
        hits
    }
}

#[cfg(test)]
mod tests;
