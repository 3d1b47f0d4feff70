//! A text file with the keys of rows, for files of vectors that have no names in them.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};

use ocelli_index::foreign::open_regular;

use super::rows::BadRow;
use crate::{Error, Result};

/// One key a line, in the order of the rows.
pub(super) struct KeyList {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    /// Lines read so far.
    read: usize,
}

impl KeyList {
    /// Opens the file.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path).map_err(Error::io("open", path))?;
        Ok(Self { path: path.to_owned(), lines: BufReader::new(file).lines(), read: 0 })
    }

    /// The keys of the next `n` rows, of which the first is row `first` of its file. An empty line
    /// makes its row a bad one.
    ///
    /// # Errors
    /// Fewer lines than rows; a line that is not UTF-8.
    pub fn next(&mut self, n: usize, first: usize, bad: &mut Vec<BadRow>) -> Result<Vec<String>> {
        let mut keys = Vec::with_capacity(n);
        for row in first..first + n {
            let line = self.lines.next().ok_or_else(|| {
                self.error(format!("expected a key for every row, found {} lines", self.read))
            })?;
            self.read += 1;
            let key = line.map_err(|e| self.error(format!("line {}: {e}", self.read)))?;
            let key = key.trim_end_matches('\r');
            if key.is_empty() && !bad.iter().any(|bad| bad.row == row) {
                let reason = format!("{}:{}: an empty key", self.path.display(), self.read);
                bad.push(BadRow { row, reason });
            }
            keys.push(key.to_owned());
        }
        bad.sort_by_key(|bad| bad.row);
        Ok(keys)
    }

    /// Checks that no line is left.
    ///
    /// # Errors
    /// More lines than rows.
    pub fn finish(mut self) -> Result<()> {
        let left = (&mut self.lines).count();
        if left == 0 {
            return Ok(());
        }
        let (rows, lines) = (self.read, self.read + left);
        Err(self.error(format!("expected as many lines as rows ({rows}), found {lines}")))
    }

    fn error(&self, what: String) -> Error {
        Error::File { path: self.path.clone(), what }
    }
}
