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
//! How bytes lie and are multiplied, and what that costs, is in `bytes/mod.rs`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use crate::bytes::{self, BLOCK, ByteQuery, MAX_D, ZERO, block_bytes};
use crate::dense::norm_sq;
use crate::level::{Level, Simd};
use crate::metric::Metric;

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
    /// Blocks of ĉ + 128, padded.
    bytes: Vec<u8>,
    /// The scale of each row, padded to a whole block.
    scales: Vec<f32>,
    /// ‖c′‖² of each row, and ‖c′‖ rounded up.
    norms_sq: Vec<f32>,
    norms: Vec<f32>,
    /// ‖e‖ of each row, rounded up; infinite in padding, whose bounds then say nothing.
    errors: Vec<f32>,
    largest_norm: f64,
}

/// Buffers that shortlists of one thread use again and again.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The shortlist, ascending.
    pub rows: Vec<u32>,
    query: ByteQuery,
    margin: Margin,
    lower: Vec<f32>,
    minima: Vec<f32>,
}

/// From a query's integer product with a row to the row's bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Margin {
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
        let padded = n.next_multiple_of(BLOCK);
        let mut this = Self {
            rows: n,
            d,
            mean_norm: f64::from(norm_sq(&mean)).sqrt() * (1.0 + 1e-5),
            mean,
            bytes: vec![ZERO; padded / BLOCK * block_bytes(d)],
            scales: vec![0.0; padded],
            norms_sq: vec![0.0; padded],
            norms: vec![0.0; padded],
            errors: vec![f32::INFINITY; padded],
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
                this.bytes[bytes::place(d, i, j)] = (byte as i32 + i32::from(ZERO)) as u8;
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
        mut buffers: [&mut Buffers; Q],
    ) -> bool {
        if !bytes::has_level(simd)
            || wanted * MINIMA_PER_WANTED > self.rows
            || q.iter().any(|q| q.len() != self.d)
            || self.d > MAX_D
        {
            return false;
        }
        let blocks = self.scales.len() / BLOCK;
        let rounds = (wanted * MINIMA_PER_WANTED).div_ceil(BLOCK).min(blocks);
        for (q, buffers) in q.into_iter().zip(&mut buffers) {
            let centre = (metric == Metric::L2).then_some(self.mean.as_slice());
            buffers.query.fill(simd, q, centre);
            let Some(margin) = self.margin(metric, &buffers.query) else { return false };
            buffers.margin = margin;
            buffers.lower.resize(self.scales.len(), 0.0);
            buffers.minima.clear();
            buffers.minima.resize(rounds * BLOCK, f32::INFINITY);
            buffers.rows.clear();
            // A register more than there are rows.
            buffers.rows.reserve(self.scales.len() + BLOCK);
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`; the buffers have the shapes
        // asked for, and the queries were filled at this level.
        unsafe {
            match simd.level() {
                Level::Avx512Vbmi => avx512::shortlists(self, wanted, &mut buffers),
                _ => avx2::shortlists(self, wanted, &mut buffers),
            }
        }
        for Buffers { rows, .. } in buffers {
            // No bound keeps padding out.
            rows.truncate(rows.partition_point(|&row| (row as usize) < self.rows));
        }
        cfg!(target_arch = "x86_64")
    }

    /// What a query's error contributes to bounds. `None` where numbers are too large.
    fn margin(&self, metric: Metric, query: &ByteQuery) -> Option<Margin> {
        let largest = match metric {
            Metric::L2 => (query.norm + self.largest_norm).powi(2),
            Metric::InnerProduct => query.norm * (self.largest_norm + self.mean_norm),
        };
        let times = f64::from(metric.products());
        // Not a number is not below anything.
        let sound = largest < f64::from(f32::MAX) / 64.0 && query.unit > f32::MIN_POSITIVE;
        sound.then(|| Margin {
            factor: (-times * f64::from(query.unit)) as f32,
            weight: metric.norms(),
            by_norm: up(times * query.error),
            by_error: up(times * query.size),
            rounding: up(query.rounding(largest)),
        })
    }
}
