//! What can go wrong between a photo and a part or an answer.

use std::io;
use std::path::Path;

use ocelli_index::ErrorCode;
use ocelli_network::Error as NetworkError;

/// Result of the encoder's library.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the encoder. `Display` is one line: what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network cannot be opened or run, or has no answer.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Weights cannot be read, converted or fetched.
    #[error(transparent)]
    Weights(#[from] ocelli_weights::Error),
    /// An input cannot be read.
    #[error(transparent)]
    Pictures(#[from] ocelli_pictures::Error),
    /// Nobody waits for the answer any more.
    #[error("cancelled: no client waits for the answer any more")]
    Cancelled,
    /// An argument that cannot be.
    #[error("{what}")]
    Invalid {
        /// Expected and found.
        what: String,
    },
    /// A file could not be read or written, or is not what it should be.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
}

impl Error {
    /// Kind of the error, for exit codes and the gRPC status.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Network(error) => error.code(),
            Error::Weights(error) => error.code(),
            Error::Pictures(error) => error.code(),
            Error::Cancelled => ErrorCode::Cancelled,
            Error::Invalid { .. } => ErrorCode::InvalidArgument,
            Error::Index(error) => error.code(),
        }
    }

    /// Whether one image is to blame, and others can still be encoded.
    pub(crate) fn is_of_one_image(&self) -> bool {
        matches!(
            self,
            Error::Invalid { .. }
                | Error::Network(NetworkError::NoActivation { .. } | NetworkError::Invalid { .. })
        )
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
