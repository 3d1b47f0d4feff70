//! `ocelli export`: an index for other programs.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ocelli_indexer::export::{
    FAISS_BYTES, PARQUET_BYTES, ParquetRows, export_faiss, export_parquet,
};
use ocelli_indexer::memory::keep_to;

use super::{MemoryArgs, check_out};
use crate::output::{OutputArgs, print, thousands};
use crate::progress::Bars;

/// Kinds of export.
#[derive(Subcommand)]
pub enum ExportCommand {
    /// Write a file that faiss.read_index reads (FAISS 1.12 to 1.15): the same codes and ids,
    /// without keys
    Faiss(FaissArgs),
    /// Write a Parquet file of the rows that are not deleted: ids, keys, attributes, and codes or
    /// vectors
    Parquet(ParquetArgs),
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
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

const PARQUET_EXAMPLE: &str = "\
Ids, keys and attributes; with the vectors that codes decode to:
  ocelli export parquet index/ rows.parquet
  ocelli export parquet index/ vectors.parquet --vectors";

/// Flags of `export parquet`.
#[derive(Args)]
#[command(after_help = PARQUET_EXAMPLE)]
pub struct ParquetArgs {
    /// Index directory
    #[arg(value_name = "DIR")]
    pub index: PathBuf,
    /// Parquet file to write
    #[arg(value_name = "FILE")]
    pub out: PathBuf,
    /// Each row's list and code as well
    #[arg(long, conflicts_with = "vectors")]
    pub codes: bool,
    /// Each row's vector as well, decoded from its finest code
    #[arg(long)]
    pub vectors: bool,
    /// Generation of the index [default: the current one]
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs one of the exports.
pub fn run(command: ExportCommand) -> Result<()> {
    match command {
        ExportCommand::Faiss(args) => run_faiss(args),
        ExportCommand::Parquet(args) => run_parquet(args),
    }
}

/// Refuses an output within the index that is exported.
fn check_outside(out: &Path, index: &Path) -> Result<()> {
    check_out(out)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    if let (Ok(folder), Ok(index)) = (folder, index.canonicalize())
        && folder.starts_with(&index)
    {
        bail!("{}: expected a file outside of the index", out.display());
    }
    Ok(())
}

fn run_parquet(args: ParquetArgs) -> Result<()> {
    check_outside(&args.out, &args.index)?;
    let kind = match (args.codes, args.vectors) {
        (true, _) => ParquetRows::Codes,
        (_, true) => ParquetRows::Vectors,
        _ => ParquetRows::Names,
    };
    let _limit = keep_to(args.memory.bytes(), PARQUET_BYTES, "a row group of the file")?;
    let bars = Bars::default();
    let report =
        export_parquet(&args.index, args.generation, &args.out, kind, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, |r| {
        format!(
            "{}: {} rows of generation {}, columns {}; {} bytes, in {:.1} s",
            r.path.display(),
            thousands(r.rows),
            r.generation,
            r.columns.join(", "),
            thousands(r.bytes),
            r.seconds
        )
    })
}

fn run_faiss(args: FaissArgs) -> Result<()> {
    check_outside(&args.out, &args.index)?;
    let _limit = keep_to(args.memory.bytes(), FAISS_BYTES, "the rows that are written")?;
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
