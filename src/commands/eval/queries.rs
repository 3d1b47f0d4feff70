//! `ocelli eval queries`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::evaluate::queries::write_query_list;

use super::args::DatasetArgs;
use crate::commands::check_out;
use crate::output::{OutputArgs, print};

/// Flags of `eval queries`.
#[derive(Args)]
pub struct QueriesArgs {
    #[command(flatten)]
    pub dataset: DatasetArgs,
    /// List to write (JSON lines)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Writes the list of the queries.
pub fn run(args: QueriesArgs) -> Result<()> {
    check_out(&args.out)?;
    let list = write_query_list(&args.dataset.open()?, &args.out)?;
    print(args.output.format, &list, |list| {
        let queries = if list.queries == 1 { "query" } else { "queries" };
        format!("{}: {} {queries}", list.path.display(), list.queries)
    })
}
