//! Database-side augmentation (DBA): every descriptor replaced by a weighted mean of itself and its
//! nearest, before it is coded. The formula is [`ocelli_index::augment`]; here are the
//! neighbours.
//!
//! Up to [`EXACT_ROWS`] rows the neighbours are exact. Blocked matrix products in f32 rule out what
//! cannot be among the k nearest, with a margin for their rounding. Dot products in the fixed order
//! decide, with ties to the smaller row. So the neighbours depend neither on threads nor on the
//! machine. For more rows a build searches an index of plain codes, which it makes beside the new
//! one and removes again.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ocelli_index::augment;
use ocelli_index::{Dba, Metric, simd};
use ocelli_vector::norm_sq;
use rayon::prelude::*;

use crate::{Error, Result};

/// Most rows whose exact neighbours are computed: 4 · 10⁹ products, a few minutes on two cores.
pub const EXACT_ROWS: usize = 1 << 16;

/// Rows that one task compares with all others.
const TILE: usize = 64;

/// The neighbours of all rows.
pub(crate) struct Neighbours {
    k: usize,
    /// (n, k), best first; `MISSING` where a search found fewer.
    rows: Vec<u32>,
    exact: bool,
}

/// In place of a neighbour that a search did not find.
pub(crate) const MISSING: u32 = u32::MAX;

impl Neighbours {
    /// The `k` nearest of each of the rows `x` (n, dim), itself not among them.
    ///
    /// # Errors
    /// A `k` that is not 1 to n - 1.
    pub(crate) fn exact(x: &[f32], dim: usize, metric: Metric, k: usize) -> Result<Self> {
        let n = x.len() / dim;
        check_k(k, n)?;
        let norms: Vec<f32> = x.par_chunks_exact(dim).map(norm_sq).collect();
        let largest = norms.iter().copied().fold(0.0, f32::max).sqrt();
        let rows = x
            .par_chunks(TILE * dim)
            .zip(norms.par_chunks(TILE))
            .enumerate()
            .map_init(Vec::new, |products, (tile, (queries, own))| {
                let count = own.len();
                products.resize(n * count, 0.0f32);
                let all = MatRef::from_row_major_slice(x, n, dim);
                let some = MatRef::from_row_major_slice(queries, count, dim).transpose();
                let target = MatMut::from_column_major_slice_mut(products, n, count);
                matmul(target, Accum::Replace, all, some, 1.0f32, Par::Seq);
                let mut out = Vec::with_capacity(count * k);
                for (i, costs) in products.chunks_exact_mut(n).enumerate() {
                    for (cost, norm) in costs.iter_mut().zip(&norms) {
                        *cost = metric.cost_by_product(*cost, *norm);
                    }
                    // Twice what rounding can do to either of the two ways to compute a cost.
                    let reach = own[i].sqrt() + largest;
                    let margin = 2.0 * (dim as f32 + 8.0) * f32::EPSILON * reach * reach;
                    let query = &queries[i * dim..][..dim];
                    nearest(query, tile * TILE + i, x, metric, costs, margin, k, &mut out);
                }
                out
            })
            .collect::<Vec<_>>()
            .concat();
        Ok(Self { k, rows, exact: true })
    }

    /// The neighbours of row `i`, best first; of exact neighbours none is missing.
    pub(crate) fn of(&self, i: usize) -> &[u32] {
        &self.rows[i * self.k..][..self.k]
    }

    /// Neighbours that a search found: `rows` is (n, k), best first, [`MISSING`] where it found
    /// fewer.
    pub(crate) fn found(k: usize, rows: Vec<u32>) -> Self {
        Self { k, rows, exact: false }
    }

    /// The record of them in a generation.
    pub(crate) fn record(&self) -> Dba {
        Dba { k: self.k as u32, exact: self.exact }
    }

    /// The rows `x` (n, dim), the first of which is row `first`, augmented. `read` gives a row by
    /// number.
    pub(crate) fn augment(
        &self,
        first: usize,
        x: &[f32],
        dim: usize,
        read: impl Fn(usize) -> Result<Vec<f32>> + Sync,
    ) -> Result<Vec<f32>> {
        let rows = x.par_chunks_exact(dim).enumerate().map(|(i, x)| {
            let nearest = &self.rows[(first + i) * self.k..][..self.k];
            let nearest = nearest.iter().filter(|&&row| row != MISSING);
            let nearest: Vec<Vec<f32>> =
                nearest.map(|&row| read(row as usize)).collect::<Result<_>>()?;
            Ok(augment(x, &nearest)?)
        });
        Ok(rows.collect::<Result<Vec<_>>>()?.concat())
    }
}

pub(crate) fn check_k(k: usize, rows: usize) -> Result<()> {
    if (1..rows).contains(&k) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "DBA with k = {k}: expected 1 to {} (the rows without one)",
        rows.saturating_sub(1)
    )))
}

/// Appends to `out` the k nearest of the rows `x` (n, dim) to row number `own`, `query` (dim,),
/// whose costs are known to be within half of `margin`.
#[expect(clippy::too_many_arguments, reason = "the pieces of one loop")]
fn nearest(
    query: &[f32],
    own: usize,
    x: &[f32],
    metric: Metric,
    costs: &mut [f32],
    margin: f32,
    k: usize,
    out: &mut Vec<u32>,
) {
    costs[own] = f32::INFINITY;
    let mut sorted = costs.to_vec();
    let (_, kth, _) = sorted.select_nth_unstable_by(k - 1, f32::total_cmp);
    let ceiling = *kth + margin;
    // Costs that are no numbers, of values that are too large, rule nothing out.
    let all = !ceiling.is_finite();
    let kept = |&(row, cost): &(u32, &f32)| row as usize != own && (all || *cost <= ceiling);
    let candidates: Vec<u32> = (0u32..).zip(&*costs).filter(kept).map(|(row, _)| row).collect();
    let mut exact = Vec::new();
    metric.of_rows(simd(), query, x, &candidates, &mut exact);
    metric.turn_to_costs(&mut exact);
    let mut ranked: Vec<(f32, u32)> = exact.into_iter().zip(candidates).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    out.extend(ranked.into_iter().take(k).map(|(_, row)| row));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_vector::{dot, l2_sq};
    use rand::{RngExt, SeedableRng};

    /// Against every pair compared one by one; every ninth row is a copy, so that costs tie.
    #[test]
    fn exact_neighbours_are_those_of_a_plain_scan() {
        let (n, dim, k) = (331, 40, 7);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut x: Vec<f32> = (0..n * dim).map(|_| rng.random_range(-1.0..1.0)).collect();
        for row in (9..n).step_by(9) {
            x.copy_within((row - 9) * dim..(row - 8) * dim, row * dim);
        }
        let row = |i: u32| &x[i as usize * dim..][..dim];
        for metric in [Metric::InnerProduct, Metric::L2] {
            let found = Neighbours::exact(&x, dim, metric, k).unwrap();
            for (own, found) in (0u32..).zip(found.rows.chunks(k)) {
                let cost = |i: u32| match metric {
                    Metric::L2 => l2_sq(row(own), row(i)),
                    Metric::InnerProduct => -dot(row(own), row(i)),
                };
                let mut expected: Vec<u32> = (0..n as u32).filter(|&i| i != own).collect();
                expected.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(a.cmp(&b)));
                assert_eq!(found, &expected[..k], "{metric}, row {own}");
            }
        }
        assert!(Neighbours::exact(&x, dim, Metric::L2, n).is_err());
        assert!(Neighbours::exact(&x, dim, Metric::L2, 0).is_err());
    }
}
