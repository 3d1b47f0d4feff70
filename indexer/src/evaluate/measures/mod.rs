//! Formulas: from the ranks of positives to figures.

use serde::Serialize;

pub use super::average_precision::Ties;

/// The formulas of a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The form of average precision.
    pub precision: ApForm,
    /// The measure that the set is known by.
    pub headline: Measure,
}

/// Form of average precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApForm {
    /// Area under precision over recall by trapezoids, over the whole ranking (Oxford, Paris,
    /// Holidays, INSTRE, Copydays).
    Trapezoid,
    /// Mean over the positives of the precision where each is found, over the first `k` images;
    /// the mean is over min(k, positives). None: the whole ranking.
    AtPositives {
        /// Images that count.
        k: Option<usize>,
    },
}

/// The measure that a data set is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Measure {
    /// Mean average precision, 0 to 1.
    #[serde(rename = "mAP")]
    Map,
    /// Mean number of positives among the first four, 0 to 4 (UKBench).
    #[serde(rename = "N-S")]
    NScore,
    /// Average precision over the pairs of all queries together (DISC21), 0 to 1.
    #[serde(rename = "µAP")]
    MicroAp,
}
