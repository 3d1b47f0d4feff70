//! `ocelli train`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::{Hash, Model};
use ocelli_indexer::lifecycle::plan::TaskOptions;
use ocelli_indexer::{RecipeReport, TrainReport};
use serde::Serialize;

use super::recipe::{RecipeArgs, learn_opq};
use super::{ConfigArgs, check_out, configure, file_bytes, open_parts};
use crate::commands::lifecycle::task::do_task;
use crate::output::{OutputArgs, print, stages, thousands};
use crate::progress::Bars;

const TRAIN_EXAMPLE: &str = "\
Training needs 39 rows for each codeword (9,984) and for each list. Train on vectors that evaluation
does not use. For a small collection take its region vectors, about twenty a photo:
  ocelli train white-regions.part --m 32 --out paris.model
Codes of 16 bytes to scan, and 32 bytes more to score the best again:
  ocelli train white-regions.part --m 16 --fine-codes pq32 --out paris.model
The task of a plan (see ocelli plan train):
  ocelli train --plan paris.plan --task 0";

#[derive(Args)]
#[command(after_help = TRAIN_EXAMPLE)]
pub struct TrainArgs {
    /// Parts of region vectors or descriptors, of one descriptor spec
    #[arg(required_unless_present = "plan", value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Model file to write
    #[arg(long, value_name = "FILE", required_unless_present = "plan")]
    pub out: Option<PathBuf>,
    /// Make the model of a plan, which says everything but threads, and leave its place to ocelli
    /// commit
    #[arg(
        long,
        value_name = "PLAN",
        conflicts_with_all = ["parts", "out", "RecipeArgs"]
    )]
    pub plan: Option<PathBuf>,
    /// The plan's task, which is 0 [default: that of SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX]
    #[arg(long, value_name = "I", requires = "plan")]
    pub task: Option<u32>,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Threads, 0: one per core; without OPQ the result does not depend on it [default: 0]
    #[arg(long)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Serialize)]
struct Report {
    path: PathBuf,
    hash: Hash,
    bytes: u64,
    #[serde(flatten)]
    made: RecipeReport,
}

/// Trains and writes a model; or does the task of a plan.
pub fn run(args: TrainArgs) -> Result<()> {
    let config = configure(&args.config)?.train;
    if let Some(plan) = &args.plan {
        let threads = args.threads.unwrap_or(config.threads);
        let options = TaskOptions { threads, memory_budget_bytes: None };
        return do_task(plan, args.task, &options, args.output.format);
    }
    let Some(out) = args.out else { bail!("expected --out") };
    check_out(&out)?;
    let recipe = args.recipe.recipe(args.threads, &config)?;
    let parts = open_parts(&args.parts)?;
    let base = args.recipe.base.as_deref().map(Model::open).transpose()?;
    let bars = Bars::default();
    let (model, made) = recipe.make(&parts, base, &learn_opq, &|p| bars.report(p))?;
    drop(bars);
    model.write(&out)?;
    let bytes = file_bytes(&out)?;
    let report = Report { path: out, hash: model.hash(), bytes, made };
    print(args.output.format, &report, text)
}

fn text(report: &Report) -> String {
    let mut text = match &report.made.trained {
        Some(trained) => model_text(report, trained),
        None => format!(
            "{}: the model as it was, with finer codes; {} bytes",
            report.path.display(),
            thousands(report.bytes)
        ),
    };
    if let Some(r) = &report.made.fine_codes {
        text += &match r.mse {
            Some(mse) => format!(
                "\nfiner codes {} of {} bytes, from {} rows in {:.1} s; mean squared error {} \
                 after them",
                r.name,
                r.code_bytes,
                thousands(r.rows as u64),
                r.seconds,
                error_text(mse)
            ),
            None => format!("\nthe best of a scan are scored again by the {}", r.name),
        };
    }
    text + &format!("\nhash {}", report.hash)
}

fn model_text(report: &Report, t: &TrainReport) -> String {
    let mut text = format!(
        "{}: {} list{}{}, {} bytes per code, {} dimensions{}{}; {} bytes\n\
         trained on {} of {} rows{} in {:.1} s ({})\n\
         mean squared error {} after the coarse centroid, {} after the code",
        report.path.display(),
        thousands(t.nlist as u64),
        if t.nlist == 1 { "" } else { "s" },
        if t.nlist_auto { " (auto)" } else { "" },
        t.code_bytes,
        t.d,
        match t.variance_kept {
            Some(kept) => format!(" of {} ({:.1} % of the variance)", t.dim, 100.0 * kept),
            None => String::new(),
        },
        if t.opq { ", rotated (OPQ)" } else { "" },
        thousands(report.bytes),
        thousands(t.rows as u64),
        thousands(t.rows_available as u64),
        match t.rows - t.rows_distinct {
            0 => String::new(),
            copies => format!(" ({} of them are copies of others)", thousands(copies as u64)),
        },
        t.seconds,
        stages(t.stage_seconds.iter().copied()),
        error_text(t.mse_coarse),
        error_text(t.mse),
    );
    for reason in &t.reasons {
        text += &format!("\n  {reason}");
    }
    for warning in &t.warnings {
        text += &format!("\nwarning: {warning}");
    }
    text
}

/// A squared error with four digits that count, whatever the scale of the vectors is.
fn error_text(error: f64) -> String {
    match error {
        e if e == 0.0 || (0.01..1e6).contains(&e) => format!("{e:.4}"),
        e => format!("{e:.4e}"),
    }
}
