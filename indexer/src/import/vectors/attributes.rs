//! Attributes of rows: columns of a Parquet file, or a CSV file with a line for each row.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ocelli_index::attributes::record::{self, Fields};
use ocelli_index::attributes::{Column, ColumnType, Schema, Value, check_name};
use ocelli_index::foreign::{ParquetColumn, ParquetKind, open_regular};

use super::rows::BadRow;
use crate::{Error, Result};

/// A column of attributes, as `NAME` or `NAME:TYPE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeColumn {
    /// The column's name in the file and in the index.
    pub name: String,
    /// The column's type; none: that of a Parquet file, or text.
    pub ty: Option<ColumnType>,
}

impl FromStr for AttributeColumn {
    type Err = ocelli_index::Error;

    fn from_str(text: &str) -> ocelli_index::Result<Self> {
        let (name, ty) = match text.split_once(':') {
            Some((name, ty)) => (name, Some(ty.parse()?)),
            None => (text, None),
        };
        check_name(name)?;
        Ok(Self { name: name.to_owned(), ty })
    }
}

/// The type in which a column of a Parquet file is kept, or what is wrong with it.
pub(super) fn parquet_type(
    wanted: &AttributeColumn,
    kind: Option<ParquetKind>,
) -> std::result::Result<ColumnType, String> {
    let own = match kind {
        Some(ParquetKind::Integers) => ColumnType::Int64,
        Some(ParquetKind::Float) => ColumnType::Float64,
        Some(ParquetKind::Boolean) => ColumnType::Bool,
        Some(ParquetKind::Text | ParquetKind::Bytes) => ColumnType::String,
        _ => {
            return Err(format!(
                "column {:?} (--attribute-column) holds no numbers, text or truth values",
                wanted.name
            ));
        }
    };
    match wanted.ty {
        None => Ok(own),
        Some(ty) if ty == own => Ok(ty),
        Some(ColumnType::Float64) if own == ColumnType::Int64 => Ok(ColumnType::Float64),
        Some(ty @ (ColumnType::Bytes8 | ColumnType::Bytes32)) if own == ColumnType::String => {
            Ok(ty)
        }
        Some(ty) => Err(format!(
            "column {:?} (--attribute-column) holds {own} in the file, and {ty} was asked for",
            wanted.name
        )),
    }
}

/// The values of the next `n` rows of a column; a reason where a row's is refused.
pub(super) fn parquet_values(
    column: &mut ParquetColumn,
    kind: ParquetKind,
    ty: ColumnType,
    n: usize,
) -> std::result::Result<Vec<std::result::Result<Option<Value>, String>>, String> {
    let float = |v: f64| (!v.is_nan()).then_some(Value::Float(v));
    Ok(match kind {
        ParquetKind::Integers if ty == ColumnType::Float64 => {
            let values = column.integers(n)?.into_iter();
            values.map(|v| v.map(|v| v.and_then(|v| float(v as f64)))).collect()
        }
        ParquetKind::Integers => {
            column.integers(n)?.into_iter().map(|v| v.map(|v| v.map(Value::Int))).collect()
        }
        // Writers of tables put NaN where there is nothing.
        ParquetKind::Float => {
            column.floats(n)?.into_iter().map(|v| Ok(v.and_then(float))).collect()
        }
        ParquetKind::Boolean => {
            column.booleans(n)?.into_iter().map(|v| Ok(v.map(Value::Bool))).collect()
        }
        _ => {
            let text = |bytes: &[u8]| {
                let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
                Value::parse(ty, text).map_err(|e| e.to_string())
            };
            let values = column.bytes(n)?.into_iter();
            values.map(|v| v.map(|v| text(v.data())).transpose()).collect()
        }
    })
}

/// Adds the values of a column to the attributes of rows, the first of which is `first`.
pub(super) fn add(
    name: &str,
    values: Vec<std::result::Result<Option<Value>, String>>,
    first: usize,
    fields: &mut [Fields],
    bad: &mut Vec<BadRow>,
) {
    for ((row, value), fields) in (first..).zip(values).zip(fields) {
        match value {
            Ok(Some(value)) => {
                fields.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(reason) => bad.push(BadRow { row, reason: format!("column {name:?}: {reason}") }),
        }
    }
}

/// The records of rows; one that cannot be made makes its row a bad one.
pub(super) fn records(fields: &[Fields], first: usize, bad: &mut Vec<BadRow>) -> Vec<Vec<u8>> {
    let record = |(row, fields): (usize, &Fields)| {
        record::encode(fields).unwrap_or_else(|e| {
            bad.push(BadRow { row, reason: e.to_string() });
            Vec::new()
        })
    };
    (first..).zip(fields).map(record).collect()
}

/// A CSV file with the names of columns in its first line and a line for each row.
pub(super) struct AttributeList {
    path: PathBuf,
    lines: csv::StringRecordsIntoIter<File>,
    /// Place in a line, and column.
    columns: Vec<(usize, Column)>,
    /// Lines of rows read so far.
    read: usize,
}

impl AttributeList {
    /// Opens the file. A name in its first line may say the type, `width:int64`; `wanted` may too,
    /// and names the columns that are taken: all, if it is empty.
    ///
    /// # Errors
    /// A file that cannot be opened; names that are none or are not there.
    pub fn open(path: &Path, wanted: &[AttributeColumn]) -> Result<Self> {
        let error = |what: String| Error::File { path: path.to_owned(), what };
        let file = open_regular(path).map_err(Error::io("open", path))?;
        let mut reader = csv::ReaderBuilder::new().from_reader(file);
        let head = reader.headers().map_err(|e| error(format!("line 1: {e}")))?.clone();
        let mut schema = Schema::default();
        let mut columns = Vec::new();
        for (place, text) in head.iter().enumerate() {
            let name = text.split(':').next().unwrap_or_default();
            let asked = wanted.iter().find(|column| column.name == name);
            if asked.is_none() && !wanted.is_empty() {
                continue;
            }
            let own: AttributeColumn = text.parse().map_err(|e| error(format!("line 1: {e}")))?;
            if schema.find(&own.name).is_some() {
                return Err(error(format!("line 1: column {name:?} is there twice")));
            }
            let ty = asked.and_then(|column| column.ty).or(own.ty);
            let column = Column { name: own.name, ty: ty.unwrap_or(ColumnType::String) };
            schema.add(column.clone())?;
            columns.push((place, column));
        }
        if let Some(missing) = wanted.iter().find(|c| schema.find(&c.name).is_none()) {
            let names: Vec<&str> = head.iter().collect();
            return Err(error(format!(
                "no column {:?} (--attribute-column); the columns are {}",
                missing.name,
                names.join(", ")
            )));
        }
        let lines = reader.into_records();
        Ok(Self { path: path.to_owned(), lines, columns, read: 0 })
    }

    /// The records of the next `n` rows, of which the first is row `first` of its file. An empty
    /// field is null; a value of another type makes its row a bad one.
    ///
    /// # Errors
    /// Fewer lines than rows; a line that is not CSV.
    pub fn next(&mut self, n: usize, first: usize, bad: &mut Vec<BadRow>) -> Result<Vec<Vec<u8>>> {
        let mut fields = vec![Fields::new(); n];
        for (row, fields) in (first..).zip(&mut fields) {
            let line = self.lines.next().ok_or_else(|| {
                let what = "expected a line of attributes for every row, found";
                self.error(format!("{what} {}", self.read))
            })?;
            self.read += 1;
            let line = line.map_err(|e| self.error(format!("row {}: {e}", self.read)))?;
            for (place, column) in &self.columns {
                let text = line.get(*place).unwrap_or_default();
                if text.is_empty() {
                    continue;
                }
                match Value::parse(column.ty, text) {
                    Ok(value) => {
                        fields.insert(column.name.clone(), value);
                    }
                    Err(e) => {
                        let (path, line) = (self.path.display(), self.read + 1);
                        let reason = format!("{path}:{line}: column {:?}: {e}", column.name);
                        bad.push(BadRow { row, reason });
                    }
                }
            }
        }
        let records = records(&fields, first, bad);
        bad.sort_by_key(|bad| bad.row);
        bad.dedup_by_key(|bad| bad.row);
        Ok(records)
    }

    /// Checks that no line is left.
    ///
    /// # Errors
    /// More lines than rows.
    pub fn finish(mut self) -> Result<()> {
        let left = (&mut self.lines).count();
        if left == 0 {
            return Ok(());
        }
        let (rows, lines) = (self.read, self.read + left);
        Err(self.error(format!("expected attributes of {rows} rows, found {lines} lines")))
    }

    fn error(&self, what: String) -> Error {
        Error::File { path: self.path.clone(), what }
    }
}
