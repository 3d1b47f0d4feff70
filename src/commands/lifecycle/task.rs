//! One task of a plan, for every command that does some.

use std::path::Path;

use anyhow::Result;
use ocelli_index::{PlanFile, task_number};
use ocelli_indexer::lifecycle::plan::{TaskOptions, TaskReport, run_task};

use crate::output::{Format, build_stages, counted, print, thousands};
use crate::progress::Bars;

/// Does the task of a plan that is given, or that a scheduler gives, and prints what came of it.
pub fn do_task(
    plan: &Path,
    task: Option<u32>,
    options: &TaskOptions,
    format: Format,
) -> Result<()> {
    let tasks = PlanFile::read(plan)?.plan.tasks();
    let task = task_number(task, |name| std::env::var(name).ok(), tasks)?;
    let bars = Bars::default();
    let report = run_task(plan, task, options, &|p| bars.report(p))?;
    drop(bars);
    print(format, &report, text)
}

fn text(r: &TaskReport) -> String {
    let shard = match &r.shard {
        Some(shard) => {
            format!("{shard} of {}, {} bytes", counted(r.rows, "row"), thousands(r.bytes))
        }
        None => "no shard, since all of its rows are left out".to_owned(),
    };
    format!(
        "{}: task {} of 0 to {}: {shard}, in {:.1} s{}",
        r.plan.display(),
        r.task,
        r.tasks - 1,
        r.seconds,
        build_stages(&r.stage_seconds),
    )
}
