//! One judging from files to files: what `ocelli eval retrieval` does.

mod collector;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ocelli_index::Snapshot;

use super::answers::{Answers, GivenQueries, ReadAnswers, Searched};
use super::dataset::Dataset;
use super::files::{RankingFile, RankingForm, check_per_query_name};
use super::judge::{Judging, judge};
use super::page::PageChoice;
use super::ranking::{ExactRanking, IndexRanking, IndexSearch, Ranking, Rerank, Similarity};
use super::report::Report;
use super::vectors::{Reading, Vectors};
use crate::{Error, Progress, ProgressFn, Result};
use collector::Collector;

/// The search that is judged.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Parts or files of vectors: the database, or with an index the queries' own photos.
    pub descriptors: Vec<PathBuf>,
    /// Reading of `descriptors`.
    pub reading: Reading,
    /// The queries' descriptors; empty: those of their photos in the database.
    pub queries: Vec<PathBuf>,
    /// Reading of `queries`.
    pub query_reading: Reading,
    /// An index: the database.
    pub index: Option<PathBuf>,
    /// Generation of the index; None: the current one.
    pub generation: Option<u64>,
    /// How the index is searched.
    pub index_search: IndexSearch,
    /// Rankings of another tool, in place of a search.
    pub rankings: Option<PathBuf>,
    /// How descriptors are compared; None: as their spec says.
    pub similarity: Option<Similarity>,
    /// Neighbours that augment each of `descriptors`; 0: none.
    pub dba: usize,
    /// Whether queries that are photos of the database ask with their augmented descriptors.
    pub dba_queries: bool,
    /// Steps beyond one ranking by scores.
    pub rerank: Rerank,
}

impl Search {
    /// Reads vectors, at unit length where cosines are asked for.
    fn open(&self, paths: &[PathBuf], reading: &Reading) -> Result<Vectors> {
        let mut vectors = Vectors::open(paths, reading)?;
        if self.similarity == Some(Similarity::Cosine) {
            vectors.normalize();
        }
        Ok(vectors)
    }
}

/// Files that are written besides the report.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// Rankings, and their form.
    pub rankings: Option<(PathBuf, RankingForm)>,
    /// Results by query.
    pub per_query: Option<PathBuf>,
    /// Page of photos, and the queries on it.
    pub page: Option<(PathBuf, PageChoice)>,
    /// Files of photos by the keys of their descriptors. Other photos of the page are looked for by
    /// their names.
    pub files: BTreeMap<String, PathBuf>,
}

impl Outputs {
    /// Checks what can be known before anything is searched.
    ///
    /// # Errors
    /// A name that ends otherwise than the file's form; rankings of several setups; a query for the
    /// page that the data set lacks.
    pub fn check(&self, dataset: &Dataset) -> Result<()> {
        if let Some((path, form)) = &self.rankings {
            form.check_name(path)?;
            if let [first, second, ..] = dataset.setups.as_slice() {
                return Err(Error::Invalid(format!(
                    "{}: rankings are written of one setup; choose one (--setup {}, --setup {}, …)",
                    path.display(),
                    first.name,
                    second.name
                )));
            }
        }
        if let Some(path) = &self.per_query {
            check_per_query_name(path)?;
        }
        if let Some((path, PageChoice::Named(names))) = &self.page
            && let Some(unknown) = names.iter().find(|name| !has(dataset, name))
        {
            return Err(Error::Invalid(format!(
                "{}: {} has no query {unknown:?}",
                path.display(),
                dataset.name
            )));
        }
        Ok(())
    }
}

/// Judges a search by a data set.
///
/// # Errors
/// Those of [`Outputs::check`], of opening what is searched, of [`judge`], and of writing.
pub fn run(
    dataset: &Dataset,
    search: &Search,
    judging: &Judging,
    outputs: &Outputs,
    progress: ProgressFn<'_>,
) -> Result<Report> {
    outputs.check(dataset)?;
    if let Some(path) = &search.rankings {
        let answers = ReadAnswers::new(dataset, RankingFile::open(path)?)?;
        return judged(dataset, &answers, judging, outputs, "", progress);
    }
    let mut order = None;
    let exact = match search.descriptors.as_slice() {
        [] => None,
        paths => {
            let Vectors { keys, spec, rows, order: named_by } =
                search.open(paths, &search.reading)?;
            order = named_by;
            Some(ExactRanking::new(keys, spec, rows, search.similarity, search.dba)?)
        }
    };
    let index = match &search.index {
        None => None,
        Some(dir) => {
            let snapshot = Snapshot::open(dir, search.generation)?;
            Some(IndexRanking::new(snapshot, search.index_search)?)
        }
    };
    let exact = exact.as_ref().map(|exact| exact as &dyn Ranking);
    let Some(database) = index.as_ref().map(|index| index as &dyn Ranking).or(exact) else {
        return Err(Error::Invalid(
            "nothing is searched: expected descriptors, an index, rankings, or photos to encode"
                .to_owned(),
        ));
    };
    let given = match search.queries.as_slice() {
        [] => None,
        paths => Some(search.open(paths, &search.query_reading)?),
    };
    let given =
        given.as_ref().map(|Vectors { keys, spec, rows, .. }| GivenQueries { spec, keys, rows });
    let photos = exact.unwrap_or(database);
    let answers =
        Searched::new(dataset, database, photos, given, search.dba_queries, search.rerank)?;
    let order = order.map(|order| format!("; rows are in the order of {order}"));
    judged(dataset, &answers, judging, outputs, order.as_deref().unwrap_or_default(), progress)
}

fn has(dataset: &Dataset, query: &str) -> bool {
    dataset.queries.iter().any(|known| known.name == query)
}

/// Judges, and writes the outputs. `note` is added to the description of the search.
fn judged(
    dataset: &Dataset,
    answers: &dyn Answers,
    judging: &Judging,
    outputs: &Outputs,
    note: &str,
    progress: ProgressFn<'_>,
) -> Result<Report> {
    let mut collector = Collector::new(dataset, outputs)?;
    let told = |done: usize, total: usize| {
        progress(Progress { stage: "rank", done: done as u64, total: total as u64 });
    };
    let mut report = judge(dataset, answers, judging, &told, &mut |judged| collector.take(judged))?;
    report.search += note;
    collector.finish(dataset, &report, outputs)?;
    Ok(report)
}
