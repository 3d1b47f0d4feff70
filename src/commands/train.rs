//! `ocelli train`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use ocelli_index::Hash;
use ocelli_indexer::{TrainOptions, TrainReport, train};
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
    #[serde(flatten)]
    trained: TrainReport,
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
        opq: args.opq.unwrap_or(config.opq),
        opq_niter: args.opq_niter.unwrap_or(config.opq_niter),
        niter: args.niter.unwrap_or(config.niter),
        seed: args.seed.unwrap_or(config.seed),
        threads: args.threads.unwrap_or(config.threads),
        max_rows: args.max_rows.unwrap_or(config.max_rows),
        force: args.force,
    };
    let parts = open_parts(&args.parts)?;
    let bars = Bars::default();
    let (model, trained) = train(&parts, &options, &|p| bars.report(p))?;
    drop(bars);
    model.write(&args.out)?;
    let bytes = file_bytes(&args.out)?;
    print(args.output.format, &Report { path: args.out, hash: model.hash(), bytes, trained }, text)
}

fn ksub_of(bits: usize) -> Result<usize> {
    match bits {
        4 | 8 => Ok(1 << bits),
        other => bail!("bits of a codeword: expected 8 or 4, found {other}"),
    }
}

fn text(report: &Report) -> String {
    let t = &report.trained;
    let stages: Vec<String> =
        t.stage_seconds.iter().map(|(stage, seconds)| format!("{stage} {seconds:.1} s")).collect();
    format!(
        "{}: {} list{}{}, {} bytes per code, {} dimensions{}{}; {} bytes\n\
         trained on {} of {} rows in {:.1} s ({})\n\
         mean squared error {:.4} after the coarse centroid, {:.4} after the code\n\
         hash {}",
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
        t.seconds,
        stages.join(", "),
        t.mse_coarse,
        t.mse,
        report.hash
    )
}
