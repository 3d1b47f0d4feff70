//! Writes vectors for other programs to read.

use std::path::Path;

use super::{VectorFormat, npy};
use crate::base::error::{Error, Result};
use crate::files::container::AtomicFile;

/// Writes one file of f32 vectors: fvecs, npy or fbin. Nothing is visible under its name before
/// [`Self::finish`].
pub struct VectorWriter {
    file: AtomicFile,
    what: String,
    format: VectorFormat,
    rows: usize,
    dim: usize,
    written: usize,
}

impl VectorWriter {
    /// Starts the file of (rows, dim) at `path`, whose ending names the format. Its folder must
    /// exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another ending, dimension 0, or a shape that the format cannot say;
    /// [`Error::Io`].
    pub fn create(path: &Path, rows: usize, dim: usize) -> Result<Self> {
        let format = VectorFormat::of(path)?;
        let what = path.display().to_string();
        let too_large = || Error::invalid(format!("{what}: ({rows}, {dim}) does not fit {format}"));
        if dim == 0 {
            return Err(Error::invalid(format!("{what}: vectors of dimension 0")));
        }
        let head = match format {
            VectorFormat::Bvecs | VectorFormat::U8bin => {
                return Err(Error::invalid(format!(
                    "{what}: vectors of f32 are written as .fvecs, .npy or .fbin"
                )));
            }
            VectorFormat::Npy => npy::header(rows, dim),
            VectorFormat::Fbin => {
                let side = |n| u32::try_from(n).map(u32::to_le_bytes).map_err(|_| too_large());
                [side(rows)?, side(dim)?].concat()
            }
            VectorFormat::Fvecs => {
                i32::try_from(dim).map_err(|_| too_large())?;
                Vec::new()
            }
        };
        let mut file = AtomicFile::create(path)?;
        file.append(&head)?;
        Ok(Self { file, what, format, rows, dim, written: 0 })
    }

    /// Appends rows (n, dim), row-major.
    ///
    /// # Errors
    /// [`Error::Dim`] if the numbers are no whole rows; [`Error::Invalid`] for more rows than
    /// announced; [`Error::Io`].
    pub fn push(&mut self, rows: &[f32]) -> Result<()> {
        if !rows.len().is_multiple_of(self.dim) {
            return Err(Error::Dim {
                what: format!("{}: numbers of the last row", self.what),
                expected: self.dim,
                found: rows.len() % self.dim,
            });
        }
        self.written += rows.len() / self.dim;
        self.check_rows(self.written <= self.rows)?;
        if self.format == VectorFormat::Fvecs {
            for row in rows.chunks_exact(self.dim) {
                // `create` has seen that it fits.
                self.file.append(&(self.dim as i32).to_le_bytes())?;
                self.file.append(bytemuck::cast_slice(row))?;
            }
            return Ok(());
        }
        self.file.append(bytemuck::cast_slice(rows))
    }

    /// Makes the file visible and durable.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer rows than announced; [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        self.check_rows(self.written == self.rows)?;
        self.file.publish().map(|_| ())
    }

    fn check_rows(&self, fits: bool) -> Result<()> {
        if fits {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{}: {} rows were announced, {} written",
            self.what, self.rows, self.written
        )))
    }
}
