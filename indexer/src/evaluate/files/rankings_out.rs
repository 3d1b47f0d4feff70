//! Rankings written for other tools.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ocelli_index::container::AtomicFile;
use ocelli_text::quoted;
use parquet::data_type::ByteArray;
use serde::Serialize;

use super::super::measures::Judgement;
use crate::parquet_out::{Column, Table};
use crate::{Error, Result};

/// Rows of a row group in Parquet.
const GROUP_ROWS: usize = 1 << 17;

const SCHEMA: &str = "message rankings {
    required binary query (UTF8);
    required int32 rank;
    required binary image (UTF8);
    required double score;
    required binary judgement (UTF8);
}";

/// Form of a file of rankings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RankingForm {
    /// `query,rank,image,score,judgement`, a row for each image; ranks from 1; `judgement` is
    /// positive, negative or junk.
    #[default]
    Long,
    /// `query_id,reference_id,score`, a row for each image (DISC21; Douze et al., 2021).
    Disc21,
    /// `id,images`, a row for each query, blanks between the images (Google Landmarks v2; Weyand
    /// et al., CVPR 2020).
    Gldv2,
}

impl RankingForm {
    /// Checks that a name for rankings ends in `.csv`, or in `.parquet` where the form allows it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another ending.
    pub fn check_name(self, path: &Path) -> Result<()> {
        self.is_parquet(path).map(|_| ())
    }

    /// Whether a file of this name is Parquet; otherwise it is CSV.
    fn is_parquet(self, path: &Path) -> Result<bool> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let endings = match (ending.as_deref(), self) {
            (Some("csv"), _) => return Ok(false),
            (Some("parquet"), Self::Long) => return Ok(true),
            (_, Self::Long) => ".csv or .parquet",
            (_, Self::Disc21 | Self::Gldv2) => ".csv, the challenge's form",
        };
        Err(Error::Invalid(format!(
            "{}: expected a name for rankings that ends in {endings}",
            path.display()
        )))
    }
}

/// One image of a ranking.
#[derive(Clone, Copy, Debug)]
pub struct RankedRow<'a> {
    /// Key of the image.
    pub image: &'a str,
    /// Score of the image; higher is better, never NaN.
    pub score: f64,
    /// Judgement of the image by the ground truth.
    pub judgement: Judgement,
}

/// Result of a [`RankingWriter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RankingsWritten {
    /// The file.
    pub path: PathBuf,
    /// Queries, those with an empty ranking included.
    pub queries: usize,
    /// Images of all rankings.
    pub images: u64,
}

/// Writes the rankings of queries to a file, one after the other. The file gets its name when it
/// is complete; dropped before, the writer leaves nothing behind.
pub struct RankingWriter {
    form: RankingForm,
    out: Out,
    names: HashSet<String>,
    written: RankingsWritten,
}

/// The file, by its ending.
enum Out {
    Csv(Box<csv::Writer<AtomicFile>>),
    Parquet(Box<Table>, Block),
}

/// Rows that wait for their row group.
#[derive(Default)]
struct Block {
    queries: Vec<ByteArray>,
    ranks: Vec<i32>,
    images: Vec<ByteArray>,
    scores: Vec<f64>,
    judgements: Vec<ByteArray>,
}

impl RankingWriter {
    /// Starts the file that will be at `path`: CSV or Parquet, by its ending. The forms of the
    /// challenges are always CSV.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another ending; those of [`AtomicFile::create`].
    pub fn create(path: &Path, form: RankingForm) -> Result<Self> {
        let out = if form.is_parquet(path)? {
            Out::Parquet(Box::new(Table::create(path, SCHEMA)?), Block::default())
        } else {
            let mut writer = csv::Writer::from_writer(AtomicFile::create(path)?);
            let header: &[&str] = match form {
                RankingForm::Long => &["query", "rank", "image", "score", "judgement"],
                RankingForm::Disc21 => &["query_id", "reference_id", "score"],
                RankingForm::Gldv2 => &["id", "images"],
            };
            writer.write_record(header).map_err(failed(path))?;
            Out::Csv(Box::new(writer))
        };
        let written = RankingsWritten { path: path.to_owned(), queries: 0, images: 0 };
        Ok(Self { form, out, names: HashSet::new(), written })
    }

    /// Appends the ranking of a query, best first. A query with an empty ranking has no rows: only
    /// the form of Google Landmarks can say that there was one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a query that was written before, a score that is NaN, and a blank in
    /// a name in the form of Google Landmarks; those of writing.
    pub fn query(&mut self, name: &str, rows: &[RankedRow<'_>]) -> Result<()> {
        let path = &self.written.path;
        let invalid = |what: String| {
            Error::Invalid(format!("{}: query {}: {what}", path.display(), quoted(name)))
        };
        if !self.names.insert(name.to_owned()) {
            return Err(invalid("its ranking was written before".to_owned()));
        }
        if let Some(row) = rows.iter().find(|row| row.score.is_nan()) {
            return Err(invalid(format!("the score of {} is NaN", quoted(row.image))));
        }
        match &mut self.out {
            Out::Csv(writer) => match self.form {
                RankingForm::Long => long(writer, name, rows).map_err(failed(path))?,
                RankingForm::Disc21 => disc21(writer, name, rows).map_err(failed(path))?,
                RankingForm::Gldv2 => {
                    let blank = |name: &&str| name.is_empty() || name.contains(char::is_whitespace);
                    if let Some(bad) = rows.iter().map(|row| row.image).find(blank) {
                        let what = "which its form cannot hold: blanks stand between its images";
                        return Err(invalid(format!("found image {}, {what}", quoted(bad))));
                    }
                    let images: Vec<&str> = rows.iter().map(|row| row.image).collect();
                    writer.write_record([name, &images.join(" ")]).map_err(failed(path))?;
                }
            },
            Out::Parquet(table, block) => {
                // What readers take for ranks of one query is whole in memory anyway.
                block.push(name, rows);
                if block.ranks.len() >= GROUP_ROWS {
                    block.flush(table)?;
                }
            }
        }
        self.written.queries += 1;
        self.written.images += rows.len() as u64;
        Ok(())
    }

    /// Writes the rest and gives the file its name.
    ///
    /// # Errors
    /// Those of writing; a file that had the name is then unchanged.
    pub fn finish(self) -> Result<RankingsWritten> {
        let path = &self.written.path;
        match self.out {
            Out::Csv(writer) => {
                let file =
                    writer.into_inner().map_err(|e| Error::io("write", path)(e.into_error()));
                file?.publish()?;
            }
            Out::Parquet(mut table, mut block) => {
                block.flush(&mut table)?;
                table.finish()?;
            }
        }
        Ok(self.written)
    }
}

impl Block {
    fn push(&mut self, name: &str, rows: &[RankedRow<'_>]) {
        let name = ByteArray::from(name);
        for (rank, row) in (1..).zip(rows) {
            self.queries.push(name.clone());
            self.ranks.push(rank);
            self.images.push(ByteArray::from(row.image));
            self.scores.push(row.score);
            self.judgements.push(ByteArray::from(word(row.judgement)));
        }
    }

    fn flush(&mut self, table: &mut Table) -> Result<()> {
        let Self { queries, ranks, images, scores, judgements } = std::mem::take(self);
        if ranks.is_empty() {
            return Ok(());
        }
        table.append(&[
            Column::Text(&queries),
            Column::Short(&ranks),
            Column::Text(&images),
            Column::Double(&scores),
            Column::Text(&judgements),
        ])
    }
}

/// The word of a judgement in a file.
fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Positive => "positive",
        Judgement::Negative => "negative",
        Judgement::Ignored => "junk",
    }
}

fn long(
    writer: &mut csv::Writer<AtomicFile>,
    name: &str,
    rows: &[RankedRow<'_>],
) -> csv::Result<()> {
    for (rank, row) in (1_usize..).zip(rows) {
        let (rank, score) = (rank.to_string(), row.score.to_string());
        writer.write_record([name, &rank, row.image, &score, word(row.judgement)])?;
    }
    Ok(())
}

fn disc21(
    writer: &mut csv::Writer<AtomicFile>,
    name: &str,
    rows: &[RankedRow<'_>],
) -> csv::Result<()> {
    for row in rows {
        writer.write_record([name, row.image, &row.score.to_string()])?;
    }
    Ok(())
}

/// Adapter for `map_err` on the crate's functions.
fn failed(path: &Path) -> impl Fn(csv::Error) -> Error {
    |e| match e.into_kind() {
        csv::ErrorKind::Io(e) => Error::io("write", path)(e),
        other => Error::File { path: path.to_owned(), what: format!("cannot write: {other:?}") },
    }
}
