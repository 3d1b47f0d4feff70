//! `ocelli commit`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::plan::{CommitReport, commit};

use crate::output::{OutputArgs, counted, print, thousands};

const COMMIT_EXAMPLE: &str = "\
When all tasks of a plan have ended:
  ocelli commit --plan paris.plan";

#[derive(Args)]
#[command(after_help = COMMIT_EXAMPLE)]
pub struct CommitArgs {
    /// The plan
    #[arg(long, value_name = "PLAN")]
    pub plan: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Makes what the tasks of a plan have built the current generation.
pub fn run(args: CommitArgs) -> Result<()> {
    let report = commit(&args.plan, None)?;
    print(args.output.format, &report, text)
}

fn text(r: &CommitReport) -> String {
    format!(
        "{}: generation {} of {} in {}, {} bytes{}",
        r.index.display(),
        r.generation,
        counted(r.rows, "row"),
        counted(r.shards as u64, "shard"),
        thousands(r.bytes),
        if r.was_committed { "; the plan had been committed before" } else { "" },
    )
}
