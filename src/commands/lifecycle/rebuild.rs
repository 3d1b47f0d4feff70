//! `ocelli rebuild`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_index::{Gate, Generation, IndexDir, Model};
use ocelli_indexer::lifecycle::recall::RecallGate;
use ocelli_indexer::lifecycle::{RebuildReport, rebuild_gated};

use super::recall::{GateArgs, gate_text};
use crate::commands::{ConfigArgs, RowArgs, configure, open_parts};
use crate::output::{OutputArgs, build_stages, counted, print, thousands};
use crate::progress::Bars;

const REBUILD_EXAMPLE: &str = "\
Under a new model, of all parts; what was deleted stays deleted:
  ocelli rebuild index/ all.part --model new.model
Without parts, of the vectors that the codes of the index stand for:
  ocelli rebuild index/ --model new.model";

#[derive(Args)]
#[command(after_help = REBUILD_EXAMPLE)]
pub struct RebuildArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Parts of descriptors, in the order of their rows; none: the index's own vectors
    #[arg(value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// The new model
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Bring rows back that were deleted, if the parts have them
    #[arg(long)]
    pub forget_deletes: bool,
    /// Number of files of the index [default: 1]
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    #[command(flatten)]
    pub rows: RowArgs,
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Makes an index anew under another model.
pub fn run(args: RebuildArgs) -> Result<()> {
    let config = configure(&args.config)?.build;
    let options = args.rows.options(args.shards.unwrap_or(config.shards), &config);
    let parts = open_parts(&args.parts)?;
    let model = Model::open(&args.model)?;
    let (index, forget) = (&args.index, args.forget_deletes);
    let gate = args.gate.gate(&parts, options.memory_budget_bytes)?;
    let judge = gate.as_ref().map(|gate| |dir: &IndexDir, g: &Generation| gate.judge(dir, g));
    let judge = judge.as_ref().map(|judge| judge as Gate<'_>);
    let bars = Bars::default();
    let report =
        rebuild_gated(&parts, &model, index, &options, forget, judge, &|p| bars.report(p))?;
    drop(bars);
    let measured = gate.as_ref().and_then(RecallGate::measured);
    print(args.output.format, &report, |r| text(r) + &gate_text(measured.as_ref()))
}

fn text(r: &RebuildReport) -> String {
    let build = &r.build;
    let mut text = format!(
        "{}: generation {} of {} in {}, {} bytes, in {:.1} s",
        build.index.display(),
        build.generation,
        counted(build.rows, "image"),
        counted(build.shards as u64, "shard"),
        thousands(build.bytes),
        build.seconds
    );
    text += &build_stages(&build.stage_seconds);
    if r.left_out_deleted > 0 {
        text += &format!(
            "\n{} left out, since they were deleted; --forget-deletes brings them back",
            counted(r.left_out_deleted, "row")
        );
    }
    for warning in &r.warnings {
        text += &format!("\nwarning: {warning}");
    }
    text
}
