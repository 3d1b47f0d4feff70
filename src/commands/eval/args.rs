//! Arguments of `ocelli eval retrieval`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_indexer::evaluate::dataset::{Dataset, Form, NameRule};
use ocelli_indexer::evaluate::expect::Expectation;
use ocelli_indexer::evaluate::files::RankingForm;
use ocelli_indexer::evaluate::judge::{DEFAULT_PAIRS, Missing};
use ocelli_indexer::evaluate::measures::Ties;
use ocelli_indexer::evaluate::ranking::Similarity;

use crate::output::OutputArgs;
use crate::query::RerankArgs;

const EXAMPLES: &str = "\
Descriptors that were computed elsewhere, one row for each photo in the order of their names:
  ocelli eval retrieval gnd_oxford5k.json --descriptors fc7.fvecs --rows sorted \
    --similarity cosine
Parts, and an index of them; then both side by side:
  ocelli eval retrieval oxford5k/ --descriptors photos.part --queries queries.part --out float.json
  ocelli eval retrieval oxford5k/ --index my.index --queries queries.part --out codes.json
  ocelli eval retrieval --compare float.json codes.json
From photos to figures. What follows -- goes to `ocelli encode`. The whitening and the codebooks
are learned on other photos:
  ocelli eval retrieval paris6k/ --work work/ --learn-from landmarks/ --dim 256 --code-bytes 32 \\
    -- --weights resnet50.safetensors --sizes 448 --no-exif
Your own photos, and a CSV file with the columns query and match:
  ocelli eval retrieval matches.csv --photos photos/ --work work/ --page results.html \\
    -- --weights resnet50.safetensors --sizes 448
A ranking that another tool made:
  ocelli eval retrieval disc21/ --rankings predictions.csv
Exit code 1 if a figure is not as expected:
  ocelli eval retrieval oxford5k/ --index my.index --queries queries.part \\
    --expect 'oxford5k=0.8409±0.003'";

/// Flags of `eval retrieval`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RetrievalArgs {
    #[command(flatten)]
    pub dataset: DatasetArgs,
    #[command(flatten)]
    pub search: SearchArgs,
    #[command(flatten)]
    pub prepare: PrepareArgs,
    #[command(flatten, next_help_heading = "Expansion and diffusion")]
    pub rerank: RerankArgs,
    #[command(flatten)]
    pub judging: JudgingArgs,
    #[command(flatten)]
    pub results: ResultArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// With --work: flags of `ocelli encode`, after --
    #[arg(last = true, value_name = "ENCODE FLAGS")]
    pub encode: Vec<OsString>,
}

/// Which data set, and how it is read.
#[derive(Args)]
pub struct DatasetArgs {
    /// Directory of a data set as it is published, or a file of ground truth (.json, .pkl, .mat,
    /// .csv, .tsv, .jsonl)
    #[arg(value_name = "DATASET")]
    pub dataset: Option<PathBuf>,
    /// Published form of the ground truth [default: recognised by its files]
    #[arg(long, value_enum, value_name = "FORM")]
    pub protocol: Option<Form>,
    /// Setups to judge, for example medium [default: all]
    #[arg(long = "setup", value_name = "NAME", value_delimiter = ',')]
    pub setups: Vec<String>,
    /// Directories of the photos [default: found in the data set's directory]
    #[arg(long, value_name = "DIR")]
    pub photos: Vec<PathBuf>,
    /// What names of the ground truth mean: whole paths, ends of paths, or file names without
    /// ending [default: ends of paths; whole paths in your own list of matches]
    #[arg(long, value_enum, value_name = "BY")]
    pub names: Option<NamesBy>,
}

/// The search that is judged.
#[derive(Args)]
#[command(next_help_heading = "What is searched")]
pub struct SearchArgs {
    /// Database: parts, or vectors of other programs (.npy, .fvecs, .fbin, .mat, .h5)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub descriptors: Vec<PathBuf>,
    /// The queries' descriptors, in files as for --descriptors [default: the database's descriptors
    /// of the queries' photos]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub queries: Vec<PathBuf>,
    /// Database: an index. --descriptors then only gives the queries' own photos
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Generation of the index [default: the current one]
    #[arg(long, value_name = "N", requires = "index")]
    pub generation: Option<u64>,
    /// Lists of the index that are scanned [default: all]
    #[arg(long, value_name = "N")]
    pub nprobe: Option<usize>,
    /// Candidates that the index scores again, from finer codes or by the cosine [default: 0; 150
    /// by the cosine]
    #[arg(long, value_name = "N")]
    pub refine_candidates: Option<usize>,
    /// Rankings that another tool made: CSV or Parquet as --rankings-out writes it, DISC21's or
    /// GLDv2's CSV, Holidays' result lines
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["descriptors", "index", "queries", "work"]
    )]
    pub rankings: Option<PathBuf>,
    /// Names of the rows of --descriptors, one a line [default: those in the file]
    #[arg(long, value_name = "FILE", conflicts_with = "rows")]
    pub row_names: Option<PathBuf>,
    /// Order of the rows of --descriptors, where there are no names: that of the data set's list of
    /// images, or of their sorted names
    #[arg(long, value_enum, value_name = "ORDER")]
    pub rows: Option<RowOrder>,
    /// Names of the rows of --queries, one a line [default: those in the file, or else the data
    /// set's queries in their order]
    #[arg(long, value_name = "FILE", requires = "queries")]
    pub query_names: Option<PathBuf>,
    /// Variable of the descriptors in .mat and .h5 [default: the only matrix, or X]
    #[arg(long, value_name = "NAME")]
    pub variable: Option<String>,
    /// Variable of the queries in .mat and .h5 [default: the only matrix, or Q]
    #[arg(long, value_name = "NAME")]
    pub query_variable: Option<String>,
    /// How --descriptors are compared with queries [default: inner-product for descriptors of
    /// `ocelli encode`, l2 for others]
    #[arg(long, value_enum, value_name = "HOW")]
    pub similarity: Option<Similarity>,
    /// Replace each of the --descriptors by a weighted mean of itself and its K nearest first, as
    /// `ocelli build --dba K` does; queries stay as they are
    #[arg(long, value_name = "K", default_value_t = 0, hide_default_value = true)]
    pub dba: usize,
    /// --dba: queries that are photos of the database ask with their means too
    #[arg(long, requires = "dba", conflicts_with = "queries")]
    pub dba_queries: bool,
}

/// From photos to what is searched.
#[derive(Args)]
#[command(next_help_heading = "From photos")]
pub struct PrepareArgs {
    /// Encode the photos, and keep what is made in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["descriptors", "index"])]
    pub work: Option<PathBuf>,
    /// Photos that are added to the database as distractors: directories, or lists as for
    /// `ocelli encode --list`
    #[arg(long, value_name = "PATH", requires = "work")]
    pub distractors: Vec<PathBuf>,
    /// Photos on which the whitening, and the codebooks of --code-bytes, are learned
    #[arg(long, value_name = "DIR", requires = "work")]
    pub learn_from: Vec<PathBuf>,
    /// Dimension after the whitening, and of the codes [default: 256, or 8 for each byte of longer
    /// codes; codes for the first 8 a byte]
    #[arg(long, value_name = "N", requires = "learn_from")]
    pub dim: Option<usize>,
    /// Judge an index with codes of M bytes, in place of the exact descriptors
    #[arg(long, value_name = "M", requires = "learn_from")]
    pub code_bytes: Option<usize>,
    /// Lists of that index
    #[arg(long, value_name = "N", default_value_t = 16, requires = "code_bytes")]
    pub nlist: usize,
    /// Learn on photos even if they are judged, or are too few
    #[arg(long, requires = "learn_from")]
    pub force: bool,
}

/// Options of judging.
#[derive(Args)]
#[command(next_help_heading = "Judging")]
pub struct JudgingArgs {
    /// Rank of a positive among images of equal score
    #[arg(long, value_enum, default_value_t)]
    pub ties: Ties,
    /// Positives that the database lacks, photos that --work does not find, and queries without a
    /// descriptor: an error; or positives count as not found, and the others are left out
    #[arg(long, value_enum, default_value_t)]
    pub missing: Missing,
    /// Images of each ranking that count [default: as many as the protocol says]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub depth: Option<usize>,
    /// Pairs of query and image, those of the highest scores, that µAP counts
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PAIRS, value_parser = at_least_one)]
    pub pairs: usize,
}

/// Files and texts that are written.
#[derive(Args)]
#[command(next_help_heading = "Results")]
pub struct ResultArgs {
    /// Print every query's result too
    #[arg(long)]
    pub per_query: bool,
    /// Write the report as JSON, for --compare
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write every query's result (.parquet or .json)
    #[arg(long, value_name = "FILE")]
    pub per_query_out: Option<PathBuf>,
    /// Write every query's ranking (.csv or .parquet), so that another tool can judge it
    #[arg(long, value_name = "FILE")]
    pub rankings_out: Option<PathBuf>,
    /// Form of the rankings that are written
    #[arg(long, value_enum, value_name = "FORM", default_value_t, requires = "rankings_out")]
    pub rankings_form: RankingForm,
    /// Write an HTML page with the first 20 photos of each query
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// Queries on the page, those with the lowest values first
    #[arg(long, value_name = "N", default_value_t = 100, requires = "page")]
    pub page_queries: usize,
    /// Queries on the page, by name
    #[arg(long, value_name = "NAME", requires = "page", conflicts_with = "page_queries")]
    pub page_query: Vec<String>,
    /// Compare two reports of --out: difference with its 95 % interval, and the queries that
    /// changed most
    #[arg(
        long,
        num_args = 2,
        value_names = ["RUN_A", "RUN_B"],
        conflicts_with_all = ["dataset", "descriptors", "index", "rankings", "work"]
    )]
    pub compare: Vec<PathBuf>,
    /// A figure that must be reached, such as oxford5k=0.8409±0.003 or
    /// rparis6k/hard:mP@10=0.89±0.01; the exit code is 1 if it is not. The setup may be left out if
    /// there is only one, and the measure if it is the one that the set is known by
    #[arg(long, value_name = "FIGURE")]
    pub expect: Vec<Expectation>,
}

/// What a name of the ground truth means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NamesBy {
    /// The photo with this path.
    Path,
    /// The photo whose path ends like this, with or without the file name's ending.
    PathEnd,
    /// The photo with this file name, without folders and ending.
    Stem,
}

/// Order of rows without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RowOrder {
    /// The data set's list of images.
    Listed,
    /// The sorted names of the images.
    Sorted,
}

impl DatasetArgs {
    /// The data set, as the flags change it.
    ///
    /// # Errors
    /// Those of opening; a setup that there is not.
    pub fn open(&self) -> Result<Dataset> {
        let Some(path) = &self.dataset else { bail!("expected a data set") };
        let mut dataset = Dataset::open(path, self.protocol)?;
        if !self.photos.is_empty() {
            dataset.photos.clone_from(&self.photos);
        }
        match self.names {
            None => {}
            Some(NamesBy::Path) => dataset.set_name_rule(NameRule::Path)?,
            Some(NamesBy::PathEnd) => dataset.set_name_rule(NameRule::PathEnd)?,
            Some(NamesBy::Stem) => dataset.set_name_rule(NameRule::Stem)?,
        }
        dataset.keep_setups(&self.setups)?;
        Ok(dataset)
    }
}

fn at_least_one(text: &str) -> Result<usize> {
    match text.parse()? {
        0 => bail!("expected 1 or more"),
        n => Ok(n),
    }
}
