//! `ocelli plan`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use ocelli_index::{Mode, Model, Part};
use ocelli_indexer::OnDuplicate;
use ocelli_indexer::lifecycle::CompactOptions;
use ocelli_indexer::lifecycle::plan::{
    PlanBuildOptions, PlanReport, ShardSplit, plan_build, plan_compact,
};

use crate::commands::import::foreign_name;
use crate::commands::lifecycle::estimate::PlanEstimateArgs;
use crate::commands::{MemoryArgs, PackArgs};
use crate::output::{OutputArgs, counted, print, thousands};

const PLAN_EXAMPLE: &str = "\
Four shards, by as many processes as there are; then all at once:
  ocelli plan build paris.part distractors.part --model paris.model --index index/ --shards 4 \\
    --memory-budget 4GiB --out paris.plan
  for i in 0 1 2 3; do ocelli build --plan paris.plan --task $i; done
  ocelli commit --plan paris.plan
Slurm and Kubernetes give the number of a task by themselves: see docs/plans.md.";

/// The job that is planned.
#[derive(Subcommand)]
pub enum PlanCommand {
    /// Plan a build: one task for each shard
    Build(PlanBuildArgs),
    /// Plan a compaction: one task for each group of shards that are to be merged
    Compact(PlanCompactArgs),
    /// Say what an index of some size would take, before there is any row of it
    Estimate(PlanEstimateArgs),
}

#[derive(Args)]
pub struct PlanCompactArgs {
    /// Index directory
    #[arg(long, value_name = "DIR")]
    pub index: PathBuf,
    /// Merge all shards into one, without any deleted row
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// The plan's file
    #[arg(short, long, value_name = "PLAN")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// [`Mode`] on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    #[default]
    Replace,
    Add,
    Upsert,
}

impl ModeArg {
    fn mode(self) -> Mode {
        match self {
            Self::Replace => Mode::Replace,
            Self::Add => Mode::Add,
            Self::Upsert => Mode::Upsert,
        }
    }
}

#[derive(Args)]
#[command(after_help = PLAN_EXAMPLE)]
pub struct PlanBuildArgs {
    /// Parts of descriptors or codes, in the order of their rows; with --spec, also files of
    /// vectors (.fvecs, .bvecs, .npy, .fbin, .u8bin)
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// The trained model
    #[arg(long, value_name = "FILE", required_unless_present = "pack", conflicts_with = "pack")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub pack: PackArgs,
    /// Your name for what made the vectors in files of other programs
    #[arg(long, value_name = "foreign:NAME", value_parser = foreign_name)]
    pub spec: Option<String>,
    /// Index directory, made if it is missing
    #[arg(long, value_name = "DIR")]
    pub index: PathBuf,
    /// Number of shards, and so of tasks [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "rows_per_shard")]
    pub shards: Option<usize>,
    /// Most rows of a shard, in place of the number of shards
    #[arg(long, value_name = "N")]
    pub rows_per_shard: Option<usize>,
    /// Threads of each task, by which its memory and time are judged; 0: one per core of this
    /// machine
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// The fate of the rows that the index has: replaced by the new ones; kept beside them; kept
    /// but for those that have the key or id of a new one
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub mode: ModeArg,
    /// What to do with a row whose key or id an earlier row has
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub on_duplicate: OnDuplicate,
    /// The plan's file
    #[arg(short, long, value_name = "PLAN")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Makes a plan.
pub fn run(command: PlanCommand) -> Result<()> {
    match command {
        PlanCommand::Build(args) => build(args),
        PlanCommand::Compact(args) => compact(args),
        PlanCommand::Estimate(args) => super::estimate::run(args),
    }
}

fn compact(args: PlanCompactArgs) -> Result<()> {
    let options = CompactOptions { all: args.all, memory_budget_bytes: args.memory.bytes() };
    let report = plan_compact(&args.index, &options, &args.out)?;
    print(args.output.format, &report, text)
}

fn build(args: PlanBuildArgs) -> Result<()> {
    let pack = args.pack.open()?;
    let opened = args.model.as_deref().map(Model::open).transpose()?;
    let model = match (&pack, &opened, args.parts.first()) {
        (Some(pack), _, Some(part)) => {
            let part = Part::open(part)?;
            pack.variant_of(part.spec(), args.pack.code_bytes)?.model()
        }
        (None, Some(model), _) => model,
        // The argument parser demands a part, and one of the two.
        _ => bail!("expected --model or --pack"),
    };
    let split = match args.rows_per_shard {
        Some(rows) => ShardSplit::RowsPerShard(rows),
        None => ShardSplit::Shards(args.shards.unwrap_or(1)),
    };
    let options = PlanBuildOptions {
        split,
        threads: args.threads,
        memory_budget_bytes: args.memory.bytes(),
        on_duplicate: args.on_duplicate,
        mode: args.mode.mode(),
        spec_name: args.spec,
    };
    let report = plan_build(&args.parts, model, &args.index, &options, &args.out)?;
    print(args.output.format, &report, text)
}

fn text(r: &PlanReport) -> String {
    let rejected = match r.rejected {
        0 => String::new(),
        n => format!(
            "\n{} {} left out, the first: {}",
            counted(n, "row"),
            if n == 1 { "is" } else { "are" },
            r.rejected_first.join("; ")
        ),
    };
    let e = &r.estimate;
    format!(
        "{}: to {} {} in {} (plan {})\n\
         predicted: {} bytes, up to {} more while a task runs, {} MiB of memory a task, {} s of \
         all tasks one after the other on this machine{rejected}",
        r.plan.display(),
        r.kind,
        counted(r.rows, "row"),
        counted(u64::from(r.tasks), "task"),
        &r.hash[..8],
        thousands(e.disk_bytes),
        thousands(e.work_bytes),
        thousands(e.memory_bytes >> 20),
        thousands(e.seconds),
    )
}
