//! The network, over registers of eight keys (AVX-512) or four (AVX2).

use std::arch::x86_64::*;

/// A register of keys.
///
/// # Safety
/// The methods are to be called where the processor has the type's level: AVX-512 F for
/// [`__m512i`], AVX2 for [`__m256i`].
trait Keys: Copy {
    /// Keys of a register.
    const WIDE: usize;

    /// Keys that none is larger than.
    unsafe fn largest() -> Self;
    /// At most `WIDE` keys, then the largest.
    unsafe fn load(keys: &[u64]) -> Self;
    /// Writes the first keys, as many as `keys` has room for, which is at most `WIDE`.
    unsafe fn store(self, keys: &mut [u64]);
    /// At each place the smaller key of two, and the larger.
    unsafe fn in_order(a: Self, b: Self) -> (Self, Self);
    /// The last key first.
    unsafe fn reversed(self) -> Self;
    /// Sorts the keys.
    unsafe fn sort(self) -> Self;
    /// Sorts keys that first rise and then fall, or the other way round.
    unsafe fn sort_bitonic(self) -> Self;
}

/// # Safety
/// AVX-512 F; at most 8 N keys.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn avx512<const N: usize>(keys: &mut [u64]) {
    // SAFETY: this function's own.
    unsafe { sort::<__m512i, N>(keys) }
}

/// # Safety
/// AVX2; at most 4 N keys.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2<const N: usize>(keys: &mut [u64]) {
    // SAFETY: this function's own.
    unsafe { sort::<__m256i, N>(keys) }
}

/// # Safety
/// The level of `K`; at most N registers of keys.
#[inline(always)]
unsafe fn sort<K: Keys, const N: usize>(keys: &mut [u64]) {
    // SAFETY: the caller's level.
    unsafe {
        let mut registers = [K::largest(); N];
        let used = keys.len().div_ceil(K::WIDE);
        let rows = &mut registers[..used];
        for (row, keys) in rows.iter_mut().zip(keys.chunks(K::WIDE)) {
            *row = K::load(keys).sort();
        }
        let mut block = 2;
        while block < 2 * used {
            merge(rows, block);
            block *= 2;
        }
        for (row, keys) in rows.iter().zip(keys.chunks_mut(K::WIDE)) {
            row.store(keys);
        }
    }
}

/// Merges the two sorted halves of each block of so many registers.
///
/// # Safety
/// The level of `K`.
#[inline(always)]
unsafe fn merge<K: Keys>(rows: &mut [K], block: usize) {
    let used = rows.len();
    // SAFETY: the caller's level.
    unsafe {
        // The first key against the last, and so on inwards: the smaller half goes to the front,
        // and either half is bitonic.
        for start in (0..used).step_by(block) {
            for i in 0..block / 2 {
                let (a, b) = (start + i, start + block - 1 - i);
                if b < used {
                    let (low, high) = K::in_order(rows[a], rows[b].reversed());
                    (rows[a], rows[b]) = (low, high.reversed());
                }
            }
        }
        let mut half = block / 4;
        while half > 0 {
            for start in (0..used).step_by(2 * half) {
                for a in start..(start + half).min(used.saturating_sub(half)) {
                    (rows[a], rows[a + half]) = K::in_order(rows[a], rows[a + half]);
                }
            }
            half /= 2;
        }
        for row in rows {
            *row = row.sort_bitonic();
        }
    }
}

impl Keys for __m512i {
    const WIDE: usize = 8;

    #[inline(always)]
    unsafe fn largest() -> Self {
        // SAFETY: the caller's level.
        unsafe { _mm512_set1_epi64(-1) }
    }

    #[inline(always)]
    unsafe fn load(keys: &[u64]) -> Self {
        // SAFETY: as above; the mask keeps the load within the keys.
        unsafe { _mm512_mask_loadu_epi64(Self::largest(), first(keys), keys.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, keys: &mut [u64]) {
        // SAFETY: as above; the mask keeps the store within the keys.
        unsafe { _mm512_mask_storeu_epi64(keys.as_mut_ptr().cast(), first(keys), self) }
    }

    #[inline(always)]
    unsafe fn in_order(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe { (_mm512_min_epu64(a, b), _mm512_max_epu64(a, b)) }
    }

    #[inline(always)]
    unsafe fn reversed(self) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_permutexvar_epi64(_mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7), self) }
    }

    #[inline(always)]
    unsafe fn sort(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let x = pairs512(self);
            let x = exchange512::<0b1100_1100>(x, _mm512_permutex_epi64::<0b00_01_10_11>(x));
            let x = pairs512(x);
            let x = exchange512::<0b1111_0000>(x, x.reversed());
            pairs512(twos512(x))
        }
    }

    #[inline(always)]
    unsafe fn sort_bitonic(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let fours = _mm512_shuffle_i64x2::<0b01_00_11_10>(self, self);
            pairs512(twos512(exchange512::<0b1111_0000>(self, fours)))
        }
    }
}

/// A bit for each key of a part of at most 8.
fn first(part: &[u64]) -> __mmask8 {
    ((1u32 << part.len()) - 1) as __mmask8
}

/// Compares each key with the one two places on.
#[inline]
#[target_feature(enable = "avx512f")]
fn twos512(x: __m512i) -> __m512i {
    exchange512::<0b1100_1100>(x, _mm512_permutex_epi64::<0b01_00_11_10>(x))
}

/// Compares each key with its neighbour.
#[inline]
#[target_feature(enable = "avx512f")]
fn pairs512(x: __m512i) -> __m512i {
    exchange512::<0b1010_1010>(x, _mm512_shuffle_epi32::<0b01_00_11_10>(x))
}

/// The smaller of each key and its partner; the larger at the places `LARGER`.
#[inline]
#[target_feature(enable = "avx512f")]
fn exchange512<const LARGER: u8>(x: __m512i, partners: __m512i) -> __m512i {
    _mm512_mask_max_epu64(_mm512_min_epu64(x, partners), LARGER, x, partners)
}

/// Keys with their top bit turned over: their order is that of signed numbers then, which is what
/// AVX2 compares.
impl Keys for __m256i {
    const WIDE: usize = 4;

    #[inline(always)]
    unsafe fn largest() -> Self {
        // SAFETY: the caller's level.
        unsafe { _mm256_set1_epi64x(i64::MAX) }
    }

    #[inline(always)]
    unsafe fn load(keys: &[u64]) -> Self {
        let mut four = [u64::MAX; 4];
        let whole = match keys.first_chunk() {
            Some(keys) => keys,
            None => {
                four[..keys.len()].copy_from_slice(keys);
                &four
            }
        };
        // SAFETY: the caller's level; four keys.
        unsafe { turned(_mm256_loadu_si256(whole.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, keys: &mut [u64]) {
        // SAFETY: as above.
        unsafe {
            if let Some(keys) = keys.first_chunk_mut::<4>() {
                _mm256_storeu_si256(keys.as_mut_ptr().cast(), turned(self));
            } else {
                let mut four = [0; 4];
                _mm256_storeu_si256(four.as_mut_ptr().cast(), turned(self));
                keys.copy_from_slice(&four[..keys.len()]);
            }
        }
    }

    #[inline(always)]
    unsafe fn in_order(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe {
            let falls = _mm256_cmpgt_epi64(a, b);
            (_mm256_blendv_epi8(a, b, falls), _mm256_blendv_epi8(b, a, falls))
        }
    }

    #[inline(always)]
    unsafe fn reversed(self) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_permute4x64_epi64::<0b00_01_10_11>(self) }
    }

    #[inline(always)]
    unsafe fn sort(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let x = pairs256(self);
            pairs256(exchange256(x, x.reversed(), _mm256_setr_epi64x(0, 0, -1, -1)))
        }
    }

    #[inline(always)]
    unsafe fn sort_bitonic(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let twos = _mm256_permute4x64_epi64::<0b01_00_11_10>(self);
            pairs256(exchange256(self, twos, _mm256_setr_epi64x(0, 0, -1, -1)))
        }
    }
}

/// The top bit of each key the other way.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(x: __m256i) -> __m256i {
    _mm256_xor_si256(x, _mm256_set1_epi64x(i64::MIN))
}

/// Compares each key with its neighbour.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs256(x: __m256i) -> __m256i {
    let partners = _mm256_shuffle_epi32::<0b01_00_11_10>(x);
    exchange256(x, partners, _mm256_setr_epi64x(0, -1, 0, -1))
}

/// The smaller of each key and its partner; the larger at the places of all ones in `larger`.
#[inline]
#[target_feature(enable = "avx2")]
fn exchange256(x: __m256i, partners: __m256i, larger: __m256i) -> __m256i {
    let falls = _mm256_cmpgt_epi64(x, partners);
    _mm256_blendv_epi8(x, partners, _mm256_xor_si256(falls, larger))
}
