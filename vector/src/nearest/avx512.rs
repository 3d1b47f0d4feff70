//! Tiles with AVX-512, with and without VNNI.

use std::arch::x86_64::*;

use super::{TILE, Terms, TileCosts, VECTORS, Vector};

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

/// A bit for each cost that does not exceed `limit`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn within(costs: &[f32; TILE], limit: f32) -> u64 {
    let limit = _mm512_set1_ps(limit);
    let mut bits = 0;
    for (i, costs) in costs.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: sixteen floats.
        let costs = unsafe { _mm512_loadu_ps(costs.as_ptr()) };
        bits |= u64::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(costs, limit)) << (16 * i);
    }
    bits
}
