//! Deduplications by plan: one task for each range of lists.

use std::path::Path;
use std::time::Instant;

use ocelli_index::{PlanFile, TaskRecord};

use super::make::PlanReport;
use super::task::{TaskOptions, TaskReport, no_such_task};
use crate::dedup::pairs::{self, DedupReport};
use crate::dedup::run;
use crate::{ProgressFn, Result};

/// Plans a deduplication, and writes the plan to `out`.
///
/// # Errors
/// Those of [`run::plan`].
pub fn plan_dedup(
    options: &run::Options,
    out: &Path,
    progress: ProgressFn<'_>,
) -> Result<PlanReport> {
    let file = run::plan(options, out, progress)?;
    let index = ocelli_index::Snapshot::open(&options.join.index, None)?;
    Ok(PlanReport::new(out, &file, index.rows()))
}

/// Does task number `task` of the plan in `path`. A task that has been done is not done again.
///
/// # Errors
/// Those of [`pairs::task`].
pub fn dedup_task(
    path: &Path,
    task: u32,
    options: &TaskOptions,
    progress: ProgressFn<'_>,
) -> Result<TaskReport> {
    let start = Instant::now();
    let file = PlanFile::read(path)?;
    if task >= file.plan.tasks() {
        return Err(no_such_task(task, &file));
    }
    let memory = (options.threads, options.memory_budget_bytes);
    let TaskRecord { pairs, .. } = pairs::task(path, task, memory, progress)?;
    let pairs = pairs.map(|pairs| pairs.pairs);
    Ok(TaskReport { pairs, ..TaskReport::new(path, task, &file, None, start) })
}

/// Looks at the pairs of the plan in `path`, and writes its files.
///
/// # Errors
/// Those of [`run::commit`].
pub fn commit_dedup(path: &Path, progress: ProgressFn<'_>) -> Result<DedupReport> {
    run::commit(path, progress)
}
