//! Sorting of short rows of integers: ranked lists and hits, a hundred at a time.
//!
//! A comparison sort guesses at branches or moves one key an instruction. With eight keys a
//! register a bitonic network (Batcher, 1968) does neither: log² n / 2 rounds of minima and maxima,
//! whatever the keys are. Every comparator has its minimum at the lower place, so keys that are the
//! largest never leave the end: a row is padded with them, and comparators that would reach into
//! the padding are left out.

use crate::level::{Level, Simd};

/// Keys of the longest row that goes through the network; beyond it, rounds outweigh their width.
const LONGEST: usize = 2048;

/// Sorts `keys`, smallest first.
#[inline]
pub fn sort(simd: Simd, keys: &mut [u64]) {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi if keys.len() <= LONGEST => {
            // Registers are filled with padding first: no more than it takes.
            // SAFETY: only a processor that has the level makes `simd`; the row fits the registers.
            unsafe {
                match keys.len() {
                    0..=1 => {}
                    2..=128 => avx512::sort::<16>(keys),
                    129..=512 => avx512::sort::<64>(keys),
                    _ => avx512::sort::<{ LONGEST / 8 }>(keys),
                }
            }
        }
        _ => keys.sort_unstable(),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    /// Keys of a register.
    const WIDE: usize = 8;

    /// # Safety
    /// AVX-512 F; at most 8 N keys.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn sort<const N: usize>(keys: &mut [u64]) {
        let mut registers = [_mm512_set1_epi64(-1); N];
        let used = keys.len().div_ceil(WIDE);
        let rows = &mut registers[..used];
        for (row, keys) in rows.iter_mut().zip(keys.chunks(WIDE)) {
            // SAFETY: the mask keeps the load within the keys.
            let part = unsafe { _mm512_mask_loadu_epi64(*row, first(keys), keys.as_ptr().cast()) };
            *row = sort_one(part);
        }
        let mut block = 2;
        while block < 2 * used {
            merge(rows, block);
            block *= 2;
        }
        for (row, keys) in rows.iter().zip(keys.chunks_mut(WIDE)) {
            // SAFETY: the mask keeps the store within the keys.
            unsafe { _mm512_mask_storeu_epi64(keys.as_mut_ptr().cast(), first(keys), *row) };
        }
    }

    /// A bit for each key of a part of at most 8.
    fn first(part: &[u64]) -> __mmask8 {
        ((1u32 << part.len()) - 1) as __mmask8
    }

    /// Merges the two sorted halves of each block of so many registers.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn merge(rows: &mut [__m512i], block: usize) {
        let used = rows.len();
        // The first key against the last, and so on inwards: the smaller half goes to the front,
        // and either half is bitonic.
        for start in (0..used).step_by(block) {
            for i in 0..block / 2 {
                let (a, b) = (start + i, start + block - 1 - i);
                if b < used {
                    let (low, high) = in_order(rows[a], reversed(rows[b]));
                    (rows[a], rows[b]) = (low, reversed(high));
                }
            }
        }
        let mut half = block / 4;
        while half > 0 {
            for start in (0..used).step_by(2 * half) {
                for a in start..(start + half).min(used.saturating_sub(half)) {
                    (rows[a], rows[a + half]) = in_order(rows[a], rows[a + half]);
                }
            }
            half /= 2;
        }
        rows.iter_mut().for_each(|row| *row = pairs(twos(fours(*row))));
    }

    /// Sorts the keys of a register.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sort_one(x: __m512i) -> __m512i {
        let x = pairs(x);
        let x = exchange::<0b1100_1100>(x, _mm512_permutex_epi64::<0b00_01_10_11>(x));
        let x = pairs(x);
        let x = exchange::<0b1111_0000>(x, reversed(x));
        pairs(twos(x))
    }

    /// Compares each key with the one four places on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fours(x: __m512i) -> __m512i {
        exchange::<0b1111_0000>(x, _mm512_shuffle_i64x2::<0b01_00_11_10>(x, x))
    }

    /// Compares each key with the one two places on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn twos(x: __m512i) -> __m512i {
        exchange::<0b1100_1100>(x, _mm512_permutex_epi64::<0b01_00_11_10>(x))
    }

    /// Compares each key with its neighbour.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn pairs(x: __m512i) -> __m512i {
        exchange::<0b1010_1010>(x, _mm512_shuffle_epi32::<0b01_00_11_10>(x))
    }

    /// The smaller of each key and its partner; the larger at the places `LARGER`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn exchange<const LARGER: u8>(x: __m512i, partners: __m512i) -> __m512i {
        _mm512_mask_max_epu64(_mm512_min_epu64(x, partners), LARGER, x, partners)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn in_order(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
        (_mm512_min_epu64(a, b), _mm512_max_epu64(a, b))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn reversed(x: __m512i) -> __m512i {
        _mm512_permutexvar_epi64(_mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7), x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// Every length up to some registers and around the network's ends; keys that tie, rise, fall,
    /// and are the padding's own value.
    #[test]
    fn rows_of_every_length_are_sorted() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        let lengths = (0..200).chain([255, 256, 257, 505, 511, 512, 513, 1023, 1500, LONGEST]);
        for n in lengths.chain([LONGEST + 1]) {
            let random: Vec<u64> = (0..n).map(|_| rng.random()).collect();
            let rows = [
                random.clone(),
                random.iter().map(|key| key % 5).collect(),
                random.iter().map(|key| if key % 3 == 0 { u64::MAX } else { *key }).collect(),
                (0..n as u64).collect(),
                (0..n as u64).rev().collect(),
            ];
            for row in rows {
                let mut want = row.clone();
                want.sort_unstable();
                for simd in Simd::all() {
                    let mut found = row.clone();
                    sort(simd, &mut found);
                    assert_eq!(found, want, "{}, {n} keys", simd.level());
                }
            }
        }
    }
}
