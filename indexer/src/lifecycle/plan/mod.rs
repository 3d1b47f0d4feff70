//! Plans of builds: made, done task by task, and committed.

mod commit;
mod make;
mod task;

pub use commit::{CommitReport, commit_plan};
pub use make::{PlanBuildOptions, PlanReport, ShardSplit, plan_build};
pub use task::{TaskOptions, TaskReport, build_task};
