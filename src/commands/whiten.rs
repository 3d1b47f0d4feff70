//! `ocelli whiten`.

use std::path::PathBuf;

use anyhow::Result;
use ocelli_index::Hash;
use ocelli_indexer::{WhitenOptions, WhitenReport, learn_whitening};
use serde::Serialize;

use super::{check_out, configure, open_parts};
use crate::cli::WhitenArgs;
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
        dim: args.dim.unwrap_or(config.dim),
        power: args.power.unwrap_or(config.power),
    };
    let parts = open_parts(&args.parts)?;
    let bars = Bars::default();
    let (whitening, learned) = learn_whitening(&parts, &options, &|p| bars.report(p))?;
    drop(bars);
    let hash = whitening.write(&args.out)?;
    print(args.output.format, &Report { path: args.out, hash, learned }, |r| {
        format!(
            "{}: whitening {} -> {} from {} rows in {:.1} s, {:.1} % of the variance\nhash {}",
            r.path.display(),
            r.learned.dim_in,
            r.learned.dim_out,
            thousands(r.learned.rows as u64),
            r.learned.seconds,
            100.0 * r.learned.variance_kept,
            r.hash
        )
    })
}
