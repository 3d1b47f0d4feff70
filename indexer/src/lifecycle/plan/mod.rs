//! Plans of builds, compactions, trainings and deduplications: made, done task by task, and
//! committed.

mod commit;
mod compact;
mod dedup;
mod estimate;
mod make;
mod task;
mod train;

pub use commit::{Built, CommitReport, commit_plan};
pub use compact::{commit_compaction, compact_task, plan_compact};
pub use dedup::{commit_dedup, dedup_task, plan_dedup};
pub use estimate::{EstimateOptions, EstimateReport, estimate};
pub use make::{PlanBuildOptions, PlanReport, ShardSplit, plan_build};
pub use task::{TaskOptions, TaskReport, build_task, planned_parts};
pub use train::{ModelCommitReport, commit_model, plan_train, train_task};

use std::path::Path;

use ocelli_index::{Gate, Job, PlanFile};
use serde::Serialize;

use crate::dedup::pairs::DedupReport;
use crate::{Error, LearnOpq, ProgressFn, Result};

/// Does one task of the plan in `path`, of whatever kind.
///
/// # Errors
/// Those of the task; a plan of photos, whose tasks the encoder does.
pub fn run_task(
    path: &Path,
    task: u32,
    options: &TaskOptions,
    learn_opq: LearnOpq<'_>,
    progress: ProgressFn<'_>,
) -> Result<TaskReport> {
    match PlanFile::read(path)?.plan.job {
        Job::Build(_) => build_task(path, task, options, progress),
        Job::Compact(_) => compact_task(path, task, options, progress),
        Job::Train(_) => train_task(path, task, options, learn_opq, progress),
        Job::Dedup(_) => dedup_task(path, task, options, progress),
        Job::Encode(_) => Err(of_the_encoder(path)),
    }
}

/// The result of [`commit`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Commit {
    /// A generation of an index.
    Generation(CommitReport),
    /// A model.
    Model(ModelCommitReport),
    /// Pairs of near rows.
    Pairs(Box<DedupReport>),
}

/// Commits the plan in `path`, of whatever kind. `gate` judges the generation that a build makes.
///
/// # Errors
/// Those of the commit; a plan of photos, which the encoder commits.
pub fn commit(path: &Path, gate: Option<Gate<'_>>, progress: ProgressFn<'_>) -> Result<Commit> {
    match PlanFile::read(path)?.plan.job {
        Job::Build(_) => commit_plan(path, gate).map(Commit::Generation),
        Job::Compact(_) => commit_compaction(path).map(Commit::Generation),
        Job::Train(_) => commit_model(path).map(Commit::Model),
        Job::Dedup(_) => commit_dedup(path, progress).map(Box::new).map(Commit::Pairs),
        Job::Encode(_) => Err(of_the_encoder(path)),
    }
}

fn of_the_encoder(path: &Path) -> Error {
    Error::Invalid(format!(
        "{}: the plan of photos to encode, which ocelli-encoder works on",
        path.display()
    ))
}
