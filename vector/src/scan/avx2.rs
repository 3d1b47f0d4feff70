//! The scan with AVX2: half a block of 64 at a time.

use std::arch::x86_64::*;

use super::{BlockBounds, Checked, Sink, low_bits, place_of};
use crate::codes::BLOCK;

/// Lanes of a register.
const HALF: usize = BLOCK / 2;

/// Scans a list, at 8 or 4 bits.
///
/// # Safety
/// AVX2.
#[target_feature(enable = "avx2,bmi2")]
pub(super) unsafe fn scan(list: Checked<'_>, sink: &mut impl Sink) {
    let columns = list.layout.columns();
    let (full, tail) = list.shape();
    let end = full + tail;
    let mut first = 0;
    while first < end {
        let width = (end - first).min(BLOCK);
        let mut bounds = [0u16; BLOCK];
        for half in 0..width.div_ceil(HALF) {
            let (mut all, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for j in 0..columns {
                // SAFETY: the column has `width` bytes within the codes, of which this half reads
                // 32, or 16 if there are no more.
                let bytes = unsafe {
                    let at =
                        list.list.codes.as_ptr().add(first * columns + j * width + half * HALF);
                    if width - half * HALF >= HALF {
                        _mm256_loadu_si256(at.cast())
                    } else {
                        _mm256_zextsi128_si256(_mm_loadu_si128(at.cast()))
                    }
                };
                if list.layout.bits() == 8 {
                    // SAFETY: column j has its row in the table.
                    let values = unsafe { lookup8(list.table.as_ptr().add(j * 256), bytes) };
                    add(&mut all, &mut odd, values);
                } else {
                    // SAFETY: as above, rows 2j and, if there is one, 2j + 1.
                    let values = unsafe { lookup4(&list, j, bytes) };
                    add(&mut all, &mut odd, values[0]);
                    add(&mut all, &mut odd, values[1]);
                }
            }
            let even = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(odd));
            let (mut evens, mut odds) = ([0u16; HALF / 2], [0u16; HALF / 2]);
            // SAFETY: both arrays are 32 bytes.
            unsafe {
                _mm256_storeu_si256(evens.as_mut_ptr().cast(), even);
                _mm256_storeu_si256(odds.as_mut_ptr().cast(), odd);
            }
            let out = bounds[half * HALF..].as_chunks_mut::<2>().0;
            for (pair, (e, o)) in out.iter_mut().zip(evens.iter().zip(&odds)) {
                *pair = [*e, *o];
            }
        }
        let lanes = (list.list.len - first).min(width);
        if let Some(s) = list.list.scalars {
            for (bound, &byte) in bounds.iter_mut().zip(&s.bytes[first..first + lanes]) {
                let term = (u32::from(byte) * u32::from(s.factor)) >> 8;
                *bound = bound.saturating_add(term as u16);
            }
        }
        let hits = |threshold: u16| {
            bounds.iter().enumerate().fold(0, |hits, (i, &b)| hits | u64::from(b <= threshold) << i)
        };
        let split = |out: &mut BlockBounds| {
            (0..lanes).for_each(|lane| out[place_of(lane)] = bounds[lane]);
        };
        sink.block(first, low_bits(lanes), hits, split);
        first += width;
    }
}

/// Adds looked-up bytes to a pair of accumulators.
#[inline]
#[target_feature(enable = "avx2")]
fn add(all: &mut __m256i, odd: &mut __m256i, values: __m256i) {
    *all = _mm256_add_epi16(*all, values);
    *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(values));
}

/// Looks 32 codes up in a row of 256 bytes: sixteen shuffles and a tree of blends.
///
/// # Safety
/// `row` has 256 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn lookup8(row: *const u8, codes: __m256i) -> __m256i {
    let low = _mm256_and_si256(codes, _mm256_set1_epi8(0x0f));
    // SAFETY: a row has sixteen times 16 bytes.
    let entry = |h: usize| unsafe {
        _mm256_shuffle_epi8(
            _mm256_broadcastsi128_si256(_mm_loadu_si128(row.add(h * 16).cast())),
            low,
        )
    };
    // A blend looks at the top bit of each byte; of a left shift that is the wanted bit of the
    // code.
    let (bit4, bit5) = (_mm256_slli_epi16::<3>(codes), _mm256_slli_epi16::<2>(codes));
    let bit6 = _mm256_slli_epi16::<1>(codes);
    let two = |h: usize| _mm256_blendv_epi8(entry(h), entry(h + 1), bit4);
    let four = |h: usize| _mm256_blendv_epi8(two(h), two(h + 2), bit5);
    let eight = |h: usize| _mm256_blendv_epi8(four(h), four(h + 4), bit6);
    _mm256_blendv_epi8(eight(0), eight(8), codes)
}

/// Looks the low and the high nibbles of 32 codes up in rows `2j` and `2j + 1` of 16 bytes.
///
/// # Safety
/// The table has row `2j`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn lookup4(list: &Checked<'_>, j: usize, codes: __m256i) -> [__m256i; 2] {
    // SAFETY: rows have 16 bytes.
    let row = |i: usize| unsafe {
        _mm256_broadcastsi128_si256(_mm_loadu_si128(list.table.as_ptr().add(i * 16).cast()))
    };
    let nibble = _mm256_set1_epi8(0x0f);
    let low = _mm256_shuffle_epi8(row(2 * j), _mm256_and_si256(codes, nibble));
    if 2 * j + 1 == list.layout.m() {
        return [low, _mm256_setzero_si256()];
    }
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
    [low, _mm256_shuffle_epi8(row(2 * j + 1), high)]
}
