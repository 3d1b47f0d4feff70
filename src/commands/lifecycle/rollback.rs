//! `ocelli rollback`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::{RollbackReport, rollback};
use ocelli_indexer::memory::keep_to;

use super::delete::LEAST_NAMES_BYTES;
use crate::commands::MemoryArgs;
use crate::output::{OutputArgs, counted, print};

const ROLLBACK_EXAMPLE: &str = "\
To the generation that the current one was made from, or to one by its number:
  ocelli rollback index/
  ocelli rollback index/ --to 7";

#[derive(Args)]
#[command(after_help = ROLLBACK_EXAMPLE)]
pub struct RollbackArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// The generation to go back to [default: the one that the current one was made from]
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Bring rows back that were deleted since
    #[arg(long)]
    pub undo_deletes: bool,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Goes back to an earlier generation.
pub fn run(args: RollbackArgs) -> Result<()> {
    let _limit = keep_to(args.memory.bytes(), LEAST_NAMES_BYTES, "names of rows")?;
    let report = rollback(&args.index, args.to, args.undo_deletes)?;
    print(args.output.format, &report, text)
}

fn text(r: &RollbackReport) -> String {
    let mut text = format!(
        "{}: back from generation {} to {}; {} is current",
        r.index.display(),
        r.from.map_or("?".to_owned(), |from| from.to_string()),
        r.to,
        r.generation
    );
    if r.kept_deleted > 0 {
        text += &format!(
            "\n{} of it stay deleted, since they were deleted after it",
            counted(r.kept_deleted, "row")
        );
    }
    text
}
