//! Shortlists with AVX-512 and VNNI: a block of rows at a time.

use std::arch::x86_64::*;

use super::{Buffers, ByteRows};
use crate::bytes::avx512::products;
use crate::bytes::{BLOCK, ByteQuery, block_bytes};
use crate::smallest::kth_smallest_at_most_avx512;

/// The shortlists of filled queries.
///
/// # Safety
/// AVX-512 with VNNI; queries of d elements were filled at this level; `lower` has one element a
/// padded row, `minima` a multiple of sixteen, the same of all; `rows` is empty and has room for
/// every padded row and sixteen more.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn shortlists<const Q: usize>(
    rows: &ByteRows,
    wanted: usize,
    buffers: &mut [&mut Buffers; Q],
) {
    let blocks = rows.scales.len() / BLOCK;
    let mut block = 0;
    // SAFETY: as this function; so many blocks are left.
    unsafe {
        if Q <= 2 {
            while block + 4 <= blocks {
                bounds::<Q, 4>(rows, block, buffers);
                block += 4;
            }
        }
        while block + 2 <= blocks {
            bounds::<Q, 2>(rows, block, buffers);
            block += 2;
        }
        if block < blocks {
            bounds::<Q, 1>(rows, block, buffers);
        }
    }
    for Buffers { rows: out, lower, minima, .. } in buffers {
        // SAFETY: `out` has room for every row.
        unsafe {
            let reached = kth_smallest_at_most_avx512(minima, wanted);
            at_most(lower, reached, out);
        }
    }
}

/// Lower bounds of the cost of every row of the blocks `first..first + G`, padding included; and
/// minima of the upper bounds, where block b goes to the sixteen at b modulo their number. A
/// query's word is spread over a register once for all blocks, and no product waits for the one
/// before it.
///
/// # Safety
/// As [`shortlists`]; there are so many blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn bounds<const Q: usize, const G: usize>(
    rows: &ByteRows,
    first: usize,
    buffers: &mut [&mut Buffers; Q],
) {
    let rounds = buffers[0].minima.len() / BLOCK;
    let queries: [&ByteQuery; Q] = std::array::from_fn(|i| &buffers[i].query);
    let bytes = rows.bytes[first * block_bytes(rows.d)..].as_ptr();
    // SAFETY: so many blocks lie there.
    let sums = unsafe { products::<Q, G>(queries, bytes, |_| {}) };
    let mut round = first % rounds;
    for g in 0..G {
        let block = first + g;
        // SAFETY: the numbers of each row, and the outputs, have sixteen elements a block or round.
        unsafe {
            let of_row = |v: &[f32]| _mm512_loadu_ps(v.as_ptr().add(block * BLOCK));
            let (scales, norms_sq) = (of_row(&rows.scales), of_row(&rows.norms_sq));
            let (errors, norms) = (of_row(&rows.errors), of_row(&rows.norms));
            for i in 0..Q {
                let margin = buffers[i].margin;
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][g]), scales);
                let norm_sq = _mm512_mul_ps(norms_sq, _mm512_set1_ps(margin.weight));
                let cost = _mm512_fmadd_ps(product, _mm512_set1_ps(margin.factor), norm_sq);
                let by_error = _mm512_set1_ps(margin.by_error);
                let half = _mm512_fmadd_ps(errors, by_error, _mm512_set1_ps(margin.rounding));
                let half = _mm512_fmadd_ps(norms, _mm512_set1_ps(margin.by_norm), half);
                let (low, high) = (_mm512_sub_ps(cost, half), _mm512_add_ps(cost, half));
                let Buffers { lower, minima, .. } = &mut *buffers[i];
                _mm512_storeu_ps(lower.as_mut_ptr().add(block * BLOCK), low);
                // Where a bound of padding is not a number, the minimum is the second.
                let minima = minima.as_mut_ptr().add(round * BLOCK);
                _mm512_storeu_ps(minima, _mm512_min_ps(high, _mm512_loadu_ps(minima)));
            }
        }
        round = if round + 1 == rounds { 0 } else { round + 1 };
    }
}

/// Appends the indices of all `values`, a multiple of sixteen, up to `limit`. Most parts have none,
/// but a branch that asks costs more than it saves.
///
/// # Safety
/// AVX-512 F; `out` has room for sixteen more than there are values.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn at_most(values: &[f32], limit: f32, out: &mut Vec<u32>) {
    let limits = _mm512_set1_ps(limit);
    let mut ids = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut len = out.len();
    for part in values.as_chunks::<BLOCK>().0 {
        // SAFETY: a part is sixteen floats. The store writes sixteen elements, of which those that
        // count come first: room for them is the caller's part.
        unsafe {
            let part = _mm512_loadu_ps(part.as_ptr());
            let found = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(part, limits);
            let packed = _mm512_maskz_compress_epi32(found, ids);
            _mm512_storeu_si512(out.as_mut_ptr().add(len).cast(), packed);
            len += found.count_ones() as usize;
        }
        ids = _mm512_add_epi32(ids, _mm512_set1_epi32(BLOCK as i32));
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}
