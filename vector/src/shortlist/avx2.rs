//! Shortlists with AVX2: a block of rows at a time, in two halves.

use std::arch::x86_64::*;

use super::{Buffers, ByteRows};
use crate::bytes::avx2::products;
use crate::bytes::{BLOCK, ByteQuery, block_bytes};
use crate::lanes::places_of;
use crate::smallest::kth_smallest_at_most_avx2;

/// Lanes of a register.
const WIDE: usize = 8;

/// The shortlists of filled queries.
///
/// # Safety
/// AVX2; queries of d elements were filled at this level; `lower` has one element a padded row,
/// `minima` a multiple of sixteen, the same of all; `rows` is empty and has room for every padded
/// row and sixteen more.
#[target_feature(enable = "avx2,popcnt")]
pub(super) unsafe fn shortlists<const Q: usize>(
    rows: &ByteRows,
    wanted: usize,
    buffers: &mut [&mut Buffers; Q],
) {
    let blocks = rows.scales.len() / BLOCK;
    let mut block = 0;
    // As many sums as there are registers for, besides those that they are made of.
    // SAFETY: as this function; so many blocks are left.
    unsafe {
        if Q == 1 {
            while block + 4 <= blocks {
                bounds::<Q, 4>(rows, block, buffers);
                block += 4;
            }
        }
        if Q <= 2 {
            while block + 2 <= blocks {
                bounds::<Q, 2>(rows, block, buffers);
                block += 2;
            }
        }
        while block < blocks {
            bounds::<Q, 1>(rows, block, buffers);
            block += 1;
        }
    }
    for Buffers { rows: out, lower, minima, .. } in buffers {
        // SAFETY: `out` has room for every padded row and more.
        unsafe {
            let reached = kth_smallest_at_most_avx2(minima, wanted);
            at_most(lower, reached, out);
        }
    }
}

/// Lower bounds of the cost of every row of the blocks `first..first + G`, padding included; and
/// minima of the upper bounds, where block b goes to the sixteen at b modulo their number.
///
/// # Safety
/// As [`shortlists`]; there are so many blocks.
#[inline]
#[target_feature(enable = "avx2")]
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
        for half in 0..2 {
            let (at, to) = ((first + g) * BLOCK + half * WIDE, round * BLOCK + half * WIDE);
            // SAFETY: the numbers of each row, and the outputs, have sixteen elements a block or
            // round, of which these are one half.
            unsafe {
                let of_row = |v: &[f32]| _mm256_loadu_ps(v.as_ptr().add(at));
                let (scales, norms_sq) = (of_row(&rows.scales), of_row(&rows.norms_sq));
                let (errors, norms) = (of_row(&rows.errors), of_row(&rows.norms));
                for i in 0..Q {
                    let margin = buffers[i].margin;
                    let times = |x: __m256, y: f32| _mm256_mul_ps(x, _mm256_set1_ps(y));
                    let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[i][g][half]), scales);
                    let norm_sq = times(norms_sq, margin.weight);
                    let cost = _mm256_add_ps(times(product, margin.factor), norm_sq);
                    let off = _mm256_add_ps(
                        times(errors, margin.by_error),
                        _mm256_set1_ps(margin.rounding),
                    );
                    let off = _mm256_add_ps(times(norms, margin.by_norm), off);
                    let (low, high) = (_mm256_sub_ps(cost, off), _mm256_add_ps(cost, off));
                    let Buffers { lower, minima, .. } = &mut *buffers[i];
                    _mm256_storeu_ps(lower.as_mut_ptr().add(at), low);
                    // Where a bound of padding is not a number, the minimum is the second.
                    let minima = minima.as_mut_ptr().add(to);
                    _mm256_storeu_ps(minima, _mm256_min_ps(high, _mm256_loadu_ps(minima)));
                }
            }
        }
        round = if round + 1 == rounds { 0 } else { round + 1 };
    }
}

/// Appends the indices of all `values`, a multiple of sixteen, up to `limit`.
///
/// # Safety
/// AVX2; `out` has room for sixteen more than there are values.
#[target_feature(enable = "avx2,popcnt")]
unsafe fn at_most(values: &[f32], limit: f32, out: &mut Vec<u32>) {
    let limits = _mm256_set1_ps(limit);
    let mut len = out.len();
    for (part, first) in values.as_chunks::<WIDE>().0.iter().zip((0..).step_by(WIDE)) {
        // SAFETY: a part is eight floats.
        let part = unsafe { _mm256_loadu_ps(part.as_ptr()) };
        let found = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(part, limits)) as u32;
        let ids = _mm256_add_epi32(places_of(found), _mm256_set1_epi32(first));
        // SAFETY: eight elements are written, of which those that count come first: room for them
        // is the caller's part.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(len).cast(), ids) };
        len += found.count_ones() as usize;
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}
