//! Refined scores in registers: each row is decoded sixteen coordinates at a time and compared at
//! once.
//!
//! The sixteen partial sums of [`crate::dense::LANES`] are one register of AVX-512 or two of AVX2,
//! to which a row adds d / 16 times; the next row's loads do not wait for that. Nothing is written
//! to memory on the way, so nothing waits for a store that was shorter than the load after it.

use std::arch::x86_64::{__m256, __m512};

use super::{Finer, Row, Tables};
use crate::level::{Level, Simd};
use crate::sixteen::Sixteen;

/// Finer codes as a constant: bytes of scalars, halves, or else the dsub of a quantizer.
pub(super) const SQ8: usize = 100;
pub(super) const F16: usize = 200;

/// Writes the squared distance (`L2`) or inner product of `q` with each decoded row to `out` (n,).
/// `FIRST` is the dsub of the first quantizer, 8 bits a code; `FINE` is [`SQ8`], [`F16`] or the
/// dsub of the second.
///
/// # Safety
/// The level is AVX2 at least. Shapes fit (see [`super::scores`]), d is a multiple of 16, `FIRST`
/// and a quantizer's `FINE` are 2, 4, 8 or 16.
pub(super) unsafe fn scores<const FIRST: usize, const FINE: usize, const L2: bool>(
    simd: Simd,
    q: &[f32],
    tables: &Tables<'_>,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) {
    // SAFETY: the level and the caller's promise.
    unsafe {
        if simd.level() >= Level::Avx512 {
            avx512::<FIRST, FINE, L2>(q, tables, rows, out);
        } else {
            avx2::<FIRST, FINE, L2>(q, tables, rows, out);
        }
    }
}

/// # Safety
/// AVX-512 F, BW, DQ, VL; else as [`scores`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<const FIRST: usize, const FINE: usize, const L2: bool>(
    q: &[f32],
    tables: &Tables<'_>,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) {
    // SAFETY: this function's own.
    unsafe { all::<__m512, FIRST, FINE, L2>(q, tables, rows, out) }
}

/// # Safety
/// AVX2 and F16C; else as [`scores`].
#[target_feature(enable = "avx2,f16c")]
unsafe fn avx2<const FIRST: usize, const FINE: usize, const L2: bool>(
    q: &[f32],
    tables: &Tables<'_>,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) {
    // SAFETY: this function's own.
    unsafe { all::<[__m256; 2], FIRST, FINE, L2>(q, tables, rows, out) }
}

/// # Safety
/// The level of `V`; else as [`scores`].
#[inline(always)]
unsafe fn all<V: Sixteen, const FIRST: usize, const FINE: usize, const L2: bool>(
    q: &[f32],
    tables: &Tables<'_>,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) {
    out.reserve(rows.len());
    for row in rows {
        // SAFETY: this function's own; sixteen floats of `q`.
        unsafe {
            let mut sum = V::zero();
            for (step, q) in q.as_chunks::<16>().0.iter().enumerate() {
                let (q, z) = (V::load(q.as_ptr()), decoded::<V, FIRST, FINE>(tables, row, step));
                let term = if L2 {
                    let difference = q.sub(z);
                    difference.mul(difference)
                } else {
                    q.mul(z)
                };
                sum = sum.add(term);
            }
            out.push(sum.reduce());
        }
    }
}

/// Sixteen coordinates of a decoded row, from 16 · `step` on.
///
/// # Safety
/// As [`all`]; there are so many.
#[inline(always)]
unsafe fn decoded<V: Sixteen, const FIRST: usize, const FINE: usize>(
    tables: &Tables<'_>,
    row: &Row<'_>,
    step: usize,
) -> V {
    const KSUB: usize = 256;
    let (code, fine) = (row.code.as_ptr(), row.fine.as_ptr());
    // SAFETY: centroid, scalars and halves have d elements, of which sixteen begin at 16 · step;
    // codes have a byte for each sub-quantizer, which is below KSUB, and each sub-quantizer has
    // words for that.
    unsafe {
        let word = |books: *const f32, dsub: usize, w: usize, code: *const u8| {
            let j = step * (16 / dsub) + w;
            books.add((j * KSUB + usize::from(*code.add(j))) * dsub)
        };
        if FINE == F16 {
            return V::halves(fine.add(32 * step));
        }
        let first = tables.codebooks.as_ptr();
        let coarse = V::words::<FIRST>(|w| word(first, FIRST, w, code));
        let z = V::load(row.centroid.as_ptr().add(16 * step)).add(coarse);
        let rest = match tables.finer {
            Finer::Sq8 { linear, cubic } if FINE == SQ8 => {
                let t = V::bytes(fine.add(16 * step)).sub(V::splat(127.5));
                let linear = V::load(linear.as_ptr().add(16 * step));
                let cubic = V::load(cubic.as_ptr().add(16 * step));
                t.mul(linear.add(cubic.mul(t.mul(t))))
            }
            Finer::Pq { codebooks, .. } if FINE != SQ8 => {
                V::words::<FINE>(|w| word(codebooks.as_ptr(), FINE, w, fine))
            }
            // `FINE` says which of them.
            _ => V::zero(),
        };
        z.add(rest)
    }
}
