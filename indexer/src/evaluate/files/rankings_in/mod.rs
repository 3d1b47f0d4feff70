//! Rankings that other tools made.
//!
//! The form is taken from the content, never from the name. [`RankingSource`] lists the forms.

mod collect;
mod delimited;
mod form;
mod lines;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_index::foreign::open_regular;

use crate::{Error, Result};
use collect::Collector;
pub use form::RankingSource;
use form::{Found, Layout};

/// Where the fault of a file is, and what it is.
struct Fault {
    /// Line or row, from 1; 0 if the fault is that of the whole file.
    line: u32,
    what: String,
}

type Outcome<T> = std::result::Result<T, Fault>;

/// The rankings of a file, or of a directory of lists.
#[derive(Clone, Debug)]
pub struct RankingFile {
    /// The file or directory.
    pub path: PathBuf,
    /// The form that it was taken for.
    pub form: RankingSource,
    /// Why it was taken for it, as a part of a sentence: `its first line is id,images`.
    pub why: String,
    /// One ranking for each query, in the file's order.
    pub queries: Vec<QueryRanking>,
    /// Names of images, each once.
    images: Vec<Arc<str>>,
    /// `line`, or `row` in files that have none.
    unit: &'static str,
}

/// The ranking of one query.
#[derive(Clone, Debug)]
pub struct QueryRanking {
    /// The query's name.
    pub name: Arc<str>,
    /// Line where the query is first named, from 1 (Parquet: row).
    pub line: u32,
    /// Images, best first.
    rows: Vec<Row>,
}

/// An image of a ranking, as it is kept.
#[derive(Clone, Copy, Debug)]
struct Row {
    image: u32,
    line: u32,
    /// NaN: none.
    score: f64,
}

/// An image of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedImage {
    /// Number of its name, see [`RankingFile::images`].
    pub image: u32,
    /// Score of the image, if the file has scores.
    pub score: Option<f64>,
    /// Whether its score equals that of the image before. Images without scores are never tied.
    pub tied: bool,
    /// Line of the file, from 1 (Parquet: row).
    pub line: u32,
}

impl QueryRanking {
    /// Images, best first.
    pub fn images(&self) -> impl ExactSizeIterator<Item = RankedImage> {
        self.rows.iter().enumerate().map(|(at, row)| RankedImage {
            image: row.image,
            score: Some(row.score).filter(|score| !score.is_nan()),
            tied: at.checked_sub(1).is_some_and(|before| self.rows[before].score == row.score),
            line: row.line,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the query found nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl RankingFile {
    /// Reads the rankings at `path`, in whichever form of [`RankingSource`] they are.
    ///
    /// # Errors
    /// [`Error::File`] with the line for a file of no known form, a file without queries, a line
    /// with the wrong number of columns or a number that is none, a score that is NaN, a query's
    /// image that is named twice, ranks with a gap or twice the same. Those of reading.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            return directory(path);
        }
        let file = open_regular(path).map_err(Error::io("open", path))?;
        let whole = |what| Error::File { path: path.to_owned(), what };
        let Found { layout, form, why } = form::find(&file, path)?.map_err(whole)?;
        let unit = if layout == Layout::Parquet { "row" } else { "line" };
        let read = match layout {
            Layout::Delimited { delimiter, header } => {
                delimited::read(file, form, delimiter, header)
            }
            Layout::Parquet => table::read(file),
            Layout::Pairs => lines::pairs(file),
            Layout::List => lines::list(file, path),
        };
        let opened = read.and_then(|collected| {
            let (queries, images) = collected.finish(form)?;
            if queries.is_empty() {
                return Err(Fault { line: 0, what: "expected rankings, found none".to_owned() });
            }
            Ok(Self { path: path.to_owned(), form, why, queries, images, unit })
        });
        opened.map_err(|fault| fault.of(path, unit))
    }

    /// Names of all images, as the file has them. [`RankedImage::image`] is the place of a name.
    pub fn images(&self) -> &[Arc<str>] {
        &self.images
    }

    /// The place of a line of a query's ranking, for errors: `a.csv: line 7`.
    pub fn place(&self, query: &QueryRanking, line: u32) -> String {
        let path = match self.form {
            RankingSource::Lists if self.path.is_dir() => list_of(&self.path, &query.name),
            _ => self.path.clone(),
        };
        format!("{}: {} {line}", path.display(), self.unit)
    }
}

impl Fault {
    fn of(self, path: &Path, unit: &str) -> Error {
        let what = match self.line {
            0 => self.what,
            line => format!("{unit} {line}: {}", self.what),
        };
        Error::File { path: path.to_owned(), what }
    }
}

/// Ending of the lists of a directory.
const LIST_ENDING: &str = "txt";

/// The list of a query.
fn list_of(directory: &Path, query: &str) -> PathBuf {
    directory.join(format!("{query}.{LIST_ENDING}"))
}

/// Reads a directory of lists, in the order of their names.
fn directory(path: &Path) -> Result<RankingFile> {
    let listed = fs::read_dir(path).and_then(|entries| {
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()
    });
    let mut lists = listed.map_err(Error::io("list", path))?;
    lists.retain(|list| list.extension().is_some_and(|ending| ending == LIST_ENDING));
    lists.sort();
    let mut all = Collector::new(false, "line");
    for list in &lists {
        let file = open_regular(list).map_err(Error::io("open", list))?;
        lines::list_into(&mut all, file, list).map_err(|fault| fault.of(list, "line"))?;
    }
    let whole = |what| Error::File { path: path.to_owned(), what };
    if lists.is_empty() {
        let what = "expected a list NAME.txt for each query, found no file *.txt";
        return Err(whole(what.to_owned()));
    }
    let form = RankingSource::Lists;
    let (queries, images) = all.finish(form).map_err(|fault| fault.of(path, "line"))?;
    let why = format!("it is a directory with {} files *.txt", lists.len());
    Ok(RankingFile { path: path.to_owned(), form, why, queries, images, unit: "line" })
}
