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
//! How bytes lie and are multiplied, and what that costs, is in `bytes/mod.rs`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

pub use crate::bytes::{BLOCK, ByteQuery, MAX_D, block_bytes, has_level};

use crate::bytes::{ZERO, place};
use crate::level::{Level, Simd};
use crate::metric::Metric;

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
        let (mut norm, mut error) = (0f64, 0f64);
        for (j, x) in relative(row).into_iter().enumerate() {
            let byte = (x / step).round().clamp(-127.0, 127.0);
            bytes[first + place(centre.len(), i, j)] = (byte as i32 + i32::from(ZERO)) as u8;
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

impl ByteQuery {
    /// Largest error of a row's bound: what [`Self::survivors`] takes off; infinite or not a number
    /// where floats might overflow. `centre_norm` is at least ‖g‖, and `base` the centre's cost.
    pub fn slack(&self, metric: Metric, rounded: &Rounded, centre_norm: f32, base: f32) -> f64 {
        let (r, e) = (f64::from(rounded.largest_norm), f64::from(rounded.largest_error));
        let product = self.error * r + self.size * e;
        let weight = f64::from(metric.products());
        let largest = match metric {
            Metric::L2 => (self.norm + r).powi(2),
            Metric::InnerProduct => self.norm * (r + f64::from(centre_norm)),
        };
        // Then norms, and what bounds are made of, are floats.
        if largest.is_nan() || largest >= f64::from(f32::MAX) / 8.0 {
            return f64::INFINITY;
        }
        weight * product + self.rounding(largest + f64::from(base.abs()))
    }

    /// Appends the lower bound of every row's cost that is at most `threshold` to `bounds`, and its
    /// position plus `first` to `positions`, ascending. `base` is the cost of the centre, and
    /// `slack` what [`Self::slack`] said.
    ///
    /// # Panics
    /// If a slice is too short for its shape, or the query was filled at another level.
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
        assert!(self.is_for(simd), "a query for other products than those of {}", simd.level());
        let blocks = rows.len.div_ceil(BLOCK);
        assert!(rows.bytes.len() >= blocks * block_bytes(self.d), "bytes are cut short");
        assert!(rows.norms.len() >= blocks * BLOCK, "norms are cut short");
        let cut = Cut {
            factor: -metric.products() * self.unit * rows.rounded.scale,
            weight: metric.norms(),
            // Down, so that the sum stays a bound.
            constant: ((f64::from(base) - slack) as f32).next_down(),
            threshold,
            first,
        };
        // Room for a whole register behind the last.
        bounds.reserve(blocks * BLOCK + BLOCK);
        positions.reserve(blocks * BLOCK + BLOCK);
        let mut out = Out { bounds, positions };
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`, for which the query was filled;
        // the slices were compared with the number of blocks, and there is room for all of them.
        unsafe {
            match simd.level() {
                Level::Avx512Vbmi => avx512::survivors(self, rows, &cut, &mut out),
                _ => avx2::survivors(self, rows, &cut, &mut out),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (cut, &mut out);
    }
}

/// From an integer product to a row's bound: product · `factor` + ‖r‖² · `weight` + `constant`;
/// and which rows are kept.
struct Cut {
    factor: f32,
    weight: f32,
    constant: f32,
    /// Largest bound of a row that is kept.
    threshold: f32,
    /// Position of the first row.
    first: u32,
}

/// The buffers of survivors.
struct Out<'a> {
    bounds: &'a mut Vec<f32>,
    positions: &'a mut Vec<u32>,
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
