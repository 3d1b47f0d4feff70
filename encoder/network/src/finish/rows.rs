//! What follows the pooling, on the CPU.

use std::borrow::Cow;

use ocelli_index::Whitening;
use ocelli_vector::dense::matvec_transposed;
use ocelli_vector::l2_normalize;
use ocelli_weights::{Head, Projection};

use crate::error::{Error, Result};

/// Proves that a whitening takes rows of dimension `dim`. Its fields are open, so its shape is
/// proven here, once, before any row meets it.
///
/// # Errors
/// `Index(Dim)` when it takes another dimension, `Invalid` for a projection of another size.
pub fn check_whitening(whitening: &Whitening, dim: usize) -> Result<()> {
    let (dim_in, dim_out) = (whitening.dim_in(), whitening.dim_out());
    if dim_in != dim {
        return Err(ocelli_index::Error::Dim {
            what: "whitening's input".to_string(),
            expected: dim,
            found: dim_in,
        }
        .into());
    }
    if dim_out == 0 || dim_in * dim_out != whitening.projection.len() {
        let found = whitening.projection.len();
        return Err(Error::invalid(format!(
            "whitening: expected a projection of {dim_in} rows, found {found} values"
        )));
    }
    Ok(())
}

/// Rows (n, `dim`) to rows (n, dim_out), each whitened and L2-normalised; as they are where there
/// is no whitening.
///
/// # Errors
/// `Index(Dim)` when the whitening takes another dimension.
pub fn whiten<'a>(
    rows: &'a [f32],
    dim: usize,
    whitening: Option<&Whitening>,
) -> Result<Cow<'a, [f32]>> {
    let Some(whitening) = whitening else { return Ok(Cow::Borrowed(rows)) };
    let mut out = Vec::with_capacity(rows.len() / dim.max(1) * whitening.dim_out());
    for row in rows.chunks_exact(dim.max(1)) {
        let mut row = whitening.apply(row)?;
        l2_normalize(&mut row);
        out.extend(row);
    }
    Ok(Cow::Owned(out))
}

/// Whitens and sums rows (n, `dim`): one row (dim_out,), L2-normalised if it has a direction.
///
/// # Errors
/// As [`whiten`].
pub fn sum_of_units(rows: &[f32], dim: usize, whitening: Option<&Whitening>) -> Result<Vec<f32>> {
    let dim_out = whitening.map_or(dim, Whitening::dim_out);
    let mut sum = sum_rows(&whiten(rows, dim, whitening)?, dim_out);
    l2_normalize(&mut sum);
    Ok(sum)
}

/// Sum of rows (n, `dim`), accumulated in float64 so that the order of the rows hardly matters.
#[must_use]
pub fn sum_rows(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim.max(1)) {
        for (total, &v) in sum.iter_mut().zip(row) {
            *total += f64::from(v);
        }
    }
    sum.into_iter().map(|v| v as f32).collect()
}

/// Pooled rows (n, channels) to L2-normalised rows (n, [`row_dim`](Head::row_dim)) behind the
/// projection of rows, if there is one. Without one, a row of zeros stays a row of zeros.
pub(super) fn project_rows(head: &Head, mut pooled: Vec<f32>, channels: usize) -> Vec<f32> {
    let normalize = |rows: &mut [f32], dim: usize| {
        for row in rows.chunks_exact_mut(dim.max(1)) {
            l2_normalize(row);
        }
    };
    let Some((projection, normalized)) = &head.rows else {
        normalize(&mut pooled, channels);
        return pooled;
    };
    if *normalized {
        normalize(&mut pooled, channels);
    }
    let mut rows = project(projection, &pooled);
    normalize(&mut rows, projection.dim_out);
    rows
}

/// Rows (n, dim_in) to rows (n, dim_out), not normalised.
pub(super) fn project(projection: &Projection, rows: &[f32]) -> Vec<f32> {
    let Projection { dim_in, dim_out, mean, transposed, bias } = projection;
    let mut out = Vec::with_capacity(rows.len() / dim_in * dim_out);
    let (mut centred, mut y) = (Vec::with_capacity(*dim_in), Vec::new());
    for row in rows.chunks_exact(*dim_in) {
        centred.clear();
        centred.extend_from_slice(row);
        centred.iter_mut().zip(mean).for_each(|(x, mean)| *x -= mean);
        matvec_transposed(transposed, *dim_out, &centred, &mut y);
        y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        out.extend_from_slice(&y);
    }
    out
}
