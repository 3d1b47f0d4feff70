//! Sixteen floats side by side, as the order of [`crate::dense::LANES`] wants them: one register of
//! AVX-512, or two of AVX2.
//!
//! A kernel is written once, over [`Sixteen`], and compiled for each level in a function that
//! enables the level's features; all of these methods are inlined into it. Multiply and add stay
//! separate, since the order's definition does not fuse them.

use std::arch::x86_64::*;

/// Sixteen floats in registers.
///
/// # Safety
/// The methods are to be called where the processor has the type's level: AVX-512 F, BW, DQ and VL
/// for [`__m512`], AVX2 and F16C for a pair of [`__m256`]. Pointers are good for what is read.
pub(crate) trait Sixteen: Copy {
    /// Zeros.
    unsafe fn zero() -> Self;
    /// The same float sixteen times.
    unsafe fn splat(x: f32) -> Self;
    /// The sixteen floats at `at`.
    unsafe fn load(at: *const f32) -> Self;
    /// The first `n` < 16 of the floats at `at`, then zeros.
    unsafe fn load_first(at: *const f32, n: usize) -> Self;
    /// The words of `DSUB` floats at `of(0)`, `of(1)`, …, one after the other. `DSUB` is 2, 4, 8 or
    /// 16.
    unsafe fn words<const DSUB: usize>(of: impl Fn(usize) -> *const f32) -> Self;
    /// The floats of the sixteen halves at `at`.
    unsafe fn halves(at: *const u8) -> Self;
    /// The sixteen bytes at `at` as floats.
    unsafe fn bytes(at: *const u8) -> Self;
    /// Sums.
    unsafe fn add(self, other: Self) -> Self;
    /// Differences.
    unsafe fn sub(self, other: Self) -> Self;
    /// Products.
    unsafe fn mul(self, other: Self) -> Self;
    /// The sum of the sixteen, as the order says: halves of 8, 4, 2, 1.
    unsafe fn reduce(self) -> f32;
    /// [`Self::reduce`] of four, to the same bits: the same halves are added to each other, those
    /// of two or four side by side.
    unsafe fn reduce_four(sums: [Self; 4]) -> [f32; 4];
}

impl Sixteen for __m512 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's level.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller's level and floats.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_first(at: *const f32, n: usize) -> Self {
        // SAFETY: as above; the mask keeps the load within them.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, at) }
    }

    #[inline(always)]
    unsafe fn words<const DSUB: usize>(of: impl Fn(usize) -> *const f32) -> Self {
        // SAFETY: as above.
        unsafe {
            if DSUB == 16 {
                return _mm512_loadu_ps(of(0));
            }
            let [low, high] = <[__m256; 2]>::words::<DSUB>(of);
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        }
    }

    #[inline(always)]
    unsafe fn halves(at: *const u8) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast()))) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's level.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn reduce(self) -> f32 {
        // SAFETY: as above.
        unsafe { [_mm512_castps512_ps256(self), _mm512_extractf32x8_ps::<1>(self)].reduce() }
    }

    #[inline(always)]
    unsafe fn reduce_four([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: as above; four floats are stored to the array.
        unsafe {
            // Halves of 256 bits: the sums of a, then those of b.
            let halves = |a: Self, b: Self| {
                let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
                let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b);
                _mm512_add_ps(low, high)
            };
            let (ab, cd) = (halves(a, b), halves(c, d));
            // Quarters of 128 bits, a to d.
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
            let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd);
            let four = _mm512_add_ps(low, high);
            let two = _mm512_add_ps(four, _mm512_shuffle_ps::<0b11_10_11_10>(four, four));
            let one = _mm512_add_ps(two, _mm512_shuffle_ps::<0b01_01_01_01>(two, two));
            let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let sums = _mm512_castps512_ps128(_mm512_permutexvar_ps(first, one));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }
}

/// Eight words of all ones, then eight of zeros: from 8 − n on, a mask of n words.
const FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Sixteen for [__m256; 2] {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's level.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller's level and floats.
        unsafe { [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))] }
    }

    #[inline(always)]
    unsafe fn load_first(at: *const f32, n: usize) -> Self {
        // SAFETY: as above; masks keep the loads within them.
        unsafe {
            let part = |skipped: usize| {
                let first = 8 - n.saturating_sub(skipped).min(8);
                let mask = _mm256_loadu_si256(FIRST.as_ptr().add(first).cast());
                _mm256_maskload_ps(at.wrapping_add(skipped), mask)
            };
            [part(0), part(8)]
        }
    }

    #[inline(always)]
    unsafe fn words<const DSUB: usize>(of: impl Fn(usize) -> *const f32) -> Self {
        // SAFETY: the caller's level and words.
        unsafe {
            match DSUB {
                2 => {
                    let pair = |w: usize| {
                        let low = _mm_load_sd(of(w).cast());
                        _mm_castpd_ps(_mm_loadh_pd(low, of(w + 1).cast()))
                    };
                    [_mm256_set_m128(pair(2), pair(0)), _mm256_set_m128(pair(6), pair(4))]
                }
                4 => {
                    let four = |w: usize| _mm_loadu_ps(of(w));
                    [_mm256_set_m128(four(1), four(0)), _mm256_set_m128(four(3), four(2))]
                }
                8 => [_mm256_loadu_ps(of(0)), _mm256_loadu_ps(of(1))],
                _ => Self::load(of(0)),
            }
        }
    }

    #[inline(always)]
    unsafe fn halves(at: *const u8) -> Self {
        // SAFETY: as above.
        unsafe {
            let eight = |i: usize| _mm256_cvtph_ps(_mm_loadu_si128(at.add(i).cast()));
            [eight(0), eight(16)]
        }
    }

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> Self {
        // SAFETY: as above.
        unsafe {
            let eight = |i: usize| {
                let bytes = _mm_loadl_epi64(at.add(i).cast());
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
            };
            [eight(0), eight(8)]
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's level.
        unsafe { [_mm256_add_ps(self[0], other[0]), _mm256_add_ps(self[1], other[1])] }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { [_mm256_sub_ps(self[0], other[0]), _mm256_sub_ps(self[1], other[1])] }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { [_mm256_mul_ps(self[0], other[0]), _mm256_mul_ps(self[1], other[1])] }
    }

    #[inline(always)]
    unsafe fn reduce(self) -> f32 {
        // SAFETY: as above.
        unsafe {
            let eight = _mm256_add_ps(self[0], self[1]);
            let high = _mm256_extractf128_ps::<1>(eight);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    unsafe fn reduce_four(sums: [Self; 4]) -> [f32; 4] {
        // SAFETY: as above; four floats are stored to the array.
        unsafe {
            let [a, b, c, d] = sums.map(|[low, high]| _mm256_add_ps(low, high));
            // Halves of 128 bits: the sums of a, then those of b.
            let halves = |a: __m256, b: __m256| {
                let low = _mm256_permute2f128_ps::<0x20>(a, b);
                let high = _mm256_permute2f128_ps::<0x31>(a, b);
                _mm256_add_ps(low, high)
            };
            let (ab, cd) = (halves(a, b), halves(c, d));
            // Two sums each of a and c, then of b and d.
            let low = _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd);
            let high = _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd);
            let two = _mm256_add_ps(low, high);
            let one = _mm256_add_ps(two, _mm256_permute_ps::<0b11_11_01_01>(two));
            let (ac, bd) = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
            // The places 0 and 2 of either, in turns.
            let acbd = _mm_shuffle_ps::<0b10_00_10_00>(ac, bd);
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), _mm_shuffle_ps::<0b11_01_10_00>(acbd, acbd));
            out
        }
    }
}
