//! What can go wrong in training.

use ocelli_network::{Error as NetworkError, tch};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Result of a call of libtorch.
pub(crate) type Torch<T> = std::result::Result<T, tch::TchError>;

/// An error of training. `Display` is one line: what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] ocelli_weights::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
    /// An argument, or a line of a list, that cannot be.
    #[error("{what}")]
    Invalid {
        /// Expected and found.
        what: String,
    },
    /// The loss, or a weight, is not a number any more.
    #[error("iteration {iteration}: {what}")]
    NotFinite {
        /// The iteration, from 1.
        iteration: u64,
        /// The value that is not finite, and the photos of the batch.
        what: String,
    },
}

impl Error {
    /// Of a training that no photo took part in.
    pub(crate) fn none_ran() -> Error {
        Error::invalid("photos: expected some that can be used, found none in all iterations")
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid { what: what.into() }
    }

    /// For `map_err` on libtorch's results, as [`NetworkError::torch`].
    pub(crate) fn torch(op: &'static str) -> impl FnOnce(tch::TchError) -> Error {
        move |error| NetworkError::torch(op)(error).into()
    }
}
