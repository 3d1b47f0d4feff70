//! Float scores of a few scattered codes: what the integer scan lets through.
//!
//! Each score has the bits that [`crate::adc`] defines. Four codes are scored side by side, and
//! none waits for another: codewords come from the second-level cache, and so may the code, a line
//! a column. These lines are what a score costs. Codewords of 2, 4, 8 or 16 numbers, in d a
//! multiple of 16, are scored in registers; others by the definition.

use crate::adc;
use crate::codes::{CodeLayout, MAX_M};
use crate::level::{Level, Simd};
use crate::metric::Metric;

/// The data that all codes of a query share.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// How codes lie in their lists.
    pub layout: CodeLayout,
    /// The query (d,).
    pub query: &'a [f32],
    /// (m, ksub, dsub).
    pub codebooks: &'a [f32],
}

/// Some codes of one list.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Codes of the list in block order.
    pub codes: &'a [u8],
    /// Vectors in the list.
    pub len: usize,
    /// Centroid of the list, (d,); read for L2 only.
    pub centroid: &'a [f32],
    /// The part of the score that the centroid decides, ⟨q, c⟩; read for inner products only.
    pub base: f32,
    /// The codes' places in the list, (n,).
    pub places: &'a [u32],
}

impl Tables<'_> {
    fn ksub(&self) -> usize {
        1 << self.layout.bits()
    }
}

/// Writes the score of each row to `out` (n,): ‖(q − c) − r̂‖², or ⟨q, c⟩ + ⟨q, r̂⟩.
///
/// # Panics
/// If a shape does not fit.
pub fn scores(
    simd: Simd,
    metric: Metric,
    tables: &Tables<'_>,
    rows: &Rows<'_>,
    out: &mut Vec<f32>,
) {
    out.clear();
    let (m, ksub, d) = (tables.layout.m(), tables.ksub(), tables.query.len());
    assert!(m <= MAX_M, "m = {m}");
    assert!(d.is_multiple_of(m), "d = {d} is no multiple of m = {m}");
    assert_eq!(rows.centroid.len(), d, "centroid of another dimension");
    assert_eq!(tables.codebooks.len(), ksub * d, "codebooks of another shape");
    #[cfg(target_arch = "x86_64")]
    if simd.level() >= Level::Avx2 && d.is_multiple_of(16) {
        use Metric::{InnerProduct, L2};
        use registers::scores;
        // SAFETY: only a processor that has the level makes `simd`; shapes were checked above.
        unsafe {
            match (metric, d / m, tables.layout.bits()) {
                (L2, 2, 8) => return scores::<true, 2, 8>(simd, tables, rows, out),
                (L2, 4, 8) => return scores::<true, 4, 8>(simd, tables, rows, out),
                (L2, 8, 8) => return scores::<true, 8, 8>(simd, tables, rows, out),
                (L2, 16, 8) => return scores::<true, 16, 8>(simd, tables, rows, out),
                (L2, 4, 4) => return scores::<true, 4, 4>(simd, tables, rows, out),
                (L2, 8, 4) => return scores::<true, 8, 4>(simd, tables, rows, out),
                (InnerProduct, 2, 8) => return scores::<false, 2, 8>(simd, tables, rows, out),
                (InnerProduct, 4, 8) => return scores::<false, 4, 8>(simd, tables, rows, out),
                (InnerProduct, 8, 8) => return scores::<false, 8, 8>(simd, tables, rows, out),
                (InnerProduct, 16, 8) => return scores::<false, 16, 8>(simd, tables, rows, out),
                (InnerProduct, 4, 4) => return scores::<false, 4, 4>(simd, tables, rows, out),
                (InnerProduct, 8, 4) => return scores::<false, 8, 4>(simd, tables, rows, out),
                _ => {}
            }
        }
    }
    let mut residual = vec![0f32; d];
    let mut code = [0; MAX_M];
    let code = &mut code[..m];
    out.extend(rows.places.iter().map(|&i| {
        tables.layout.get(rows.codes, rows.len, i as usize, code);
        adc::decode(tables.codebooks, ksub, code, &mut residual);
        match metric {
            Metric::L2 => adc::l2_score(tables.query, rows.centroid, &residual),
            Metric::InnerProduct => adc::inner_product_score(rows.base, tables.query, &residual),
        }
    }));
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use std::arch::x86_64::{__m256, __m512};

    use super::*;
    use crate::sixteen::Sixteen;

    /// Codes that are scored side by side: what they share is loaded once, and none waits for
    /// another's sum.
    const SIDE_BY_SIDE: usize = 4;

    /// Codewords of `DSUB` floats, codes of `BITS`: sixteen coordinates of a residual are 16 / DSUB
    /// words.
    ///
    /// # Safety
    /// The level is AVX2 at least. The shapes fit, and d is a multiple of 16.
    pub(super) unsafe fn scores<const L2: bool, const DSUB: usize, const BITS: u32>(
        simd: Simd,
        tables: &Tables<'_>,
        rows: &Rows<'_>,
        out: &mut Vec<f32>,
    ) {
        // SAFETY: the level and the caller's promise.
        unsafe {
            if simd.level() >= Level::Avx512 {
                avx512::<L2, DSUB, BITS>(tables, rows, out);
            } else {
                avx2::<L2, DSUB, BITS>(tables, rows, out);
            }
        }
    }

    /// # Safety
    /// AVX-512 F, BW, DQ, VL; else as [`all`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn avx512<const L2: bool, const DSUB: usize, const BITS: u32>(
        tables: &Tables<'_>,
        rows: &Rows<'_>,
        out: &mut Vec<f32>,
    ) {
        // SAFETY: this function's own.
        unsafe { all::<__m512, L2, DSUB, BITS>(tables, rows, out) }
    }

    /// # Safety
    /// AVX2; else as [`all`].
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn avx2<const L2: bool, const DSUB: usize, const BITS: u32>(
        tables: &Tables<'_>,
        rows: &Rows<'_>,
        out: &mut Vec<f32>,
    ) {
        // SAFETY: this function's own.
        unsafe { all::<[__m256; 2], L2, DSUB, BITS>(tables, rows, out) }
    }

    /// # Safety
    /// The level of `V`. The shapes fit, and d is a multiple of 16.
    #[inline(always)]
    unsafe fn all<V: Sixteen, const L2: bool, const DSUB: usize, const BITS: u32>(
        tables: &Tables<'_>,
        rows: &Rows<'_>,
        out: &mut Vec<f32>,
    ) {
        out.reserve(rows.places.len());
        let (fours, rest) = rows.places.as_chunks::<SIDE_BY_SIDE>();
        for places in fours {
            // SAFETY: this function's own.
            let sums = unsafe {
                V::reduce_four(sums::<V, L2, DSUB, BITS, SIDE_BY_SIDE>(tables, rows, places))
            };
            out.extend(sums.map(|sum| if L2 { sum } else { rows.base + sum }));
        }
        for &place in rest {
            // SAFETY: as above.
            let sum = unsafe {
                let [sum] = sums::<V, L2, DSUB, BITS, 1>(tables, rows, &[place]);
                sum.reduce()
            };
            out.push(if L2 { sum } else { rows.base + sum });
        }
    }

    /// For each of `N` codes sixteen partial sums.
    ///
    /// # Safety
    /// As [`all`].
    #[inline(always)]
    unsafe fn sums<
        V: Sixteen,
        const L2: bool,
        const DSUB: usize,
        const BITS: u32,
        const N: usize,
    >(
        tables: &Tables<'_>,
        rows: &Rows<'_>,
        places: &[u32; N],
    ) -> [V; N] {
        let ksub = 1usize << BITS;
        let books = tables.codebooks.as_ptr();
        let (mut at, mut widths) = ([std::ptr::null(); N], [0; N]);
        for i in 0..N {
            // Checks the slice against its shape: column j is at `at + j · width`.
            let (lane, width) = tables.layout.lane(rows.codes, rows.len, places[i] as usize);
            (at[i], widths[i]) = (lane.as_ptr(), width);
        }
        let (query, centroid) =
            (tables.query.as_chunks::<16>().0, rows.centroid.as_chunks::<16>().0);
        // SAFETY: the caller's level; sixteen floats of query and centroid; a code has a byte in
        // each of its columns, and each codeword DSUB floats.
        unsafe {
            let mut sums = [V::zero(); N];
            for (step, (query, centroid)) in query.iter().zip(centroid).enumerate() {
                let mut x = V::load(query.as_ptr());
                if L2 {
                    x = x.sub(V::load(centroid.as_ptr()));
                }
                for i in 0..N {
                    let (at, width): (*const u8, usize) = (at[i], widths[i]);
                    // Where the word of the sub-quantizer begins that is `w`-th of this step.
                    let residual = V::words::<DSUB>(|w| {
                        let j = step * (16 / DSUB) + w;
                        let code = match (BITS, j % 2) {
                            (8, _) => *at.add(j * width),
                            (_, 0) => *at.add(j / 2 * width) & 15,
                            _ => *at.add(j / 2 * width) >> 4,
                        };
                        books.wrapping_add((j * ksub + usize::from(code)) * DSUB)
                    });
                    let product = if L2 {
                        let difference = x.sub(residual);
                        difference.mul(difference)
                    } else {
                        x.mul(residual)
                    };
                    sums[i] = sums[i].add(product);
                }
            }
            sums
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Every level gives the bits of the definition, for each way of reading codewords, any number
    /// of candidates, both code sizes.
    #[test]
    fn scores_have_the_bits_of_the_definition() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        for ksub in [256usize, 16] {
            for (m, dsub) in
                [(8, 2), (16, 8), (8, 4), (3, 16), (2, 32), (5, 3), (16, 1), (4, 12), (1, 48)]
            {
                let d = m * dsub;
                let layout = CodeLayout::new(m, ksub).unwrap();
                let len = 150;
                let flat: Vec<u8> = (0..len * m).map(|_| rng.random_range(0..ksub) as u8).collect();
                let mut codes = Vec::new();
                layout.pack(&flat, &mut codes);
                let mut draw = |n: usize| -> Vec<f32> {
                    (0..n).map(|_| rng.random_range(-9.0..9.0)).collect()
                };
                let (codebooks, centroids) = (draw(ksub * d), draw(2 * d));
                let query = draw(d);
                let tables = Tables { layout, query: &query, codebooks: &codebooks };
                for n in [0, 1, 3, 4, 5, 11] {
                    let places: Vec<u32> = (0..n).map(|c| c * 37 % len as u32).collect();
                    let centroid = &centroids[n as usize % 2 * d..][..d];
                    let base = n as f32 - 2.5;
                    let rows = Rows { codes: &codes, len, centroid, base, places: &places };
                    let want = |i: u32, metric: Metric| {
                        let mut residual = vec![0f32; d];
                        adc::decode(&codebooks, ksub, &flat[i as usize * m..][..m], &mut residual);
                        match metric {
                            Metric::L2 => adc::l2_score(&query, centroid, &residual),
                            Metric::InnerProduct => {
                                adc::inner_product_score(base, &query, &residual)
                            }
                        }
                    };
                    let bits = |out: &[f32]| out.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
                    for metric in Metric::ALL {
                        let expected: Vec<f32> = places.iter().map(|&i| want(i, metric)).collect();
                        for simd in Simd::all() {
                            let mut out = vec![1.0];
                            scores(simd, metric, &tables, &rows, &mut out);
                            let level = simd.level();
                            assert_eq!(bits(&out), bits(&expected), "{level} m {m} dsub {dsub}");
                        }
                    }
                }
            }
        }
    }
}
