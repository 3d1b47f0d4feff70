//! What stands behind the pooling in a network that was trained with it: projections with weights
//! in the network's own file.
//!
//! Gordo et al. (IJCV 2017) train the whitening of regions as two layers, a shift and a fully
//! connected one; a network trained so must keep it. In a weights file these are the tensors
//!
//! - `head.weight` (D, C), `head.mean` (C,) and `head.bias` (D,), the latter two optional: every
//!   pooled row x becomes W (x − mean) + b. L2-normalised before (unless the metadata say
//!   `ocelli.head` = `fc`) and after;
//! - `whitening.weight`, `.mean` and `.bias`, alike, for the whole image's descriptor, after all
//!   regions and sizes are summed: the whitening that GeM checkpoints come with.

use ocelli_index::Head as HeadForm;
use ocelli_vector::dense::matvec_transposed;

use super::weights::Weights;
use crate::error::{Error, Result};
use crate::pooling::unit;

/// y = W (x − mean) + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    dim_in: usize,
    dim_out: usize,
    /// (dim_in,), or empty for zeros.
    mean: Vec<f32>,
    /// Wᵀ, (dim_in, dim_out) row-major.
    transposed: Vec<f32>,
    /// (dim_out,), or empty for zeros.
    bias: Vec<f32>,
}

/// The projections of a network, each where it has one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Of each pooled row, and whether rows are L2-normalised before it too.
    pub(super) rows: Option<(Projection, bool)>,
    /// Of the image's descriptor.
    pub(super) image: Option<Projection>,
}

/// What the tensors of the two projections begin with.
const ROWS: &str = "head";
const IMAGE: &str = "whitening";

/// Whether a tensor of this name belongs to a projection.
pub(super) fn knows(name: &str) -> bool {
    let parts = name.split_once('.');
    parts.is_some_and(|(projection, part)| {
        [ROWS, IMAGE].contains(&projection) && ["weight", "mean", "bias"].contains(&part)
    })
}

impl Projection {
    /// Reads `{name}.weight` and what goes with it; None where there is no such tensor. Rows have
    /// `dim_in` values.
    fn load(weights: &Weights, name: &str, dim_in: usize) -> Result<Option<Projection>> {
        let field = |field: &str| format!("{name}.{field}");
        let has = |part: &str| weights.contains(&field(part));
        if !has("weight") {
            if let Some(part) = ["mean", "bias"].into_iter().find(|part| has(part)) {
                let missing = weights.missing(&field("weight"), &[None, Some(dim_in)]);
                tracing::debug!(found = field(part), "a projection without its weight");
                return Err(missing);
            }
            return Ok(None);
        }
        let read = |part: &str, shape: &[Option<usize>]| {
            let tensor = weights.tensor_f64(&field(part), shape)?;
            let shape = tensor.size();
            // Transposed where it is a matrix.
            let tensor = if shape.len() == 2 {
                tensor.f_tr().and_then(|t| t.f_contiguous())
            } else {
                Ok(tensor)
            };
            let values = tensor
                .and_then(|t| Vec::<f64>::try_from(&t.f_reshape([-1])?))
                .map_err(Error::torch("reading a projection"))?;
            let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            if values.iter().all(|v| v.is_finite()) {
                Ok(values)
            } else {
                Err(weights
                    .bad(format!("tensor {}: a value is out of float32's range", field(part))))
            }
        };
        let transposed = read("weight", &[None, Some(dim_in)])?;
        let dim_out = transposed.len() / dim_in;
        let optional = |part: &str, len: usize| {
            if has(part) { read(part, &[Some(len)]) } else { Ok(Vec::new()) }
        };
        let (mean, bias) = (optional("mean", dim_in)?, optional("bias", dim_out)?);
        Ok(Some(Projection { dim_in, dim_out, mean, transposed, bias }))
    }

    /// Mean, Wᵀ and bias, the first and the last empty for zeros, and the dimension of what goes
    /// in.
    pub(super) fn parts(&self) -> (&[f32], &[f32], &[f32], usize) {
        (&self.mean, &self.transposed, &self.bias, self.dim_in)
    }

    /// Length of the result.
    pub fn dim_out(&self) -> usize {
        self.dim_out
    }

    /// Rows (n, dim_in) to rows (n, dim_out), not normalised.
    fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(rows.len() / self.dim_in * self.dim_out);
        let (mut centred, mut y) = (Vec::with_capacity(self.dim_in), Vec::new());
        for row in rows.chunks_exact(self.dim_in) {
            centred.clear();
            centred.extend_from_slice(row);
            centred.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x -= mean);
            matvec_transposed(&self.transposed, self.dim_out, &centred, &mut y);
            y.iter_mut().zip(&self.bias).for_each(|(y, bias)| *y += bias);
            out.extend_from_slice(&y);
        }
        out
    }
}

impl Head {
    /// Reads the projections behind a map of `channels`.
    pub(super) fn load(weights: &Weights, channels: usize) -> Result<Head> {
        let normalize = match weights.metadata("ocelli.head") {
            None => true,
            Some(text) => {
                match text.parse().map_err(|e| weights.bad(format!("metadata ocelli.head: {e}")))? {
                    HeadForm::Fc => false,
                    HeadForm::L2Fc | HeadForm::None => true,
                }
            }
        };
        let rows = Projection::load(weights, ROWS, channels)?;
        let dim = rows.as_ref().map_or(channels, Projection::dim_out);
        let image = Projection::load(weights, IMAGE, dim)?;
        Ok(Head { rows: rows.map(|rows| (rows, normalize)), image })
    }

    /// What the descriptor spec records of the rows' projection.
    pub fn form(&self) -> HeadForm {
        match self.rows {
            None => HeadForm::None,
            Some((_, true)) => HeadForm::L2Fc,
            Some((_, false)) => HeadForm::Fc,
        }
    }

    /// Length of a row that had `channels` values.
    pub fn row_dim(&self, channels: usize) -> usize {
        self.rows.as_ref().map_or(channels, |(rows, _)| rows.dim_out)
    }

    /// Pooled rows (n, channels) to L2-normalised rows (n, [`row_dim`](Head::row_dim)). A row of
    /// zeros stays one, where there is no projection.
    pub fn rows(&self, mut pooled: Vec<f32>, channels: usize) -> Vec<f32> {
        let normalize = |rows: &mut [f32], dim: usize| {
            for row in rows.chunks_exact_mut(dim.max(1)) {
                unit(row);
            }
        };
        let Some((projection, normalized)) = &self.rows else {
            normalize(&mut pooled, channels);
            return pooled;
        };
        if *normalized {
            normalize(&mut pooled, channels);
        }
        let mut rows = projection.apply(&pooled);
        normalize(&mut rows, projection.dim_out);
        rows
    }

    /// The projection of whole images, if there is one.
    pub fn image(&self) -> Option<&Projection> {
        self.image.as_ref()
    }

    /// An image's descriptor, projected where there is a projection, not normalised again.
    pub fn finish(&self, descriptor: Vec<f32>) -> Vec<f32> {
        match &self.image {
            Some(projection) => projection.apply(&descriptor),
            None => descriptor,
        }
    }
}
