//! Results of judging.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measures::Ties;

/// Result of judging one search on one data set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The data set's short name, as in `--expect`.
    pub dataset: String,
    /// The form of ground truth that the files were taken for.
    pub form: String,
    /// Why they were taken for it.
    pub why: String,
    /// What was searched and how, in words: `exact inner product of 1,224 descriptors`.
    pub search: String,
    /// Hash of the queries and lists that were judged by, 16 hexadecimal digits.
    pub truth: String,
    /// Images of each ranking that counted, where that was chosen.
    pub depth: Option<usize>,
    /// Pairs that µAP counted at most.
    pub pairs: usize,
    /// Images of the database.
    pub images: usize,
    /// Images of the data set's list that the database lacks; 0 for a set without a list.
    pub listed_missing: usize,
    /// Images of the database that the data set's list has not; None for a set without a list.
    pub distractors: Option<usize>,
    /// Photos that are published as damaged, are in the database, and were taken out.
    pub damaged: usize,
    /// One entry for each setup, in the data set's order.
    pub setups: Vec<SetupReport>,
    /// Wall time of ranking and judging, in seconds.
    pub seconds: f64,
}

/// Result of one setup.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SetupReport {
    /// `official`, `easy`, …
    pub setup: String,
    /// Name of the measure that the set is known by: `mAP`, `mAP@100`, `N-S`, `µAP`.
    pub measure: String,
    /// The value of that measure.
    pub value: f64,
    /// 95 % interval of the value by bootstrap over the queries; None with fewer than 2 queries.
    pub interval: Option<[f64; 2]>,
    /// Mean of the queries' average precision.
    pub map: f64,
    /// All other measures by name, see [`super::measures`].
    pub measures: BTreeMap<String, f64>,
    /// Images of the database.
    pub images: usize,
    /// Positives that the database lacks, over all judged queries. They count as not found.
    pub positives_missing: usize,
    /// Queries for which the ground truth names no positive. They are not in the means.
    pub without_positives: Vec<String>,
    /// Queries whose every positive is missing in the database. They are not in the means.
    pub all_missing: Vec<String>,
    /// Queries that a file of rankings has no ranking for. They count as having found nothing, as
    /// in the published programs.
    pub unranked: Vec<String>,
    /// Queries with a ranking that ends before all positives of the database are found. What
    /// comes later counts as not found.
    pub short: Vec<String>,
    /// Labelled photos that the database lacks, and so are no queries (leave-one-out).
    pub labels_missing: Vec<String>,
    /// Queries that have no descriptor, because their photos are missing or could not be encoded.
    /// They are not in the means.
    pub queries_missing: Vec<String>,
    /// How images of equal score were ordered.
    pub ties: Ties,
    /// Queries whose average precision depends on that.
    pub tied_queries: usize,
    /// Mean time of one query's ranking on its thread, expansion included, in milliseconds.
    pub rank_ms: f64,
    /// One entry for each judged query, in the data set's order.
    pub queries: Vec<QueryScore>,
}

/// Result of one query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryScore {
    /// The query.
    pub name: String,
    /// Average precision, 0 to 1, in the setup's form.
    pub average_precision: f64,
    /// The query's part in the setup's measure: average precision, or positives among the first
    /// four (N-S).
    pub value: f64,
    /// Photos that should be found.
    pub positives: usize,
    /// Positives that the ranking has.
    pub found: usize,
    /// Rank of the first positive, from 1; None if none was found.
    pub first: Option<usize>,
    /// Time of its ranking in milliseconds.
    pub rank_ms: f64,
}
