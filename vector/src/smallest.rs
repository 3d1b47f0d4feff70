//! The k-th smallest of many numbers, from above: what a shortlist is cut at.

use crate::level::{Level, Simd};

/// A value that at least `k` of `values` do not exceed, close to the smallest such value; the
/// largest of them if there are fewer, and −∞ if there are none.
pub fn kth_smallest_at_most(simd: Simd, values: &[f32], k: usize) -> f32 {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { kth_smallest_at_most_avx512(values, k) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { kth_smallest_at_most_avx2(values, k) }
        }
        _ => {
            let (low, high) = values
                .iter()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
            halve(low, high, k, |limit| values.iter().filter(|v| **v <= limit).count())
        }
    }
}

/// Halves the range `low..high` of values as long as `k` of them are in its lower half. Sixteen
/// times: that leaves less than the error of the approximate values that it is used for.
#[inline(always)]
fn halve(mut low: f32, mut high: f32, k: usize, count: impl Fn(f32) -> usize) -> f32 {
    for _ in 0..16 {
        let middle = low + (high - low) * 0.5;
        if !(low < middle && middle < high) {
            break;
        }
        if count(middle) >= k {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// # Safety
/// AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
pub(crate) unsafe fn kth_smallest_at_most_avx512(values: &[f32], k: usize) -> f32 {
    use std::arch::x86_64::*;
    let (parts, rest) = values.as_chunks::<16>();
    // SAFETY: a part is 64 bytes.
    let load = |part: &[f32; 16]| unsafe { _mm512_loadu_ps(part.as_ptr()) };
    let some = ((1u32 << rest.len()) - 1) as u16;
    // SAFETY: the mask keeps the load within what is left.
    let rest = unsafe { _mm512_maskz_loadu_ps(some, rest.as_ptr()) };
    let mut low = _mm512_mask_mov_ps(_mm512_set1_ps(f32::INFINITY), some, rest);
    let mut high = _mm512_mask_mov_ps(_mm512_set1_ps(f32::NEG_INFINITY), some, rest);
    for part in parts {
        low = _mm512_min_ps(load(part), low);
        high = _mm512_max_ps(load(part), high);
    }
    halve(_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), k, |limit| {
        let limit = _mm512_set1_ps(limit);
        let at_most = |p| _mm512_cmp_ps_mask::<_CMP_LE_OQ>(load(p), limit).count_ones() as usize;
        let first: usize = parts.iter().map(at_most).sum();
        let last = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(some, rest, limit);
        first + last.count_ones() as usize
    })
}

/// # Safety
/// AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn kth_smallest_at_most_avx2(values: &[f32], k: usize) -> f32 {
    use std::arch::x86_64::*;
    let (parts, rest) = values.as_chunks::<8>();
    // SAFETY: a part is 32 bytes.
    let load = |part: &[f32; 8]| unsafe { _mm256_loadu_ps(part.as_ptr()) };
    let mut low = _mm256_set1_ps(f32::INFINITY);
    let mut high = _mm256_set1_ps(f32::NEG_INFINITY);
    for part in parts {
        low = _mm256_min_ps(load(part), low);
        high = _mm256_max_ps(load(part), high);
    }
    let (mut lows, mut highs) = ([0f32; 8], [0f32; 8]);
    // SAFETY: both are 32 bytes.
    unsafe {
        _mm256_storeu_ps(lows.as_mut_ptr(), low);
        _mm256_storeu_ps(highs.as_mut_ptr(), high);
    }
    let low = lows.iter().chain(rest).fold(f32::INFINITY, |a, &b| a.min(b));
    let high = highs.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    halve(low, high, k, |limit| {
        let limits = _mm256_set1_ps(limit);
        // A comparison that holds is −1.
        let mut counts = [_mm256_setzero_si256(); 4];
        let mut add = |i: usize, part: &[f32; 8]| {
            let at_most = _mm256_cmp_ps::<_CMP_LE_OQ>(load(part), limits);
            counts[i] = _mm256_sub_epi32(counts[i], _mm256_castps_si256(at_most));
        };
        let (fours, last) = parts.as_chunks::<4>();
        fours.iter().for_each(|four| four.iter().enumerate().for_each(|(i, p)| add(i, p)));
        last.iter().for_each(|part| add(0, part));
        let [a, b, c, d] = counts;
        let all = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
        let four = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b11_10_11_10>(four));
        let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b01_01_01_01>(two));
        let rest = rest.iter().filter(|v| **v <= limit).count();
        _mm_cvtsi128_si32(one) as usize + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// At every level at least k values are at most what is found, which is the same at all levels,
    /// one of the range, and no farther from the k-th than the last halving leaves.
    #[test]
    fn enough_values_are_below_and_it_is_close() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for n in [1usize, 2, 15, 16, 17, 31, 64, 100, 1000] {
            let values: Vec<f32> = (0..n).map(|_| rng.random_range(-3.0..5.0f32)).collect();
            let mut sorted = values.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            for k in [1, n.div_ceil(3), n] {
                let naive = kth_smallest_at_most(Simd::all().next().unwrap(), &values, k);
                for simd in Simd::all() {
                    let found = kth_smallest_at_most(simd, &values, k);
                    assert_eq!(found, naive, "{}", simd.level());
                    assert!(values.iter().filter(|v| **v <= found).count() >= k, "{n}, {k}");
                    let step = (sorted[n - 1] - sorted[0]) / 60_000.0;
                    assert!(found <= sorted[k - 1] + step, "{n}, {k}: {found}");
                }
            }
        }
        for simd in Simd::all() {
            assert_eq!(kth_smallest_at_most(simd, &[], 0), f32::NEG_INFINITY);
        }
    }
}
