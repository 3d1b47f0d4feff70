//! What can be wrong with weights.

use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::ErrorCode;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why weights cannot be used. `Display` is one line: what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A weights file, or the JSON that describes it, is not what it should be.
    #[error("{}: {what}", path.display())]
    BadWeights {
        /// File concerned.
        path: PathBuf,
        /// Expected and found.
        what: String,
    },
    /// A tensor that the network needs is not in the weights.
    #[error("{}: tensor {tensor} is missing (expected shape {expected})", path.display())]
    MissingTensor {
        /// Weights file.
        path: PathBuf,
        /// Name as in torchvision, and the names that would do instead.
        tensor: String,
        /// Shape; `_` stands for any size.
        expected: String,
    },
    /// A tensor has another shape than its neighbours ask for.
    #[error("{}: tensor {tensor} has shape {found}, expected {expected}", path.display())]
    TensorShape {
        /// Weights file.
        path: PathBuf,
        /// Name as in torchvision.
        tensor: String,
        /// Shape; `_` stands for any size.
        expected: String,
        /// Shape in the file.
        found: String,
    },
    /// Neither the caller, nor a JSON file, nor the weights say how the network is to be run.
    #[error("{}: {what} of this network is given nowhere: {remedy}", path.display())]
    NotConfigured {
        /// Weights file.
        path: PathBuf,
        /// The missing setting.
        what: &'static str,
        /// Flags and file keys that would give it.
        remedy: &'static str,
    },
    /// Two of those who say how the network is to be run differ.
    #[error("{}: {key} is {first} and {second}: leave out what is wrong", path.display())]
    Contradiction {
        /// Weights file.
        path: PathBuf,
        /// The setting: "input".
        key: &'static str,
        /// A value, and who says it.
        first: String,
        /// Another value, and who says that.
        second: String,
    },
    /// Published weights could not be had.
    #[error("{url}: {what}")]
    Fetch {
        /// Address asked for.
        url: String,
        /// Expected and found.
        what: String,
    },
    /// An argument out of range.
    #[error("{what}")]
    Invalid {
        /// Expected and found.
        what: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
}

impl Error {
    /// Kind of the error, for exit codes and the gRPC status.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::BadWeights { .. } | Error::MissingTensor { .. } | Error::TensorShape { .. } => {
                ErrorCode::DataLoss
            }
            Error::Fetch { .. } | Error::NotConfigured { .. } => ErrorCode::FailedPrecondition,
            Error::Invalid { .. } | Error::Contradiction { .. } => ErrorCode::InvalidArgument,
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
