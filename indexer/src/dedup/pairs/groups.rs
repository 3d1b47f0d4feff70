//! Rows that are equal: one of them stands for all, and the others hang on it.
//!
//! Rows are equal if their files are, by the attribute `sha256`, and they are the same part of
//! them; or else if their decoded pixels are, by `pixels_sha256`; or else, where many have one
//! code, if what their scores are computed from is: the stored vector, the finer code, the code.
//! The first row of a group, an old one where there is one, stands for it: the others are not
//! compared with any row, and an edge leads from each to the first. So a hundred thousand blank
//! pages cost what as many different pages cost.
//!
//! Hashes are sorted, in files where memory has a limit. Rows that are left out take a bit each.

use ocelli_index::attributes::names;
use ocelli_index::{Row, Value};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::edge_file::{WORDS, to_words};
use super::label::Labels;
use super::margin::is_unit;
use super::row_set::RowSet;
use super::score::{RowPair, ScoreScratch, Scorer};
use super::vectors::NO_VECTOR;
use crate::Result;
use crate::dedup::edge::{Edge, Label, RowNumber, ScoredBy};
use crate::sort::{SortMemory, Sorted, Sorter};

/// Rows of one code that are compared with each other like all others.
pub const MOST_COMPARED: usize = 16;
/// Rows whose vectors are read at once.
const READ_ROWS: usize = 1024;
/// Set in the number of a new row while rows are sorted: old ones come first.
const NEW: u64 = 1 << 63;

/// Rows that are equal, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Rows whose file is equal to that of another row.
    pub same_file: u64,
    /// Rows whose pixels are equal to those of another row.
    pub same_pixels: u64,
    /// Rows that have the vector or the code of many others.
    pub same_code: u64,
}

/// The groups of equal rows.
pub(super) struct Groups {
    /// Of each shard, the ordinals that another row stands for.
    pub(super) left_out: Vec<RoaringBitmap>,
    /// The edges from the rows that stand for others to these.
    pub(super) edges: Sorter<[u64; WORDS]>,
    pub(super) counts: GroupCounts,
}

/// Looks for groups.
pub(super) struct Grouping<'a> {
    pub(super) scorer: &'a Scorer<'a>,
    pub(super) labels: &'a Labels<'a>,
    pub(super) threshold: f32,
    pub(super) memory: Option<SortMemory>,
    groups: Groups,
}

impl<'a> Grouping<'a> {
    pub(super) fn new(
        scorer: &'a Scorer<'a>,
        labels: &'a Labels<'a>,
        threshold: f32,
        memory: Option<SortMemory>,
    ) -> Self {
        let share = memory.map(|m| SortMemory { bytes: m.bytes / 3, folder: m.folder });
        let groups = Groups {
            left_out: vec![RoaringBitmap::new(); scorer.rows.all().shards().len()],
            edges: Sorter::new(share.clone()),
            counts: GroupCounts::default(),
        };
        Self { scorer, labels, threshold, memory: share, groups }
    }

    /// All groups.
    ///
    /// # Errors
    /// Damaged files; a full disk.
    pub(super) fn find(mut self) -> Result<Groups> {
        self.groups.counts.same_file = self.by_hash(names::SHA256, Label::SameFile)?;
        self.groups.counts.same_pixels = self.by_hash(names::PIXELS_SHA256, Label::SamePixels)?;
        self.groups.counts.same_code = self.by_code()?;
        self.groups.left_out.iter_mut().for_each(|out| _ = out.optimize());
        Ok(self.groups)
    }

    fn rows(&self) -> &'a RowSet {
        self.scorer.rows
    }

    fn is_left_out(&self, row: Row) -> bool {
        self.groups.left_out[row.shard as usize].contains(row.ordinal)
            || self.rows().all().deleted(row.shard).is_some_and(|d| d.contains(row.ordinal))
    }

    /// The number of a row by which it is sorted.
    fn sorted_number(&self, row: Row) -> u64 {
        let new = if self.rows().is_old(row) { 0 } else { NEW };
        self.rows().number(row) | new
    }

    /// Groups of one hash in a column; returns how many rows were left out.
    fn by_hash(&mut self, column: &str, label: Label) -> Result<u64> {
        let mut sorter = Sorter::<[u64; 3]>::new(self.memory.clone());
        for (shard, of_shard) in (0u32..).zip(self.rows().all().shards()) {
            let Some(columns) = of_shard.columns() else { continue };
            let Some(number) = columns.column(column) else { continue };
            // Parts of one photo have the hash of its file.
            let boxes = match label {
                Label::SameFile => columns.column(names::PIXEL_BOX),
                _ => None,
            };
            let corrupt =
                |what| ocelli_index::Error::corrupt(of_shard.path(), format!("attributes: {what}"));
            let mut slot = 0;
            for block in 0..columns.blocks() {
                let values = columns.block(of_shard.file(), block, number)?;
                let boxes = boxes.map(|boxes| columns.block(of_shard.file(), block, boxes));
                let boxes = boxes.transpose()?;
                for i in 0..columns.block_rows(block) {
                    let ordinal = of_shard.ordinal(slot)?;
                    slot += 1;
                    let row = Row { shard, ordinal };
                    let value = values.value(i).map_err(corrupt)?;
                    let Some(Value::Bytes32(hash)) = value.map(|v| v.to_value()) else { continue };
                    if !self.is_left_out(row) {
                        let [first, second] = first_words(&hash);
                        let part = boxes.as_ref().map_or(Ok(None), |b| b.value(i));
                        let part = match part.map_err(corrupt)?.map(|v| v.to_value()) {
                            Some(Value::Text(part)) => xxh3_64(part.as_bytes()),
                            _ => 0,
                        };
                        sorter.push([first ^ part, second, self.sorted_number(row)])?;
                    }
                }
            }
            of_shard.intact()?;
            of_shard.file().release();
        }
        let best = match self.scorer.metric() {
            ocelli_index::Metric::L2 => 0.0,
            ocelli_index::Metric::InnerProduct => 1.0,
        };
        let mut left_out = 0;
        each_in_group(sorter.finish()?, 1, |first, other| {
            self.leave_out(other);
            left_out += 1;
            match self.pair(first, other) {
                Some((a, b)) => self.groups.edges.push(to_words(&Edge {
                    a,
                    b,
                    score: best,
                    scored_by: ScoredBy::Hash,
                    label,
                    phash_distance: None,
                    agreement: None,
                })),
                None => Ok(()),
            }
        })?;
        Ok(left_out)
    }

    /// Two rows by their sorted numbers, the smaller number first; none if both are old.
    fn pair(&self, first: u64, other: u64) -> Option<RowPair> {
        let is_old = |row: u64| self.rows().has_sides() && row & NEW == 0;
        let (a, b) = (first & !NEW, other & !NEW);
        (!(is_old(first) && is_old(other))).then_some((a.min(b), a.max(b)))
    }

    fn leave_out(&mut self, number: u64) {
        let row = self.rows().row(number & !NEW);
        self.groups.left_out[row.shard as usize].insert(row.ordinal);
    }

    /// Groups of what scores are computed from, of more than [`MOST_COMPARED`] rows.
    fn by_code(&mut self) -> Result<u64> {
        let mut sorter = Sorter::<[u64; 3]>::new(self.memory.clone());
        for (shard, of_shard) in (0u32..).zip(self.rows().all().shards()) {
            crate::error::carry(|keep| {
                of_shard.each_code(|ordinal, list, code, fine| {
                    let row = Row { shard, ordinal };
                    if self.is_left_out(row) {
                        return Ok(());
                    }
                    let mut hash = Xxh3::new();
                    hash.update(&list.to_le_bytes());
                    hash.update(code);
                    hash.update(fine);
                    let hash = hash.digest128();
                    let words = [(hash >> 64) as u64, hash as u64, self.sorted_number(row)];
                    keep(sorter.push(words))
                })
            })?;
            of_shard.file().release();
        }
        // Of rows of one code, those of one vector.
        let mut alike = Sorter::<[u64; 3]>::new(self.memory.clone());
        let mut batch: Vec<(u64, RowNumber)> = Vec::new();
        each_in_group(sorter.finish()?, MOST_COMPARED, |first, other| {
            batch.push((first, other));
            if batch.len() == READ_ROWS { self.by_vector(&mut batch, &mut alike) } else { Ok(()) }
        })?;
        self.by_vector(&mut batch, &mut alike)?;
        let is_unit = is_unit(self.rows());
        let (mut left_out, mut pairs, mut tested) = (0, Vec::new(), None);
        each_in_group(alike.finish()?, 1, |first, other| {
            if tested.is_none_or(|(tested, _)| tested != first) {
                tested = Some((first, self.is_near_itself(first)?));
            }
            let is_near = tested.is_some_and(|(_, is_near)| is_near);
            // A short vector may be nearer to a long one than to its equal.
            if !is_near && !is_unit {
                return Ok(());
            }
            self.leave_out(other);
            left_out += 1;
            if is_near {
                pairs.extend(self.pair(first, other));
            }
            if pairs.len() == READ_ROWS { self.put(&mut pairs) } else { Ok(()) }
        })?;
        self.put(&mut pairs)?;
        Ok(left_out)
    }

    /// Hands on rows of large groups with hashes of their group and of their vector.
    fn by_vector(
        &self,
        batch: &mut Vec<(u64, RowNumber)>,
        alike: &mut Sorter<[u64; 3]>,
    ) -> Result<()> {
        let mut numbers: Vec<RowNumber> = batch.iter().map(|&(_, row)| row & !NEW).collect();
        numbers.sort_unstable();
        let (mut slots, mut x) = (Vec::new(), Vec::new());
        match self.scorer.vectors {
            Some(vectors) => vectors.read(self.rows(), &numbers, &mut slots, &mut x)?,
            None => slots.resize(numbers.len(), NO_VECTOR),
        }
        let dim = self.rows().model().parts().dim;
        for (group, row) in batch.drain(..) {
            let at = numbers.binary_search(&(row & !NEW)).unwrap_or(0);
            let hash = match slots[at] {
                NO_VECTOR => 0,
                slot => xxh3_64(bytemuck::cast_slice(&x[slot as usize * dim..][..dim])) | 1,
            };
            alike.push([group, hash, row])?;
        }
        Ok(())
    }

    /// Whether a row reaches the threshold with its equal: a short vector may not, by the inner
    /// product.
    fn is_near_itself(&self, number: u64) -> Result<bool> {
        let row = number & !NEW;
        let mut is_near = false;
        let metric = self.scorer.metric();
        self.scorer.score(&[(row, row)], &mut ScoreScratch::default(), |_, score, _| {
            is_near = metric.reaches(score, self.threshold);
        })?;
        Ok(is_near)
    }

    /// Makes edges of pairs of equal rows.
    fn put(&mut self, pairs: &mut Vec<RowPair>) -> Result<()> {
        pairs.sort_unstable();
        let mut scored = Vec::with_capacity(pairs.len());
        self.scorer.score(pairs, &mut ScoreScratch::default(), |i, score, by| {
            scored.push((pairs[i], score, by));
        })?;
        for edge in self.labels.edges(&scored)? {
            self.groups.edges.push(to_words(&edge))?;
        }
        pairs.clear();
        Ok(())
    }
}

/// The first words of a hash.
fn first_words(hash: &[u8; 32]) -> [u64; 2] {
    let words = hash.as_chunks::<8>().0;
    [words[0], words[1]].map(u64::from_le_bytes)
}

/// Hands out the first row of each group and each row of it: all but the first where `most` is 1;
/// else all rows, the first included, of groups of more than `most` rows.
fn each_in_group(
    mut sorted: Sorted<[u64; 3]>,
    most: usize,
    mut take: impl FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let (mut group, mut first, mut waiting) = (None, 0, Vec::new());
    let mut is_large = false;
    while let Some([a, b, row]) = sorted.next()? {
        if group != Some((a, b)) {
            (group, first, is_large) = (Some((a, b)), row, false);
            waiting.clear();
        }
        match (most, is_large) {
            (1, _) if row == first => {}
            (1, _) | (_, true) => take(first, row)?,
            (_, false) => {
                waiting.push(row);
                is_large = waiting.len() > most;
                if is_large {
                    for row in waiting.drain(..) {
                        take(first, row)?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_groups_are_handed_out() {
        let found = |most| {
            let mut sorter = Sorter::<[u64; 3]>::new(None);
            for row in [[7, 7, 3], [1, 0, 9], [1, 0, 2], [1, 1, 4], [1, 0, 5], [7, 7, 8]] {
                sorter.push(row).unwrap();
            }
            let mut found = Vec::new();
            let keep = |first, row| {
                found.push((first, row));
                Ok(())
            };
            each_in_group(sorter.finish().unwrap(), most, keep).unwrap();
            found
        };
        assert_eq!(found(1), [(2, 5), (2, 9), (3, 8)]);
        assert_eq!(found(2), [(2, 2), (2, 5), (2, 9)]);
    }
}
