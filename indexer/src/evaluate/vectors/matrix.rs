//! A matrix of descriptors of a file that another program wrote, with names if the file has any.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelli_index::foreign::hdf5::{Hdf5File, Hdf5Kind};
use ocelli_index::foreign::matlab::{MatArray, MatClass, MatContent, MatFile};
use ocelli_index::{VectorFile, VectorFormat};

use super::{Reading, Side, file_error};
use crate::{Error, Result};

/// Endings of files that have several arrays.
const MATLAB: &str = "mat";
const HDF5: [&str; 3] = ["h5", "hdf5", "hdf"];

/// Usual names of a database's descriptors and of the queries': those of the features published
/// with Radenović's and Iscen's programs, of DISC21 and of ILIAS.
const DATABASE: [&str; 5] = ["X", "vecs", "vectors", "features", "descriptors"];
const QUERIES: [&str; 5] = ["Q", "qvecs", "query", "queries", "query_vectors"];
/// Usual names of lists of names.
const DATABASE_NAMES: [&str; 7] =
    ["image_names", "index", "imlist", "names", "image_ids", "ids", "keys"];
const QUERY_NAMES: [&str; 3] = ["qimlist", "query_names", "query_ids"];

/// Numbers with the names of their rows.
pub(super) struct Matrix {
    path: PathBuf,
    /// The array of the file, if it has several.
    variable: Option<String>,
    numbers: Vec<f32>,
    /// Rows, as they are stored: the numbers of one are side by side.
    rows: usize,
    dim: usize,
    /// Whether the other side may be that of the rows.
    may_turn: bool,
    /// Whether it is.
    is_turned: bool,
    names: Option<(String, Vec<String>)>,
    /// Lists of names in the file that have other lengths, for errors.
    other_names: Vec<(String, usize)>,
}

impl Matrix {
    /// Reads a file.
    pub(super) fn open(path: &Path, options: &Reading) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match ending.as_str() {
            MATLAB if !is_hdf5(path)? => matlab(path, options),
            ending if ending == MATLAB || HDF5.contains(&ending) => hdf5(path, options),
            ending if VectorFormat::NAMES.contains(&ending) => vectors(path),
            _ => Err(Error::Invalid(format!(
                "{}: expected descriptors, in a file that ends in .part, .{}, .mat, .h5 or .hdf5",
                path.display(),
                VectorFormat::NAMES.join(", .")
            ))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// File, array and shape, as it is read.
    pub(super) fn what(&self) -> String {
        let variable = self.variable.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let (rows, dim) = (self.rows(), self.dim());
        format!("{}{variable}: {rows} rows of dimension {dim}", self.path.display())
    }

    pub(super) fn rows(&self) -> usize {
        if self.is_turned { self.dim } else { self.rows }
    }

    pub(super) fn dim(&self) -> usize {
        if self.is_turned { self.rows } else { self.dim }
    }

    /// Rows if it is turned, where it may be.
    pub(super) fn rows_turned(&self) -> usize {
        if self.may_turn { self.dim } else { self.rows }
    }

    /// Takes the other side for that of the rows, where it may be.
    pub(super) fn turn(&mut self) {
        self.is_turned = self.may_turn;
    }

    pub(super) fn names(&self) -> Option<&[String]> {
        self.names.as_ref().map(|(_, names)| names.as_slice())
    }

    /// The names in the file, and the name of their list.
    pub(super) fn take_names(&mut self) -> Option<(String, Vec<String>)> {
        self.names.take()
    }

    /// Lists of names that do not fit, as the end of a sentence.
    pub(super) fn tried(&self) -> String {
        let lists = self.other_names.iter().map(|(name, len)| format!("{name} has {len}"));
        let lists: Vec<String> = lists.collect();
        if lists.is_empty() { String::new() } else { format!(" ({})", lists.join(", ")) }
    }

    /// The rows, one after the other.
    pub(super) fn into_rows(self) -> Vec<f32> {
        if !self.is_turned {
            return self.numbers;
        }
        let numbers = &self.numbers;
        (0..self.dim)
            .flat_map(|row| numbers.iter().skip(row).step_by(self.dim.max(1)))
            .copied()
            .collect()
    }

    fn new(path: &Path, variable: Option<String>, numbers: Vec<f32>, rows: usize) -> Result<Self> {
        let dim = numbers.len().checked_div(rows).unwrap_or(0);
        if dim == 0 || rows * dim != numbers.len() {
            let what =
                format!("expected descriptors, found {rows} rows, {} numbers", numbers.len());
            return Err(file_error(path, what));
        }
        Ok(Self {
            path: path.to_owned(),
            variable,
            numbers,
            rows,
            dim,
            may_turn: false,
            is_turned: false,
            names: None,
            other_names: Vec::new(),
        })
    }

    /// Takes the first list of names that has a name for each row, on either side.
    fn offer(
        &mut self,
        list: &str,
        names: impl FnOnce() -> Result<Option<Vec<String>>>,
    ) -> Result<()> {
        if self.names.is_some() {
            return Ok(());
        }
        if let Some(names) = names()? {
            if [self.rows, self.rows_turned()].contains(&names.len()) {
                self.names = Some((list.to_owned(), names));
            } else {
                self.other_names.push((list.to_owned(), names.len()));
            }
        }
        Ok(())
    }
}

/// Names of lists of names in the order in which they are looked for.
fn lists_of_names(side: Side) -> Vec<&'static str> {
    match side {
        Side::Database => DATABASE_NAMES.to_vec(),
        Side::Queries => [&QUERY_NAMES[..], &DATABASE_NAMES[..]].concat(),
    }
}

/// Chooses a matrix among those of a file.
fn choose(path: &Path, matrices: &[&str], options: &Reading) -> Result<String> {
    let last = |name: &str| name.rsplit(['/', '.']).next().unwrap_or(name).to_owned();
    let usual = match options.side {
        Side::Database => &DATABASE,
        Side::Queries => &QUERIES,
    };
    for usual in usual {
        let mut found = matrices.iter().filter(|name| last(name) == **usual);
        if let (Some(name), None) = (found.next(), found.next()) {
            return Ok((*name).to_owned());
        }
    }
    match matrices {
        [one] => Ok((*one).to_owned()),
        _ if options.side == Side::Queries
            && matrices.iter().any(|name| DATABASE.contains(&last(name).as_str())) =>
        {
            choose(path, matrices, &Reading { side: Side::Database, ..Reading::default() })
        }
        [] => Err(file_error(path, "expected a matrix of numbers, found none")),
        several => Err(file_error(
            path,
            format!("expected one matrix, found {}: name one of them", several.join(", ")),
        )),
    }
}

/// Reads `.npy` and its like.
fn vectors(path: &Path) -> Result<Matrix> {
    let file = VectorFile::open(path)?;
    Matrix::new(path, None, file.read(0..file.rows())?, file.rows())
}

/// Whether a file is HDF5, as MATLAB's version 7.3 is.
fn is_hdf5(path: &Path) -> Result<bool> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut start = Vec::new();
    file.take(128).read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(start.starts_with(b"\x89HDF") || start.get(124..) == Some(b"\x00\x02IM"))
}

/// Reads MATLAB's level 5: columns are descriptors, unless names say otherwise.
fn matlab(path: &Path, options: &Reading) -> Result<Matrix> {
    let file = MatFile::open(path)?;
    let numbers = file.variables().iter().filter(|variable| {
        variable.class == MatClass::Numbers
            && variable.dims.len() == 2
            && variable.dims.iter().product::<usize>() > 1
    });
    let numbers: Vec<&str> = numbers.map(|variable| variable.name.as_str()).collect();
    let name = match &options.variable {
        Some(name) => name.clone(),
        None => choose(path, &numbers, options)?,
    };
    let mut matrix = match file.variables().iter().find(|variable| variable.name == name) {
        Some(variable) if variable.class == MatClass::Numbers => {
            let [_, columns] = *variable.dims.as_slice() else {
                let what = format!("{name:?} has dimensions {:?}, expected two", variable.dims);
                return Err(file_error(path, what));
            };
            let mut matrix = Matrix::new(path, Some(name.clone()), file.read_f32(&name)?, columns)?;
            matrix.may_turn = true;
            matrix
        }
        _ => cells(path, &file, &name)?,
    };
    for list in lists_of_names(options.side) {
        if file.variables().iter().any(|variable| variable.name == list) {
            matrix.offer(list, || {
                let array = file.read(list)?;
                Ok(array.texts().map(|texts| texts.into_iter().map(str::to_owned).collect()))
            })?;
        }
    }
    Ok(matrix)
}

/// Reads a cell array with a vector in each cell, or a matrix within structs: `glob.V`.
fn cells(path: &Path, file: &MatFile, name: &str) -> Result<Matrix> {
    let mut parts = name.split('.');
    let top = file.read(parts.next().unwrap_or(name))?;
    let array = parts.try_fold(&top, |array, field| array.field(field)?.first());
    let refuse = |what: String| Err(file_error(path, format!("{name:?}: {what}")));
    let variable = Some(name.to_owned());
    let to_f32 = |numbers: &[f64]| -> Vec<f32> { numbers.iter().map(|&x| x as f32).collect() };
    match array {
        None => refuse("no such field".to_owned()),
        Some(MatArray { dims, content: MatContent::Numbers(numbers) }) => match dims.as_slice() {
            [_, columns] => {
                let mut matrix = Matrix::new(path, variable, to_f32(numbers), *columns)?;
                matrix.may_turn = true;
                Ok(matrix)
            }
            other => refuse(format!("dimensions {other:?}, expected two")),
        },
        Some(MatArray { content: MatContent::Cells(cells), .. }) => {
            let mut all = Vec::new();
            let dim = cells.first().and_then(MatArray::numbers).map_or(0, <[f64]>::len);
            for (place, cell) in cells.iter().enumerate() {
                // Several columns are descriptors of regions.
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
            Matrix::new(path, variable, all, cells.len())
        }
        Some(other) => refuse(format!("expected numbers, found {}", other.what())),
    }
}

/// Reads HDF5: rows are descriptors, which are MATLAB's columns, unless names say otherwise.
fn hdf5(path: &Path, options: &Reading) -> Result<Matrix> {
    let file = Hdf5File::open(path)?;
    let is_matrix = |set: &&ocelli_index::foreign::hdf5::Hdf5Set| {
        let elements = set.shape.iter().fold(1u64, |len, &side| len.saturating_mul(side));
        set.kind == Hdf5Kind::Numbers && set.shape.len() == 2 && elements > 1
    };
    let matrices: Vec<&str> =
        file.sets().iter().filter(is_matrix).map(|set| set.name.as_str()).collect();
    let name = match &options.variable {
        Some(name) => name.clone(),
        None => choose(path, &matrices, options)?,
    };
    let rows = match file.sets().iter().find(|set| set.name == name) {
        Some(set) => match set.shape.as_slice() {
            &[rows, _] => usize::try_from(rows).unwrap_or(usize::MAX),
            other => {
                let what = format!("{name:?} has the shape {other:?}, expected two dimensions");
                return Err(file_error(path, what));
            }
        },
        // Reading it says what there is.
        None => 0,
    };
    let mut matrix = Matrix::new(path, Some(name.clone()), file.read_f32(&name)?, rows)?;
    matrix.may_turn = true;
    // Names are beside their matrix.
    let group = name.rsplit_once('/').map_or(String::new(), |(group, _)| format!("{group}/"));
    for list in lists_of_names(options.side) {
        let list = format!("{group}{list}");
        let is_list = |set: &ocelli_index::foreign::hdf5::Hdf5Set| {
            set.name == list && set.kind == Hdf5Kind::Text
        };
        if file.sets().iter().any(is_list) {
            matrix.offer(&list, || Ok(Some(file.read_texts(&list)?)))?;
        }
    }
    Ok(matrix)
}
