//! Byte queries with AVX2: two registers have a quad of sixteen rows.

use std::arch::x86_64::*;

use super::{BLOCK, ByteQuery, Filled, QUAD, block_bytes};

/// Lanes of a register.
const WIDE: usize = 8;

/// Rounds t to `quads`, with a unit for which no sum of four products overflows.
///
/// # Safety
/// AVX2; `quads` has two elements for each eight of `q`, and `centre` is as long as `q`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn fill(q: &[f32], centre: Option<&[f32]>, quads: &mut [i32]) -> Filled {
    let parts = q.len().div_ceil(WIDE);
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let part = |i: usize| {
        let (first, left) = (WIDE * i, q.len() - WIDE * i);
        let load = |x: &[f32]| {
            // SAFETY: the centre is as long as q. There are eight elements or more, or the mask
            // keeps the load within what is left.
            unsafe {
                let at = x.as_ptr().add(first);
                if left >= WIDE {
                    _mm256_loadu_ps(at)
                } else {
                    let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left as i32), lanes);
                    _mm256_maskload_ps(at, mask)
                }
            }
        };
        centre.map_or(load(q), |g| _mm256_sub_ps(load(q), load(g)))
    };
    // The sum of the positive or negative elements of a place that are multiplied before a sum is
    // widened: those of a pair, and of the pair four coordinates on.
    let zero = _mm256_setzero_ps();
    let of_places = |x: __m256| {
        let pair = _mm256_add_ps(x, _mm256_shuffle_ps::<0b10_11_00_01>(x, x));
        _mm256_add_ps(pair, _mm256_permute2f128_ps::<1>(pair, pair))
    };
    let mut largest = zero;
    for i in 0..parts {
        let t = part(i);
        let above = of_places(_mm256_max_ps(t, zero));
        let below = of_places(_mm256_min_ps(t, zero));
        largest = _mm256_max_ps(largest, _mm256_max_ps(above, _mm256_sub_ps(zero, below)));
    }
    let largest = max_of(largest);
    // Not below what has a finite inverse.
    let unit = if largest > 0.0 { (largest / 126.0).max(f32::MIN_POSITIVE) } else { 1.0 };
    let (units, inverse) = (_mm256_set1_ps(unit), _mm256_set1_ps(1.0 / unit));
    // The last is Σ t̂: whole numbers, below 2²⁴ up to the largest d.
    let mut sums = [zero; 4];
    for i in 0..parts {
        let t = part(i);
        let rounded = _mm256_cvtps_epi32(_mm256_mul_ps(t, inverse));
        let whole = _mm256_cvtepi32_ps(rounded);
        let value = _mm256_mul_ps(whole, units);
        let error = _mm256_sub_ps(t, value);
        for (sum, x) in sums.iter_mut().zip([t, value, error]) {
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(x, x));
        }
        sums[3] = _mm256_add_ps(sums[3], whole);
        let (low, high) = (_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded));
        let words = _mm_packs_epi32(low, high);
        // SAFETY: there are eight bytes for each part.
        unsafe {
            _mm_storel_epi64(quads.as_mut_ptr().add(2 * i).cast(), _mm_packs_epi16(words, words));
        }
    }
    let [t, value, error, total] = sums_of(sums);
    Filled { unit, total: total as i32, squares: [t, value, error] }
}

/// The largest of eight.
#[inline]
#[target_feature(enable = "avx2")]
fn max_of(x: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// The sum of each register.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
    let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
    let mut out = [0.0; 4];
    // SAFETY: four floats.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

/// ⟨t̂, r̂⟩ of each query with each row of the `G` blocks at `rows`, eight rows a register: a quad
/// is loaded once for all queries, and that of a query once for all blocks. `fetch` is told of each
/// line of rows.
///
/// # Safety
/// AVX2; so many blocks of the queries' dimension, which is the same of all, are there, and the
/// queries were filled at this level.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn products<const Q: usize, const G: usize>(
    queries: [&ByteQuery; Q],
    rows: *const u8,
    fetch: impl Fn(usize),
) -> [[[__m256i; 2]; G]; Q] {
    let stride = block_bytes(queries[0].d);
    let quads = queries[0].words().len();
    // SAFETY: queries of one dimension have as many words.
    let word = |i: usize, quad: usize| unsafe {
        _mm256_set1_epi32(*queries[i].words().get_unchecked(quad))
    };
    let ones = _mm256_set1_epi16(1);
    // What rows and query owe for being stored as they are is paid in advance.
    let mut sums: [[[__m256i; 2]; G]; Q] =
        std::array::from_fn(|i| [[_mm256_set1_epi32(queries[i].shift.wrapping_neg()); 2]; G]);
    // One more addition, and half as many that widen.
    for quad in (0..quads - quads % 2).step_by(2) {
        let at = quad * BLOCK * QUAD;
        for g in 0..G {
            fetch(g * stride + at);
            fetch(g * stride + at + BLOCK * QUAD);
        }
        for i in 0..Q {
            let a = word(i, quad);
            let b = word(i, quad + 1);
            for g in 0..G {
                for half in 0..2 {
                    // SAFETY: each block has 64 bytes for each quad.
                    let (x, y) = unsafe {
                        let row = rows.add(g * stride + at + 32 * half);
                        let next = row.add(BLOCK * QUAD);
                        (_mm256_loadu_si256(row.cast()), _mm256_loadu_si256(next.cast()))
                    };
                    let (x, y) = (_mm256_maddubs_epi16(x, a), _mm256_maddubs_epi16(y, b));
                    let sum = &mut sums[i][g][half];
                    let four = _mm256_madd_epi16(_mm256_add_epi16(x, y), ones);
                    *sum = _mm256_add_epi32(*sum, four);
                }
            }
        }
    }
    if quads % 2 == 1 {
        let at = (quads - 1) * BLOCK * QUAD;
        for i in 0..Q {
            let a = word(i, quads - 1);
            for g in 0..G {
                for half in 0..2 {
                    let at = rows.wrapping_add(g * stride + at + 32 * half);
                    // SAFETY: as above.
                    let x = unsafe { _mm256_loadu_si256(at.cast()) };
                    let two = _mm256_madd_epi16(_mm256_maddubs_epi16(x, a), ones);
                    sums[i][g][half] = _mm256_add_epi32(sums[i][g][half], two);
                }
            }
        }
    }
    sums
}
