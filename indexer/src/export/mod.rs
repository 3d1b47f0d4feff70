//! Export: an index as files that other programs read.

mod faiss;
mod parquet;
#[cfg(test)]
mod tests;

pub use self::faiss::{ExportReport, FAISS_BYTES, export_faiss};
pub use self::parquet::{PARQUET_BYTES, ParquetReport, ParquetRows, export_parquet};
