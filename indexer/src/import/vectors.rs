//! Files of vectors as a part: from there on they are descriptors like any other.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{Checks, DescriptorSpec, Dtype, PartKind, PartWriter, VectorFile};
use serde::Serialize;

use super::parquet_file::{ParquetColumns, ParquetFile, ParquetRows};
use crate::{Error, Progress, ProgressFn, Result};

/// Bytes of f32 that are read at once.
const BLOCK_BYTES: usize = 16 << 20;

/// How files of vectors become a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorsOptions {
    /// The user's name for what made the vectors: the spec is `foreign:<name>`.
    pub name: String,
    /// How the part stores numbers.
    pub dtype: Dtype,
}

/// What was imported, for people.
#[derive(Clone, Debug, Serialize)]
pub struct VectorsReport {
    /// The part.
    pub path: PathBuf,
    /// Vectors in it.
    pub rows: u64,
    /// Their dimension.
    pub dim: usize,
    /// Size of the part.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

/// An open file of vectors, of whatever format.
pub enum VectorSource {
    /// Rows and nothing else.
    Plain(VectorFile),
    /// Columns.
    Parquet(Box<ParquetFile>),
}

impl VectorSource {
    /// Opens a file by its ending: `.parquet`, or one of [`ocelli_index::VectorFormat`].
    ///
    /// # Errors
    /// Those of [`VectorFile::open`] and [`ParquetFile::open`]; [`Error::Invalid`] for columns of a file
    /// that has none.
    pub fn open(path: &Path, columns: &ParquetColumns, checks: Checks) -> Result<Self> {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet")) {
            return Ok(Self::Parquet(Box::new(ParquetFile::open(path, columns, checks)?)));
        }
        let file = VectorFile::open(path)?.with_checks(checks);
        if *columns != ParquetColumns::default() {
            return Err(Error::Invalid(format!(
                "{}: columns are named, but only .parquet files have columns",
                path.display()
            )));
        }
        Ok(Self::Plain(file))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Plain(file) => file.path(),
            Self::Parquet(file) => file.path(),
        }
    }

    /// Dimension of the vectors.
    pub fn dim(&self) -> usize {
        match self {
            Self::Plain(file) => file.dim(),
            Self::Parquet(file) => file.dim(),
        }
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        match self {
            Self::Plain(file) => file.rows(),
            Self::Parquet(file) => file.rows(),
        }
    }

    /// All rows in blocks, with the number of each block's first row.
    fn for_each(
        &self,
        block: usize,
        mut take: impl FnMut(usize, ParquetRows) -> Result<()>,
    ) -> Result<()> {
        let file = match self {
            Self::Parquet(file) => return file.for_each(block, take),
            Self::Plain(file) => file,
        };
        for from in (0..file.rows()).step_by(block) {
            let x = file.read(from..file.rows().min(from + block))?;
            take(from, ParquetRows { x, ids: None, keys: None })?;
        }
        Ok(())
    }
}

/// Writes the rows of `files`, one file after another, as descriptors into a part at `out`. Without
/// columns of ids and keys the rows have none; an index that is built of nothing else then gives them the
/// ids 0, 1, 2, …
///
/// # Errors
/// [`Error::Index`] or [`Error::File`] with file and row for what cannot be read; [`Error::Invalid`] for
/// no files or files of different dimensions. No part is then left.
pub fn import_vectors(
    files: &[VectorSource],
    out: &Path,
    options: &VectorsOptions,
    progress: ProgressFn<'_>,
) -> Result<VectorsReport> {
    let start = Instant::now();
    let Some(first) = files.first() else {
        return Err(Error::Invalid("expected at least one file of vectors".to_owned()));
    };
    let dim = first.dim();
    if let Some(other) = files.iter().find(|file| file.dim() != dim) {
        return Err(Error::Invalid(format!(
            "{}: expected dimension {dim} as in {}, found {}",
            other.path().display(),
            first.path().display(),
            other.dim()
        )));
    }
    let spec_dim = u32::try_from(dim)
        .map_err(|_| Error::Invalid(format!("dimension {dim}: expected less than 2^32")))?;
    let spec = DescriptorSpec::foreign(&options.name, spec_dim)?;
    let mut part = PartWriter::create(out, PartKind::Descriptors, options.dtype, &spec)?;
    let block = (BLOCK_BYTES / 4 / dim).max(1);
    let total = files.iter().map(|file| file.rows() as u64).sum();
    let mut done = 0;
    for file in files {
        file.for_each(block, |from, rows| {
            for (i, x) in rows.x.chunks_exact(dim).enumerate() {
                let id = rows.ids.as_ref().map(|ids| ids[i]);
                let key = rows.keys.as_ref().map_or("", |keys| &keys[i]);
                part.push(key, id, x).map_err(|e| {
                    // Finite as f32, but not as the part stores it; a key that is too long.
                    let what = format!("row {}: {e}", from + i);
                    Error::File { path: file.path().to_owned(), what }
                })?;
            }
            done += (rows.x.len() / dim) as u64;
            progress(Progress { stage: "vectors", done, total });
            Ok(())
        })?;
    }
    let written = part.finish()?;
    Ok(VectorsReport {
        path: written.path,
        rows: written.rows,
        dim,
        bytes: written.bytes,
        seconds: start.elapsed().as_secs_f64(),
    })
}
