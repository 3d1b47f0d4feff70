//! Columns of Parquet files, read by the crate `parquet`, with checks of what pages claim and
//! errors that name the place.
//!
//! A list is stored as its elements and, for each, a repetition level (0 where a row begins) and a
//! definition level (the largest if there is a value); fixed-size lists are stored likewise
//! (Parquet's "Nested Encoding", after Melnik et al. 2010).

use std::ops::Range;

use half::f16;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};

use super::guard;
use crate::base::names::{check_id, check_key};

#[cfg(test)]
mod tests;

/// The fault of a file, in one line without its name, or the reason to refuse a row.
type Outcome<T> = std::result::Result<T, String>;

/// The kind of a leaf column's values, of those that are read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetKind {
    /// One whole number a row, signed or not, up to 64 bits.
    Integers,
    /// One float a row, of 32 or 64 bits.
    Float,
    /// One truth value a row.
    Boolean,
    /// One string of bytes a row that is text.
    Text,
    /// One string of bytes a row.
    Bytes,
    /// A list of floats a row, of 16, 32 or 64 bits.
    Floats,
    /// A list of whole numbers of 8 bits a row, signed or not.
    SmallIntegers,
}

impl ParquetKind {
    /// The kind of a leaf column; none if it is another one.
    pub fn of(column: &ColumnDescriptor) -> Option<Self> {
        let (converted, logical) = (column.converted_type(), column.logical_type_ref());
        let is_small = matches!(converted, ConvertedType::INT_8 | ConvertedType::UINT_8)
            || matches!(logical, Some(LogicalType::Integer(of)) if of.bit_width == 8);
        let is_text = matches!(converted, ConvertedType::UTF8 | ConvertedType::ENUM)
            || matches!(logical, Some(LogicalType::String | LogicalType::Enum));
        match (column.max_rep_level(), column.physical_type()) {
            (0, Type::INT32 | Type::INT64) => Some(Self::Integers),
            (0, Type::FLOAT | Type::DOUBLE) => Some(Self::Float),
            (0, Type::BOOLEAN) => Some(Self::Boolean),
            (0, Type::BYTE_ARRAY) if is_text => Some(Self::Text),
            (0, Type::BYTE_ARRAY) => Some(Self::Bytes),
            (1, Type::FLOAT | Type::DOUBLE) => Some(Self::Floats),
            (1, Type::FIXED_LEN_BYTE_ARRAY) if matches!(logical, Some(LogicalType::Float16)) => {
                Some(Self::Floats)
            }
            (1, Type::INT32) if is_small => Some(Self::SmallIntegers),
            _ => None,
        }
    }
}

/// A leaf column of one row group, read from its first row to its last.
pub struct ParquetColumn {
    reader: ColumnReader,
    descriptor: ColumnDescPtr,
    /// For errors.
    place: String,
}

impl ParquetColumn {
    /// Opens leaf column number `leaf` of row group number `group`.
    ///
    /// # Errors
    /// The crate's, with the place.
    pub fn open<R: ChunkReader + 'static>(
        file: &SerializedFileReader<R>,
        group: usize,
        leaf: usize,
    ) -> Outcome<Self> {
        let descriptor = file.metadata().file_metadata().schema_descr().column(leaf);
        let place = format!("row group {group}, column {:?}", descriptor.path().string());
        let reader = guard("Parquet", || {
            let group = file.get_row_group(group)?;
            let least = least_bytes(&descriptor);
            let pages = CheckedPages { pages: group.get_column_page_reader(leaf)?, least };
            Ok::<_, ParquetError>(get_column_reader(descriptor.clone(), Box::new(pages)))
        });
        let reader = reader.map_err(|what| format!("{place}: {what}"))?;
        Ok(Self { reader, descriptor, place })
    }

    /// Runs a step of the crate.
    fn step<T>(&mut self, step: impl FnOnce(&mut ColumnReader) -> Result<T>) -> Outcome<T> {
        let Self { reader, place, .. } = self;
        guard("Parquet", || step(reader)).map_err(|what| format!("{place}: {what}"))
    }

    /// Moves over `n` rows.
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn skip(&mut self, n: usize) -> Outcome<()> {
        let skipped = self.step(|reader| match reader {
            ColumnReader::ByteArrayColumnReader(r) => r.skip_records(n),
            ColumnReader::Int32ColumnReader(r) => r.skip_records(n),
            ColumnReader::Int64ColumnReader(r) => r.skip_records(n),
            _ => Err(unread()),
        })?;
        if skipped != n {
            return Err(format!("{}: it ends before its row group", self.place));
        }
        Ok(())
    }

    /// The next `n` values, none if a row has none, of a column of [`ParquetKind::Bytes`] or
    /// [`ParquetKind::Text`].
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn bytes(&mut self, n: usize) -> Outcome<Vec<Option<ByteArray>>> {
        let (mut values, mut def) = (Vec::new(), Vec::new());
        self.step(|reader| match reader {
            ColumnReader::ByteArrayColumnReader(r) => super::read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut values).map(|read| read.0)
            }),
            _ => Err(unread()),
        })?;
        self.spread(values, &def, n)
    }

    /// The next `n` keys, or why the key of a row is refused.
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn keys(&mut self, n: usize) -> Outcome<Vec<Outcome<String>>> {
        let key = |key: Option<ByteArray>| {
            let key = key.ok_or("its key is null")?;
            let key = key.as_utf8().map_err(|_| "its key is not UTF-8")?;
            if key.is_empty() {
                return Err("its key is empty".to_owned());
            }
            check_key(key).map_err(|e| format!("its {e}"))?;
            Ok(key.to_owned())
        };
        Ok(self.bytes(n)?.into_iter().map(key).collect())
    }

    /// The next `n` ids of a column of [`ParquetKind::Integers`], or why the id of a row is
    /// refused: ids are below 2⁶³.
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn ids(&mut self, n: usize) -> Outcome<Vec<Outcome<u64>>> {
        let unsigned = is_unsigned(&self.descriptor);
        let id = |value: Option<i64>| {
            let Some(value) = value else { return Err("its id is null".to_owned()) };
            if value < 0 && !unsigned {
                return Err(format!("id {value}: expected an id of 0 or more"));
            }
            let id = value.cast_unsigned();
            check_id(id).map(|()| id).map_err(|e| e.to_string())
        };
        Ok(self.whole(n)?.into_iter().map(id).collect())
    }

    /// The next `n` whole numbers of a column of [`ParquetKind::Integers`], none if a row has none,
    /// or why the number of a row is refused: it is 2⁶³ or more.
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn integers(&mut self, n: usize) -> Outcome<Vec<Outcome<Option<i64>>>> {
        let unsigned = is_unsigned(&self.descriptor);
        let number = |value: Option<i64>| match value {
            Some(value) if value < 0 && unsigned => {
                let value = value.cast_unsigned();
                Err(format!("{value}: expected a number below 2^63"))
            }
            value => Ok(value),
        };
        Ok(self.whole(n)?.into_iter().map(number).collect())
    }

    /// The next `n` truth values, none if a row has none, of a column of [`ParquetKind::Boolean`].
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn booleans(&mut self, n: usize) -> Outcome<Vec<Option<bool>>> {
        let (mut def, mut values) = (Vec::new(), Vec::new());
        self.step(|reader| match reader {
            ColumnReader::BoolColumnReader(r) => super::read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut values).map(|read| read.0)
            }),
            _ => Err(unread()),
        })?;
        self.spread(values, &def, n)
    }

    /// The bits of the next `n` whole numbers.
    fn whole(&mut self, n: usize) -> Outcome<Vec<Option<i64>>> {
        let unsigned = is_unsigned(&self.descriptor);
        let (mut def, mut short) = (Vec::new(), Vec::new());
        let mut values = Vec::new();
        self.step(|reader| match reader {
            ColumnReader::Int64ColumnReader(r) => super::read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut values).map(|read| read.0)
            }),
            ColumnReader::Int32ColumnReader(r) => super::read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut short).map(|read| read.0)
            }),
            _ => Err(unread()),
        })?;
        // An unsigned number is stored as the signed one of the same bits.
        let widen = |x: i32| if unsigned { i64::from(x.cast_unsigned()) } else { i64::from(x) };
        values.extend(short.into_iter().map(widen));
        self.spread(values, &def, n)
    }

    /// The next `n` numbers, none if a row has none, of a column of [`ParquetKind::Float`].
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn floats(&mut self, n: usize) -> Outcome<Vec<Option<f64>>> {
        let (mut def, mut short, mut values) = (Vec::new(), Vec::new(), Vec::new());
        self.step(|reader| match reader {
            ColumnReader::DoubleColumnReader(r) => super::read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut values).map(|read| read.0)
            }),
            ColumnReader::FloatColumnReader(r) => super::read_all(n, |n| {
                r.read_records(n, Some(&mut def), None, &mut short).map(|read| read.0)
            }),
            _ => Err(unread()),
        })?;
        values.extend(short.into_iter().map(f64::from));
        self.spread(values, &def, n)
    }

    /// The next rows, at most `n`, of a column of [`ParquetKind::Floats`] or
    /// [`ParquetKind::SmallIntegers`], as f32: f64 is rounded, all else is exact.
    ///
    /// # Errors
    /// A damaged file, with the place.
    pub fn lists(&mut self, n: usize) -> Outcome<ParquetLists> {
        let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
        let (def_ref, rep_ref) = (&mut def, &mut rep);
        /// Reads with one of the crate's readers, and appends its numbers as f32.
        macro_rules! read {
            ($reader:expr, $from:ty, $number:expr) => {{
                let mut found: Vec<$from> = Vec::new();
                super::read_all(n, |n| {
                    let read = $reader.read_records(n, Some(def_ref), Some(rep_ref), &mut found);
                    read.map(|read| read.0)
                })?;
                values.extend(found.into_iter().map($number));
                Ok(())
            }};
        }
        self.step(|reader| match reader {
            ColumnReader::FloatColumnReader(r) => read!(r, f32, |x| x),
            ColumnReader::DoubleColumnReader(r) => read!(r, f64, |x| x as f32),
            ColumnReader::Int32ColumnReader(r) => read!(r, i32, |x| x as f32),
            ColumnReader::FixedLenByteArrayColumnReader(r) => {
                read!(r, FixedLenByteArray, |x| match *x.data() {
                    [a, b] => f16::from_le_bytes([a, b]).to_f32(),
                    // A file that changed its type: refused with its row.
                    _ => f32::NAN,
                })
            }
            _ => Err(unread()),
        })?;
        ParquetLists::new(values, &def, &rep, self.descriptor.max_def_level())
            .ok_or_else(|| format!("{}: its levels and values do not fit", self.place))
    }

    /// Puts values to their rows: `def` has the column's largest level if there is one, and is
    /// empty where every row has one.
    fn spread<T>(&self, values: Vec<T>, def: &[i16], n: usize) -> Outcome<Vec<Option<T>>> {
        let mut values = values.into_iter();
        let spread: Vec<Option<T>> = match self.descriptor.max_def_level() {
            0 => values.by_ref().map(Some).collect(),
            max => {
                def.iter().map(|&level| if level == max { values.next() } else { None }).collect()
            }
        };
        if spread.len() != n || values.next().is_some() {
            let found = spread.len();
            return Err(format!("{}: expected {n} values, found {found}", self.place));
        }
        Ok(spread)
    }
}

/// Rows of a column of lists.
#[derive(Debug, Default)]
pub struct ParquetLists {
    values: Vec<f32>,
    /// The range of the numbers of each row; none if the row has a null, or nothing.
    rows: Vec<Option<Range<usize>>>,
}

impl ParquetLists {
    /// None if the levels and the values do not fit.
    fn new(values: Vec<f32>, def: &[i16], rep: &[i16], max: i16) -> Option<Self> {
        let mut rows: Vec<Option<Range<usize>>> = Vec::new();
        let mut at = 0;
        for (i, &rep) in rep.iter().enumerate() {
            if rep == 0 {
                rows.push(Some(at..at));
            }
            let row = rows.last_mut()?;
            if def.get(i) == Some(&max) {
                at += 1;
                if let Some(row) = row {
                    row.end = at;
                }
            } else {
                *row = None;
            }
        }
        (at == values.len()).then_some(Self { values, rows })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The numbers of each row; none if the row is null or empty, or a number is null.
    pub fn rows(&self) -> impl Iterator<Item = Option<&[f32]>> {
        self.rows.iter().map(|row| row.clone().and_then(|row| self.values.get(row)))
    }
}

/// Whether integers of a column have no sign.
fn is_unsigned(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{UINT_8, UINT_16, UINT_32, UINT_64};
    matches!(column.converted_type(), UINT_8 | UINT_16 | UINT_32 | UINT_64)
        || matches!(column.logical_type_ref(), Some(LogicalType::Integer(of)) if !of.is_signed)
}

fn unread() -> ParquetError {
    ParquetError::General("the column has another type than it was opened with".to_owned())
}

/// Bytes that a value of a column's dictionary takes at least: its own, or the length of a text.
fn least_bytes(column: &ColumnDescriptor) -> usize {
    match column.physical_type() {
        Type::INT64 | Type::DOUBLE => 8,
        Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).unwrap_or(0).max(1),
        _ => 4,
    }
}

/// Pages whose dictionaries are as long as they say: the crate makes room for the number that a
/// dictionary claims, which in a damaged file of a few kilobytes may be gigabytes. (The crate
/// compares a page with its checksum where the page has one.)
struct CheckedPages {
    pages: Box<dyn PageReader>,
    /// Bytes of a value at least.
    least: usize,
}

impl CheckedPages {
    /// `page`, unless it claims more values than its bytes can hold.
    fn checked(&self, page: Option<Page>) -> Result<Option<Page>> {
        if let Some(Page::DictionaryPage { buf, num_values, .. }) = &page
            && *num_values as usize > buf.len() / self.least
        {
            let bytes = buf.len();
            return Err(ParquetError::General(format!(
                "a dictionary of {num_values} values has {bytes} bytes"
            )));
        }
        Ok(page)
    }
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        self.checked(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        let page = self.pages.take_deferred_dictionary()?;
        self.checked(page)
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}
