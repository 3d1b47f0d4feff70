//! Files of vectors as a part: from there on they are descriptors like any other.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{DescriptorSpec, Dtype, PartKind, PartWriter, VectorFile};
use serde::Serialize;

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

/// Writes the rows of `files` (see [`ocelli_index::vectors`] for the formats), one file after another, as
/// descriptors without keys and ids into a part at `out`. An index that is built of nothing else gives
/// them the ids 0, 1, 2, …
///
/// # Errors
/// [`Error::Index`] with file and row for what cannot be read; [`Error::Invalid`] for no files or files of
/// different dimensions. No part is then left.
pub fn import_vectors(
    files: &[VectorFile],
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
        for from in (0..file.rows()).step_by(block) {
            let to = file.rows().min(from + block);
            let x = file.read(from..to)?;
            for (row, x) in (from..to).zip(x.chunks_exact(dim)) {
                part.push("", None, x).map_err(|e| {
                    // Finite as f32, but not as the part stores it.
                    Error::File { path: file.path().to_owned(), what: format!("row {row}: {e}") }
                })?;
            }
            done += (to - from) as u64;
            progress(Progress { stage: "vectors", done, total });
        }
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
