//! The triplet ranking loss.
//!
//! Gordo, Almazán, Revaud, Larlus (ECCV 2016, IJCV 2017): of a query q, a positive d⁺ and a
//! negative d⁻ it is ½ max(0, m + ‖q − d⁺‖² − ‖q − d⁻‖²). Of several triplets it is the mean.

use ocelli_network::tch::{Kind, Tensor};

use super::{Loss, Terms};
use crate::error::{Error, Result, Torch};

/// Three rows of a descriptor matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Triplet {
    /// The query.
    pub query: usize,
    /// A row of the query's class.
    pub positive: usize,
    /// A row of another class.
    pub negative: usize,
}

/// Losses (triplets,) of descriptors (n, dim), on their graph.
///
/// # Errors
/// What libtorch refuses: a triplet of rows that are not there.
pub fn losses(descriptors: &Tensor, triplets: &[Triplet], margin: f64) -> Torch<Tensor> {
    let rows = |row: fn(&Triplet) -> usize| {
        let places: Vec<i64> = triplets.iter().map(|triplet| row(triplet) as i64).collect();
        descriptors.f_index_select(0, &Tensor::f_from_slice(&places)?)
    };
    let (query, positive, negative) =
        (rows(|t| t.query)?, rows(|t| t.positive)?, rows(|t| t.negative)?);
    let distance = |other: &Tensor| {
        let squares = query.f_sub(other)?.f_square()?;
        squares.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
    };
    let apart = distance(&positive)?.f_sub(&distance(&negative)?)?;
    apart.f_add_scalar(margin)?.f_relu()?.f_mul_scalar(0.5)
}

/// The mean loss of `triplets` over descriptors (n, `dim`), and its gradient. Zeros without a
/// triplet.
///
/// # Errors
/// `Invalid` for descriptors that are no rows of `dim`, `Torch`.
pub fn triplet_loss(
    descriptors: &[f64],
    dim: usize,
    triplets: &[Triplet],
    margin: f64,
) -> Result<Loss> {
    if triplets.is_empty() {
        return Ok(Loss::none(descriptors));
    }
    Loss::of(descriptors, dim, |matrix| {
        let losses = losses(matrix, triplets, margin)?;
        let active = losses.f_gt(0.0)?.f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
        Ok(Terms { mean: losses.f_mean(Kind::Double)?, terms: triplets.len(), active })
    })
}

/// The loss of every triplet among descriptors (n, `dim`) with their classes, as a mean over those
/// that have one, and its gradient (Hermans, Beyer, Leibe: "In Defense of the Triplet Loss for
/// Person Re-Identification", 2017: batch all, of those above 0). Memory: n × n numbers; n³
/// comparisons.
///
/// # Errors
/// `Invalid` for descriptors that are no rows of `dim`.
pub fn batch_loss(descriptors: &[f64], dim: usize, labels: &[u32], margin: f64) -> Result<Loss> {
    let n = labels.len();
    if dim == 0 || descriptors.len() != n * dim {
        return Err(Error::invalid(format!(
            "descriptors: expected {n} rows of {dim} values, found {} values",
            descriptors.len()
        )));
    }
    let rows: Vec<&[f64]> = descriptors.chunks_exact(dim).collect();
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let (mut sum, mut terms, mut active) = (0.0, 0, 0usize);
    // Of each pair how often its distance counts, as that of a positive less that of a negative.
    let mut counts = vec![0i64; n * n];
    let queries = rows.iter().zip(labels).zip(counts.chunks_exact_mut(n.max(1)));
    for (query, ((&row, label), counts)) in queries.enumerate() {
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (at, (other, of_other)) in rows.iter().zip(labels).enumerate() {
            let of_kind = if of_other == label { &mut positives } else { &mut negatives };
            if at != query {
                of_kind.push((at, apart(row, other), 0i64));
            }
        }
        terms += positives.len() * negatives.len();
        for (_, far, of_positive) in &mut positives {
            for (_, near, of_negative) in &mut negatives {
                let excess = *far - *near + margin;
                if excess > 0.0 {
                    sum += 0.5 * excess;
                    active += 1;
                    *of_positive += 1;
                    *of_negative -= 1;
                }
            }
        }
        for (at, _, count) in positives.into_iter().chain(negatives) {
            counts.get_mut(at).into_iter().for_each(|to| *to = count);
        }
    }
    let each = 1.0 / active.max(1) as f64;
    let mut gradient = vec![0.0; descriptors.len()];
    for (at, (&row, to)) in rows.iter().zip(gradient.chunks_exact_mut(dim)).enumerate() {
        for (other, &of_other) in rows.iter().enumerate() {
            let pair = |a: usize, b: usize| counts.get(a * n + b).copied().unwrap_or(0);
            // ½ ‖a − b‖² has the gradient a − b, with a as the query and with b.
            let count = (pair(at, other) + pair(other, at)) as f64 * each;
            if count != 0.0 {
                let values = to.iter_mut().zip(row.iter().zip(of_other));
                values.for_each(|(to, (a, b))| *to += count * (a - b));
            }
        }
    }
    Ok(Loss { value: sum * each, terms, active, gradient })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::super::tests::{check_gradient, unit_rows};
    use super::*;

    /// The formula, as published.
    fn slow(rows: &[f64], dim: usize, triplets: &[Triplet], margin: f64) -> f64 {
        let row = |at: usize| &rows[at * dim..(at + 1) * dim];
        let apart = |a: usize, b: usize| -> f64 {
            row(a).iter().zip(row(b)).map(|(a, b)| (a - b).powi(2)).sum()
        };
        let one = |t: &Triplet| {
            0.5 * (margin + apart(t.query, t.positive) - apart(t.query, t.negative)).max(0.0)
        };
        triplets.iter().map(one).sum::<f64>() / triplets.len() as f64
    }

    /// By hand: squared distances 1 and 4 with a margin of 3.5 make ½ · 0.5; the gradients of the
    /// three rows are d⁻ − d⁺, d⁺ − q and q − d⁻.
    #[test]
    fn one_triplet_by_hand() {
        let triplet = Triplet { query: 0, positive: 1, negative: 2 };
        let rows = [0.0, 0.0, 1.0, 0.0, 0.0, 2.0];
        let found = triplet_loss(&rows, 2, &[triplet], 3.5).unwrap();
        assert_eq!((found.value, found.active), (0.25, 1));
        assert_eq!(found.gradient, [-1.0, 2.0, 1.0, 0.0, 0.0, -2.0]);
        let none = triplet_loss(&rows, 2, &[triplet], 0.1).unwrap();
        assert_eq!((none.value, none.active), (0.0, 0));
        assert!(none.gradient.iter().all(|&v| v == 0.0));
        assert!(triplet_loss(&rows, 4, &[triplet], 0.1).is_err());
        let missing = Triplet { query: 0, positive: 1, negative: 3 };
        assert!(triplet_loss(&rows, 2, &[missing], 0.1).is_err());
    }

    #[test]
    fn value_and_gradient_are_those_of_the_formula() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let (n, dim) = (9, 5);
        let mut rows: Vec<f64> = (0..n * dim).map(|_| rng.random_range(-0.6..0.6)).collect();
        let triplets: Vec<Triplet> = (0..12)
            .map(|_| Triplet {
                query: rng.random_range(0..n),
                positive: rng.random_range(0..n),
                negative: rng.random_range(0..n),
            })
            .collect();
        let found = triplet_loss(&rows, dim, &triplets, 0.1).unwrap();
        assert!((found.value - slow(&rows, dim, &triplets, 0.1)).abs() < 1e-12);
        assert!(found.active > 2 && found.active < triplets.len(), "{}", found.active);
        let step = 1e-6;
        for at in 0..rows.len() {
            let kept = rows[at];
            rows[at] = kept + step;
            let above = slow(&rows, dim, &triplets, 0.1);
            rows[at] = kept - step;
            let below = slow(&rows, dim, &triplets, 0.1);
            rows[at] = kept;
            let expected = (above - below) / (2.0 * step);
            assert!((found.gradient[at] - expected).abs() < 1e-8, "{at}");
        }
    }

    /// All triplets one by one, as a mean over those with a loss.
    #[test]
    fn all_triplets_of_a_batch_are_those_of_the_definition() {
        let (dim, labels) = (4, [0u32, 0, 1, 2, 1, 0, 2, 9, 1]);
        let rows = unit_rows(labels.len(), dim, 8);
        let mut all = Vec::new();
        for (query, of_query) in labels.iter().enumerate() {
            for (positive, of_positive) in labels.iter().enumerate() {
                for (negative, of_negative) in labels.iter().enumerate() {
                    if query != positive && of_query == of_positive && of_query != of_negative {
                        all.push(Triplet { query, positive, negative });
                    }
                }
            }
        }
        let margin = 0.3;
        let active = |rows: &[f64]| {
            all.iter().filter(|t| slow(rows, dim, &[**t], margin) > 0.0).count() as f64
        };
        let mean = |rows: &[f64]| slow(rows, dim, &all, margin) * all.len() as f64 / active(rows);
        let found = batch_loss(&rows, dim, &labels, margin).unwrap();
        assert!((found.value - mean(&rows)).abs() < 1e-12);
        assert_eq!((found.terms, found.active), (all.len(), active(&rows) as usize));
        assert!(found.active > 10 && found.active < found.terms);
        check_gradient(&rows, &found.gradient, mean, 1e-6);
        let none = batch_loss(&rows, dim, &[1; 9], margin).unwrap();
        assert_eq!((none.terms, none.active, none.value), (0, 0, 0.0));
        assert!(none.gradient.iter().all(|&v| v == 0.0));
    }
}
