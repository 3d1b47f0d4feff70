//! What can go wrong while images are looked for.

use std::io;
use std::path::Path;

use ocelli_index::ErrorCode;

/// Result of looking for images.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an input cannot be read. `Display` is one line: what was expected, what was found, where.
///
/// What is wrong with one image alone is an [`ImageError`](crate::ImageError), or a reason in its
/// [`Source`](crate::photos::Source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input that is damaged or is not what it should be, or an argument out of range.
    #[error("{what}")]
    Invalid {
        /// Expected and found.
        what: String,
    },
    /// A file could not be read.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
}

impl Error {
    /// Kind of the error, for exit codes and the gRPC status.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Invalid { .. } => ErrorCode::InvalidArgument,
            Error::Index(error) => error.code(),
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io<'a>(
        path: &'a Path,
        op: &'static str,
    ) -> impl FnOnce(io::Error) -> Error + use<'a> {
        move |cause| ocelli_index::Error::io(path, op, cause).into()
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid { what: what.into() }
    }
}
