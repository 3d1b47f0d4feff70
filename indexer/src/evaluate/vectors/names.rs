//! Names of the rows of files of other programs.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::foreign::open_regular;
use ocelli_index::{check_key, read_npy_texts};

use super::matrix::Matrix;
use super::{Reading, Role, file_error};
use crate::{Error, Result};

/// Names of rows, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowNames {
    /// A text file, one name a line; a JSON list of texts (`.json`), or an array of them (`.npy`).
    File(PathBuf),
    /// Names that the data set has, and what they are: `the list of images of oxford5k`.
    Given(Vec<String>, String),
}

/// The names of all rows, and the data set's list that they come from, if they do.
pub(super) type Names = (Vec<String>, Option<String>);

/// Gives the names of all rows, and turns the matrices so that they have as many rows.
///
/// # Errors
/// No names, or another number of them than of rows; a name that is there twice; a file of names
/// that cannot be understood.
pub(super) fn name(matrices: &mut [Matrix], reading: &Reading) -> Result<Names> {
    let role = reading.role;
    let mut order = None;
    let keys = match &reading.names {
        Some(RowNames::File(path)) => {
            let keys = read(path)?;
            turn(matrices, keys.len(), &path.display().to_string(), role)?;
            keys
        }
        Some(RowNames::Given(keys, what)) if !matrices.iter().any(Matrix::has_names) => {
            turn(matrices, keys.len(), what, role)?;
            order = Some(what.clone());
            keys.clone()
        }
        _ => {
            let mut keys = Vec::new();
            for matrix in matrices.iter_mut() {
                let Some((list, names)) = matrix.take_names() else {
                    return Err(nameless(matrix, role));
                };
                let from = format!("{} ({list})", matrix.path().display());
                turn(std::slice::from_mut(matrix), names.len(), &from, role)?;
                keys.extend(names);
            }
            keys
        }
    };
    check(&keys, matrices)?;
    Ok((keys, order))
}

/// Turns the matrices so that they have so many rows together.
fn turn(matrices: &mut [Matrix], names: usize, from: &str, role: Role) -> Result<()> {
    let found = matrices.iter().map(Matrix::rows).sum::<usize>();
    if found == names {
        return Ok(());
    }
    let other: usize = matrices.iter().map(Matrix::rows_turned).sum();
    if other == names {
        matrices.iter_mut().for_each(Matrix::turn);
        return Ok(());
    }
    let files: Vec<String> = matrices.iter().map(Matrix::what).collect();
    let turned = match other == found {
        true => String::new(),
        false => format!(", or {other} if each column is a vector in place of each row"),
    };
    Err(Error::Invalid(format!(
        "{}: expected as many names as rows, found {names} names ({from}), and {found} \
         rows{turned} ({}); {}",
        role.flag(),
        files.join(", "),
        role.names_flags()
    )))
}

/// Refuses a name that is there twice, or is none.
fn check(keys: &[String], matrices: &[Matrix]) -> Result<()> {
    let place = |row: usize| {
        let mut first = 0;
        for matrix in matrices {
            if row < first + matrix.rows() {
                return format!("row {} of {}", row - first, matrix.path().display());
            }
            first += matrix.rows();
        }
        format!("row {row}")
    };
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (row, key) in keys.iter().enumerate() {
        if key.trim().is_empty() {
            return Err(Error::Invalid(format!("{}: expected a name, found none", place(row))));
        }
        check_key(key).map_err(|e| Error::Invalid(format!("{}: {e}", place(row))))?;
        if let Some(first) = seen.insert(key, row) {
            return Err(Error::Invalid(format!(
                "{} and {} are both named {key:?}",
                place(first),
                place(row)
            )));
        }
    }
    Ok(())
}

fn nameless(matrix: &Matrix, role: Role) -> Error {
    let (rows, tried) = (matrix.rows(), matrix.tried());
    let what = format!("its {rows} rows have no names{tried}; {}", role.names_flags());
    file_error(matrix.path(), what)
}

/// Reads a file of names.
///
/// # Errors
/// A file that cannot be read or understood, has no names, or an empty line.
fn read(path: &Path) -> Result<Vec<String>> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let text = || -> Result<String> {
        let text = open_regular(path).and_then(io::read_to_string);
        let text = text.map_err(Error::io("read", path))?;
        Ok(text.trim_start_matches('\u{feff}').to_owned())
    };
    let names: Vec<String> = match ending.as_str() {
        "npy" => read_npy_texts(path)?,
        "json" => serde_json::from_str(&text()?)
            .map_err(|e| file_error(path, format!("expected a list of texts: {e}")))?,
        _ => {
            let text = text()?;
            if let Some(line) = text.lines().position(|line| line.trim().is_empty()) {
                let what = "expected a name, found an empty line";
                return Err(Error::Invalid(format!("{}:{}: {what}", path.display(), line + 1)));
            }
            text.lines().map(str::to_owned).collect()
        }
    };
    if names.is_empty() {
        return Err(file_error(path, "expected names, found none"));
    }
    Ok(names)
}
