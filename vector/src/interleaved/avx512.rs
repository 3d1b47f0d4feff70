//! Interleaved tables with AVX-512: a register of 64 queries.

use std::arch::x86_64::*;

use super::{Checked, Found, KSUB, MAX_LANES};
use crate::codes::BLOCK;
use crate::prefetch_line;

/// Rows with a sum at or below a threshold.
///
/// # Safety
/// AVX-512 F and BW; rows of the tables are 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
pub(super) unsafe fn survivors(
    checked: Checked<'_>,
    thresholds: &[u8; MAX_LANES],
    out: &mut Vec<Found>,
) {
    // SAFETY: the caller's; m is that of the tables.
    unsafe {
        match checked.layout.m() {
            8 => scan::<8>(&checked, thresholds, out),
            16 => scan::<16>(&checked, thresholds, out),
            32 => scan::<32>(&checked, thresholds, out),
            _ => scan::<0>(&checked, thresholds, out),
        }
    }
}

/// [`survivors`] with `M` = m, or 0 where m is not known beforehand.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
unsafe fn scan<const M: usize>(
    checked: &Checked<'_>,
    thresholds: &[u8; MAX_LANES],
    out: &mut Vec<Found>,
) {
    let m = if M > 0 { M } else { checked.layout.m() };
    let (codes, next) = (checked.list.codes, checked.list.next);
    let table = checked.tables.entries().as_ptr();
    let terms = checked.tables.terms;
    // SAFETY: thresholds are 64 bytes.
    let limit = unsafe { _mm512_loadu_si512(thresholds.as_ptr().cast()) };
    let lanes = checked.lanes();
    // A row that is found is written behind the last; one that is not is written over.
    out.reserve(checked.list.len + 1);
    let mut len = out.len();
    for (first, rows, width) in checked.blocks() {
        let start = first * m;
        for i in 0..rows {
            let mut sum = _mm512_setzero_si512();
            let mut add = |column: usize, byte: *const u8| {
                // SAFETY: the byte lies within its block or the terms, and the tables have a row
                // of 64 bytes for each column and each value of a byte.
                let entries = unsafe {
                    let row = table.add((column * KSUB + usize::from(*byte)) * 64);
                    _mm512_load_si512(row.cast())
                };
                sum = _mm512_adds_epu8(sum, entries);
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
            let hits = _mm512_cmple_epu8_mask(sum, limit) & lanes;
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
