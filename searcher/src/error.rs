//! The error of this service: a code and a reason for programs, and a message for people.

use std::path::Path;
use std::time::Duration;

use ocelli_index::{ErrorCode, FileTrouble};
use ocelli_proto::status::{Code, detailed, item_error, retriable};
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use tonic::Status;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The pause after which a client may ask again when the encoder is not ready.
const NOT_READY_PAUSE: Duration = Duration::from_secs(1);

/// The error of a query.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind of the error.
    pub code: Code,
    /// The reason, for programs.
    pub reason: ErrorReason,
    /// What was expected, what was found, and where, on one line.
    pub message: String,
    /// The field of the request that is wrong; empty if none is.
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
            Code::OutOfRange => ErrorReason::AnswerTooLarge,
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

    /// This error with another reason.
    pub fn because(self, reason: ErrorReason) -> Error {
        Error { reason, ..self }
    }

    /// This error at a field of the request. A field that is named already is inside of `field`.
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
        let code = match (error.trouble(), error.code()) {
            // The files were there when the generation was made, so it is not the client's fault.
            (Some(FileTrouble::Missing | FileTrouble::Damaged), _) => Code::DataLoss,
            (Some(FileTrouble::Refused), _) => Code::FailedPrecondition,
            (_, ErrorCode::InvalidArgument) => Code::InvalidArgument,
            (_, ErrorCode::NotFound) => Code::NotFound,
            (_, ErrorCode::FailedPrecondition) => Code::FailedPrecondition,
            (_, ErrorCode::DataLoss) => Code::DataLoss,
            (_, ErrorCode::Aborted) => Code::Aborted,
            (_, ErrorCode::Cancelled) => Code::DeadlineExceeded,
            (_, ErrorCode::Internal) => Code::Internal,
        };
        let shard = error.path().and_then(shard_of).unwrap_or_default();
        let plain = Error { shard, ..Error::new(code, error.to_string()) };
        match error.trouble() {
            Some(trouble) => plain.because(reason_of(trouble)),
            None => plain,
        }
    }
}

/// The reason of a file's trouble.
fn reason_of(trouble: FileTrouble) -> ErrorReason {
    match trouble {
        FileTrouble::Missing => ErrorReason::FileMissing,
        FileTrouble::Refused => ErrorReason::FileRefused,
        FileTrouble::Damaged => ErrorReason::FileDamaged,
    }
}

/// The name of a shard from its path.
fn shard_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    (path.extension()? == "shard").then(|| name.to_owned())
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        if error.reason == ErrorReason::NotReady {
            return retriable(error.code, error.message, error.reason, NOT_READY_PAUSE);
        }
        detailed(error.code, error.message, error.reason, &error.field)
    }
}

impl From<Error> for v1::ItemError {
    fn from(error: Error) -> v1::ItemError {
        item_error(error.code, &error.message, error.reason, &error.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// Permission, absence and damage of a file are three reasons.
    #[test]
    fn what_is_wrong_with_a_file_has_its_own_reason() {
        let path = Path::new("/index/shards/a.shard");
        let told = |error: ocelli_index::Error| {
            let error = Error::from(error);
            assert_eq!(error.shard, "a.shard");
            (error.code, error.reason)
        };
        let io = |kind: ErrorKind| told(ocelli_index::Error::io(path, "open", kind.into()));
        let refused = (Code::FailedPrecondition, ErrorReason::FileRefused);
        assert_eq!(io(ErrorKind::NotFound), (Code::DataLoss, ErrorReason::FileMissing));
        assert_eq!(io(ErrorKind::PermissionDenied), refused);
        assert_eq!(io(ErrorKind::ReadOnlyFilesystem), refused);
        assert_eq!(io(ErrorKind::Other), refused);
        let damaged = ocelli_index::Error::corrupt(path, "a tile");
        assert_eq!(told(damaged), (Code::DataLoss, ErrorReason::FileDamaged));
        let misplaced = ocelli_index::Error::Misplaced {
            path: path.to_owned(),
            what: "task",
            expected: "1".to_owned(),
            found: "0".to_owned(),
        };
        assert_eq!(told(misplaced), (Code::DataLoss, ErrorReason::FileDamaged));
    }
}
