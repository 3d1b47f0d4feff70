//! Rows near a centre as bytes relative to it: lower bounds of their costs, with a proven error.
//!
//! Write a row as c = g + r with its group's centre g, r = s r̂ + e (r̂ in −127..127), and the
//! query's part that meets r as t = u t̂ + f. Then
//!
//! ```text
//! ‖q − c‖² = ‖q − g‖² + ‖r‖² − 2⟨t, r⟩    t = q − g
//!  −⟨q, c⟩ = −⟨q, g⟩         −  ⟨t, r⟩    t = q
//! ```
//!
//! and by Cauchy–Schwarz |⟨t, r⟩ − u s ⟨t̂, r̂⟩| ≤ ‖f‖ ‖r‖ + ‖u t̂‖ ‖e‖. Residuals are shorter than
//! the rows, so that eight bits say more of them than of the rows ([`crate::shortlist`]): fewer
//! candidates are left for exact floats to decide among.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes: rows are stored as r̂ + 128, and 128 Σ t̂, which
//! is the same for all rows, is taken off again. Rows lie in blocks of 16, four coordinates at a
//! time, so that a register holds the same four coordinates of sixteen rows and no sum crosses
//! lanes. An inner product of bytes is at most 255 · 127 · d: below 2³¹ up to [`MAX_D`].

use crate::level::{Level, Simd};
use crate::metric::Metric;

/// Rows of a block: the 32-bit lanes of a register.
pub const BLOCK: usize = 16;
/// Largest dimension whose byte products fit 32 bits.
pub const MAX_D: usize = 1 << 16;
/// Coordinates that one multiplication takes.
const QUAD: usize = 4;
/// The byte that stores r̂ = 0.
const ZERO: u8 = 128;

/// Bytes of a block of rows of dimension d.
pub fn block_bytes(d: usize) -> usize {
    d.div_ceil(QUAD) * QUAD * BLOCK
}

/// The facts of a group of rounded rows, besides their bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounded {
    /// s: the value of one step of a byte.
    pub scale: f32,
    /// At least the largest ‖r‖.
    pub largest_norm: f32,
    /// At least the largest ‖e‖.
    pub largest_error: f32,
}

/// Rounds `rows`, each (d,), relative to `centre` (d,): appends their blocks to `bytes` and ‖r‖²,
/// padded with zeros to whole blocks, to `norms`.
pub fn round<'a>(
    rows: impl ExactSizeIterator<Item = &'a [f32]> + Clone,
    centre: &[f32],
    bytes: &mut Vec<u8>,
    norms: &mut Vec<f32>,
) -> Rounded {
    let relative = |row: &'a [f32]| {
        row.iter().zip(centre).map(|(&c, &g)| f64::from(c) - f64::from(g)).collect::<Vec<f64>>()
    };
    let largest =
        rows.clone().flat_map(relative).fold(0f64, |a, b| a.max(b.abs())).min(f64::from(f32::MAX));
    let scale = if largest > 0.0 { ((largest / 127.0) as f32).max(f32::MIN_POSITIVE) } else { 1.0 };
    let step = f64::from(scale);
    let (first, first_norm) = (bytes.len(), norms.len());
    let blocks = rows.len().div_ceil(BLOCK);
    bytes.resize(first + blocks * block_bytes(centre.len()), ZERO);
    norms.resize(first_norm + blocks * BLOCK, 0.0);
    let (mut largest_norm, mut largest_error) = (0f64, 0f64);
    for (i, row) in rows.enumerate() {
        let block = first + i / BLOCK * block_bytes(centre.len());
        let (mut norm, mut error) = (0f64, 0f64);
        for (j, x) in relative(row).into_iter().enumerate() {
            let byte = (x / step).round().clamp(-127.0, 127.0);
            bytes[block + (j / QUAD * BLOCK + i % BLOCK) * QUAD + j % QUAD] =
                (byte as i32 + i32::from(ZERO)) as u8;
            norm += x * x;
            error += (x - step * byte).powi(2);
        }
        norms[first_norm + i] = norm as f32;
        largest_norm = largest_norm.max(norm.sqrt());
        largest_error = largest_error.max(error.sqrt());
    }
    // Up, and past the rounding of the sums above.
    let above = |x: f64| ((x * (1.0 + 1e-9)) as f32).next_up();
    Rounded { scale, largest_norm: above(largest_norm), largest_error: above(largest_error) }
}

/// A group of rows as [`round`] left it.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Number of rows.
    pub len: usize,
    /// Whole blocks of bytes.
    pub bytes: &'a [u8],
    /// ‖r‖² of each, padded to whole blocks.
    pub norms: &'a [f32],
    /// Scale and errors of the rounded rows.
    pub rounded: Rounded,
    /// Bytes that will be wanted next: fetched towards the cache while these are read. May be
    /// empty.
    pub next: &'a [u8],
}

/// The query's part that meets residuals, as bytes.
#[derive(Clone, Debug, Default)]
pub struct ByteQuery {
    d: usize,
    /// Four coordinates a number, padded with zeros to whole registers.
    quads: Vec<i32>,
    /// 128 Σ t̂.
    shift: i32,
    unit: f32,
    /// ‖t‖, ‖u t̂‖, ‖f‖, rounded up.
    norm: f64,
    size: f64,
    error: f64,
}

/// Whether [`ByteQuery::survivors`] has what it needs.
pub fn has_level(simd: Simd) -> bool {
    cfg!(target_arch = "x86_64") && simd.level() >= Level::Avx512Vbmi
}

impl ByteQuery {
    /// Rounds t = `q` − `centre`, or t = `q` without one.
    ///
    /// # Panics
    /// If the dimensions differ or are above [`MAX_D`], or the level lacks 8-bit products.
    pub fn fill(&mut self, simd: Simd, q: &[f32], centre: Option<&[f32]>) {
        assert!(has_level(simd), "no 8-bit products at level {}", simd.level());
        assert!(q.len() <= MAX_D, "dimension {} overflows a 32-bit sum", q.len());
        assert!(centre.is_none_or(|g| g.len() == q.len()), "vectors of different dimension");
        self.d = q.len();
        self.quads.clear();
        self.quads.resize(q.len().div_ceil(16) * 4, 0);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`; a whole number of registers,
        // each of four quads, covers q, and the centre is as long as q.
        unsafe {
            self.fill_avx512(q, centre)
        }
    }

    /// Largest error of a row's bound: what [`Self::survivors`] takes off; infinite or not a number
    /// where floats might overflow. `centre_norm` is at least ‖g‖, and `base` the centre's cost.
    pub fn slack(&self, metric: Metric, rounded: &Rounded, centre_norm: f32, base: f32) -> f64 {
        let (r, e) = (f64::from(rounded.largest_norm), f64::from(rounded.largest_error));
        let product = self.error * r + self.size * e;
        let weight = f64::from(metric.products());
        // Rounding, of the base, of t, of the approximation and of the exact float costs: d + 16
        // operations, each off by at most 2⁻²⁴ of the largest intermediate value. (f32::EPSILON is
        // twice that.)
        let largest = match metric {
            Metric::L2 => (self.norm + r).powi(2),
            Metric::InnerProduct => self.norm * (r + f64::from(centre_norm)),
        };
        // Then norms, and what bounds are made of, are floats.
        if largest.is_nan() || largest >= f64::from(f32::MAX) / 8.0 {
            return f64::INFINITY;
        }
        let operations = (self.d + 16) as f64;
        // Where products underflow they are off by a fixed amount instead.
        let underflow = operations * f64::from(f32::MIN_POSITIVE);
        weight * product
            + operations * f64::from(f32::EPSILON) * (largest + f64::from(base.abs()))
            + underflow
    }

    /// Appends the lower bound of every row's cost that is at most `threshold` to `bounds`, and its
    /// position plus `first` to `positions`, ascending. `base` is the cost of the centre, and
    /// `slack` what [`Self::slack`] said.
    ///
    /// # Panics
    /// If a slice is too short for its shape, or the level lacks 8-bit products.
    #[allow(clippy::too_many_arguments, reason = "a kernel on slices")]
    pub fn survivors(
        &self,
        simd: Simd,
        metric: Metric,
        rows: &Rows<'_>,
        base: f32,
        slack: f64,
        threshold: f32,
        first: u32,
        bounds: &mut Vec<f32>,
        positions: &mut Vec<u32>,
    ) {
        assert!(has_level(simd), "no 8-bit products at level {}", simd.level());
        let blocks = rows.len.div_ceil(BLOCK);
        assert!(rows.bytes.len() >= blocks * block_bytes(self.d), "bytes are cut short");
        assert!(rows.norms.len() >= blocks * BLOCK, "norms are cut short");
        let weight = metric.norms();
        let factor = -metric.products() * self.unit * rows.rounded.scale;
        // Down, so that the sum stays a bound.
        let constant = ((f64::from(base) - slack) as f32).next_down();
        // Room for a whole register behind the last.
        bounds.reserve(blocks * BLOCK + BLOCK);
        positions.reserve(blocks * BLOCK + BLOCK);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`; the slices were compared
        // with the number of blocks, and there is room for all of them.
        unsafe {
            self.survivors_avx512(
                rows, factor, weight, constant, threshold, first, bounds, positions,
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (factor, weight, constant, threshold, first);
    }

    /// # Safety
    /// AVX-512 F, BW, DQ, VL; `quads` has four elements for each sixteen of `q`, and `centre` is as
    /// long as `q`.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn fill_avx512(&mut self, q: &[f32], centre: Option<&[f32]>) {
        use std::arch::x86_64::*;
        let parts = q.len().div_ceil(16);
        let part = |i: usize| {
            let left = (q.len() - 16 * i).min(16);
            let mask = ((1u32 << left) - 1) as u16;
            // SAFETY: the mask keeps the load within q.
            let t = unsafe { _mm512_maskz_loadu_ps(mask, q.as_ptr().add(16 * i)) };
            let Some(g) = centre else { return t };
            // SAFETY: as above; the centre is as long as q.
            let g = unsafe { _mm512_maskz_loadu_ps(mask, g.as_ptr().add(16 * i)) };
            _mm512_sub_ps(t, g)
        };
        let mut largest = _mm512_setzero_ps();
        for i in 0..parts {
            largest = _mm512_max_ps(largest, _mm512_abs_ps(part(i)));
        }
        let largest = _mm512_reduce_max_ps(largest);
        // Not below what has a finite inverse.
        self.unit = if largest > 0.0 { (largest / 127.0).max(f32::MIN_POSITIVE) } else { 1.0 };
        let (unit, inverse) = (_mm512_set1_ps(self.unit), _mm512_set1_ps(1.0 / self.unit));
        let mut sums = [_mm512_setzero_ps(); 3];
        let mut total = _mm512_setzero_si512();
        for i in 0..parts {
            let t = part(i);
            let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(t, inverse));
            let value = _mm512_mul_ps(_mm512_cvtepi32_ps(rounded), unit);
            let error = _mm512_sub_ps(t, value);
            for (sum, x) in sums.iter_mut().zip([t, value, error]) {
                *sum = _mm512_fmadd_ps(x, x, *sum);
            }
            total = _mm512_add_epi32(total, rounded);
            // SAFETY: there are sixteen bytes for each part.
            unsafe {
                _mm_storeu_si128(
                    self.quads.as_mut_ptr().add(4 * i).cast(),
                    _mm512_cvtsepi32_epi8(rounded),
                );
            }
        }
        self.shift = i32::from(ZERO).wrapping_mul(_mm512_reduce_add_epi32(total));
        // The sums are off by at most one part in 2²⁴ an addition, and by what underflows.
        let above = 1.0 + (parts + 32) as f64 * f64::from(f32::EPSILON);
        let underflow = (q.len() as f64 * f64::from(f32::MIN_POSITIVE)).sqrt();
        let norm = |sum| (f64::from(_mm512_reduce_add_ps(sum)).sqrt() + underflow) * above;
        [self.norm, self.size, self.error] = sums.map(norm);
    }

    /// # Safety
    /// AVX-512 F, BW, DQ, VL, VNNI; `rows` has all its blocks; `bounds` and `positions` have room
    /// for them and a register more.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,popcnt")]
    #[allow(clippy::too_many_arguments, reason = "a kernel on slices")]
    unsafe fn survivors_avx512(
        &self,
        rows: &Rows<'_>,
        factor: f32,
        weight: f32,
        constant: f32,
        threshold: f32,
        first: u32,
        bounds: &mut Vec<f32>,
        positions: &mut Vec<u32>,
    ) {
        use std::arch::x86_64::*;
        let quads = &self.quads[..self.d.div_ceil(QUAD)];
        let block_bytes = block_bytes(self.d);
        let blocks = rows.len.div_ceil(BLOCK);
        let (factor, weight) = (_mm512_set1_ps(factor), _mm512_set1_ps(weight));
        let (constant, threshold) = (_mm512_set1_ps(constant), _mm512_set1_ps(threshold));
        let shift = _mm512_set1_epi32(self.shift);
        let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let (mut len, start) = (bounds.len(), positions.len());
        let mut at_position = start;
        let mut keep = |block: usize, sum: __m512i| {
            // SAFETY: norms are padded to whole blocks.
            let norm = unsafe { _mm512_loadu_ps(rows.norms.as_ptr().add(block * BLOCK)) };
            let product = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, shift));
            let bound = _mm512_fmadd_ps(product, factor, _mm512_fmadd_ps(norm, weight, constant));
            let left = (rows.len - block * BLOCK).min(BLOCK);
            let some = ((1u32 << left) - 1) as u16;
            let hits = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(some, bound, threshold);
            if hits != 0 {
                let here = _mm512_set1_epi32((first as usize + block * BLOCK) as i32);
                let position = _mm512_add_epi32(lanes, here);
                // SAFETY: each block adds at most sixteen; a whole register behind them has room.
                unsafe {
                    let bound = _mm512_maskz_compress_ps(hits, bound);
                    _mm512_storeu_ps(bounds.as_mut_ptr().add(len), bound);
                    let position = _mm512_maskz_compress_epi32(hits, position);
                    _mm512_storeu_si512(positions.as_mut_ptr().add(at_position).cast(), position);
                }
                len += hits.count_ones() as usize;
                at_position += hits.count_ones() as usize;
            }
        };
        // Four blocks are in flight: a sum takes four cycles before it can be added to, and the
        // query's bytes are loaded once for all of them.
        let mut block = 0;
        while block + 4 <= blocks {
            // SAFETY: this function's own; four blocks are left.
            let sums = unsafe { products_of_four(quads, rows, block * block_bytes, block_bytes) };
            for (i, sum) in sums.into_iter().enumerate() {
                keep(block + i, sum);
            }
            block += 4;
        }
        while block < blocks {
            // SAFETY: this function's own; a block is left.
            keep(block, unsafe { products_of_one(quads, rows, block * block_bytes) });
            block += 1;
        }
        // SAFETY: room was reserved, and all up to these lengths was written.
        unsafe {
            bounds.set_len(len);
            positions.set_len(at_position);
        }
    }
}

/// Inner products of the query's `quads` with the rows of the four blocks that begin at byte `at`.
/// As many of the next bytes are fetched as are read here.
///
/// # Safety
/// AVX-512 F and VNNI; the four blocks, of `block_bytes` each, lie within the rows' bytes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,popcnt")]
unsafe fn products_of_four(
    quads: &[i32],
    rows: &Rows<'_>,
    at: usize,
    block_bytes: usize,
) -> [std::arch::x86_64::__m512i; 4] {
    use std::arch::x86_64::*;
    let bytes = rows.bytes[at..].as_ptr();
    let mut sums = [_mm512_setzero_si512(); 4];
    for (quad, &four) in quads.iter().enumerate() {
        let four = _mm512_set1_epi32(four);
        for (i, sum) in sums.iter_mut().enumerate() {
            let offset = i * block_bytes + quad * BLOCK * QUAD;
            prefetch_next(rows, at + offset);
            // SAFETY: four blocks lie there, each of 64 bytes a quad.
            let bytes = unsafe { _mm512_loadu_si512(bytes.add(offset).cast()) };
            *sum = _mm512_dpbusd_epi32(*sum, bytes, four);
        }
    }
    sums
}

/// [`products_of_four`] of one block.
///
/// # Safety
/// As there; the block lies within the rows' bytes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,popcnt")]
unsafe fn products_of_one(quads: &[i32], rows: &Rows<'_>, at: usize) -> std::arch::x86_64::__m512i {
    use std::arch::x86_64::*;
    let bytes = rows.bytes[at..].as_ptr();
    let mut sums = [_mm512_setzero_si512(); 4];
    for (quad, &four) in quads.iter().enumerate() {
        let offset = quad * BLOCK * QUAD;
        prefetch_next(rows, at + offset);
        // SAFETY: a block has 64 bytes a quad.
        let bytes = unsafe { _mm512_loadu_si512(bytes.add(offset).cast()) };
        sums[quad % 4] = _mm512_dpbusd_epi32(sums[quad % 4], bytes, _mm512_set1_epi32(four));
    }
    let [a, b, c, d] = sums;
    _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d))
}

/// Asks for byte `at` of what will be wanted next, if there is one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_next(rows: &Rows<'_>, at: usize) {
    if at < rows.next.len() {
        crate::prefetch(rows.next, at);
    }
}

/// Asks for rows `ids` of `rows` (_, d) to be brought towards the cache; ids that are no rows are
/// passed over.
pub fn prefetch(rows: &[f32], d: usize, ids: &[u32]) {
    let rows = ids.iter().filter_map(|&id| rows.get(id as usize * d..(id as usize + 1) * d));
    rows.flat_map(|row| row.chunks(16)).for_each(|part| crate::prefetch_line(part.as_ptr().cast()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::dot;
    use rand::{RngExt, SeedableRng};

    /// For every shape past two tiles: each bound is at most the exact cost and no farther below it
    /// than twice the slack, survivors are those up to the threshold, and the slack is worth
    /// having.
    #[test]
    fn bounds_hold_and_are_tight() {
        let simd = Simd::detect();
        if !has_level(simd) {
            return;
        }
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        for case in 0..300 {
            let d = [1, 3, 4, 7, 16, 37, 64, 128, 131][case % 9];
            let n = [0, 1, 15, 16, 17, 63, 64, 65, 130, 200][case % 10];
            let scale = [1e-30f32, 1e-4, 1.0, 200.0, 1e12][case % 5];
            let far = [0.0f32, 1.0, 100.0][case % 3];
            let mut draw = |n: usize, off: f32| -> Vec<f32> {
                (0..n).map(|_| (rng.random_range(-1.0..1.0f32) + off) * scale).collect()
            };
            let (rows, centre, q) = (draw(n * d, far), draw(d, far), draw(d, far));
            let (mut bytes, mut norms) = (vec![7; 3], vec![7.0; 2]);
            let rounded = round(rows.chunks_exact(d), &centre, &mut bytes, &mut norms);
            assert_eq!(bytes.len(), 3 + n.div_ceil(BLOCK) * block_bytes(d));
            let view =
                Rows { len: n, bytes: &bytes[3..], norms: &norms[2..], rounded, next: &bytes };
            for metric in Metric::ALL {
                let exact = |r: &[f32]| metric.cost(metric.of(&q, r));
                let base = exact(&centre);
                let mut query = ByteQuery::default();
                query.fill(simd, &q, (metric == Metric::L2).then_some(&centre));
                let centre_norm = dot(&centre, &centre).sqrt() * 1.0001;
                let slack = query.slack(metric, &rounded, centre_norm, base);
                assert!(slack.is_finite(), "case {case}");
                let (mut bounds, mut positions) = (vec![], vec![]);
                query.survivors(
                    simd,
                    metric,
                    &view,
                    base,
                    slack,
                    f32::INFINITY,
                    10,
                    &mut bounds,
                    &mut positions,
                );
                assert_eq!(positions, (10..10 + n as u32).collect::<Vec<_>>());
                for (bound, row) in bounds.iter().zip(rows.chunks_exact(d)) {
                    let gap = f64::from(exact(row)) - f64::from(*bound);
                    let below = slack * (2.0 + 1e-5) + f64::from(f32::MIN_POSITIVE);
                    assert!((0.0..=below).contains(&gap), "case {case}, {metric:?}: {gap} {slack}");
                }
                if n > 3 {
                    let threshold = bounds[n / 2];
                    let want: Vec<(u32, u32)> = (0u32..)
                        .zip(&bounds)
                        .filter(|(_, b)| **b <= threshold)
                        .map(|(i, b)| (i, b.to_bits()))
                        .collect();
                    let (mut some, mut places) = (vec![], vec![]);
                    query.survivors(
                        simd,
                        metric,
                        &view,
                        base,
                        slack,
                        threshold,
                        0,
                        &mut some,
                        &mut places,
                    );
                    let found: Vec<(u32, u32)> =
                        places.into_iter().zip(some.iter().map(|b| b.to_bits())).collect();
                    assert_eq!(found, want);
                }
                if d >= 64 && far == 0.0 && n > 0 && scale > 1e-20 {
                    // Eight bits: a small share of what the product can be.
                    let product = query.norm * f64::from(rounded.largest_norm);
                    assert!(slack < 0.1 * product, "case {case}: {slack} of {product}");
                }
            }
        }
    }

    /// Numbers whose products overflow floats leave no slack to trust.
    #[test]
    fn overflow_shows_in_the_slack() {
        let simd = Simd::detect();
        if !has_level(simd) {
            return;
        }
        let (mut bytes, mut norms) = (vec![], vec![]);
        let row = [f32::MAX; 20];
        let rounded = round([&row[..]].into_iter(), &[-f32::MAX; 20], &mut bytes, &mut norms);
        let mut query = ByteQuery::default();
        query.fill(simd, &row, Some(&[-f32::MAX; 20]));
        assert!(!query.slack(Metric::L2, &rounded, f32::INFINITY, f32::INFINITY).is_finite());
    }
}
