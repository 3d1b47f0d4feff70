//! What a deduplication is asked for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::groups::GroupCounts;
use super::margin::{CodeLimits, Margin};
use super::vectors::VectorCounts;
use crate::{Error, Result};

/// Lists that the rows of a list are compared with, at least, unless another number is asked for.
pub const DEFAULT_NPROBE: usize = 64;
/// Pairs of codes that are compared whatever the lists, unless a number of lists is asked for: some
/// twenty seconds of two cores. At a low threshold near rows are in lists that are far apart: of
/// the pairs of photos and copies of 13,000 photos that reach a cosine of .4, the 64 nearest of 256
/// lists have 92 %.
const CHEAP_PAIRS: f64 = 1e11;
/// Most bits of 64 in which the perceptual hashes of copies differ, unless another number is
/// asked for. Of 400 pairs of photos and copies whose hashes differ in at most 4 bits, 99.75 %
/// were right; of 456 in at most 8 bits 98.5 %, of 563 in at most 12 bits 94.9 % (docs/dedup.md).
pub const DEFAULT_PHASH_BITS: u8 = 4;
/// Nearest pairs of a row that are looked at, unless another number is asked for.
pub const DEFAULT_LOOKS: usize = 10;
/// Pairs of lists that are compared, at most, unless a number of lists is asked for: a hundred
/// megabytes.
const LIST_PAIRS: usize = 1 << 22;
/// Rows of a task, about, unless a number of tasks is asked for.
const TASK_ROWS: u64 = 250_000;
/// Most tasks that are made unasked.
const MOST_TASKS: u64 = 1024;

/// Options of a deduplication.
#[derive(Clone, Debug, PartialEq)]
pub struct DedupOptions {
    /// Pairs are near whose score is at least as good: the metric's, a cosine or an inner product
    /// at least, a squared distance at most.
    pub threshold: f32,
    /// The index directory.
    pub index: PathBuf,
    /// Another index, whose rows are old: only rows of the first are looked up.
    pub against: Option<PathBuf>,
    /// Rows that the index had in this generation are old.
    pub since: Option<u64>,
    /// Files of the vectors that pairs are scored by.
    pub vectors: Vec<PathBuf>,
    /// Lists that the rows of a list are compared with, at least 1; None: [`DEFAULT_NPROBE`], or
    /// more of a small index.
    pub nprobe: Option<usize>,
    /// Most bits of 64 in which the perceptual hashes of copies differ.
    pub phash_bits: u8,
    /// Nearest pairs of a row that a second opinion looks at, at least 1.
    pub looks: usize,
    /// Tasks; 0: as many as suit the rows. The result does not depend on it.
    pub tasks: usize,
    /// Threads; 0: one per core. The result does not depend on it.
    pub threads: usize,
    /// Memory, in bytes; 0: as much as it needs. The result does not depend on it.
    pub memory_budget_bytes: usize,
    /// The folder that gets the files.
    pub out: PathBuf,
    /// What is to become of the pairs, for whoever decides it.
    pub after: Value,
}

impl DedupOptions {
    /// Refuses options that no index can satisfy, before any work.
    ///
    /// # Errors
    /// The option, what was expected, and what was found.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Invalid(what));
        if !self.threshold.is_finite() {
            return wrong(format!("threshold: expected a number, found {}", self.threshold));
        }
        if self.nprobe == Some(0) {
            return wrong("nprobe: expected at least 1, found 0".to_owned());
        }
        if self.phash_bits > 64 {
            return wrong(format!("phash bits: expected 0 to 64, found {}", self.phash_bits));
        }
        if self.looks == 0 {
            return wrong("looks: expected at least 1, found 0".to_owned());
        }
        if self.against.is_some() && self.since.is_some() {
            return wrong(
                "expected either another index to compare with or a generation, found both"
                    .to_owned(),
            );
        }
        std::fs::create_dir_all(&self.out).map_err(Error::io("create", &self.out))?;
        tempfile::tempfile_in(&self.out).map_err(Error::io("write a file in", &self.out))?;
        Ok(())
    }

    /// Lists that the rows of a list are compared with, of so many rows in so many lists.
    pub(super) fn nprobe_for(&self, rows: u64, nlist: usize) -> usize {
        let pairs = (rows as f64).powi(2) / 2.0;
        let share = (CHEAP_PAIRS / pairs.max(1.0)).min(1.0);
        let cheap = ((nlist as f64 * share) as usize).min(LIST_PAIRS / nlist.max(1));
        self.nprobe.unwrap_or(cheap.max(DEFAULT_NPROBE)).min(nlist.max(1))
    }

    /// Tasks for so many rows in so many lists.
    pub(super) fn tasks_for(&self, rows: u64, nlist: u32) -> usize {
        let tasks = match self.tasks {
            0 => rows.div_ceil(TASK_ROWS).clamp(1, MOST_TASKS) as usize,
            tasks => tasks,
        };
        tasks.clamp(1, nlist.max(1) as usize)
    }
}

/// Everything that decides the result, as a plan keeps it. Numbers with a fraction are text, which
/// is the same bits again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) threshold: String,
    pub(super) code_score: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code_beyond: Option<[String; 2]>,
    pub(super) nprobe: usize,
    pub(super) phash_bits: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<u64>,
    /// Name of the second opinion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) opinion: Option<String>,
    pub(super) looks: usize,
    pub(super) scored_by: crate::dedup::edge::ScoredBy,
    pub(super) margin_rows: u64,
    pub(super) margin_pairs: u64,
    pub(super) norm_sq: String,
    pub(super) vectors: VectorCounts,
    pub(super) groups: GroupCounts,
    pub(super) after: Value,
}

impl Settings {
    pub(super) fn new(
        options: &DedupOptions,
        nprobe: usize,
        opinion: Option<String>,
        margin: &Margin,
        (vectors, groups): (VectorCounts, GroupCounts),
    ) -> Self {
        Self {
            threshold: options.threshold.to_string(),
            code_score: margin.limits.score.to_string(),
            code_beyond: margin.limits.beyond.map(|beyond| beyond.map(|cost| cost.to_string())),
            nprobe,
            phash_bits: options.phash_bits,
            since: options.since,
            opinion,
            looks: options.looks,
            scored_by: margin.scored_by,
            margin_rows: margin.rows,
            margin_pairs: margin.pairs,
            norm_sq: margin.norm_sq.to_string(),
            vectors,
            groups,
            after: options.after.clone(),
        }
    }

    /// How near codes are that are scored again.
    ///
    /// # Errors
    /// Those of [`Self::number`].
    pub(super) fn code_limits(&self) -> Result<CodeLimits> {
        let beyond = |[own, others]: &[String; 2]| -> Result<[f32; 2]> {
            Ok([Self::number(own)?, Self::number(others)?])
        };
        Ok(CodeLimits {
            score: Self::number(&self.code_score)?,
            beyond: self.code_beyond.as_ref().map(beyond).transpose()?,
        })
    }

    /// A number that is kept as text.
    ///
    /// # Errors
    /// A text that is no finite number.
    pub(super) fn number(text: &str) -> Result<f32> {
        let number = text.parse::<f32>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| {
            Error::Invalid(format!("the plan: expected a finite number, found {text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_indexes_are_compared_whole() {
        let mut options = DedupOptions {
            threshold: 0.4,
            index: PathBuf::new(),
            against: None,
            since: None,
            vectors: Vec::new(),
            nprobe: None,
            phash_bits: DEFAULT_PHASH_BITS,
            looks: DEFAULT_LOOKS,
            tasks: 0,
            threads: 1,
            memory_budget_bytes: 0,
            out: PathBuf::new(),
            after: Value::Null,
        };
        assert_eq!(options.nprobe_for(13_000, 256), 256);
        assert_eq!(options.nprobe_for(0, 16), 16);
        assert_eq!(options.nprobe_for(1_000_000, 4096), 819);
        assert_eq!(options.nprobe_for(10_000_000, 16_384), 64);
        assert_eq!(options.nprobe_for(100_000, 65_536), 64);
        assert_eq!(options.nprobe_for(100_000, 16_384), 256);
        options.nprobe = Some(5);
        assert_eq!(options.nprobe_for(13_000, 256), 5);
        assert_eq!(options.nprobe_for(13_000, 3), 3);
    }
}
