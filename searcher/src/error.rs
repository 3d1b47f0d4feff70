//! The one error of this service: a code for programs and a line for people.

use ocelli_index::ErrorCode;
use ocelli_proto::status::{Code, status};
use tonic::Status;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a query was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub code: Code,
    /// What was expected, what was found, and where; one line.
    pub message: String,
}

impl Error {
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }

    /// An [`Code::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    /// A [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }
}

impl From<ocelli_index::Error> for Error {
    fn from(error: ocelli_index::Error) -> Error {
        let code = match (&error, error.code()) {
            // The files were there when the index was opened: whoever asks now did nothing wrong.
            (ocelli_index::Error::Io { .. }, _) => Code::DataLoss,
            (_, ErrorCode::InvalidArgument) => Code::InvalidArgument,
            (_, ErrorCode::NotFound) => Code::NotFound,
            (_, ErrorCode::FailedPrecondition) => Code::FailedPrecondition,
            (_, ErrorCode::DataLoss) => Code::DataLoss,
            (_, ErrorCode::Aborted) => Code::Aborted,
            (_, ErrorCode::Cancelled) => Code::DeadlineExceeded,
            (_, ErrorCode::Internal) => Code::Internal,
        };
        Error::new(code, error.to_string())
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        status(error.code, error.message)
    }
}
