//! One vector against many rows with vector registers, in the order that [`crate::dense::LANES`]
//! fixes.
//!
//! Sixteen partial sums are one AVX-512 register or two of AVX2. Four rows are in flight: an
//! addition takes several cycles before its result can be added to, and the rows do not wait for
//! each other. Multiply and add stay separate, since the order's definition does not fuse them.

use std::arch::x86_64::*;

/// Rows in flight.
const TILE: usize = 4;

/// Adds the sixteen partial sums as the order says: halves of 8, 4, 2, 1.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(crate) fn reduce512(s: __m512) -> f32 {
    reduce256(_mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps::<1>(s)))
}

/// [`reduce512`] of four, to the same bits: the same halves are added to each other, those of two
/// or four side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(crate) fn reduce512_of_four([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    // Halves of 256 bits: the sums of a, then those of b.
    let halves = |a: __m512, b: __m512| {
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
    // SAFETY: four floats.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

/// The last three halvings.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce256(s: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps::<1>(s));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// Writes `$name`: for each row the sum over `$term(x, row)`.
macro_rules! rows_avx512 {
    ($name:ident, |$a:ident, $b:ident| $term:expr) => {
        /// # Safety
        /// AVX-512 F and DQ.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        pub(crate) unsafe fn $name(x: &[f32], rows: &[f32], ids: &[u32], out: &mut Vec<f32>) {
            out.clear();
            let d = x.len();
            let row = |i: u32| &rows[i as usize * d..][..d];
            let (full, tail) = (d / 16, d % 16);
            let mask = ((1u32 << tail) - 1) as u16;
            let mut tile = |rows: &[&[f32]; TILE], wanted: usize| {
                let mut sums = [_mm512_setzero_ps(); TILE];
                for i in 0..full {
                    // SAFETY: 16 · full ≤ d, which is the length of x and of every row.
                    let $a = unsafe { _mm512_loadu_ps(x.as_ptr().add(16 * i)) };
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        // SAFETY: as above.
                        let $b = unsafe { _mm512_loadu_ps(row.as_ptr().add(16 * i)) };
                        *sum = _mm512_add_ps(*sum, $term);
                    }
                }
                if tail > 0 {
                    // SAFETY: the mask keeps the loads within d.
                    let $a = unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr().add(16 * full)) };
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        let at = row[16 * full..].as_ptr();
                        // SAFETY: as above.
                        let $b = unsafe { _mm512_maskz_loadu_ps(mask, at) };
                        *sum = _mm512_mask_add_ps(*sum, mask, *sum, $term);
                    }
                }
                out.extend(sums[..wanted].iter().map(|&s| reduce512(s)));
            };
            let (tiles, rest) = ids.as_chunks::<TILE>();
            for ids in tiles {
                tile(&ids.map(row), TILE);
            }
            for &id in rest {
                tile(&[row(id); TILE], 1);
            }
        }
    };
}

rows_avx512!(dots_avx512, |a, b| _mm512_mul_ps(a, b));
rows_avx512!(l2_sqs_avx512, |a, b| {
    let difference = _mm512_sub_ps(a, b);
    _mm512_mul_ps(difference, difference)
});

/// As above with two registers of eight for the sixteen partial sums; the tail goes element by
/// element to its partial sum.
macro_rules! rows_avx2 {
    ($name:ident, |$a:ident, $b:ident| $term:expr, |$x:ident, $y:ident| $scalar:expr) => {
        /// # Safety
        /// AVX2.
        #[target_feature(enable = "avx2")]
        pub(crate) unsafe fn $name(x: &[f32], rows: &[f32], ids: &[u32], out: &mut Vec<f32>) {
            out.clear();
            let d = x.len();
            let full = d / 16 * 16;
            for &id in ids {
                let row = &rows[id as usize * d..][..d];
                let (mut low, mut high) = (_mm256_setzero_ps(), _mm256_setzero_ps());
                for i in (0..full).step_by(16) {
                    for (half, sum) in [&mut low, &mut high].into_iter().enumerate() {
                        // SAFETY: i + 16 ≤ d, which is the length of x and of the row.
                        let $a = unsafe { _mm256_loadu_ps(x.as_ptr().add(i + 8 * half)) };
                        // SAFETY: as above.
                        let $b = unsafe { _mm256_loadu_ps(row.as_ptr().add(i + 8 * half)) };
                        *sum = _mm256_add_ps(*sum, $term);
                    }
                }
                let mut sums = [0f32; 16];
                // SAFETY: two times eight floats are the array.
                unsafe {
                    _mm256_storeu_ps(sums.as_mut_ptr(), low);
                    _mm256_storeu_ps(sums.as_mut_ptr().add(8), high);
                }
                for (sum, (&$x, &$y)) in sums.iter_mut().zip(x[full..].iter().zip(&row[full..])) {
                    *sum += $scalar;
                }
                // SAFETY: as above.
                let (low, high) = unsafe {
                    (_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums.as_ptr().add(8)))
                };
                out.push(reduce256(_mm256_add_ps(low, high)));
            }
        }
    };
}

rows_avx2!(dots_avx2, |a, b| _mm256_mul_ps(a, b), |x, y| x * y);
rows_avx2!(
    l2_sqs_avx2,
    |a, b| {
        let difference = _mm256_sub_ps(a, b);
        _mm256_mul_ps(difference, difference)
    },
    |x, y| (x - y) * (x - y)
);
