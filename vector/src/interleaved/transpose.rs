//! From a table for each query to tables with the queries side by side.

use super::KSUB;
use crate::level::{Level, Simd, compiled_for_each_level};

/// Entries of a square that is transposed at once.
const SIDE: usize = 16;

/// Writes the entries of `lanes`, each (n,), to `out` (n, width); queries past the lanes get 0.
pub(super) fn interleave(simd: Simd, lanes: &[&[u8]], width: usize, out: &mut [u8]) {
    let n = lanes[0].len();
    assert!(out.len() == n * width && lanes.len() <= width && n.is_multiple_of(SIDE));
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 | Level::Avx512Vbmi => {
            for (half, lanes) in lanes.chunks(32).enumerate() {
                // SAFETY: only a processor that has the level makes `simd`; shapes were compared
                // above, and each half of a row is 32 bytes.
                unsafe { interleave_avx2(lanes, n, width, &mut out[32 * half..]) };
            }
        }
        _ => {
            for (i, row) in out.chunks_exact_mut(width).enumerate() {
                row.fill(0);
                row.iter_mut().zip(lanes).for_each(|(out, lane)| *out = lane[i]);
            }
        }
    }
}

/// Writes up to 32 queries to the first 32 bytes of each row of `width`.
///
/// Four rounds that zip the first half of sixteen registers with the second turn the bits of their
/// numbers into bits of the bytes' numbers, and the other way round.
///
/// # Safety
/// AVX2; up to 32 lanes of n entries, a multiple of [`SIDE`]; `out` has n rows but for what of the
/// last row lies behind its first 32 bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn interleave_avx2(lanes: &[&[u8]], n: usize, width: usize, out: &mut [u8]) {
    use std::arch::x86_64::*;
    let none = [0u8; SIDE];
    // Queries that are missing read zeros that do not move on.
    let of = |q: usize| lanes.get(q).map_or((none.as_ptr(), 0), |lane| (lane.as_ptr(), 1));
    let from: [(*const u8, usize); 32] = std::array::from_fn(of);
    for at in (0..n).step_by(SIDE) {
        let mut x: [__m256i; SIDE] = std::array::from_fn(|q| {
            // SAFETY: sixteen entries of a query, or the zeros.
            unsafe {
                let part =
                    |(from, step): (*const u8, usize)| _mm_loadu_si128(from.add(at * step).cast());
                _mm256_set_m128i(part(from[q + SIDE]), part(from[q]))
            }
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
            // SAFETY: row `at + i` has 32 bytes here.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add((at + i) * width).cast(), x) };
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
