//! The one error of this service: a code and a reason for programs, and a line for people.

use std::path::Path;

use ocelli_index::ErrorCode;
use ocelli_proto::status::{Code, detailed, item_error};
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use tonic::Status;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a query was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub code: Code,
    /// Why, for programs.
    pub reason: ErrorReason,
    /// What was expected, what was found, and where; one line.
    pub message: String,
    /// The field of the request that is to blame; empty if none is.
    pub field: String,
    /// The shard that is damaged; empty if none is.
    pub shard: String,
}

impl Error {
    /// An error with this code and message, and the code's most frequent reason.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        let reason = match code {
            Code::InvalidArgument => ErrorReason::FieldInvalid,
            Code::NotFound => ErrorReason::ImageNotFound,
            Code::FailedPrecondition => ErrorReason::State,
            Code::DataLoss => ErrorReason::FileDamaged,
            Code::Aborted => ErrorReason::GenerationChanged,
            Code::ResourceExhausted => ErrorReason::Overloaded,
            Code::Unavailable => ErrorReason::EncoderUnavailable,
            Code::DeadlineExceeded => ErrorReason::Deadline,
            Code::Unauthenticated => ErrorReason::TokenUnknown,
            Code::PermissionDenied => ErrorReason::RoleInsufficient,
            Code::Internal => ErrorReason::Internal,
        };
        let (field, shard) = (String::new(), String::new());
        Error { code, reason, message: message.into(), field, shard }
    }

    /// An [`Code::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    /// A [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }

    /// The same with another reason.
    pub fn because(self, reason: ErrorReason) -> Error {
        Error { reason, ..self }
    }

    /// The same with the field that is to blame; one that is named already stands inside of it.
    pub fn at(self, field: impl Into<String>) -> Error {
        let mut at = field.into();
        if !self.field.is_empty() {
            at.push('.');
            at.push_str(&self.field);
        }
        Error { field: at, ..self }
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
        let shard = match &error {
            ocelli_index::Error::Io { path, .. } | ocelli_index::Error::Corrupt { path, .. } => {
                shard_of(path)
            }
            _ => None,
        };
        Error { shard: shard.unwrap_or_default(), ..Error::new(code, error.to_string()) }
    }
}

/// The name of a shard from its path.
fn shard_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    (path.extension()? == "shard").then(|| name.to_owned())
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        detailed(error.code, error.message, error.reason, &error.field)
    }
}

impl From<Error> for v1::ItemError {
    fn from(error: Error) -> v1::ItemError {
        item_error(error.code, &error.message, error.reason, &error.field)
    }
}
