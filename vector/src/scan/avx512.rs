//! The scan with AVX-512, with and without VBMI.

use std::arch::asm;
use std::arch::x86_64::*;

use super::ahead::{ahead, wants_fetching};
use super::{Checked, Sink, low_bits};
use crate::codes::BLOCK;
use crate::prefetch_line;

/// Blocks in flight: with the table's four registers and two accumulators a block they stay in the
/// 32 registers, and a row's loads are shared by 256 vectors.
const IN_FLIGHT: usize = 4;
/// Words `even` and `odd` of one block: the sums of even and odd lanes.
#[derive(Clone, Copy)]
struct Sums {
    even: __m512i,
    odd: __m512i,
}

/// Turns accumulators into the sums of even and odd lanes, adds the scalar terms, and hands them
/// on.
///
/// # Safety
/// AVX-512 BW, DQ, VL and BMI2; `first` and its lanes lie within the list.
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
        let at = s.bytes.as_ptr().wrapping_add(first);
        // Each byte as the upper half of a word: (byte << 8) · factor >> 16 = byte · factor >> 8.
        // (Masks do what a shift would, for nothing.) SAFETY: only the bytes of `lanes`, which the
        // list has, are read.
        let (even, odd) = unsafe {
            let even = _mm512_maskz_loadu_epi8((lanes & EVEN) << 1, at.wrapping_sub(1).cast());
            (even, _mm512_maskz_loadu_epi8(lanes & !EVEN, at.cast()))
        };
        let factor = _mm512_set1_epi16(s.factor as i16);
        let (even, odd) = (upper_half(even, factor), upper_half(odd, factor));
        sums.even = _mm512_adds_epu16(sums.even, even);
        sums.odd = _mm512_adds_epu16(sums.odd, odd);
    }
    sink.block(
        first,
        lanes,
        |threshold| {
            let t = _mm512_set1_epi16(threshold as i16);
            let even = _mm512_cmple_epu16_mask(sums.even, t);
            let odd = _mm512_cmple_epu16_mask(sums.odd, t);
            weave(even, odd)
        },
        |out| {
            // Lanes past the end cost as much as can be.
            let even = _pext_u64(lanes, EVEN) as u32;
            let odd = _pext_u64(lanes, !EVEN) as u32;
            let none = _mm512_set1_epi16(-1);
            // SAFETY: each half is 64 bytes.
            unsafe {
                let at = out.as_mut_ptr();
                _mm512_storeu_si512(at.cast(), _mm512_mask_blend_epi16(even, none, sums.even));
                _mm512_storeu_si512(
                    at.add(BLOCK / 2).cast(),
                    _mm512_mask_blend_epi16(odd, none, sums.odd),
                );
            }
        },
    );
}

/// The upper halves of products of words. The compiler knows that the lower half of `a` is zeros,
/// and makes sixteen instructions of [`_mm512_mulhi_epu16`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn upper_half(a: __m512i, b: __m512i) -> __m512i {
    let product;
    // SAFETY: an instruction of AVX-512 BW, which this function requires, between registers.
    unsafe {
        asm!(
            "vpmulhuw {product}, {a}, {b}",
            product = lateout(zmm_reg) product, a = in(zmm_reg) a, b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    product
}

/// Every second bit, from the lowest on.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// Bits of the even lanes and of the odd lanes as bits of all lanes.
#[inline]
#[target_feature(enable = "bmi2")]
fn weave(even: u32, odd: u32) -> u64 {
    if even | odd == 0 {
        return 0;
    }
    _pdep_u64(u64::from(even), EVEN) | _pdep_u64(u64::from(odd), !EVEN)
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
            // SAFETY: the features are there.
            unsafe {
                if wants_fetching(&list) {
                    groups::<true>(&list, sink);
                } else {
                    groups::<false>(&list, sink);
                }
            }

            /// All blocks; with `FETCH`, what follows is fetched meanwhile.
            ///
            /// # Safety
            /// As the scan's.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn groups<const FETCH: bool>(list: &Checked<'_>, sink: &mut impl Sink) {
                const WIDEST: usize = IN_FLIGHT * BLOCK;
                let (full, tail) = list.shape();
                let end = full + tail;
                let mut first = 0;
                // SAFETY: all blocks lie within the list.
                unsafe {
                    while full - first >= WIDEST {
                        group::<IN_FLIGHT, true, FETCH>(list, BLOCK, first, sink);
                        first += WIDEST;
                    }
                    // Up to four blocks are left, all of them in flight; the last may be narrow.
                    let last = if tail > 0 { tail } else { BLOCK };
                    match (end - first).div_ceil(BLOCK) {
                        4 => group::<4, false, FETCH>(list, last, first, sink),
                        3 => group::<3, false, FETCH>(list, last, first, sink),
                        2 => group::<2, false, FETCH>(list, last, first, sink),
                        1 => group::<1, false, FETCH>(list, last, first, sink),
                        _ => {}
                    }
                }
            }

            /// `N` blocks, the last of which has `last` bytes a column, which is all 64 where they
            /// are `FULL`.
            ///
            /// # Safety
            /// As the scan's; the blocks lie within the codes.
            #[target_feature(enable = $features)]
            unsafe fn group<const N: usize, const FULL: bool, const FETCH: bool>(
                list: &Checked<'_>,
                last: usize,
                first: usize,
                sink: &mut impl Sink,
            ) {
                let columns = list.layout.columns();
                let codes = list.list.codes.as_ptr();
                let mask = low_bits(last);
                let fetch = if FETCH { ahead(list, first * columns) } else { codes };
                let mut all = [_mm512_setzero_si512(); N];
                let mut odd = [_mm512_setzero_si512(); N];
                for j in 0..columns {
                    let bytes = |b: usize| {
                        let block = (first + b * BLOCK) * columns;
                        if FETCH {
                            prefetch_line(fetch.wrapping_add((j * N + b) * 64));
                        }
                        // SAFETY: a full block has 64 bytes a column, the last one `last`; both lie
                        // within the codes.
                        unsafe {
                            if FULL || b + 1 < N {
                                _mm512_loadu_si512(codes.add(block + j * BLOCK).cast())
                            } else {
                                _mm512_maskz_loadu_epi8(mask, codes.add(block + j * last).cast())
                            }
                        }
                    };
                    // SAFETY: column j has its rows in the table.
                    unsafe { $column(list, j, bytes, &mut all, &mut odd) };
                }
                for b in 0..N {
                    // SAFETY: the block lies within the list.
                    unsafe { finish(list, all[b], odd[b], first + b * BLOCK, sink) };
                }
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
    codes: impl Fn(usize) -> __m512i,
    all: &mut [__m512i; N],
    odd: &mut [__m512i; N],
) {
    let row = |i: usize| {
        // SAFETY: a row has 256 bytes.
        unsafe { _mm512_loadu_si512(list.table.as_ptr().add(j * 256 + i * 64).cast()) }
    };
    let (t0, t1, t2, t3) = (row(0), row(1), row(2), row(3));
    for b in 0..N {
        let codes = codes(b);
        let upper = _mm512_movepi8_mask(codes);
        let values = _mm512_mask_blend_epi8(
            upper,
            _mm512_permutex2var_epi8(t0, codes, t1),
            _mm512_permutex2var_epi8(t2, codes, t3),
        );
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
    codes: impl Fn(usize) -> __m512i,
    all: &mut [__m512i; N],
    odd: &mut [__m512i; N],
) {
    let nibble = _mm512_set1_epi8(0x0f);
    for b in 0..N {
        let codes = codes(b);
        let low = _mm512_and_si512(codes, nibble);
        // SAFETY: a row has sixteen times 16 bytes.
        let entry = |h: usize| unsafe {
            let part = _mm_loadu_si128(list.table.as_ptr().add(j * 256 + h * 16).cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(part), low)
        };
        // The top bit of each byte of a left shift is the wanted bit of the code.
        let bit4 = _mm512_movepi8_mask(_mm512_slli_epi16::<3>(codes));
        let bit5 = _mm512_movepi8_mask(_mm512_slli_epi16::<2>(codes));
        let bit6 = _mm512_movepi8_mask(_mm512_slli_epi16::<1>(codes));
        let bit7 = _mm512_movepi8_mask(codes);
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
    codes: impl Fn(usize) -> __m512i,
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
        let codes = codes(b);
        let low = _mm512_and_si512(codes, nibble);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble);
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

/// Appends the position of every bound in `from ..= to`, ascending.
///
/// # Safety
/// AVX-512 BW and BMI2.
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
pub(super) unsafe fn between(bounds: &[[u16; BLOCK]], from: u16, to: u16, out: &mut Vec<u32>) {
    let (from, to) = (_mm512_set1_epi16(from as i16), _mm512_set1_epi16(to as i16));
    for (first, block) in (0u32..).step_by(BLOCK).zip(bounds) {
        let hits = |half: usize| {
            // SAFETY: each half is 64 bytes.
            let half = unsafe { _mm512_loadu_si512(block.as_ptr().add(half * BLOCK / 2).cast()) };
            _mm512_mask_cmple_epu16_mask(_mm512_cmpge_epu16_mask(half, from), half, to)
        };
        super::push_lanes(first, weave(hits(0), hits(1)), out);
    }
}

/// [`between`] without a branch that depends on what is found: with a few hits in most blocks,
/// guessing wrong is what finding them costs.
///
/// # Safety
/// AVX-512 BW, VBMI2 and BMI2.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi2,popcnt")]
pub(super) unsafe fn between_vbmi2(
    bounds: &[[u16; BLOCK]],
    from: u16,
    to: u16,
    out: &mut Vec<u32>,
) {
    const LANES: [u8; BLOCK] = {
        let mut lanes = [0; BLOCK];
        let mut i = 0;
        while i < BLOCK {
            lanes[i] = i as u8;
            i += 1;
        }
        lanes
    };
    let (from, to) = (_mm512_set1_epi16(from as i16), _mm512_set1_epi16(to as i16));
    // SAFETY: 64 bytes.
    let lanes = unsafe { _mm512_loadu_si512(LANES.as_ptr().cast()) };
    // Each block writes whole registers of sixteen.
    out.reserve(bounds.len() * BLOCK + 16);
    let mut len = out.len();
    for (first, block) in (0..).step_by(BLOCK).zip(bounds) {
        let hits = |half: usize| {
            // SAFETY: each half is 64 bytes.
            let half = unsafe { _mm512_loadu_si512(block.as_ptr().add(half * BLOCK / 2).cast()) };
            _mm512_mask_cmple_epu16_mask(_mm512_cmpge_epu16_mask(half, from), half, to)
        };
        let hits = _pdep_u64(u64::from(hits(0)), EVEN) | _pdep_u64(u64::from(hits(1)), !EVEN);
        let found = _mm512_maskz_compress_epi8(hits, lanes);
        let count = hits.count_ones() as usize;
        let first = _mm512_set1_epi32(first);
        // SAFETY: so far at most 64 rows a block were written, and there is room for sixteen more
        // than that.
        let mut put = |part: usize, bytes: __m128i| unsafe {
            let rows = _mm512_add_epi32(_mm512_cvtepu8_epi32(bytes), first);
            _mm512_storeu_si512(out.as_mut_ptr().add(len + 16 * part).cast(), rows);
        };
        put(0, _mm512_castsi512_si128(found));
        if count > 16 {
            put(1, _mm512_extracti32x4_epi32::<1>(found));
            put(2, _mm512_extracti32x4_epi32::<2>(found));
            put(3, _mm512_extracti32x4_epi32::<3>(found));
        }
        len += count;
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}

/// How many of `bounds` are at most `threshold`.
///
/// # Safety
/// AVX-512 BW.
#[target_feature(enable = "avx512f,avx512bw,popcnt")]
pub(super) unsafe fn count_at_most(bounds: &[[u16; BLOCK]], threshold: u16) -> usize {
    let t = _mm512_set1_epi16(threshold as i16);
    let mut count = 0;
    for half in bounds.as_flattened().as_chunks::<32>().0 {
        // SAFETY: a half is 64 bytes.
        let half = unsafe { _mm512_loadu_si512(half.as_ptr().cast()) };
        count += _mm512_cmple_epu16_mask(half, t).count_ones() as usize;
    }
    count
}
