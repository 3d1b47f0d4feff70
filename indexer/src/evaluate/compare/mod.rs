//! Comparison of two runs on one data set.
//!
//! Source: the paired bootstrap (Efron and Tibshirani, 1993; for retrieval Sakai, *Evaluating
//! Evaluation Metrics Based on the Bootstrap*, SIGIR 2006): the differences of the queries that
//! both runs judged are drawn with replacement.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bootstrap::{self, Difference};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// Differences below it are none: they come from the order of additions.
const EQUAL: f64 = 1e-12;

/// A run's file as far as a comparison needs it: the JSON of a [`Report`](super::report::Report).
#[derive(Clone, Debug)]
pub struct RunFile {
    path: PathBuf,
    run: Run,
}

#[derive(Clone, Debug, Deserialize)]
struct Run {
    dataset: String,
    #[serde(default)]
    search: String,
    #[serde(default)]
    truth: String,
    #[serde(default)]
    depth: Option<usize>,
    #[serde(default)]
    pairs: usize,
    setups: Vec<RunSetup>,
}

#[derive(Clone, Debug, Deserialize)]
struct RunSetup {
    setup: String,
    measure: String,
    /// None where the figure is not a number, as without queries.
    value: Option<f64>,
    queries: Vec<RunQuery>,
    #[serde(default)]
    ties: String,
    #[serde(default)]
    images: usize,
}

#[derive(Clone, Debug, Deserialize)]
struct RunQuery {
    name: String,
    value: f64,
}

/// What two runs, A and B, have in common and how they differ. Differences are B − A.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The data set of both.
    pub dataset: String,
    /// The run A.
    pub a: Side,
    /// The run B.
    pub b: Side,
    /// The setups of both, in the order of A.
    pub setups: Vec<SetupComparison>,
    /// Ways in which the runs were judged differently, so that their difference says less.
    pub cautions: Vec<String>,
    /// Setups of A alone.
    pub only_a: Vec<String>,
    /// Setups of B alone.
    pub only_b: Vec<String>,
}

/// One of the runs.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The run's file.
    pub path: PathBuf,
    /// What was searched and how, in words.
    pub search: String,
}

/// Comparison of one setup.
#[derive(Clone, Debug, Serialize)]
pub struct SetupComparison {
    /// The setup.
    pub setup: String,
    /// The measure that is compared.
    pub measure: String,
    /// Values of A and B over all queries of each; None where a run has none.
    pub values: [Option<f64>; 2],
    /// Orders of images of equal score in A and B, which should be one.
    pub ties: [String; 2],
    /// Images of the databases of A and B.
    pub images: [usize; 2],
    /// Queries of both runs.
    pub common: usize,
    /// Mean difference over them, with interval and p value. None with fewer than 2, and for µAP,
    /// which is no mean over queries.
    pub difference: Option<Difference>,
    /// Queries for which B has the higher value. For µAP the values are average precisions.
    pub better: usize,
    /// Queries for which B has the lower value.
    pub worse: usize,
    /// Queries with the same value.
    pub equal: usize,
    /// The queries that changed most, by the amount.
    pub changed: Vec<Changed>,
    /// Queries of A alone.
    pub only_a: Vec<String>,
    /// Queries of B alone.
    pub only_b: Vec<String>,
}

/// A query whose value changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// The query.
    pub name: String,
    /// The query's value in A.
    pub a: f64,
    /// The query's value in B.
    pub b: f64,
}

impl RunFile {
    /// Reads a file that `ocelli eval retrieval --out` wrote. Fields that are not known are
    /// skipped.
    ///
    /// # Errors
    /// A file that cannot be read or is another; a setup or a query that is there twice.
    pub fn open(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Error::io("read", path))?;
        let file = |what| Error::File { path: path.to_owned(), what };
        let run: Run = serde_json::from_slice(&text).map_err(|e| {
            file(format!("expected the JSON of `ocelli eval retrieval --out`, found: {e}"))
        })?;
        let mut setups = HashMap::new();
        for setup in &run.setups {
            if setups.insert(&setup.setup, ()).is_some() {
                return Err(file(format!("setup {:?} is there twice", setup.setup)));
            }
            let mut queries = HashMap::new();
            for query in &setup.queries {
                if queries.insert(&query.name, ()).is_some() {
                    return Err(file(format!(
                        "setup {:?}: query {:?} is there twice",
                        setup.setup, query.name
                    )));
                }
            }
        }
        Ok(Self { path: path.to_owned(), run })
    }

    fn side(&self) -> Side {
        Side { path: self.path.clone(), search: self.run.search.clone() }
    }
}

/// Compares two runs. Each setup names the `changed` queries that changed most.
///
/// # Errors
/// Runs of two data sets, without a common setup, with another measure in a common setup, or
/// without a common query in one.
pub fn compare(a: &RunFile, b: &RunFile, changed: usize) -> Result<Comparison> {
    let differ = |what: &str, in_a: &str, in_b: &str| {
        let (a, b) = (a.path.display(), b.path.display());
        Error::Invalid(format!("expected two runs {what}; {a} has {in_a}, {b} has {in_b}"))
    };
    if a.run.dataset != b.run.dataset {
        return Err(differ("of one data set", &a.run.dataset, &b.run.dataset));
    }
    let mut setups = Vec::new();
    for of_a in &a.run.setups {
        let Some(of_b) = b.run.setups.iter().find(|of_b| of_b.setup == of_a.setup) else {
            continue;
        };
        let setup = &of_a.setup;
        if of_a.measure != of_b.measure {
            let what = format!("with one measure of setup {setup:?}");
            return Err(differ(&what, &of_a.measure, &of_b.measure));
        }
        let compared = compare_setup(of_a, of_b, changed);
        if compared.common == 0 {
            let what = format!("with a common query in setup {setup:?}");
            return Err(differ(&what, &queries(of_a), &queries(of_b)));
        }
        setups.push(compared);
    }
    if setups.is_empty() {
        let names = |run: &RunFile| match run.run.setups.as_slice() {
            [] => "no setup".to_owned(),
            setups => setups.iter().map(|s| s.setup.as_str()).collect::<Vec<_>>().join(", "),
        };
        return Err(differ("with a common setup", &names(a), &names(b)));
    }
    let only = |of: &RunFile, other: &RunFile| {
        let alone = |s: &&RunSetup| other.run.setups.iter().all(|o| o.setup != s.setup);
        of.run.setups.iter().filter(alone).map(|s| s.setup.clone()).collect()
    };
    Ok(Comparison {
        dataset: a.run.dataset.clone(),
        a: a.side(),
        b: b.side(),
        setups,
        cautions: cautions(&a.run, &b.run),
        only_a: only(a, b),
        only_b: only(b, a),
    })
}

/// What was not the same for both runs.
fn cautions(a: &Run, b: &Run) -> Vec<String> {
    let mut cautions = Vec::new();
    if a.truth != b.truth {
        cautions.push(
            "the ground truth differs: other queries, boxes, positives, junk or setups".to_owned(),
        );
    }
    let depth = |run: &Run| run.depth.map_or_else(|| "as needed".to_owned(), |n| n.to_string());
    if a.depth != b.depth {
        let (a, b) = (depth(a), depth(b));
        cautions.push(format!("--depth differs: {a} and {b}"));
    }
    if a.pairs != b.pairs {
        cautions.push(format!("--pairs differs: {} and {}", a.pairs, b.pairs));
    }
    cautions
}

/// The queries of a setup for an error: how many, and the first.
fn queries(setup: &RunSetup) -> String {
    match setup.queries.as_slice() {
        [] => "no query".to_owned(),
        [one] => format!("1 query, {:?}", one.name),
        [first, ..] => format!("{} queries, {:?} first", setup.queries.len(), first.name),
    }
}

fn compare_setup(a: &RunSetup, b: &RunSetup, most: usize) -> SetupComparison {
    let by_name = |setup: &'_ RunSetup| -> HashMap<String, f64> {
        setup.queries.iter().map(|query| (query.name.clone(), query.value)).collect()
    };
    let (in_a, in_b) = (by_name(a), by_name(b));
    let mut common: Vec<Changed> = Vec::new();
    for query in &a.queries {
        if let Some(&b) = in_b.get(&query.name) {
            // A value that is the same but for its last bits is the same.
            let b = if (b - query.value).abs() <= EQUAL { query.value } else { b };
            common.push(Changed { name: query.name.clone(), a: query.value, b });
        }
    }
    let differences: Vec<f64> = common.iter().map(|query| query.b - query.a).collect();
    let count = |holds: fn(f64) -> bool| differences.iter().filter(|&&d| holds(d)).count();
    let only = |of: &RunSetup, other: &HashMap<String, f64>| {
        let alone = of.queries.iter().filter(|query| !other.contains_key(&query.name));
        alone.map(|query| query.name.clone()).collect()
    };
    let mean = a.measure != "µAP";
    SetupComparison {
        setup: a.setup.clone(),
        measure: a.measure.clone(),
        values: [a.value, b.value],
        ties: [a.ties.clone(), b.ties.clone()],
        images: [a.images, b.images],
        common: common.len(),
        difference: mean.then(|| bootstrap::difference(&differences)).flatten(),
        better: count(|d| d > 0.0),
        worse: count(|d| d < 0.0),
        equal: count(|d| d == 0.0),
        only_a: only(a, &in_b),
        only_b: only(b, &in_a),
        changed: {
            common.retain(|query| query.a != query.b);
            common.sort_by(|x, y| (y.b - y.a).abs().total_cmp(&(x.b - x.a).abs()));
            common.truncate(most);
            common
        },
    }
}
