//! Files of vectors as a part of descriptors.

mod attributes;
mod key_list;
mod parquet_file;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use ocelli_index::foreign::files_below;
use ocelli_index::{
    Checks, DescriptorSpec, Dtype, ErrorCode, Hash, PartImage, PartKind, PartRow, PartWriter,
    Rejected, RejectedWriter, VectorFile, VectorFormat,
};
use ocelli_text::counted;
use serde::Serialize;

use crate::{Error, Progress, ProgressFn, Result};
pub use attributes::AttributeColumn;
use attributes::AttributeList;
use key_list::KeyList;
pub use parquet_file::{ParquetColumns, ParquetFile};
pub use rows::{BadRow, Rows};

/// Bytes of f32 that are read at once.
const BLOCK_BYTES: usize = 16 << 20;

/// The ending of Parquet files; the others are those of [`VectorFormat`].
const PARQUET: &str = "parquet";

/// Reasons that an error names, where every row was rejected.
const NAMED_REASONS: usize = 3;

/// Files that an error names, where none has a vector.
const NAMED_FILES: usize = 3;

/// The treatment of a bad row: a null, a NaN or infinity, a norm out of range, another dimension, a
/// key or id that is invalid or that an earlier row has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnBadRow {
    /// The row is left out, and listed in OUT.rejected.jsonl with file, row and reason.
    #[default]
    Reject,
    /// The row ends the import, and nothing is written.
    Stop,
}

/// Options of an import of vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorsOptions {
    /// The user's name for what made the vectors: the spec is `foreign:<name>`.
    pub name: String,
    /// The type of the part's numbers.
    pub dtype: Dtype,
    /// Treatment of bad rows.
    pub on_bad_row: OnBadRow,
    /// A text file with the key of each row, a line each, over all files; None: rows have the keys
    /// of their column, or none.
    pub keys: Option<PathBuf>,
    /// A CSV file with the attributes of each row over all files, names in its first line, and the
    /// columns of it that are taken, all if they are none; None: rows have the attributes of their
    /// columns, or none.
    pub attributes: Option<(PathBuf, Vec<AttributeColumn>)>,
}

/// Report of an import of vectors.
#[derive(Clone, Debug, Serialize)]
pub struct VectorsReport {
    /// The part.
    pub path: PathBuf,
    /// Vectors in it.
    pub rows: u64,
    /// Rows that were left out.
    pub rejected: u64,
    /// The list of these rows.
    pub rejected_path: PathBuf,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Size of the part.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

/// An open file of vectors of any format.
pub enum VectorSource {
    /// A file of rows only.
    Plain(VectorFile),
    /// Columns.
    Parquet(Box<ParquetFile>),
}

/// The ending of a file of vectors; none for other files.
fn format_of(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    (ending == PARQUET || ending.parse::<VectorFormat>().is_ok()).then_some(ending)
}

/// Endings of all formats, for people.
fn endings() -> String {
    format!(".{}, .{PARQUET}", VectorFormat::NAMES.join(", ."))
}

impl VectorSource {
    /// Opens a file by its ending: `.parquet`, or one of [`ocelli_index::VectorFormat`].
    ///
    /// # Errors
    /// Those of [`VectorFile::open`] and [`ParquetFile::open`]; [`Error::Invalid`] for another
    /// ending, and for columns of a file that has none.
    pub fn open(path: &Path, columns: &ParquetColumns, checks: Checks) -> Result<Self> {
        match format_of(path).as_deref() {
            Some(PARQUET) => {
                return Ok(Self::Parquet(Box::new(ParquetFile::open(path, columns, checks)?)));
            }
            Some(_) => {}
            None => {
                return Err(Error::Invalid(format!(
                    "{}: expected a file of vectors, which ends in {}",
                    path.display(),
                    endings()
                )));
            }
        }
        let file = VectorFile::open(path)?.with_checks(checks);
        if *columns != ParquetColumns::default() {
            return Err(Error::Invalid(format!(
                "{}: columns are named, but only .parquet files have columns",
                path.display()
            )));
        }
        Ok(Self::Plain(file))
    }

    /// Opens a file as [`Self::open`] does, or all files of vectors below a directory, in the order
    /// of their paths. Other files there are passed over, and so are links that lead back to a
    /// folder above them, which are handed to `left_out`.
    ///
    /// # Errors
    /// Those of [`Self::open`]; [`Error::Index`] for a folder that cannot be read;
    /// [`Error::Invalid`] if there are none, or files of two formats.
    pub fn open_all(
        path: &Path,
        columns: &ParquetColumns,
        checks: Checks,
        left_out: impl FnMut(&Path),
    ) -> Result<Vec<Self>> {
        if !path.is_dir() {
            return Ok(vec![Self::open(path, columns, checks)?]);
        }
        let files = files_below(path, |path| format_of(path).is_some(), left_out)
            .map_err(|(path, e)| Error::io("list", &path)(e))?;
        let Some(first) = files.first() else {
            return Err(Error::Invalid(format!(
                "{}: expected files of vectors below it ({}), found none",
                path.display(),
                endings()
            )));
        };
        if let Some(other) = files.iter().find(|file| format_of(file) != format_of(first)) {
            return Err(Error::Invalid(format!(
                "{}: expected files of one format, found {} and {}; name the files in place of the \
                 directory",
                path.display(),
                first.display(),
                other.display()
            )));
        }
        files.iter().map(|file| Self::open(file, columns, checks)).collect()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Plain(file) => file.path(),
            Self::Parquet(file) => file.path(),
        }
    }

    /// Dimension of the vectors; 0 if there are none.
    pub fn dim(&self) -> usize {
        match self {
            Self::Plain(file) => file.dim(),
            Self::Parquet(file) => file.dim(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Plain(file) => file.rows(),
            Self::Parquet(file) => file.rows(),
        }
    }

    /// All rows in blocks.
    fn for_each(&self, block: usize, mut take: impl FnMut(Rows) -> Result<()>) -> Result<()> {
        let file = match self {
            Self::Parquet(file) => return file.for_each(block, take),
            Self::Plain(file) => file,
        };
        for first in (0..file.rows()).step_by(block) {
            let n = block.min(file.rows() - first);
            let (x, bad) = file.read_all(first..first + n)?;
            let bad = bad.into_iter().map(|(row, reason)| BadRow { row, reason }).collect();
            take(Rows { first, n, x, ids: None, keys: None, records: None, bad })?;
        }
        Ok(())
    }
}

/// The one dimension of all files that have vectors.
fn common_dim(files: &[VectorSource]) -> Result<usize> {
    let rows: usize = files.iter().map(VectorSource::rows).sum();
    let names = || {
        let names = files.iter().take(NAMED_FILES).map(|file| file.path().display().to_string());
        let more = files.len().saturating_sub(NAMED_FILES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        names.collect::<Vec<_>>().join(", ") + &more
    };
    if rows == 0 {
        let what = format!("{}: no rows; expected at least one vector", names());
        return Err(Error::Invalid(what));
    }
    let mut with_vectors = files.iter().filter(|file| file.dim() > 0);
    let Some(first) = with_vectors.next() else {
        return Err(Error::Invalid(format!(
            "{}: expected at least one vector, found none in {}",
            names(),
            counted(rows as u64, "row")
        )));
    };
    let dim = first.dim();
    match with_vectors.find(|file| file.dim() != dim) {
        None => Ok(dim),
        Some(other) => Err(Error::Invalid(format!(
            "{}: expected dimension {dim} as in {}, found {}",
            other.path().display(),
            first.path().display(),
            other.dim()
        ))),
    }
}

/// The rows on their way into the part.
struct Sink {
    part: PartWriter,
    rejected: RejectedWriter,
    on_bad_row: OnBadRow,
    dim: usize,
    ids: HashSet<u64>,
    /// Halves of hashes: two of 2³² keys have the same with a probability below 2⁻⁶⁴.
    keys: HashSet<[u8; 16]>,
    /// The first reasons.
    reasons: Vec<String>,
}

impl Sink {
    fn take(&mut self, file: &Path, rows: &Rows) -> Result<()> {
        let mut bad = rows.bad.iter().peekable();
        for i in 0..rows.n {
            let row = rows.first + i;
            let id = rows.ids.as_ref().map(|ids| ids[i]);
            let key = rows.keys.as_ref().map(|keys| keys[i].as_str());
            let reason = match bad.next_if(|bad| bad.row == row) {
                Some(bad) => Some(bad.reason.clone()),
                None => {
                    let record = rows.records.as_ref().map_or(&[][..], |records| &records[i]);
                    let image =
                        PartImage { key: key.unwrap_or_default(), id, attributes: None, record };
                    let x = &rows.x[i * self.dim..][..self.dim];
                    self.push(&image, key.is_some(), x, file, row)?
                }
            };
            if let Some(reason) = reason {
                self.reject(file, row, key, &reason)?;
            }
        }
        Ok(())
    }

    /// Writes a row, or returns why it cannot be written.
    fn push(
        &mut self,
        image: &PartImage<'_>,
        has_key: bool,
        x: &[f32],
        file: &Path,
        row: usize,
    ) -> Result<Option<String>> {
        let (id, key) = (image.id, Some(image.key).filter(|_| has_key));
        if let Some(id) = id.filter(|id| self.ids.contains(id)) {
            return Ok(Some(format!("id {id} occurs a second time")));
        }
        let half = key.map(|key| {
            let mut half = [0; 16];
            half.copy_from_slice(&Hash::of(key.as_bytes()).bytes()[..16]);
            half
        });
        if half.is_some_and(|half| self.keys.contains(&half)) {
            return Ok(Some("its key occurs a second time".to_owned()));
        }
        match self.part.push_image(image, PartRow::Vectors(x)) {
            Ok(()) => {}
            // Finite as f32, but not as the part stores it.
            Err(e) if e.code() == ErrorCode::InvalidArgument => return Ok(Some(e.to_string())),
            Err(e) => {
                let what = format!("row {row}: {e}");
                return Err(Error::File { path: file.to_owned(), what });
            }
        }
        self.ids.extend(id);
        self.keys.extend(half);
        Ok(None)
    }

    fn reject(&mut self, file: &Path, row: usize, key: Option<&str>, reason: &str) -> Result<()> {
        if self.on_bad_row == OnBadRow::Stop {
            let what = format!("row {row}: {reason}");
            return Err(Error::File { path: file.to_owned(), what });
        }
        let key = key.filter(|key| !key.is_empty());
        let file = file.display().to_string();
        if self.reasons.len() < NAMED_REASONS {
            self.reasons.push(format!("{file}: row {row}: {reason}"));
        }
        let line = Rejected { key, file: Some(&file), row: Some(row as u64), reason };
        Ok(self.rejected.push(&line)?)
    }
}

/// Hands all rows to `sink`, with the keys and attributes of the lists in the options.
fn import_rows(
    files: &[VectorSource],
    sink: &mut Sink,
    options: &VectorsOptions,
    progress: ProgressFn<'_>,
) -> Result<()> {
    let keys = options.keys.as_deref();
    let attributes = options.attributes.as_ref();
    let mut attributes =
        attributes.map(|(path, columns)| AttributeList::open(path, columns)).transpose()?;
    let block = (BLOCK_BYTES / 4 / sink.dim).max(1);
    let total = files.iter().map(|file| file.rows() as u64).sum();
    let mut list = keys.map(KeyList::open).transpose()?;
    let mut done = 0;
    for file in files {
        file.for_each(block, |mut rows| {
            if let Some(list) = &mut list {
                if rows.keys.is_some() {
                    return Err(Error::Invalid(format!(
                        "{}: it has a column of keys, and --keys gives others",
                        file.path().display()
                    )));
                }
                rows.keys = Some(list.next(rows.n, rows.first, &mut rows.bad)?);
            }
            if let Some(list) = &mut attributes {
                rows.records = Some(list.next(rows.n, rows.first, &mut rows.bad)?);
            }
            sink.take(file.path(), &rows)?;
            done += rows.n as u64;
            progress(Progress { stage: "vectors", done, total });
            Ok(())
        })?;
    }
    attributes.map_or(Ok(()), AttributeList::finish)?;
    list.map_or(Ok(()), KeyList::finish)
}

/// Writes the rows of `files`, one file after another, as descriptors into a part at `out`, and
/// those that were left out into the list beside it ([`RejectedWriter::path_for`]). Without columns
/// of ids and keys, and without a list of keys, the rows have none; an index that is built of
/// nothing else then gives them the ids 0, 1, 2, …
///
/// # Errors
/// [`Error::Index`] or [`Error::File`] for files that cannot be read, and with file and row for a
/// bad row where that is to stop the import; a list of keys with fewer or more lines than rows;
/// [`Error::Invalid`] for no files or files of different
/// dimensions, and where every row was rejected. No part is then left.
pub fn import_vectors(
    files: &[VectorSource],
    out: &Path,
    options: &VectorsOptions,
    progress: ProgressFn<'_>,
) -> Result<VectorsReport> {
    let start = Instant::now();
    if files.is_empty() {
        return Err(Error::Invalid("expected at least one file of vectors".to_owned()));
    }
    let dim = common_dim(files)?;
    let spec_dim = u32::try_from(dim)
        .map_err(|_| Error::Invalid(format!("dimension {dim}: expected less than 2^32")))?;
    let spec = DescriptorSpec::foreign(&options.name, spec_dim)?;
    let rejected_path = RejectedWriter::path_for(out);
    // The part first: it makes the folder.
    let part = PartWriter::create(out, PartKind::Descriptors, options.dtype, &spec)?;
    let mut sink = Sink {
        part,
        rejected: RejectedWriter::create(&rejected_path)?,
        on_bad_row: options.on_bad_row,
        dim,
        ids: HashSet::new(),
        keys: HashSet::new(),
        reasons: Vec::new(),
    };
    import_rows(files, &mut sink, options, progress)?;
    let Sink { part, rejected: list, reasons, .. } = sink;
    let rejected = list.count();
    if part.images() == 0 {
        list.finish()?;
        return Err(Error::Invalid(format!(
            "all rows were rejected ({rejected}), so there is no part; see {}; the first: {}",
            rejected_path.display(),
            reasons.join("; ")
        )));
    }
    // Both are on disk before either has its name: a disk that is full leaves nothing behind.
    let part = part.seal()?;
    list.finish()?;
    let written = part.publish()?;
    Ok(VectorsReport {
        path: written.path,
        rows: written.rows,
        rejected,
        rejected_path,
        dim,
        bytes: written.bytes,
        seconds: start.elapsed().as_secs_f64(),
    })
}
