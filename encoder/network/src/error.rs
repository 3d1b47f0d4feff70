//! What can go wrong between weights and rows.

use ocelli_index::ErrorCode;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a network. `Display` is one line: what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] ocelli_weights::Error),
    /// The device that was asked for is not to be had.
    #[error("device {device}: {what}")]
    Device {
        /// The device that was asked for: "cuda:0".
        device: String,
        /// Expected and found, and how to get it.
        what: String,
    },
    /// libtorch failed.
    #[error("libtorch failed in {op}: {message}")]
    Torch {
        /// The operation that failed.
        op: &'static str,
        /// First line of libtorch's message.
        message: String,
    },
    /// ONNX Runtime could not be opened.
    #[error("ONNX Runtime: {what}")]
    OnnxRuntime {
        /// What was looked for and found, and how to get it.
        what: String,
    },
    /// The network answers an image with zeros, or not with numbers: there is no descriptor.
    #[error("no activation: {what}")]
    NoActivation {
        /// The place where the network went silent, with the values found.
        what: String,
    },
    /// An argument that cannot be.
    #[error("{what}")]
    Invalid {
        /// Expected and found.
        what: String,
    },
    /// A file could not be read, or a whitening does not fit.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
}

impl Error {
    /// Kind of the error, for exit codes and the gRPC status.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Weights(error) => error.code(),
            Error::Torch { .. } => ErrorCode::Internal,
            Error::Device { .. } | Error::OnnxRuntime { .. } => ErrorCode::FailedPrecondition,
            Error::NoActivation { .. } | Error::Invalid { .. } => ErrorCode::InvalidArgument,
            Error::Index(error) => error.code(),
        }
    }

    /// Whether libtorch had too little memory, of the host or of a device.
    ///
    /// libtorch has no kind for this. Its allocators say so in words: CUDA's, the CPU's in two
    /// wordings, and cuDNN and cuBLAS, which allocate for themselves.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        let Error::Torch { message, .. } = self else { return false };
        let message = message.to_ascii_lowercase();
        ["out of memory", "can't allocate memory", "cannot allocate memory", "status_alloc_failed"]
            .iter()
            .any(|sign| message.contains(sign))
    }

    /// The error of an image for which no unit fires anywhere.
    #[must_use]
    pub fn no_activation() -> Error {
        let what = "the network's response to this image is zero everywhere".to_owned();
        Error::NoActivation { what }
    }

    /// For `map_err` on libtorch's results. Its messages carry a C++ stack trace, which is dropped.
    pub fn torch(op: &'static str) -> impl FnOnce(tch::TchError) -> Error {
        move |error| {
            let text = error.to_string();
            Error::Torch { op, message: text.lines().next().unwrap_or_default().to_string() }
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid { what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_known_by_its_words() {
        for text in ["cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory"] {
            let error = Error::Torch { op: "x", message: text.to_owned() };
            assert!(error.is_out_of_memory(), "{text}");
        }
        let other = Error::Torch { op: "x", message: "an illegal instruction".to_owned() };
        assert!(!other.is_out_of_memory() && !Error::invalid("out of memory").is_out_of_memory());
    }
}
