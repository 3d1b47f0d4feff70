//! Names of rows that are not in a part.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{check_key, read_npy_texts};

use super::file_error;
use super::matrix::Matrix;
use crate::{Error, Result};

/// Where the names of rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowNames {
    /// A file: one name a line, a list of strings in `.json`, or an array of them in `.npy`.
    File(PathBuf),
    /// These, in the order of the rows.
    Given(Vec<String>),
}

/// Chooses the side of each matrix that has a row for each name, and gives the names of all rows.
pub(super) fn name(matrices: &mut [Matrix], names: Option<&RowNames>) -> Result<Vec<String>> {
    let keys = match names {
        Some(RowNames::File(path)) => {
            let keys = read(path)?;
            turn(matrices, keys.len(), &path.display().to_string())?;
            keys
        }
        Some(RowNames::Given(keys)) if matrices.iter().all(|m| m.names().is_none()) => {
            turn(matrices, keys.len(), "the data set")?;
            keys.clone()
        }
        _ => {
            let mut keys = Vec::new();
            for matrix in matrices {
                match matrix.take_names() {
                    Some((place, names)) => {
                        let from = format!("{} ({place})", matrix.path().display());
                        turn(std::slice::from_mut(matrix), names.len(), &from)?;
                        keys.extend(names);
                    }
                    None => {
                        let what = format!(
                            "its {} rows have no names: expected names in the file, or a list of \
                             them{}",
                            matrix.rows(),
                            matrix.tried()
                        );
                        return Err(file_error(matrix.path(), what));
                    }
                }
            }
            keys
        }
    };
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (row, key) in keys.iter().enumerate() {
        check_key(key).map_err(|e| Error::Invalid(format!("row {row} of the descriptors: {e}")))?;
        if let Some(first) = seen.insert(key, row) {
            return Err(Error::Invalid(format!(
                "descriptors: rows {first} and {row} are both named {key:?}"
            )));
        }
    }
    Ok(keys)
}

/// Turns the matrices so that they have so many rows together.
fn turn(matrices: &mut [Matrix], names: usize, from: &str) -> Result<()> {
    let rows = |matrices: &[Matrix]| matrices.iter().map(Matrix::rows).sum::<usize>();
    let found = rows(matrices);
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
        false => format!(", or {other} if each column is a descriptor in place of each row"),
    };
    Err(Error::Invalid(format!(
        "descriptors: expected as many names as rows: found {names} names in {from}, and {found} \
         rows{turned}, in {}",
        files.join(", ")
    )))
}

/// Reads a file of names.
fn read(path: &Path) -> Result<Vec<String>> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if ending == "npy" {
        return Ok(read_npy_texts(path)?);
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if ending == "json" {
        let names = serde_json::from_str(text);
        return names.map_err(|e| file_error(path, format!("expected a list of strings: {e}")));
    }
    let mut names = Vec::new();
    for (line, name) in (1..).zip(text.lines()) {
        if name.is_empty() {
            let what = "expected a name, found an empty line";
            return Err(Error::Invalid(format!("{}:{line}: {what}", path.display())));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}
