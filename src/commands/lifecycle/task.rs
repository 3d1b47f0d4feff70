//! `ocelli task`, and one task of a plan for every command that does some.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::{Job, Plan, PlanFile, task_number};
use ocelli_indexer::lifecycle::plan::{TaskOptions, TaskReport, run_task};

use crate::commands::bytes;
use crate::commands::recipe::learn_opq;
use crate::output::{Format, OutputArgs, build_stages, counted, print, thousands};
use crate::pass_through::{self, PassThroughArgs};
use crate::progress::JobProgress;

const TASK_EXAMPLE: &str = "\
Task 3 of a plan, whatever its kind is:
  ocelli task --plan paris.plan --task 3
In a job array, which gives the number:
  ocelli task --plan paris.plan";

#[derive(Args)]
#[command(after_help = TASK_EXAMPLE)]
pub struct TaskArgs {
    /// The plan
    #[arg(long, value_name = "PLAN")]
    pub plan: PathBuf,
    /// The plan's task, from 0 [default: that of SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX]
    #[arg(long, value_name = "I")]
    pub task: Option<u32>,
    /// Threads, 0: one per core; the result does not depend on it. A compaction takes one whatever
    /// is said
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Memory that the task may take, such as 4GiB; of builds, compactions and deduplications
    /// [default: what the plan says]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub memory_budget: Option<usize>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Does one task of a plan of whatever kind.
pub fn run(args: TaskArgs) -> Result<()> {
    let options = TaskOptions { threads: args.threads, memory_budget_bytes: args.memory_budget };
    do_task(&args.plan, args.task, &options, args.output.format)
}

/// Does the task of a plan that is given, or that a scheduler gives, and prints what came of it.
pub fn do_task(
    plan: &Path,
    task: Option<u32>,
    options: &TaskOptions,
    format: Format,
) -> Result<()> {
    let file = PlanFile::read(plan)?;
    let task = task_number(task, |name| std::env::var(name).ok(), file.plan.tasks())?;
    if options.memory_budget_bytes.is_some() {
        require_budget(&file.plan)?;
    }
    if matches!(file.plan.job, Job::Encode(_)) {
        let task = task.to_string();
        let mut words = vec!["--plan".into(), plan.into(), "--task".into(), task.into()];
        if options.threads > 0 {
            words.extend(["--workers".into(), options.threads.to_string().into()]);
        }
        return encoder("encode", words, format);
    }
    let told = JobProgress::new();
    let report = run_task(plan, task, options, &learn_opq, &|p| told.report(p))?;
    drop(told);
    print(format, &report, text)
}

/// Refuses a budget of memory for tasks that have none.
fn require_budget(plan: &Plan) -> Result<()> {
    match plan.job {
        Job::Build(_) | Job::Compact(_) | Job::Dedup(_) => Ok(()),
        Job::Encode(_) | Job::Train(_) => bail!(
            "--memory-budget: expected the plan of a build, a compaction or a deduplication, found \
             one to {}, whose tasks have none: leave it out",
            plan.kind()
        ),
    }
}

/// Becomes `ocelli-encoder subcommand words…`.
pub fn encoder(subcommand: &str, mut words: Vec<OsString>, format: Format) -> Result<()> {
    let format = match format {
        Format::Text => "text",
        Format::Json => "json",
    };
    words.extend(["--format".into(), format.into()]);
    pass_through::run("ocelli-encoder", Some(subcommand), PassThroughArgs { args: words })
}

fn text(r: &TaskReport) -> String {
    let made = match (&r.shard, &r.model) {
        _ if r.pairs.is_some() => counted(r.pairs.unwrap_or(0), "pair"),
        (Some(shard), _) => {
            format!("{shard} of {}, {} bytes", counted(r.rows, "row"), thousands(r.bytes))
        }
        (None, Some(model)) => format!("model {model}, {} bytes", thousands(r.bytes)),
        (None, None) => "no shard, since all of its rows are left out".to_owned(),
    };
    format!(
        "{}: task {} of 0 to {}: {made}, in {:.1} s{}",
        r.plan.display(),
        r.task,
        r.tasks - 1,
        r.seconds,
        build_stages(&r.stage_seconds),
    )
}

#[cfg(test)]
mod tests {
    use ocelli_index::{CompactJob, JobSettings, TrainJob};

    use super::*;

    #[test]
    fn a_task_without_a_budget_refuses_one() {
        let job = TrainJob { inputs: Vec::new(), base: None, settings: JobSettings::default() };
        let error = require_budget(&Plan::new(Job::Train(job))).unwrap_err().to_string();
        assert!(error.contains("--memory-budget") && error.contains("one to train"), "{error}");
        let job = CompactJob { generation: 1, groups: Vec::new() };
        require_budget(&Plan::new(Job::Compact(job))).unwrap();
    }
}
