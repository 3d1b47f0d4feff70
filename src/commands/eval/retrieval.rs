//! `ocelli eval retrieval`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ocelli_index::container::write_atomically;
use ocelli_indexer::evaluate::dataset::{Database, Dataset, Form, NameRule};
use ocelli_indexer::evaluate::expect::{self, Expectation, Outcome};
use ocelli_indexer::evaluate::files::RankingForm;
use ocelli_indexer::evaluate::judge::{DEFAULT_PAIRS, Judging, Missing};
use ocelli_indexer::evaluate::measures::Ties;
use ocelli_indexer::evaluate::page::PageChoice;
use ocelli_indexer::evaluate::prepare::{self, PrepareOptions, Prepared, Whiten};
use ocelli_indexer::evaluate::ranking::{IndexSearch, Similarity};
use ocelli_indexer::evaluate::report::Report;
use ocelli_indexer::evaluate::run::{self, Outputs, Search};
use ocelli_indexer::evaluate::vectors::{Reading, Role, RowNames};
use ocelli_indexer::{ProgressFn, TrainOptions, WhitenCovariance, WhitenOptions};
use ocelli_service::role;
use serde::Serialize;

use super::{compare, flags, text};
use crate::commands::check_out;
use crate::commands::train::learn_opq;
use crate::output::{OutputArgs, counted, print};
use crate::pass_through;
use crate::progress::Bars;
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
    #[command(flatten)]
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
    /// Candidates that the index scores again from finer codes
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub refine_candidates: usize,
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
    /// Dimension after the whitening [default: all that the photos allow]
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

/// The report, and what was expected of it.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    expected: &'a [Outcome],
    #[serde(skip_serializing_if = "Option::is_none")]
    prepared: Option<&'a Prepared>,
}

fn at_least_one(text: &str) -> Result<usize> {
    match text.parse()? {
        0 => bail!("expected 1 or more"),
        n => Ok(n),
    }
}

/// Judges one data set, or compares two runs.
pub fn run(args: RetrievalArgs) -> Result<()> {
    flags::check(&args);
    if let [a, b] = args.results.compare.as_slice() {
        return compare::run(a, b, args.output.format);
    }
    for path in args.results.files() {
        check_out(path)?;
    }
    args.check_outputs()?;
    let dataset = args.dataset.open()?;
    let mut outputs = args.results.outputs();
    // What is asked for in vain is said before the photos are encoded.
    outputs.check(&dataset)?;
    expect::check_names(&args.results.expect, &dataset)?;
    let bars = Bars::default();
    let mut search = search(&args, &dataset)?;
    let prepared = match &args.prepare.work {
        None => None,
        Some(work) => {
            let prepared = prepare(&args, work, &dataset, &|p| bars.report(p))?;
            text::rejected(&prepared).into_iter().for_each(|line| role::note(&line));
            search.descriptors.clone_from(&prepared.descriptors);
            search.queries.extend(prepared.queries.clone());
            search.index.clone_from(&prepared.index);
            outputs.files.clone_from(&prepared.files);
            Some(prepared)
        }
    };
    let judging = Judging {
        ties: args.judging.ties,
        missing: args.judging.missing,
        depth: args.judging.depth,
        pairs: args.judging.pairs,
    };
    let report = run::run(&dataset, &search, &judging, &outputs, &|p| bars.report(p))?;
    drop(bars);
    if let Some(path) = &args.results.out {
        let text = serde_json::to_vec(&report).context("cannot write the report as JSON")?;
        write_atomically(path, &text)?;
    }
    let expected = expect::check(&args.results.expect, &report)?;
    let judged = Judged { report: &report, expected: &expected, prepared: prepared.as_ref() };
    print(args.output.format, &judged, |judged| {
        let made = judged.prepared.map_or_else(String::new, text::prepared);
        made + &text::report(judged.report, judged.expected, args.results.per_query)
    })?;
    match expected.iter().filter(|outcome| !outcome.holds).count() {
        0 => Ok(()),
        n => bail!("{} not as expected", counted(n as u64, "figure")),
    }
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

/// What is searched, as the flags say.
fn search(args: &RetrievalArgs, dataset: &Dataset) -> Result<Search> {
    let SearchArgs { nprobe, refine_candidates, .. } = args.search;
    Ok(Search {
        descriptors: args.search.descriptors.clone(),
        reading: Reading {
            variable: args.search.variable.clone(),
            names: row_names(&args.search, dataset)?,
            role: Role::Database,
        },
        queries: args.search.queries.clone(),
        query_reading: Reading {
            variable: args.search.query_variable.clone(),
            names: Some(query_names(&args.search, dataset)),
            role: Role::Queries,
        },
        index: args.search.index.clone(),
        generation: args.search.generation,
        index_search: IndexSearch { nprobe, refine_candidates },
        rankings: args.search.rankings.clone(),
        similarity: args.search.similarity,
        dba: args.search.dba,
        dba_queries: args.search.dba_queries,
        rerank: args.rerank.rerank()?,
    })
}

/// Names of the rows of --descriptors.
fn row_names(args: &SearchArgs, dataset: &Dataset) -> Result<Option<RowNames>> {
    if let Some(path) = &args.row_names {
        return Ok(Some(RowNames::File(path.clone())));
    }
    let listed = || -> Result<Vec<String>> {
        let names = dataset.image_names()?;
        if names.is_empty() {
            bail!(
                "--rows: the data set {} has no list of images, and no photos are there",
                dataset.name
            );
        }
        Ok(names)
    };
    let what = format!("the list of images of {}", dataset.name);
    Ok(match args.rows {
        Some(RowOrder::Listed) => Some(RowNames::Given(listed()?, what)),
        Some(RowOrder::Sorted) => {
            let mut names = listed()?;
            names.sort_unstable();
            Some(RowNames::Given(names, format!("{what}, sorted")))
        }
        None => match &dataset.database {
            Database::Listed(_) => Some(RowNames::Given(listed()?, what)),
            Database::Below(_) => None,
        },
    })
}

/// Names of the rows of --queries.
fn query_names(args: &SearchArgs, dataset: &Dataset) -> RowNames {
    match &args.query_names {
        Some(path) => RowNames::File(path.clone()),
        None => RowNames::Given(
            dataset.queries.iter().map(|query| query.name.clone()).collect(),
            format!("the queries of {}", dataset.name),
        ),
    }
}

/// Encodes the photos, and makes of them what is searched.
fn prepare(
    args: &RetrievalArgs,
    work: &Path,
    dataset: &Dataset,
    progress: ProgressFn<'_>,
) -> Result<Prepared> {
    let flags = &args.prepare;
    let whiten = match flags.dim {
        None => Whiten::Auto,
        Some(_) => Whiten::With(WhitenOptions {
            dim: flags.dim,
            covariance: WhitenCovariance::All,
            ..WhitenOptions::default()
        }),
    };
    let train = flags.code_bytes.map(|m| TrainOptions {
        m,
        nlist: flags.nlist,
        force: flags.force,
        ..TrainOptions::default()
    });
    let options = PrepareOptions {
        work: work.to_owned(),
        distractors: flags.distractors.clone(),
        encoder_flags: args.encode.clone(),
        learn_from: flags.learn_from.clone(),
        whiten,
        train,
        dba: if flags.code_bytes.is_some() { args.search.dba } else { 0 },
        missing: args.judging.missing,
        force: flags.force,
        ..PrepareOptions::default()
    };
    let encode = |words: &[OsString]| {
        let words: Vec<OsString> =
            std::iter::once("encode".into()).chain(words.iter().cloned()).collect();
        pass_through::run_to_end("ocelli-encoder", &words).map_err(Into::into)
    };
    Ok(prepare::prepare(dataset, &options, &encode, &learn_opq, progress)?)
}

impl RetrievalArgs {
    /// Refuses to write over what is read, or two results into one file.
    fn check_outputs(&self) -> Result<()> {
        let real = |path: &Path| -> PathBuf {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let folder = folder.unwrap_or(Path::new(".")).canonicalize();
            path.canonicalize()
                .or(folder.map(|folder| folder.join(path.file_name().unwrap_or_default())))
                .unwrap_or_else(|_| path.to_owned())
        };
        let SearchArgs { descriptors, queries, rankings, row_names, query_names, index, .. } =
            &self.search;
        let inputs = descriptors.iter().chain(queries).chain(rankings).chain(row_names);
        let inputs = inputs.chain(query_names).chain(&self.dataset.dataset);
        let inputs: Vec<PathBuf> = inputs.map(|path| real(path)).collect();
        let folders: Vec<PathBuf> =
            index.iter().chain(&self.prepare.work).map(|path| real(path)).collect();
        // A photo has another ending.
        for (flag, path, endings) in [
            ("--out", &self.results.out, &["json"][..]),
            ("--page", &self.results.page, &["html", "htm"]),
        ] {
            let Some(path) = path else { continue };
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if !endings.contains(&ending) {
                bail!("{flag} {}: expected a name that ends in .{}", path.display(), endings[0]);
            }
        }
        let mut outputs: Vec<PathBuf> = Vec::new();
        for path in self.results.files() {
            let output = real(path);
            if inputs.contains(&output) {
                bail!("{}: it is read, and would be written over", path.display());
            }
            if let Some(folder) = folders.iter().find(|folder| output.starts_with(folder)) {
                bail!("{}: it is in {}, which is read", path.display(), folder.display());
            }
            if outputs.contains(&output) {
                bail!("{}: two results would be written there", path.display());
            }
            outputs.push(output);
        }
        Ok(())
    }
}

impl ResultArgs {
    /// All files that are written.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let Self { out, per_query_out, rankings_out, page, .. } = self;
        [out, per_query_out, rankings_out, page].into_iter().flatten()
    }

    fn outputs(&self) -> Outputs {
        let choice = match self.page_query.as_slice() {
            [] => PageChoice::Worst(self.page_queries),
            names => PageChoice::Named(names.to_vec()),
        };
        Outputs {
            rankings: self.rankings_out.clone().map(|path| (path, self.rankings_form)),
            per_query: self.per_query_out.clone(),
            page: self.page.clone().map(|path| (path, choice)),
            files: Default::default(),
        }
    }
}
