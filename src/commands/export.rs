//! `ocelli export`: an index for other programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use ocelli_indexer::export::export_faiss;

use super::check_out;
use crate::output::{OutputArgs, print, thousands};
use crate::progress::Bars;

/// Kinds of export.
#[derive(Subcommand)]
pub enum ExportCommand {
    /// Write a file that faiss.read_index reads (FAISS 1.12 to 1.15): the same codes and ids,
    /// without keys
    Faiss(FaissArgs),
}

const FAISS_EXAMPLE: &str = "\
An index in Ocelli, then in Python:
  ocelli export faiss index/ --out index.faiss
  python3 -c 'import faiss; index = faiss.read_index(\"index.faiss\")'";

/// Flags of `export faiss`.
#[derive(Args)]
#[command(after_help = FAISS_EXAMPLE)]
pub struct FaissArgs {
    /// Index directory
    #[arg(value_name = "DIR")]
    pub index: PathBuf,
    /// FAISS file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Generation of the index [default: the current one]
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs one of the exports.
pub fn run(command: ExportCommand) -> Result<()> {
    let ExportCommand::Faiss(args) = command;
    check_out(&args.out)?;
    let bars = Bars::default();
    let report = export_faiss(&args.index, args.generation, &args.out, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, |r| {
        format!(
            "{}: {} vectors of generation {}, {} bytes, in {:.1} s",
            r.path.display(),
            thousands(r.rows),
            r.generation,
            thousands(r.bytes),
            r.seconds
        )
    })
}
