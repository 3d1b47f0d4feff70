//! Descriptors in memory, with keys: of this project's parts, or computed by other programs.

mod matrix;
mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ocelli_index::{DescriptorSpec, Part, out_of_range};
use ocelli_text::counted;

use crate::sample::require_descriptors;
use crate::{Error, Result};
use matrix::Matrix;
pub use names::RowNames;

/// Spec of vectors that other programs computed.
const FOREIGN: &str = "evaluated";

/// How files of vectors are read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The array of a file of MATLAB or HDF5. None: the only matrix, or one of the names that
    /// published features have.
    pub variable: Option<String>,
    /// Names of the rows of files that have none in them, over all files; None: such files are
    /// refused.
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

/// Descriptors and their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Names of the images, by row.
    pub keys: Vec<String>,
    /// The spec of all rows.
    pub spec: DescriptorSpec,
    /// (keys, dim) row-major.
    pub rows: Vec<f32>,
}

impl Vectors {
    /// Reads files, one after the other: parts of descriptors of one spec, or vectors of other
    /// programs (`.npy`, `.fvecs`, `.bvecs`, `.fbin`, `.u8bin`, `.mat`, `.h5`, `.hdf5`).
    ///
    /// A matrix of MATLAB has a vector in each column (as features of Radenović's and Iscen's
    /// programs do), one of HDF5 in each row; if only the other reading has as many vectors as
    /// there are names, that one is taken.
    ///
    /// # Errors
    /// No file; parts beside other files; files of several dimensions or specs; no names, or
    /// another number of names than of rows; a value that is out of range, with file and row; those
    /// of reading.
    pub fn open(paths: &[PathBuf], reading: &Reading) -> Result<Self> {
        let Some(first) = paths.first() else {
            return Err(Error::Invalid("expected at least one file of vectors".to_owned()));
        };
        match paths.iter().find(|path| is_part(path) != is_part(first)) {
            Some(other) => Err(Error::Invalid(format!(
                "expected parts, or vectors of other programs, found both: {} and {}",
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
        let parts: Vec<Part> =
            paths.iter().map(|path| Ok(Part::open(path)?)).collect::<Result<_>>()?;
        let spec = crate::sample::common_spec(&parts)?.clone();
        crate::sample::refuse_copies(&parts)?;
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        for part in &parts {
            require_descriptors(part)?;
            keys.extend(part.keys()?);
            rows.extend(part.read(0..part.rows())?);
        }
        Ok(Self { keys, spec, rows })
    }

    fn of_matrices(paths: &[PathBuf], reading: &Reading) -> Result<Self> {
        let names = reading.names.as_ref().map(RowNames::read).transpose()?;
        let (mut keys, mut rows, mut dim) = (Vec::new(), Vec::new(), 0);
        for path in paths {
            // Which way a matrix is to be read can be told for a single file only.
            let expected = names.as_ref().map(Vec::len).filter(|_| paths.len() == 1);
            let matrix = Matrix::read(path, reading, expected)?;
            if !rows.is_empty() && matrix.dim != dim {
                return Err(Error::Invalid(format!(
                    "{}: expected dimension {dim} as in {}, found {}",
                    path.display(),
                    paths[0].display(),
                    matrix.dim
                )));
            }
            dim = matrix.dim;
            check(path, &matrix)?;
            let first = rows.len() / dim;
            let count = matrix.values.len() / dim;
            keys.extend(match (matrix.names, &names) {
                (Some(own), _) => own,
                (None, Some(all)) => {
                    let own = all.get(first..first + count);
                    own.ok_or_else(|| wrong_count(paths, first + count, all.len(), reading))?
                        .to_vec()
                }
                (None, None) => return Err(nameless(path, count)),
            });
            rows.extend(matrix.values);
        }
        if let Some(all) = names.filter(|all| all.len() != keys.len()) {
            return Err(wrong_count(paths, keys.len(), all.len(), reading));
        }
        let spec = DescriptorSpec::foreign(FOREIGN, dim as u32)?;
        Ok(Self { keys, spec, rows })
    }
}

fn is_part(path: &Path) -> bool {
    matrix::kind_of(path).is_none()
}

/// Refuses what no search takes.
fn check(path: &Path, matrix: &Matrix) -> Result<()> {
    for (row, x) in matrix.values.chunks_exact(matrix.dim).enumerate() {
        if let Some(why) = out_of_range(x) {
            let what = format!("row {row}: {why}");
            return Err(Error::File { path: path.to_owned(), what });
        }
    }
    Ok(())
}

fn wrong_count(paths: &[PathBuf], rows: usize, names: usize, reading: &Reading) -> Error {
    let whose = reading.names.as_ref().map_or_else(String::new, RowNames::describe);
    Error::File {
        path: paths[0].clone(),
        what: format!(
            "expected {} ({whose}), found {} or more in the files given",
            counted(names as u64, "row"),
            rows
        ),
    }
}

fn nameless(path: &Path, rows: usize) -> Error {
    Error::File {
        path: path.to_owned(),
        what: format!(
            "its {} have no names; give them by --row-names FILE, or say the order of the rows \
             (--rows listed or sorted)",
            counted(rows as u64, "row")
        ),
    }
}
