//! Names of rows that a file of vectors has not.

use std::fs;
use std::path::PathBuf;

use ocelli_index::read_npy_texts;

use crate::{Error, Result};

/// Names of rows, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowNames {
    /// A text file, one name a line; a JSON list of texts (`.json`), or an array of them (`.npy`).
    File(PathBuf),
    /// Names that the data set has, and what they are: `the data set's list of images`.
    Given(Vec<String>, String),
}

impl RowNames {
    /// All names.
    ///
    /// # Errors
    /// A file that cannot be read, has no names, or an empty one.
    pub(super) fn read(&self) -> Result<Vec<String>> {
        let path = match self {
            Self::Given(names, _) => return Ok(names.clone()),
            Self::File(path) => path,
        };
        let refuse = |what: String| Error::File { path: path.clone(), what };
        let text = || fs::read_to_string(path).map_err(Error::io("read", path));
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        let names: Vec<String> = match ending.to_str() {
            Some("npy") => read_npy_texts(path)?,
            Some("json") => serde_json::from_str(&text()?)
                .map_err(|e| refuse(format!("expected a list of texts: {e}")))?,
            _ => text()?.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect(),
        };
        if let Some(empty) = names.iter().position(|name| name.trim().is_empty()) {
            return Err(refuse(format!("line {}: expected a name, found none", empty + 1)));
        }
        if names.is_empty() {
            return Err(refuse("expected names, found none".to_owned()));
        }
        Ok(names)
    }

    /// What the names are, for errors.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("the names in {}", path.display()),
            Self::Given(_, what) => what.clone(),
        }
    }
}
