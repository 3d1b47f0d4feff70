//! Makes a generation of what a plan's tasks have built.

use std::path::{Path, PathBuf};

use ocelli_index::{
    CommitOptions, Gate, Generation, IndexDir, PlanFile, ShardEntry, TaskRecord, WorkArea,
};
use serde::Serialize;

use crate::build::{change_of, generation_of, job_of};
use crate::lifecycle::change::commit_by;
use crate::memory::keep_to;
use crate::{Error, Result};

/// Rows that the tasks of a plan have built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Built {
    /// Rows.
    pub rows: u64,
    /// Shards.
    pub shards: usize,
    /// Bytes of these shards.
    pub bytes: u64,
}

impl Built {
    /// The sums over shards.
    pub(super) fn of<'s>(shards: impl IntoIterator<Item = &'s ShardEntry>) -> Self {
        shards.into_iter().fold(Self::default(), |sum, shard| Self {
            rows: sum.rows + shard.rows,
            shards: sum.shards + 1,
            bytes: sum.bytes + shard.bytes,
        })
    }
}

/// Report of a commit.
#[derive(Clone, Debug, Serialize)]
pub struct CommitReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the generation.
    pub generation: u64,
    /// Whether the plan had been committed before: nothing was done.
    pub was_committed: bool,
    /// Rows of the generation, deleted ones left out.
    pub rows: u64,
    /// Shards of the generation.
    pub shards: usize,
    /// Bytes of these shards.
    pub bytes: u64,
    /// Rows, shards and bytes that the plan's tasks have built.
    pub built: Built,
}

impl CommitReport {
    /// The report of a generation that a plan has made.
    pub(super) fn new(
        index: &IndexDir,
        generation: &Generation,
        built: Built,
        was_committed: bool,
    ) -> Result<Self> {
        let mut deleted = 0;
        for shard in &generation.shards {
            if let Some(hash) = generation.tombstones.get(&shard.name) {
                let rows = u32::try_from(shard.rows).unwrap_or(u32::MAX);
                deleted += index.tombstones(hash, rows)?.len();
            }
        }
        let Built { rows, shards, bytes } = Built::of(&generation.shards);
        Ok(Self {
            index: index.root().to_owned(),
            generation: generation.number,
            was_committed,
            rows: rows.saturating_sub(deleted),
            shards,
            bytes,
            built,
        })
    }
}

/// Makes the shards of the plan in `path` a generation, if the index is still as it was when the
/// plan was made or the change can be made onto what came between. `gate` judges the generation
/// before it becomes current. A plan that was committed is not committed again.
///
/// # Errors
/// A task that has not ended; another generation that became current meanwhile; the gate's.
pub fn commit_plan(path: &Path, gate: Option<Gate<'_>>) -> Result<CommitReport> {
    let file = PlanFile::read(path)?;
    let job = job_of(&file.plan)?;
    let _limit = keep_to(file.memory_budget_bytes as usize, 0, "the commit")?;
    let index = IndexDir::open(&file.out)?;
    if let Some((number, shards)) = generation_of(&index, &file.hash, file.parent)? {
        return CommitReport::new(&index, &index.generation(number)?, Built::of(&shards), true);
    }
    let work = WorkArea::new(index.root(), file.hash);
    let records = records(path, &index, &work, &file)?;
    let shards: Vec<ShardEntry> = records.into_iter().filter_map(|record| record.shard).collect();
    // Deleted rows stay in the log: what was deleted once does not come back unasked.
    let parent = file.parent.map(|number| index.generation(number)).transpose()?;
    let deletes = parent.and_then(|parent| parent.deletes);
    let change = change_of(job, file.parent, shards.clone(), deletes)?;
    let settings = [("plan", file.hash.to_string())];
    let options = CommitOptions { gate, ..commit_by("commit", &settings) };
    let committed = index.commit_change(&change, &options).map_err(|error| match error {
        ocelli_index::Error::Conflict { what } => Error::Index(ocelli_index::Error::Conflict {
            what: format!("{what}; if it is to be replaced all the same, plan again"),
        }),
        other => other.into(),
    })?;
    work.remove()?;
    CommitReport::new(&index, &committed.generation, Built::of(&shards), false)
}

/// The records of all tasks.
pub(super) fn records(
    path: &Path,
    index: &IndexDir,
    work: &WorkArea,
    file: &PlanFile,
) -> Result<Vec<TaskRecord>> {
    let (mut records, mut missing) = (Vec::new(), Vec::new());
    for task in 0..file.plan.tasks() {
        match work.ended(task, index)? {
            Some(record) => records.push(record),
            None => missing.push(task),
        }
    }
    if missing.is_empty() { Ok(records) } else { Err(file.missing(path, &missing).into()) }
}
