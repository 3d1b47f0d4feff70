//! Tables with AVX2: eight codewords a register.

use std::arch::x86_64::*;

/// Registers that share a query's word.
const SHARING: usize = 4;

/// [`super::inner_products`].
///
/// # Safety
/// AVX2. The shapes fit.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn inner_products(words: &[i32], q: &[i32], out: &mut [i32]) -> (i32, i32) {
    let ksub = out.len();
    let mut min = _mm256_set1_epi32(i32::MAX);
    let mut max = _mm256_set1_epi32(i32::MIN);
    let mut first = 0;
    while first + 8 * SHARING <= ksub {
        // SAFETY: as this function; so many codewords follow `first`.
        unsafe { registers::<SHARING>(words, q, first, out, &mut min, &mut max) };
        first += 8 * SHARING;
    }
    while first < ksub {
        // SAFETY: as above; ksub is a multiple of sixteen.
        unsafe { registers::<1>(words, q, first, out, &mut min, &mut max) };
        first += 8;
    }
    let (mut mins, mut maxs) = ([0; 8], [0; 8]);
    // SAFETY: eight whole numbers each.
    unsafe {
        _mm256_storeu_si256(mins.as_mut_ptr().cast(), min);
        _mm256_storeu_si256(maxs.as_mut_ptr().cast(), max);
    }
    (mins.into_iter().fold(i32::MAX, i32::min), maxs.into_iter().fold(i32::MIN, i32::max))
}

/// The products of codewords `first..first + 8 N`.
///
/// # Safety
/// AVX2. There are so many codewords.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn registers<const N: usize>(
    words: &[i32],
    q: &[i32],
    first: usize,
    out: &mut [i32],
    min: &mut __m256i,
    max: &mut __m256i,
) {
    let mut sums = [_mm256_setzero_si256(); N];
    let mut at = words.as_ptr().wrapping_add(first);
    for &two in q {
        let two = _mm256_set1_epi32(two);
        for i in 0..N {
            // SAFETY: there are ksub words for each pair.
            let words = unsafe { _mm256_loadu_si256(at.wrapping_add(8 * i).cast()) };
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(words, two));
        }
        at = at.wrapping_add(out.len());
    }
    for i in 0..N {
        *min = _mm256_min_epi32(*min, sums[i]);
        *max = _mm256_max_epi32(*max, sums[i]);
        // SAFETY: eight whole numbers a register.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(first + 8 * i).cast(), sums[i]) };
    }
}

/// [`super::to_bytes`].
///
/// # Safety
/// AVX2. The shapes fit.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn to_bytes(products: &[i32], max: i32, factor: f32, out: &mut [u8]) {
    let (max, factor) = (_mm256_set1_epi32(max), _mm256_set1_ps(factor));
    for (part, out) in products.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0) {
        let units = |at: usize| {
            // SAFETY: sixteen products.
            let products = unsafe { _mm256_loadu_si256(part.as_ptr().add(at).cast()) };
            let below = _mm256_sub_epi32(max, products);
            _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(below), factor))
        };
        // Packing goes by halves of 128 bits: of each register four words, then four of the other.
        let words = _mm256_packus_epi32(units(0), units(8));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
        let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packus_epi16(low, high)) };
    }
}
