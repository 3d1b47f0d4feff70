//! Principal components of rows seen one block after another, in float64.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

use crate::{Error, Result};

/// Columns of the covariance that one task owns. Fixed, so that the result does not depend on the
/// number of threads.
const TILE_COLUMNS: usize = 128;

/// Running sum of rows.
pub(crate) struct Mean {
    sum: Vec<f64>,
    rows: usize,
}

impl Mean {
    /// An empty sum for rows of `dim` values.
    pub(crate) fn new(dim: usize) -> Self {
        Self { sum: vec![0.0; dim], rows: 0 }
    }

    /// Adds a block `(rows, dim)`.
    pub(crate) fn add(&mut self, block: &[f32]) {
        for row in block.chunks_exact(self.sum.len()) {
            for (sum, x) in self.sum.iter_mut().zip(row) {
                *sum += f64::from(*x);
            }
            self.rows += 1;
        }
    }

    /// The mean `(dim,)`, zeros where there were no rows.
    pub(crate) fn finish(self) -> Vec<f64> {
        let rows = self.rows.max(1) as f64;
        self.sum.into_iter().map(|sum| sum / rows).collect()
    }
}

/// Running covariance about a known mean: a second pass over the rows loses no digits, where the
/// one-pass formula would subtract large numbers.
pub(crate) struct Covariance {
    mean: Vec<f64>,
    /// Column tiles of the lower triangle: tile t holds rows `t*TILE..dim`, its columns one after
    /// another.
    tiles: Vec<Vec<f64>>,
    rows: usize,
}

impl Covariance {
    /// About `mean` `(dim,)`.
    pub(crate) fn new(mean: Vec<f64>) -> Self {
        let dim = mean.len();
        let tiles = (0..dim)
            .step_by(TILE_COLUMNS)
            .map(|start| vec![0.0; (dim - start) * TILE_COLUMNS.min(dim - start)])
            .collect();
        Self { mean, tiles, rows: 0 }
    }

    /// Adds a block `(rows, dim)`.
    pub(crate) fn add(&mut self, block: &[f32]) {
        let dim = self.mean.len();
        let rows = block.len() / dim;
        let centred: Vec<f64> = block
            .chunks_exact(dim)
            .flat_map(|row| row.iter().zip(&self.mean).map(|(x, m)| f64::from(*x) - m))
            .collect();
        let a = MatRef::from_row_major_slice(&centred, rows, dim);
        self.tiles.par_iter_mut().enumerate().for_each(|(tile, sums)| {
            let start = tile * TILE_COLUMNS;
            let columns = TILE_COLUMNS.min(dim - start);
            let target = MatMut::from_column_major_slice_mut(sums, dim - start, columns);
            let left = a.subcols(start, dim - start).transpose();
            matmul(target, Accum::Add, left, a.subcols(start, columns), 1.0, Par::Seq);
        });
        self.rows += rows;
    }

    /// Eigenvectors by falling eigenvalue of the unbiased covariance.
    pub(crate) fn finish(self) -> Result<Components> {
        let degrees = (self.rows.max(2) - 1) as f64;
        self.finish_over(degrees)
    }

    /// The same, of the sum of products over `degrees` of freedom.
    pub(crate) fn finish_over(self, degrees: f64) -> Result<Components> {
        let dim = self.mean.len();
        let scale = 1.0 / degrees;
        let mut covariance = Mat::<f64>::zeros(dim, dim);
        for (tile, sums) in self.tiles.iter().enumerate() {
            let start = tile * TILE_COLUMNS;
            for (j, column) in sums.chunks_exact(dim - start).enumerate() {
                for i in j..dim - start {
                    covariance[(start + i, start + j)] = column[i] * scale;
                    covariance[(start + j, start + i)] = column[i] * scale;
                }
            }
        }
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|e| {
            Error::Invalid(format!("PCA: the eigenvalue iteration did not end: {e:?}"))
        })?;
        let (values, vectors) = (eigen.S().column_vector(), eigen.U());
        // faer sorts by rising eigenvalue.
        let mut components =
            Components { variances: Vec::with_capacity(dim), axes: Vec::with_capacity(dim) };
        for j in (0..dim).rev() {
            let mut axis: Vec<f64> = (0..dim).map(|i| vectors[(i, j)]).collect();
            fix_sign(&mut axis);
            components.variances.push(values[j]);
            components.axes.push(axis);
        }
        Ok(components)
    }
}

/// Result of a principal component analysis.
pub(crate) struct Components {
    /// `(dim,)`, falling.
    pub(crate) variances: Vec<f64>,
    /// Unit vectors `(dim,)`, one per variance; the component of largest magnitude is positive.
    pub(crate) axes: Vec<Vec<f64>>,
}

/// An eigenvector and its negative are equally right; one must be chosen for equal files.
fn fix_sign(axis: &mut [f64]) {
    let mut largest = 0.0f64;
    for &v in axis.iter() {
        if v.abs() > largest.abs() {
            largest = v;
        }
    }
    if largest < 0.0 {
        axis.iter_mut().for_each(|v| *v = -*v);
    }
}
