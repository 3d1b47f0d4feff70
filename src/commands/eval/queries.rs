//! `ocelli eval queries`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::evaluate::{GroundTruth, write_query_list};

use crate::output::{OutputArgs, print};

#[derive(Args)]
pub struct QueriesArgs {
    /// JSON file (names, or revisitop's imlist, qimlist and gnd), or directory of Oxford text files
    #[arg(long, value_name = "PATH")]
    pub ground_truth: PathBuf,
    /// Directory that holds the queries' photos, at any depth
    #[arg(long, value_name = "DIR")]
    pub photos_root: PathBuf,
    /// List to write (JSON lines)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `ocelli eval queries`.
pub fn queries(args: QueriesArgs) -> Result<()> {
    let truth = GroundTruth::open(&args.ground_truth)?;
    let list = write_query_list(&truth, &args.photos_root, &args.out)?;
    print(args.output.format, &list, |list| {
        format!("{}: {} queries", list.path.display(), list.queries)
    })
}
