//! Files of vectors of other programs.

use std::io::Read;
use std::path::Path;

use ocelli_index::VectorFile;
use ocelli_index::foreign::hdf5::{Hdf5File, Hdf5Kind, Hdf5Set};
use ocelli_index::foreign::matlab::{MatArray, MatClass, MatContent, MatFile, MatVariable};
use ocelli_index::foreign::open_regular;

use super::matrix::Matrix;
use super::{Reading, Role, file_error};
use crate::{Error, Result};

/// Usual names of a database's vectors and of the queries': those of the features published with
/// Radenović's and Iscen's programs, of DISC21 and of ILIAS.
const DATABASE: [&str; 5] = ["X", "vecs", "vectors", "features", "descriptors"];
const QUERIES: [&str; 5] = ["Q", "qvecs", "query_vectors", "queries", "query"];
/// Usual names of lists of names.
const DATABASE_NAMES: [&str; 7] =
    ["image_names", "index", "imlist", "names", "image_ids", "ids", "keys"];
const QUERY_NAMES: [&str; 3] = ["qimlist", "query_names", "query_ids"];
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
        "h5" | "hdf5" | "hdf" => Some(Kind::Hdf5),
        _ => None,
    }
}

/// Reads a file.
///
/// # Errors
/// Those of reading; no matrix, or several and none that is meant.
pub(super) fn open(path: &Path, reading: &Reading) -> Result<Matrix> {
    match kind_of(path) {
        Some(Kind::Matlab) if !is_hdf5(path)? => matlab(path, reading),
        Some(Kind::Matlab | Kind::Hdf5) => hdf5(path, reading),
        Some(Kind::Plain) | None => {
            let file = VectorFile::open(path)?;
            // Values that are out of range are refused later, with their row.
            let (numbers, _) = file.read_all(0..file.rows())?;
            Matrix::new(path, None, numbers, file.rows())
        }
    }
}

/// Whether a `.mat` is of version 7.3, which is HDF5 behind a head of MATLAB's.
fn is_hdf5(path: &Path) -> Result<bool> {
    let file = open_regular(path).map_err(Error::io("open", path))?;
    let mut start = Vec::new();
    let most = HDF5_HEAD.len() as u64;
    file.take(most).read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(start.starts_with(HDF5_HEAD) || start.starts_with(HDF5_MAGIC))
}

/// Names of lists of names, in the order in which they are looked for.
fn lists_of_names(role: Role) -> impl Iterator<Item = &'static str> {
    let queries = QUERY_NAMES.into_iter().filter(move |_| role == Role::Queries);
    queries.chain(DATABASE_NAMES)
}

/// Whether an array of two sides is more than a number.
fn is_matrix<N: Copy + Ord + From<u8>>(rows: N, columns: N) -> bool {
    rows.min(columns) > N::from(0) && rows.max(columns) > N::from(1)
}

/// A matrix of a file: its name, and its shape as the file's own program says it.
type Shaped<'a> = (&'a str, [u64; 2]);

/// The matrix that is meant: one of a usual name, or the only one. Queries may be in a matrix that
/// is named as a database's is.
fn choose<'a>(path: &Path, matrices: &[Shaped<'a>], role: Role) -> Result<&'a str> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let usual = match role {
        Role::Database => DATABASE,
        Role::Queries => QUERIES,
    };
    let one_of = |usual: &[&str]| {
        usual.iter().find_map(|usual| {
            let mut found = matrices.iter().filter(|(name, _)| last(name) == *usual);
            match (found.next(), found.next()) {
                (Some((name, _)), None) => Some(*name),
                _ => None,
            }
        })
    };
    if let Some(name) = one_of(&usual) {
        return Ok(name);
    }
    match matrices {
        [(only, _)] => return Ok(only),
        [] => return Err(file_error(path, "expected a matrix of numbers, found none")),
        _ => {}
    }
    if role == Role::Queries
        && let Some(name) = one_of(&DATABASE)
    {
        return Ok(name);
    }
    let all: Vec<String> =
        matrices.iter().map(|(name, [a, b])| format!("{name} ({a}, {b})")).collect();
    let what = format!(
        "expected one matrix, found {}: {} NAME chooses one",
        all.join(", "),
        role.variable_flag()
    );
    Err(file_error(path, what))
}

/// Reads MATLAB's level 5: columns are vectors, unless names say otherwise.
fn matlab(path: &Path, reading: &Reading) -> Result<Matrix> {
    let file = MatFile::open(path)?;
    let matrix = |variable: &'_ MatVariable| match *variable.dims {
        [rows, columns] if variable.class == MatClass::Numbers && is_matrix(rows, columns) => {
            Some([rows as u64, columns as u64])
        }
        _ => None,
    };
    let matrices: Vec<Shaped<'_>> = file
        .variables()
        .iter()
        .filter_map(|variable| Some((variable.name.as_str(), matrix(variable)?)))
        .collect();
    let name = match &reading.variable {
        Some(name) => name.as_str(),
        None => choose(path, &matrices, reading.role)?,
    };
    let variable = file.variables().iter().find(|variable| variable.name == name);
    let mut matrix = match variable {
        Some(MatVariable { class: MatClass::Numbers, dims, .. }) => {
            columns(path, name, dims, || Ok(file.read_f32(name)?))?
        }
        _ => within(path, &file, name)?,
    };
    for list in lists_of_names(reading.role) {
        if file.variables().iter().any(|variable| variable.name == list) {
            matrix.offer(list, || {
                let array = file.read(list)?;
                Ok(array.texts().map(|texts| texts.into_iter().map(str::to_owned).collect()))
            })?;
        }
    }
    Ok(matrix)
}

/// A matrix of MATLAB, with a vector in each column.
fn columns(
    path: &Path,
    name: &str,
    dims: &[usize],
    numbers: impl FnOnce() -> Result<Vec<f32>>,
) -> Result<Matrix> {
    let [_, columns] = *dims else {
        let what = format!("{name:?} has the dimensions {dims:?}, expected two");
        return Err(file_error(path, what));
    };
    Ok(Matrix::new(path, Some(name), numbers()?, columns)?.either_way())
}

/// A cell array with a vector in each cell, or a matrix or such cells within structs: `glob.V`.
fn within(path: &Path, file: &MatFile, name: &str) -> Result<Matrix> {
    let mut parts = name.split('.');
    let top = file.read(parts.next().unwrap_or(name))?;
    let array = parts.try_fold(&top, |array, field| array.field(field)?.first());
    let refuse = |what: String| Err(file_error(path, format!("{name:?}: {what}")));
    match array {
        None => refuse("there is no such field".to_owned()),
        Some(MatArray { dims, content: MatContent::Numbers(numbers) }) => {
            columns(path, name, dims, || Ok(to_f32(numbers)))
        }
        Some(MatArray { content: MatContent::Cells(cells), .. }) => {
            let dim = cells.first().and_then(MatArray::numbers).map_or(0, <[f64]>::len);
            let mut all = Vec::new();
            for (place, cell) in cells.iter().enumerate() {
                // Several columns are the vectors of regions.
                let is_vector = cell.dims.iter().filter(|&&side| side != 1).count() <= 1;
                match cell.numbers() {
                    Some(numbers) if is_vector && numbers.len() == dim => {
                        all.extend(to_f32(numbers));
                    }
                    _ => {
                        return refuse(format!(
                            "cell {place}: expected one vector of {dim} numbers, found {} of \
                             dimensions {:?}",
                            cell.what(),
                            cell.dims
                        ));
                    }
                }
            }
            Matrix::new(path, Some(name), all, cells.len())
        }
        Some(other) => refuse(format!("expected numbers, found {}", other.what())),
    }
}

fn to_f32(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

/// Reads HDF5: rows are vectors, which are the columns of MATLAB's version 7.3, unless names say
/// otherwise.
fn hdf5(path: &Path, reading: &Reading) -> Result<Matrix> {
    let file = Hdf5File::open(path)?;
    let matrix = |set: &'_ Hdf5Set| match *set.shape {
        [rows, columns] if set.kind == Hdf5Kind::Numbers && is_matrix(rows, columns) => {
            Some(if file.is_matlab() { [columns, rows] } else { [rows, columns] })
        }
        _ => None,
    };
    let matrices: Vec<Shaped<'_>> =
        file.sets().iter().filter_map(|set| Some((set.name.as_str(), matrix(set)?))).collect();
    let name = match &reading.variable {
        Some(name) => name.as_str(),
        None => choose(path, &matrices, reading.role)?,
    };
    let rows = match file.sets().iter().find(|set| set.name == name) {
        Some(set) => match *set.shape {
            [rows, _] => usize::try_from(rows).unwrap_or(usize::MAX),
            _ => {
                let what = format!("{name:?} has the shape {:?}, expected two sides", set.shape);
                return Err(file_error(path, what));
            }
        },
        // Reading says what there is.
        None => 0,
    };
    let mut matrix = Matrix::new(path, Some(name), file.read_f32(name)?, rows)?.either_way();
    // Names are in the group of their matrix.
    let group = name.rfind('/').map_or("", |slash| &name[..=slash]);
    for list in lists_of_names(reading.role) {
        let list = format!("{group}{list}");
        if file.sets().iter().any(|set| set.name == list && set.kind == Hdf5Kind::Text) {
            matrix.offer(&list, || Ok(Some(file.read_texts(&list)?)))?;
        }
    }
    Ok(matrix)
}
