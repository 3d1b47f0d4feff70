//! `ocelli compact`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_indexer::lifecycle::plan::TaskOptions;
use ocelli_indexer::lifecycle::{CompactOptions, CompactReport, compact};

use crate::commands::MemoryArgs;
use crate::commands::lifecycle::task::do_task;
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::Bars;

const COMPACT_EXAMPLE: &str = "\
After additions and deletions: at most four small shards stay beside the large ones, and shards of
which a fifth is deleted are written again:
  ocelli compact index/
One shard without deleted rows:
  ocelli compact index/ --all";

#[derive(Args)]
#[command(after_help = COMPACT_EXAMPLE)]
pub struct CompactArgs {
    /// Index directory
    #[arg(value_name = "INDEX", required_unless_present = "plan")]
    pub index: Option<PathBuf>,
    /// Merge all shards into one, and drop every deleted row
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Merge the shards of one group of a plan (see ocelli plan compact), and leave the commit to
    /// ocelli commit
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["index", "all"])]
    pub plan: Option<PathBuf>,
    /// The plan's task, from 0 [default: that of SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX]
    #[arg(long, value_name = "I", requires = "plan")]
    pub task: Option<u32>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Merges the small shards of an index.
pub fn run(args: CompactArgs) -> Result<()> {
    if let Some(plan) = &args.plan {
        let options = TaskOptions { threads: 0, memory_budget_bytes: args.memory.memory_budget };
        return do_task(plan, args.task, &options, args.output.format);
    }
    let Some(index) = &args.index else { bail!("expected an index directory") };
    let options = CompactOptions { all: args.all, memory_budget_bytes: args.memory.bytes() };
    let bars = Bars::default();
    let report = compact(index, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
}

fn text(r: &CompactReport) -> String {
    let (index, shards) = (r.index.display(), counted(r.shards as u64, "shard"));
    if r.merged == 0 {
        return format!("{index}: nothing to do: generation {} of {shards}", r.generation);
    }
    format!(
        "{index}: generation {} of {shards}, in {:.1} s\n{} merged into {}: {} copied, {} dropped\n\
         {} bytes read, {} written",
        r.generation,
        r.seconds,
        counted(r.merged as u64, "shard"),
        r.written,
        counted(r.rows, "row"),
        thousands(r.dropped),
        thousands(r.bytes_read),
        thousands(r.bytes_written)
    )
}
