//! Recall of an index against exact search, on a sample of its own rows; and the gate that keeps a
//! generation with too little of it from becoming current.
//!
//! A query is a row. Its true neighbours are the nearest other rows of the index by the vectors
//! themselves; found are those that the index answers, the query's own row left out. Recall is the
//! share of the true neighbours that are found, its interval a bootstrap over the queries
//! ([`mean_interval`]).

mod exact;
mod source;
#[cfg(test)]
mod tests;
mod tune;

use std::path::Path;
use std::time::Instant;

use ocelli_index::container::MappedLimit;
use ocelli_index::{
    Error as IndexError, Generation, IndexDir, Part, Scratch, SearchParams, Snapshot,
};
use parking_lot::Mutex;
use rayon::prelude::*;
use serde::Serialize;

use self::exact::{Truth, nearest};
use self::source::Source;
pub use self::tune::{Tried, TuneOptions, TuneReport, tune};
use crate::evaluate::bootstrap::mean_interval;
use crate::memory::keep_to;
use crate::threads::pool;
use crate::{Error, ProgressFn, Result};

/// Candidates that are scored again by finer codes, where an index has them and nobody says how
/// many: the server's default.
const REFINED: usize = 150;

/// Bounds of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct RecallOptions {
    /// Neighbours of each query.
    pub k: usize,
    /// Queries: at most so many rows, drawn with equal chances.
    pub sample: usize,
    /// Lists that are scanned; recall is measured at each of these.
    pub nprobe: Vec<usize>,
    /// Candidates that are scored again by finer codes; none: 150 where the index has them.
    pub refine_candidates: Option<usize>,
    /// Seed of the sample.
    pub seed: u64,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Memory that the measurement may take, in bytes; 0: as much as it needs.
    pub memory_budget_bytes: usize,
}

impl Default for RecallOptions {
    /// A thousand queries, ten neighbours, sixteen lists: the defaults of a search.
    fn default() -> Self {
        Self {
            k: 10,
            sample: 1000,
            nprobe: vec![SearchParams::default().nprobe],
            refine_candidates: None,
            seed: 1234,
            threads: 0,
            memory_budget_bytes: 0,
        }
    }
}

/// The vectors by which true neighbours were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The vectors of parts: recall counts what codes and lists lose.
    Vectors,
    /// The vectors that the index itself decodes: recall counts only what lists lose.
    Decoded,
}

/// Recall at one number of lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecallAt {
    /// Lists that were scanned.
    pub nprobe: usize,
    /// Mean recall of the queries, 0 to 1.
    pub recall: f64,
    /// The 95 % interval of the mean: a bootstrap over the queries.
    pub interval: [f64; 2],
    /// Mean time of a query on one thread, in milliseconds, while others ran on the other threads.
    pub query_ms: f64,
}

/// Report of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecallReport {
    /// The generation.
    pub generation: u64,
    /// The vectors by which true neighbours were found.
    pub against: Against,
    /// Rows that were compared: those of the index that the vectors are of.
    pub rows: u64,
    /// Queries.
    pub queries: usize,
    /// Neighbours of each.
    pub k: usize,
    /// Candidates that were scored again by finer codes.
    pub refine_candidates: usize,
    /// Recall at each number of lists, in the order asked for.
    pub at: Vec<RecallAt>,
    /// Wall time.
    pub seconds: f64,
}

impl RecallReport {
    /// Refuses recall below `least`, at whatever number of lists.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what was measured.
    pub fn require(&self, least: f64) -> Result<()> {
        let Some(low) = self.at.iter().find(|at| at.recall < least) else { return Ok(()) };
        Err(Error::Invalid(format!(
            "recall@{} of generation {} is {:.4} ({:.4} to {:.4}, {} queries, nprobe {}), below \
             the {least} that was demanded",
            self.k,
            self.generation,
            low.recall,
            low.interval[0],
            low.interval[1],
            self.queries,
            low.nprobe
        )))
    }
}

/// Measures the recall of a generation. `parts` have the vectors of its rows, which are found by
/// their ids, or else by their keys, or, where they have neither, by their order; rows that are
/// deleted or not in the index are queries all the same, but nobody's neighbours. Without parts,
/// the vectors that the index decodes take their place ([`Against::Decoded`]). Vectors are
/// streamed: memory does not grow with their number.
///
/// # Errors
/// Parts of another spec, or of no rows of the index; k of 0 or of as many as there are rows;
/// damaged files.
pub fn check_recall(
    snapshot: &Snapshot,
    parts: &[Part],
    options: &RecallOptions,
    progress: ProgressFn<'_>,
) -> Result<RecallReport> {
    let start = Instant::now();
    if options.k == 0 || options.nprobe.contains(&0) || options.nprobe.is_empty() {
        return Err(Error::Invalid("recall: expected k and nprobe of at least 1".to_owned()));
    }
    let _limit = limit(snapshot.model().parts().dim, options)?;
    let source = match parts {
        [] => Source::decoded(snapshot)?,
        _ => Source::parts(snapshot, parts)?,
    };
    let refine_candidates = options.refine_candidates.unwrap_or_else(|| {
        if snapshot.fine_codec().is_some() { REFINED.max(options.k + 1) } else { 0 }
    });
    pool(options.threads)?.install(|| {
        let truth = nearest(snapshot, &source, options, progress)?;
        let measure = |&nprobe: &usize| {
            let params = SearchParams {
                k: options.k + 1,
                nprobe,
                refine_candidates,
                ..SearchParams::default()
            };
            found(snapshot, &truth, &params, options.k)
        };
        Ok(RecallReport {
            generation: snapshot.generation().number,
            against: if parts.is_empty() { Against::Decoded } else { Against::Vectors },
            rows: truth.rows,
            queries: truth.queries.len(),
            k: options.k,
            refine_candidates,
            at: options.nprobe.iter().map(measure).collect::<Result<_>>()?,
            seconds: start.elapsed().as_secs_f64(),
        })
    })
}

/// The limit of mapped pages of a measurement by vectors (dim,).
fn limit(dim: usize, options: &RecallOptions) -> Result<Option<MappedLimit>> {
    let holds = "the queries and the rows that are compared with them";
    keep_to(options.memory_budget_bytes, exact::bytes(dim, options), holds)
}

/// Searches for each query and counts the neighbours that are found.
fn found(snapshot: &Snapshot, truth: &Truth, params: &SearchParams, k: usize) -> Result<RecallAt> {
    let search = |scratch: &mut Scratch, query: &exact::Query| -> Result<(f64, f64)> {
        let start = Instant::now();
        let hits = snapshot.search_with(&query.vector, params, scratch)?.hits;
        let seconds = start.elapsed().as_secs_f64();
        let others = hits.iter().filter(|hit| Some(hit.id) != query.id).take(k);
        let right = others.filter(|hit| query.neighbours.binary_search(&hit.id).is_ok()).count();
        // Ties at the last place may make more ids right than there are places.
        Ok((right.min(k) as f64 / query.places as f64, seconds))
    };
    let outcome: Vec<(f64, f64)> =
        truth.queries.par_iter().map_init(Scratch::default, search).collect::<Result<_>>()?;
    let recalls: Vec<f64> = outcome.iter().map(|(recall, _)| *recall).collect();
    let n = recalls.len().max(1) as f64;
    let recall = recalls.iter().sum::<f64>() / n;
    Ok(RecallAt {
        nprobe: params.nprobe.min(snapshot.model().parts().nlist),
        recall,
        interval: mean_interval(&recalls).unwrap_or([recall, recall]),
        query_ms: outcome.iter().map(|(_, seconds)| seconds * 1e3).sum::<f64>() / n,
    })
}

/// Measures the recall of the current generation of an index, or of another one.
///
/// # Errors
/// Those of opening it and of [`check_recall`].
pub fn recall(
    root: &Path,
    generation: Option<u64>,
    parts: &[Part],
    options: &RecallOptions,
    progress: ProgressFn<'_>,
) -> Result<RecallReport> {
    check_recall(&Snapshot::open(root, generation)?, parts, options, progress)
}

/// A gate of commits ([`ocelli_index::Gate`]): it measures a generation that is about to become
/// current, and refuses it if its recall is below a bound. A refused generation gets no file: the
/// index stays what it was, and the shards that were made for it lie unused until `gc`.
pub struct RecallGate<'a> {
    /// Vectors of the rows; none: those that the candidate decodes.
    pub parts: &'a [Part],
    /// Bounds of the measurement.
    pub options: RecallOptions,
    /// The least recall.
    pub least: f64,
    /// The last measurement.
    measured: Mutex<Option<RecallReport>>,
}

impl<'a> RecallGate<'a> {
    /// A gate that demands a recall of `least` at each nprobe of the options.
    ///
    /// # Errors
    /// A memory budget in which it cannot measure, with the smallest that works: it is better
    /// refused before the work than after it.
    pub fn new(parts: &'a [Part], options: RecallOptions, least: f64) -> Result<Self> {
        for part in parts {
            limit(part.dim(), &options)?;
        }
        Ok(Self { parts, options, least, measured: Mutex::new(None) })
    }

    /// Measures a candidate.
    ///
    /// # Errors
    /// Those of [`check_recall`]; [`IndexError::Invalid`] for too little recall.
    pub fn judge(&self, dir: &IndexDir, generation: &Generation) -> ocelli_index::Result<()> {
        let snapshot = Snapshot::open_candidate(dir, generation)?;
        let of_index = |error| match error {
            Error::Index(error) => error,
            other => IndexError::invalid(other.to_string()),
        };
        let report =
            check_recall(&snapshot, self.parts, &self.options, &crate::silent).map_err(of_index)?;
        let outcome = report.require(self.least);
        *self.measured.lock() = Some(report);
        outcome.map_err(|error| {
            IndexError::invalid(format!(
                "{}: {error}: it does not become current, and the index stays as it was",
                dir.root().display()
            ))
        })
    }

    /// The last measurement.
    pub fn measured(&self) -> Option<RecallReport> {
        self.measured.lock().clone()
    }
}
