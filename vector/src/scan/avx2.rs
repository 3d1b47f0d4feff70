//! The scan with AVX2: a block of 64 is two registers of 32 lanes.
//!
//! At 8 bits a column of a register takes 16 shuffles, 15 choices among their results, 4 steps for
//! what they choose by and 3 to add: 38 instructions. A processor with four vector pipes needs 9.5
//! cycles for that, which is 4.75 cycles a code of 16 bytes. Half of the choices cost less than a
//! blend: a shuffle gives zero where the top bit of its index is set, so entries of the table's
//! lower half and of its upper half are combined by `or`. (A blend runs on two pipes of an AMD
//! processor, and is two or three instructions on Intel's.)

use std::arch::asm;
use std::arch::x86_64::*;

use super::ahead::{ahead, wants_fetching};
use super::{BlockBounds, Checked, Sink, low_bits};
use crate::codes::BLOCK;
use crate::prefetch_line;

/// Lanes of a register.
pub(super) const WIDE: usize = 32;

/// Sums of the even and of the odd lanes of a register, as words.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    even: __m256i,
    odd: __m256i,
}

impl Sums {
    /// From the sums of words and of their odd bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(all: __m256i, odd: __m256i) -> Self {
        Self { even: _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(odd)), odd }
    }
}

/// Writes a scan over all blocks: `$column` adds the values of one column of `N` registers, given
/// the codes of that column, to the accumulators. `$registers` of them are in flight.
macro_rules! scan {
    ($(#[$doc:meta])* $name:ident, $registers:literal, $column:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// AVX2, BMI1, LZCNT and POPCNT.
        #[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
        pub(super) unsafe fn $name(list: Checked<'_>, sink: &mut impl Sink) {
            // SAFETY: the features are there.
            unsafe {
                if wants_fetching(&list) {
                    blocks::<true>(&list, sink);
                } else {
                    blocks::<false>(&list, sink);
                }
            }

            /// All blocks; with `FETCH`, what follows is fetched meanwhile.
            ///
            /// # Safety
            /// As the scan's.
            #[inline]
            #[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
            unsafe fn blocks<const FETCH: bool>(list: &Checked<'_>, sink: &mut impl Sink) {
                let columns = list.layout.columns();
                let (full, tail) = list.shape();
                for first in (0..full).step_by(BLOCK) {
                    // SAFETY: the blocks lie within the list.
                    unsafe {
                        if FETCH {
                            let fetch = ahead(list, first * columns);
                            (0..columns).for_each(|j| prefetch_line(fetch.wrapping_add(64 * j)));
                        }
                        let sums = sums_of::<$registers>(list, first, BLOCK);
                        finish::<true>(list, first, sums, sink);
                    }
                }
                if tail > 0 {
                    // SAFETY: as above.
                    unsafe {
                        let sums = sums_of::<$registers>(list, full, tail);
                        finish::<false>(list, full, sums, sink);
                    }
                }
            }

            /// The sums of the block of `width` from `first` on.
            ///
            /// # Safety
            /// As the scan's; the block lies within the codes.
            #[inline]
            #[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
            unsafe fn sums_of<const N: usize>(
                list: &Checked<'_>,
                first: usize,
                width: usize,
            ) -> [Sums; 2] {
                let columns = list.layout.columns();
                let at = list.list.codes.as_ptr().wrapping_add(first * columns);
                let zero = _mm256_setzero_si256();
                let mut sums = [Sums { even: zero, odd: zero }; BLOCK / WIDE];
                for (part, sums) in sums.as_chunks_mut::<N>().0.iter_mut().enumerate() {
                    let (mut all, mut odd) = ([zero; N], [zero; N]);
                    for j in 0..columns {
                        // SAFETY: each column has `width` bytes within the codes; and its rows in
                        // the table.
                        unsafe {
                            let codes = |i: usize| {
                                let skipped = (part * N + i) * WIDE;
                                let at = at.wrapping_add(j * width + skipped);
                                codes_at(at, width.saturating_sub(skipped))
                            };
                            $column(list, j, codes, &mut all, &mut odd);
                        }
                    }
                    for i in 0..N {
                        sums[i] = Sums::new(all[i], odd[i]);
                    }
                }
                sums
            }
        }
    };
}

scan! {
    /// 8-bit codes.
    scan8, 1, column8
}
scan! {
    /// 4-bit codes.
    scan4, 2, column4
}

/// 32 bytes, or 16 and zeros, or zeros: as many as there are.
///
/// # Safety
/// There are `n` bytes at `at`, a multiple of 16.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn codes_at(at: *const u8, n: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        match n {
            0 => _mm256_setzero_si256(),
            16 => _mm256_zextsi128_si256(_mm_loadu_si128(at.cast())),
            _ => _mm256_loadu_si256(at.cast()),
        }
    }
}

/// Adds the terms of the scalars to the sums of a block, and hands them on. A block that is not
/// `FULL` is the list's last.
///
/// # Safety
/// AVX2; the block lies within the list.
#[inline]
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
pub(super) unsafe fn finish<const FULL: bool>(
    list: &Checked<'_>,
    first: usize,
    mut sums: [Sums; 2],
    sink: &mut impl Sink,
) {
    let lanes = if FULL { BLOCK } else { list.list.len - first };
    if let Some(s) = list.list.scalars {
        let mut last = [0; BLOCK];
        let bytes = if FULL {
            s.bytes.as_ptr().wrapping_add(first)
        } else {
            last[..lanes].copy_from_slice(&s.bytes[first..][..lanes]);
            last.as_ptr()
        };
        let factor = _mm256_set1_epi16(s.factor as i16);
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: 64 bytes, of the list or of the array.
            let bytes = unsafe { _mm256_loadu_si256(bytes.add(i * WIDE).cast()) };
            // Each byte as the upper half of a word: (byte << 8) · factor >> 16 = byte · factor >>
            // 8.
            let (even, odd) = (_mm256_slli_epi16::<8>(bytes), _mm256_and_si256(bytes, odd_bytes()));
            sums.even = _mm256_adds_epu16(sums.even, upper_half(even, factor));
            sums.odd = _mm256_adds_epu16(sums.odd, upper_half(odd, factor));
        }
    }
    sink.block(
        first,
        low_bits(lanes),
        |threshold| {
            let t = _mm256_set1_epi16(threshold as i16);
            let at_most = |x: __m256i| _mm256_cmpeq_epi16(_mm256_min_epu16(x, t), x);
            bits(sums.map(|s| in_lanes(at_most(s.even), at_most(s.odd))))
        },
        |out| {
            for (i, sums) in sums.into_iter().enumerate() {
                let (mut even, mut odd) = (sums.even, sums.odd);
                if !FULL {
                    even = _mm256_or_si256(even, past_the_end(lanes, i * WIDE));
                    odd = _mm256_or_si256(odd, past_the_end(lanes, i * WIDE + 1));
                }
                // SAFETY: a block has two halves of two registers.
                unsafe {
                    let at = out.as_mut_ptr().add(i * WIDE / 2);
                    _mm256_storeu_si256(at.cast(), even);
                    _mm256_storeu_si256(at.add(BLOCK / 2).cast(), odd);
                }
            }
        },
    );
}

/// All ones in the words that stand for lanes `first`, `first + 2`, … from `lanes` on.
#[inline]
#[target_feature(enable = "avx2")]
fn past_the_end(lanes: usize, first: usize) -> __m256i {
    let twos = _mm256_setr_epi16(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    _mm256_cmpgt_epi16(twos, _mm256_set1_epi16(lanes as i16 - first as i16 - 1))
}

/// The odd bytes of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn odd_bytes() -> __m256i {
    _mm256_set1_epi16(0xff00u16 as i16)
}

/// What is true of even and of odd lanes, all ones or zeros a word, as bytes in the lanes' order.
#[inline]
#[target_feature(enable = "avx2")]
fn in_lanes(even: __m256i, odd: __m256i) -> __m256i {
    _mm256_blendv_epi8(even, odd, odd_bytes())
}

/// A bit for each byte of two registers.
#[inline]
#[target_feature(enable = "avx2")]
fn bits([low, high]: [__m256i; 2]) -> u64 {
    let [low, high] = [low, high].map(|x| _mm256_movemask_epi8(x) as u32);
    u64::from(low) | u64::from(high) << WIDE
}

/// The upper halves of products of words. The compiler knows that the lower half of `a` is zeros,
/// and may make many instructions of [`_mm256_mulhi_epu16`].
#[inline]
#[target_feature(enable = "avx2")]
fn upper_half(a: __m256i, b: __m256i) -> __m256i {
    let product;
    // SAFETY: an instruction of AVX2, which this function requires, between registers.
    unsafe {
        asm!(
            "vpmulhuw {product}, {a}, {b}",
            product = lateout(ymm_reg) product, a = in(ymm_reg) a, b = in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    product
}

/// Each byte twice, modulo 256. The compiler would make a shift of two such sums, and shifts run
/// where shuffles run.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn twice(a: __m256i) -> __m256i {
    let sum;
    // SAFETY: an instruction of AVX2, which this function requires, between registers.
    unsafe {
        asm!(
            "vpaddb {sum}, {a}, {a}",
            sum = lateout(ymm_reg) sum, a = in(ymm_reg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Adds looked-up bytes to a pair of accumulators.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add(all: &mut __m256i, odd: &mut __m256i, values: __m256i) {
    *all = _mm256_add_epi16(*all, values);
    *odd = _mm256_add_epi16(*odd, _mm256_maddubs_epi16(values, _mm256_set1_epi16(0x100)));
}

/// 256-entry rows.
///
/// # Safety
/// The table has row `j`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn column8<const N: usize>(
    list: &Checked<'_>,
    j: usize,
    codes: impl Fn(usize) -> __m256i,
    all: &mut [__m256i; N],
    odd: &mut [__m256i; N],
) {
    // SAFETY: a row has sixteen times 16 bytes.
    let row = |h: usize| unsafe {
        let part = list.table.as_ptr().add(j * 256 + h * 16);
        _mm256_broadcastsi128_si256(_mm_loadu_si128(part.cast()))
    };
    for i in 0..N {
        // A shuffle looks at the lowest four bits of a byte and at its top bit, which makes zero.
        let lower = codes(i);
        let upper = _mm256_xor_si256(lower, _mm256_set1_epi8(i8::MIN));
        let entry = |h: usize| {
            _mm256_or_si256(
                _mm256_shuffle_epi8(row(h), lower),
                _mm256_shuffle_epi8(row(h + 8), upper),
            )
        };
        // A blend looks at the top bit of each byte; of a left shift that is the wanted bit of the
        // code.
        let bit6 = twice(lower);
        let bit5 = twice(bit6);
        let bit4 = twice(bit5);
        let two = |h: usize| _mm256_blendv_epi8(entry(h), entry(h + 1), bit4);
        let four = |h: usize| _mm256_blendv_epi8(two(h), two(h + 2), bit5);
        add(&mut all[i], &mut odd[i], _mm256_blendv_epi8(four(0), four(4), bit6));
    }
}

/// 16-entry rows, two a column: one shuffle each.
///
/// # Safety
/// The table has row `2j`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn column4<const N: usize>(
    list: &Checked<'_>,
    j: usize,
    codes: impl Fn(usize) -> __m256i,
    all: &mut [__m256i; N],
    odd: &mut [__m256i; N],
) {
    let nibble = _mm256_set1_epi8(0x0f);
    // SAFETY: rows have 16 bytes.
    let row = |i: usize| unsafe {
        _mm256_broadcastsi128_si256(_mm_loadu_si128(list.table.as_ptr().add(i * 16).cast()))
    };
    let first = row(2 * j);
    let second = if 2 * j + 1 < list.layout.m() { row(2 * j + 1) } else { _mm256_setzero_si256() };
    for i in 0..N {
        let codes = codes(i);
        let low = _mm256_and_si256(codes, nibble);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
        add(&mut all[i], &mut odd[i], _mm256_shuffle_epi8(first, low));
        add(&mut all[i], &mut odd[i], _mm256_shuffle_epi8(second, high));
    }
}

/// Appends the position of every bound in `from ..= to`, ascending, without a branch that depends
/// on what is found in a block, as long as that is not much: with a few hits in most blocks,
/// guessing wrong is what finding them costs.
///
/// # Safety
/// AVX2, BMI1 and POPCNT; from ≤ to.
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
pub(super) unsafe fn between(bounds: &[BlockBounds], from: u16, to: u16, out: &mut Vec<u32>) {
    /// Positions of a block that are written whether they are hits or not.
    const FEW: usize = 4;
    let (from, range) = (_mm256_set1_epi16(from as i16), _mm256_set1_epi16((to - from) as i16));
    out.reserve(bounds.len() * BLOCK + FEW);
    let mut len = out.len();
    for (first, block) in (0u32..).step_by(BLOCK).zip(bounds) {
        let hit = |at: usize| {
            // SAFETY: a block is four registers, which begin at multiples of sixteen.
            let x = unsafe { _mm256_loadu_si256(block.as_ptr().add(at).cast()) };
            let above = _mm256_sub_epi16(x, from);
            _mm256_cmpeq_epi16(_mm256_min_epu16(above, range), above)
        };
        let half = |at: usize| in_lanes(hit(at), hit(at + BLOCK / 2));
        let mut hits = bits([half(0), half(WIDE / 2)]);
        let count = hits.count_ones() as usize;
        // SAFETY: so far at most 64 positions a block were written, and there is room for as many
        // more, or `FEW`.
        let at = unsafe { out.as_mut_ptr().add(len) };
        let mut put = |i: usize| {
            // SAFETY: as above.
            unsafe { *at.add(i) = first.wrapping_add(hits.trailing_zeros()) };
            hits &= hits.wrapping_sub(1);
        };
        (0..FEW).for_each(&mut put);
        if count > FEW {
            (FEW..count).for_each(put);
        }
        len += count;
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}

/// How many of `bounds` are at most `threshold`.
///
/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn count_at_most(bounds: &[BlockBounds], threshold: u16) -> usize {
    let t = _mm256_set1_epi16(threshold as i16);
    let mut count = 0;
    // A word counts to four a block.
    for blocks in bounds.chunks(8192) {
        let mut counts = _mm256_setzero_si256();
        for part in blocks.as_flattened().as_chunks::<16>().0 {
            // SAFETY: sixteen words.
            let x = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
            let at_most = _mm256_cmpeq_epi16(_mm256_min_epu16(x, t), x);
            counts = _mm256_sub_epi16(counts, at_most);
        }
        let mut words = [0u16; 16];
        // SAFETY: sixteen words.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), counts) };
        count += words.into_iter().map(usize::from).sum::<usize>();
    }
    count
}
