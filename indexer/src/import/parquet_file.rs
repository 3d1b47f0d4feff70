//! Columns of vectors in Parquet files: lists of floats, with ids and keys beside them where wanted.
//!
//! A list is stored as its elements and, for each, a repetition level (0 where a row begins) and a
//! definition level (the largest where there is a value); fixed-size lists are stored likewise (Parquet's
//! "Nested Encoding", after Melnik et al. 2010). Read with the `parquet` crate's column readers.

use std::fs::File;
use std::path::{Path, PathBuf};

use ocelli_index::Checks;
use ocelli_index::outside::{self, parquet_column, read_all};
use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use crate::{Error, Result};

/// Which columns are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParquetColumns {
    /// Column of the vectors; none: the only one that holds lists of floats.
    pub vectors: Option<String>,
    /// Column of ids, integers of 0 or more.
    pub ids: Option<String>,
    /// Column of keys, text.
    pub keys: Option<String>,
}

/// Some rows of a file.
#[derive(Debug)]
pub struct ParquetRows {
    /// Vectors, (rows, dim).
    pub x: Vec<f32>,
    /// Ids, (rows,), where they were asked for.
    pub ids: Option<Vec<u64>>,
    /// Keys, (rows,), where they were asked for.
    pub keys: Option<Vec<String>>,
}

/// An open Parquet file.
pub struct ParquetFile {
    path: PathBuf,
    file: SerializedFileReader<File>,
    checks: Checks,
    /// Leaf columns.
    vectors: usize,
    ids: Option<usize>,
    keys: Option<usize>,
    rows: usize,
    dim: usize,
}

impl ParquetFile {
    /// Opens a file, finds its columns, and takes the dimension from the first row.
    ///
    /// # Errors
    /// [`Error::Index`]; [`Error::File`] if it is damaged, has no rows, or has no such columns.
    pub fn open(path: &Path, columns: &ParquetColumns, checks: Checks) -> Result<Self> {
        let bytes = File::open(path).map_err(Error::io("open", path))?;
        let file = guard(path, || SerializedFileReader::new(bytes))?;
        let error = |what| Error::File { path: path.to_owned(), what };
        let leaves = file.metadata().file_metadata().schema_descr().columns();
        let is_vector =
            |c: &ColumnDescriptor| c.max_rep_level() == 1 && is_float(c.physical_type());
        let is_id = |c: &ColumnDescriptor| {
            c.max_rep_level() == 0 && matches!(c.physical_type(), Type::INT32 | Type::INT64)
        };
        let is_key =
            |c: &ColumnDescriptor| c.max_rep_level() == 0 && c.physical_type() == Type::BYTE_ARRAY;
        let named = |name: &str, what: &str, fits: &dyn Fn(&ColumnDescriptor) -> bool| {
            let of_name =
                |c: &ColumnDescriptor| c.path().parts().first().is_some_and(|n| n == name);
            match leaves.iter().position(|c| of_name(c) && fits(c)) {
                Some(leaf) => Ok(leaf),
                None if leaves.iter().any(|c| of_name(c)) => {
                    Err(error(format!("column {name:?} holds no {what}")))
                }
                None => {
                    let mut names: Vec<_> =
                        leaves.iter().filter_map(|c| c.path().parts().first()).collect();
                    names.dedup();
                    Err(error(format!("no column {name:?}; there are {names:?}")))
                }
            }
        };
        let lists = "lists of 32- or 64-bit floats";
        let vectors = match &columns.vectors {
            Some(name) => named(name, lists, &is_vector)?,
            None => {
                let mut found = (0..leaves.len()).filter(|&leaf| is_vector(&leaves[leaf]));
                match (found.next(), found.next()) {
                    (Some(leaf), None) => leaf,
                    (None, _) => return Err(error(format!("no column holds {lists}"))),
                    _ => return Err(error(format!("several columns hold {lists}: name one"))),
                }
            }
        };
        let ids = columns.ids.as_ref().map(|name| named(name, "integers", &is_id)).transpose()?;
        let keys = columns.keys.as_ref().map(|name| named(name, "text", &is_key)).transpose()?;
        let rows = file.metadata().file_metadata().num_rows();
        let rows = usize::try_from(rows).ok().filter(|&rows| rows > 0);
        let rows = rows.ok_or_else(|| error("expected at least one row, found none".to_owned()))?;
        let path = path.to_owned();
        let mut out = Self { path, file, checks, vectors, ids, keys, rows, dim: 0 };
        out.dim = out.first_dim()?;
        Ok(out)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Dimension of the vectors, at least 1.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of rows, as the file says; reading them proves it.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Gives all rows to `take`, at most `block` of them at once, with the number of the first.
    ///
    /// # Errors
    /// [`Error::File`] with the row for a row that is missing, of another dimension, holds nulls, numbers
    /// that are not finite, or is refused by the [`Checks`]; those of `take`.
    pub fn for_each(
        &self,
        block: usize,
        mut take: impl FnMut(usize, ParquetRows) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        for group in 0..self.file.num_row_groups() {
            let (mut left, mut readers) = guard(&self.path, || {
                let group = self.file.get_row_group(group)?;
                let column = |leaf| parquet_column(group.as_ref(), leaf);
                let ids = self.ids.map(column).transpose()?;
                let keys = self.keys.map(column).transpose()?;
                Ok((group.metadata().num_rows(), (column(self.vectors)?, ids, keys)))
            })?;
            while left > 0 {
                // Cannot truncate: no more than `block`.
                let n = left.min(block as i64) as usize;
                let x = self.read_vectors(&mut readers.0, n, first)?;
                let ids = match &mut readers.1 {
                    Some(reader) => Some(self.read_ids(reader, n, first)?),
                    None => None,
                };
                let keys = match &mut readers.2 {
                    Some(reader) => Some(self.read_keys(reader, n, first)?),
                    None => None,
                };
                take(first, ParquetRows { x, ids, keys })?;
                first += n;
                left -= n as i64;
            }
        }
        if first != self.rows {
            return Err(self.error(format!("expected {} rows, found {first}", self.rows)));
        }
        Ok(())
    }

    fn error(&self, what: String) -> Error {
        Error::File { path: self.path.clone(), what }
    }

    fn leaf(&self, leaf: usize) -> &ColumnDescriptor {
        &self.file.metadata().file_metadata().schema_descr().columns()[leaf]
    }

    /// Length of the first row that there is.
    fn first_dim(&self) -> Result<usize> {
        for group in 0..self.file.num_row_groups() {
            let mut reader = guard(&self.path, || {
                parquet_column(self.file.get_row_group(group)?.as_ref(), self.vectors)
            })?;
            let lists = self.read_lists(&mut reader, 1)?;
            if !lists.rep.is_empty() {
                let max = self.leaf(self.vectors).max_def_level();
                let full = lists.def.iter().all(|&level| level == max);
                return full.then_some(lists.rep.len()).ok_or_else(|| self.null(0));
            }
        }
        Err(self.error("row 0: expected a vector, found the end".to_owned()))
    }

    fn null(&self, row: usize) -> Error {
        self.error(format!("row {row}: expected a vector, found a null or an empty list"))
    }

    fn read_lists(&self, reader: &mut ColumnReader, n: usize) -> Result<Lists> {
        let mut lists = Lists::default();
        let Lists { values, def, rep } = &mut lists;
        guard(&self.path, || match reader {
            ColumnReader::FloatColumnReader(r) => {
                read_all(n, |n| r.read_records(n, Some(def), Some(rep), values).map(|read| read.0))
            }
            ColumnReader::DoubleColumnReader(r) => {
                let mut doubles = Vec::new();
                read_all(n, |n| {
                    r.read_records(n, Some(def), Some(rep), &mut doubles).map(|read| read.0)
                })?;
                values.extend(doubles.into_iter().map(|x| x as f32));
                Ok(())
            }
            _ => Err(ParquetError::General("the column changed its type".to_owned())),
        })?;
        Ok(lists)
    }

    /// (n, dim); `first` is the number of the first row.
    fn read_vectors(&self, reader: &mut ColumnReader, n: usize, first: usize) -> Result<Vec<f32>> {
        let Lists { values, def, rep } = self.read_lists(reader, n)?;
        let max = self.leaf(self.vectors).max_def_level();
        let mut row = first;
        let mut len = 0;
        let check = |row: usize, len: usize| {
            let expected = self.dim;
            let what = || format!("row {row}: expected dimension {expected}, found {len}");
            if len == expected { Ok(()) } else { Err(self.error(what())) }
        };
        for (i, (&rep, &def)) in rep.iter().zip(&def).enumerate() {
            if rep == 0 && i > 0 {
                check(row, len)?;
                (row, len) = (row + 1, 0);
            }
            if def != max {
                return Err(self.null(row));
            }
            len += 1;
        }
        check(row, len)?;
        if row + 1 != first + n || values.len() != n * self.dim {
            return Err(self.error(format!("row {}: expected a vector, found the end", row + 1)));
        }
        for (row, x) in (first..).zip(values.chunks_exact(self.dim)) {
            if let Some(why) = self.checks.refusal(x) {
                return Err(self.error(format!("row {row}: {why}")));
            }
        }
        Ok(values)
    }

    fn read_ids(&self, reader: &mut ColumnReader, n: usize, first: usize) -> Result<Vec<u64>> {
        let (mut ids, mut def) = (Vec::<i64>::new(), Vec::new());
        guard(&self.path, || match reader {
            ColumnReader::Int64ColumnReader(r) => read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut ids).map(|read| read.0)
            }),
            ColumnReader::Int32ColumnReader(r) => {
                let mut short = Vec::new();
                read_all(n, |n| {
                    r.read_records(n, Some(&mut def), None, &mut short).map(|read| read.0)
                })?;
                ids.extend(short.into_iter().map(i64::from));
                Ok(())
            }
            _ => Err(ParquetError::General("the column changed its type".to_owned())),
        })?;
        self.check_count("id", self.ids, ids.len(), &def, n, first)?;
        let ids = (first..).zip(ids).map(|(row, id)| {
            u64::try_from(id)
                .map_err(|_| self.error(format!("row {row}: id {id}, expected 0 or more")))
        });
        ids.collect()
    }

    fn read_keys(&self, reader: &mut ColumnReader, n: usize, first: usize) -> Result<Vec<String>> {
        let (mut keys, mut def) = (Vec::<ByteArray>::new(), Vec::new());
        guard(&self.path, || match reader {
            ColumnReader::ByteArrayColumnReader(r) => read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut keys).map(|read| read.0)
            }),
            _ => Err(ParquetError::General("the column changed its type".to_owned())),
        })?;
        self.check_count("key", self.keys, keys.len(), &def, n, first)?;
        let keys = (first..).zip(keys).map(|(row, key)| match key.as_utf8() {
            Ok(key) => Ok(key.to_owned()),
            Err(_) => Err(self.error(format!("row {row}: its key is no UTF-8"))),
        });
        keys.collect()
    }

    /// One value in each of `n` rows.
    fn check_count(
        &self,
        what: &str,
        leaf: Option<usize>,
        values: usize,
        def: &[i16],
        n: usize,
        first: usize,
    ) -> Result<()> {
        if values == n {
            return Ok(());
        }
        let max = leaf.map_or(0, |leaf| self.leaf(leaf).max_def_level());
        let row = first + def.iter().position(|&level| level != max).unwrap_or(values);
        Err(self.error(format!("row {row}: expected its {what}, found none")))
    }
}

/// Elements of lists with their levels.
#[derive(Default)]
struct Lists {
    values: Vec<f32>,
    def: Vec<i16>,
    rep: Vec<i16>,
}

fn is_float(physical: Type) -> bool {
    matches!(physical, Type::FLOAT | Type::DOUBLE)
}

/// Runs a step of the `parquet` crate.
fn guard<T>(path: &Path, step: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    outside::guard("Parquet", step).map_err(|what| Error::File { path: path.to_owned(), what })
}
