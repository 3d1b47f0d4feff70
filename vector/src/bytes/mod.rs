//! Queries as bytes, and their inner products with rows of bytes: what [`crate::shortlist`] and
//! [`crate::relative`] have in common.
//!
//! A query, or its part t, is t = u t̂ + f with whole numbers t̂ in −127..127. A row is r̂ in
//! −127..127, stored as r̂ + 128, since the processor multiplies unsigned by signed bytes; 128 Σ
//! t̂, which is the same for all rows, is taken off again. Rows lie in blocks of 16, four
//! coordinates (a quad) at a time, so that a register holds a quad of sixteen rows, or of eight,
//! and no sum crosses lanes. Rows are the same bytes at every level. What differs is the unit u,
//! and with it the error f, which each level proves of its own u.
//!
//! # AVX-512
//!
//! `vpdpbusd` adds four products to a 32-bit sum: u is max |t| / 127, and nothing overflows up to
//! [`MAX_D`].
//!
//! # AVX2
//!
//! `vpmaddubsw` adds two products to a 16-bit sum that saturates, and `vpmaddwd` by ones widens it.
//! Here the sums of two quads are added before they are widened: four products, which are between
//! 255 times the sum of the negative t̂ of those four and 255 times that of the positive ones. With
//! neither beyond ±128 they stay within 255 · 128 = 32,640. So u is the largest sum, of either
//! sign, of any such four elements of t, over 126: rounding adds at most ½ to each of the four.
//!
//! That u is 1 to 4 times max |t| / 127: of 2,048 centroids of SIFT 8.6, 29.7 and 103 rows are left
//! to floats at nprobe 4, 16 and 64, where `vpdpbusd` leaves 7.5, 26.8 and 95.5. What else was
//! tried is in `docs/decisions/0036-byte-products-at-avx2.md`.
//!
//! A query meets n rows of d with n d / 32 products of bytes, half as many that widen, and n d / 32
//! additions. At two multiplications a cycle (Zen 3 and later) these are .75 n d / 32 cycles, 6,144
//! for 2,048 rows of 128. Rows come from the second-level cache at 32 bytes a cycle (Zen 3; Zen 5
//! has 64), once for all queries of a tile: n d / 32 cycles, 8,192. On a Zen 5 the products take
//! 1.5 µs a query in a tile of four, and 1.8 µs alone.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(test)]
mod tests;

use crate::level::{Level, Simd};

/// Rows of a block: the 32-bit lanes of an AVX-512 register.
pub const BLOCK: usize = 16;
/// Largest dimension whose products fit 32 bits: 255 · 127 · 2¹⁶ < 2³¹.
pub const MAX_D: usize = 1 << 16;
/// Coordinates that lie together: what a 32-bit lane multiplies at a time.
pub(crate) const QUAD: usize = 4;
/// The byte that stores r̂ = 0.
pub(crate) const ZERO: u8 = 128;

/// Bytes of a block of rows of dimension d.
#[inline]
pub fn block_bytes(d: usize) -> usize {
    d.div_ceil(QUAD) * QUAD * BLOCK
}

/// Where coordinate j of row i is in blocks of rows of dimension d.
pub(crate) fn place(d: usize, i: usize, j: usize) -> usize {
    i / BLOCK * block_bytes(d) + (j / QUAD * BLOCK + i % BLOCK) * QUAD + j % QUAD
}

/// Whether a level has 8-bit products.
pub fn has_level(simd: Simd) -> bool {
    cfg!(target_arch = "x86_64") && simd.level() >= Level::Avx2
}

/// A query, or the part of a query that meets rows, as bytes.
#[derive(Clone, Debug, Default)]
pub struct ByteQuery {
    /// The level whose products the bytes fit.
    simd: Option<Simd>,
    pub(crate) d: usize,
    /// Four coordinates a number, padded with zeros to whole registers.
    quads: Vec<i32>,
    /// 128 Σ t̂.
    shift: i32,
    pub(crate) unit: f32,
    /// At least ‖t‖.
    pub(crate) norm: f64,
    /// At least ‖u t̂‖.
    pub(crate) size: f64,
    /// At least ‖f‖.
    pub(crate) error: f64,
}

/// What rounding found, besides the bytes: Σ t̂, and the sums of the squares of t, u t̂ and f.
#[cfg(target_arch = "x86_64")]
struct Filled {
    unit: f32,
    total: i32,
    squares: [f32; 3],
}

impl ByteQuery {
    /// Rounds t = `q` − `centre`, or t = `q` without one.
    ///
    /// # Panics
    /// If the dimensions differ or are above [`MAX_D`], or the level lacks 8-bit products.
    pub fn fill(&mut self, simd: Simd, q: &[f32], centre: Option<&[f32]>) {
        assert!(has_level(simd), "no 8-bit products at level {}", simd.level());
        assert!(q.len() <= MAX_D, "dimension {} overflows a 32-bit sum", q.len());
        assert!(centre.is_none_or(|g| g.len() == q.len()), "vectors of different dimension");
        (self.simd, self.d) = (Some(simd), q.len());
        self.quads.clear();
        self.quads.resize(q.len().div_ceil(16) * 4, 0);
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: only a processor that has the level makes `simd`; there are four quads for
            // each sixteen elements of q, and the centre is as long as q.
            let filled = unsafe {
                match simd.level() {
                    Level::Avx512Vbmi => avx512::fill(q, centre, &mut self.quads),
                    _ => avx2::fill(q, centre, &mut self.quads),
                }
            };
            self.unit = filled.unit;
            self.shift = i32::from(ZERO).wrapping_mul(filled.total);
            // The sums are off by at most one part in 2²⁴ an addition, and by what underflows.
            let above = 1.0 + (q.len().div_ceil(8) + 32) as f64 * f64::from(f32::EPSILON);
            let underflow = (q.len() as f64 * f64::from(f32::MIN_POSITIVE)).sqrt();
            let norm = |square: f32| (f64::from(square).sqrt() + underflow) * above;
            [self.norm, self.size, self.error] = filled.squares.map(norm);
        }
    }

    /// Whether the query was filled for the products of this level.
    pub(crate) fn is_for(&self, simd: Simd) -> bool {
        self.simd == Some(simd)
    }

    /// What rounding may add to the error of a cost, where `largest` is the largest intermediate
    /// value: of t, of the approximation and of the exact float cost. They are d + 16 operations,
    /// each off by at most 2⁻²⁴ of that value ([`f32::EPSILON`] is twice that), or by a fixed
    /// amount where a product underflows.
    pub(crate) fn rounding(&self, largest: f64) -> f64 {
        let each = f64::from(f32::EPSILON) * largest + f64::from(f32::MIN_POSITIVE);
        (self.d + 16) as f64 * each
    }

    /// Four coordinates a number, those of d and no more.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn words(&self) -> &[i32] {
        &self.quads[..self.d.div_ceil(QUAD)]
    }
}
