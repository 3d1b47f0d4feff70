//! One vector against many rows with vector registers, in the order that [`crate::dense::LANES`]
//! fixes.
//!
//! Sixteen partial sums are one AVX-512 register or two of AVX2. Four rows are in flight: an
//! addition takes several cycles before its result can be added to, and the rows do not wait for
//! each other.

use std::arch::x86_64::{__m256, __m512};

use crate::sixteen::Sixteen;

/// Rows in flight.
const TILE: usize = 4;

/// For each of `N` rows sixteen partial sums over `term(x, row)`. Zeros stand for what a last group
/// of coordinates lacks; adding a term of zero changes no partial sum, since none is −0.
///
/// # Safety
/// The level of `V`; rows are as long as `x`; the term of two zeros is +0.
#[inline(always)]
unsafe fn tile<V: Sixteen, const N: usize>(
    x: &[f32],
    rows: &[&[f32]; N],
    term: impl Fn(V, V) -> V,
) -> [V; N] {
    let (full, tail) = (x.len() / 16 * 16, x.len() % 16);
    // SAFETY: the caller's level; `full` and `full + tail` are within every length.
    unsafe {
        let mut sums = [V::zero(); N];
        for i in (0..full).step_by(16) {
            let x = V::load(x.as_ptr().add(i));
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = sum.add(term(x, V::load(row.as_ptr().add(i))));
            }
        }
        if tail > 0 {
            let x = V::load_first(x.as_ptr().add(full), tail);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = sum.add(term(x, V::load_first(row.as_ptr().add(full), tail)));
            }
        }
        sums
    }
}

/// For each row `ids` of `rows` the sum over `term(x, row)`.
///
/// # Safety
/// The level of `V`; the term of two zeros is +0.
#[inline(always)]
unsafe fn sums_of<V: Sixteen>(
    x: &[f32],
    rows: &[f32],
    ids: &[u32],
    out: &mut Vec<f32>,
    term: impl Fn(V, V) -> V + Copy,
) {
    out.clear();
    let d = x.len();
    let row = |i: u32| &rows[i as usize * d..][..d];
    let (tiles, rest) = ids.as_chunks::<TILE>();
    for ids in tiles {
        // SAFETY: the caller's promise.
        out.extend(unsafe { V::reduce_four(tile(x, &ids.map(row), term)) });
    }
    for &id in rest {
        // SAFETY: as above.
        out.push(unsafe { tile(x, &[row(id)], term)[0].reduce() });
    }
}

/// Writes `$name`: for each row the sum over `$term(x, row)`.
macro_rules! rows_at {
    ($name:ident, $features:literal, $registers:ty, |$a:ident, $b:ident| $term:expr) => {
        /// # Safety
        /// The features.
        #[target_feature(enable = $features)]
        pub(crate) unsafe fn $name(x: &[f32], rows: &[f32], ids: &[u32], out: &mut Vec<f32>) {
            // SAFETY: this function's own level; 0 · 0 and (0 − 0)² are +0.
            unsafe {
                sums_of::<$registers>(x, rows, ids, out, |$a, $b| $term);
            }
        }
    };
}

rows_at!(dots_avx512, "avx512f,avx512bw,avx512dq,avx512vl", __m512, |a, b| a.mul(b));
rows_at!(dots_avx2, "avx2,f16c", [__m256; 2], |a, b| a.mul(b));
rows_at!(l2_sqs_avx512, "avx512f,avx512bw,avx512dq,avx512vl", __m512, |a, b| {
    let difference = a.sub(b);
    difference.mul(difference)
});
rows_at!(l2_sqs_avx2, "avx2,f16c", [__m256; 2], |a, b| {
    let difference = a.sub(b);
    difference.mul(difference)
});
