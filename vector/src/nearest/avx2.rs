//! Tiles with AVX2.

use std::arch::x86_64::*;

use super::{TILE, Terms, TileCosts, VECTORS, Vector};

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

/// A bit for each cost that does not exceed `limit`.
#[target_feature(enable = "avx2")]
pub(super) fn within(costs: &[f32; TILE], limit: f32) -> u64 {
    let limit = _mm256_set1_ps(limit);
    let mut bits = 0;
    for (i, costs) in costs.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: eight floats.
        let costs = unsafe { _mm256_loadu_ps(costs.as_ptr()) };
        let hits = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(costs, limit));
        bits |= u64::from(hits as u32) << (8 * i);
    }
    bits
}
