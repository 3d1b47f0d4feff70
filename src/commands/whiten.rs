//! `ocelli whiten`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_index::Hash;
use ocelli_indexer::{WhitenCovariance, WhitenOptions, WhitenReport, learn_whitening};
use serde::Serialize;

use super::{ConfigArgs, check_out, configure, open_parts};
use crate::output::{OutputArgs, print, thousands};
use crate::progress::Bars;

const WHITEN_EXAMPLE: &str = "\
On the photos that will be searched, few or many:
  ocelli encode photos/ --weights W --output regions --out regions.part
  ocelli whiten regions.part --out photos.whitening
On some thousand photos of many things that will not be searched:
  ocelli whiten others.part --covariance all --out photos.whitening";

#[derive(Args)]
#[command(after_help = WHITEN_EXAMPLE)]
pub struct WhitenArgs {
    /// Parts of vectors without whitening, of one descriptor spec
    /// (`ocelli encode --output regions`)
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Whitening file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Output dimension [default: 8 for each byte of a code, or fewer if fewer directions vary]
    #[arg(long)]
    pub dim: Option<usize>,
    /// Bytes of the codes that the descriptors will get [default: 32]
    #[arg(long, value_name = "N")]
    pub code_bytes: Option<usize>,
    /// 1 whitens fully, 0 only rotates and truncates [default: below .75 and weaker for few photos;
    /// 1 with --covariance all]
    #[arg(long)]
    pub power: Option<f64>,
    /// Differences whose covariance is whitened [default: near]
    #[arg(long, value_enum)]
    pub covariance: Option<WhitenCovariance>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Serialize)]
struct Report {
    path: PathBuf,
    hash: Hash,
    #[serde(flatten)]
    learned: WhitenReport,
}

/// Learns and writes a whitening.
pub fn run(args: WhitenArgs) -> Result<()> {
    let config = configure(&args.config)?.whiten;
    check_out(&args.out)?;
    let options = WhitenOptions {
        dim: args.dim.or(config.dim().filter(|_| args.code_bytes.is_none())),
        code_bytes: args.code_bytes,
        power: args.power.or(config.power),
        covariance: args.covariance.unwrap_or(config.covariance),
    };
    let parts = open_parts(&args.parts)?;
    let bars = Bars::default();
    let (whitening, learned) = learn_whitening(&parts, &options, &|p| bars.report(p))?;
    drop(bars);
    let hash = whitening.write(&args.out)?;
    print(args.output.format, &Report { path: args.out, hash, learned }, text)
}

fn text(report: &Report) -> String {
    let learned = &report.learned;
    let mut text = format!(
        "{}: whitening {} -> {} from {} rows of {} photos in {:.1} s, {:.1} % of the variance\n",
        report.path.display(),
        learned.dim_in,
        learned.dim_out,
        thousands(learned.rows as u64),
        thousands(learned.photos as u64),
        learned.seconds,
        100.0 * learned.variance_kept,
    );
    for reason in &learned.reasons {
        text += &format!("  {reason}\n");
    }
    for warning in &learned.warnings {
        text += &format!("warning: {warning}\n");
    }
    text + &format!("hash {}", report.hash)
}
