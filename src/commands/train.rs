//! `ocelli train`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use ocelli_index::{Hash, Model};
use ocelli_indexer::{
    BoxError, OpqRows, RefineOptions, RefineReport, TrainOptions, TrainReport, train,
    train_refinement,
};
use ocelli_quantizer::OpqOptions;
use serde::Serialize;

use super::{check_out, configure, file_bytes, open_parts};
use crate::cli::TrainArgs;
use crate::output::{print, thousands};
use crate::progress::Bars;

#[derive(Serialize)]
struct Report {
    path: PathBuf,
    hash: Hash,
    bytes: u64,
    /// None where a model was taken as it was.
    #[serde(flatten)]
    trained: Option<TrainReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refinement: Option<RefineReport>,
}

/// Trains and writes a model.
pub fn run(args: TrainArgs) -> Result<()> {
    let config = configure(&args.config)?.train;
    check_out(&args.out)?;
    let options = TrainOptions {
        nlist: args.nlist.unwrap_or(config.nlist),
        m: args.m.unwrap_or(config.m),
        ksub: ksub_of(args.bits.unwrap_or(config.bits))?,
        pca: args.pca.unwrap_or(config.pca),
        renormalize: args.renormalize.unwrap_or(config.renormalize),
        coarse: args.coarse.map_or(config.coarse, Into::into),
        metric: args.metric.map_or(config.metric, Into::into).metric(),
        opq: args.opq.or(config.opq.opq()),
        opq_niter: args.opq_niter.unwrap_or(config.opq_niter),
        niter: args.niter.unwrap_or(config.niter),
        seed: args.seed.unwrap_or(config.seed),
        threads: args.threads.unwrap_or(config.threads),
        max_rows: args.max_rows.unwrap_or(config.max_rows),
        force: args.force,
    };
    let parts = open_parts(&args.parts)?;
    let bars = Bars::default();
    let (mut model, trained) = match &args.base {
        Some(base) => (Model::open(base)?, None),
        None => {
            let (model, report) = train(&parts, &options, &learn_opq, &|p| bars.report(p))?;
            (model, Some(report))
        }
    };
    let mut refinement = None;
    if let Some(choice) = args.refine {
        let TrainOptions { niter, seed, threads, force, .. } = options;
        let options = RefineOptions { choice, niter, seed, threads, force };
        let (refined, report) = train_refinement(&parts, model, &options, &|p| bars.report(p))?;
        (model, refinement) = (refined, Some(report));
    }
    drop(bars);
    model.write(&args.out)?;
    let bytes = file_bytes(&args.out)?;
    let report = Report { path: args.out, hash: model.hash(), bytes, trained, refinement };
    print(args.output.format, &report, text)
}

/// The rotation of OPQ, by FAISS.
fn learn_opq(rows: OpqRows<'_>) -> Result<Vec<f32>, BoxError> {
    let OpqRows { x, d, m, niter, threads } = rows;
    let options = OpqOptions { niter, ..OpqOptions::default() };
    Ok(ocelli_quantizer::opq(x, d, m, threads, &options)?)
}

fn ksub_of(bits: usize) -> Result<usize> {
    match bits {
        4 | 8 => Ok(1 << bits),
        other => bail!("bits of a codeword: expected 8 or 4, found {other}"),
    }
}

fn text(report: &Report) -> String {
    let mut text = match &report.trained {
        Some(trained) => model_text(report, trained),
        None => format!(
            "{}: the model as it was, with finer codes; {} bytes",
            report.path.display(),
            thousands(report.bytes)
        ),
    };
    if let Some(r) = &report.refinement {
        text += &format!(
            "\nfiner codes {} of {} bytes, from {} rows in {:.1} s; mean squared error {} after them",
            r.name,
            r.code_bytes,
            thousands(r.rows as u64),
            r.seconds,
            error_text(r.mse)
        );
    }
    text + &format!("\nhash {}", report.hash)
}

fn model_text(report: &Report, t: &TrainReport) -> String {
    let stages: Vec<String> =
        t.stage_seconds.iter().map(|(stage, seconds)| format!("{stage} {seconds:.1} s")).collect();
    format!(
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
        stages.join(", "),
        error_text(t.mse_coarse),
        error_text(t.mse),
    )
}

/// A squared error with four digits that count, whatever the scale of the vectors is.
fn error_text(error: f64) -> String {
    match error {
        e if e == 0.0 || (0.01..1e6).contains(&e) => format!("{e:.4}"),
        e => format!("{e:.4e}"),
    }
}
