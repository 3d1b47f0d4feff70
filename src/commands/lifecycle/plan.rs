//! `ocelli plan`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use ocelli_index::{Estimate, Mode, Model, Part, PlanFile};
use ocelli_indexer::OnDuplicate;
use ocelli_indexer::lifecycle::CompactOptions;
use ocelli_indexer::lifecycle::plan::{
    PlanBuildOptions, PlanReport, ShardSplit, plan_build, plan_compact, plan_dedup, plan_train,
};
use serde::Serialize;

use crate::commands::dedup::args::DedupArgs;
use crate::commands::import::foreign_name;
use crate::commands::lifecycle::estimate::PlanEstimateArgs;
use crate::commands::recipe::RecipeArgs;
use crate::commands::{ConfigArgs, MemoryArgs, PackArgs, configure};
use crate::output::{OutputArgs, counted, print, print_numbers, thousands};
use crate::pass_through::{self, PassThroughArgs};
use crate::progress::Bars;

const PLAN_EXAMPLE: &str = "\
Four shards, by as many processes as there are; then all at once:
  ocelli plan build paris.part distractors.part --model paris.model --index index/ --shards 4 \\
    --memory-budget 4GiB --out paris.plan
  for i in 0 1 2 3; do ocelli build --plan paris.plan --task $i; done
  ocelli commit --plan paris.plan
Slurm and Kubernetes give the number of a task by themselves: see docs/plans.md.";

const TRAIN_EXAMPLE: &str = "\
The model that ocelli train makes by the same flags, on another machine, then in its place:
  ocelli plan train white-regions.part --m 32 --out-model paris.model --out paris-model.plan
  ocelli train --plan paris-model.plan --task 0
  ocelli commit --plan paris-model.plan";

const DEDUP_EXAMPLE: &str = "\
The files that ocelli dedup writes by the same flags, by as many processes as there are:
  ocelli plan dedup index/ --threshold 0.9 --out duplicates/ --tasks 4 --out-plan dedup.plan
  for i in 0 1 2 3; do ocelli task --plan dedup.plan --task $i; done
  ocelli commit --plan dedup.plan";

const SHOW_EXAMPLE: &str = "\
All tasks of any plan, one after the other:
  for i in $(ocelli plan show paris.plan --tasks); do
    ocelli task --plan paris.plan --task $i
  done";

/// The job that is planned.
#[derive(Subcommand)]
pub enum PlanCommand {
    /// Plan the encoding of photos: one task for each part (runs ocelli-encoder; see `ocelli plan
    /// encode --help`)
    #[command(disable_help_flag = true)]
    Encode(PassThroughArgs),
    /// Plan the training of a model: one task
    Train(PlanTrainArgs),
    /// Plan a build: one task for each shard
    Build(PlanBuildArgs),
    /// Plan a compaction: one task for each group of shards that are to be merged
    Compact(PlanCompactArgs),
    /// Plan a deduplication: one task for each range of lists
    Dedup(Box<PlanDedupArgs>),
    /// Show what is in a plan of whatever kind
    Show(PlanShowArgs),
    /// Say what an index of some size would take, before there is any row of it
    Estimate(PlanEstimateArgs),
}

#[derive(Args)]
#[command(after_help = SHOW_EXAMPLE)]
pub struct PlanShowArgs {
    /// The plan
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Print the numbers of its tasks alone, one a line
    #[arg(long)]
    pub tasks: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = TRAIN_EXAMPLE)]
pub struct PlanTrainArgs {
    /// Parts of region vectors or descriptors, of one descriptor spec
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Model file that the commit writes
    #[arg(long, value_name = "FILE")]
    pub out_model: PathBuf,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Threads, 0: one per core; without OPQ the result does not depend on it. With OPQ the task
    /// takes as many as planned [default: 0]
    #[arg(long)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The plan's file
    #[arg(short, long, value_name = "PLAN")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
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

#[derive(Args)]
#[command(after_help = DEDUP_EXAMPLE)]
pub struct PlanDedupArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    #[command(flatten)]
    pub dedup: DedupArgs,
    /// The plan's file
    #[arg(long, value_name = "PLAN")]
    pub out_plan: PathBuf,
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
        PlanCommand::Encode(args) => pass_through::run("ocelli-encoder", Some("plan"), args),
        PlanCommand::Train(args) => train(args),
        PlanCommand::Build(args) => build(args),
        PlanCommand::Compact(args) => compact(args),
        PlanCommand::Dedup(args) => dedup(*args),
        PlanCommand::Show(args) => show(args),
        PlanCommand::Estimate(args) => super::estimate::run(args),
    }
}

fn train(args: PlanTrainArgs) -> Result<()> {
    let config = configure(&args.config)?.train;
    let recipe = args.recipe.recipe(args.threads, &config)?;
    let base = args.recipe.base.as_deref();
    let report = plan_train(&args.parts, base, &recipe, &args.out_model, &args.out)?;
    print(args.output.format, &report, text)
}

/// The facts that `plan show` prints.
#[derive(Serialize)]
struct Shown {
    plan: PathBuf,
    hash: String,
    kind: &'static str,
    program: String,
    tasks: u32,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    parent: Option<u64>,
    memory_budget_bytes: u64,
    estimate: Estimate,
}

fn show(args: PlanShowArgs) -> Result<()> {
    let file = PlanFile::read(&args.plan)?;
    if args.tasks {
        return print_numbers(0..file.plan.tasks());
    }
    let shown = Shown {
        plan: args.plan,
        hash: file.hash.to_string(),
        kind: file.plan.kind(),
        tasks: file.plan.tasks(),
        program: file.plan.program,
        inputs: file.inputs,
        out: file.out,
        parent: file.parent,
        memory_budget_bytes: file.memory_budget_bytes,
        estimate: file.estimate,
    };
    print(args.output.format, &shown, |s| {
        let inputs = counted(s.inputs.len() as u64, "input");
        let first = s.inputs.first().map_or(String::new(), |path| format!(": {}", path.display()));
        format!(
            "{}: to {} into {} in {} (plan {}, Ocelli {})\n{inputs}{first}\n{}",
            s.plan.display(),
            s.kind,
            s.out.display(),
            counted(u64::from(s.tasks), "task"),
            &s.hash[..8],
            s.program,
            estimate_text(&s.estimate)
        )
    })
}

fn dedup(args: PlanDedupArgs) -> Result<()> {
    let bars = Bars::default();
    let options = args.dedup.options(&args.index)?;
    let report = plan_dedup(&options, &args.out_plan, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
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
    format!(
        "{}: to {} {} in {} (plan {})\n{}{rejected}",
        r.plan.display(),
        r.kind,
        counted(r.rows, "row"),
        counted(u64::from(r.tasks), "task"),
        &r.hash[..8],
        estimate_text(&r.estimate)
    )
}

/// One line of what a plan is expected to take.
fn estimate_text(e: &Estimate) -> String {
    // Nobody knows what a network takes on the machine of a task.
    if e.seconds == 0 {
        return format!("predicted: {} bytes", thousands(e.disk_bytes));
    }
    format!(
        "predicted: {} bytes, up to {} more while a task runs, {} MiB of memory a task, {} s of \
         all tasks one after the other on this machine",
        thousands(e.disk_bytes),
        thousands(e.work_bytes),
        thousands(e.memory_bytes >> 20),
        thousands(e.seconds),
    )
}
