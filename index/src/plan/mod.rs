//! Plans: what a job will do, fixed before it begins, so that any number of processes can do it.
//!
//! A [`Plan`] says everything that decides the result, and its hash names the result. Where the
//! inputs lie, and how much memory there is, stands beside it in the [`PlanFile`]: a plan moves
//! with its files. A plan consists of tasks, numbered from 0, which may run in any order, at once,
//! and again. Each leaves a [`TaskRecord`]; when all are there, the plan can be committed.

mod file;
mod job;
mod record;
mod settings;
mod task;
#[cfg(test)]
mod tests;

pub use file::{Estimate, PlanFile};
pub use job::{
    BuildJob, CompactJob, DedupIndex, DedupJob, EncodeJob, Job, Mode, Plan, PlanInput, TrainJob,
};
pub use record::{MadeModel, MadePairs, PlanMark, TaskRecord, WorkArea};
pub use settings::JobSettings;
pub use task::{JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, task_number};
