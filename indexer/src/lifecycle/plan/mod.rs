//! Plans of builds and compactions: made, done task by task, and committed.

mod commit;
mod compact;
mod estimate;
mod make;
mod task;

pub use commit::{CommitReport, commit_plan};
pub use compact::{commit_compaction, compact_task, plan_compact};
pub use estimate::{EstimateOptions, EstimateReport, estimate};
pub use make::{PlanBuildOptions, PlanReport, ShardSplit, plan_build};
pub use task::{TaskOptions, TaskReport, build_task};

use std::path::Path;

use ocelli_index::{Gate, Job, PlanFile};

use crate::{Error, ProgressFn, Result};

/// Does one task of the plan in `path`, of whatever kind.
///
/// # Errors
/// Those of the task; a plan of a job that this program does not do.
pub fn run_task(
    path: &Path,
    task: u32,
    options: &TaskOptions,
    progress: ProgressFn<'_>,
) -> Result<TaskReport> {
    match PlanFile::read(path)?.plan.job {
        Job::Build(_) => build_task(path, task, options, progress),
        Job::Compact(_) => compact_task(path, task, options, progress),
        _ => Err(other(path)),
    }
}

/// Commits the plan in `path`, of whatever kind. `gate` judges the generation that a build makes.
///
/// # Errors
/// Those of the commit; a plan of a job that this program does not do.
pub fn commit(path: &Path, gate: Option<Gate<'_>>) -> Result<CommitReport> {
    match PlanFile::read(path)?.plan.job {
        Job::Build(_) => commit_plan(path, gate),
        Job::Compact(_) => commit_compaction(path),
        _ => Err(other(path)),
    }
}

fn other(path: &Path) -> Error {
    Error::Invalid(format!("{}: expected the plan of a build or of a compaction", path.display()))
}
