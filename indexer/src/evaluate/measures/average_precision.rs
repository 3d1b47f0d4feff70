//! Average precision of one query, in the two forms of the field.
//!
//! Both take the ranks of the positives that were found: 0-based, rising, counted without junk, see
//! [`positive_ranks`](super::positive_ranks). `positives` is the number of all that exist; those
//! without a rank count as never found. Both are 0 where there are no positives: such queries are
//! left out of means.

/// Average precision by trapezoids: the area under precision over recall, with straight lines
/// between the points of the ranking, beginning at precision 1 and recall 0.
///
/// For the positive number i (from 0) of rank r, recall rises by 1 / `positives` and precision goes
/// from i / r (1 where r is 0) to (i + 1) / (r + 1); the area is that of their mean. 0 to 1.
///
/// Source: Philbin et al., CVPR 2007 (`compute_ap` of Oxford5k). The packages of Holidays, Copydays
/// and INSTRE and the one of Revisited Oxford and Paris have the same formula.
pub fn trapezoid(ranks: &[usize], positives: usize) -> f64 {
    if positives == 0 {
        return 0.0;
    }
    let area: f64 = ranks
        .iter()
        .enumerate()
        .map(|(found, &rank)| {
            let before = if rank == 0 { 1.0 } else { found as f64 / rank as f64 };
            let after = (found + 1) as f64 / (rank + 1) as f64;
            (before + after) / 2.0
        })
        .sum();
    // A sum of nothing is -0.
    (area + 0.0) / positives as f64
}

/// Average precision at the positives: the sum of the precisions (i + 1) / (r + 1) at the positives
/// among the first `k` images (None: all images), i being the positive's number and r its rank,
/// both from 0, divided by min(`k`, `positives`). 0 to 1.
///
/// Sources: GLDv2 (Weyand et al., CVPR 2020), whose mAP@100 is the mean of this with k = 100;
/// ILIAS (Kordopatis-Zilos et al., CVPR 2025), mAP@1k with k = 1,000. The program of ILIAS gives
/// all images of one score the precision after the last of them. So it may give more than this does
/// with ties counted against, and both are equal where no scores are.
pub fn at_positives(ranks: &[usize], positives: usize, k: Option<usize>) -> f64 {
    let k = k.unwrap_or(usize::MAX);
    let reachable = positives.min(k);
    if reachable == 0 {
        return 0.0;
    }
    let within = ranks.iter().take_while(|&&rank| rank < k).enumerate();
    let sum: f64 = within.map(|(found, &rank)| (found + 1) as f64 / (rank + 1) as f64).sum();
    (sum + 0.0) / reachable as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand. `P P N`, 2 positives: (1 + 1)/2 · ½ + (1 + 1)/2 · ½ = 1.
    /// `P N P`: (1 + 1)/2 · ½ + (1/2 + 2/3)/2 · ½ = 1/2 + 7/24. `N P`, 1 positive: (0 + 1/2)/2.
    /// `N N P N`, 1 positive: (0 + 1/3)/2.
    #[test]
    fn trapezoids_by_hand() {
        for (ranks, positives, expected) in [
            (&[0, 1][..], 2, 1.0),
            (&[0, 2], 2, 0.5 + 7.0 / 24.0),
            (&[1], 1, 0.25),
            (&[2], 1, 1.0 / 6.0),
            // A positive that the database lacks halves the recall.
            (&[0], 2, 0.5),
            (&[], 3, 0.0),
            (&[], 0, 0.0),
        ] {
            let found = trapezoid(ranks, positives);
            assert!((found - expected).abs() < 1e-12, "{ranks:?}: {found}, expected {expected}");
            assert!(found.is_sign_positive());
        }
    }

    /// By hand. Ranks 1 and 4 of 3 positives: 1/2 + 2/5 = 0.9, over min(k, 3).
    #[test]
    fn at_positives_by_hand() {
        for (ranks, positives, k, expected) in [
            (&[1, 4][..], 3, None, 0.3),
            (&[1, 4], 3, Some(5), 0.3),
            // Rank 4 is the fifth image.
            (&[1, 4], 3, Some(4), 0.5 / 3.0),
            (&[1, 4], 3, Some(2), 0.25),
            (&[1, 4], 3, Some(1), 0.0),
            // All of 200 positives first, of which 100 count: 100 · 1 / 100.
            (&(0..200).collect::<Vec<_>>(), 200, Some(100), 1.0),
            (&[], 3, Some(100), 0.0),
            (&[], 0, Some(100), 0.0),
            (&[0], 1, Some(0), 0.0),
        ] {
            let found = at_positives(ranks, positives, k);
            assert!((found - expected).abs() < 1e-12, "{ranks:?}: {found}, expected {expected}");
            assert!(found.is_sign_positive());
        }
    }
}
