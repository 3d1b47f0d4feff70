//! Tables in Parquet, written a block of rows at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_index::container::AtomicFile;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::{Error, Result};

/// The values of one column of a block.
pub(super) enum Column<'a> {
    /// `BYTE_ARRAY`, required.
    Text(&'a [ByteArray]),
    /// `INT32`, required.
    Short(&'a [i32]),
    /// `INT64`, required.
    Long(&'a [i64]),
    /// `INT64`, optional.
    Optional(&'a [Option<i64>]),
    /// `DOUBLE`, required.
    Double(&'a [f64]),
}

/// A Parquet file that is being written. It gets its name when it is complete; dropped before, it
/// leaves nothing behind.
pub(super) struct Table {
    path: PathBuf,
    writer: SerializedFileWriter<AtomicFile>,
}

impl Table {
    /// Starts the table that will be at `path`. `schema` is in the language of Parquet's messages.
    ///
    /// # Errors
    /// Those of [`AtomicFile::create`]; [`Error::File`] with the crate's reason.
    pub(super) fn create(path: &Path, schema: &str) -> Result<Self> {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let schema = parse_message_type(schema).map_err(failed(path))?;
        let file = AtomicFile::create(path)?;
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        Ok(Self { path: path.to_owned(), writer: writer.map_err(failed(path))? })
    }

    /// Appends a block, which becomes a row group: one entry for each column of the schema, all
    /// of one length.
    ///
    /// # Errors
    /// [`Error::File`] with the crate's reason, a full disk included.
    pub(super) fn append(&mut self, columns: &[Column<'_>]) -> Result<()> {
        let mut append = || {
            let mut group = self.writer.next_row_group()?;
            for column in columns {
                write(&mut group, column)?;
            }
            group.close().map(drop)
        };
        append().map_err(failed(&self.path))
    }

    /// Writes the end of the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::File`] with the crate's reason; those of [`AtomicFile::publish`].
    pub(super) fn finish(self) -> Result<()> {
        let file = self.writer.into_inner().map_err(failed(&self.path))?;
        file.publish()?;
        Ok(())
    }
}

/// Writes the next column of a row group.
fn write(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    column: &Column<'_>,
) -> std::result::Result<(), ParquetError> {
    match column {
        Column::Text(values) => put::<ByteArrayType>(group, values, None),
        Column::Short(values) => put::<Int32Type>(group, values, None),
        Column::Long(values) => put::<Int64Type>(group, values, None),
        Column::Double(values) => put::<DoubleType>(group, values, None),
        Column::Optional(values) => {
            let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
            let present: Vec<i64> = values.iter().copied().flatten().collect();
            put::<Int64Type>(group, &present, Some(&levels))
        }
    }
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> std::result::Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".to_owned()));
    };
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

/// Adapter for `map_err` on the crate's functions.
fn failed(path: &Path) -> impl Fn(ParquetError) -> Error {
    |e| Error::File { path: path.to_owned(), what: format!("cannot write: {e}") }
}
