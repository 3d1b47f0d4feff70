//! `ocelli whiten`.

use std::path::PathBuf;

use anyhow::Result;
use ocelli_index::Hash;
use ocelli_indexer::{WhitenCovariance, WhitenOptions, WhitenReport, learn_whitening};
use serde::Serialize;

use super::{check_out, configure, open_parts};
use crate::cli::{CovarianceArg, WhitenArgs};
use crate::output::{print, thousands};
use crate::progress::Bars;

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
        dim: args.dim.or(config.dim()),
        power: args.power.or(config.power),
        covariance: match args.covariance {
            None => config.covariance,
            Some(CovarianceArg::Near) => WhitenCovariance::Near,
            Some(CovarianceArg::All) => WhitenCovariance::All,
        },
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
