//! Import of files of other programs. An index of FAISS becomes an index with the same codes
//! ([`import_faiss`]); vectors become a part ([`import_vectors`]).

pub mod faiss;
pub mod vectors;

pub use faiss::{ImportOptions, ImportReport, import_faiss};
pub use vectors::{
    AttributeColumn, OnBadRow, ParquetColumns, ParquetFile, VectorSource, VectorsOptions,
    VectorsReport, import_vectors,
};
