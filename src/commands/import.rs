//! `ocelli import`: vectors and indexes of other programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use ocelli_index::{Checks, DescriptorSpec, Dtype};
use ocelli_indexer::import::{
    AttributeColumn, ImportOptions, ImportReport, OnBadRow, ParquetColumns, VectorSource,
    VectorsOptions, VectorsReport, import_faiss, import_vectors,
};
use ocelli_service::role;

use super::check_out;
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::Bars;

/// Kinds of import.
#[derive(Subcommand)]
pub enum ImportCommand {
    /// Import an IVF-PQ index that FAISS 1.12 to 1.15 wrote, with its codes and ids
    Faiss(FaissArgs),
    /// Import files of vectors (.fvecs, .bvecs, .npy, .fbin, .u8bin, .parquet) as a part for train
    /// and build
    Vectors(VectorsArgs),
}

const FAISS_EXAMPLE: &str = "\
Coarse quantizers may be flat, codes of 8 or 4 bits, the metric L2 or inner product; OPQ, PCA and
rotations may come first:
  ocelli import faiss sift.faiss --out index/ --spec foreign:sift
The directory is created, or gets a new generation that replaces the current one.";

/// Flags of `import faiss`.
#[derive(Args)]
#[command(after_help = FAISS_EXAMPLE)]
pub struct FaissArgs {
    /// File that faiss.write_index wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Index directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Your name for the source of the vectors; queries with another descriptor spec are refused
    #[arg(long, value_name = "foreign:NAME", default_value = "foreign:faiss",
        value_parser = foreign_name)]
    pub spec: String,
    /// Number of files of the index
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

const VECTORS_EXAMPLE: &str = "\
Files are read one after another. Without keys (--keys, --key-column), rows have none; without a
column of ids, they get ids when an index is built:
  ocelli import vectors base.fvecs --spec foreign:sift --out sift.part
  ocelli import vectors clip.npy --keys paths.txt --spec foreign:clip --out clip.part
  ocelli import vectors shards/ --column emb --key-column url --spec foreign:clip --out clip.part
Bad rows (null, NaN, a norm that is neither 0 nor 1e-15 to 1e15, another dimension, an id or a key
that is null, out of range or there twice) are left out and listed in OUT.rejected.jsonl.";

/// Flags of `import vectors`.
#[derive(Args)]
#[command(after_help = VECTORS_EXAMPLE)]
pub struct VectorsArgs {
    /// Files of one dimension: .fvecs, .bvecs, .npy, .fbin, .u8bin, .parquet; or directories of
    /// such files, which are read in the order of their paths
    #[arg(required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Part to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Your name for the source of the vectors; queries with another descriptor spec are refused
    #[arg(long, value_name = "foreign:NAME", value_parser = foreign_name)]
    pub spec: String,
    /// Column of the vectors in Parquet files [default: the only one with lists of floats]
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Column of ids in Parquet files [default: none; ids are given when rows are built]
    #[arg(long, value_name = "NAME")]
    pub id_column: Option<String>,
    /// Column of keys in Parquet files [default: none]
    #[arg(long, value_name = "NAME")]
    pub key_column: Option<String>,
    /// Text file with the key of each row, one a line, in the order of the rows of all files
    #[arg(long, value_name = "FILE", conflicts_with = "key_column")]
    pub keys: Option<PathBuf>,
    /// Column of attributes, by which searches can be filtered: `camera`, or `camera:string`; types
    /// are int64, float64, string, bool, bytes8, bytes32 [default: that of the Parquet file, string
    /// for --attributes]. May be repeated
    #[arg(long = "attribute-column", value_name = "NAME[:TYPE]")]
    pub attribute_columns: Vec<AttributeColumn>,
    /// CSV file with the attributes of each row, names in its first line, in the order of the rows
    /// of all files; without --attribute-column all of its columns are taken
    #[arg(long, value_name = "FILE")]
    pub attributes: Option<PathBuf>,
    /// Numbers in the part
    #[arg(long, value_enum, default_value_t)]
    pub dtype: DtypeArg,
    /// Treat vectors of zeros as bad rows
    #[arg(long)]
    pub no_zeros: bool,
    /// Treatment of a bad row
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub on_bad_row: OnBadRow,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The type of numbers on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// Single precision.
    #[default]
    F32,
    /// Half precision.
    F16,
}

/// Runs one of the imports.
pub fn run(command: ImportCommand) -> Result<()> {
    match command {
        ImportCommand::Faiss(args) => faiss(args),
        ImportCommand::Vectors(args) => vectors(args),
    }
}

fn faiss(args: FaissArgs) -> Result<()> {
    let options = ImportOptions { name: args.spec, shards: args.shards };
    let bars = Bars::default();
    let report = import_faiss(&args.file, &args.out, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, faiss_text)
}

fn vectors(args: VectorsArgs) -> Result<()> {
    check_out(&args.out)?;
    let checks = Checks { zero_norm: args.no_zeros };
    let (listed, of_file) = match args.attributes {
        Some(path) => (Some((path, args.attribute_columns)), Vec::new()),
        None => (None, args.attribute_columns),
    };
    let columns = ParquetColumns {
        vectors: args.column,
        ids: args.id_column,
        keys: args.key_column,
        attributes: of_file,
    };
    let left_out = |link: &Path| {
        role::note(&format!("left out: {}: a link back to a folder above it", link.display()));
    };
    let open = |path: &PathBuf| VectorSource::open_all(path, &columns, checks, left_out);
    let files = args.files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let files: Vec<VectorSource> = files.into_iter().flatten().collect();
    let dtype = match args.dtype {
        DtypeArg::F32 => Dtype::F32,
        DtypeArg::F16 => Dtype::F16,
    };
    let bars = Bars::default();
    let (on_bad_row, keys) = (args.on_bad_row, args.keys);
    let attributes = listed;
    let options = VectorsOptions { name: args.spec, dtype, on_bad_row, keys, attributes };
    let report = import_vectors(&files, &args.out, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, vectors_text)
}

/// NAME of `foreign:NAME`.
pub fn foreign_name(spec: &str) -> Result<String> {
    let name = spec.strip_prefix("foreign:");
    let name = name.context("expected foreign:NAME, as Ocelli did not make the vectors")?;
    // The dimension is not known yet; the name's characters are.
    DescriptorSpec::foreign(name, 1)?;
    Ok(name.to_owned())
}

fn faiss_text(r: &ImportReport) -> String {
    let transform: Vec<&str> =
        [(r.centred, "centred"), (r.rotated, "rotated"), (r.normalized, "normalized")]
            .into_iter()
            .filter_map(|(is, word)| is.then_some(word))
            .collect();
    let transform = match transform.is_empty() {
        true => String::new(),
        false => format!(", {} to {} dimensions", transform.join(", "), r.d),
    };
    format!(
        "{}: generation {} of {} in {}, ids {} to {}, in {:.1} s\n\
         {} dimensions{transform}; metric {}, {} lists, {} sub-quantizers of {} codewords\n\
         {} bytes, {:.1} per vector; the file of FAISS has {}\n\
         model {}",
        r.index.display(),
        r.generation,
        counted(r.rows, "vector"),
        counted(r.shards as u64, "shard"),
        r.ids.0,
        r.ids.1,
        r.seconds,
        r.dim,
        r.metric,
        thousands(r.nlist as u64),
        r.m,
        r.ksub,
        thousands(r.bytes),
        r.bytes_per_vector,
        thousands(r.file_bytes),
        r.model,
    )
}

fn vectors_text(r: &VectorsReport) -> String {
    let rejected = match r.rejected {
        0 => String::new(),
        n => format!(
            "\n{} rejected and NOT in it; file, row and reason of each: {}",
            counted(n, "row"),
            r.rejected_path.display()
        ),
    };
    format!(
        "{}: {} vectors of {} dimensions, {} bytes, in {:.1} s{rejected}",
        r.path.display(),
        thousands(r.rows),
        r.dim,
        thousands(r.bytes),
        r.seconds,
    )
}
