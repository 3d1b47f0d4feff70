//! Sorting of short rows of integers: ranked lists and hits, a hundred at a time.
//!
//! A comparison sort guesses at branches or moves one key an instruction. With several keys a
//! register a bitonic network (Batcher, 1968) does neither: log² n / 2 rounds of minima and maxima,
//! whatever the keys are. Every comparator has its minimum at the lower place, so keys that are the
//! largest never leave the end: a row is padded with them, and comparators that would reach into
//! the padding are left out.

#[cfg(target_arch = "x86_64")]
mod network;

use crate::level::{Level, Simd};

/// Keys of the longest row that goes through the network; beyond it, rounds outweigh their width.
const LONGEST: usize = 2048;

/// Keys of the shortest row for which registers of four keys are faster than comparing.
#[cfg(target_arch = "x86_64")]
const SHORTEST: usize = 32;

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
                    2..=128 => network::avx512::<16>(keys),
                    129..=512 => network::avx512::<64>(keys),
                    _ => network::avx512::<{ LONGEST / 8 }>(keys),
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if (SHORTEST..=LONGEST).contains(&keys.len()) => {
            // SAFETY: as above.
            unsafe {
                match keys.len() {
                    ..=128 => network::avx2::<32>(keys),
                    129..=256 => network::avx2::<64>(keys),
                    257..=512 => network::avx2::<128>(keys),
                    _ => network::avx2::<{ LONGEST / 4 }>(keys),
                }
            }
        }
        _ => keys.sort_unstable(),
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
