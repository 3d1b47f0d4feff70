//! The scan with AVX-512, with and without VBMI.

use std::arch::x86_64::*;

use super::{Checked, Sink, low_bits};
use crate::codes::BLOCK;

/// Full blocks in flight: with the table's four registers and two accumulators a block they stay in
/// the 32 registers, and a row's loads are shared by 256 vectors.
const IN_FLIGHT: usize = 4;

/// How far ahead of the scan bytes are fetched, in this list and on into the next: at the speed of a
/// scan from cache, the time that memory takes to answer.
const AHEAD: usize = 8192;

/// Fetches the lines that are `distance` ahead of offset `at` of the list, the next list following it.
/// As `distance` is at most the list's length, no line of either is left out.
#[inline(always)]
fn prefetch(list: &Checked<'_>, distance: usize, at: usize) {
    let (at, codes) = (at + distance, list.list.codes);
    let lines =
        if at < codes.len() { codes.get(at..) } else { list.list.next.get(at - codes.len()..) };
    for line in lines.unwrap_or_default().chunks(64).take(IN_FLIGHT) {
        // SAFETY: every x86-64 has SSE; a prefetch reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Words `even` and `odd` of one block: the sums of even and odd lanes.
#[derive(Clone, Copy)]
struct Sums {
    even: __m512i,
    odd: __m512i,
}

/// Turns accumulators into the sums of even and odd lanes, adds the scalar terms, and hands them on.
///
/// # Safety
/// AVX-512 BW, DQ, VL and BMI2; `first` and `lanes` lie within the list.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2")]
unsafe fn finish(
    list: &Checked<'_>,
    all: __m512i,
    odd: __m512i,
    first: usize,
    sink: &mut impl Sink,
) {
    let lanes = low_bits(list.list.len - first);
    let mut sums = Sums { even: _mm512_sub_epi16(all, _mm512_slli_epi16::<8>(odd)), odd };
    if let Some(s) = list.list.scalars {
        // SAFETY: only the bytes of `lanes`, which the list has, are read.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(lanes, s.bytes.as_ptr().add(first).cast()) };
        let factor = _mm512_set1_epi16(s.factor as i16);
        // (byte << 8) · factor >> 16 = byte · factor >> 8.
        let even = _mm512_mulhi_epu16(_mm512_slli_epi16::<8>(bytes), factor);
        let high = _mm512_set1_epi16(0xff00u16 as i16);
        let odd = _mm512_mulhi_epu16(_mm512_and_si512(bytes, high), factor);
        sums.even = _mm512_adds_epu16(sums.even, even);
        sums.odd = _mm512_adds_epu16(sums.odd, odd);
    }
    sink.block(
        first,
        lanes,
        |threshold| {
            let t = _mm512_set1_epi16(threshold as i16);
            let even = u64::from(_mm512_cmple_epu16_mask(sums.even, t));
            let odd = u64::from(_mm512_cmple_epu16_mask(sums.odd, t));
            _pdep_u64(even, 0x5555_5555_5555_5555) | _pdep_u64(odd, 0xaaaa_aaaa_aaaa_aaaa)
        },
        |out| {
            let (mut even, mut odd) = ([0u16; BLOCK / 2], [0u16; BLOCK / 2]);
            // SAFETY: both arrays are 64 bytes.
            unsafe {
                _mm512_storeu_si512(even.as_mut_ptr().cast(), sums.even);
                _mm512_storeu_si512(odd.as_mut_ptr().cast(), sums.odd);
            }
            for (pair, (e, o)) in out.as_chunks_mut::<2>().0.iter_mut().zip(even.iter().zip(&odd)) {
                *pair = [*e, *o];
            }
        },
    );
}

/// Adds looked-up bytes to a pair of accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(all: &mut __m512i, odd: &mut __m512i, values: __m512i) {
    *all = _mm512_add_epi16(*all, values);
    *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16::<8>(values));
}

/// Writes a scan over all blocks: `$column` adds the values of one column of `N` blocks, given the
/// codes of that column, to the accumulators.
macro_rules! scan {
    ($(#[$doc:meta])* $name:ident, $features:literal, $column:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The features named below.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(list: Checked<'_>, sink: &mut impl Sink) {
            let columns = list.layout.columns();
            let (full, tail) = list.shape();
            let codes = list.list.codes.as_ptr();
            let distance = AHEAD.min(list.list.codes.len());
            let mut first = 0;
            while first < full {
                if full - first >= IN_FLIGHT * BLOCK {
                    let mut all = [_mm512_setzero_si512(); IN_FLIGHT];
                    let mut odd = [_mm512_setzero_si512(); IN_FLIGHT];
                    for j in 0..columns {
                        let mut bytes = [_mm512_setzero_si512(); IN_FLIGHT];
                        for (b, bytes) in bytes.iter_mut().enumerate() {
                            let at = (first + b * BLOCK) * columns + j * BLOCK;
                            // SAFETY: full blocks of 64 · columns bytes lie within the codes.
                            *bytes = unsafe { _mm512_loadu_si512(codes.add(at).cast()) };
                        }
                        prefetch(&list, distance, first * columns + j * IN_FLIGHT * BLOCK);
                        // SAFETY: column j has its rows in the table.
                        unsafe { $column(&list, j, &bytes, &mut all, &mut odd) };
                    }
                    for b in 0..IN_FLIGHT {
                        // SAFETY: the block lies within the list.
                        unsafe { finish(&list, all[b], odd[b], first + b * BLOCK, sink) };
                    }
                    first += IN_FLIGHT * BLOCK;
                    continue;
                }
                // SAFETY: as above, for one full block.
                unsafe { one(&list, codes.add(first * columns), BLOCK, first, sink) };
                first += BLOCK;
            }
            if tail > 0 {
                // SAFETY: the last block has `tail` bytes a column, within the codes.
                unsafe { one(&list, codes.add(full * columns), tail, full, sink) };
            }

            /// One block of `width` bytes a column.
            ///
            /// # Safety
            /// As the scan's; the block lies within the codes.
            #[target_feature(enable = $features)]
            unsafe fn one(list: &Checked<'_>, block: *const u8, width: usize, first: usize, sink: &mut impl Sink) {
                let mut all = [_mm512_setzero_si512()];
                let mut odd = [_mm512_setzero_si512()];
                for j in 0..list.layout.columns() {
                    // SAFETY: only the column's `width` bytes are read.
                    let bytes = unsafe { _mm512_maskz_loadu_epi8(low_bits(width), block.add(j * width).cast()) };
                    // SAFETY: column j has its rows in the table.
                    unsafe { $column(list, j, &[bytes], &mut all, &mut odd) };
                }
                // SAFETY: the block lies within the list.
                unsafe { finish(list, all[0], odd[0], first, sink) };
            }
        }
    };
}

/// 256-entry rows by two `vpermi2b` and a choice by the code's top bit.
///
/// # Safety
/// The table has row `j`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2")]
unsafe fn column8_vbmi<const N: usize>(
    list: &Checked<'_>,
    j: usize,
    codes: &[__m512i; N],
    all: &mut [__m512i; N],
    odd: &mut [__m512i; N],
) {
    // SAFETY: a row has 256 bytes.
    let row =
        |i: usize| unsafe { _mm512_loadu_si512(list.table.as_ptr().add(j * 256 + i * 64).cast()) };
    let (t0, t1, t2, t3) = (row(0), row(1), row(2), row(3));
    for b in 0..N {
        let lower = _mm512_permutex2var_epi8(t0, codes[b], t1);
        let upper = _mm512_permutex2var_epi8(t2, codes[b], t3);
        let values = _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes[b]), lower, upper);
        add(&mut all[b], &mut odd[b], values);
    }
}

/// 256-entry rows by sixteen shuffles and a tree of blends by the code's upper four bits.
///
/// # Safety
/// The table has row `j`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2")]
unsafe fn column8<const N: usize>(
    list: &Checked<'_>,
    j: usize,
    codes: &[__m512i; N],
    all: &mut [__m512i; N],
    odd: &mut [__m512i; N],
) {
    let nibble = _mm512_set1_epi8(0x0f);
    for b in 0..N {
        let low = _mm512_and_si512(codes[b], nibble);
        // SAFETY: a row has sixteen times 16 bytes.
        let entry = |h: usize| unsafe {
            let part = _mm_loadu_si128(list.table.as_ptr().add(j * 256 + h * 16).cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(part), low)
        };
        // The top bit of each byte of a left shift is the wanted bit of the code.
        let bit4 = _mm512_movepi8_mask(_mm512_slli_epi16::<3>(codes[b]));
        let bit5 = _mm512_movepi8_mask(_mm512_slli_epi16::<2>(codes[b]));
        let bit6 = _mm512_movepi8_mask(_mm512_slli_epi16::<1>(codes[b]));
        let bit7 = _mm512_movepi8_mask(codes[b]);
        let two = |h: usize| _mm512_mask_blend_epi8(bit4, entry(h), entry(h + 1));
        let four = |h: usize| _mm512_mask_blend_epi8(bit5, two(h), two(h + 2));
        let eight = |h: usize| _mm512_mask_blend_epi8(bit6, four(h), four(h + 4));
        let values = _mm512_mask_blend_epi8(bit7, eight(0), eight(8));
        add(&mut all[b], &mut odd[b], values);
    }
}

/// 16-entry rows, two a column: one shuffle each.
///
/// # Safety
/// The table has row `2j`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2")]
unsafe fn column4<const N: usize>(
    list: &Checked<'_>,
    j: usize,
    codes: &[__m512i; N],
    all: &mut [__m512i; N],
    odd: &mut [__m512i; N],
) {
    let nibble = _mm512_set1_epi8(0x0f);
    // SAFETY: rows have 16 bytes.
    let row = |i: usize| unsafe {
        _mm512_broadcast_i32x4(_mm_loadu_si128(list.table.as_ptr().add(i * 16).cast()))
    };
    let first = row(2 * j);
    let second = if 2 * j + 1 < list.layout.m() { row(2 * j + 1) } else { _mm512_setzero_si512() };
    for b in 0..N {
        let low = _mm512_and_si512(codes[b], nibble);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(codes[b]), nibble);
        add(&mut all[b], &mut odd[b], _mm512_shuffle_epi8(first, low));
        add(&mut all[b], &mut odd[b], _mm512_shuffle_epi8(second, high));
    }
}

scan! {
    /// 8-bit codes with VBMI.
    scan8_vbmi, "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2", column8_vbmi
}
scan! {
    /// 8-bit codes without VBMI.
    scan8, "avx512f,avx512bw,avx512dq,avx512vl,bmi2", column8
}
scan! {
    /// 4-bit codes.
    scan4, "avx512f,avx512bw,avx512dq,avx512vl,bmi2", column4
}

/// How many of `bounds` are at most `threshold`.
///
/// # Safety
/// AVX-512 BW.
#[target_feature(enable = "avx512f,avx512bw,popcnt")]
pub(super) unsafe fn count_at_most(bounds: &[u16], threshold: u16) -> usize {
    let t = _mm512_set1_epi16(threshold as i16);
    let (parts, rest) = bounds.as_chunks::<32>();
    let mut count = rest.iter().filter(|b| **b <= threshold).count();
    for part in parts {
        // SAFETY: a part is 64 bytes.
        let part = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
        count += _mm512_cmple_epu16_mask(part, t).count_ones() as usize;
    }
    count
}
