//! From a ranking to the ranks of its positives: junk and equal scores.

use clap::ValueEnum;
use serde::Serialize;

/// The judgement of a ranked image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Should be found.
    Positive,
    /// Should not be found.
    Negative,
    /// Neither (junk): taken out of the ranking.
    Ignored,
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

/// The places of a ranking in the order in which they count: images of equal score are ordered by
/// `ties`, others stay. Each item of `ranking` comes with whether it is tied with the one before.
pub fn arranged(ranking: &[(Judgement, bool)], ties: Ties) -> Vec<usize> {
    let mut order = Vec::with_capacity(ranking.len());
    for group in ranking.chunk_by(|_, (_, tied)| *tied) {
        let places = order.len()..order.len() + group.len();
        let is_positive = |place: &usize| ranking[*place].0 == Judgement::Positive;
        let (positives, others): (Vec<usize>, Vec<usize>) = places.clone().partition(is_positive);
        match ties {
            Ties::Against => order.extend(others.into_iter().chain(positives)),
            Ties::For => order.extend(positives.into_iter().chain(others)),
            Ties::Order => order.extend(places),
        }
    }
    order
}

/// Ranks of the positives of a ranking, 0-based and rising, in the order of [`arranged`]. Junk
/// takes no place.
pub fn positive_ranks(ranking: &[(Judgement, bool)], ties: Ties) -> Vec<usize> {
    let judged = arranged(ranking, ties).into_iter().map(|place| ranking[place].0);
    let counted = judged.filter(|judgement| *judgement != Judgement::Ignored).enumerate();
    counted
        .filter(|(_, judgement)| *judgement == Judgement::Positive)
        .map(|(rank, _)| rank)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Judgement::{Ignored, Negative, Positive};
    use super::*;

    /// By hand: three of equal score, one of them positive. Last it has rank 2, first rank 0, and
    /// in the database's order it is in the middle. The ignored one takes no place.
    #[test]
    fn ties_by_hand() {
        let ranking = [(Negative, false), (Ignored, true), (Positive, true), (Negative, true)];
        for (ties, expected) in [(Ties::Against, 2), (Ties::For, 0), (Ties::Order, 1)] {
            assert_eq!(positive_ranks(&ranking, ties), [expected], "{ties:?}");
        }
        // Two groups: `N P | P` against, of which the last is alone.
        let ranking = [(Positive, false), (Negative, true), (Positive, false)];
        assert_eq!(positive_ranks(&ranking, Ties::Against), [1, 2]);
        assert_eq!(positive_ranks(&ranking, Ties::For), [0, 2]);
    }

    /// Junk changes nothing, whatever its rank; nor does it end a group of equals.
    #[test]
    fn ignored_images_take_no_place() {
        let with = [Ignored, Positive, Ignored, Negative, Ignored, Positive, Ignored];
        let with: Vec<_> = with.into_iter().map(|judgement| (judgement, false)).collect();
        assert_eq!(positive_ranks(&with, Ties::Against), [0, 2]);
        let group = [(Ignored, false), (Positive, true), (Ignored, true), (Negative, true)];
        assert_eq!(positive_ranks(&group, Ties::Against), [1]);
    }
}
