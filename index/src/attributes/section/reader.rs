//! Reads the section of a mapped file.

use super::layout::{
    ALIGN, BLOCK_SLOTS, Encoding, Entry, Trailer, VERSION, padding, presence_bytes,
};
use super::values::{BlockColumn, Bounds, Values};
use crate::attributes::record::{self, Fields};
use crate::attributes::schema::{Column, ColumnType, MAX_COLUMNS, Schema};
use crate::attributes::value::{MAX_TEXT_BYTES, Value, ValueRef};
use crate::base::error::{Error, Result};
use crate::files::container::{Reader, Section, SectionKind};
use crate::files::packed;

/// The attributes of a shard's rows, by slot. The directory is in memory; the rest is read in place
/// and proven when it is first touched.
#[derive(Debug)]
pub struct Columns {
    section: Section,
    schema: Schema,
    rows: usize,
    /// Block by block, a column after the other.
    entries: Vec<Entry>,
}

impl Columns {
    /// Opens the section of a file of `rows` rows; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the directory does not fit the section; [`Error::NewerVersion`].
    pub fn open(file: &Reader, rows: u32) -> Result<Option<Self>> {
        let Some(section) = file.find(SectionKind::Attributes).copied() else { return Ok(None) };
        let corrupt = |what: String| Error::corrupt(file.path(), format!("attributes: {what}"));
        let size = size_of::<Trailer>() as u64;
        let trailer_at = section
            .len
            .checked_sub(size)
            .ok_or_else(|| corrupt(format!("{} bytes, expected at least {size}", section.len)))?;
        let trailer: Trailer = bytemuck::pod_read_unaligned(file.read(&section, trailer_at, size)?);
        file.intact()?;
        if trailer.version > VERSION && trailer.zero == 0 {
            let path = file.path().to_owned();
            return Err(Error::NewerVersion { path, found: trailer.version, supported: VERSION });
        }
        let sound = trailer.version == VERSION
            && trailer.zero == 0
            && trailer.rows == u64::from(rows)
            && trailer.block_slots == BLOCK_SLOTS as u32
            && trailer.columns as usize <= MAX_COLUMNS
            && trailer.directory <= trailer_at
            && trailer.directory.is_multiple_of(ALIGN as u64);
        if !sound {
            return Err(corrupt(format!("{trailer:?} in a section of {rows} rows")));
        }
        let len = trailer_at - trailer.directory;
        let directory = file.read(&section, trailer.directory, len)?.to_vec();
        file.intact()?;
        let (schema, entries) =
            read_directory(&directory, &trailer).map_err(|what| corrupt(what.to_owned()))?;
        let out = Self { section, schema, rows: rows as usize, entries };
        out.check(&trailer).map_err(corrupt)?;
        Ok(Some(out))
    }

    /// Checks each entry against its column and the section.
    fn check(&self, trailer: &Trailer) -> std::result::Result<(), String> {
        let columns = self.schema.columns();
        let mut at = 0u64;
        for (i, entry) in self.entries.iter().enumerate() {
            let (block, column) = (i / columns.len(), &columns[i % columns.len()]);
            if entry.offset != at && entry.len > 0 {
                return Err(format!("block {block}, column {:?} begins elsewhere", column.name));
            }
            at += u64::from(entry.len);
            check_entry(entry, column.ty, self.block_rows(block))
                .map_err(|what| format!("block {block}, column {:?}: {what}", column.name))?;
        }
        if at != trailer.directory {
            return Err(format!("{at} bytes of values, expected {}", trailer.directory));
        }
        Ok(())
    }

    /// The columns, by name.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Bytes of the section.
    pub fn bytes(&self) -> u64 {
        self.section.len
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(BLOCK_SLOTS)
    }

    /// Slots of a block.
    pub fn block_rows(&self, block: usize) -> usize {
        self.rows.saturating_sub(block * BLOCK_SLOTS).min(BLOCK_SLOTS)
    }

    /// Number of a column in the schema.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.schema.columns().iter().position(|column| column.name == name)
    }

    /// A column of a block, proven. What is computed from it counts once [`Reader::intact`] has
    /// returned `Ok`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the last block or column.
    pub fn block<'a>(
        &self,
        file: &'a Reader,
        block: usize,
        column: usize,
    ) -> Result<BlockColumn<'a>> {
        let columns = self.schema.columns();
        let entry =
            columns.get(column).and_then(|_| self.entries.get(block * columns.len() + column));
        let (Some(entry), Some(named)) = (entry, columns.get(column)) else {
            return Err(Error::not_found(format!(
                "{}: no block {block} or column {column} of attributes",
                file.path().display()
            )));
        };
        let chunk = file.read(&self.section, entry.offset, u64::from(entry.len))?;
        BlockColumn::new(named.ty, self.block_rows(block), entry, chunk)
            .map_err(|what| self.corrupt(file, block, column, what))
    }

    /// The facts of a column of a block by the directory; all is null past the last of them.
    pub fn bounds(&self, block: usize, column: usize) -> Bounds {
        let (rows, columns) = (self.block_rows(block), self.schema.columns().len());
        match self.entries.get(block * columns + column).filter(|_| column < columns) {
            Some(e) => Bounds { rows, nulls: e.nulls as usize, min: e.min, max: e.max },
            None => Bounds { rows, nulls: rows, min: 0, max: 0 },
        }
    }

    /// An error about a column of a block.
    pub(crate) fn corrupt(&self, file: &Reader, block: usize, column: usize, what: &str) -> Error {
        let name = self.schema.columns().get(column).map_or("", |column| &column.name);
        Error::corrupt(file.path(), format!("attributes: block {block}, column {name:?}: {what}"))
    }

    /// The attributes of a slot.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn fields(&self, file: &Reader, slot: u32) -> Result<Fields> {
        let mut fields = Fields::new();
        for (number, column) in self.schema.columns().iter().enumerate() {
            if let Some(value) = self.value(file, slot, number)? {
                fields.insert(column.name.clone(), value);
            }
        }
        file.intact()?;
        Ok(fields)
    }

    /// The value of a slot in a column; `None` if it is null. It counts once [`Reader::intact`] has
    /// returned `Ok`.
    ///
    /// # Errors
    /// As [`Self::block`]; [`Error::NotFound`] past the last slot.
    pub fn value(&self, file: &Reader, slot: u32, column: usize) -> Result<Option<Value>> {
        let slot = slot as usize;
        if slot >= self.rows {
            return Err(Error::not_found(format!("{}: no slot {slot}", file.path().display())));
        }
        let (block, row) = (slot / BLOCK_SLOTS, slot % BLOCK_SLOTS);
        let found = self.block(file, block, column)?.value(row);
        let value = found.map_err(|what| self.corrupt(file, block, column, what))?;
        Ok(value.map(ValueRef::to_value))
    }

    /// The record of a slot.
    ///
    /// # Errors
    /// As [`Self::fields`].
    pub fn record(&self, file: &Reader, slot: u32) -> Result<Vec<u8>> {
        record::encode(&self.fields(file, slot)?)
            .map_err(|e| Error::corrupt(file.path(), format!("attributes of slot {slot}: {e}")))
    }

    /// Proves that each value is there, that nulls are as many as the directory says, and that each
    /// number lies within its bounds.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first block and column that is wrong.
    pub fn verify(&self, file: &Reader) -> Result<()> {
        for block in 0..self.blocks() {
            for column in 0..self.schema.columns().len() {
                let found = self.block(file, block, column)?;
                verify(&found).map_err(|what| self.corrupt(file, block, column, what))?;
            }
        }
        file.intact()
    }
}

/// Looks for a fault in a column of a block.
fn verify(column: &BlockColumn<'_>) -> std::result::Result<(), &'static str> {
    let (whole, floats) = (column.whole_range(), column.float_range());
    let mut nulls = 0;
    for slot in 0..column.rows() {
        if column.value(slot)?.is_none() {
            nulls += 1;
            continue;
        }
        let bits = column.bits(slot).unwrap_or_default();
        let within = whole.is_none_or(|(min, max)| (min..=max).contains(&(bits as i64)))
            && floats.is_none_or(|(min, max)| (min..=max).contains(&f64::from_bits(bits)));
        if !within {
            return Err("a number that is out of the bounds of its block");
        }
    }
    if nulls != column.nulls() {
        return Err("another number of nulls than the directory says");
    }
    if let Values::Texts(texts, _) = column.values() {
        let ascend = (1..texts.len()).all(|i| texts.get(i - 1) < texts.get(i));
        if !ascend || texts.get(0).is_none() {
            return Err("texts of a dictionary that do not ascend");
        }
        let is_long = |i| texts.get(i).is_none_or(|text| text.len() > MAX_TEXT_BYTES);
        if (0..texts.len()).any(is_long) {
            return Err("a text of a dictionary that is longer than a value may be");
        }
    }
    Ok(())
}

/// Columns and entries in the bytes of a directory.
fn read_directory(
    directory: &[u8],
    trailer: &Trailer,
) -> std::result::Result<(Schema, Vec<Entry>), &'static str> {
    let cut = "its directory is cut short";
    let mut rest = directory;
    let mut columns: Vec<Column> = Vec::new();
    for _ in 0..trailer.columns {
        let (&[ty, len], after) = rest.split_first_chunk::<2>().ok_or(cut)?;
        let (name, after) = after.split_at_checked(usize::from(len)).ok_or(cut)?;
        let name = std::str::from_utf8(name).map_err(|_| "a column's name is no text")?;
        let ty = ColumnType::from_number(ty).ok_or("a column of an unknown type")?;
        if columns.last().is_some_and(|last| *last.name >= *name) {
            return Err("names of columns do not ascend");
        }
        columns.push(Column { name: name.to_owned(), ty });
        rest = after;
    }
    let names = (directory.len() - rest.len()) as u64;
    let (_, rest) = rest.split_at_checked(padding(names)).ok_or(cut)?;
    let schema = Schema::try_from(columns).map_err(|_| "names of columns")?;
    let blocks = (trailer.rows as usize).div_ceil(BLOCK_SLOTS);
    let (entries, after) = rest.as_chunks::<{ size_of::<Entry>() }>();
    if entries.len() != blocks * schema.columns().len() || !after.is_empty() {
        return Err("its directory has another length than its columns and rows ask for");
    }
    Ok((schema, entries.iter().map(|e| bytemuck::pod_read_unaligned(e)).collect()))
}

/// Looks for a fault in an entry of a column of `rows` slots.
fn check_entry(entry: &Entry, ty: ColumnType, rows: usize) -> std::result::Result<(), String> {
    let encoding = Encoding::from_number(entry.encoding)
        .filter(|encoding| encoding.fits(ty))
        .ok_or_else(|| format!("encoding {} of {ty}", entry.encoding))?;
    let nulls = entry.nulls as usize;
    let all_null = encoding == Encoding::Null;
    if nulls > rows || (nulls == rows) != all_null {
        return Err(format!("{nulls} of {rows} are null"));
    }
    if (entry.width > 0) != (encoding == Encoding::Packed) || entry.width > packed::MAX_WIDTH {
        return Err(format!("{} bits a value", entry.width));
    }
    let values = match encoding {
        Encoding::Null | Encoding::Constant => Some(0),
        Encoding::Packed => Some(packed::bytes_for(rows, entry.width)),
        Encoding::Words => Some(8 * rows),
        Encoding::Singles => Some(4 * rows),
        Encoding::Fixed => Some(rows * ty.fixed().unwrap_or(0)),
        // Checked when it is read.
        Encoding::Dictionary => None,
    };
    let presence = if nulls > 0 && !all_null { presence_bytes(rows) } else { 0 };
    let want = values.map(|n| (presence + n).next_multiple_of(ALIGN));
    if !entry.len.is_multiple_of(ALIGN as u32) || want.is_some_and(|n| n != entry.len as usize) {
        return Err(format!("{} bytes of {rows} values", entry.len));
    }
    let ordered = match ty {
        ColumnType::Int64 => entry.min as i64 <= entry.max as i64,
        ColumnType::Bool => entry.min <= entry.max && entry.max <= 1,
        ColumnType::Float64 => f64::from_bits(entry.min) <= f64::from_bits(entry.max),
        _ => true,
    };
    if !ordered {
        return Err("its smallest value is above its largest".to_owned());
    }
    Ok(())
}
