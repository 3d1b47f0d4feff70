//! Errors of index files and of requests to an index.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::hash::Hash;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every variant's message is one line that says what was expected, what was found, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {op}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb: "open", "write", "rename".
        op: &'static str,
        /// The operating system's reason. Not called `source`: the message names it already, and a
        /// chain of causes would name it again.
        cause: Arc<io::Error>,
    },
    /// The file was not written by Ocelli.
    #[error("{}: not an Ocelli file: {what}", path.display())]
    NotOcelli {
        /// The file.
        path: PathBuf,
        /// The reason, as far as it is known.
        what: String,
    },
    /// The file is sound, but of a later format than this program reads.
    #[error(
        "{}: format version {found} is newer than this program (it reads up to {supported})",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version that this program reads.
        supported: u32,
    },
    /// A checksum or the structure is wrong: the bytes are not those that were written.
    #[error("{}: corrupt: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was expected and found, with its offset.
        what: String,
    },
    /// A sound file, but not the one that the generation names.
    #[error(
        "{}: not the file that the generation names: {what} {found}, expected {expected}",
        path.display()
    )]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The thing that was compared: the plan, the task, the rows, …
        what: &'static str,
        /// The value that the generation names.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// An Ocelli file of another kind than was asked for.
    #[error("{}: this is a {found}, expected a {expected}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// Kind asked for.
        expected: String,
        /// Kind found.
        found: String,
    },
    /// Two things were made under different descriptor specs.
    #[error("{what}: descriptor spec {found} does not match {expected} ({differences})")]
    SpecMismatch {
        /// The two things that were compared.
        what: String,
        /// Hash of the spec that was required.
        expected: Hash,
        /// Hash of the spec that was found.
        found: Hash,
        /// The fields that differ, each with both values.
        differences: String,
    },
    /// A shard was built under another model.
    #[error("{}: built under model {found}, expected model {expected}", path.display())]
    ModelMismatch {
        /// The shard.
        path: PathBuf,
        /// Model of the generation.
        expected: Hash,
        /// Model of the shard.
        found: Hash,
    },
    /// A shard's finer codes were made by another fine codec.
    #[error("{}: finer codes of fine codec {found}, expected {expected}", path.display())]
    FineCodecMismatch {
        /// The shard.
        path: PathBuf,
        /// The fine codec that was expected: its hash and its name.
        expected: String,
        /// The fine codec of the shard.
        found: Hash,
    },
    /// A vector or matrix of the wrong dimension.
    #[error("{what}: expected dimension {expected}, found {found}")]
    Dim {
        /// The vector or matrix that was measured.
        what: String,
        /// The dimension that it must have.
        expected: usize,
        /// The dimension that it has.
        found: usize,
    },
    /// An argument out of range.
    #[error("{what}")]
    Invalid {
        /// The argument and its fault.
        what: String,
    },
    /// Nothing has this id, key, name or number.
    #[error("{what}")]
    NotFound {
        /// The thing that was not found, and its place.
        what: String,
    },
    /// The caller ended the search, or its deadline has passed.
    #[error("search cancelled: {what}")]
    Cancelled {
        /// The reason.
        what: String,
    },
    /// Another change came first: a compare-and-swap found another value.
    #[error("{what}")]
    Conflict {
        /// What was expected and found.
        what: String,
    },
}

/// The kind of an [`Error`], for the map to gRPC status and exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The caller's argument is wrong.
    InvalidArgument,
    /// There is no such file, index, image or generation.
    NotFound,
    /// The request is valid, but does not fit the index: another spec, model or version, or a file
    /// that the operating system refuses.
    FailedPrecondition,
    /// Bytes on disk are damaged.
    DataLoss,
    /// A concurrent change won; read again and retry.
    Aborted,
    /// The caller does not wait for the answer any more.
    Cancelled,
    /// The machine failed.
    Internal,
}

/// Why a file cannot be used. Each of the three reasons needs another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTrouble {
    /// There is no such file: put it back.
    Missing,
    /// The operating system does not give it, or does not let it be written: permissions, a
    /// read-only file system, no descriptors left, a failing disk. What was mapped before is as
    /// good as it was.
    Refused,
    /// Its bytes are not those that were written, or it is another file: put the right one there.
    Damaged,
}

/// Whether other permissions would help.
fn is_refusal(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Error {
    /// The trouble with a file, where a file is the cause.
    pub fn trouble(&self) -> Option<FileTrouble> {
        match self {
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                Some(FileTrouble::Missing)
            }
            Self::Io { .. } => Some(FileTrouble::Refused),
            Self::Corrupt { .. } | Self::NotOcelli { .. } | Self::Misplaced { .. } => {
                Some(FileTrouble::Damaged)
            }
            _ => None,
        }
    }

    /// Whether the error says that a thing is lost: it is not there, its bytes are others than were
    /// written, or another one lies in its place. What a later version of Ocelli wrote and what the
    /// operating system does not give is not lost: nothing is known of it.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::WrongKind { .. }
            | Self::ModelMismatch { .. }
            | Self::FineCodecMismatch { .. } => true,
            _ => matches!(self.trouble(), Some(FileTrouble::Missing | FileTrouble::Damaged)),
        }
    }

    /// The file that the error is about, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::NotOcelli { path, .. }
            | Self::NewerVersion { path, .. }
            | Self::Corrupt { path, .. }
            | Self::Misplaced { path, .. }
            | Self::WrongKind { path, .. }
            | Self::ModelMismatch { path, .. }
            | Self::FineCodecMismatch { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The kind of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                ErrorCode::NotFound
            }
            Self::Io { cause, .. } if is_refusal(cause.kind()) => ErrorCode::FailedPrecondition,
            Self::Io { .. } => ErrorCode::Internal,
            Self::Corrupt { .. } | Self::NotOcelli { .. } | Self::Misplaced { .. } => {
                ErrorCode::DataLoss
            }
            Self::NewerVersion { .. }
            | Self::WrongKind { .. }
            | Self::SpecMismatch { .. }
            | Self::ModelMismatch { .. }
            | Self::FineCodecMismatch { .. } => ErrorCode::FailedPrecondition,
            Self::Dim { .. } | Self::Invalid { .. } => ErrorCode::InvalidArgument,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Conflict { .. } => ErrorCode::Aborted,
            Self::Cancelled { .. } => ErrorCode::Cancelled,
        }
    }

    /// An [`Error::Io`] at `path`.
    pub fn io(path: &Path, op: &'static str, cause: io::Error) -> Self {
        Self::Io { path: path.to_owned(), op, cause: Arc::new(cause) }
    }

    /// An [`Error::Corrupt`] at `path`.
    pub fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), what: what.into() }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// An [`Error::NotFound`].
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }
}
