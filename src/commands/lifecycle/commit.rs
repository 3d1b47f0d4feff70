//! `ocelli commit`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::{Gate, Generation, IndexDir, Job, Mode, Part, PlanFile};
use ocelli_indexer::lifecycle::plan::{Commit, commit, planned_parts};
use ocelli_indexer::lifecycle::recall::RecallGate;
use ocelli_indexer::memory::keep_to;

use super::recall::{GateArgs, gate_text};
use super::task::encoder;
use crate::commands::MemoryArgs;
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::JobProgress;

const COMMIT_EXAMPLE: &str = "\
When all tasks of a plan have ended, whatever its kind is:
  ocelli commit --plan paris.plan
Unless the new generation finds too little:
  ocelli commit --plan paris.plan --min-recall 0.9";

#[derive(Args)]
#[command(after_help = COMMIT_EXAMPLE)]
pub struct CommitArgs {
    /// The plan
    #[arg(long, value_name = "PLAN")]
    pub plan: PathBuf,
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Makes what the tasks of a plan have made valid: shards the current generation, a model the one
/// in its place.
pub fn run(args: CommitArgs) -> Result<()> {
    let file = PlanFile::read(&args.plan)?;
    let parts = match args.gate.min_recall {
        Some(_) => parts_of(&file)?,
        None => Vec::new(),
    };
    if matches!(file.plan.job, Job::Encode(_)) {
        return encoder("commit", vec!["--plan".into(), args.plan.into()], args.output.format);
    }
    let _limit = keep_to(args.memory.bytes(), 0, "the commit")?;
    let gate = args.gate.gate(&parts, args.memory.bytes())?;
    let judge = gate.as_ref().map(|gate| |dir: &IndexDir, g: &Generation| gate.judge(dir, g));
    let told = JobProgress::new();
    let judge = judge.as_ref().map(|judge| judge as Gate<'_>);
    let report = commit(&args.plan, judge, &|p| told.report(p))?;
    drop(told);
    let measured = gate.as_ref().and_then(RecallGate::measured);
    print(args.output.format, &report, |r| text(r) + &gate_text(measured.as_ref()))
}

/// The inputs of a plan that makes the whole index of parts.
fn parts_of(file: &PlanFile) -> Result<Vec<Part>> {
    let Job::Build(job) = &file.plan.job else {
        bail!("--min-recall is for builds: expected the plan of one, found {}", file.plan.kind());
    };
    if job.mode != Mode::Replace || job.inputs.iter().any(|input| input.spec.is_some()) {
        bail!(
            "--min-recall needs the vectors of all rows of the index: expected a plan that \
             replaces it, of parts; `ocelli recall` measures an index by any parts"
        );
    }
    Ok(planned_parts(file)?)
}

fn text(commit: &Commit) -> String {
    let again = |was_committed| match was_committed {
        true => "; the plan had been committed before",
        false => "",
    };
    match commit {
        Commit::Generation(r) => format!(
            "{}: generation {} of {} in {}, {} bytes; the plan built {} in {}, {} bytes{}",
            r.index.display(),
            r.generation,
            counted(r.rows, "row"),
            counted(r.shards as u64, "shard"),
            thousands(r.bytes),
            counted(r.built.rows, "row"),
            counted(r.built.shards as u64, "shard"),
            thousands(r.built.bytes),
            again(r.was_committed)
        ),
        Commit::Pairs(r) => crate::commands::dedup::text(r),
        Commit::Model(r) => format!(
            "{}: model {}, {} bytes{}",
            r.model.display(),
            r.hash,
            thousands(r.bytes),
            again(r.was_committed)
        ),
    }
}
