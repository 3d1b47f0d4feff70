//! `ocelli eval retrieval`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ocelli_index::container::write_atomically;
use ocelli_indexer::evaluate::dataset::{Database, Dataset};
use ocelli_indexer::evaluate::expect::{self, Outcome};
use ocelli_indexer::evaluate::judge::Judging;
use ocelli_indexer::evaluate::page::PageChoice;
use ocelli_indexer::evaluate::prepare::{self, PrepareOptions, Prepared, Whiten};
use ocelli_indexer::evaluate::ranking::IndexSearch;
use ocelli_indexer::evaluate::report::Report;
use ocelli_indexer::evaluate::run::{self, Outputs, Search};
use ocelli_indexer::evaluate::vectors::{Reading, Role, RowNames};
use ocelli_indexer::{ProgressFn, TrainOptions, WhitenCovariance, WhitenOptions};
use ocelli_service::role;
use serde::Serialize;

use super::args::{ResultArgs, RetrievalArgs, RowOrder, SearchArgs};
use super::{compare, flags, text};
use crate::commands::check_out;
use crate::commands::recipe::learn_opq;
use crate::output::{counted, print};
use crate::pass_through;
use crate::progress::Bars;

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
        // A dimension that was asked for is the one of the codes too.
        dim: flags.dim.map(|_| 0),
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
    Ok(prepare::prepare(dataset, &options, &pass_through::encode, &learn_opq, progress)?)
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
