//! Rankings by query: what is judged.

mod read;
mod searched;

use super::ranking::Ranked;
use crate::Result;

pub use read::ReadAnswers;
pub use searched::{GivenQueries, Searched};

/// The ranking of one query.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Images, best first.
    pub ranked: Vec<Ranked>,
    /// Whether images follow that were not asked for.
    pub cut: bool,
    /// Time that it took, in milliseconds; 0 for rankings that were read.
    pub ms: f64,
}

/// Rankings of a data set's queries, made by a search or read from a file.
pub trait Answers: Sync {
    /// Keys of the images by number.
    fn keys(&self) -> &[String];

    /// Whether [`Self::keys`] has every image of the database. A file of rankings has only those
    /// that were ranked, so that a positive may be in the database without being among them.
    fn is_whole(&self) -> bool;

    /// Whether the query can be asked at all.
    fn knows(&self, query: usize) -> bool;

    /// Whether scores are comparable between queries.
    fn has_scores(&self) -> bool;

    /// What was searched and how, for the report.
    fn describe(&self) -> String;

    /// The best `depth` images for a query and those tied with the last of them, without the
    /// images `hidden` (ascending). None: there
    /// is no ranking of this query.
    ///
    /// # Errors
    /// Those of the search.
    fn answer(&self, query: usize, hidden: &[u32], depth: usize) -> Result<Option<Answer>>;
}
