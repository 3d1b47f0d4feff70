//! The contents of a plan: everything that it fixes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::settings::JobSettings;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::generations::Dba;

/// Version of plans: 2.
const FORMAT: u32 = 2;
/// The version of this program. Two versions do not work on one plan: their bytes could differ.
pub(super) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Everything that decides the result of a job. Its hash names the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the plan's format: 2.
    pub format: u32,
    /// Version of the program that planned.
    pub program: String,
    /// The job.
    pub job: Job,
}

/// The job of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Shards of rows under a model; one task a shard.
    Build(BuildJob),
    /// A model of rows; one task.
    Train(TrainJob),
    /// Parts of photos; one task a part.
    Encode(EncodeJob),
    /// Groups of shards merged, each into one; one task a group.
    Compact(CompactJob),
    /// Pairs of near rows of an index; one task a range of lists.
    Dedup(DedupJob),
}

/// An input of a plan, by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanInput {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// Hash that tells it apart from files of other content.
    pub seal: Hash,
    /// The spec given to vectors from elsewhere, if the file holds such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
}

/// Treatment of the rows that an index has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The new shards take the place of all others.
    #[default]
    Replace,
    /// The new shards come beside the others.
    Add,
    /// As [`Mode::Add`], and rows that have the key or id of a new one are deleted.
    Upsert,
}

/// Shards of rows under a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildJob {
    /// Model of the shards.
    pub model: Hash,
    /// The model's fine codec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_codec: Option<Hash>,
    /// The change that the shards make to the index.
    #[serde(default)]
    pub mode: Mode,
    /// The inputs, in the order of their rows.
    pub inputs: Vec<PlanInput>,
    /// Rows of each shard, numbered over all inputs.
    pub shards: Vec<Range<u64>>,
    /// Id of row 0 where rows bring none.
    pub first_id: u64,
    /// Whether some rows bring none.
    pub gives_ids: bool,
    /// Smallest id never given out, after the commit.
    pub next_id: u64,
    /// Numbers of the rows that are left out, ascending.
    pub left_out: Vec<u64>,
    /// Augmentation of descriptors before they are coded, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dba: Option<Dba>,
}

/// A model of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainJob {
    /// The inputs, in the order of their rows.
    pub inputs: Vec<PlanInput>,
    /// SHA-256 of the file of the model that is kept and gets finer codes only, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Hash>,
    /// The settings of the training, as the trainer writes them.
    pub settings: JobSettings,
}

/// Parts of photos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeJob {
    /// Hash of what the photos are, as far as that is known without reading them.
    pub photos: Hash,
    /// Photos of the input, at least 1.
    pub images: u64,
    /// Photos of each part, in the order of the input; the last part may have fewer. At least 1.
    pub part_images: u64,
    /// The settings of the job, as the encoder writes them.
    pub settings: JobSettings,
}

/// Groups of shards merged, each into one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactJob {
    /// The generation whose shards are merged.
    pub generation: u64,
    /// Names of the shards of each group.
    pub groups: Vec<Vec<String>>,
}

/// Pairs of near rows of an index, or of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupJob {
    /// The rows of the index.
    pub index: DedupIndex,
    /// The rows of another index, if the index is compared with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<DedupIndex>,
    /// Files of vectors that the pairs are scored by.
    pub vectors: Vec<PlanInput>,
    /// Lists of the model.
    pub nlist: u32,
    /// Lists of each task.
    pub lists: Vec<Range<u32>>,
    /// What was found before the tasks begin: name of a file in the place of the plan's work, and
    /// SHA-256 of it.
    pub prepared: BTreeMap<String, Hash>,
    /// The settings of the job, as the indexer writes them.
    pub settings: JobSettings,
}

/// The rows of a generation of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupIndex {
    /// Number of the generation.
    pub generation: u64,
    /// Hash of its contents: shards and deleted rows.
    pub contents: Hash,
}

impl Plan {
    /// A plan of this program.
    pub fn new(job: Job) -> Self {
        Self { format: FORMAT, program: PROGRAM.to_owned(), job }
    }

    /// Hash over the whole plan.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the plan cannot be written as JSON.
    pub fn hash(&self) -> Result<Hash> {
        let json = serde_json::to_vec(self)
            .map_err(|e| Error::invalid(format!("a plan cannot be written: {e}")))?;
        Ok(Hash::of(&json))
    }

    /// Refuses a plan whose tasks do not share its work out: what was read may be anybody's.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(super) fn check(&self) -> Result<()> {
        match &self.job {
            Job::Build(job) => job.check(),
            Job::Encode(job) => job.check(),
            Job::Dedup(job) => job.check(),
            Job::Train(_) | Job::Compact(_) => Ok(()),
        }
        .map_err(|what| Error::invalid(format!("a plan to {}: {what}", self.kind())))
    }

    /// Number of tasks.
    pub fn tasks(&self) -> u32 {
        match &self.job {
            Job::Build(job) => job.shards.len() as u32,
            Job::Encode(job) => job.tasks(),
            Job::Compact(job) => job.groups.len() as u32,
            Job::Dedup(job) => job.lists.len() as u32,
            Job::Train(_) => 1,
        }
    }

    /// The name of the job's kind.
    pub fn kind(&self) -> &'static str {
        match &self.job {
            Job::Build(_) => "build",
            Job::Train(_) => "train",
            Job::Encode(_) => "encode",
            Job::Compact(_) => "compact",
            Job::Dedup(_) => "dedup",
        }
    }
}

/// Whether this program makes plans as that of `format` and `program`, or why it must not work on
/// one.
pub(super) fn check_maker(format: u32, program: &str) -> std::result::Result<(), String> {
    if format != FORMAT {
        return Err(format!("a plan of format {format}, expected {FORMAT}: plan again"));
    }
    if program != PROGRAM {
        return Err(format!(
            "planned by Ocelli {program}, this is {PROGRAM}: expected one version for a plan and \
             all its tasks; plan again"
        ));
    }
    Ok(())
}

impl EncodeJob {
    fn check(&self) -> std::result::Result<(), String> {
        let Self { images, part_images, .. } = *self;
        if images == 0 || part_images == 0 || images.div_ceil(part_images) > u64::from(u32::MAX) {
            return Err(format!(
                "expected 1 to {} parts of at least 1 image, found {images} images in parts of \
                 {part_images}",
                u32::MAX
            ));
        }
        Ok(())
    }

    /// Parts, and so tasks.
    fn tasks(&self) -> u32 {
        u32::try_from(self.images.div_ceil(self.part_images.max(1))).unwrap_or(u32::MAX)
    }
}

impl DedupJob {
    fn check(&self) -> std::result::Result<(), String> {
        let mut next = 0;
        for (lists, task) in self.lists.iter().zip(0..) {
            if lists.start != next || lists.end <= next || lists.end > self.nlist {
                return Err(format!(
                    "task {task}: expected lists from {next}, up to {} at most, found {} to {}",
                    self.nlist, lists.start, lists.end
                ));
            }
            next = lists.end;
        }
        if next != self.nlist || next == 0 {
            return Err(format!(
                "expected tasks of all {} lists, found {next} in them",
                self.nlist
            ));
        }
        Ok(())
    }
}

impl BuildJob {
    fn check(&self) -> std::result::Result<(), String> {
        let rows = self.inputs.iter().try_fold(0u64, |sum, input| sum.checked_add(input.rows));
        let rows = rows.ok_or("more rows than can be counted")?;
        let mut next = 0;
        for (shard, task) in self.shards.iter().zip(0..) {
            if shard.start != next || shard.end < next || shard.end > rows {
                return Err(format!(
                    "shard {task}: expected rows from {next}, up to {rows} at most, found {} to {}",
                    shard.start, shard.end
                ));
            }
            next = shard.end;
        }
        if next != rows {
            return Err(format!("expected shards of all {rows} rows, found {next} in them"));
        }
        let is_sorted = self.left_out.is_sorted_by(|a, b| a < b);
        if !is_sorted || self.left_out.last().is_some_and(|&last| last >= rows) {
            return Err(format!("left_out: expected ascending numbers below {rows}"));
        }
        Ok(())
    }

    /// Rows of all inputs.
    pub fn rows(&self) -> u64 {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    /// Whether a row is left out.
    pub fn is_left_out(&self, row: u64) -> bool {
        self.left_out.binary_search(&row).is_ok()
    }

    /// Rows of a range that are not left out.
    pub fn kept(&self, rows: &Range<u64>) -> u64 {
        let at = |row| self.left_out.partition_point(|&out| out < row) as u64;
        (rows.end - rows.start) - (at(rows.end) - at(rows.start))
    }
}
