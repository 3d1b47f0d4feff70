//! Tables with AVX-512: sixteen codewords a register.

use std::arch::x86_64::*;

/// [`super::inner_products`].
///
/// # Safety
/// AVX-512 F and BW. The shapes fit.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn inner_products(words: &[i32], q: &[i32], out: &mut [i32]) -> (i32, i32) {
    let ksub = out.len();
    let mut min = _mm512_set1_epi32(i32::MAX);
    let mut max = _mm512_set1_epi32(i32::MIN);
    // Four registers at a time share a query's word.
    let mut first = 0;
    while first + 64 <= ksub {
        // SAFETY: as this function; so many codewords follow `first`.
        unsafe { registers::<4>(words, q, first, out, &mut min, &mut max) };
        first += 64;
    }
    while first < ksub {
        // SAFETY: as above; ksub is a multiple of sixteen.
        unsafe { registers::<1>(words, q, first, out, &mut min, &mut max) };
        first += 16;
    }
    (_mm512_reduce_min_epi32(min), _mm512_reduce_max_epi32(max))
}

/// The products of codewords `first..first + 16 N`.
///
/// # Safety
/// AVX-512 F and BW. There are so many codewords.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn registers<const N: usize>(
    words: &[i32],
    q: &[i32],
    first: usize,
    out: &mut [i32],
    min: &mut __m512i,
    max: &mut __m512i,
) {
    let mut sums = [_mm512_setzero_si512(); N];
    let mut at = words.as_ptr().wrapping_add(first);
    for &two in q {
        let two = _mm512_set1_epi32(two);
        for i in 0..N {
            // SAFETY: there are ksub words for each pair.
            let words = unsafe { _mm512_loadu_si512(at.wrapping_add(16 * i).cast()) };
            sums[i] = _mm512_add_epi32(sums[i], _mm512_madd_epi16(words, two));
        }
        at = at.wrapping_add(out.len());
    }
    for i in 0..N {
        *min = _mm512_min_epi32(*min, sums[i]);
        *max = _mm512_max_epi32(*max, sums[i]);
        // SAFETY: sixteen whole numbers a register.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(first + 16 * i).cast(), sums[i]) };
    }
}

/// [`super::to_bytes`].
///
/// # Safety
/// AVX-512 F and BW. The shapes fit.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn to_bytes(products: &[i32], max: i32, factor: f32, out: &mut [u8]) {
    let (max, factor) = (_mm512_set1_epi32(max), _mm512_set1_ps(factor));
    for (part, out) in products.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0) {
        // SAFETY: sixteen products, and sixteen bytes.
        unsafe {
            let below = _mm512_sub_epi32(max, _mm512_loadu_si512(part.as_ptr().cast()));
            let units = _mm512_mul_ps(_mm512_cvtepi32_ps(below), factor);
            let bytes = _mm512_cvtusepi32_epi8(_mm512_cvttps_epi32(units));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        }
    }
}
