//! Formulas: from the ranks of positives to figures.
//!
//! A ranking becomes the ranks of its positives ([`positive_ranks`]), these become the figures of
//! one query ([`of_query`]), and the figures of all queries become means by name ([`means`]).
//! [`Pairs`] judges all queries as one ranking.

mod average_precision;
mod pairs;
mod precision;
mod ties;

use std::collections::BTreeMap;

use serde::Serialize;

pub use average_precision::{at_positives, trapezoid};
pub use pairs::{MicroAp, Pair, Pairs};
pub use precision::{among_first, found_at, precision_at, recall_at, reciprocal_rank};
pub use ties::{Judgement, Ties, arranged, positive_ranks};

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

impl Rules {
    /// Name of the mean of average precisions: `mAP`; `mAP@100`, `mAP@1k` where only the first
    /// images count.
    pub fn map_name(&self) -> String {
        match self.precision {
            ApForm::AtPositives { k: Some(k) } if k > 0 && k.is_multiple_of(1000) => {
                format!("mAP@{}k", k / 1000)
            }
            ApForm::AtPositives { k: Some(k) } => format!("mAP@{k}"),
            ApForm::AtPositives { k: None } | ApForm::Trapezoid => "mAP".to_owned(),
        }
    }

    /// Name of the measure that the set is known by: `mAP`, `mAP@100`, `N-S`, `µAP`.
    pub fn headline_name(&self) -> String {
        match self.headline {
            Measure::Map => self.map_name(),
            Measure::NScore => "N-S".to_owned(),
            Measure::MicroAp => "µAP".to_owned(),
        }
    }
}

/// The numbers of first images for which [`QueryFigures`] has measures.
pub const DEPTHS: [usize; 3] = [1, 5, 10];

/// Figures of one query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryFigures {
    /// Average precision in the form of the rules, 0 to 1.
    pub average_precision: f64,
    /// The query's part in the measure that the set is known by: [`Self::n_score`] for N-S,
    /// otherwise [`Self::average_precision`]. µAP is not a mean over queries.
    pub value: f64,
    /// [`recall_at`] for each of [`DEPTHS`], 0 or 1.
    pub recall: [f64; 3],
    /// [`found_at`] for each of [`DEPTHS`], 0 to 1.
    pub found: [f64; 3],
    /// [`precision_at`] for each of [`DEPTHS`], 0 to 1.
    pub precision: [f64; 3],
    /// [`reciprocal_rank`], 0 to 1.
    pub reciprocal_rank: f64,
    /// Positives among the first four, 0 to 4.
    pub n_score: f64,
}

/// Figures of one query from the ranks of its positives (0-based, rising, counted without junk) and
/// the number of all positives.
pub fn of_query(ranks: &[usize], positives: usize, rules: &Rules) -> QueryFigures {
    let average_precision = match rules.precision {
        ApForm::Trapezoid => trapezoid(ranks, positives),
        ApForm::AtPositives { k } => at_positives(ranks, positives, k),
    };
    let n_score = among_first(ranks, 4) as f64;
    QueryFigures {
        average_precision,
        value: match rules.headline {
            Measure::Map | Measure::MicroAp => average_precision,
            Measure::NScore => n_score,
        },
        recall: DEPTHS.map(|k| recall_at(ranks, k)),
        found: DEPTHS.map(|k| found_at(ranks, positives, k)),
        precision: DEPTHS.map(|k| precision_at(ranks, positives, k)),
        reciprocal_rank: reciprocal_rank(ranks),
        n_score,
    }
}

/// Means over queries by their names in reports: `mAP` (or `mAP@100`, `mAP@1k`), `recall@1`,
/// `recall@5`, `recall@10`, the same of `found@` and `mP@`, `MRR` and `N-S`. None of them where
/// there are no queries.
///
/// Sums are made in the order of the queries, so that the last bits do not depend on threads.
pub fn means(queries: &[QueryFigures], rules: &Rules) -> BTreeMap<String, f64> {
    let mut means = BTreeMap::new();
    if queries.is_empty() {
        return means;
    }
    let mut add = |name: String, of: &dyn Fn(&QueryFigures) -> f64| {
        let sum: f64 = queries.iter().map(of).sum();
        means.insert(name, (sum + 0.0) / queries.len() as f64);
    };
    add(rules.map_name(), &|query| query.average_precision);
    for (i, k) in DEPTHS.into_iter().enumerate() {
        add(format!("recall@{k}"), &|query| query.recall[i]);
        add(format!("found@{k}"), &|query| query.found[i]);
        add(format!("mP@{k}"), &|query| query.precision[i]);
    }
    add("MRR".to_owned(), &|query| query.reciprocal_rank);
    add("N-S".to_owned(), &|query| query.n_score);
    means
}

#[cfg(test)]
mod tests;
