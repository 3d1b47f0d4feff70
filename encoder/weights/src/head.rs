//! Projections behind the pooling, which are part of the weights of some networks.
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

use crate::error::Result;
use crate::file::{Floats, Weights};

/// y = W (x − mean) + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// Length of x.
    pub dim_in: usize,
    /// Length of y.
    pub dim_out: usize,
    /// (dim_in,), or empty for zeros.
    pub mean: Vec<f32>,
    /// Wᵀ, (dim_in, dim_out) row-major.
    pub transposed: Vec<f32>,
    /// (dim_out,), or empty for zeros.
    pub bias: Vec<f32>,
}

/// The projections of a network, as far as it has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The projection of each pooled row, and whether rows are L2-normalised before it, too.
    pub rows: Option<(Projection, bool)>,
    /// The projection of the image's descriptor.
    pub image: Option<Projection>,
}

/// Prefixes of the tensors of the two projections.
const ROWS: &str = "head";
const IMAGE: &str = "whitening";

/// Whether a tensor of this name belongs to a projection.
pub(crate) fn knows(name: &str) -> bool {
    let parts = name.split_once('.');
    parts.is_some_and(|(projection, part)| {
        [ROWS, IMAGE].contains(&projection) && ["weight", "mean", "bias"].contains(&part)
    })
}

impl Projection {
    /// Reads `{name}.weight` and what goes with it; None if there is no such tensor. Rows have
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
            let Floats { shape, values } = weights.floats(&field(part), shape)?;
            let single: Vec<f32> = match *shape.as_slice() {
                // Transposed where it is a matrix.
                [rows, columns] => (0..columns)
                    .flat_map(|column| (0..rows).map(move |row| row * columns + column))
                    .filter_map(|at| values.get(at))
                    .map(|&v| v as f32)
                    .collect(),
                _ => values.iter().map(|&v| v as f32).collect(),
            };
            match single.iter().all(|v| v.is_finite()) {
                true => Ok(single),
                false => Err(weights
                    .bad(format!("tensor {}: a value is out of float32's range", field(part)))),
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
}

impl Head {
    /// Reads the projections behind a map of `channels`.
    ///
    /// # Errors
    /// `MissingTensor` for a part without its weight, `TensorShape`, or `BadWeights` for values out
    /// of range and metadata that cannot be understood.
    pub fn load(weights: &Weights, channels: usize) -> Result<Head> {
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
        let dim = rows.as_ref().map_or(channels, |rows| rows.dim_out);
        let image = Projection::load(weights, IMAGE, dim)?;
        Ok(Head { rows: rows.map(|rows| (rows, normalize)), image })
    }

    /// The form of the rows' projection, for the descriptor spec.
    #[must_use]
    pub fn form(&self) -> HeadForm {
        match self.rows {
            None => HeadForm::None,
            Some((_, true)) => HeadForm::L2Fc,
            Some((_, false)) => HeadForm::Fc,
        }
    }

    /// Length of a row that had `channels` values.
    #[must_use]
    pub fn row_dim(&self, channels: usize) -> usize {
        self.rows.as_ref().map_or(channels, |(rows, _)| rows.dim_out)
    }
}
