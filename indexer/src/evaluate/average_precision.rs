//! The one formula.

pub(super) use super::measures::{Judgement, Ties};

use super::measures;

/// Average precision by trapezoids, see [`measures::trapezoid`].
pub fn average_precision(ranks: &[usize], positives: usize) -> f64 {
    measures::trapezoid(ranks, positives)
}

/// Ranks of the positives of a whole ranking, see [`measures::positive_ranks`].
pub(super) fn positive_ranks(ranking: &[(Judgement, bool)], ties: Ties) -> Vec<usize> {
    measures::positive_ranks(ranking, ties, false)
}
