//! True neighbours: the query compared with every row.
//!
//! Of each query the best few rows are kept, more than are wanted, since some may not be in the
//! index. Where these are not enough, rows that the index does not have are passed over in a second
//! pass: memory stays what it was.

use std::ops::Range;

use ocelli_index::{Metric, Snapshot, simd};
use rayon::prelude::*;

use super::RecallOptions;
use super::source::Source;
use crate::sample::SplitMix64;
use crate::{Error, Progress, ProgressFn, Result};

/// Rows that are compared with one query after the other, so that they stay near the processor.
const TILE_ROWS: usize = 128;
/// Bytes of the vectors that are read at once, about.
const BLOCK_BYTES: usize = 4 << 20;
/// Rows that are kept for each neighbour that is wanted: some may not be in the index.
const KEPT: usize = 4;

/// Rows that are read at once.
fn block_rows(dim: usize) -> usize {
    (BLOCK_BYTES / (4 * dim)).next_multiple_of(TILE_ROWS)
}

/// Rows that are kept of each query.
fn kept(options: &RecallOptions) -> usize {
    KEPT * (options.k + 1) + 16
}

/// Memory of a measurement in bytes: queries with the best rows of each, and vectors that are read
/// or decoded, and the copy that undoing the model's transform makes.
pub(super) fn bytes(dim: usize, options: &RecallOptions) -> usize {
    let query = 8 * dim + 2 * kept(options) * size_of::<(f32, u64)>() + 16 * options.k;
    options.sample * query + 3 * 4 * dim * block_rows(dim)
}

/// A query and its true neighbours.
pub(super) struct Query {
    pub vector: Vec<f32>,
    /// Id of its row, where that is in the index.
    pub id: Option<u64>,
    /// Ids of the nearest rows, ascending; more than `places` where some are equally near.
    pub neighbours: Vec<u64>,
    /// Neighbours that can be found: k, or all rows if there are fewer.
    pub places: usize,
}

pub(super) struct Truth {
    pub queries: Vec<Query>,
    /// Rows that were compared.
    pub rows: u64,
}

impl Truth {
    /// The queries in two halves, of which neither lies before the other.
    pub(super) fn halves(self) -> (Self, Self) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (i, query) in self.queries.into_iter().enumerate() {
            if i % 2 == 0 { &mut first } else { &mut second }.push(query);
        }
        (Self { queries: first, rows: self.rows }, Self { queries: second, rows: self.rows })
    }
}

/// A row that is a query.
struct Drawn {
    vector: Vec<f32>,
    /// Id of the row, where it is in the index.
    id: Option<u64>,
}

/// The best rows for one query so far.
struct Best {
    /// (cost, row); more than `keep` between two selections.
    rows: Vec<(f32, u64)>,
    /// Costs from here on are of no use.
    bound: f32,
    keep: usize,
}

impl Best {
    fn new(keep: usize) -> Self {
        Self { rows: Vec::with_capacity(2 * keep), bound: f32::INFINITY, keep }
    }

    fn push(&mut self, cost: f32, row: u64) {
        if cost > self.bound {
            return;
        }
        self.rows.push((cost, row));
        if self.rows.len() == 2 * self.keep {
            self.select();
        }
    }

    fn select(&mut self) {
        let order = |a: &(f32, u64), b: &(f32, u64)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        self.rows.sort_unstable_by(order);
        self.rows.truncate(self.keep);
        if self.rows.len() == self.keep
            && let Some(&(last, _)) = self.rows.last()
        {
            self.bound = last;
        }
    }
}

/// Draws queries from the rows of a source and finds their true neighbours.
///
/// # Errors
/// No rows; rows of which none is in the index; damaged files.
pub(super) fn nearest(
    snapshot: &Snapshot,
    source: &Source<'_>,
    options: &RecallOptions,
    progress: ProgressFn<'_>,
) -> Result<Truth> {
    let rows = source.rows();
    let mut numbers = SplitMix64::new(options.seed);
    let mut drawn: Vec<u64> = Vec::new();
    while (drawn.len() as u64) < (options.sample as u64).min(rows) {
        let wanted = options.sample.min(rows as usize) - drawn.len();
        drawn.extend((0..wanted).map(|_| (numbers.fraction() * rows as f64) as u64 % rows));
        drawn.sort_unstable();
        drawn.dedup();
    }
    let dim = snapshot.model().parts().dim;
    let mut queries = Vec::with_capacity(drawn.len());
    for &row in &drawn {
        queries.push(Drawn { vector: source.read(row..row + 1)?, id: source.id(row)? });
    }
    let metric = snapshot.model().parts().metric;
    let keep = kept(options);
    for only_indexed in [false, true] {
        let comparison = Comparison { source, dim, metric, keep, only_indexed };
        let best = comparison.run(&queries, progress)?;
        let all = only_indexed || keep as u64 >= rows;
        if let Some(queries) = name(source, &queries, &best, options.k, all)? {
            return Ok(Truth { queries, rows });
        }
        // Too many of the nearest rows are not in the index.
    }
    Err(Error::Invalid("recall: the true neighbours were not found".to_owned()))
}

/// The exact search.
struct Comparison<'a> {
    source: &'a Source<'a>,
    dim: usize,
    metric: Metric,
    /// Rows to keep of each query.
    keep: usize,
    /// Rows that the index does not have are passed over.
    only_indexed: bool,
}

impl Comparison<'_> {
    /// The rows nearest to each query, best first.
    fn run(&self, queries: &[Drawn], progress: ProgressFn<'_>) -> Result<Vec<Vec<(f32, u64)>>> {
        let &Self { source, dim, metric, keep, .. } = self;
        let total = source.rows();
        let mut best: Vec<Best> = queries.iter().map(|_| Best::new(keep)).collect();
        let numbers: Vec<u32> = (0..TILE_ROWS as u32).collect();
        let share = queries.len().div_ceil(4 * rayon::current_num_threads()).max(1);
        let mut failed = None;
        source.each_block(block_rows(dim), |start, x| {
            let indexed = self.indexed(start..start + (x.len() / dim) as u64).unwrap_or_else(|e| {
                failed = Some(e);
                Vec::new()
            });
            let is_of_use = |row: u64| {
                let place = (row - start) as usize;
                !self.only_indexed || indexed.get(place).is_some_and(|&is_there| is_there)
            };
            let work = |(queries, best): (&[Drawn], &mut [Best])| {
                let mut scores = Vec::new();
                let mut first = start;
                for tile in x.chunks(TILE_ROWS * dim) {
                    let rows = tile.len() / dim;
                    for (query, best) in queries.iter().zip(best.iter_mut()) {
                        scores.clear();
                        metric.of_rows(simd(), &query.vector, tile, &numbers[..rows], &mut scores);
                        let scored = scores.iter().zip(first..);
                        for (&score, row) in scored.filter(|(_, row)| is_of_use(*row)) {
                            best.push(metric.cost(score), row);
                        }
                    }
                    first += rows as u64;
                }
            };
            queries.par_chunks(share).zip(best.par_chunks_mut(share)).for_each(work);
            let done = start + (x.len() / dim) as u64;
            progress(Progress { stage: "exact search", done, total });
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        best.iter_mut().for_each(Best::select);
        Ok(best.into_iter().map(|best| best.rows).collect())
    }

    /// Which of some rows the index has; nothing where all rows are compared.
    fn indexed(&self, rows: Range<u64>) -> Result<Vec<bool>> {
        if !self.only_indexed {
            return Ok(Vec::new());
        }
        let has = |row| Ok(self.source.id(row)?.is_some());
        rows.into_par_iter().map(has).collect()
    }
}

/// The neighbours of each query that are in the index; none if more rows are needed to tell.
/// `all`: there are no more.
fn name(
    source: &Source<'_>,
    queries: &[Drawn],
    best: &[Vec<(f32, u64)>],
    k: usize,
    all: bool,
) -> Result<Option<Vec<Query>>> {
    let named: Vec<Option<Query>> = queries
        .par_iter()
        .zip(best)
        .map(|(Drawn { vector, id: own }, best)| {
            let mut living: Vec<(f32, u64)> = Vec::new();
            for &(cost, row) in best {
                // Those as near as the last are as right as it.
                if living.len() >= k && cost > living[k - 1].0 {
                    break;
                }
                if let Some(id) = source.id(row)?.filter(|id| Some(*id) != *own) {
                    living.push((cost, id));
                }
            }
            if living.len() < k && !all {
                return Ok(None);
            }
            let mut neighbours: Vec<u64> = living.iter().map(|(_, id)| *id).collect();
            neighbours.sort_unstable();
            let places = neighbours.len().min(k);
            Ok(Some(Query { vector: vector.clone(), id: *own, neighbours, places }))
        })
        .collect::<Result<_>>()?;
    if named.iter().any(Option::is_none) {
        return Ok(None);
    }
    let queries: Vec<Query> = named.into_iter().flatten().filter(|q| q.places > 0).collect();
    if queries.is_empty() {
        return Err(Error::Invalid(
            "recall: none of the rows is in the index, or there is only one: expected the parts \
             that it was built of"
                .to_owned(),
        ));
    }
    Ok(Some(queries))
}
