//! `ocelli build`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::{CommitOptions, Gate, Generation, IndexDir, Model};
use ocelli_indexer::lifecycle::change::made_by;
use ocelli_indexer::lifecycle::plan::TaskOptions;
use ocelli_indexer::lifecycle::recall::RecallGate;
use ocelli_indexer::{BuildOptions, BuildReport, build_as};

use super::lifecycle::recall::{GateArgs, gate_text};
use super::{ConfigArgs, PackArgs, RowArgs, configure, open_parts};
use crate::commands::lifecycle::task::do_task;
use crate::output::{OutputArgs, build_stages, counted, print, thousands};
use crate::progress::Bars;

const BUILD_EXAMPLE: &str = "\
The directory is created, or gets a new generation that replaces the current one. Until then, and
if the build fails, searchers keep what they have:
  ocelli build paris.part distractors.part --model paris.model --out index/ --shards 2
One shard of a plan (see ocelli plan):
  ocelli build --plan paris.plan --task 3";

#[derive(Args)]
#[command(after_help = BUILD_EXAMPLE)]
pub struct BuildArgs {
    /// Parts of descriptors, in the order of their rows. Rows without ids get new ones at each
    /// build, larger than any that the index ever had: keep keys, or give ids when encoding
    #[arg(required_unless_present = "plan", value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// The trained model
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["pack", "plan"],
        conflicts_with = "pack"
    )]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub pack: PackArgs,
    /// Index directory
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    pub out: Option<PathBuf>,
    /// Build one shard of a plan, which says everything but threads and memory
    #[arg(
        long,
        value_name = "PLAN",
        conflicts_with_all = ["parts", "model", "pack", "out", "shards", "dba", "on_duplicate"]
    )]
    pub plan: Option<PathBuf>,
    /// The plan's task, from 0 [default: that of SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX]
    #[arg(long, value_name = "I", requires = "plan")]
    pub task: Option<u32>,
    /// Number of files of the index [default: 1]
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    /// Replace each descriptor by a weighted mean of itself and its K nearest before it is coded
    /// (database-side augmentation); 0: leave them as they are [default: 0]
    #[arg(long, value_name = "K")]
    pub dba: Option<usize>,
    #[command(flatten)]
    pub rows: RowArgs,
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Builds an index, or a new generation of one; or one shard of a plan.
pub fn run(args: BuildArgs) -> Result<()> {
    let config = configure(&args.config)?.build;
    if let Some(plan) = &args.plan {
        let options = TaskOptions {
            threads: args.rows.threads.unwrap_or(config.threads),
            memory_budget_bytes: args.rows.memory.memory_budget,
        };
        return do_task(plan, args.task, &options, args.output.format);
    }
    let options = BuildOptions {
        dba: args.dba.unwrap_or(config.dba),
        ..args.rows.options(args.shards.unwrap_or(config.shards), &config)
    };
    let parts = open_parts(&args.parts)?;
    let pack = args.pack.open()?;
    let opened = args.model.as_deref().map(Model::open).transpose()?;
    let model = match (&pack, &opened, parts.first()) {
        (Some(pack), _, Some(part)) => pack.variant_of(part.spec(), args.pack.code_bytes)?.model(),
        (None, Some(model), _) => model,
        // The argument parser demands a part, and one of the two.
        _ => bail!("expected --model or --pack"),
    };
    let Some(out) = &args.out else { bail!("expected --out") };
    let bars = Bars::default();
    let gate = args.gate.gate(&parts, options.memory_budget_bytes)?;
    let judge = gate.as_ref().map(|gate| |dir: &IndexDir, g: &Generation| gate.judge(dir, g));
    let settings = [("shards", options.shards.to_string()), ("dba", options.dba.to_string())];
    let commit = CommitOptions {
        made_by: Some(made_by("build", &settings)),
        gate: judge.as_ref().map(|judge| judge as Gate<'_>),
    };
    let report = build_as(&parts, model, out, &options, commit, &|p| bars.report(p))?;
    drop(bars);
    let measured = gate.as_ref().and_then(RecallGate::measured);
    print(args.output.format, &report, |r| text(r) + &gate_text(measured.as_ref()))
}

fn text(r: &BuildReport) -> String {
    let augmented = match r.dba {
        Some(dba) => format!(
            "\neach descriptor augmented by its {} nearest ({})",
            dba.k,
            if dba.exact { "exact" } else { "as an index finds them" }
        ),
        None => String::new(),
    };
    let rejected = match r.rejected {
        0 => String::new(),
        n => format!(
            "\n{} {} left out, the first: {}",
            counted(n, "row"),
            if n == 1 { "was" } else { "were" },
            r.rejected_first.join("; ")
        ),
    };
    format!(
        "{}: generation {} of {} in {}, in {:.1} s\n\
         ids {} to {}{}\n\
         {} bytes, {:.1} per image (codes {}{}); the model's {} bytes beside \
         it{augmented}{rejected}{}",
        r.index.display(),
        r.generation,
        counted(r.rows, "image"),
        counted(r.shards as u64, "shard"),
        r.seconds,
        r.ids.0,
        r.ids.1,
        if r.ids_given { ", given by this build: another build gives others" } else { "" },
        thousands(r.bytes),
        r.bytes_per_image,
        r.code_bytes,
        if r.fine_bytes > 0 { format!(", finer {}", r.fine_bytes) } else { String::new() },
        thousands(r.model_bytes),
        build_stages(&r.stage_seconds),
    )
}
