//! Byte queries with AVX-512 and VNNI: a register has a quad of sixteen rows.

use std::arch::x86_64::*;

use super::{BLOCK, ByteQuery, Filled, QUAD, block_bytes};

/// Rounds t to `quads`.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL; `quads` has four elements for each sixteen of `q`, and `centre` is as
/// long as `q`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn fill(q: &[f32], centre: Option<&[f32]>, quads: &mut [i32]) -> Filled {
    let parts = q.len().div_ceil(16);
    let part = |i: usize| {
        let left = (q.len() - 16 * i).min(16);
        let mask = ((1u32 << left) - 1) as u16;
        // SAFETY: the mask keeps the load within q.
        let t = unsafe { _mm512_maskz_loadu_ps(mask, q.as_ptr().add(16 * i)) };
        let Some(g) = centre else { return t };
        // SAFETY: as above; the centre is as long as q.
        let g = unsafe { _mm512_maskz_loadu_ps(mask, g.as_ptr().add(16 * i)) };
        _mm512_sub_ps(t, g)
    };
    let mut largest = _mm512_setzero_ps();
    for i in 0..parts {
        largest = _mm512_max_ps(largest, _mm512_abs_ps(part(i)));
    }
    let largest = _mm512_reduce_max_ps(largest);
    // Not below what has a finite inverse.
    let unit = if largest > 0.0 { (largest / 127.0).max(f32::MIN_POSITIVE) } else { 1.0 };
    let (units, inverse) = (_mm512_set1_ps(unit), _mm512_set1_ps(1.0 / unit));
    let mut sums = [_mm512_setzero_ps(); 3];
    let mut total = _mm512_setzero_si512();
    for i in 0..parts {
        let t = part(i);
        let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(t, inverse));
        let value = _mm512_mul_ps(_mm512_cvtepi32_ps(rounded), units);
        let error = _mm512_sub_ps(t, value);
        for (sum, x) in sums.iter_mut().zip([t, value, error]) {
            *sum = _mm512_fmadd_ps(x, x, *sum);
        }
        total = _mm512_add_epi32(total, rounded);
        let bytes = _mm512_cvtsepi32_epi8(rounded);
        // SAFETY: there are sixteen bytes for each part.
        unsafe { _mm_storeu_si128(quads.as_mut_ptr().add(4 * i).cast(), bytes) };
    }
    let squares = sums.map(|sum| _mm512_reduce_add_ps(sum));
    Filled { unit, total: _mm512_reduce_add_epi32(total), squares }
}

/// ⟨t̂, r̂⟩ of each query with each row of the `G` blocks at `rows`: a quad is loaded once for all
/// queries, and that of a query once for all blocks. `fetch` is told of each line of rows.
///
/// # Safety
/// AVX-512 F and VNNI; so many blocks of the queries' dimension, which is the same of all, are
/// there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn products<const Q: usize, const G: usize>(
    queries: [&ByteQuery; Q],
    rows: *const u8,
    fetch: impl Fn(usize),
) -> [[__m512i; G]; Q] {
    let stride = block_bytes(queries[0].d);
    let quads = queries[0].words().len();
    // What rows and query owe for being stored as they are is paid in advance.
    let mut sums: [[__m512i; G]; Q] =
        std::array::from_fn(|i| [_mm512_set1_epi32(queries[i].shift.wrapping_neg()); G]);
    for quad in 0..quads {
        let at = quad * BLOCK * QUAD;
        let mut row = [_mm512_setzero_si512(); G];
        for (g, row) in row.iter_mut().enumerate() {
            fetch(g * stride + at);
            // SAFETY: each block has 64 bytes for each quad.
            *row = unsafe { _mm512_loadu_si512(rows.add(g * stride + at).cast()) };
        }
        for i in 0..Q {
            // SAFETY: queries of one dimension have as many words.
            let four = _mm512_set1_epi32(unsafe { *queries[i].words().get_unchecked(quad) });
            for g in 0..G {
                sums[i][g] = _mm512_dpbusd_epi32(sums[i][g], row[g], four);
            }
        }
    }
    sums
}

/// [`products`] of one query and one block, in four sums: each takes four cycles before it can be
/// added to.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn products_of_one(
    query: &ByteQuery,
    rows: *const u8,
    fetch: impl Fn(usize),
) -> __m512i {
    let mut sums = [_mm512_setzero_si512(); 4];
    sums[0] = _mm512_set1_epi32(query.shift.wrapping_neg());
    for (quad, &four) in query.words().iter().enumerate() {
        let at = quad * BLOCK * QUAD;
        fetch(at);
        // SAFETY: a block has 64 bytes a quad.
        let row = unsafe { _mm512_loadu_si512(rows.add(at).cast()) };
        sums[quad % 4] = _mm512_dpbusd_epi32(sums[quad % 4], row, _mm512_set1_epi32(four));
    }
    let [a, b, c, d] = sums;
    _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d))
}
