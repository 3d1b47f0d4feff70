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

/// Ranks of the positives of a ranking, 0-based and rising. Junk takes no place.
///
/// Each item of `ranking` comes with whether it is tied with the one before. `tie_goes_on`: more
/// images of the last score follow, which the ranking leaves out. With [`Ties::Against`] they come
/// before the positives of that score, which are then not found.
pub fn positive_ranks(ranking: &[(Judgement, bool)], ties: Ties, tie_goes_on: bool) -> Vec<usize> {
    let mut ranks = Vec::new();
    let mut start = 0;
    let mut groups = ranking.chunk_by(|_, (_, tied)| *tied).peekable();
    while let Some(group) = groups.next() {
        let judged =
            || group.iter().map(|(judgement, _)| *judgement).filter(|j| *j != Judgement::Ignored);
        let size = judged().count();
        let positives = judged().filter(|judgement| *judgement == Judgement::Positive).count();
        match ties {
            Ties::Against if tie_goes_on && groups.peek().is_none() => {}
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
    use super::Judgement::{Ignored, Negative, Positive};
    use super::*;

    /// By hand: three of equal score, one of them positive. Last it has rank 2, first rank 0, and
    /// in the database's order it is in the middle. The ignored one takes no place.
    #[test]
    fn ties_by_hand() {
        let ranking = [(Negative, false), (Ignored, true), (Positive, true), (Negative, true)];
        for (ties, expected) in [(Ties::Against, 2), (Ties::For, 0), (Ties::Order, 1)] {
            assert_eq!(positive_ranks(&ranking, ties, false), [expected], "{ties:?}");
        }
        // Two groups: `N P | P` against, of which the last is alone.
        let ranking = [(Positive, false), (Negative, true), (Positive, false)];
        assert_eq!(positive_ranks(&ranking, Ties::Against, false), [1, 2]);
        assert_eq!(positive_ranks(&ranking, Ties::For, false), [0, 2]);
    }

    /// By hand: `P | P N` and more of the last score, unseen. Against, the second positive is
    /// behind them.
    #[test]
    fn the_last_score_of_a_cut_ranking() {
        let ranking = [(Positive, false), (Positive, false), (Negative, true)];
        for (ties, cut, expected) in [
            (Ties::Against, false, &[0, 2][..]),
            (Ties::Against, true, &[0]),
            (Ties::For, true, &[0, 1]),
            (Ties::Order, true, &[0, 1]),
        ] {
            assert_eq!(positive_ranks(&ranking, ties, cut), expected, "{ties:?}, cut: {cut}");
        }
        assert!(positive_ranks(&[(Positive, false)], Ties::Against, true).is_empty());
        assert!(positive_ranks(&[], Ties::Against, true).is_empty());
    }

    /// Junk changes nothing, whatever its rank; nor does it end a group of equals.
    #[test]
    fn ignored_images_take_no_place() {
        let with = [Ignored, Positive, Ignored, Negative, Ignored, Positive, Ignored];
        let with: Vec<_> = with.into_iter().map(|judgement| (judgement, false)).collect();
        assert_eq!(positive_ranks(&with, Ties::Against, false), [0, 2]);
        let group = [(Ignored, false), (Positive, true), (Ignored, true), (Negative, true)];
        assert_eq!(positive_ranks(&group, Ties::Against, false), [1]);
    }
}
