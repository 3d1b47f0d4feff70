//! The cheapest search of an index that has the recall that is wanted, chosen on some queries and
//! tried on others.

use std::time::{Duration, Instant};

use ocelli_index::{Part, Scratch, SearchParams, Snapshot};
use serde::Serialize;

use super::exact::{Truth, nearest};
use super::source::Source;
use super::{Against, RecallAt, RecallOptions, found};
use crate::threads::pool;
use crate::{Error, ProgressFn, Result};

/// Candidates to score again, in the order in which they are tried, where an index has finer codes.
const REFINED: [usize; 4] = [50, 150, 500, 1500];
/// Queries by which the time of a search is measured, and the time after which there are no more.
const TIMED: usize = 256;
const TIMED_FOR: Duration = Duration::from_millis(500);
/// Queries before them, which bring code and data near the processor.
const WARM: usize = 16;

/// What a search is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneOptions {
    /// Neighbours of each query.
    pub k: usize,
    /// The recall that is wanted, above 0 and at most 1.
    pub recall: f64,
    /// The longest mean time of a query on one thread, in milliseconds, if there is a limit.
    pub latency_ms: Option<f64>,
    /// Queries to choose by, and as many to try the choice on: rows, drawn with equal chances.
    pub sample: usize,
    /// Seed of the sample.
    pub seed: u64,
    /// Threads; 0: one per core.
    pub threads: usize,
}

/// A search that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Candidates that were scored again by finer codes.
    pub refine_candidates: usize,
    /// Lists, recall, and the mean time of a query, one after the other on one thread.
    #[serde(flatten)]
    pub at: RecallAt,
}

/// Report of a choice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneReport {
    /// The generation.
    pub generation: u64,
    /// The vectors by which true neighbours were found.
    pub against: Against,
    /// Neighbours of each query.
    pub k: usize,
    /// Queries that the choice was made by.
    pub queries: usize,
    /// The recall that is wanted.
    pub wanted: f64,
    /// Whether the chosen search has the recall and the time that are wanted, and the other queries
    /// do not refute it: the interval of their recall reaches what is wanted.
    pub is_met: bool,
    /// The chosen search, on the queries that it was chosen by: the cheapest that has the recall,
    /// or else the one with the most recall within the time.
    pub chosen: Tried,
    /// The chosen search on the other queries.
    pub fresh: RecallAt,
    /// Recall of the chosen search on the other queries, less that on those that it was chosen by.
    pub prediction_error: f64,
    /// The most recall of any search that was tried, all lists among them: codes lose the rest.
    pub most: f64,
    /// All searches that were tried, in order.
    pub tried: Vec<Tried>,
    /// Wall time.
    pub seconds: f64,
}

/// Chooses the number of lists, and of candidates to score again where the index has finer codes,
/// of the cheapest search that has the recall that is wanted. `parts` as for
/// [`super::check_recall`].
///
/// # Errors
/// Those of [`super::check_recall`]; a recall or a time that is out of range.
pub fn tune(
    snapshot: &Snapshot,
    parts: &[Part],
    options: &TuneOptions,
    progress: ProgressFn<'_>,
) -> Result<TuneReport> {
    let start = Instant::now();
    let of_recall = options.recall > 0.0 && options.recall <= 1.0;
    let rows = usize::try_from(snapshot.rows()).unwrap_or(usize::MAX);
    if !(1..=rows).contains(&options.k) || options.sample == 0 || !of_recall {
        return Err(Error::Invalid(format!(
            "tune: expected k of 1 to {rows} (the rows), a sample of at least 1 and a recall above \
             0, at most 1; found {}, {} and {}",
            options.k, options.sample, options.recall
        )));
    }
    if let Some(ms) = options.latency_ms.filter(|ms| ms.is_nan() || *ms <= 0.0) {
        return Err(Error::Invalid(format!("latency: expected more than 0 ms, found {ms}")));
    }
    let source = match parts {
        [] => Source::decoded(snapshot)?,
        _ => Source::parts(snapshot, parts)?,
    };
    let drawn = RecallOptions {
        k: options.k,
        sample: options.sample.min(rows).saturating_mul(2),
        seed: options.seed,
        ..RecallOptions::default()
    };
    pool(options.threads)?.install(|| {
        let (truth, others) = nearest(snapshot, &source, &drawn, progress)?.halves();
        if others.queries.is_empty() {
            return Err(Error::Invalid(
                "tune: expected at least 2 rows to choose by and to try the choice on, found 1"
                    .to_owned(),
            ));
        }
        let mut trial = Trial { snapshot, truth: &truth, options, tried: Vec::new() };
        let (chosen, has_recall) = trial.choose()?;
        let fresh = trial.on(&others, &chosen)?;
        let in_time = options.latency_ms.is_none_or(|ms| chosen.at.query_ms <= ms);
        Ok(TuneReport {
            generation: snapshot.generation().number,
            against: if parts.is_empty() { Against::Decoded } else { Against::Vectors },
            k: options.k,
            queries: truth.queries.len(),
            wanted: options.recall,
            is_met: has_recall && in_time && fresh.interval[1] >= options.recall,
            prediction_error: fresh.recall - chosen.at.recall,
            chosen,
            fresh,
            most: trial.most()?,
            tried: trial.tried,
            seconds: start.elapsed().as_secs_f64(),
        })
    })
}

/// Searches that are tried on one half of the queries.
struct Trial<'a> {
    snapshot: &'a Snapshot,
    truth: &'a Truth,
    options: &'a TuneOptions,
    tried: Vec<Tried>,
}

impl Trial<'_> {
    fn lists(&self) -> usize {
        self.snapshot.model().parts().nlist
    }

    /// Numbers of candidates that are worth a try; none for an index without finer codes.
    fn refined(&self) -> Vec<usize> {
        let is_refined = self.snapshot.fine_codec().is_some();
        let enough = |candidates: &usize| is_refined && *candidates > self.options.k;
        let mut refined: Vec<usize> = REFINED.into_iter().filter(enough).collect();
        if is_refined && refined.is_empty() {
            refined.push(2 * (self.options.k + 1));
        }
        refined
    }

    fn on(&self, truth: &Truth, tried: &Tried) -> Result<RecallAt> {
        let params = SearchParams {
            k: self.options.k + 1,
            nprobe: tried.at.nprobe,
            refine_candidates: tried.refine_candidates,
            ..SearchParams::default()
        };
        found(self.snapshot, truth, &params, self.options.k)
    }

    fn run(&mut self, nprobe: usize, refine_candidates: usize) -> Result<Tried> {
        let params = SearchParams {
            k: self.options.k + 1,
            nprobe,
            refine_candidates,
            ..SearchParams::default()
        };
        let mut at = found(self.snapshot, self.truth, &params, self.options.k)?;
        at.query_ms = self.query_ms(&params)?;
        let tried = Tried { refine_candidates, at };
        self.tried.push(tried.clone());
        Ok(tried)
    }

    /// Mean time of a query, one after the other on one thread, with nothing beside it.
    fn query_ms(&self, params: &SearchParams) -> Result<f64> {
        let mut scratch = Scratch::default();
        let mut ask = |queries: &[super::exact::Query]| -> Result<f64> {
            let (start, mut asked) = (Instant::now(), 0);
            for query in queries {
                self.snapshot.search_with(&query.vector, params, &mut scratch)?;
                asked += 1;
                if start.elapsed() > TIMED_FOR {
                    break;
                }
            }
            Ok(start.elapsed().as_secs_f64() * 1e3 / f64::from(asked.max(1)))
        };
        let queries = &self.truth.queries[..self.truth.queries.len().min(TIMED)];
        ask(&queries[..queries.len().min(WARM)])?;
        ask(queries)
    }

    /// The fewest lists whose recall is that wanted, with so many candidates; or None. More lists
    /// find what fewer find, nearly: twice as many are tried until they are enough, and then those
    /// between.
    fn fewest(&mut self, refine_candidates: usize) -> Result<Option<Tried>> {
        let mut enough = None;
        let (mut low, mut nprobe) = (0, 1);
        while enough.is_none() {
            let tried = self.run(nprobe, refine_candidates)?;
            if tried.at.recall >= self.options.recall {
                enough = Some(tried);
            } else if nprobe == self.lists() {
                return Ok(None);
            } else {
                (low, nprobe) = (nprobe, (2 * nprobe).min(self.lists()));
            }
        }
        // A hundredth of the lists more or less is within the noise.
        while nprobe - low > 1 + nprobe / 100 {
            let middle = low + (nprobe - low) / 2;
            let tried = self.run(middle, refine_candidates)?;
            if tried.at.recall >= self.options.recall {
                (nprobe, enough) = (middle, Some(tried));
            } else {
                low = middle;
            }
        }
        Ok(enough)
    }

    /// The search of least time that has the recall, and true; or else the one with the most recall
    /// that is fast enough, or the fastest, and false.
    fn choose(&mut self) -> Result<(Tried, bool)> {
        let refined = self.refined();
        let ways = if refined.is_empty() { vec![0] } else { refined };
        let mut sound = Vec::new();
        for &refine_candidates in &ways {
            sound.extend(self.fewest(refine_candidates)?);
        }
        let sooner = |a: &Tried, b: &Tried| a.at.query_ms.total_cmp(&b.at.query_ms);
        let in_time =
            |tried: &Tried| self.options.latency_ms.is_none_or(|ms| tried.at.query_ms <= ms);
        if let Some(chosen) = sound.into_iter().min_by(sooner).filter(in_time) {
            return Ok((chosen, true));
        }
        let better =
            |a: &&Tried, b: &&Tried| a.at.recall.total_cmp(&b.at.recall).then(sooner(b, a));
        let best = self.tried.iter().filter(|tried| in_time(tried)).max_by(better);
        let best = best.or_else(|| self.tried.iter().min_by(|a, b| sooner(a, b)));
        match best.cloned() {
            Some(best) => Ok((best, false)),
            None => Ok((self.run(self.lists(), ways[0])?, false)),
        }
    }

    /// The most recall of all that was tried, and of all lists.
    fn most(&mut self) -> Result<f64> {
        let candidates = self.tried.iter().map(|tried| tried.refine_candidates).max();
        let all = self.run(self.lists(), candidates.unwrap_or(0))?;
        Ok(self.tried.iter().map(|tried| tried.at.recall).fold(all.at.recall, f64::max))
    }
}
