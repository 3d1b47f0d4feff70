//! Interleaved tables with AVX2: one or two registers of 32 queries.

use std::arch::x86_64::*;

use super::{Ahead, Checked, Found, GROUP, KSUB, MAX_LANES};
use crate::codes::BLOCK;

/// Rows with a sum at or below a threshold.
///
/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn survivors(
    checked: Checked<'_>,
    thresholds: &[u16; MAX_LANES],
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
#[target_feature(enable = "avx2")]
unsafe fn scan<const R: usize, const M: usize>(
    checked: &Checked<'_>,
    thresholds: &[u16; MAX_LANES],
    out: &mut Vec<Found>,
) {
    let m = if M > 0 { M } else { checked.layout.m() };
    let codes = checked.list.codes;
    let mut ahead = Ahead::new(&checked.list);
    let table = checked.tables.entries().as_ptr();
    let terms = checked.tables.terms;
    let limits: [Limits; R] = std::array::from_fn(|r| Limits::new(&thresholds[32 * r..][..32]));
    let lanes = checked.lanes();
    // A row that is found is written behind the last; one that is not is written over.
    out.reserve(checked.list.len + 1);
    let mut len = out.len();
    for (first, rows, width) in checked.blocks() {
        let start = first * m;
        for i in 0..rows {
            let mut sums = [Sums::none(); R];
            // SAFETY: the tables have a row of 32 R bytes for each column and each value of a byte.
            let entries = |column: usize, byte: u8, r: usize| unsafe {
                let row = table.add((column * KSUB + usize::from(byte)) * 32 * R);
                _mm256_load_si256(row.add(32 * r).cast())
            };
            let code = codes.as_ptr().wrapping_add(start + i);
            let step = if M > 0 && width == BLOCK { BLOCK } else { width };
            // SAFETY: a block has so many columns of `width` bytes.
            let byte = |j: usize| unsafe { *code.add(j * step) };
            for j in (0..m - m % GROUP).step_by(GROUP) {
                let bytes: [u8; GROUP] = std::array::from_fn(|i| byte(j + i));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let group: [__m256i; GROUP] =
                        std::array::from_fn(|i| entries(j + i, bytes[i], r));
                    sums.add_group(group);
                }
            }
            if terms || m % GROUP > 0 {
                let mut last = [_mm256_setzero_si256(); R];
                for j in m - m % GROUP..m {
                    for (r, last) in last.iter_mut().enumerate() {
                        *last = _mm256_adds_epu8(*last, entries(j, byte(j), r));
                    }
                }
                if terms {
                    // SAFETY: rows have terms.
                    let byte = unsafe { *checked.list.terms.as_ptr().add(first + i) };
                    for (r, last) in last.iter_mut().enumerate() {
                        *last = _mm256_adds_epu8(*last, entries(m, byte, r));
                    }
                }
                sums.iter_mut().zip(last).for_each(|(sums, last)| sums.widen(last));
            }
            let mut hits = 0u64;
            for r in 0..R {
                hits |= u64::from(sums[r].at_most(&limits[r])) << (32 * r);
            }
            hits &= lanes;
            // SAFETY: there is room for all rows and one more.
            unsafe { *out.as_mut_ptr().add(len) = Found { row: (first + i) as u32, lanes: hits } };
            len += usize::from(hits != 0);
        }
        ahead.fetch();
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}

/// Sums of 32 queries as words. Their upper bytes spill: even queries + 256 · odd queries.
#[derive(Clone, Copy)]
struct Sums {
    all: __m256i,
    odd: __m256i,
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn none() -> Self {
        Self { all: _mm256_setzero_si256(), odd: _mm256_setzero_si256() }
    }

    /// Adds the entries of a group of columns.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_group(&mut self, [a, b]: [__m256i; GROUP]) {
        self.widen(_mm256_adds_epu8(a, b));
    }

    /// Adds the sums of a group.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn widen(&mut self, bytes: __m256i) {
        self.all = _mm256_add_epi16(self.all, bytes);
        self.odd = _mm256_add_epi16(self.odd, _mm256_srli_epi16::<8>(bytes));
    }

    /// A bit for each query whose sum is at most its limit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn at_most(&self, limits: &Limits) -> u32 {
        let even = _mm256_sub_epi16(self.all, _mm256_slli_epi16::<8>(self.odd));
        let even = _mm256_cmpeq_epi16(_mm256_min_epu16(even, limits.even), even);
        let odd = _mm256_cmpeq_epi16(_mm256_min_epu16(self.odd, limits.odd), self.odd);
        let bytes = _mm256_blendv_epi8(even, odd, _mm256_set1_epi16(0xff00u16 as i16));
        _mm256_movemask_epi8(bytes) as u32
    }
}

/// Limits of 32 queries.
#[derive(Clone, Copy)]
struct Limits {
    even: __m256i,
    odd: __m256i,
}

impl Limits {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(thresholds: &[u16]) -> Self {
        let words = |odd: usize| {
            let words: [u16; 16] = std::array::from_fn(|i| thresholds[2 * i + odd]);
            // SAFETY: 32 bytes.
            unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
        };
        Self { even: words(0), odd: words(1) }
    }
}
