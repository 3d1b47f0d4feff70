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
/// Each item of `ranking` comes with whether it is tied with the one before. `cut`: more images
/// follow, which the ranking leaves out. Some of them may have the last score too. Under
/// [`Ties::Against`] they stand before the positives of that score, which so are not found.
pub fn positive_ranks(ranking: &[(Judgement, bool)], ties: Ties, cut: bool) -> Vec<usize> {
    let mut ranks = Vec::new();
    let mut start = 0;
    let mut groups = ranking.chunk_by(|_, (_, tied)| *tied).peekable();
    while let Some(group) = groups.next() {
        let judged =
            || group.iter().map(|(judgement, _)| *judgement).filter(|j| *j != Judgement::Ignored);
        let size = judged().count();
        let positives = judged().filter(|judgement| *judgement == Judgement::Positive).count();
        match ties {
            Ties::Against if cut && groups.peek().is_none() => {}
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
