//! `ocelli add` and `ocelli upsert`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::{AddReport, add};

use crate::commands::{ConfigArgs, RowArgs, configure, open_parts};
use crate::output::{OutputArgs, build_stages, counted, print, thousands};
use crate::progress::Bars;

const ADD_EXAMPLE: &str = "\
New photos of a day, under the index's own model; searchers go on:
  ocelli add index/ today.part
Photos that changed, by their keys; rows that had the keys are deleted:
  ocelli upsert index/ changed.part";

#[derive(Args)]
#[command(after_help = ADD_EXAMPLE)]
pub struct AddArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Parts of descriptors, or of codes under the index's model, in the order of their rows
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Number of new files
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    #[command(flatten)]
    pub rows: RowArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Adds rows to an index; with `upsert`, rows of the same key or id make room for them.
pub fn run(args: AddArgs, upsert: bool) -> Result<()> {
    let config = configure(&args.config)?.build;
    let options = args.rows.options(args.shards, &config);
    let parts = open_parts(&args.parts)?;
    let bars = Bars::default();
    let report = add(&parts, &args.index, &options, upsert, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
}

fn text(r: &AddReport) -> String {
    let build = &r.build;
    let mut text = format!(
        "{}: generation {}, {} added in {} of {} bytes, in {:.1} s\nids {} to {}",
        build.index.display(),
        build.generation,
        counted(build.rows, "image"),
        counted(build.shards as u64, "shard"),
        thousands(build.bytes),
        build.seconds,
        build.ids.0,
        build.ids.1,
    );
    if r.superseded > 0 {
        text += &format!("\n{} with their keys or ids deleted", counted(r.superseded, "row"));
    }
    if build.rejected > 0 {
        let first = build.rejected_first.join("; ");
        text += &format!("\n{} left out, the first: {first}", counted(build.rejected, "row"));
    }
    let number = |x: Option<f64>| x.map_or("unknown".to_owned(), |x| format!("{x:.3}"));
    let fit = &r.fit;
    text += &format!(
        "\nfit of the model ({} looked at): quantization error {} (its training: {}), imbalance {} \
         (the index: {})",
        counted(fit.rows as u64, "row"),
        number(fit.error),
        number(fit.error_of_training),
        number(fit.imbalance),
        number(fit.imbalance_of_index)
    );
    text += &build_stages(&build.stage_seconds);
    for warning in &r.warnings {
        text += &format!("\nwarning: {warning}");
    }
    text
}
