//! Scores of pairs of rows: by their stored vectors, or else by their finer codes, or else by their
//! codes.
//!
//! Pairs are scored a block at a time. The rows of a block are sorted, so that vectors are read in
//! the order of their places, each once for all of its pairs.

use ocelli_index::{Metric, Row, simd};

use super::row_set::RowSet;
use super::vectors::{NO_VECTOR, Vectors};
use crate::Result;
use crate::dedup::edge::{RowNumber, ScoredBy};
use crate::error::Keep;

/// Two rows, the smaller number first.
pub(super) type RowPair = (RowNumber, RowNumber);

/// Scores pairs of rows.
pub(super) struct Scorer<'a> {
    pub(super) rows: &'a RowSet,
    pub(super) vectors: Option<&'a Vectors>,
}

/// The buffers of [`Scorer::score`]: for each pair of a block at most two vectors.
#[derive(Default)]
pub(super) struct ScoreScratch {
    rows: Vec<RowNumber>,
    slots: Vec<u32>,
    x: Vec<f32>,
    numbers: Vec<u32>,
    scores: Vec<f32>,
}

impl ScoreScratch {
    /// Bytes that a pair takes at most: two vectors, and numbers.
    pub(super) fn pair_bytes(rows: &RowSet) -> usize {
        let p = rows.model().parts();
        // The vectors of a run that is read are there twice for a moment.
        4 * 4 * p.dim.max(p.d) + 64
    }
}

impl Scorer<'_> {
    /// The best source of scores that all rows have.
    pub(super) fn common_source(&self) -> ScoredBy {
        if self.vectors.is_some() {
            ScoredBy::Vectors
        } else if self.rows.all().fine_codec().is_some() {
            ScoredBy::FineCodes
        } else {
            ScoredBy::Codes
        }
    }

    /// The vectors of rows, in any order, where they are known and all rows are scored by them.
    ///
    /// # Errors
    /// What `keep` makes of those of reading.
    pub(super) fn vectors_of(
        &self,
        rows: &[Row],
        scratch: &mut ScoreScratch,
        keep: &mut Keep<'_>,
    ) -> ocelli_index::Result<Vec<Option<Vec<f32>>>> {
        let mut found = vec![None; rows.len()];
        let Some(vectors) = self.vectors else { return Ok(found) };
        let mut numbers: Vec<(RowNumber, usize)> =
            rows.iter().map(|&row| self.rows.number(row)).zip(0..).collect();
        numbers.sort_unstable();
        let ScoreScratch { rows: sorted, slots, x, .. } = scratch;
        sorted.clear();
        sorted.extend(numbers.iter().map(|&(number, _)| number));
        keep(vectors.read(self.rows, sorted, slots, x))?;
        let dim = self.rows.model().parts().dim;
        for (&(_, at), &slot) in numbers.iter().zip(&*slots) {
            if slot != NO_VECTOR {
                found[at] = Some(x[slot as usize * dim..][..dim].to_vec());
            }
        }
        Ok(found)
    }

    /// The metric of scores.
    pub(super) fn metric(&self) -> Metric {
        self.rows.model().metric()
    }

    /// Hands out the score of each of `pairs`, sorted, by its number, and what it was computed
    /// from. A pair's score does not depend on the others.
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn score(
        &self,
        pairs: &[RowPair],
        scratch: &mut ScoreScratch,
        mut take: impl FnMut(usize, f32, ScoredBy),
    ) -> Result<()> {
        let mut left: Vec<usize> = (0..pairs.len()).collect();
        if let Some(vectors) = self.vectors {
            gather(pairs, &left, &mut scratch.rows);
            vectors.read(self.rows, &scratch.rows, &mut scratch.slots, &mut scratch.x)?;
            let has = |row, s: &ScoreScratch| slot(row, &s.rows, &s.slots) != NO_VECTOR;
            let (with, without): (Vec<usize>, Vec<usize>) = left
                .into_iter()
                .partition(|&i| has(pairs[i].0, scratch) && has(pairs[i].1, scratch));
            let (metric, dim) = (self.metric(), self.rows.model().parts().dim);
            let score = |a: &[f32], x: &[f32], numbers: &[u32], out: &mut Vec<f32>| {
                metric.of_rows(simd(), a, x, numbers, out);
            };
            each_score(pairs, &with, dim, scratch, score, |i, s| take(i, s, ScoredBy::Vectors));
            left = without;
        }
        let all = self.rows.all();
        let is_finer = |row| all.has_finer(self.rows.row(row));
        let (finer, plain): (Vec<usize>, Vec<usize>) =
            left.into_iter().partition(|&i| is_finer(pairs[i].0) && is_finer(pairs[i].1));
        self.by_codes(pairs, &finer, true, scratch, |i, s| take(i, s, ScoredBy::FineCodes))?;
        self.by_codes(pairs, &plain, false, scratch, |i, s| take(i, s, ScoredBy::Codes))
    }

    /// Scores all pairs by the codes that a search scans, whatever else there is.
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn score_by_codes(
        &self,
        pairs: &[RowPair],
        scratch: &mut ScoreScratch,
        take: impl FnMut(usize, f32),
    ) -> Result<()> {
        let all: Vec<usize> = (0..pairs.len()).collect();
        self.by_codes(pairs, &all, false, scratch, take)
    }

    fn by_codes(
        &self,
        pairs: &[RowPair],
        which: &[usize],
        finer: bool,
        scratch: &mut ScoreScratch,
        take: impl FnMut(usize, f32),
    ) -> Result<()> {
        if which.is_empty() {
            return Ok(());
        }
        let all = self.rows.all();
        gather(pairs, which, &mut scratch.rows);
        scratch.slots.clear();
        scratch.slots.extend(0..scratch.rows.len() as u32);
        scratch.x.clear();
        for &row in &scratch.rows {
            all.decode_row(self.rows.row(row), finer, &mut scratch.x)?;
        }
        self.rows.model().intact()?;
        let score = |a: &[f32], x: &[f32], numbers: &[u32], out: &mut Vec<f32>| {
            all.scores_of_decoded(a, x, numbers, finer, out);
        };
        each_score(pairs, which, self.rows.model().parts().d, scratch, score, take);
        Ok(())
    }
}

/// The rows of some pairs, ascending, each once.
fn gather(pairs: &[RowPair], which: &[usize], rows: &mut Vec<RowNumber>) {
    rows.clear();
    rows.extend(which.iter().flat_map(|&i| [pairs[i].0, pairs[i].1]));
    rows.sort_unstable();
    rows.dedup();
}

/// The number of a row's vector.
fn slot(row: RowNumber, rows: &[RowNumber], slots: &[u32]) -> u32 {
    rows.binary_search(&row).map_or(NO_VECTOR, |at| slots[at])
}

/// Scores the pairs `which` by the vectors in `scratch`, those with one first row together.
fn each_score(
    pairs: &[RowPair],
    which: &[usize],
    dim: usize,
    scratch: &mut ScoreScratch,
    score: impl Fn(&[f32], &[f32], &[u32], &mut Vec<f32>),
    mut take: impl FnMut(usize, f32),
) {
    let ScoreScratch { rows, slots, x, numbers, scores } = scratch;
    for of_row in which.chunk_by(|&i, &j| pairs[i].0 == pairs[j].0) {
        let first = slot(pairs[of_row[0]].0, rows, slots) as usize;
        numbers.clear();
        numbers.extend(of_row.iter().map(|&i| slot(pairs[i].1, rows, slots)));
        score(&x[first * dim..][..dim], x, numbers, scores);
        of_row.iter().zip(&*scores).for_each(|(&i, &score)| take(i, score));
    }
}
