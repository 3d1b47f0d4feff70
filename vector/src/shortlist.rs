//! A shortlist of rows by 8-bit arithmetic, with a proven error: exact floats then decide among
//! few.
//!
//! Rows are taken from their mean μ: c′ = c − μ. With c′ = s ĉ + e (ĉ whole, −127..127, s a scale
//! of the row's own) and p = u p̂ + f likewise, Cauchy–Schwarz gives |⟨p, c′⟩ − u s ⟨p̂, ĉ⟩| ≤ ‖f‖
//! ‖c′‖ + ‖u p̂‖ ‖e‖. For L2, p = q − μ and the cost is ‖c′‖² − 2 ⟨p, c′⟩ (plus ‖p‖²); for inner
//! product, p = q and the cost is −⟨q, c′⟩ (minus ⟨q, μ⟩): what is in brackets is the same for
//! every row. So each row has a lower and an upper bound; n rows cost at most the n-th smallest
//! upper bound, and a row whose lower bound is above that is not among the n best.
//!
//! The n-th smallest is looked for among minima of groups of rows, four for each that is wanted: n
//! of them are upper bounds of n different rows too, and there are far fewer.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes: rows are stored as ĉ + 128, and 128 Σ p̂ is
//! taken off again. Rows lie in groups of 16, four coordinates at a time, so that a register holds
//! the same four coordinates of sixteen rows and no sum crosses lanes.

use crate::dense::norm_sq;
use crate::level::{Level, Simd};
use crate::metric::Metric;
#[cfg(target_arch = "x86_64")]
use crate::smallest::kth_smallest_at_most_avx512;

/// Rows in a group: the 32-bit lanes of a register.
const GROUP: usize = 16;
/// Coordinates that one multiplication takes.
const QUAD: usize = 4;
/// Largest dimension: 127 · 255 · 2¹⁵ fits 32 bits.
const MAX_D: usize = 1 << 15;
/// Minima for each wanted row: with four, the bound reaches about a seventh further than it had to.
const MINIMA_PER_WANTED: usize = 4;

/// Rows (n, d) as bytes.
#[derive(Debug)]
pub struct ByteRows {
    rows: usize,
    d: usize,
    /// μ (d,).
    mean: Vec<f32>,
    mean_norm: f64,
    /// (n / 16, d / 4, 16, 4), ĉ + 128, padded.
    bytes: Vec<u8>,
    /// The scale of each row, padded to a whole group.
    scales: Vec<f32>,
    /// ‖c′‖² of each row, and ‖c′‖ rounded up.
    norms_sq: Vec<f32>,
    norms: Vec<f32>,
    /// ‖e‖ of each row, rounded up.
    errors: Vec<f32>,
    largest_norm: f64,
}

/// Buffers that shortlists of one thread use again and again.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The shortlist, ascending.
    pub rows: Vec<u32>,
    query: Vec<i32>,
    lower: Vec<f32>,
    minima: Vec<f32>,
}

/// A query as bytes, and what its error contributes to a row's bounds.
#[derive(Clone, Copy, Debug, Default)]
struct ByteQuery {
    /// 128 Σ p̂.
    shift: i32,
    /// The value of a unit of the integer product, before the row's scale.
    factor: f32,
    /// 1 for L2, where ‖c′‖² belongs to the cost.
    weight: f32,
    /// Half the distance of a row's bounds: `by_norm` ‖c′‖ + `by_error` ‖e‖ + `rounding`.
    by_norm: f32,
    by_error: f32,
    rounding: f32,
}

/// A float not below `x`, whatever was rounded on the way to it.
fn up(x: f64) -> f32 {
    (x * (1.0 + 1e-5)) as f32
}

impl ByteRows {
    /// Rounds `rows` (n, d) to bytes.
    pub fn new(rows: &[f32], d: usize) -> Self {
        let n = rows.len() / d;
        let mut mean = vec![0f64; d];
        for row in rows.chunks_exact(d) {
            mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x) / n.max(1) as f64);
        }
        let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
        let padded = n.next_multiple_of(GROUP);
        let quads = d.div_ceil(QUAD);
        let mut this = Self {
            rows: n,
            d,
            mean_norm: f64::from(norm_sq(&mean)).sqrt() * (1.0 + 1e-5),
            mean,
            bytes: vec![128; padded * quads * QUAD],
            scales: vec![0.0; padded],
            norms_sq: vec![0.0; padded],
            norms: vec![0.0; padded],
            errors: vec![0.0; padded],
            largest_norm: 0.0,
        };
        let mut centred = vec![0f64; d];
        for (i, row) in rows.chunks_exact(d).enumerate() {
            for ((out, &x), &m) in centred.iter_mut().zip(row).zip(&this.mean) {
                *out = f64::from(x) - f64::from(m);
            }
            let largest = centred.iter().fold(0f64, |a, b| a.max(b.abs()));
            let scale = (largest / 127.0) as f32;
            let (mut norm, mut error) = (0f64, 0f64);
            for (j, &x) in centred.iter().enumerate() {
                let byte = if scale > 0.0 {
                    (x / f64::from(scale)).round().clamp(-127.0, 127.0)
                } else {
                    0.0
                };
                let at = ((i / GROUP * quads + j / QUAD) * GROUP + i % GROUP) * QUAD + j % QUAD;
                this.bytes[at] = (byte as i32 + 128) as u8;
                norm += x * x;
                error += (x - f64::from(scale) * byte).powi(2);
            }
            this.scales[i] = scale;
            this.norms_sq[i] = norm as f32;
            this.norms[i] = up(norm.sqrt());
            this.errors[i] = up(error.sqrt());
            this.largest_norm = this.largest_norm.max(f64::from(this.norms[i]));
        }
        this
    }

    /// Finds, for each query, rows among which the `wanted` best by exact float cost are, and
    /// leaves them in [`Buffers::rows`]. False, and nothing useful there, where the level has no
    /// 8-bit products, a shortlist would not be short, or numbers are too large. What is found for
    /// a query does not depend on the others; the rows, which do not fit the first-level cache, are
    /// read once for all of them.
    pub fn shortlists<const Q: usize>(
        &self,
        simd: Simd,
        metric: Metric,
        q: [&[f32]; Q],
        wanted: usize,
        buffers: [&mut Buffers; Q],
    ) -> bool {
        if simd.level() < Level::Avx512Vbmi
            || wanted * MINIMA_PER_WANTED > self.rows
            || q.iter().any(|q| q.len() != self.d)
            || self.d > MAX_D
        {
            return false;
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`.
        unsafe {
            self.shortlists_avx512(metric, q, wanted, buffers)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (metric, buffers);
            false
        }
    }

    /// # Safety
    /// AVX-512 with VNNI; the queries have d elements.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn shortlists_avx512<const Q: usize>(
        &self,
        metric: Metric,
        q: [&[f32]; Q],
        wanted: usize,
        mut buffers: [&mut Buffers; Q],
    ) -> bool {
        let groups = self.scales.len() / GROUP;
        let rounds = (wanted * MINIMA_PER_WANTED).div_ceil(GROUP).min(groups);
        let mut queries = [ByteQuery::default(); Q];
        for i in 0..Q {
            let words = &mut buffers[i].query;
            let Some(query) = self.query(metric, q[i], words) else { return false };
            queries[i] = query;
            buffers[i].lower.resize(self.scales.len(), 0.0);
            buffers[i].minima.clear();
            buffers[i].minima.resize(rounds * GROUP, f32::INFINITY);
        }
        // SAFETY: the buffers have the shapes asked for.
        unsafe { self.bounds_avx512(&queries, &mut buffers) };
        for Buffers { rows, lower, minima, .. } in buffers {
            rows.clear();
            rows.reserve(self.scales.len());
            // SAFETY: `rows` has room for every row.
            unsafe {
                let reached = kth_smallest_at_most_avx512(minima, wanted);
                at_most_avx512(&lower[..self.rows], reached, rows);
            }
        }
        true
    }

    /// Rounds a query to bytes: words of four coordinates. `None` where numbers are too large.
    #[inline(always)]
    fn query(&self, metric: Metric, q: &[f32], words: &mut Vec<i32>) -> Option<ByteQuery> {
        let centre = |x: f32, m: f32| {
            if metric == Metric::L2 { f64::from(x) - f64::from(m) } else { f64::from(x) }
        };
        let mut largest = 0f64;
        for (&x, &m) in q.iter().zip(&self.mean) {
            largest = largest.max(centre(x, m).abs());
        }
        let unit = if largest > 0.0 { f64::from((largest / 127.0) as f32) } else { 1.0 };
        let inverse = unit.recip();
        let (mut size, mut error, mut norm, mut sum) = (0f64, 0f64, 0f64, 0i32);
        words.clear();
        for (xs, ms) in q.chunks(QUAD).zip(self.mean.chunks(QUAD)) {
            let mut word = [0i8; QUAD];
            for ((byte, &x), &m) in word.iter_mut().zip(xs).zip(ms) {
                let p = centre(x, m);
                let rounded = (p * inverse).round_ties_even().clamp(-127.0, 127.0);
                let rest = p - unit * rounded;
                *byte = rounded as i8;
                sum += rounded as i32;
                size += rounded * rounded;
                norm += p * p;
                error += rest * rest;
            }
            words.push(i32::from_le_bytes(word.map(|b| b as u8)));
        }
        let (size, error, norm) = (unit * size.sqrt(), error.sqrt(), norm.sqrt());
        // Rounding of the approximation and of the exact float costs: d + 16 operations, each off
        // by at most 2⁻²⁴ of the largest intermediate value.
        let largest = match metric {
            Metric::L2 => (norm + self.largest_norm).powi(2),
            Metric::InnerProduct => norm * (self.largest_norm + self.mean_norm),
        };
        let rounding = (self.d as f64 + 16.0) * f64::from(f32::EPSILON) * largest;
        let times = f64::from(metric.products());
        let sound = largest < f64::from(f32::MAX) / 64.0 && unit > f64::from(f32::MIN_POSITIVE);
        sound.then(|| ByteQuery {
            shift: 128 * sum,
            factor: (-times * unit) as f32,
            weight: metric.norms(),
            by_norm: up(times * error),
            by_error: up(times * size),
            // A subnormal number of nothing is not nothing.
            rounding: up(rounding).max(f32::MIN_POSITIVE),
        })
    }

    /// Lower bounds of the cost of every row, padding included; and minima of the upper bounds,
    /// where group g goes to the sixteen at g modulo their number. Padding has no finite bound.
    ///
    /// # Safety
    /// AVX-512 F and VNNI; each query has one word a quad, `lower` one element a padded row,
    /// `minima` is a multiple of sixteen.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn bounds_avx512<const Q: usize>(
        &self,
        queries: &[ByteQuery; Q],
        buffers: &mut [&mut Buffers; Q],
    ) {
        let rounds = buffers[0].minima.len() / GROUP;
        let mut outputs: [Output<'_>; Q] = buffers.each_mut().map(|b| Output {
            words: &b.query,
            lower: &mut b.lower,
            minima: &mut b.minima,
        });
        let groups = self.scales.len() / GROUP;
        let mut group = 0;
        // SAFETY: as this function; so many groups are left.
        unsafe {
            if Q <= 2 {
                while group + 4 <= groups {
                    self.groups_avx512::<Q, 4>(group, rounds, queries, &mut outputs);
                    group += 4;
                }
            }
            while group + 2 <= groups {
                self.groups_avx512::<Q, 2>(group, rounds, queries, &mut outputs);
                group += 2;
            }
            if group < groups {
                self.groups_avx512::<Q, 1>(group, rounds, queries, &mut outputs);
            }
        }
    }

    /// [`Self::bounds_avx512`] of the groups `first..first + G`: a query's word is spread over a
    /// register once for all of them, and no product waits for the one before it.
    ///
    /// # Safety
    /// As there; there are so many groups.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn groups_avx512<const Q: usize, const G: usize>(
        &self,
        first: usize,
        rounds: usize,
        queries: &[ByteQuery; Q],
        outputs: &mut [Output<'_>; Q],
    ) {
        use std::arch::x86_64::*;
        let quads = self.d.div_ceil(QUAD);
        // SAFETY: each group has 64 bytes for each quad.
        let mut rows = unsafe { self.bytes.as_ptr().add(first * quads * GROUP * QUAD) };
        // What rows and query owe for being stored as they are is paid in advance.
        let mut sums: [[__m512i; G]; Q] =
            std::array::from_fn(|i| [_mm512_set1_epi32(-queries[i].shift); G]);
        let words: [*const i32; Q] = std::array::from_fn(|i| outputs[i].words.as_ptr());
        for quad in 0..quads {
            let mut row = [_mm512_setzero_si512(); G];
            for (g, row) in row.iter_mut().enumerate() {
                // SAFETY: as above.
                *row = unsafe { _mm512_loadu_si512(rows.add(g * quads * GROUP * QUAD).cast()) };
            }
            rows = rows.wrapping_add(GROUP * QUAD);
            for i in 0..Q {
                // SAFETY: queries have a word a quad.
                let four = _mm512_set1_epi32(unsafe { *words[i].add(quad) });
                for g in 0..G {
                    sums[i][g] = _mm512_dpbusd_epi32(sums[i][g], row[g], four);
                }
            }
        }
        let infinity = _mm512_set1_ps(f32::INFINITY);
        let mut round = first % rounds;
        for g in 0..G {
            let group = first + g;
            let valid = ((1u32 << (self.rows - group * GROUP).min(GROUP)) - 1) as u16;
            // SAFETY: the numbers of each row, and the outputs, have sixteen elements a group or
            // round.
            unsafe {
                let of_row = |v: &[f32]| _mm512_loadu_ps(v.as_ptr().add(group * GROUP));
                let (scales, norms_sq) = (of_row(&self.scales), of_row(&self.norms_sq));
                let (errors, norms) = (of_row(&self.errors), of_row(&self.norms));
                for i in 0..Q {
                    let query = &queries[i];
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][g]), scales);
                    let norm_sq = _mm512_mul_ps(norms_sq, _mm512_set1_ps(query.weight));
                    let cost = _mm512_fmadd_ps(product, _mm512_set1_ps(query.factor), norm_sq);
                    let by_error = _mm512_set1_ps(query.by_error);
                    let half = _mm512_fmadd_ps(errors, by_error, _mm512_set1_ps(query.rounding));
                    let half = _mm512_fmadd_ps(norms, _mm512_set1_ps(query.by_norm), half);
                    let low = _mm512_mask_sub_ps(infinity, valid, cost, half);
                    let high = _mm512_mask_add_ps(infinity, valid, cost, half);
                    let Output { lower, minima, .. } = &mut outputs[i];
                    _mm512_storeu_ps(lower.as_mut_ptr().add(group * GROUP), low);
                    let minima = minima.as_mut_ptr().add(round * GROUP);
                    _mm512_storeu_ps(minima, _mm512_min_ps(_mm512_loadu_ps(minima), high));
                }
            }
            round = if round + 1 == rounds { 0 } else { round + 1 };
        }
    }
}

/// A query's words, and where its bounds go.
#[cfg(target_arch = "x86_64")]
struct Output<'a> {
    words: &'a [i32],
    lower: &'a mut [f32],
    minima: &'a mut [f32],
}

/// Appends the indices of all `values` up to `limit`.
///
/// # Safety
/// AVX-512 F; `out` has room for sixteen more than there are values, or for all of them where these
/// are a multiple of sixteen.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn at_most_avx512(values: &[f32], limit: f32, out: &mut Vec<u32>) {
    use std::arch::x86_64::*;
    let limits = _mm512_set1_ps(limit);
    let mut ids = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut len = out.len();
    for part in values.chunks(GROUP) {
        let valid = ((1u32 << part.len()) - 1) as u16;
        // SAFETY: the mask keeps the load within the part. The store writes sixteen elements, of
        // which those that count come first: room for them is the caller's part.
        unsafe {
            let part = _mm512_maskz_loadu_ps(valid, part.as_ptr());
            let found = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(valid, part, limits);
            if found != 0 {
                let packed = _mm512_maskz_compress_epi32(found, ids);
                _mm512_storeu_si512(out.as_mut_ptr().add(len).cast(), packed);
                len += found.count_ones() as usize;
            }
        }
        ids = _mm512_add_epi32(ids, _mm512_set1_epi32(GROUP as i32));
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// The best rows by exact float cost are always on the list, ties included; and the list is
    /// short.
    #[test]
    fn the_best_are_always_on_the_list() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let simd = Simd::detect();
        for case in 0..200 {
            let d = [1, 3, 4, 7, 16, 37, 128][case % 7];
            let n = [64, 100, 257, 1000][case % 4];
            let (scale, offset) =
                ([1e-4f32, 1.0, 200.0][case % 3], [0f32, 1.0, 30.0][case % 5 % 3]);
            let mut rows: Vec<f32> =
                (0..n * d).map(|_| (rng.random_range(-1.0..1.0f32) + offset) * scale).collect();
            rows.copy_within(0..d, 5 * d); // Equal rows tie.
            let q: Vec<f32> =
                (0..d).map(|_| (rng.random_range(-1.0..1.0f32) + offset) * scale).collect();
            let bytes = ByteRows::new(&rows, d);
            for metric in Metric::ALL {
                let exact = |r: &[f32]| metric.cost(metric.of(&q, r));
                let mut order: Vec<(f32, u32)> =
                    rows.chunks_exact(d).map(exact).zip(0u32..).collect();
                order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                for wanted in [1, 5, 16] {
                    let (mut alone, mut other) = (Buffers::default(), Buffers::default());
                    if !bytes.shortlists(simd, metric, [&q], wanted, [&mut alone]) {
                        assert!(simd.level() < Level::Avx512Vbmi);
                        continue;
                    }
                    let list = alone.rows.clone();
                    let pair = [&mut other, &mut alone];
                    assert!(bytes.shortlists(simd, metric, [&rows[..d], &q], wanted, pair));
                    assert_eq!(alone.rows, list, "two at a time");
                    assert!(metric == Metric::InnerProduct || other.rows.contains(&0));
                    assert!(list.is_sorted());
                    for (_, row) in &order[..wanted] {
                        assert!(list.contains(row), "case {case}, {metric:?}, {wanted} wanted");
                    }
                    if d == 128 && offset == 0.0 && metric == Metric::L2 {
                        assert!(list.len() < 4 * wanted + 16, "{} for {wanted} of {n}", list.len());
                    }
                }
            }
        }
    }
}
