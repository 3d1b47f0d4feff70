//! One file of vectors of another program.

use std::io::Read;
use std::path::Path;

use ocelli_index::VectorFile;
use ocelli_index::foreign::hdf5::{Hdf5File, Hdf5Kind};
use ocelli_index::foreign::matlab::{MatClass, MatFile};
use ocelli_index::foreign::open_regular;

use super::{Reading, Role};
use crate::{Error, Result};

/// Names of the database's matrix, and of the queries', in published files.
const DATABASE: [&str; 4] = ["X", "vecs", "vectors", "features"];
const QUERIES: [&str; 4] = ["Q", "qvecs", "query_vectors", "queries"];
/// Names of the texts beside a matrix of HDF5 (`image_names` of DISC21, `index` of ILIAS).
const TEXTS: [&str; 5] = ["image_names", "index", "ids", "names", "keys"];
/// First bytes of a file of HDF5, and those of the head that MATLAB writes before it.
const HDF5_MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
const HDF5_HEAD: &[u8] = b"MATLAB 7.3";

/// Kind of file, by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows only.
    Plain,
    /// MATLAB of level 5, or 7.3, which is HDF5.
    Matlab,
    /// HDF5.
    Hdf5,
}

/// The kind that the ending names; None for others, which are parts.
pub(super) fn kind_of(path: &Path) -> Option<Kind> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "npy" | "fvecs" | "bvecs" | "fbin" | "u8bin" => Some(Kind::Plain),
        "mat" => Some(Kind::Matlab),
        "h5" | "hdf5" => Some(Kind::Hdf5),
        _ => None,
    }
}

/// Vectors of a file.
#[derive(Debug)]
pub(super) struct Matrix {
    /// Length of each, at least 1.
    pub dim: usize,
    /// (rows, dim) row-major.
    pub values: Vec<f32>,
    /// Names of the rows, if the file has them.
    pub names: Option<Vec<String>>,
}

impl Matrix {
    /// Reads a file. `expected`: number of vectors, if it is known.
    pub fn read(path: &Path, reading: &Reading, expected: Option<usize>) -> Result<Self> {
        match kind_of(path) {
            Some(Kind::Matlab) if !is_hdf5(path)? => of_matlab(path, reading, expected),
            Some(Kind::Matlab | Kind::Hdf5) => of_hdf5(path, reading, expected),
            Some(Kind::Plain) | None => {
                let file = VectorFile::open(path)?;
                let (values, _) = file.read_all(0..file.rows())?;
                Ok(Self { dim: file.dim(), values, names: None })
            }
        }
    }
}

/// Whether a `.mat` is of version 7.3, which is HDF5 behind a head of MATLAB's.
fn is_hdf5(path: &Path) -> Result<bool> {
    let mut file = open_regular(path).map_err(Error::io("open", path))?;
    let mut start = Vec::new();
    let head = file.by_ref().take(HDF5_HEAD.len() as u64);
    { head }.read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(start.starts_with(HDF5_HEAD) || start.starts_with(HDF5_MAGIC))
}

fn of_matlab(path: &Path, reading: &Reading, expected: Option<usize>) -> Result<Matrix> {
    let file = MatFile::open(path)?;
    let arrays = file.variables().iter();
    let matrices: Vec<(&str, [usize; 2])> = arrays
        .filter(|array| array.class == MatClass::Numbers)
        .filter_map(|array| Some((array.name.as_str(), <[usize; 2]>::try_from(&*array.dims).ok()?)))
        .collect();
    let (name, [length, count]) = choose(path, reading, &matrices)?;
    // A column is a vector, and columns are stored one after the other.
    turned(path, name, file.read_f32(name)?, [count, length], expected, None)
}

fn of_hdf5(path: &Path, reading: &Reading, expected: Option<usize>) -> Result<Matrix> {
    let file = Hdf5File::open(path)?;
    let shape = |shape: &[u64]| {
        let [rows, dim] = *shape else { return None };
        Some([usize::try_from(rows).ok()?, usize::try_from(dim).ok()?])
    };
    let sets = file.sets().iter();
    let matrices: Vec<(&str, [usize; 2])> = sets
        .filter(|set| set.kind == Hdf5Kind::Numbers)
        .filter_map(|set| Some((set.name.as_str(), shape(&set.shape)?)))
        .collect();
    let (name, shape) = choose(path, reading, &matrices)?;
    let texts = file
        .sets()
        .iter()
        .find(|set| set.kind == Hdf5Kind::Text && TEXTS.contains(&set.name.as_str()));
    let names = texts.map(|set| file.read_texts(&set.name)).transpose()?;
    let expected = names.as_ref().map(Vec::len).or(expected);
    turned(path, name, file.read_f32(name)?, shape, expected, names)
}

/// The matrix that is meant: the one that is named, the only one, or one of the published names.
fn choose<'a>(
    path: &Path,
    reading: &Reading,
    matrices: &[(&'a str, [usize; 2])],
) -> Result<(&'a str, [usize; 2])> {
    let find = |name: &str| matrices.iter().find(|(found, _)| *found == name).copied();
    let all = || {
        let all: Vec<String> = matrices
            .iter()
            .map(|(name, [rows, columns])| format!("{name} ({rows}, {columns})"))
            .collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    let refuse = |what: String| Error::File { path: path.to_owned(), what };
    let (published, flag) = match reading.role {
        Role::Database => (DATABASE, "--variable"),
        Role::Queries => (QUERIES, "--query-variable"),
    };
    if let Some(name) = &reading.variable {
        return find(name)
            .ok_or_else(|| refuse(format!("expected a matrix {name:?}; there is {}", all())));
    }
    if let Some(found) = published.iter().find_map(|name| find(name)) {
        return Ok(found);
    }
    match matrices {
        [only] => Ok(*only),
        _ => Err(refuse(format!("which matrix is meant? ({flag} NAME) there is {}", all()))),
    }
}

/// A matrix the way in which it has as many rows as `expected`. `values` are row-major of `shape`.
fn turned(
    path: &Path,
    name: &str,
    values: Vec<f32>,
    shape: [usize; 2],
    expected: Option<usize>,
    names: Option<Vec<String>>,
) -> Result<Matrix> {
    let [rows, dim] = shape;
    let refuse = |what: String| Err(Error::File { path: path.to_owned(), what });
    if values.is_empty() || values.len() != rows * dim {
        return refuse(format!("matrix {name:?}: expected numbers, found a shape ({rows}, {dim})"));
    }
    match expected {
        Some(n) if n != rows && n == dim => {
            let column = |row: usize| values.iter().skip(row).step_by(dim).copied();
            let values = (0..dim).flat_map(column).collect();
            Ok(Matrix { dim: rows, values, names })
        }
        Some(n) if n != rows => refuse(format!(
            "matrix {name:?}: expected {n} vectors, as there are names; found ({rows}, {dim})"
        )),
        _ => Ok(Matrix { dim, values, names }),
    }
}
