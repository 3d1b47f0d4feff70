//! Refined scores in registers: each row is decoded sixteen coordinates at a time and compared at
//! once.
//!
//! The sixteen partial sums of [`crate::dense::LANES`] are one register, to which a row adds d / 16
//! times; the next row's loads do not wait for that. Nothing is written to memory on the way, so
//! nothing waits for a store that was shorter than the load after it.

use std::arch::x86_64::*;

use super::{Finer, Row, Tables};
use crate::rows::reduce512;

/// Finer codes as a constant: bytes of scalars, halves, or else the dsub of a quantizer.
pub(super) const SQ8: usize = 100;
pub(super) const F16: usize = 200;

/// Sixteen floats: the words of `DSUB` floats at `of(0)`, `of(1)`, …, one after the other.
///
/// # Safety
/// AVX-512 F, DQ, VL; each word has `DSUB` floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn words<const DSUB: usize>(of: impl Fn(usize) -> *const f32) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let eight = |low: __m128, high: __m128| _mm256_set_m128(high, low);
        let sixteen =
            |low: __m256, high: __m256| _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high);
        match DSUB {
            2 => {
                let pair = |w: usize| {
                    let low = _mm_castpd_ps(_mm_load_sd(of(w).cast()));
                    with_upper(low, of(w + 1))
                };
                sixteen(eight(pair(0), pair(2)), eight(pair(4), pair(6)))
            }
            4 => {
                let four = |w: usize| _mm_loadu_ps(of(w));
                sixteen(eight(four(0), four(1)), eight(four(2), four(3)))
            }
            8 => sixteen(_mm256_loadu_ps(of(0)), _mm256_loadu_ps(of(1))),
            _ => _mm512_loadu_ps(of(0)),
        }
    }
}

/// `low` with the two floats at `at` as its upper half.
///
/// # Safety
/// Two floats at `at`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn with_upper(low: __m128, at: *const f32) -> __m128 {
    // SAFETY: the caller's promise.
    unsafe { _mm_castpd_ps(_mm_loadh_pd(_mm_castps_pd(low), at.cast())) }
}

/// Writes the squared distance (`L2`) or inner product of `q` with each decoded row to `out` (n,).
/// `FIRST` is the dsub of the first quantizer, 8 bits a code; `FINE` is [`SQ8`], [`F16`] or the
/// dsub of the second.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL. Shapes fit (see [`super::scores`]), d is a multiple of 16, `FIRST` and a
/// quantizer's `FINE` are 2, 4, 8 or 16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn scores<const FIRST: usize, const FINE: usize, const L2: bool>(
    q: &[f32],
    tables: &Tables<'_>,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) {
    const KSUB: usize = 256;
    let first = tables.codebooks.as_ptr();
    let (a, b) = match tables.finer {
        Finer::Pq { codebooks, .. } => (codebooks.as_ptr(), codebooks.as_ptr()),
        Finer::Sq8 { linear, cubic } => (linear.as_ptr(), cubic.as_ptr()),
        Finer::F16 | Finer::Cosine => (first, first),
    };
    let half = _mm512_set1_ps(127.5);
    out.reserve(rows.len());
    for row in rows {
        let (code, fine, centroid) = (row.code.as_ptr(), row.fine.as_ptr(), row.centroid.as_ptr());
        let mut sum = _mm512_setzero_ps();
        for (step, q) in q.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: centroid, scalars and halves have d elements, of which sixteen begin at 16 ·
            // step; codes have a byte for each sub-quantizer, which is below KSUB, and each
            // sub-quantizer has words for that.
            let z = unsafe {
                let decoded = |books: *const f32, dsub: usize, j: usize, code: *const u8| {
                    books.add((j * KSUB + usize::from(*code)) * dsub)
                };
                if FINE == F16 {
                    _mm512_cvtph_ps(_mm256_loadu_si256(fine.add(32 * step).cast()))
                } else {
                    let coarse = words::<FIRST>(|w| {
                        let j = step * (16 / FIRST) + w;
                        decoded(first, FIRST, j, code.add(j))
                    });
                    let z = _mm512_add_ps(_mm512_loadu_ps(centroid.add(16 * step)), coarse);
                    let rest = if FINE == SQ8 {
                        let bytes = _mm_loadu_si128(fine.add(16 * step).cast());
                        let t = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
                        let t = _mm512_sub_ps(t, half);
                        let linear = _mm512_loadu_ps(a.add(16 * step));
                        let cubic = _mm512_loadu_ps(b.add(16 * step));
                        let growing = _mm512_mul_ps(cubic, _mm512_mul_ps(t, t));
                        _mm512_mul_ps(t, _mm512_add_ps(linear, growing))
                    } else {
                        words::<FINE>(|w| {
                            let j = step * (16 / FINE) + w;
                            decoded(a, FINE, j, fine.add(j))
                        })
                    };
                    _mm512_add_ps(z, rest)
                }
            };
            // SAFETY: sixteen floats.
            let q = unsafe { _mm512_loadu_ps(q.as_ptr()) };
            let term = if L2 {
                let difference = _mm512_sub_ps(q, z);
                _mm512_mul_ps(difference, difference)
            } else {
                _mm512_mul_ps(q, z)
            };
            sum = _mm512_add_ps(sum, term);
        }
        out.push(reduce512(sum));
    }
}
