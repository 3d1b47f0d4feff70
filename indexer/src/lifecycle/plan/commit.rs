//! Makes a generation of what a plan's tasks have built.

use std::path::{Path, PathBuf};

use ocelli_index::{
    CommitOptions, Gate, IndexDir, Plan, PlanFile, ShardEntry, TaskRecord, WorkArea,
};
use serde::Serialize;

use crate::build::{change_of, generation_of, job_of};
use crate::lifecycle::change::commit_by;
use crate::memory::keep_to;
use crate::{Error, Result};

/// Report of a commit.
#[derive(Clone, Debug, Serialize)]
pub struct CommitReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the generation.
    pub generation: u64,
    /// Whether the plan had been committed before: nothing was done.
    pub was_committed: bool,
    /// Rows that the plan's tasks have built.
    pub rows: u64,
    /// Shards that the plan's tasks have built.
    pub shards: usize,
    /// Bytes of these shards.
    pub bytes: u64,
}

/// Missing tasks that are named.
const MAX_MISSING: usize = 8;

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
    let report = |generation: u64, was_committed, shards: &[ShardEntry]| CommitReport {
        index: file.out.clone(),
        generation,
        was_committed,
        rows: shards.iter().map(|shard| shard.rows).sum(),
        shards: shards.len(),
        bytes: shards.iter().map(|shard| shard.bytes).sum(),
    };
    if let Some((generation, shards)) = generation_of(&index, &file.hash, file.parent)? {
        return Ok(report(generation, true, &shards));
    }
    let work = WorkArea::new(index.root(), file.hash);
    let records = records(path, &index, &work, &file.plan)?;
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
    Ok(report(committed.generation.number, false, &shards))
}

/// The records of all tasks.
pub(super) fn records(
    path: &Path,
    index: &IndexDir,
    work: &WorkArea,
    plan: &Plan,
) -> Result<Vec<TaskRecord>> {
    let tasks = plan.tasks();
    let (mut records, mut missing) = (Vec::new(), Vec::new());
    for task in 0..tasks {
        let record = work.record(task)?;
        let shard = record.as_ref().and_then(|record| record.shard.as_ref());
        let is_there = match shard {
            Some(shard) => index.shard_version(&shard.name)?.is_some(),
            None => true,
        };
        match record.filter(|_| is_there) {
            Some(record) => records.push(record),
            None => missing.push(task),
        }
    }
    if missing.is_empty() {
        return Ok(records);
    }
    let named: Vec<String> = missing.iter().take(MAX_MISSING).map(u32::to_string).collect();
    let more = missing.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(Error::Invalid(format!(
        "{} of {tasks} tasks have not ended: {}{more}; run ocelli {} --plan {} --task {}",
        missing.len(),
        named.join(", "),
        plan.kind(),
        path.display(),
        missing[0]
    )))
}
