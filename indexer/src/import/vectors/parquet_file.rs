//! Columns of vectors in Parquet files: lists of numbers, on request with ids and keys.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ocelli_index::Checks;
use ocelli_index::attributes::ColumnType;
use ocelli_index::attributes::record::Fields;
use ocelli_index::foreign::{self, ParquetColumn, ParquetKind, open_regular};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};

use super::attributes::{self, AttributeColumn};
use super::rows::{BadRow, Rows};
use crate::{Error, Result};

/// Rows that decide the dimension of a file: the one that most of them have.
const DIM_ROWS: usize = 64;

/// Names of the columns to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParquetColumns {
    /// Column of the vectors; none: the only one that holds lists of floats.
    pub vectors: Option<String>,
    /// Column of ids, integers of 0 or more.
    pub ids: Option<String>,
    /// Column of keys, text.
    pub keys: Option<String>,
    /// Columns of attributes.
    pub attributes: Vec<AttributeColumn>,
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
    attributes: Vec<Attribute>,
    rows: usize,
    dim: usize,
}

/// A column of attributes.
struct Attribute {
    name: String,
    leaf: usize,
    kind: ParquetKind,
    ty: ColumnType,
}

/// Finds the leaf columns that are asked for.
struct Schema<'a> {
    leaves: &'a [ColumnDescPtr],
}

impl Schema<'_> {
    fn names(&self) -> String {
        let first = |c: &ColumnDescPtr| c.path().parts().first().cloned().unwrap_or_default();
        let mut names: Vec<String> = self.leaves.iter().map(first).collect();
        names.dedup();
        names.join(", ")
    }

    /// The leaf of column `name`, which `flag` names, and which must fit.
    fn named(
        &self,
        name: &str,
        flag: &str,
        what: &str,
        fits: impl Fn(&ColumnDescriptor) -> bool,
    ) -> std::result::Result<usize, String> {
        let of_name = |c: &ColumnDescriptor| c.path().parts().first().is_some_and(|n| n == name);
        let fitting = |c: &ColumnDescPtr| of_name(c) && fits(c);
        match self.leaves.iter().position(fitting) {
            Some(leaf) => Ok(leaf),
            None if self.leaves.iter().any(|c| of_name(c)) => {
                Err(format!("column {name:?} ({flag}) holds no {what}"))
            }
            None => Err(format!("no column {name:?} ({flag}); the columns are {}", self.names())),
        }
    }

    /// A column of attributes.
    fn attribute(&self, wanted: &AttributeColumn) -> std::result::Result<Attribute, String> {
        let (name, flag) = (wanted.name.clone(), "--attribute-column");
        let leaf = self.named(&name, flag, "attributes", |_| true)?;
        let kind = ParquetKind::of(&self.leaves[leaf]);
        let ty = attributes::parquet_type(wanted, kind)?;
        let kind = kind.ok_or_else(|| format!("column {name:?} ({flag}) holds no attributes"))?;
        Ok(Attribute { name, leaf, kind, ty })
    }

    /// The only leaf of lists of floats.
    fn only_floats(&self) -> std::result::Result<usize, String> {
        let is = |&leaf: &usize| ParquetKind::of(&self.leaves[leaf]) == Some(ParquetKind::Floats);
        let mut found = (0..self.leaves.len()).filter(is);
        let names = || self.names();
        match (found.next(), found.next()) {
            (Some(leaf), None) => Ok(leaf),
            (None, _) => Err(format!(
                "no column holds lists of floats; name one of 8-bit integers with --column; the \
                 columns are {}",
                names()
            )),
            _ => Err(format!(
                "several columns hold lists of floats; name one with --column; the columns are {}",
                names()
            )),
        }
    }
}

impl ParquetFile {
    /// Opens a file, finds its columns, and takes the dimension from the first rows. A file without
    /// rows, or with nothing but nulls, has dimension 0.
    ///
    /// # Errors
    /// [`Error::Index`] if it cannot be read; [`Error::File`] if it is damaged, or has no such
    /// columns.
    pub fn open(path: &Path, columns: &ParquetColumns, checks: Checks) -> Result<Self> {
        let error = |what| Error::File { path: path.to_owned(), what };
        let bytes = open_regular(path).map_err(Error::io("open", path))?;
        let file = foreign::guard("Parquet", || SerializedFileReader::new(bytes)).map_err(error)?;
        let facts = file.metadata().file_metadata();
        let schema = Schema { leaves: facts.schema_descr().columns() };
        let kind = |c: &ColumnDescriptor| ParquetKind::of(c);
        let is_vector = |c: &ColumnDescriptor| {
            matches!(kind(c), Some(ParquetKind::Floats | ParquetKind::SmallIntegers))
        };
        let is_id = |c: &ColumnDescriptor| kind(c) == Some(ParquetKind::Integers);
        let is_key =
            |c: &ColumnDescriptor| matches!(kind(c), Some(ParquetKind::Text | ParquetKind::Bytes));
        let lists = "lists of floats (16, 32 or 64 bits) or of 8-bit integers";
        let vectors = match &columns.vectors {
            Some(name) => schema.named(name, "--column", lists, is_vector),
            None => schema.only_floats(),
        };
        let vectors = vectors.map_err(error)?;
        let ids = columns.ids.as_ref().map(|n| schema.named(n, "--id-column", "integers", is_id));
        let ids = ids.transpose().map_err(error)?;
        let keys = columns.keys.as_ref().map(|n| schema.named(n, "--key-column", "text", is_key));
        let keys = keys.transpose().map_err(error)?;
        let attributes = columns.attributes.iter().map(|wanted| schema.attribute(wanted));
        let attributes =
            attributes.collect::<std::result::Result<Vec<Attribute>, String>>().map_err(error)?;
        let rows = usize::try_from(facts.num_rows())
            .map_err(|_| error(format!("damaged: {} rows", facts.num_rows())))?;
        let path = path.to_owned();
        let mut out = Self { path, file, checks, vectors, ids, keys, attributes, rows, dim: 0 };
        if rows > 0 {
            out.dim = out.usual_dim()?;
        }
        Ok(out)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Dimension of the vectors; 0 if there are none.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of rows, as the file says; reading them proves it.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Gives all rows to `take`, at most `block` of them at once. Bad among them are those that are
    /// null, of another dimension or refused by the [`Checks`], and those whose id or key is
    /// invalid.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged file; those of `take`.
    pub fn for_each(&self, block: usize, mut take: impl FnMut(Rows) -> Result<()>) -> Result<()> {
        let error = |what| self.error(what);
        let mut first = 0;
        for group in 0..self.file.num_row_groups() {
            let rows = self.file.metadata().row_group(group).num_rows();
            let mut left = usize::try_from(rows)
                .map_err(|_| error(format!("damaged: row group {group} has {rows} rows")))?;
            let column = |leaf| ParquetColumn::open(&self.file, group, leaf).map_err(error);
            let mut vectors = column(self.vectors)?;
            let mut ids = self.ids.map(column).transpose()?;
            let mut keys = self.keys.map(column).transpose()?;
            let attributes = self.attributes.iter().map(|attribute| column(attribute.leaf));
            let mut attributes = attributes.collect::<Result<Vec<ParquetColumn>>>()?;
            while left > 0 {
                let n = left.min(block);
                let (x, mut bad) = self.read_vectors(&mut vectors, n, first)?;
                let ids = ids.as_mut().map(|column| column.ids(n)).transpose().map_err(error)?;
                let keys = keys.as_mut().map(|column| column.keys(n)).transpose().map_err(error)?;
                let ids = ids.map(|ids| sound(ids, first, &mut bad));
                let keys = keys.map(|keys| sound(keys, first, &mut bad));
                let records = self.records(&mut attributes, n, first, &mut bad)?;
                bad.sort_by_key(|bad| bad.row);
                bad.dedup_by_key(|bad| bad.row);
                take(Rows { first, n, x, ids, keys, records, bad })?;
                first += n;
                left -= n;
            }
        }
        if first != self.rows {
            return Err(self.error(format!("expected {} rows, found {first}", self.rows)));
        }
        Ok(())
    }

    /// The attributes of the next `n` rows, if any were asked for.
    fn records(
        &self,
        columns: &mut [ParquetColumn],
        n: usize,
        first: usize,
        bad: &mut Vec<BadRow>,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        if columns.is_empty() {
            return Ok(None);
        }
        let mut fields = vec![Fields::new(); n];
        for (column, attribute) in columns.iter_mut().zip(&self.attributes) {
            let values = attributes::parquet_values(column, attribute.kind, attribute.ty, n)
                .map_err(|what| self.error(what))?;
            attributes::add(&attribute.name, values, first, &mut fields, bad);
        }
        Ok(Some(attributes::records(&fields, first, bad)))
    }

    fn error(&self, what: String) -> Error {
        Error::File { path: self.path.clone(), what }
    }

    /// The length of most of the first rows; of the earlier one, where two are as frequent; 0 if
    /// all are null.
    fn usual_dim(&self) -> Result<usize> {
        let mut counts: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut seen = 0;
        for group in 0..self.file.num_row_groups() {
            let mut column = ParquetColumn::open(&self.file, group, self.vectors)
                .map_err(|what| self.error(what))?;
            let lists = column.lists(DIM_ROWS - seen).map_err(|what| self.error(what))?;
            for row in lists.rows() {
                if let Some(x) = row {
                    counts.entry(x.len()).or_insert((0, seen)).0 += 1;
                }
                seen += 1;
            }
            // Files may begin with nulls, which say nothing.
            if seen >= DIM_ROWS && !counts.is_empty() {
                break;
            }
            seen = seen.min(DIM_ROWS - 1);
        }
        let usual = counts.into_iter().max_by_key(|&(_, (n, first))| (n, usize::MAX - first));
        Ok(usual.map_or(0, |(len, _)| len))
    }

    /// (n, dim) of the next `n` rows, of which `first` is the first; bad ones are zeros.
    fn read_vectors(
        &self,
        column: &mut ParquetColumn,
        n: usize,
        first: usize,
    ) -> Result<(Vec<f32>, Vec<BadRow>)> {
        let lists = column.lists(n).map_err(|what| self.error(what))?;
        if lists.len() != n {
            let row = first + lists.len();
            return Err(self.error(format!("row {row}: expected a vector, found the end")));
        }
        let (mut out, mut bad) = (Vec::with_capacity(n * self.dim), Vec::new());
        for (row, x) in (first..).zip(lists.rows()) {
            let reason = match x {
                None => Some("expected a vector, found a null or an empty list".to_owned()),
                Some(x) if x.len() != self.dim => {
                    Some(format!("expected dimension {}, found {}", self.dim, x.len()))
                }
                Some(x) => self.checks.refusal(x),
            };
            match (reason, x) {
                (None, Some(x)) => out.extend_from_slice(x),
                (reason, _) => {
                    out.resize(out.len() + self.dim, 0.0);
                    bad.extend(reason.map(|reason| BadRow { row, reason }));
                }
            }
        }
        Ok((out, bad))
    }
}

/// The values of rows; those of bad rows are the default.
fn sound<T: Default>(
    values: Vec<std::result::Result<T, String>>,
    first: usize,
    bad: &mut Vec<BadRow>,
) -> Vec<T> {
    let value = |(row, value): (usize, std::result::Result<T, String>)| {
        value.unwrap_or_else(|reason| {
            bad.push(BadRow { row, reason });
            T::default()
        })
    };
    (first..).zip(values).map(value).collect()
}
