//! Errors while making data.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Each error's `Display` is one line: what was expected, what was found, where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation on a file or folder.
    #[error("cannot {op} {path}: {cause}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation that failed: a verb.
        op: &'static str,
        /// The system's reason. Not called `source`: the message names it already, and a chain of
        /// causes would name it again.
        cause: std::io::Error,
    },
    /// The target holds something other than what was asked for; it was left as it was.
    #[error("{path} exists and is left as it is: {what}", path = path.display())]
    Exists {
        /// The target folder.
        path: PathBuf,
        /// In what it differs.
        what: String,
    },
    /// An argument out of its range.
    #[error("{what}")]
    Invalid {
        /// The argument, what was expected, and what was found.
        what: String,
    },
    /// The encoder refused a picture.
    #[error("cannot encode {name} as JPEG: {cause}")]
    Encode {
        /// The photo's name.
        name: String,
        /// The encoder's reason.
        cause: image::ImageError,
    },
}

impl Error {
    /// For `map_err`: an I/O error with its path and verb.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::Io { path: path.to_owned(), op, cause }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }
}
