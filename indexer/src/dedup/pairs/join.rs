//! Pairs of near rows of some lists: found by their codes, scored again, and labelled.
//!
//! Lists are shared out among threads, a few neighbours at a time. Each thread collects pairs until
//! its memory is full, scores them as a block, and keeps those that reach the threshold. What is
//! kept is sorted at the end, so that neither threads nor blocks can be told from it.

use std::ops::Range;

use ocelli_index::{Ceiling, JoinPlan, Pair, Row, Scratch, Seeking, Snapshot};
use parking_lot::Mutex;
use rayon::prelude::*;

use super::edge_file::{WORDS, to_words};
use super::label::Labels;
use super::margin::CodeLimits;
use super::score::{RowPair, ScoreScratch, Scorer};
use crate::dedup::edge::{Edge, Label, ScoredBy};
use crate::error::{Keep, carry};
use crate::least::{Least, Total};
use crate::sort::Sorter;
use crate::{Progress, ProgressFn, Result};

/// Lists that a thread takes at a time.
const LISTS: usize = 16;
/// Fewest and most pairs of a block.
pub(super) const BLOCK_PAIRS: (usize, usize) = (1 << 10, 1 << 16);
/// Edges that are labelled together.
const LABELLED: usize = 4096;
/// Pairs just below the threshold that are kept, for people to look at.
pub(super) const BELOW: usize = 100;

/// The pairs that miss the threshold by least: by cost, then by rows.
pub(super) type Below = Least<(Total, RowPair), (f32, ScoredBy)>;

/// What a join has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Pairs of rows whose codes were compared.
    pub(super) compared: u64,
    /// Pairs that were near by their codes, and scored.
    pub(super) candidates: u64,
    /// Pairs that miss the threshold, and are kept.
    pub(super) below: u64,
}

/// A join of rows.
pub(super) struct Join<'a> {
    /// All rows but those that others stand for.
    pub(super) joined: &'a Snapshot,
    pub(super) plan: &'a JoinPlan,
    pub(super) scorer: &'a Scorer<'a>,
    pub(super) labels: &'a Labels<'a>,
    /// Scores that edges reach.
    pub(super) threshold: f32,
    /// How near the codes of candidates are.
    pub(super) limits: CodeLimits,
    /// Pairs of a block.
    pub(super) block_pairs: usize,
    /// What misses the threshold by least.
    pub(super) below: &'a Mutex<Below>,
}

/// What a thread keeps from list to list.
#[derive(Default)]
struct Worker {
    scratch: Scratch,
    found: Vec<Pair>,
    pairs: Vec<RowPair>,
    scored: Vec<(RowPair, f32, ScoredBy)>,
    buffers: ScoreScratch,
}

/// A join on one thread, as the index asks for what it needs.
struct Side<'a, 'k> {
    join: &'a Join<'a>,
    worker: &'a mut Worker,
    edges: &'a Mutex<Sorter<[u64; WORDS]>>,
    counts: &'a mut Counts,
    keep: &'a mut Keep<'k>,
}

impl Seeking for Side<'_, '_> {
    fn seeks(&self, row: Row) -> bool {
        !self.join.scorer.rows.is_old(row)
    }

    fn ceiling(&self, _: Row, is_known: bool) -> Ceiling {
        self.join.limits.ceiling(is_known)
    }

    fn vectors(&mut self, rows: &[Row]) -> ocelli_index::Result<Vec<Option<Vec<f32>>>> {
        if self.join.limits.beyond.is_none() {
            return Ok(vec![None; rows.len()]);
        }
        self.join.scorer.vectors_of(rows, &mut self.worker.buffers, self.keep)
    }

    fn take(&mut self, pairs: &mut Vec<Pair>) -> ocelli_index::Result<()> {
        let done = self.join.take(pairs, self.worker, self.edges, self.counts);
        (self.keep)(done)
    }
}

impl Join<'_> {
    /// Puts the edges of rows of `lists` with rows of these and of other lists into `edges`; and
    /// those that miss the threshold by least.
    ///
    /// # Errors
    /// Damaged files; a full disk.
    pub(super) fn run(
        &self,
        lists: Range<u32>,
        pool: &rayon::ThreadPool,
        edges: &Mutex<Sorter<[u64; WORDS]>>,
        progress: ProgressFn<'_>,
    ) -> Result<Counts> {
        let (total, done) = (lists.len() as u64, Mutex::new(0));
        let numbers: Vec<u32> = lists.collect();
        let few = |worker: &mut Worker, lists: &[u32]| -> Result<Counts> {
            let mut counts = Counts::default();
            for &list in lists {
                self.list(list, worker, edges, &mut counts)?;
            }
            self.flush(worker, edges, &mut counts)?;
            let mut done = done.lock();
            *done += lists.len() as u64;
            progress(Progress { stage: "join", done: *done, total });
            Ok(counts)
        };
        let counts: Vec<Counts> = pool.install(|| {
            let chunks = numbers.par_chunks(LISTS);
            chunks.map_init(Worker::default, few).collect::<Result<_>>()
        })?;
        let missed = std::mem::replace(&mut *self.below.lock(), Below::new(BELOW)).into_entries();
        let below = missed.len() as u64;
        // The few that are looked at in the end get their labels then.
        for ((_, (a, b)), (score, scored_by)) in missed {
            let (phash_distance, agreement) = (None, None);
            let label = Label::Near;
            let edge = Edge { a, b, score, scored_by, label, phash_distance, agreement };
            edges.lock().push(to_words(&edge))?;
        }
        Ok(counts.into_iter().fold(Counts { below, ..Counts::default() }, |sum, counts| Counts {
            compared: sum.compared + counts.compared,
            candidates: sum.candidates + counts.candidates,
            ..sum
        }))
    }

    fn list(
        &self,
        list: u32,
        worker: &mut Worker,
        edges: &Mutex<Sorter<[u64; WORDS]>>,
        counts: &mut Counts,
    ) -> Result<()> {
        let (mut scratch, mut found) =
            (std::mem::take(&mut worker.scratch), std::mem::take(&mut worker.found));
        found.clear();
        let done = carry(|keep| {
            let mut side = Side { join: self, worker, edges, counts, keep };
            self.joined.join_list_by(self.plan, list, &mut side, None, &mut scratch, &mut found)
        });
        (worker.scratch, worker.found) = (scratch, found);
        counts.compared += done?.scanned;
        Ok(())
    }

    /// Takes the pairs that were found, and scores them where there are enough.
    fn take(
        &self,
        found: &mut Vec<Pair>,
        worker: &mut Worker,
        edges: &Mutex<Sorter<[u64; WORDS]>>,
        counts: &mut Counts,
    ) -> Result<()> {
        let rows = self.scorer.rows;
        for pair in found.drain(..) {
            let (a, b) = (rows.number(pair.a), rows.number(pair.b));
            // Of two rows that look for each other, the pair is that of the first.
            if self.plan.looks_both_ways() && a > b && !rows.is_old(pair.b) {
                continue;
            }
            worker.pairs.push((a.min(b), a.max(b)));
            if worker.pairs.len() >= self.block_pairs {
                self.flush(worker, edges, counts)?;
            }
        }
        Ok(())
    }

    /// Scores the pairs that wait, and keeps the edges.
    fn flush(
        &self,
        worker: &mut Worker,
        edges: &Mutex<Sorter<[u64; WORDS]>>,
        counts: &mut Counts,
    ) -> Result<()> {
        let Worker { pairs, scored, buffers, .. } = worker;
        if pairs.is_empty() {
            return Ok(());
        }
        pairs.sort_unstable();
        counts.candidates += pairs.len() as u64;
        let metric = self.scorer.metric();
        scored.clear();
        let mut below = Below::new(BELOW);
        self.scorer.score(pairs, buffers, |i, score, by| {
            match metric.reaches(score, self.threshold) {
                true => scored.push((pairs[i], score, by)),
                false if score.is_nan() => {}
                false => drop(below.push((Total(metric.cost(score)), pairs[i]), (score, by))),
            }
        })?;
        let mut all = self.below.lock();
        for (key, scored) in below.into_entries() {
            all.push(key, scored);
        }
        drop(all);
        for scored in scored.chunks(LABELLED) {
            let made = self.labels.edges(scored)?;
            let mut edges = edges.lock();
            for edge in &made {
                edges.push(to_words(edge))?;
            }
        }
        pairs.clear();
        Ok(())
    }
}
