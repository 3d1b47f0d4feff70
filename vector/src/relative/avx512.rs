//! Bounds with AVX-512 and VNNI: a block of rows at a time.

use std::arch::x86_64::*;

use super::{Cut, Out, Rows, prefetch_next};
use crate::bytes::avx512::{products, products_of_one};
use crate::bytes::{BLOCK, ByteQuery, block_bytes};

/// Appends bounds up to the threshold, and positions.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL, VNNI; the query was filled at this level; `rows` has all its blocks;
/// `out` has room for them and a register more.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,popcnt")]
pub(super) unsafe fn survivors(query: &ByteQuery, rows: &Rows<'_>, cut: &Cut, out: &mut Out<'_>) {
    let blocks = rows.len.div_ceil(BLOCK);
    let stride = block_bytes(query.d);
    // Four blocks are in flight: a sum takes four cycles before it can be added to, and the query's
    // bytes are loaded once for all of them. As many of the next bytes are fetched as are read
    // here.
    let mut block = 0;
    while block + 4 <= blocks {
        let bytes = rows.bytes[block * stride..].as_ptr();
        // SAFETY: this function's own; four blocks are left.
        let [sums] = unsafe {
            products::<1, 4>([query], bytes, |at| prefetch_next(rows, block * stride + at))
        };
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: this function's own.
            unsafe { keep(rows, cut, block + i, sum, out) };
        }
        block += 4;
    }
    while block < blocks {
        let bytes = rows.bytes[block * stride..].as_ptr();
        // SAFETY: this function's own; a block is left.
        unsafe {
            let sum = products_of_one(query, bytes, |at| prefetch_next(rows, block * stride + at));
            keep(rows, cut, block, sum, out);
        }
        block += 1;
    }
}

/// Appends what is kept of a block with these inner products.
///
/// # Safety
/// As [`survivors`]; there is such a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn keep(rows: &Rows<'_>, cut: &Cut, block: usize, products: __m512i, out: &mut Out<'_>) {
    // SAFETY: norms are padded to whole blocks.
    let norm = unsafe { _mm512_loadu_ps(rows.norms.as_ptr().add(block * BLOCK)) };
    let constant = _mm512_set1_ps(cut.constant);
    let rest = _mm512_fmadd_ps(norm, _mm512_set1_ps(cut.weight), constant);
    let product = _mm512_cvtepi32_ps(products);
    let bound = _mm512_fmadd_ps(product, _mm512_set1_ps(cut.factor), rest);
    let left = (rows.len - block * BLOCK).min(BLOCK);
    let some = ((1u32 << left) - 1) as u16;
    let threshold = _mm512_set1_ps(cut.threshold);
    let hits = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(some, bound, threshold);
    if hits == 0 {
        return;
    }
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let here = _mm512_set1_epi32((cut.first as usize + block * BLOCK) as i32);
    let position = _mm512_maskz_compress_epi32(hits, _mm512_add_epi32(lanes, here));
    let Out { bounds, positions } = out;
    let (len, at, more) = (bounds.len(), positions.len(), hits.count_ones() as usize);
    // SAFETY: each block adds at most sixteen; a whole register behind them has room. What the
    // lengths cover was written.
    unsafe {
        let bound = _mm512_maskz_compress_ps(hits, bound);
        _mm512_storeu_ps(bounds.as_mut_ptr().add(len), bound);
        _mm512_storeu_si512(positions.as_mut_ptr().add(at).cast(), position);
        bounds.set_len(len + more);
        positions.set_len(at + more);
    }
}
