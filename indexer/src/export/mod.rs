//! Export: an index as files that other programs read.

mod faiss;
mod parquet;
#[cfg(test)]
mod tests;

pub use self::faiss::{ExportReport, export_faiss};
pub use self::parquet::{ParquetReport, ParquetRows, export_parquet};
