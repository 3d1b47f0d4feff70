//! The one formula.

/// What a ranked item counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Should be found.
    Positive,
    /// Should not be found.
    Negative,
    /// Neither: taken out of the ranking.
    Ignored,
}

/// Average precision as the Oxford protocol has it: the area under precision over recall by
/// trapezoids, beginning at precision 1 and recall 0 (Philbin et al., CVPR 2007).
///
/// `ranks`: places of the positives that were found, 0-based, rising, counted without ignored items.
/// `positives`: all that exist; those not found count as never reached. 0 without positives.
pub fn average_precision(ranks: &[usize], positives: usize) -> f64 {
    if positives == 0 {
        return 0.0;
    }
    let area: f64 = ranks
        .iter()
        .enumerate()
        .map(|(found, &rank)| {
            // Recall rises only here, from `found` to `found + 1`, and with it the area.
            let before = if rank == 0 { 1.0 } else { found as f64 / rank as f64 };
            let after = (found + 1) as f64 / (rank + 1) as f64;
            (before + after) / 2.0
        })
        .sum();
    area / positives as f64
}

/// Places of the positives in a ranking, for [`average_precision`].
pub(super) fn positive_ranks(ranking: impl Iterator<Item = Judgement>) -> Vec<usize> {
    ranking
        .filter(|judgement| *judgement != Judgement::Ignored)
        .enumerate()
        .filter(|(_, judgement)| *judgement == Judgement::Positive)
        .map(|(rank, _)| rank)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Judgement::{Ignored, Negative, Positive};
    use super::*;

    fn ap(ranking: &[Judgement], positives: usize) -> f64 {
        average_precision(&positive_ranks(ranking.iter().copied()), positives)
    }

    /// By hand. `P N P`, 2 positives: (1 + 1)/2 · ½ + (1/2 + 2/3)/2 · ½ = 0.5 + 0.291666….
    /// `N P`, 1 positive: (0 + 1/2)/2. `N N P N`, 1 positive: (0 + 1/3)/2.
    #[test]
    fn trapezoids_by_hand() {
        for (ranking, positives, expected) in [
            (&[Positive, Positive, Negative][..], 2, 1.0),
            (&[Positive, Negative, Positive], 2, 0.5 + 7.0 / 24.0),
            (&[Negative, Positive], 1, 0.25),
            (&[Negative, Negative, Positive, Negative], 1, 1.0 / 6.0),
            // A positive that is not in the database halves the recall.
            (&[Positive, Negative], 2, 0.5),
            (&[Negative], 0, 0.0),
        ] {
            let found = ap(ranking, positives);
            assert!((found - expected).abs() < 1e-12, "{ranking:?}: {found}, expected {expected}");
        }
    }

    /// Junk changes nothing, wherever it stands.
    #[test]
    fn ignored_items_take_no_place() {
        let with = [Ignored, Positive, Ignored, Negative, Ignored, Positive, Ignored];
        assert_eq!(ap(&with, 2), ap(&[Positive, Negative, Positive], 2));
    }
}
