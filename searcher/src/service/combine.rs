//! Arithmetic on the terms of a query.

use crate::error::{Error, Result};

/// The weighted mean sum(w x) / sum(w) over `terms` of (w, x), each x (dim,). A single x is
/// returned bit by bit. Sums are in f64, so that the order of terms does not change the leading
/// digits.
///
/// Expects at least one term, vectors of equal length and sum(w) > 0.
///
/// # Errors
/// A mean that does not fit f32, because weights nearly cancel or values are huge.
pub fn weighted_mean(mut terms: Vec<(f32, Vec<f32>)>) -> Result<Vec<f32>> {
    if let [(_, only)] = &mut terms[..] {
        return Ok(std::mem::take(only));
    }
    let dim = terms.first().map_or(0, |(_, x)| x.len());
    let total: f64 = terms.iter().map(|(weight, _)| f64::from(*weight)).sum();
    let mut sum = vec![0.0_f64; dim];
    for (weight, x) in &terms {
        for (sum, value) in sum.iter_mut().zip(x) {
            *sum += f64::from(*weight) * f64::from(*value);
        }
    }
    let mean: Vec<f32> = sum.into_iter().map(|sum| (sum / total) as f32).collect();
    match mean.iter().all(|value| value.is_finite()) {
        true => Ok(mean),
        false => Err(Error::invalid(format!(
            "the weighted mean of {} terms with weights adding up to {total} is not finite",
            terms.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_weighted_and_one_term_stays_as_it_is() -> Result<()> {
        assert_eq!(weighted_mean(vec![(0.3, vec![0.1, 0.7])])?, [0.1, 0.7]);
        let mean = weighted_mean(vec![(3.0, vec![1.0, 0.0]), (-1.0, vec![0.0, 1.0])])?;
        assert_eq!(mean, [1.5, -0.5]);
        let huge = vec![(1.0, vec![f32::MAX]), (-0.999_999, vec![f32::MIN])];
        assert!(weighted_mean(huge).is_err());
        Ok(())
    }
}
