//! Losses of the descriptors of a batch, and their gradients.
//!
//! | module | loss |
//! |---|---|
//! | [`triplet`] | of triplets: the ranking loss of the paper |
//! | [`classes`] | of a classifier over the descriptors: cross-entropy, ArcFace |
//! | [`ranking`] | of whole rankings: average precision |
//!
//! Each takes descriptors (n, dim) and gives the gradient with respect to each, for the two passes
//! of [`passes`](crate::passes).

pub mod classes;
pub mod ranking;
pub mod triplet;

use clap::ValueEnum;
use ocelli_network::tch::{Device, Kind, Tensor};
use serde::Serialize;

use crate::error::{Error, Result, Torch};

pub use classes::Classifier;
pub use ranking::ranking_loss;
pub use triplet::{Triplet, batch_loss, losses, triplet_loss};

/// The loss that is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// ½ max(0, margin + ‖q − d⁺‖² − ‖q − d⁻‖²) of mined triplets.
    #[default]
    Triplet,
    /// Cross-entropy of a linear classifier over the descriptors.
    Classification,
    /// Cross-entropy of the angles to class centres, with a margin: ArcFace.
    Arcface,
    /// 1 − average precision of the rankings within a batch.
    Ap,
}

impl LossKind {
    /// Name in a file's metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LossKind::Triplet => "triplet",
            LossKind::Classification => "classification",
            LossKind::Arcface => "arcface",
            LossKind::Ap => "ap",
        }
    }

    /// The published margin; 0 where there is none.
    #[must_use]
    pub fn margin(self) -> f64 {
        match self {
            LossKind::Triplet => 0.1,
            LossKind::Arcface => 0.5,
            LossKind::Classification | LossKind::Ap => 0.0,
        }
    }

    /// Whether a classifier is trained beside the network.
    #[must_use]
    pub fn has_classifier(self) -> bool {
        matches!(self, LossKind::Classification | LossKind::Arcface)
    }
}

/// The loss of a batch and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Mean over all terms.
    pub value: f64,
    /// Triplets, photos that are classified, or queries.
    pub terms: usize,
    /// Triplets whose loss is above 0, photos of which another class comes first, or queries whose
    /// ranking is not perfect.
    pub active: usize,
    /// ∂ value / ∂ descriptors, (n, dim) row-major.
    pub gradient: Vec<f64>,
}

/// A loss on its graph.
struct Terms {
    /// The mean over all terms, a scalar.
    mean: Tensor,
    terms: usize,
    active: usize,
}

impl Loss {
    /// The loss of descriptors of which nothing is wanted.
    fn none(descriptors: &[f64]) -> Loss {
        Loss { value: 0.0, terms: 0, active: 0, gradient: vec![0.0; descriptors.len()] }
    }

    /// What `of` makes of the descriptors (n, dim) on its graph.
    fn of(
        descriptors: &[f64],
        dim: usize,
        of: impl FnOnce(&Tensor) -> Torch<Terms>,
    ) -> Result<Loss> {
        if dim == 0 || !descriptors.len().is_multiple_of(dim) {
            return Err(Error::invalid(format!(
                "descriptors: expected rows of {dim} values, found {} values",
                descriptors.len()
            )));
        }
        let made = || -> Torch<Loss> {
            let matrix = Tensor::f_from_slice(descriptors)?.f_reshape([-1, dim as i64])?;
            let matrix = matrix.f_set_requires_grad(true)?;
            let Terms { mean, terms, active } = of(&matrix)?;
            mean.f_backward()?;
            let gradient = doubles(&matrix.f_grad()?)?;
            Ok(Loss { value: mean.f_double_value(&[])?, terms, active, gradient })
        };
        made().map_err(Error::torch("the loss"))
    }
}

/// The values of a tensor, row-major.
pub(crate) fn doubles(tensor: &Tensor) -> Torch<Vec<f64>> {
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    Vec::<f64>::try_from(&flat.f_contiguous()?.f_reshape([-1])?)
}

/// Slow definitions for tests, and central differences of them.
#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    /// Rows of length 1.
    pub(super) fn unit_rows(n: usize, dim: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut rows: Vec<f64> = (0..n * dim).map(|_| rng.random_range(-1.0..1.0)).collect();
        for row in rows.chunks_exact_mut(dim) {
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.iter_mut().for_each(|v| *v /= length);
        }
        rows
    }

    /// Holds a gradient against the central differences of `slow`.
    pub(super) fn check_gradient(
        rows: &[f64],
        gradient: &[f64],
        slow: impl Fn(&[f64]) -> f64,
        most: f64,
    ) {
        let step = 1e-6;
        let mut moved = rows.to_vec();
        for at in 0..rows.len() {
            let mut value = |to: f64| {
                moved[at] = to;
                slow(&moved)
            };
            let expected = (value(rows[at] + step) - value(rows[at] - step)) / (2.0 * step);
            moved[at] = rows[at];
            assert!((gradient[at] - expected).abs() < most, "{at}: {} {expected}", gradient[at]);
        }
    }
}
