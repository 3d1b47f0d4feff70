//! Interleaved tables with AVX2: one or two registers of 32 queries.

use std::arch::x86_64::*;

use super::{Checked, Found, KSUB, MAX_LANES};
use crate::codes::BLOCK;
use crate::prefetch_line;

/// Rows with a sum at or below a threshold.
///
/// # Safety
/// AVX2.
#[target_feature(enable = "avx2,bmi2")]
pub(super) unsafe fn survivors(
    checked: Checked<'_>,
    thresholds: &[u8; MAX_LANES],
    out: &mut Vec<Found>,
) {
    // SAFETY: the caller's; the width and m are those of the tables.
    unsafe {
        match (checked.tables.width, checked.layout.m()) {
            (32, 8) => scan::<1, 8>(&checked, thresholds, out),
            (32, 16) => scan::<1, 16>(&checked, thresholds, out),
            (32, 32) => scan::<1, 32>(&checked, thresholds, out),
            (32, _) => scan::<1, 0>(&checked, thresholds, out),
            (_, 8) => scan::<2, 8>(&checked, thresholds, out),
            (_, 16) => scan::<2, 16>(&checked, thresholds, out),
            (_, 32) => scan::<2, 32>(&checked, thresholds, out),
            _ => scan::<2, 0>(&checked, thresholds, out),
        }
    }
}

/// [`survivors`] with `R` registers a row, and `M` = m or 0 where m is not known beforehand.
///
/// # Safety
/// AVX2; rows of the tables are 32 `R` bytes.
#[target_feature(enable = "avx2,bmi2")]
unsafe fn scan<const R: usize, const M: usize>(
    checked: &Checked<'_>,
    thresholds: &[u8; MAX_LANES],
    out: &mut Vec<Found>,
) {
    let m = if M > 0 { M } else { checked.layout.m() };
    let (codes, next) = (checked.list.codes, checked.list.next);
    let table = checked.tables.entries().as_ptr();
    let terms = checked.tables.terms;
    // SAFETY: thresholds are 64 bytes.
    let limit: [__m256i; R] = std::array::from_fn(|r| unsafe {
        _mm256_loadu_si256(thresholds.as_ptr().add(32 * r).cast())
    });
    let lanes = checked.lanes();
    // A row that is found is written behind the last; one that is not is written over.
    out.reserve(checked.list.len + 1);
    let mut len = out.len();
    for (first, rows, width) in checked.blocks() {
        let start = first * m;
        for i in 0..rows {
            let mut sums = [_mm256_setzero_si256(); R];
            let mut add = |column: usize, byte: *const u8| {
                // SAFETY: the byte lies within its block or the terms, and the tables have a row
                // of 32 R bytes for each column and each value of a byte.
                unsafe {
                    let row = table.add((column * KSUB + usize::from(*byte)) * 32 * R);
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let entries = _mm256_load_si256(row.add(32 * r).cast());
                        *sum = _mm256_adds_epu8(*sum, entries);
                    }
                }
            };
            let code = codes.as_ptr().wrapping_add(start + i);
            if M > 0 && width == BLOCK {
                (0..M).for_each(|j| add(j, code.wrapping_add(j * BLOCK)));
            } else {
                (0..m).for_each(|j| add(j, code.wrapping_add(j * width)));
            }
            if terms {
                add(m, checked.list.terms.as_ptr().wrapping_add(first + i));
            }
            let mut hits = 0u64;
            for r in 0..R {
                let within = _mm256_cmpeq_epi8(_mm256_min_epu8(sums[r], limit[r]), sums[r]);
                hits |= u64::from(_mm256_movemask_epi8(within) as u32) << (32 * r);
            }
            hits &= lanes;
            // SAFETY: there is room for all rows and one more.
            unsafe { *out.as_mut_ptr().add(len) = Found { row: (first + i) as u32, lanes: hits } };
            len += usize::from(hits != 0);
        }
        // A line for a line: what follows comes while this is scanned.
        (0..m).for_each(|j| {
            let at = start + j * BLOCK;
            if at < next.len() {
                prefetch_line(next.as_ptr().wrapping_add(at));
            }
        });
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}
