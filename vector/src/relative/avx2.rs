//! Bounds with AVX2: a block of rows at a time, in two halves.

use std::arch::x86_64::*;

use super::{Cut, Out, Rows, prefetch_next};
use crate::bytes::avx2::products;
use crate::bytes::{BLOCK, ByteQuery, block_bytes};
use crate::lanes::places_of;

/// Lanes of a register.
const WIDE: usize = 8;

/// Appends bounds up to the threshold, and positions.
///
/// # Safety
/// AVX2; the query was filled at this level; `rows` has all its blocks; `out` has room for them and
/// a block more.
#[target_feature(enable = "avx2,popcnt")]
pub(super) unsafe fn survivors(query: &ByteQuery, rows: &Rows<'_>, cut: &Cut, out: &mut Out<'_>) {
    let blocks = rows.len.div_ceil(BLOCK);
    // As many of the next bytes are fetched as are read here.
    let mut block = 0;
    // SAFETY: as this function; so many blocks are left.
    unsafe {
        while block + 4 <= blocks {
            several::<4>(query, rows, cut, block, out);
            block += 4;
        }
        while block < blocks {
            several::<1>(query, rows, cut, block, out);
            block += 1;
        }
    }
}

/// [`survivors`] of the blocks `first..first + G`.
///
/// # Safety
/// As there; there are so many blocks.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn several<const G: usize>(
    query: &ByteQuery,
    rows: &Rows<'_>,
    cut: &Cut,
    first: usize,
    out: &mut Out<'_>,
) {
    let begin = first * block_bytes(query.d);
    let bytes = rows.bytes[begin..].as_ptr();
    // SAFETY: so many blocks lie there.
    let [sums] = unsafe { products::<1, G>([query], bytes, |at| prefetch_next(rows, begin + at)) };
    for (g, halves) in sums.into_iter().enumerate() {
        for (half, sum) in halves.into_iter().enumerate() {
            // SAFETY: as this function; the block has two halves.
            unsafe { keep(rows, cut, (first + g) * BLOCK + half * WIDE, sum, out) };
        }
    }
}

/// Appends what is kept of the eight rows from `at` on, with these inner products.
///
/// # Safety
/// As [`survivors`]; there are such rows, padding included.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn keep(rows: &Rows<'_>, cut: &Cut, at: usize, products: __m256i, out: &mut Out<'_>) {
    // SAFETY: norms are padded to whole blocks.
    let norm = unsafe { _mm256_loadu_ps(rows.norms.as_ptr().add(at)) };
    let norm = _mm256_mul_ps(norm, _mm256_set1_ps(cut.weight));
    let rest = _mm256_add_ps(norm, _mm256_set1_ps(cut.constant));
    let product = _mm256_mul_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(cut.factor));
    let bound = _mm256_add_ps(product, rest);
    let hits = _mm256_cmp_ps::<_CMP_LE_OQ>(bound, _mm256_set1_ps(cut.threshold));
    let some = (1u32 << rows.len.saturating_sub(at).min(WIDE)) - 1;
    let hits = _mm256_movemask_ps(hits) as u32 & some;
    if hits == 0 {
        return;
    }
    let places = places_of(hits);
    let here = _mm256_set1_epi32((cut.first as usize + at) as i32);
    let Out { bounds, positions } = out;
    let (len, to, more) = (bounds.len(), positions.len(), hits.count_ones() as usize);
    // SAFETY: each half adds at most eight; a whole register behind them has room. What the lengths
    // cover was written.
    unsafe {
        let bound = _mm256_permutevar8x32_ps(bound, places);
        _mm256_storeu_ps(bounds.as_mut_ptr().add(len), bound);
        let position = _mm256_add_epi32(places, here);
        _mm256_storeu_si256(positions.as_mut_ptr().add(to).cast(), position);
        bounds.set_len(len + more);
        positions.set_len(to + more);
    }
}
