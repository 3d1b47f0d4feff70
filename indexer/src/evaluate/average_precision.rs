//! The one formula.

use clap::ValueEnum;
use serde::Serialize;

/// The judgement of a ranked item.
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
/// `ranks`: places of the positives that were found, 0-based, rising, counted without ignored
/// items. `positives`: all that exist; those not found count as never reached. 0 without positives:
/// the protocols leave such queries out of the mean.
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
    // A sum of nothing is -0.
    (area + 0.0) / positives as f64
}

/// The order in which images of equal score count, as scores say nothing about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// The worst order: positives come last among their equals.
    #[default]
    Against,
    /// The best order: positives come first among their equals.
    For,
    /// The order of the database.
    Order,
}

/// Places of the positives in a ranking, for [`average_precision`]. Each item comes with whether it
/// is tied with the one before.
pub(super) fn positive_ranks(ranking: &[(Judgement, bool)], ties: Ties) -> Vec<usize> {
    let mut ranks = Vec::new();
    let mut start = 0;
    for group in ranking.chunk_by(|_, (_, tied)| *tied) {
        let judged =
            || group.iter().map(|(judgement, _)| *judgement).filter(|j| *j != Judgement::Ignored);
        let size = judged().count();
        let positives = judged().filter(|judgement| *judgement == Judgement::Positive).count();
        match ties {
            Ties::Against => ranks.extend(start + size - positives..start + size),
            Ties::For => ranks.extend(start..start + positives),
            Ties::Order => ranks.extend(
                judged()
                    .zip(start..)
                    .filter(|(j, _)| *j == Judgement::Positive)
                    .map(|(_, rank)| rank),
            ),
        }
        start += size;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::Judgement::{Ignored, Negative, Positive};
    use super::*;

    fn ap(ranking: &[Judgement], positives: usize) -> f64 {
        let ranking: Vec<_> = ranking.iter().map(|judgement| (*judgement, false)).collect();
        average_precision(&positive_ranks(&ranking, Ties::Against), positives)
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

    /// Junk changes nothing, whatever its rank.
    #[test]
    fn ignored_items_take_no_place() {
        let with = [Ignored, Positive, Ignored, Negative, Ignored, Positive, Ignored];
        assert_eq!(ap(&with, 2), ap(&[Positive, Negative, Positive], 2));
    }

    /// By hand: three of equal score, one of them positive. Last it is `N N P` (1/6 as above),
    /// first `P N N`, and in the database's order it is in the middle. The ignored one takes no
    /// place.
    #[test]
    fn ties_by_hand() {
        let ranking = [(Negative, false), (Ignored, true), (Positive, true), (Negative, true)];
        for (ties, expected) in [(Ties::Against, 1.0 / 6.0), (Ties::For, 1.0), (Ties::Order, 0.25)]
        {
            let found = average_precision(&positive_ranks(&ranking, ties), 1);
            assert!((found - expected).abs() < 1e-12, "{ties:?}: {found}, expected {expected}");
        }
        // Two groups: `N P | P` against, of which the last is alone.
        let ranking = [(Positive, false), (Negative, true), (Positive, false)];
        assert_eq!(positive_ranks(&ranking, Ties::Against), [1, 2]);
        assert_eq!(positive_ranks(&ranking, Ties::For), [0, 2]);
    }

    /// The protocol's program, line by line as its authors describe it: precision and recall after
    /// each item, the area between this point and the last.
    fn transcription(ranking: &[Judgement], positives: usize) -> f64 {
        let (mut recall, mut precision, mut area) = (0.0, 1.0, 0.0);
        let (mut found, mut seen) = (0, 0);
        for judgement in ranking {
            if *judgement == Ignored {
                continue;
            }
            seen += 1;
            found += usize::from(*judgement == Positive);
            let (r, p) = (found as f64 / positives as f64, found as f64 / seen as f64);
            area += (r - recall) * (p + precision) / 2.0;
            (recall, precision) = (r, p);
        }
        area
    }

    /// Every order of every group of equals.
    fn orders(ranking: &[(Judgement, bool)]) -> Vec<Vec<Judgement>> {
        let mut all: Vec<Vec<Judgement>> = vec![Vec::new()];
        for group in ranking.chunk_by(|_, (_, tied)| *tied) {
            let mut longer = Vec::new();
            for head in &all {
                let mut rest =
                    vec![(head.clone(), group.iter().map(|(j, _)| *j).collect::<Vec<_>>())];
                while let Some((head, left)) = rest.pop() {
                    if left.is_empty() {
                        longer.push(head);
                        continue;
                    }
                    for i in 0..left.len() {
                        let (mut head, mut left) = (head.clone(), left.clone());
                        head.push(left.remove(i));
                        rest.push((head, left));
                    }
                }
            }
            all = longer;
        }
        all
    }

    /// Against is the worst of all orders of the equals, For the best.
    #[test]
    fn ties_are_the_extremes_of_all_orders() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..500 {
            let length = rng.random_range(1..=6);
            let ranking: Vec<(Judgement, bool)> = (0..length)
                .map(|_| ([Positive, Negative, Ignored][rng.random_range(0..3)], rng.random()))
                .collect();
            let found = ranking.iter().filter(|(judgement, _)| *judgement == Positive).count();
            let positives = found + rng.random_range(usize::from(found == 0)..=2);
            let scores: Vec<f64> =
                orders(&ranking).iter().map(|order| transcription(order, positives)).collect();
            let ap = |ties| average_precision(&positive_ranks(&ranking, ties), positives);
            let as_it_lies: Vec<Judgement> = ranking.iter().map(|(j, _)| *j).collect();
            for (ties, expected) in [
                (Ties::Against, scores.iter().copied().fold(f64::INFINITY, f64::min)),
                (Ties::For, scores.iter().copied().fold(0.0, f64::max)),
                (Ties::Order, transcription(&as_it_lies, positives)),
            ] {
                assert!(
                    (ap(ties) - expected).abs() < 1e-12,
                    "{ties:?}, {ranking:?}: {}, expected {expected}",
                    ap(ties)
                );
            }
        }
    }
}
