//! Tables in Parquet, written a block of rows at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_index::container::AtomicFile;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray,
    FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::{Error, Result};

/// The values of one column of a block.
pub(crate) enum Column<'a> {
    /// `BYTE_ARRAY`, required.
    Text(&'a [ByteArray]),
    /// `BYTE_ARRAY`, optional.
    OptionalText(&'a [Option<ByteArray>]),
    /// `FIXED_LEN_BYTE_ARRAY`, required.
    Fixed(&'a [FixedLenByteArray]),
    /// `FIXED_LEN_BYTE_ARRAY`, optional.
    OptionalFixed(&'a [Option<FixedLenByteArray>]),
    /// `BOOLEAN`, required.
    Bool(&'a [bool]),
    /// `BOOLEAN`, optional.
    OptionalBool(&'a [Option<bool>]),
    /// `INT32`, required.
    Short(&'a [i32]),
    /// `INT64`, required.
    Long(&'a [i64]),
    /// `INT64`, optional.
    Optional(&'a [Option<i64>]),
    /// `FLOAT`, required.
    Float(&'a [f32]),
    /// `FLOAT`, optional.
    OptionalFloat(&'a [Option<f32>]),
    /// `DOUBLE`, required.
    Double(&'a [f64]),
    /// `DOUBLE`, optional.
    OptionalDouble(&'a [Option<f64>]),
    /// A `LIST` of `FLOAT`, both required: rows of so many numbers, at least one.
    Floats(&'a [f32], usize),
}

/// A Parquet file that is being written. It gets its name when it is complete; dropped before, it
/// leaves nothing behind.
pub(crate) struct Table {
    path: PathBuf,
    writer: SerializedFileWriter<AtomicFile>,
}

impl Table {
    /// Starts the table that will be at `path`. `schema` is in the language of Parquet's messages.
    ///
    /// # Errors
    /// Those of [`AtomicFile::create`]; [`Error::File`] with the crate's reason.
    pub(crate) fn create(path: &Path, schema: &str) -> Result<Self> {
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
    pub(crate) fn append(&mut self, columns: &[Column<'_>]) -> Result<()> {
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
    pub(crate) fn finish(self) -> Result<()> {
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
        Column::Fixed(values) => put::<FixedLenByteArrayType>(group, values, None),
        Column::Bool(values) => put::<BoolType>(group, values, None),
        Column::Float(values) => put::<FloatType>(group, values, None),
        Column::OptionalFloat(values) => put_some::<FloatType>(group, values),
        Column::Short(values) => put::<Int32Type>(group, values, None),
        Column::Long(values) => put::<Int64Type>(group, values, None),
        Column::Double(values) => put::<DoubleType>(group, values, None),
        Column::OptionalText(values) => put_some::<ByteArrayType>(group, values),
        Column::OptionalFixed(values) => put_some::<FixedLenByteArrayType>(group, values),
        Column::OptionalBool(values) => put_some::<BoolType>(group, values),
        Column::OptionalDouble(values) => put_some::<DoubleType>(group, values),
        Column::Optional(values) => put_some::<Int64Type>(group, values),
        Column::Floats(values, width) => {
            let definitions = vec![1; values.len()];
            // The first number of a row begins a list.
            let repetitions: Vec<i16> =
                (0..values.len()).map(|i| i16::from(!i.is_multiple_of(*width))).collect();
            put::<FloatType>(group, values, Some((&definitions, Some(&repetitions))))
        }
    }
}

/// The values that are there, each with the level that says so.
fn put_some<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    values: &[Option<T::T>],
) -> std::result::Result<(), ParquetError> {
    let definitions: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
    let present: Vec<T::T> = values.iter().flatten().cloned().collect();
    put::<T>(group, &present, Some((&definitions, None)))
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    values: &[T::T],
    levels: Option<(&[i16], Option<&[i16]>)>,
) -> std::result::Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".to_owned()));
    };
    let (definitions, repetitions) = match levels {
        Some((definitions, repetitions)) => (Some(definitions), repetitions),
        None => (None, None),
    };
    column.typed::<T>().write_batch(values, definitions, repetitions)?;
    column.close()
}

/// Adapter for `map_err` on the crate's functions.
fn failed(path: &Path) -> impl Fn(ParquetError) -> Error {
    |e| Error::File { path: path.to_owned(), what: format!("cannot write: {e}") }
}
