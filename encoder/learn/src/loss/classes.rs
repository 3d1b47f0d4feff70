//! Losses of a classifier over the descriptors, which is thrown away after the training.
//!
//! Cross-entropy is the first stage of Gordo, Almazán, Revaud, Larlus (IJCV 2017), and what they
//! compare the ranking loss with. ArcFace (Deng, Guo, Xue, Zafeiriou: "ArcFace: Additive Angular
//! Margin Loss for Deep Face Recognition", CVPR 2019, arXiv 1801.07698) puts a margin between the
//! angle to a photo's own class and those to the others.

use ocelli_network::tch::{Kind, Reduction, Tensor};

use super::{Loss, Terms};
use crate::error::{Error, Result, Torch};

/// Cosines keep this far from 1, where the angle has no slope.
const FROM_ONE: f64 = 1e-7;

/// A row for each class, and a bias: logits of descriptors.
pub struct Classifier {
    /// (classes, dim)
    weight: Tensor,
    /// (classes,); ArcFace has none.
    bias: Option<Tensor>,
    /// Logits are so many times the products: descriptors have length 1, and logits of at most 1
    /// would tell classes apart by little.
    scale: f64,
    /// The margin of ArcFace in radians; None: cross-entropy of plain products.
    margin: Option<f64>,
}

impl Classifier {
    /// `rows` (classes, dim), each at length 1: the mean descriptors of the classes, so that the
    /// first gradients mean something (Qi, Brown, Lowe: "Low-Shot Learning with Imprinted Weights",
    /// CVPR 2018).
    ///
    /// # Errors
    /// `Invalid` for values that are no rows of `dim`, and for a row of zeros; `Torch` when memory
    /// runs out.
    pub fn new(rows: &[f32], dim: usize, scale: f64, margin: Option<f64>) -> Result<Classifier> {
        let fits = dim > 0 && !rows.is_empty() && rows.len().is_multiple_of(dim);
        if !fits || rows.chunks_exact(dim).any(|row| row.iter().all(|&v| v == 0.0)) {
            return Err(Error::invalid(format!(
                "a classifier: expected rows of {dim} values, none of zeros, found {} values",
                rows.len()
            )));
        }
        let classes = (rows.len() / dim) as i64;
        let made = || -> Torch<Classifier> {
            let weight = Tensor::f_from_slice(rows)?.f_reshape([classes, dim as i64])?;
            let weight = unit(&weight)?.f_set_requires_grad(true)?;
            let bias = match margin {
                Some(_) => None,
                None => {
                    let zeros = Tensor::f_zeros([classes], (Kind::Float, weight.device()))?;
                    Some(zeros.f_set_requires_grad(true)?)
                }
            };
            Ok(Classifier { weight, bias, scale, margin })
        };
        made().map_err(Error::torch("making a classifier"))
    }

    /// Handles on what is trained, by name.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let named = |(name, tensor): (&str, &Tensor)| (name.to_owned(), tensor.shallow_clone());
        let bias = self.bias.as_ref().map(|bias| ("classifier.bias", bias));
        [("classifier.weight", &self.weight)].into_iter().chain(bias).map(named).collect()
    }

    /// The mean cross-entropy of descriptors (n, `dim`) of length 1 whose classes are `labels`, and
    /// its gradient. The gradients of the classifier's own tensors are added up in them.
    ///
    /// # Errors
    /// `Invalid` for descriptors that are no rows of `dim`, `Torch`.
    pub fn loss(&self, descriptors: &[f64], dim: usize, labels: &[u32]) -> Result<Loss> {
        if labels.is_empty() {
            return Ok(Loss::none(descriptors));
        }
        Loss::of(descriptors, dim, |matrix| {
            let labels: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
            let labels = Tensor::f_from_slice(&labels)?;
            let logits = self.logits(matrix, &labels)?;
            let mean =
                logits.f_cross_entropy_loss(&labels, None::<Tensor>, Reduction::Mean, -100, 0.0)?;
            let wrong = logits.f_argmax(1, false)?.f_not_equal_tensor(&labels)?;
            let active = wrong.f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
            Ok(Terms { mean, terms: labels.size1()? as usize, active })
        })
    }

    /// (n, classes)
    fn logits(&self, rows: &Tensor, labels: &Tensor) -> Torch<Tensor> {
        let weight = self.weight.f_to_kind(Kind::Double)?;
        let Some(margin) = self.margin else {
            let products = rows.f_matmul(&weight.f_transpose(0, 1)?)?;
            let logits = products.f_mul_scalar(self.scale)?;
            return self
                .bias
                .as_ref()
                .map_or(Ok(logits.shallow_clone()), |bias| logits.f_add(bias));
        };
        let cosines = rows.f_matmul(&unit(&weight)?.f_transpose(0, 1)?)?;
        let places = labels.f_unsqueeze(1)?;
        let own = cosines.f_gather(1, &places, false)?.f_clamp(FROM_ONE - 1.0, 1.0 - FROM_ONE)?;
        let with_margin = own.f_acos()?.f_add_scalar(margin)?.f_cos()?;
        cosines.f_scatter(1, &places, &with_margin)?.f_mul_scalar(self.scale)
    }
}

/// Rows divided by their lengths.
fn unit(rows: &Tensor) -> Torch<Tensor> {
    let squares = rows.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, rows.kind())?;
    rows.f_div(&squares.f_sqrt()?)
}

#[cfg(test)]
mod tests {
    use super::super::doubles;
    use super::super::tests::{check_gradient, unit_rows};
    use super::*;

    /// The formulas, as published, photo by photo.
    fn slow(rows: &[f64], weight: &[f64], bias: &[f64], c: &Classifier, labels: &[u32]) -> f64 {
        let dim = rows.len() / labels.len();
        let mut sum = 0.0;
        for (row, &label) in rows.chunks_exact(dim).zip(labels) {
            let mut logits: Vec<f64> = Vec::new();
            for (class, w) in weight.chunks_exact(dim).enumerate() {
                let product: f64 = row.iter().zip(w).map(|(a, b)| a * b).sum();
                let length = w.iter().map(|v| v * v).sum::<f64>().sqrt();
                logits.push(match c.margin {
                    None => c.scale * product + bias[class],
                    Some(m) if class == label as usize => {
                        c.scale * ((product / length).acos() + m).cos()
                    }
                    Some(_) => c.scale * product / length,
                });
            }
            let all: f64 = logits.iter().map(|l| l.exp()).sum();
            sum -= (logits[label as usize].exp() / all).ln();
        }
        sum / labels.len() as f64
    }

    #[test]
    fn rows_are_brought_to_length_one() {
        let classifier = Classifier::new(&[3.0, 4.0, 0.0, 9.0], 2, 16.0, None).unwrap();
        let weight = doubles(&classifier.parameters()[0].1).unwrap();
        for (found, expected) in weight.iter().zip([0.6, 0.8, 0.0, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{weight:?}");
        }
        assert!(Classifier::new(&[1.0; 5], 2, 16.0, None).is_err());
        assert!(Classifier::new(&[1.0, 1.0, 0.0, 0.0], 2, 16.0, None).is_err());
    }

    #[test]
    fn values_and_gradients_are_those_of_the_formulas() {
        let (n, dim, labels) = (7, 5, [0, 2, 1, 1, 3, 0, 2]);
        for (scale, margin) in [(16.0, None), (1.0, None), (8.0, Some(0.5)), (64.0, Some(0.3))] {
            let means: Vec<f32> = unit_rows(4, dim, 4).iter().map(|&v| 3.0 * v as f32).collect();
            let classifier = Classifier::new(&means, dim, scale, margin).unwrap();
            let rows = unit_rows(n, dim, 1);
            let own: Vec<Tensor> = classifier.parameters().into_iter().map(|(_, t)| t).collect();
            assert_eq!(own.len(), if margin.is_none() { 2 } else { 1 });
            let weight = doubles(&own[0]).unwrap();
            let bias = own.get(1).map_or(Vec::new(), |bias| doubles(bias).unwrap());
            let length: f64 = weight[..dim].iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-6);
            let found = classifier.loss(&rows, dim, &labels).unwrap();
            let slowly = |rows: &[f64]| slow(rows, &weight, &bias, &classifier, &labels);
            assert!((found.value - slowly(&rows)).abs() < 1e-9, "{margin:?}");
            assert_eq!(found.terms, n);
            assert!(found.active > 0 && found.active < n, "{}", found.active);
            check_gradient(&rows, &found.gradient, slowly, 1e-6);
            let slowly = |weight: &[f64]| slow(&rows, weight, &bias, &classifier, &labels);
            check_gradient(&weight, &doubles(&own[0].grad()).unwrap(), slowly, 1e-5);
            if let Some(of_bias) = own.get(1) {
                let slowly = |bias: &[f64]| slow(&rows, &weight, bias, &classifier, &labels);
                check_gradient(&bias, &doubles(&of_bias.grad()).unwrap(), slowly, 1e-5);
            }
        }
    }
}
