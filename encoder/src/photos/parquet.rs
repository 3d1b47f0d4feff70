//! The rows of Parquet files: a column of image bytes or of paths, beside it keys and ids.
//!
//! Read with the `parquet` crate's column readers: a row group is opened when the first of its rows is
//! wanted, and rows that are not wanted are skipped without being copied.

use std::fs::{File, Metadata};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ocelli_index::outside::{self, parquet_column, read_all};
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use walkdir::WalkDir;

use super::keys::{SeenKeys, key_of};
use super::{MAX_FILE_BYTES, Origin, Photo, Source};
use crate::error::{Error, Result};

/// Rows that are read at once: an image each, which bounds the memory.
const BLOCK: usize = 16;

/// Which columns are read. A name is that of a column, or the path of a field (`image.bytes`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParquetColumns {
    /// Column of the images: binary for the bytes of a file, text for a path. None: `image`, or the field
    /// `image.bytes` as the `datasets` library writes it.
    pub image: Option<String>,
    /// Column of keys, text. None: the path, or the file's name and the row's number.
    pub key: Option<String>,
    /// Column of ids, integers below 2⁶³. None: there are no ids.
    pub id: Option<String>,
}

/// A Parquet file, or all of a directory.
#[derive(Debug)]
pub(super) struct ParquetPhotos {
    root: PathBuf,
    files: Vec<Rows>,
}

/// One file with its columns found.
#[derive(Debug)]
struct Rows {
    path: PathBuf,
    /// Relative to the root, for people and for keys.
    name: String,
    rows: u64,
    image: Column,
    /// Whether the images are paths.
    is_path: bool,
    key: Option<Column>,
    id: Option<Column>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    leaf: usize,
    max_def_level: i16,
}

impl ParquetPhotos {
    /// Finds the files and their columns.
    pub(super) fn open(path: &Path, columns: &ParquetColumns) -> Result<Self> {
        let metadata = path.metadata().map_err(Error::io(path, "read"))?;
        let (root, paths) = match metadata.is_dir() {
            true => (path.to_owned(), files_below(path)?),
            // A bare file name has the parent "", which joins as the current folder.
            false => (path.parent().unwrap_or(Path::new("")).to_owned(), vec![path.to_owned()]),
        };
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let name = key_of(&path, &root).unwrap_or_else(|| path.display().to_string());
            files.push(Rows::find(path, name, columns)?);
        }
        Ok(ParquetPhotos { root, files })
    }

    /// Rows of all files, as their footers say; reading proves it.
    pub(super) fn count(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Facts of the files, with their names.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (&str, Option<Metadata>)> {
        self.files.iter().map(|file| (file.name.as_str(), file.path.metadata().ok()))
    }

    /// Hands every row that is wanted to `take`, file by file, with its number.
    pub(super) fn for_each(
        self,
        wanted: &mut impl FnMut(u64) -> Result<bool>,
        take: &mut impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut seen = SeenKeys::default();
        let mut first = 0;
        for file in &self.files {
            if file.for_each(first, &self.root, &mut seen, wanted, take)?.is_break() {
                break;
            }
            first += file.rows;
        }
        Ok(())
    }
}

/// Every `*.parquet` below a directory, in the order of the paths.
fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(root).follow_links(true).min_depth(1);
    for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_hidden(e.file_name())) {
        let entry = entry.map_err(|e| {
            let path = e.path().unwrap_or(root).to_owned();
            Error::io(&path, "list")(e.into())
        })?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|x| x == "parquet") {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        let what = format!("{}: expected *.parquet files, found none", root.display());
        return Err(Error::invalid(what));
    }
    files.sort();
    Ok(files)
}

impl Rows {
    fn find(path: PathBuf, name: String, columns: &ParquetColumns) -> Result<Rows> {
        let file = open(&path)?;
        let facts = file.metadata().file_metadata();
        let leaves = facts.schema_descr().columns();
        let refuse = |what: String| Error::invalid(format!("{}: {what}", path.display()));
        let names = || {
            let names: Vec<String> = leaves.iter().map(|c| c.path().string()).collect();
            names.join(", ")
        };
        let find = |wanted: &str| leaves.iter().position(|c| c.path().string() == wanted);
        let named = |wanted: &str,
                     what: &str,
                     fits: &dyn Fn(&ColumnDescriptor) -> bool|
         -> Result<Column> {
            let leaf = find(wanted)
                .ok_or_else(|| refuse(format!("no column {wanted:?}; there are {}", names())))?;
            let column = leaves.get(leaf).filter(|c| c.max_rep_level() == 0 && fits(c));
            let column = column
                .ok_or_else(|| refuse(format!("column {wanted:?}: expected one {what} a row")))?;
            Ok(Column { leaf, max_def_level: column.max_def_level() })
        };
        let is_bytes = |c: &ColumnDescriptor| c.physical_type() == Type::BYTE_ARRAY;
        let is_int = |c: &ColumnDescriptor| matches!(c.physical_type(), Type::INT32 | Type::INT64);
        let image = match &columns.image {
            Some(name) => name,
            None if find("image").is_some() => "image",
            None => "image.bytes",
        };
        let image = named(image, "binary value (an image file) or text (its path)", &is_bytes)?;
        let is_path = leaves.get(image.leaf).is_some_and(|c| is_text(c));
        let text = |name: &String| named(name, "text", &is_bytes);
        let key = columns.key.as_ref().map(text).transpose()?;
        let id = columns.id.as_ref().map(|name| named(name, "integer", &is_int)).transpose()?;
        let rows = u64::try_from(facts.num_rows())
            .map_err(|_| refuse(format!("damaged: {} rows", facts.num_rows())))?;
        Ok(Rows { path, name, rows, image, is_path, key, id })
    }

    fn error(&self, what: &str) -> Error {
        Error::invalid(format!("{}: {what}", self.path.display()))
    }

    /// `first` is the number of the first row in the whole input.
    fn for_each(
        &self,
        first: u64,
        root: &Path,
        seen: &mut SeenKeys,
        wanted: &mut impl FnMut(u64) -> Result<bool>,
        take: &mut impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let file = open(&self.path)?;
        let mut row = 0;
        for group in 0..file.num_row_groups() {
            let mut left = u64::try_from(file.metadata().row_group(group).num_rows()).unwrap_or(0);
            let mut readers: Option<Readers> = None;
            // Rows before the next one that the readers have not been moved over.
            let mut behind = 0;
            while left > 0 {
                let (is_wanted, n) = stretch(first + row, left, wanted)?;
                left -= n as u64;
                if !is_wanted {
                    behind += n;
                    row += n as u64;
                    continue;
                }
                let open = match &mut readers {
                    Some(open) => open,
                    none => none.insert(Readers::open(self, &file, group)?),
                };
                open.skip(self, behind)?;
                behind = 0;
                for (row, photo) in (row..).zip(open.read(self, n, row, root)?) {
                    if !seen.insert(&photo.key) {
                        let what = format!("row {row}: key {:?} occurs a second time", photo.key);
                        return Err(self.error(&what));
                    }
                    if take(first + row, photo).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                row += n as u64;
            }
        }
        if row != self.rows {
            let what = format!("damaged Parquet: expected {} rows, found {row}", self.rows);
            return Err(self.error(&what));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether the next rows are wanted, and how many of them alike: at most [`BLOCK`], and `left`.
fn stretch(
    number: u64,
    left: u64,
    wanted: &mut impl FnMut(u64) -> Result<bool>,
) -> Result<(bool, usize)> {
    let first = wanted(number)?;
    let mut n = 1;
    while n < BLOCK && (n as u64) < left && wanted(number + n as u64)? == first {
        n += 1;
    }
    Ok((first, n))
}

/// Readers of one row group, all at the same row.
struct Readers {
    image: ColumnReader,
    key: Option<ColumnReader>,
    id: Option<ColumnReader>,
}

impl Readers {
    fn open(rows: &Rows, file: &SerializedFileReader<File>, group: usize) -> Result<Readers> {
        guard(&rows.path, || {
            let group = file.get_row_group(group)?;
            let reader = |column: Column| parquet_column(group.as_ref(), column.leaf);
            Ok(Readers {
                image: reader(rows.image)?,
                key: rows.key.map(reader).transpose()?,
                id: rows.id.map(reader).transpose()?,
            })
        })
    }

    fn skip(&mut self, rows: &Rows, n: usize) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        for reader in [Some(&mut self.image), self.key.as_mut(), self.id.as_mut()] {
            let Some(reader) = reader else { continue };
            let skipped = guard(&rows.path, || match reader {
                ColumnReader::ByteArrayColumnReader(r) => r.skip_records(n),
                ColumnReader::Int32ColumnReader(r) => r.skip_records(n),
                ColumnReader::Int64ColumnReader(r) => r.skip_records(n),
                _ => Err(changed()),
            })?;
            if skipped != n {
                return Err(rows.error("damaged Parquet: a column ends before its row group"));
            }
        }
        Ok(())
    }

    /// The next `n` rows, of which the first is `row`. What is missing in a row is a reason of its own.
    fn read(&mut self, rows: &Rows, n: usize, row: u64, root: &Path) -> Result<Vec<Photo>> {
        let images = byte_arrays(rows, &mut self.image, rows.image, n)?;
        let keys = match (&mut self.key, rows.key) {
            (Some(reader), Some(column)) => Some(byte_arrays(rows, reader, column, n)?),
            _ => None,
        };
        let ids = match (&mut self.id, rows.id) {
            (Some(reader), Some(column)) => Some(integers(rows, reader, column, n)?),
            _ => None,
        };
        let mut keys = keys.into_iter().flatten();
        let mut ids = ids.into_iter().flatten();
        (row..)
            .zip(images)
            .map(|(row, image)| {
                let id = match (rows.id, ids.next().flatten()) {
                    (None, _) => None,
                    (Some(_), Some(id)) if id >= 0 => Some(id.unsigned_abs()),
                    (Some(_), found) => {
                        let found = found.map_or("none".to_owned(), |id| id.to_string());
                        let what = format!("row {row}: expected an id of 0 or more, found {found}");
                        return Err(rows.error(&what));
                    }
                };
                let mut source = rows.source(image, root);
                let numbered = || format!("{}#{row}", rows.name);
                let key = if rows.key.is_some() {
                    match keys.next().flatten().as_ref().map(ByteArray::as_utf8) {
                        Some(Ok(key)) if !key.is_empty() => key.to_owned(),
                        _ => {
                            source = Source::Refused("its key is null, empty or no UTF-8".into());
                            numbered()
                        }
                    }
                } else {
                    match &source {
                        Source::File(path) => key_of(path, root).unwrap_or_else(numbered),
                        _ => numbered(),
                    }
                };
                let origin = Some(Origin { file: rows.name.clone(), unit: "row", row });
                Ok(Photo { key, id, bbox: None, source, origin })
            })
            .collect()
    }
}

impl Rows {
    fn source(&self, image: Option<ByteArray>, root: &Path) -> Source {
        let Some(image) = image else {
            return Source::Refused("the image is null".to_owned());
        };
        if !self.is_path {
            let found = image.len() as u64;
            return match found > MAX_FILE_BYTES {
                true => {
                    Source::Refused(format!("file of {found} bytes, the limit is {MAX_FILE_BYTES}"))
                }
                false => Source::Bytes(image.data().to_vec(), None),
            };
        }
        match image.as_utf8() {
            Ok("") => Source::Refused("an empty path".to_owned()),
            Ok(path) => Source::File(root.join(path)),
            Err(_) => Source::Refused("its path is no UTF-8".to_owned()),
        }
    }
}

/// `n` values, None where a row has none.
fn byte_arrays(
    rows: &Rows,
    reader: &mut ColumnReader,
    column: Column,
    n: usize,
) -> Result<Vec<Option<ByteArray>>> {
    let (mut values, mut def) = (Vec::<ByteArray>::new(), Vec::new());
    guard(&rows.path, || match reader {
        ColumnReader::ByteArrayColumnReader(r) => {
            read_all(n, |n| r.read_records(n, Some(&mut def), None, &mut values).map(|read| read.0))
        }
        _ => Err(changed()),
    })?;
    spread(rows, values, &def, column, n)
}

fn integers(
    rows: &Rows,
    reader: &mut ColumnReader,
    column: Column,
    n: usize,
) -> Result<Vec<Option<i64>>> {
    let (mut values, mut def) = (Vec::<i64>::new(), Vec::new());
    guard(&rows.path, || match reader {
        ColumnReader::Int64ColumnReader(r) => {
            read_all(n, |n| r.read_records(n, Some(&mut def), None, &mut values).map(|read| read.0))
        }
        ColumnReader::Int32ColumnReader(r) => {
            let mut short = Vec::new();
            read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut short).map(|read| read.0)
            })?;
            values.extend(short.into_iter().map(i64::from));
            Ok(())
        }
        _ => Err(changed()),
    })?;
    spread(rows, values, &def, column, n)
}

/// Puts values to their rows: `def` has the column's largest level where there is one, and is empty where
/// every row has one.
fn spread<T>(
    rows: &Rows,
    values: Vec<T>,
    def: &[i16],
    column: Column,
    n: usize,
) -> Result<Vec<Option<T>>> {
    let mut values = values.into_iter();
    let spread: Vec<Option<T>> = match column.max_def_level {
        0 => values.by_ref().map(Some).collect(),
        max => def.iter().map(|&level| if level == max { values.next() } else { None }).collect(),
    };
    if spread.len() != n || values.next().is_some() {
        let what = format!("damaged Parquet: expected {n} values, found {}", spread.len());
        return Err(rows.error(&what));
    }
    Ok(spread)
}

fn is_text(column: &ColumnDescriptor) -> bool {
    column.converted_type() == ConvertedType::UTF8
        || matches!(column.logical_type_ref(), Some(LogicalType::String))
}

fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    guard(path, || SerializedFileReader::new(file))
}

fn changed() -> ParquetError {
    ParquetError::General("the column changed its type".to_owned())
}

/// Runs a step of the `parquet` crate.
fn guard<T>(path: &Path, step: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    outside::guard("Parquet", step)
        .map_err(|what| Error::invalid(format!("{}: {what}", path.display())))
}
