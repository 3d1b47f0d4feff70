//! A matrix of vectors, and the names that its file has for them.

use std::path::{Path, PathBuf};

use super::file_error;
use crate::Result;

/// Numbers with the names of their rows.
#[derive(Debug)]
pub(super) struct Matrix {
    path: PathBuf,
    /// The array of the file, if it has several.
    variable: Option<String>,
    numbers: Vec<f32>,
    /// Rows as they are stored: the numbers of one are side by side.
    rows: usize,
    dim: usize,
    /// Whether the stored columns may be the rows.
    may_turn: bool,
    /// Whether the stored columns are the rows.
    is_turned: bool,
    /// The list's name, and the names.
    names: Option<(String, Vec<String>)>,
    /// Lists of names in the file that have other lengths.
    other_names: Vec<(String, usize)>,
}

impl Matrix {
    /// Numbers of `rows` vectors, one vector after the other.
    ///
    /// # Errors
    /// No numbers, or a part of a row too many.
    pub(super) fn new(
        path: &Path,
        variable: Option<&str>,
        numbers: Vec<f32>,
        rows: usize,
    ) -> Result<Self> {
        let dim = numbers.len().checked_div(rows).unwrap_or(0);
        if dim == 0 || rows * dim != numbers.len() {
            let array = variable.map(|name| format!("{name:?}: ")).unwrap_or_default();
            let found = numbers.len();
            let what = format!("{array}expected vectors, found {found} numbers in {rows} rows");
            return Err(file_error(path, what));
        }
        Ok(Self {
            path: path.to_owned(),
            variable: variable.map(str::to_owned),
            numbers,
            rows,
            dim,
            may_turn: false,
            is_turned: false,
            names: None,
            other_names: Vec::new(),
        })
    }

    /// The same matrix, whose columns may be the vectors in place of its rows.
    pub(super) fn either_way(mut self) -> Self {
        self.may_turn = true;
        self
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// File, array and shape, as the matrix is read.
    pub(super) fn what(&self) -> String {
        let variable = self.variable.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let (rows, dim) = (self.rows(), self.dim());
        format!("{}{variable}: {rows} rows of dimension {dim}", self.path.display())
    }

    /// Number of vectors.
    pub(super) fn rows(&self) -> usize {
        if self.is_turned { self.dim } else { self.rows }
    }

    /// Length of each vector.
    pub(super) fn dim(&self) -> usize {
        if self.is_turned { self.rows } else { self.dim }
    }

    /// Number of vectors if the matrix is turned, where it may be.
    pub(super) fn rows_turned(&self) -> usize {
        if self.may_turn { self.dim } else { self.rows }
    }

    /// Takes the stored columns for the rows, where they may be.
    pub(super) fn turn(&mut self) {
        self.is_turned = self.may_turn;
    }

    /// Whether the file has a name for each row.
    pub(super) fn has_names(&self) -> bool {
        self.names.is_some()
    }

    /// The name of the list of names in the file, and the names.
    pub(super) fn take_names(&mut self) -> Option<(String, Vec<String>)> {
        self.names.take()
    }

    /// Lists of names that do not fit, as the end of a sentence.
    pub(super) fn tried(&self) -> String {
        let lists = self.other_names.iter().map(|(name, len)| format!("{name} has {len}"));
        let lists: Vec<String> = lists.collect();
        if lists.is_empty() { String::new() } else { format!(" ({})", lists.join(", ")) }
    }

    /// Offers a list of names of the file. The first is taken that has a name for each row, or for
    /// each column where these may be the rows.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn offer(
        &mut self,
        list: &str,
        read: impl FnOnce() -> Result<Option<Vec<String>>>,
    ) -> Result<()> {
        if self.names.is_some() {
            return Ok(());
        }
        if let Some(names) = read()? {
            if [self.rows, self.rows_turned()].contains(&names.len()) {
                self.names = Some((list.to_owned(), names));
            } else {
                self.other_names.push((list.to_owned(), names.len()));
            }
        }
        Ok(())
    }

    /// The vectors, one after the other.
    pub(super) fn into_rows(self) -> Vec<f32> {
        if !self.is_turned {
            return self.numbers;
        }
        let column = |row: usize| self.numbers.iter().skip(row).step_by(self.dim);
        (0..self.dim).flat_map(column).copied().collect()
    }
}
