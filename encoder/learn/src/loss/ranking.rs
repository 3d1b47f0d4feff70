//! The loss of whole rankings: average precision, with bins in place of ranks.
//!
//! Revaud, Almazán, Rezende, de Souza: "Learning with Average Precision: Training Image Retrieval
//! with a Listwise Loss" (ICCV 2019, arXiv 1906.07589). Each photo of the batch is a query for the
//! others. Similarities fall into bins, each into its two nearest ones by its distance to them, so
//! that the precision of each bin and the share of the positives in it have gradients.

use ocelli_network::tch::{Kind, Tensor};

use super::{Loss, Terms};
use crate::error::{Result, Torch};

/// Bins from a similarity of 1 down to −1, as published.
pub const BINS: i64 = 20;
/// Keeps a division by an empty sum defined.
const TINY: f64 = 1e-16;

/// Mean of 1 − average precision over the photos that have another one of their class, of
/// descriptors (n, `dim`) of length 1 with their classes; and its gradient. Memory: some 50 bytes
/// for each bin of each pair.
///
/// # Errors
/// `Invalid` for descriptors that are no rows of `dim`, `Torch`.
pub fn ranking_loss(descriptors: &[f64], dim: usize, labels: &[u32]) -> Result<Loss> {
    let same =
        |at: usize| move |other: &usize| *other != at && labels.get(*other) == labels.get(at);
    let queries: Vec<i64> = (0..labels.len())
        .filter(|&at| (0..labels.len()).any(|other| same(at)(&other)))
        .map(|at| at as i64)
        .collect();
    if queries.is_empty() {
        return Ok(Loss::none(descriptors));
    }
    Loss::of(descriptors, dim, |matrix| {
        let labels: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
        let precisions = precisions(matrix, &Tensor::f_from_slice(&labels)?)?;
        let precisions = precisions.f_index_select(0, &Tensor::f_from_slice(&queries)?)?;
        let active = precisions.f_lt(1.0 - 1e-9)?.f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
        let mean = precisions.f_mean(Kind::Double)?.f_neg()?.f_add_scalar(1.0)?;
        Ok(Terms { mean, terms: queries.len(), active })
    })
}

/// The average precision (n,) of each row of `rows` (n, dim) as a query for the others.
fn precisions(rows: &Tensor, labels: &Tensor) -> Torch<Tensor> {
    let n = labels.size1()?;
    let options = (Kind::Double, rows.device());
    let others = Tensor::f_eye(n, options)?.f_neg()?.f_add_scalar(1.0)?;
    let same = labels.f_unsqueeze(0)?.f_eq_tensor(&labels.f_unsqueeze(1)?)?;
    let positive = same.f_to_kind(Kind::Double)?.f_mul(&others)?;
    // (n, n, bins): the share of each pair in each bin.
    let width = 2.0 / (BINS - 1) as f64;
    let centres = Tensor::f_arange(BINS, options)?.f_mul_scalar(-width)?.f_add_scalar(1.0)?;
    let similarity = rows.f_matmul(&rows.f_transpose(0, 1)?)?.f_clamp(-1.0, 1.0)?;
    let off = similarity.f_unsqueeze(2)?.f_sub(&centres)?.f_abs()?.f_div_scalar(width)?;
    let share = off.f_neg()?.f_add_scalar(1.0)?.f_relu()?;
    // (n, bins): pairs and positives of each query.
    let counted = |which: &Tensor| -> Torch<Tensor> {
        share.f_mul(&which.f_unsqueeze(2)?)?.f_sum_dim_intlist(
            [1i64].as_slice(),
            false,
            Kind::Double,
        )
    };
    let (all, right) = (counted(&others)?, counted(&positive)?);
    let so_far = |counts: &Tensor| counts.f_cumsum(1, Kind::Double);
    let precision = so_far(&right)?.f_div(&so_far(&all)?.f_add_scalar(TINY)?)?;
    let total = right.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?;
    let recall = right.f_div(&total.f_add_scalar(TINY)?)?;
    precision.f_mul(&recall)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, unit_rows};
    use super::*;

    /// The formulas of the paper, query by query.
    fn slow(rows: &[f64], dim: usize, labels: &[u32]) -> f64 {
        let n = labels.len();
        let width = 2.0 / (BINS - 1) as f64;
        let row = |at: usize| &rows[at * dim..(at + 1) * dim];
        let (mut sum, mut queries) = (0.0, 0);
        for q in 0..n {
            let others: Vec<usize> = (0..n).filter(|&other| other != q).collect();
            let positives = others.iter().filter(|&&other| labels[other] == labels[q]).count();
            if positives == 0 {
                continue;
            }
            let (mut seen, mut right, mut ap) = (0.0, 0.0, 0.0);
            for bin in 0..BINS {
                let centre = 1.0 - width * bin as f64;
                let mut positive = 0.0;
                for &other in &others {
                    let s: f64 = row(q).iter().zip(row(other)).map(|(a, b)| a * b).sum();
                    let share = (1.0 - (s - centre).abs() / width).max(0.0);
                    seen += share;
                    positive += if labels[other] == labels[q] { share } else { 0.0 };
                }
                right += positive;
                ap += right / (seen + TINY) * positive / positives as f64;
            }
            sum += 1.0 - ap;
            queries += 1;
        }
        sum / f64::from(queries)
    }

    #[test]
    fn value_and_gradient_are_those_of_the_formula() {
        let (dim, labels) = (4, [0, 0, 1, 2, 1, 0, 2, 9, 1]);
        let rows = unit_rows(labels.len(), dim, 6);
        let found = ranking_loss(&rows, dim, &labels).unwrap();
        assert!((found.value - slow(&rows, dim, &labels)).abs() < 1e-12);
        // The class 9 has one photo.
        assert_eq!((found.terms, found.active), (8, 8));
        check_gradient(&rows, &found.gradient, |rows| slow(rows, dim, &labels), 1e-6);
        // Two classes that are far apart.
        let apart = [1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0];
        let perfect = ranking_loss(&apart, 2, &[0, 0, 1, 1]).unwrap();
        assert!(perfect.value.abs() < 1e-9 && perfect.active == 0, "{perfect:?}");
        assert_eq!(ranking_loss(&apart, 2, &[0, 1, 2, 3]).unwrap().terms, 0);
    }
}
