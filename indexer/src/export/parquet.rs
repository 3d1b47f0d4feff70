//! Export as Parquet: rows with their keys, attributes, and codes or vectors.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::attributes::names::{CAPTURED_MS, MODIFIED_MS};
use ocelli_index::attributes::{
    BLOCK_SLOTS, BlockColumn, Column as IndexColumn, ColumnType, Schema, ValueRef,
};
use ocelli_index::{Error as IndexError, Shard, Snapshot};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use serde::Serialize;

use crate::parquet_out::{Column, Table};
use crate::{Error, Progress, ProgressFn, Result};

/// Most rows of a row group.
const GROUP_ROWS: usize = 1 << 16;
/// Fewest rows of a row group, however long they are.
const LEAST_ROWS: usize = 1 << 10;
/// Bytes of a row group: a row that passes them is its last.
const GROUP_BYTES: usize = 16 << 20;
/// Bytes of a row that waits, besides its key, its texts, and its code or vector.
const ROW_BYTES: usize = 128;
/// Memory that an export takes, whatever its rows: those that wait, as vectors one by one and
/// together, and the row group as Parquet has it.
pub const PARQUET_BYTES: usize = 5 * GROUP_BYTES;

/// The columns of an export besides ids, keys and attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParquetRows {
    /// No more columns.
    #[default]
    Names,
    /// The list and the code of each row.
    Codes,
    /// The vector of each row, decoded from its finest code.
    Vectors,
}

/// Report of an export as Parquet.
#[derive(Clone, Debug, Serialize)]
pub struct ParquetReport {
    /// The file.
    pub path: PathBuf,
    /// Generation that was exported.
    pub generation: u64,
    /// Rows: those that are not deleted.
    pub rows: u64,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Row groups.
    pub groups: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

/// Writes the rows of an index that are not deleted as a Parquet file: `id` (INT64), `key` (UTF-8,
/// null where a row has none), the attributes under their own names and types (`captured_ms` and
/// `modified_ms` as TIMESTAMP of milliseconds, UTC), and `list` with `code`, or `vector`. An
/// attribute whose name one of these has is called `attribute_` and its name. Rows come shard by
/// shard, in the order of lists; memory is bounded by one row group.
///
/// # Errors
/// [`Error::Index`] where the index cannot be read; [`Error::Invalid`] where shards give one
/// attribute two types; [`Error::File`] where the file cannot be written. Then there is no file.
pub fn export_parquet(
    index: &Path,
    generation: Option<u64>,
    out: &Path,
    kind: ParquetRows,
    progress: ProgressFn<'_>,
) -> Result<ParquetReport> {
    let start = Instant::now();
    let snapshot = Snapshot::open(index, generation)?;
    let schema = snapshot.schema()?;
    let mut export = Export::new(&snapshot, &schema, kind, out)?;
    let total = snapshot.rows();
    for (number, shard) in (0u32..).zip(snapshot.shards()) {
        export.shard(number, shard, &|done| {
            progress(Progress { stage: "export", done, total });
        })?;
    }
    export.flush()?;
    snapshot.model().intact()?;
    let Export { table, rows, groups, columns, .. } = export;
    table.finish()?;
    Ok(ParquetReport {
        path: out.to_owned(),
        generation: snapshot.generation().number,
        rows,
        columns,
        groups,
        bytes: out.metadata().map_err(Error::io("look at", out))?.len(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Values of an attribute in the rows that are waiting.
enum Attribute {
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Bool(Vec<Option<bool>>),
    Text(Vec<Option<ByteArray>>),
    Bytes(Vec<Option<FixedLenByteArray>>),
}

impl Attribute {
    fn new(ty: ColumnType) -> Self {
        match ty {
            ColumnType::Int64 => Self::Int(Vec::new()),
            ColumnType::Float64 => Self::Float(Vec::new()),
            ColumnType::Bool => Self::Bool(Vec::new()),
            ColumnType::String => Self::Text(Vec::new()),
            ColumnType::Bytes8 | ColumnType::Bytes32 => Self::Bytes(Vec::new()),
        }
    }

    /// Adds a value of the column's type; anything else is null.
    fn push(&mut self, value: Option<ValueRef<'_>>) {
        let fixed = |bytes: &[u8]| FixedLenByteArray::from(ByteArray::from(bytes.to_vec()));
        match self {
            Self::Int(values) => values.push(match value {
                Some(ValueRef::Int(value)) => Some(value),
                _ => None,
            }),
            Self::Float(values) => values.push(match value {
                Some(ValueRef::Float(value)) => Some(value),
                _ => None,
            }),
            Self::Bool(values) => values.push(match value {
                Some(ValueRef::Bool(value)) => Some(value),
                _ => None,
            }),
            Self::Text(values) => values.push(match value {
                Some(ValueRef::Text(value)) => Some(ByteArray::from(value)),
                _ => None,
            }),
            Self::Bytes(values) => values.push(match value {
                Some(ValueRef::Bytes8(value)) => Some(fixed(value)),
                Some(ValueRef::Bytes32(value)) => Some(fixed(value)),
                _ => None,
            }),
        }
    }

    fn column(&self) -> Column<'_> {
        match self {
            Self::Int(values) => Column::Optional(values),
            Self::Float(values) => Column::OptionalDouble(values),
            Self::Bool(values) => Column::OptionalBool(values),
            Self::Text(values) => Column::OptionalText(values),
            Self::Bytes(values) => Column::OptionalFixed(values),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Int(values) => values.clear(),
            Self::Float(values) => values.clear(),
            Self::Bool(values) => values.clear(),
            Self::Text(values) => values.clear(),
            Self::Bytes(values) => values.clear(),
        }
    }
}

/// The type of an attribute in Parquet's language of messages, in front of its name and behind it.
/// The times that Ocelli fills in are moments. A clock that no photo gave a zone is read as UTC in
/// the index, and so it is here.
fn parquet_type(column: &IndexColumn) -> (&'static str, &'static str) {
    let is_moment = [CAPTURED_MS, MODIFIED_MS].contains(&column.name.as_str());
    match column.ty {
        ColumnType::Int64 if is_moment => ("INT64", " (TIMESTAMP(MILLIS,true))"),
        ColumnType::Int64 => ("INT64", ""),
        ColumnType::Float64 => ("DOUBLE", ""),
        ColumnType::Bool => ("BOOLEAN", ""),
        ColumnType::String => ("BYTE_ARRAY", " (UTF8)"),
        ColumnType::Bytes8 => ("FIXED_LEN_BYTE_ARRAY (8)", ""),
        ColumnType::Bytes32 => ("FIXED_LEN_BYTE_ARRAY (32)", ""),
    }
}

/// The name under which an attribute is exported.
fn exported_name(column: &IndexColumn) -> String {
    let own = ["id", "key", "list", "code", "vector"];
    match own.contains(&column.name.as_str()) {
        true => format!("attribute_{}", column.name),
        false => column.name.clone(),
    }
}

/// The message of the file, and the names of its columns.
fn message(schema: &Schema, kind: ParquetRows, m: usize) -> (String, Vec<String>) {
    let mut names = vec!["id".to_owned(), "key".to_owned()];
    let mut text = "message row { REQUIRED INT64 id; OPTIONAL BYTE_ARRAY key (UTF8);".to_owned();
    for column in schema.columns() {
        let (before, behind) = parquet_type(column);
        let name = exported_name(column);
        text += &format!(" OPTIONAL {before} {name}{behind};");
        names.push(name);
    }
    match kind {
        ParquetRows::Names => {}
        ParquetRows::Codes => {
            text += &format!(" REQUIRED INT32 list; REQUIRED FIXED_LEN_BYTE_ARRAY ({m}) code;");
            names.extend(["list".to_owned(), "code".to_owned()]);
        }
        ParquetRows::Vectors => {
            text += " REQUIRED GROUP vector (LIST) { REPEATED GROUP list { \
                     REQUIRED FLOAT element; } }";
            names.push("vector".to_owned());
        }
    }
    (text + " }", names)
}

/// An export on its way, and the rows that wait for their row group.
struct Export<'a> {
    snapshot: &'a Snapshot,
    schema: &'a Schema,
    kind: ParquetRows,
    table: Table,
    columns: Vec<String>,
    group_rows: usize,
    /// Bytes of a row's code or vector.
    row_bytes: usize,
    waiting_bytes: usize,
    rows: u64,
    groups: u64,
    ids: Vec<i64>,
    keys: Vec<Option<ByteArray>>,
    attributes: Vec<Attribute>,
    lists: Vec<i32>,
    codes: Vec<FixedLenByteArray>,
    /// Decoded vectors before the model's transform is undone, (rows, d).
    z: Vec<f32>,
}

impl<'a> Export<'a> {
    fn new(
        snapshot: &'a Snapshot,
        schema: &'a Schema,
        kind: ParquetRows,
        out: &Path,
    ) -> Result<Self> {
        let p = snapshot.model().parts();
        let (message, columns) = message(schema, kind, p.m);
        let row_bytes = match kind {
            ParquetRows::Vectors => 4 * p.dim,
            _ => p.m,
        };
        Ok(Self {
            snapshot,
            schema,
            kind,
            table: Table::create(out, &message)?,
            columns,
            group_rows: (GROUP_BYTES / row_bytes.max(1)).clamp(LEAST_ROWS, GROUP_ROWS),
            row_bytes,
            waiting_bytes: 0,
            rows: 0,
            groups: 0,
            ids: Vec::new(),
            keys: Vec::new(),
            attributes: schema.columns().iter().map(|c| Attribute::new(c.ty)).collect(),
            lists: Vec::new(),
            codes: Vec::new(),
            z: Vec::new(),
        })
    }

    /// Adds the rows of a shard that are not deleted.
    fn shard(&mut self, number: u32, shard: &Shard, progress: &dyn Fn(u64)) -> Result<()> {
        let layout = self.snapshot.model().layout();
        let deleted = self.snapshot.deleted(number);
        let mut code = vec![0; layout.m()];
        let mut block = None;
        for list in 0..shard.meta().nlist {
            let entry = shard.list(list)?;
            let codes = shard.list_codes(&entry)?;
            for i in 0..entry.len {
                let slot = entry.first + i;
                let ordinal = shard.ordinal(slot)?;
                if deleted.is_some_and(|deleted| deleted.contains(ordinal)) {
                    continue;
                }
                layout.get(codes, entry.len as usize, i as usize, &mut code);
                if self.kind == ParquetRows::Vectors {
                    let fine = shard.has_fine().then(|| shard.fine_of_slot(slot)).transpose()?;
                    self.z.extend(self.snapshot.model().decode_finest(list, &code, fine));
                }
                if self.kind == ParquetRows::Codes {
                    self.lists.push(list as i32);
                    self.codes.push(ByteArray::from(code.clone()).into());
                }
                self.attributes_of(shard, slot, &mut block)?;
                let key = shard.key(ordinal)?;
                self.waiting_bytes += self.row_bytes;
                self.keys.push((!key.is_empty()).then(|| ByteArray::from(key.as_str())));
                // Ids are below 2^63.
                self.ids.push(shard.id(ordinal)? as i64);
                self.waiting_bytes += ROW_BYTES + key.len();
                if self.ids.len() == self.group_rows || self.waiting_bytes >= GROUP_BYTES {
                    shard.intact()?;
                    self.flush()?;
                    progress(self.rows);
                }
            }
        }
        Ok(shard.intact()?)
    }

    /// Adds the attributes of a slot. `block` has the columns of the block that was read last.
    fn attributes_of<'s>(
        &mut self,
        shard: &'s Shard,
        slot: u32,
        block: &mut Option<(usize, Vec<Option<BlockColumn<'s>>>)>,
    ) -> Result<()> {
        let Some(columns) = shard.columns() else {
            self.attributes.iter_mut().for_each(|attribute| attribute.push(None));
            return Ok(());
        };
        let (number, row) = (slot as usize / BLOCK_SLOTS, slot as usize % BLOCK_SLOTS);
        if block.as_ref().is_none_or(|(read, _)| *read != number) {
            let read = |column: &IndexColumn| match columns.column(&column.name) {
                Some(at) => columns.block(shard.file(), number, at).map(Some),
                None => Ok(None),
            };
            let read =
                self.schema.columns().iter().map(read).collect::<ocelli_index::Result<_>>()?;
            *block = Some((number, read));
        }
        let read = block.iter().flat_map(|(_, read)| read);
        for (attribute, column) in self.attributes.iter_mut().zip(read) {
            let value = match column {
                Some(column) => column.value(row).map_err(|what| {
                    IndexError::corrupt(shard.path(), format!("attributes of slot {slot}: {what}"))
                })?,
                None => None,
            };
            if let Some(ValueRef::Text(text)) = &value {
                self.waiting_bytes += text.len();
            }
            attribute.push(value);
        }
        Ok(())
    }

    /// Writes the waiting rows as a row group.
    fn flush(&mut self) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let vectors = self.snapshot.model().restore(std::mem::take(&mut self.z));
        let mut columns = vec![Column::Long(&self.ids), Column::OptionalText(&self.keys)];
        columns.extend(self.attributes.iter().map(Attribute::column));
        match self.kind {
            ParquetRows::Names => {}
            ParquetRows::Codes => {
                columns.extend([Column::Short(&self.lists), Column::Fixed(&self.codes)]);
            }
            ParquetRows::Vectors => {
                columns.push(Column::Floats(&vectors, self.snapshot.model().parts().dim));
            }
        }
        self.table.append(&columns)?;
        self.rows += self.ids.len() as u64;
        self.groups += 1;
        self.waiting_bytes = 0;
        self.ids.clear();
        self.keys.clear();
        self.attributes.iter_mut().for_each(Attribute::clear);
        self.lists.clear();
        self.codes.clear();
        Ok(())
    }
}
