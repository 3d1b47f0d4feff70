//! A query's tables: inner products with all codewords, and the bytes that the integer scan adds.

use crate::level::{Level, Simd};

/// Codewords in the order in which a table is filled: (m, dsub, ksub), so that one register holds the
/// same coordinate of sixteen codewords.
pub fn transpose(codebooks: &[f32], m: usize, ksub: usize) -> Vec<f32> {
    let dsub = codebooks.len() / (m * ksub);
    let mut out = Vec::with_capacity(codebooks.len());
    for book in codebooks.chunks_exact(ksub * dsub) {
        for i in 0..dsub {
            out.extend((0..ksub).map(|c| book[c * dsub + i]));
        }
    }
    out
}

/// Fills `lut` (m, ksub) with ⟨qⱼ, codeword⟩ for a query `q` (d,) from `transposed` codebooks
/// (m, dsub, ksub): the same bits as [`crate::adc::build_lut`], at every level.
///
/// # Panics
/// If the shapes do not fit together, or `ksub` is no multiple of 16.
pub fn fill(simd: Simd, q: &[f32], transposed: &[f32], m: usize, ksub: usize, lut: &mut Vec<f32>) {
    assert!(m > 0 && q.len().is_multiple_of(m) && ksub.is_multiple_of(16), "shapes");
    assert_eq!(transposed.len(), ksub * q.len(), "codebooks of another shape");
    lut.clear();
    lut.resize(m * ksub, 0.0);
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { fill_avx512(q, transposed, m, ksub, lut) }
        }
        _ => fill_here(q, transposed, m, ksub, lut),
    }
}

/// The one body of [`fill`]; the compiler turns the loops over sixteen codewords into registers of
/// whatever width the caller's features allow. A dsub known to the compiler keeps its partial sums there.
#[inline(always)]
fn fill_here(q: &[f32], transposed: &[f32], m: usize, ksub: usize, lut: &mut [f32]) {
    match q.len() / m {
        1 => fill_dsub::<1>(1, q, transposed, ksub, lut),
        2 => fill_dsub::<2>(2, q, transposed, ksub, lut),
        4 => fill_dsub::<4>(4, q, transposed, ksub, lut),
        8 => fill_dsub::<8>(8, q, transposed, ksub, lut),
        dsub => fill_dsub::<16>(dsub, q, transposed, ksub, lut),
    }
}

/// [`fill_here`] with `LIVE` partial sums. The additions follow [`crate::dense::LANES`]: partial sum
/// `i % 16`, then the tree. Sums that no coordinate reaches are zero, and adding zero changes nothing:
/// a tree over the first `LIVE` (a power of two, at least min(dsub, 16)) of them is the same.
#[inline(always)]
fn fill_dsub<const LIVE: usize>(
    dsub: usize,
    q: &[f32],
    transposed: &[f32],
    ksub: usize,
    lut: &mut [f32],
) {
    let books = transposed.chunks_exact(dsub * ksub);
    for ((sub, book), row) in q.chunks_exact(dsub).zip(books).zip(lut.chunks_exact_mut(ksub)) {
        for (group, out) in row.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let mut s = [[0f32; 16]; LIVE];
            for (round, sub) in sub.chunks(LIVE).enumerate() {
                // With fewer than 16 sums there is one round, and it is whole.
                for (i, sum) in s.iter_mut().enumerate() {
                    let Some(&x) = sub.get(i) else { break };
                    let at = (round * LIVE + i) * ksub + 16 * group;
                    let words = &book[at..at + 16];
                    for lane in 0..16 {
                        sum[lane] += x * words[lane];
                    }
                }
            }
            let mut width = LIVE / 2;
            while width > 0 {
                for i in 0..width {
                    for lane in 0..16 {
                        s[i][lane] += s[i + width][lane];
                    }
                }
                width /= 2;
            }
            *out = s[0];
        }
    }
}

/// # Safety
/// AVX-512 F. The shapes fit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn fill_avx512(q: &[f32], transposed: &[f32], m: usize, ksub: usize, lut: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        match q.len() / m {
            2 => avx512::fill::<2>(q, transposed, ksub, lut),
            4 => avx512::fill::<4>(q, transposed, ksub, lut),
            8 => avx512::fill::<8>(q, transposed, ksub, lut),
            16 => avx512::fill::<16>(q, transposed, ksub, lut),
            _ => fill_here(q, transposed, m, ksub, lut),
        }
    }
}

/// The bytes of a table and what they mean: the cost of entry c of row j is at least
/// `low[j] + step · byte`, where `low` is only kept as a sum.
#[derive(Clone, Debug, Default)]
pub struct ByteTable {
    /// (m, ksub), rounded down.
    pub bytes: Vec<u8>,
    /// Σⱼ of the rows' smallest costs.
    pub low: f64,
    /// Cost of one unit.
    pub step: f64,
    /// Σⱼ of the rows' largest absolute costs: what bounds rounding errors.
    pub magnitude: f64,
}

impl ByteTable {
    /// Rounds the costs `−scale · lut` of a table (m, ksub) down to bytes. `scale` is 2 for L2 (the table
    /// enters as −2 ⟨q, r̂⟩) and 1 for inner product.
    pub fn fill(&mut self, simd: Simd, lut: &[f32], ksub: usize, scale: f32) {
        self.bytes.resize(lut.len(), 0);
        match simd.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Vbmi => {
                // SAFETY: only a processor that has the level makes `simd`.
                self.fill_by(
                    lut,
                    ksub,
                    scale,
                    |row| unsafe { avx512::range(row) },
                    |row, top, inverse, out| unsafe { avx512::to_bytes(row, top, inverse, out) },
                );
            }
            _ => self.fill_by(lut, ksub, scale, range, |row, top, inverse, out| {
                for (byte, v) in out.iter_mut().zip(row) {
                    *byte = ((top - v) * inverse) as u8;
                }
            }),
        }
    }

    /// [`Self::fill`] with `range` (smallest and largest of a row) and `to_bytes` ((top − v) · inverse,
    /// rounded down and cut to 255) of a level.
    #[inline(always)]
    fn fill_by(
        &mut self,
        lut: &[f32],
        ksub: usize,
        scale: f32,
        range: impl Fn(&[f32]) -> (f32, f32),
        to_bytes: impl Fn(&[f32], f32, f32, &mut [u8]),
    ) {
        let (mut low, mut magnitude, mut widest) = (0f64, 0f64, 0f32);
        let mut tops = [0f32; crate::codes::MAX_M];
        for (row, top) in lut.chunks_exact(ksub).zip(&mut tops) {
            let (min, max) = range(row);
            *top = max;
            widest = widest.max(max - min);
            low -= f64::from(scale) * f64::from(max);
            magnitude += f64::from(scale) * f64::from(max.abs().max(min.abs()));
        }
        // A little more than the range over 255, so that the largest entry rounds to at most 255; and a
        // factor a little smaller than its inverse, so that rounding of the product never rounds up.
        let unit = (widest / 255.0) * (1.0 + 1e-6);
        let sound = unit > 0.0 && unit.is_finite();
        let inverse = if sound { (1.0 / unit) * (1.0 - 1e-6) } else { 0.0 };
        let rows = lut.chunks_exact(ksub).zip(self.bytes.chunks_exact_mut(ksub)).zip(tops);
        for ((row, bytes), top) in rows {
            to_bytes(row, top, inverse, bytes);
        }
        self.low = low;
        self.magnitude = magnitude;
        self.step =
            if sound { f64::from(scale) * f64::from(unit) } else { f64::from(f32::MIN_POSITIVE) };
    }
}

/// The smallest and the largest of a row; what is not a number is passed over.
fn range(row: &[f32]) -> (f32, f32) {
    let (mut min, mut max) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
    for part in row.as_chunks::<16>().0 {
        for lane in 0..16 {
            min[lane] = if part[lane] < min[lane] { part[lane] } else { min[lane] };
            max[lane] = if part[lane] > max[lane] { part[lane] } else { max[lane] };
        }
    }
    let min = min.into_iter().fold(f32::INFINITY, f32::min);
    (min, max.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    /// [`super::fill`] for `DSUB` = dsub, a power of two up to 16: each partial sum is one product. The
    /// definition adds it to zero, which makes −0 a 0 and changes nothing else; here one zero is added at
    /// the end, with the same effect on the sum of them all.
    ///
    /// # Safety
    /// AVX-512 F. The shapes fit.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn fill<const DSUB: usize>(
        q: &[f32],
        transposed: &[f32],
        ksub: usize,
        lut: &mut [f32],
    ) {
        let books = transposed.chunks_exact(DSUB * ksub);
        for ((sub, book), row) in q.chunks_exact(DSUB).zip(books).zip(lut.chunks_exact_mut(ksub)) {
            let x: [__m512; DSUB] = std::array::from_fn(|i| _mm512_set1_ps(sub[i]));
            for (group, out) in row.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                // SAFETY: a book has ksub words for each coordinate.
                let words = unsafe { book.as_ptr().add(16 * group) };
                let mut s: [__m512; DSUB] = std::array::from_fn(|i| {
                    // SAFETY: as above.
                    let words = unsafe { _mm512_loadu_ps(words.add(i * ksub)) };
                    _mm512_mul_ps(x[i], words)
                });
                let mut width = DSUB / 2;
                while width > 0 {
                    for i in 0..width {
                        s[i] = _mm512_add_ps(s[i], s[i + width]);
                    }
                    width /= 2;
                }
                // SAFETY: sixteen floats.
                unsafe {
                    _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(s[0], _mm512_setzero_ps()));
                }
            }
        }
    }

    /// [`super::range`].
    ///
    /// # Safety
    /// AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn range(row: &[f32]) -> (f32, f32) {
        // Two of each, so that one does not wait for the other.
        let mut min = [_mm512_set1_ps(f32::INFINITY); 2];
        let mut max = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
        for (i, part) in row.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: sixteen floats.
            let part = unsafe { _mm512_loadu_ps(part.as_ptr()) };
            // Where either is not a number, these give the second.
            min[i % 2] = _mm512_min_ps(part, min[i % 2]);
            max[i % 2] = _mm512_max_ps(part, max[i % 2]);
        }
        let min = _mm512_reduce_min_ps(_mm512_min_ps(min[0], min[1]));
        (min, _mm512_reduce_max_ps(_mm512_max_ps(max[0], max[1])))
    }

    /// `(top − v) · inverse` of each v, rounded down and cut to 255.
    ///
    /// # Safety
    /// AVX-512 F and BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn to_bytes(row: &[f32], top: f32, inverse: f32, out: &mut [u8]) {
        let (top, inverse) = (_mm512_set1_ps(top), _mm512_set1_ps(inverse));
        for (part, out) in row.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0) {
            // SAFETY: sixteen floats, and sixteen bytes. A number beyond an integer's range becomes the
            // largest, as unsigned, and that saturates to 255.
            unsafe {
                let part = _mm512_loadu_ps(part.as_ptr());
                let units = _mm512_mul_ps(_mm512_sub_ps(top, part), inverse);
                let bytes = _mm512_cvtusepi32_epi8(_mm512_cvttps_epi32(units));
                _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adc::build_lut;
    use rand::{RngExt, SeedableRng};

    /// The same bits as the definition, for dsub below, at and above sixteen.
    #[test]
    fn tables_have_the_same_bits_at_every_level() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for ksub in [16, 256] {
            for (m, dsub) in [(3, 1), (2, 2), (4, 3), (16, 8), (2, 15), (1, 16), (2, 17), (1, 37)] {
                let mut draw =
                    |n: usize| -> Vec<f32> {
                        (0..n)
                            .map(|_| {
                                if rng.random_bool(0.1) { 0.0 } else { rng.random_range(-9.0..9.0) }
                            })
                            .collect()
                    };
                let (q, books) = (draw(m * dsub), draw(m * ksub * dsub));
                let mut want = Vec::new();
                build_lut(&q, &books, m, ksub, &mut want);
                let want: Vec<u32> = want.iter().map(|v| v.to_bits()).collect();
                for simd in Simd::all() {
                    let mut lut = Vec::new();
                    fill(simd, &q, &transpose(&books, m, ksub), m, ksub, &mut lut);
                    let bits: Vec<u32> = lut.iter().map(|v| v.to_bits()).collect();
                    assert_eq!(bits, want, "{}, m {m}, dsub {dsub}, ksub {ksub}", simd.level());
                }
            }
        }
    }

    /// No byte stands for more than its entry's cost, whatever the magnitudes; and not for much less.
    #[test]
    fn bytes_are_bounds() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for scale in [1.0f32, 2.0] {
            for size in [1e-30f32, 1e-3, 1.0, 1e6, 1e30] {
                for offset in [0f32, 100.0] {
                    let lut: Vec<f32> = (0..5 * 256)
                        .map(|_| (rng.random_range(-1.0..1.0f32) + offset) * size)
                        .collect();
                    for simd in Simd::all() {
                        let mut table = ByteTable::default();
                        table.fill(simd, &lut, 256, scale);
                        let mut low = 0.0;
                        for (row, bytes) in lut.chunks(256).zip(table.bytes.chunks(256)) {
                            let cost = |v: f32| -f64::from(scale) * f64::from(v);
                            let least = row.iter().map(|&v| cost(v)).fold(f64::INFINITY, f64::min);
                            low += least;
                            for (&v, &b) in row.iter().zip(bytes) {
                                let bound = least + table.step * f64::from(b);
                                // Rounding of the difference itself: a few units of the last place of
                                // the row's magnitude, which the caller's slack covers.
                                let slack = 1e-6 * f64::from(v.abs().max(size));
                                assert!(bound <= cost(v) + slack, "{bound} {}", cost(v));
                                assert!(cost(v) - bound <= 1.01 * table.step + slack);
                            }
                        }
                        assert!((table.low - low).abs() <= 1e-9 * low.abs().max(1e-30));
                    }
                }
            }
        }
        let mut flat = ByteTable::default();
        flat.fill(Simd::detect(), &[3.0; 512], 256, 2.0);
        assert!(flat.bytes.iter().all(|&b| b == 0) && flat.step > 0.0 && flat.low == -12.0);
    }
}
