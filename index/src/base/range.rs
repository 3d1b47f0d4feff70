//! The range of vectors: which norms keep every later number finite.
//!
//! Distances and inner products are sums of squares and products in f32, which ends at 3.4·10³⁸;
//! below 10⁻³⁸ it loses digits, and below 10⁻⁴⁵ nothing is left. So vectors are checked once, where
//! they come in (import, parts, queries), by [`out_of_range`]. All later code relies on it.
//!
//! # Why 10¹⁵
//!
//! Let N be [`MAX_NORM`], and ‖x‖ ≤ N for every row and every query.
//!
//! - A mean of rows has ‖mean‖ ≤ N, so ‖x − mean‖ ≤ 2N; a rotation keeps that: ‖z‖ ≤ 2N.
//! - A centroid is a mean of such z: ‖c‖ ≤ 2N. So a residual has ‖z − c‖ ≤ 4N.
//! - A codeword is a mean of parts of residuals: no number in it is above 4N. What is left over
//!   behind a code is ‖z − c − r̂‖, a part of which is at most 8N, and so are the numbers of a
//!   second codebook.
//! - Every number of a model is therefore at most 8N, and `MAX_MODEL_NUMBER` is twice that, for
//!   the rounding on the way. Models from elsewhere are checked for it too. Three such vectors of
//!   d numbers (c, r̂ and a finer r̂) have norms of at most 16N √d each.
//! - A score is at most the square of ‖q‖ + ‖c‖ + ‖r̂‖ + ‖r̂'‖ ≤ (2 + 48 √d) N, and no partial sum
//!   of an inner product is above the product of two of these. With N² = 10³⁰ and d = 65,536 that
//!   is 1.5·10³⁸: finite. For d = 2,048 there is a factor of 70 to spare.
//!
//! A sum of squares over many rows (a mean squared error, a covariance) is one of f64.
//!
//! # Why 10⁻¹⁵
//!
//! With ‖x‖ ≥ [`MIN_NORM`] the squared norm is 10⁻³⁰ or more. Rows of this size can be told apart
//! down to the rounding of their own numbers, 6·10⁻⁸ ‖x‖, whose square is 3.6·10⁻⁴⁵: what f32 can
//! just hold. With smaller norms all distances run towards 0, and rows would be found in an order
//! that means nothing. A vector of zeros is in range: it has no direction, but a distance.

use ocelli_vector::norm_sq;

/// The largest norm of a vector.
pub const MAX_NORM: f32 = 1e15;

/// The smallest norm of a vector that is not zero.
pub const MIN_NORM: f32 = 1e-15;

/// The largest magnitude of a number in a model's mean, centroids and codebooks: see the
/// [module docs](self).
pub(crate) const MAX_MODEL_NUMBER: f32 = 16.0 * MAX_NORM;

/// Why a vector (dim,) cannot be used, with what was found and what was expected: a number that is
/// not finite, or a norm outside [`MIN_NORM`] to [`MAX_NORM`] that is not 0. `None` if it can be
/// used.
#[must_use]
pub fn out_of_range(x: &[f32]) -> Option<String> {
    let fits = |norm_sq: f64| {
        (f64::from(MIN_NORM).powi(2)..=f64::from(MAX_NORM).powi(2)).contains(&norm_sq)
    };
    // In f32 for nearly all; a NaN is in no range.
    if fits(f64::from(norm_sq(x))) {
        return None;
    }
    if let Some(at) = x.iter().position(|x| !x.is_finite()) {
        return Some(format!("element {at} is {}", x[at]));
    }
    // Squares of f32 neither overflow nor vanish in f64.
    let norm_sq: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    if norm_sq == 0.0 || fits(norm_sq) {
        return None;
    }
    let norm = norm_sq.sqrt();
    Some(format!("its norm is {norm:.3e}, expected {MIN_NORM:e} to {MAX_NORM:e}, or 0: scale it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn norms_within_the_range_pass_and_others_are_told() {
        let vector = |norm: f32, dim: usize| vec![norm / (dim as f32).sqrt(); dim];
        for dim in [1, 3, 16, 1000] {
            for norm in [MIN_NORM * 1.001, 1e-7, 1.0, 1e9, MAX_NORM * 0.999] {
                assert_eq!(out_of_range(&vector(norm, dim)), None, "{norm} in {dim}");
            }
            assert_eq!(out_of_range(&vector(0.0, dim)), None);
            for norm in [MAX_NORM * 1.001, 1e20, 1e30, 1e37, MIN_NORM * 0.999, 1e-25, 1e-38] {
                let why = out_of_range(&vector(norm, dim)).unwrap();
                assert!(why.contains("its norm is") && why.contains("1e-15 to 1e15"), "{why}");
            }
        }
        // Too small for any square in f32, and too large.
        for tiny in [f32::from_bits(1), 1e-30] {
            assert!(out_of_range(&[0.0, tiny]).is_some_and(|why| why.contains("its norm")));
        }
        assert!(out_of_range(&[f32::MAX; 3]).is_some_and(|why| why.contains("its norm is 5.8")));
        // Small numbers beside others do no harm.
        assert_eq!(out_of_range(&[1.0, 1e-30, f32::from_bits(1)]), None);
        for (bad, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (-f32::INFINITY, "-inf")] {
            assert_eq!(out_of_range(&[0.5, 2.0, bad]), Some(format!("element 2 is {word}")));
        }
    }

    proptest! {
        /// Whatever passes: its square is finite, and not zero unless the vector is.
        #[test]
        fn what_passes_has_a_square(x in prop::collection::vec(any::<f32>(), 1..40)) {
            let sound = out_of_range(&x).is_none();
            let square = norm_sq(&x);
            prop_assert!(!sound || square.is_finite());
            prop_assert!(!sound || square > 0.0 || x.iter().all(|&x| x == 0.0));
        }
    }
}
