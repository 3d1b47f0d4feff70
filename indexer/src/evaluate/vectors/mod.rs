//! Descriptors in memory, with keys: of this project's parts, or computed by other programs.
//!
//! Files of other programs have the names of their rows in them, or the caller gives the names.

mod files;
mod matrix;
mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ocelli_index::{DescriptorSpec, Part, VectorFormat, out_of_range};

use crate::sample::{common_spec, refuse_copies, require_descriptors};
use crate::{Error, Result};
use matrix::Matrix;
pub use names::RowNames;

/// Spec of vectors that other programs computed.
const FOREIGN: &str = "evaluated";

/// The ending of a part.
const PART: &str = "part";

/// How files of vectors are read. Parts need none of it.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The matrix of a file of MATLAB or HDF5: `X`, `train/vectors`, or `glob.V` for a field of a
    /// struct. None: the only matrix, or one of the names that published features have.
    pub variable: Option<String>,
    /// Names of the rows, over all files. A file of names counts more than names in the files of
    /// vectors, and these more than given ones. None: files without names are refused.
    pub names: Option<RowNames>,
    /// What the rows are, which decides between several matrices of a file.
    pub role: Role,
}

/// The meaning of a file's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Images of the database.
    #[default]
    Database,
    /// Queries.
    Queries,
}

impl Role {
    /// The flag that names the files.
    fn flag(self) -> &'static str {
        match self {
            Self::Database => "--descriptors",
            Self::Queries => "--queries",
        }
    }

    /// The flag that names a matrix of a file.
    fn variable_flag(self) -> &'static str {
        match self {
            Self::Database => "--variable",
            Self::Queries => "--query-variable",
        }
    }

    /// How the user gives names of rows.
    fn names_flags(self) -> &'static str {
        match self {
            Self::Database => {
                "--row-names FILE gives names, --rows listed or --rows sorted says the order of \
                 the rows"
            }
            Self::Queries => "--query-names FILE gives names",
        }
    }
}

/// Descriptors and their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Names of the images, by row.
    pub keys: Vec<String>,
    /// The spec of all rows.
    pub spec: DescriptorSpec,
    /// (keys, dim) row-major.
    pub rows: Vec<f32>,
    /// The data set's list that names the rows, in its order, where they have no names of their
    /// own.
    pub order: Option<String>,
}

impl Vectors {
    /// Reads files, one after the other: parts of descriptors of one spec, or vectors of other
    /// programs (`.npy`, `.fvecs`, `.bvecs`, `.fbin`, `.u8bin`, `.mat`, `.h5`, `.hdf5`) of one
    /// dimension.
    ///
    /// A matrix of a `.mat` or HDF5 file may have a vector in each column or in each row. The
    /// reading is taken that has as many vectors as there are names. Where both have, or there are
    /// no names, it is MATLAB's columns (as in features of Radenović's and Iscen's programs) and
    /// HDF5's rows.
    ///
    /// # Errors
    /// No file; parts beside other files; files of several dimensions or specs; no names, or
    /// another number of names than of rows (the error has both); a name that is there twice; a
    /// value that is out of range, with file and row; those of reading.
    pub fn open(paths: &[PathBuf], reading: &Reading) -> Result<Self> {
        let Some(first) = paths.first() else {
            return Err(Error::Invalid("expected at least one file of vectors".to_owned()));
        };
        match paths.iter().find(|path| is_part(path) != is_part(first)) {
            Some(other) => Err(Error::Invalid(format!(
                "{}: expected parts, or vectors of other programs, found both: {} and {}",
                reading.role.flag(),
                first.display(),
                other.display()
            ))),
            None if is_part(first) => Self::of_parts(paths),
            None => Self::of_matrices(paths, reading),
        }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the database has no vector.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Scales every vector to unit length, so that inner products are cosines. Vectors of zeros
    /// stay.
    pub fn normalize(&mut self) {
        self.rows.chunks_exact_mut(self.spec.dim().max(1)).for_each(|row| {
            ocelli_vector::l2_normalize(row);
        });
    }

    fn of_parts(paths: &[PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| match Part::open(path) {
            Err(e) if path.extension().is_none_or(|ending| ending != PART) => {
                let others = VectorFormat::NAMES.join(", .");
                let what = format!(
                    "expected a part, or a file that ends in .{others}, .mat, .h5 or .hdf5: {e}"
                );
                Err(file_error(path, what))
            }
            opened => Ok(opened?),
        };
        let parts: Vec<Part> = paths.iter().map(open).collect::<Result<_>>()?;
        let spec = common_spec(&parts)?.clone();
        refuse_copies(&parts)?;
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        for part in &parts {
            require_descriptors(part)?;
            keys.extend(part.keys()?);
            rows.extend(part.read(0..part.rows())?);
        }
        Ok(Self { keys, spec, rows, order: None })
    }

    fn of_matrices(paths: &[PathBuf], reading: &Reading) -> Result<Self> {
        let open = |path: &PathBuf| files::open(path, reading);
        let mut matrices: Vec<Matrix> = paths.iter().map(open).collect::<Result<_>>()?;
        let (keys, order) = names::name(&mut matrices, reading)?;
        let dim = matrices.first().map_or(0, Matrix::dim);
        let mut rows: Vec<f32> = Vec::new();
        for matrix in matrices {
            let path = matrix.path().to_owned();
            if matrix.dim() != dim {
                return Err(Error::Invalid(format!(
                    "{}: expected dimension {dim} as in {}, found {}",
                    path.display(),
                    paths[0].display(),
                    matrix.dim()
                )));
            }
            let own = matrix.into_rows();
            let refusal = |(row, x)| Some((row, out_of_range(x)?));
            if let Some((row, why)) = own.chunks_exact(dim.max(1)).enumerate().find_map(refusal) {
                return Err(file_error(&path, format!("row {row}: {why}")));
            }
            // The first file is not copied.
            if rows.is_empty() { rows = own } else { rows.extend(own) }
        }
        let dim = u32::try_from(dim)
            .map_err(|_| Error::Invalid(format!("vectors of dimension {dim} are too long")))?;
        Ok(Self { keys, spec: DescriptorSpec::foreign(FOREIGN, dim)?, rows, order })
    }
}

/// Whether a path is taken for a part: its ending is of no other file.
fn is_part(path: &Path) -> bool {
    files::kind_of(path).is_none()
}

fn file_error(path: &Path, what: impl Into<String>) -> Error {
    Error::File { path: path.to_owned(), what: what.into() }
}
