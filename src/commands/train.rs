//! `ocelli train`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::{Hash, Model};
use ocelli_indexer::config::MetricChoice;
use ocelli_indexer::{
    BoxError, CoarseKmeans, FineChoice, FineOptions, FineReport, OpqRows, TrainOptions,
    TrainReport, train, train_fine_codec,
};
use ocelli_quantizer::OpqOptions;
use serde::Serialize;

use super::{ConfigArgs, check_out, configure, file_bytes, open_parts};
use crate::output::{OutputArgs, print, stages, thousands};
use crate::progress::Bars;

const TRAIN_EXAMPLE: &str = "\
Training needs 39 rows for each codeword (9,984) and for each list. Train on vectors that evaluation
does not use. For a small collection take its region vectors, about twenty a photo:
  ocelli train white-regions.part --m 32 --out paris.model
Codes of 16 bytes to scan, and 32 bytes more to score the best again:
  ocelli train white-regions.part --m 16 --fine-codes pq32 --out paris.model";

#[derive(Args)]
#[command(after_help = TRAIN_EXAMPLE)]
pub struct TrainArgs {
    /// Parts of region vectors or descriptors, of one descriptor spec
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Coarse centroids (inverted lists); 0: one per 1,000 training rows, rounded down to a power
    /// of two, 1 to 65536 [default: 0]
    #[arg(long)]
    pub nlist: Option<usize>,
    /// Sub-quantizers; divides the dimension (that of the PCA, if there is one) [default: 32]
    #[arg(long)]
    pub m: Option<usize>,
    /// Bits of each sub-quantizer's codeword: 8 (a byte) or 4 (half a byte) [default: 8]
    #[arg(long)]
    pub bits: Option<usize>,
    /// Keep the first D coordinates, at unit length again; 0: all [default: 8 for each byte of a
    /// code, of whitened descriptors that have more and get no finer codes]
    #[arg(long, value_name = "D")]
    pub dim: Option<usize>,
    /// Reduce to so many dimensions by PCA first; 0: no PCA [default: 0]
    #[arg(long, value_name = "D")]
    pub pca: Option<usize>,
    /// Divide vectors by their norm again after PCA and OPQ [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub renormalize: Option<bool>,
    /// Training of coarse centroids [default: auto]
    #[arg(long, value_enum)]
    pub coarse: Option<CoarseKmeans>,
    /// Metric of the search [default: auto]
    #[arg(long, value_enum)]
    pub metric: Option<MetricChoice>,
    /// Learn a rotation (OPQ), after the PCA if there is one [default: if descriptors are not
    /// whitened]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub opq: Option<bool>,
    /// Rounds of OPQ [default: 20]
    #[arg(long, value_name = "N")]
    pub opq_niter: Option<usize>,
    /// k-means iterations [default: 25]
    #[arg(long, value_name = "N")]
    pub niter: Option<usize>,
    /// Seed of sampling and k-means [default: 1234]
    #[arg(long)]
    pub seed: Option<u32>,
    /// Threads, 0: one per core; without OPQ the result does not depend on it [default: 0]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Rows to train on at most, drawn at random; 0: all [default: 1000000]
    #[arg(long, value_name = "N")]
    pub max_rows: Option<usize>,
    /// How the best of a scan are scored again: from finer codes, pq and its bytes a vector (pq32,
    /// pq64), sq8 (a byte a dimension), f16 (the vectors in half precision); by the cosine, without
    /// further bytes; or none [default: cosine for codes of up to 16 bytes of a network's
    /// descriptors, otherwise none]
    #[arg(long, value_name = "KIND")]
    pub fine_codes: Option<FineCodes>,
    /// Keep this model as it is and learn only its finer codes
    #[arg(
        long,
        value_name = "MODEL",
        requires = "fine_codes",
        conflicts_with_all = ["nlist", "m", "dim", "metric", "opq", "opq_niter", "max_rows"]
    )]
    pub base: Option<PathBuf>,
    /// Train even on too few rows
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The value of --fine-codes.
#[derive(Clone, Copy, Debug)]
pub struct FineCodes(Option<FineChoice>);

impl FromStr for FineCodes {
    type Err = ocelli_indexer::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(if text == "none" { None } else { Some(text.parse()?) }))
    }
}

#[derive(Serialize)]
struct Report {
    path: PathBuf,
    hash: Hash,
    bytes: u64,
    /// None if a model was taken as it was.
    #[serde(flatten)]
    trained: Option<TrainReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fine_codes: Option<FineReport>,
}

/// Trains and writes a model.
pub fn run(args: TrainArgs) -> Result<()> {
    let config = configure(&args.config)?.train;
    check_out(&args.out)?;
    let options = TrainOptions {
        nlist: args.nlist.unwrap_or(config.nlist),
        m: args.m.unwrap_or(config.m),
        ksub: ksub_of(args.bits.unwrap_or(config.bits))?,
        dim: args.dim.or(config.dim),
        finer: args.fine_codes.is_some_and(|fine| fine.0.is_some_and(FineChoice::adds_bytes)),
        pca: args.pca.unwrap_or(config.pca),
        renormalize: args.renormalize.unwrap_or(config.renormalize),
        coarse: args.coarse.unwrap_or(config.coarse),
        metric: args.metric.unwrap_or(config.metric).metric(),
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
    let mut fine_codes = None;
    let choice = args.fine_codes.map_or_else(|| FineChoice::by_default(&model), |fine| fine.0);
    if let Some(choice) = choice {
        let TrainOptions { niter, seed, threads, force, .. } = options;
        let options = FineOptions { choice, niter, seed, threads, force };
        let (with_codes, report) = train_fine_codec(&parts, model, &options, &|p| bars.report(p))?;
        (model, fine_codes) = (with_codes, Some(report));
    }
    drop(bars);
    model.write(&args.out)?;
    let bytes = file_bytes(&args.out)?;
    let report = Report { path: args.out, hash: model.hash(), bytes, trained, fine_codes };
    print(args.output.format, &report, text)
}

/// Learns the rotation of OPQ with FAISS.
pub fn learn_opq(rows: OpqRows<'_>) -> Result<Vec<f32>, BoxError> {
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
    if let Some(r) = &report.fine_codes {
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
