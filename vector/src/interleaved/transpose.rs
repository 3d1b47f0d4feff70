//! From a table for each query to tables with the queries side by side.

use super::KSUB;
use crate::level::{Level, Simd, compiled_for_each_level};

/// Queries whose tables are interleaved at once.
const SIDE: usize = 16;

/// Writes the entries of `lanes`, each (n,), to `out` (n, width). What is written for queries past
/// the lanes has no meaning.
///
/// # Panics
/// If the shapes do not fit together.
pub(super) fn interleave(simd: Simd, lanes: &[&[u8]], width: usize, out: &mut [u8]) {
    let n = lanes[0].len();
    assert!(out.len() == n * width && lanes.len() <= width && width.is_multiple_of(SIDE));
    assert!(n.is_multiple_of(2 * SIDE) && lanes.iter().all(|lane| lane.len() == n));
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 | Level::Avx512Vbmi => {
            // Column by column, whose rows stay in the first-level cache meanwhile.
            for (column, out) in out.chunks_mut(KSUB * width).enumerate() {
                let entries = column * KSUB..((column + 1) * KSUB).min(n);
                for (i, lanes) in lanes.chunks(SIDE).enumerate() {
                    // SAFETY: only a processor that has the level makes `simd`; shapes were
                    // compared above, and each group of queries has its 16 bytes of a row.
                    unsafe { interleave_avx2(lanes, entries.clone(), width, &mut out[SIDE * i..]) };
                }
            }
        }
        _ => {
            for (i, row) in out.chunks_exact_mut(width).enumerate() {
                row.iter_mut().zip(lanes).for_each(|(out, lane)| *out = lane[i]);
            }
        }
    }
}

/// Writes some `entries` of up to 16 queries to the first 16 bytes of each row of `width`.
///
/// Each half of a register is a row of a square of 16 by 16 bytes. Four rounds that zip the first
/// half of the rows with the second turn the bits of a row's number into those of a byte's number,
/// and the other way round.
///
/// # Safety
/// AVX2; up to 16 lanes that have these entries, a multiple of 32; `out` has a row for each but for
/// what of the last row lies behind its first 16 bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn interleave_avx2(
    lanes: &[&[u8]],
    entries: std::ops::Range<usize>,
    width: usize,
    out: &mut [u8],
) {
    use std::arch::x86_64::*;
    // Of a query that is missing, another one's entries are as good as any.
    let from: [*const u8; SIDE] =
        std::array::from_fn(|q| lanes.get(q).unwrap_or(&lanes[0])[entries.clone()].as_ptr());
    let out = out.as_mut_ptr();
    for at in (0..entries.len()).step_by(2 * SIDE) {
        let mut x: [__m256i; SIDE] = std::array::from_fn(|q| {
            // SAFETY: each query has so many entries.
            unsafe { _mm256_loadu_si256(from[q].add(at).cast()) }
        });
        for _ in 0..4 {
            let mut y = [_mm256_setzero_si256(); SIDE];
            for i in 0..SIDE / 2 {
                y[2 * i] = _mm256_unpacklo_epi8(x[i], x[i + SIDE / 2]);
                y[2 * i + 1] = _mm256_unpackhi_epi8(x[i], x[i + SIDE / 2]);
            }
            x = y;
        }
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: rows `at + i` and `at + 16 + i` have 16 bytes here.
            unsafe {
                let row = out.add((at + i) * width);
                _mm_storeu_si128(row.cast(), _mm256_castsi256_si128(x));
                _mm_storeu_si128(row.add(SIDE * width).cast(), _mm256_extracti128_si256::<1>(x));
            }
        }
    }
}

compiled_for_each_level! {
    /// Writes what a row's term adds to each query's sum, (256, width), from the queries' factors
    /// (width,).
    ///
    /// # Panics
    /// If the shapes differ.
    pub(super) fn terms(factors: &[u16], out: &mut [u8]) = terms_any;
}

/// The definition.
#[inline(always)]
fn terms_any(factors: &[u16], out: &mut [u8]) {
    assert_eq!(out.len(), KSUB * factors.len(), "a column of another shape");
    for (byte, row) in (0u32..).zip(out.chunks_exact_mut(factors.len())) {
        for (out, &factor) in row.iter_mut().zip(factors) {
            *out = ((byte * u32::from(factor)) >> 8).min(255) as u8;
        }
    }
}
