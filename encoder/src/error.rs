//! What can go wrong between a weights file and a descriptor.

use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::ErrorCode;

/// Result of the encoder's library.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the encoder. `Display` is one line: what was expected, what was found, and where.
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
    /// Published weights could not be had.
    #[error("{url}: {what}")]
    Fetch {
        /// Address asked for.
        url: String,
        /// Expected and found.
        what: String,
    },
    /// The device that was asked for is not to be had.
    #[error("device {device}: {what}")]
    Device {
        /// As asked for: "cuda:0".
        device: String,
        /// Expected and found, and how to get it.
        what: String,
    },
    /// libtorch failed.
    #[error("libtorch failed in {op}: {message}")]
    Torch {
        /// What was being computed.
        op: &'static str,
        /// First line of libtorch's message.
        message: String,
    },
    /// The network answers an image with zeros, or not with numbers: there is no descriptor.
    #[error("no activation: {what}")]
    NoActivation {
        /// Where it was noticed.
        what: String,
    },
    /// Nobody waits for the answer any more.
    #[error("cancelled: nobody waits for it any more")]
    Cancelled,
    /// An argument that cannot be.
    #[error("{what}")]
    Invalid {
        /// Expected and found.
        what: String,
    },
    /// An input cannot be read.
    #[error(transparent)]
    Pictures(#[from] ocelli_pictures::Error),
    /// A file could not be read or written, or is not what it should be.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
}

/// Whether a message of libtorch is about memory. There is no kind for this; its allocators say so
/// in words: CUDA's, the CPU's in two wordings, and cuDNN and cuBLAS, which allocate for
/// themselves.
pub(crate) fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["out of memory", "can't allocate memory", "cannot allocate memory", "status_alloc_failed"]
        .iter()
        .any(|sign| message.contains(sign))
}

impl Error {
    /// Kind of the error, for exit codes and the gRPC status.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Torch { .. } => ErrorCode::Internal,
            Error::BadWeights { .. } | Error::MissingTensor { .. } | Error::TensorShape { .. } => {
                ErrorCode::DataLoss
            }
            Error::Fetch { .. } | Error::Device { .. } => ErrorCode::FailedPrecondition,
            Error::NotConfigured { .. } => ErrorCode::FailedPrecondition,
            Error::NoActivation { .. } | Error::Invalid { .. } => ErrorCode::InvalidArgument,
            Error::Cancelled => ErrorCode::Cancelled,
            Error::Pictures(error) => error.code(),
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

    /// For `map_err` on libtorch's results. Its messages carry a C++ stack trace, which is dropped.
    pub(crate) fn torch(op: &'static str) -> impl FnOnce(tch::TchError) -> Error {
        move |error| {
            let text = error.to_string();
            Error::Torch { op, message: text.lines().next().unwrap_or_default().to_string() }
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid { what: what.into() }
    }
}
