//! The triplet ranking loss.
//!
//! Gordo, Almazán, Revaud, Larlus (ECCV 2016, IJCV 2017): of a query q, a positive d⁺ and a
//! negative d⁻ it is ½ max(0, m + ‖q − d⁺‖² − ‖q − d⁻‖²). Of several triplets it is the mean.

use ocelli_network::tch::{Kind, Tensor};

use super::{Loss, Terms};
use crate::error::{Result, Torch};

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

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

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
}
