//! A shortlist of rows by 8-bit arithmetic, with a proven error: exact floats then decide among few.
//!
//! With c = s ĉ + e (ĉ in −127..127) and q = u q̂ + f likewise, Cauchy–Schwarz gives
//! |⟨q, c⟩ − u s ⟨q̂, ĉ⟩| ≤ ‖f‖ ‖c‖ + ‖u q̂‖ ‖e‖. So a row whose approximate cost exceeds a cost that n rows
//! reach by more than twice the largest such error is not among the n best.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes: the query is stored as q̂ + 128, and 128 Σ ĉ is taken off
//! again. Rows lie in groups of 16, four coordinates at a time, so that a register holds the same four
//! coordinates of sixteen rows and no sum crosses lanes.

use crate::dense::{dot, norm_sq};
use crate::level::{Level, Simd};

/// Rows in a group: the 32-bit lanes of a register.
const GROUP: usize = 16;
/// Coordinates that one multiplication takes.
const QUAD: usize = 4;

/// Which cost is approximated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// ‖q − c‖² − ‖q‖².
    L2,
    /// −⟨q, c⟩.
    InnerProduct,
}

/// Rows (n, d) as bytes.
#[derive(Debug)]
pub struct ByteRows {
    rows: usize,
    d: usize,
    /// (n / 16, d / 4, 16, 4), padded with zeros.
    bytes: Vec<i8>,
    /// Of each row: 128 Σ ĉ.
    shifts: Vec<i32>,
    /// Of each row: ‖c‖².
    norms: Vec<f32>,
    scale: f32,
    largest_norm: f64,
    largest_error: f64,
}

impl ByteRows {
    /// Rounds `rows` (n, d) to bytes.
    pub fn new(rows: &[f32], d: usize) -> Self {
        let n = rows.len() / d;
        let largest = rows.iter().fold(0f32, |a, b| a.max(b.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let quads = d.div_ceil(QUAD);
        let mut bytes = vec![0i8; n.next_multiple_of(GROUP) * quads * QUAD];
        let mut shifts = vec![0i32; n.next_multiple_of(GROUP)];
        let mut norms = vec![0f32; n.next_multiple_of(GROUP)];
        let (mut largest_norm, mut largest_error) = (0f64, 0f64);
        for (i, row) in rows.chunks_exact(d).enumerate() {
            let mut error = 0f64;
            for (j, &x) in row.iter().enumerate() {
                let byte = (x / scale).round().clamp(-127.0, 127.0);
                let at = ((i / GROUP * quads + j / QUAD) * GROUP + i % GROUP) * QUAD + j % QUAD;
                bytes[at] = byte as i8;
                shifts[i] += 128 * byte as i32;
                error += (f64::from(x) - f64::from(scale) * f64::from(byte)).powi(2);
            }
            norms[i] = norm_sq(row);
            largest_norm = largest_norm.max(f64::from(norms[i]).sqrt());
            largest_error = largest_error.max(error.sqrt());
        }
        Self { rows: n, d, bytes, shifts, norms, scale, largest_norm, largest_error }
    }

    /// Finds rows among which the `wanted` best by exact float cost are, and writes their indices to
    /// `out`, ascending. False, and nothing useful in `out`, where the level has no 8-bit products, the
    /// shortlist would not be short, or numbers are too large.
    pub fn shortlist(
        &self,
        simd: Simd,
        cost: Cost,
        q: &[f32],
        wanted: usize,
        costs: &mut Vec<f32>,
        out: &mut Vec<u32>,
    ) -> bool {
        if simd.level() < Level::Avx512Vbmi || wanted * 4 > self.rows || q.len() != self.d {
            return false;
        }
        let largest = q.iter().fold(0f32, |a, b| a.max(b.abs()));
        let unit = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut query = vec![128u8; self.d.next_multiple_of(QUAD)];
        let (mut size, mut error) = (0f64, 0f64);
        for (byte, &x) in query.iter_mut().zip(q) {
            let rounded = (x / unit).round().clamp(-127.0, 127.0);
            *byte = (rounded as i32 + 128) as u8;
            let value = f64::from(unit) * f64::from(rounded);
            size += value * value;
            error += (f64::from(x) - value).powi(2);
        }
        let norm = f64::from(dot(q, q)).sqrt();
        let product_error = error.sqrt() * self.largest_norm + size.sqrt() * self.largest_error;
        // Rounding of the approximation and of the exact float costs: d + 8 operations, each off by at
        // most 2⁻²⁴ of the largest intermediate value, (‖q‖ + ‖c‖)².
        let rounding =
            (self.d as f64 + 8.0) * f64::from(f32::EPSILON) * (norm + self.largest_norm).powi(2);
        let slack = 2.0 * (2.0 * product_error + rounding);
        if !slack.is_finite() || slack > f64::from(f32::MAX) / 8.0 {
            return false;
        }
        let (factor, weight) = match cost {
            Cost::L2 => (-2.0 * unit * self.scale, 1.0),
            Cost::InnerProduct => (-unit * self.scale, 0.0),
        };
        costs.clear();
        costs.resize(self.norms.len(), f32::INFINITY);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`; the query has four bytes a quad.
        unsafe {
            let words = query.as_chunks::<QUAD>().0.iter().map(|w| i32::from_le_bytes(*w));
            self.costs_avx512(&words.collect::<Vec<i32>>(), factor, weight, costs);
        }
        costs.truncate(self.rows);
        let reached = kth_smallest_at_most(simd, costs, wanted);
        let limit = (f64::from(reached) + slack) as f32;
        out.clear();
        out.extend(
            (0u32..).zip(costs.iter()).filter(|(_, c)| **c <= limit.next_up()).map(|(i, _)| i),
        );
        true
    }

    /// Approximate cost of every row, padding included.
    ///
    /// # Safety
    /// AVX-512 F and VNNI; `query` has one word (four bytes) a quad, `out` one element a row.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn costs_avx512(&self, query: &[i32], factor: f32, weight: f32, out: &mut [f32]) {
        use std::arch::x86_64::*;
        let (factor, weight) = (_mm512_set1_ps(factor), _mm512_set1_ps(weight));
        for group in 0..out.len() / GROUP {
            // SAFETY: each group has 64 bytes for each quad.
            let rows = unsafe { self.bytes.as_ptr().add(group * query.len() * GROUP * QUAD) };
            let mut sums = [_mm512_setzero_si512(); 4];
            for (quad, &four) in query.iter().enumerate() {
                // SAFETY: as above.
                let rows = unsafe { _mm512_loadu_si512(rows.add(quad * GROUP * QUAD).cast()) };
                let sum = &mut sums[quad % 4];
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(four), rows);
            }
            let sum = _mm512_add_epi32(
                _mm512_add_epi32(sums[0], sums[1]),
                _mm512_add_epi32(sums[2], sums[3]),
            );
            // SAFETY: shifts, norms and out have sixteen elements a group.
            unsafe {
                let shift = _mm512_loadu_si512(self.shifts.as_ptr().add(group * GROUP).cast());
                let norm = _mm512_loadu_ps(self.norms.as_ptr().add(group * GROUP));
                let product = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, shift));
                let cost = _mm512_fmadd_ps(product, factor, _mm512_mul_ps(norm, weight));
                _mm512_storeu_ps(out.as_mut_ptr().add(group * GROUP), cost);
            }
        }
    }
}

/// A value that at least `k` of `values` do not exceed, close to the smallest such value.
pub fn kth_smallest_at_most(simd: Simd, values: &[f32], k: usize) -> f32 {
    let (mut low, mut high) = range(values);
    // Halving the range sixteen times leaves less than the approximation's own error.
    for _ in 0..16 {
        let middle = low + (high - low) * 0.5;
        if !(low < middle && middle < high) {
            break;
        }
        if count_at_most(simd, values, middle) >= k {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The smallest and the largest of `values`.
fn range(values: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
    let (parts, rest) = values.as_chunks::<16>();
    let mut take = |lane: usize, v: f32| {
        // Comparisons in this form are one instruction for all lanes.
        low[lane] = if v < low[lane] { v } else { low[lane] };
        high[lane] = if v > high[lane] { v } else { high[lane] };
    };
    for part in parts {
        for (lane, &v) in part.iter().enumerate() {
            take(lane, v);
        }
    }
    rest.iter().enumerate().for_each(|(lane, &v)| take(lane, v));
    let low = low.into_iter().fold(f32::INFINITY, f32::min);
    (low, high.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

/// How many of `values` are at most `limit`.
fn count_at_most(simd: Simd, values: &[f32], limit: f32) -> usize {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { count_at_most_avx512(values, limit) }
        }
        _ => values.iter().filter(|v| **v <= limit).count(),
    }
}

/// # Safety
/// AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn count_at_most_avx512(values: &[f32], limit: f32) -> usize {
    use std::arch::x86_64::*;
    let limits = _mm512_set1_ps(limit);
    let (parts, rest) = values.as_chunks::<16>();
    let mut count = rest.iter().filter(|v| **v <= limit).count();
    for part in parts {
        // SAFETY: a part is 64 bytes.
        let part = unsafe { _mm512_loadu_ps(part.as_ptr()) };
        count += _mm512_cmp_ps_mask::<_CMP_LE_OQ>(part, limits).count_ones() as usize;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::l2_sq;
    use rand::{RngExt, SeedableRng};

    /// The best rows by exact float cost are always on the list, ties included; and the list is short.
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
            for cost in [Cost::L2, Cost::InnerProduct] {
                let exact = |r: &[f32]| if cost == Cost::L2 { l2_sq(&q, r) } else { -dot(&q, r) };
                let mut order: Vec<(f32, u32)> =
                    rows.chunks_exact(d).map(exact).zip(0u32..).collect();
                order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                for wanted in [1, 5, 16] {
                    let mut list = Vec::new();
                    if !bytes.shortlist(simd, cost, &q, wanted, &mut Vec::new(), &mut list) {
                        assert!(simd.level() < Level::Avx512Vbmi);
                        continue;
                    }
                    assert!(list.is_sorted());
                    for (_, row) in &order[..wanted] {
                        assert!(list.contains(row), "case {case}, {cost:?}, {wanted} wanted");
                    }
                    if d == 128 && offset == 0.0 && cost == Cost::L2 {
                        assert!(
                            list.len() < 16 * wanted + 64,
                            "{} for {wanted} of {n}",
                            list.len()
                        );
                    }
                }
            }
        }
    }
}
