//! Errors of this crate. Each is one line that says what was expected, what was
//! found, and where.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of code that the caller brings, see [`crate::LearnOpq`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Failure while training, whitening, building or evaluating.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written, or (part, whitening, model, shard, manifest) is not
    /// what it should be.
    #[error(transparent)]
    Index(#[from] ocelli_index::Error),
    /// The rotation of OPQ could not be learned; the learner's own error.
    #[error(transparent)]
    Opq(BoxError),
    /// Photos could not be encoded; the encoder's own error, see
    /// [`Encode`](crate::evaluate::prepare::Encode).
    #[error(transparent)]
    Encode(BoxError),
    /// Fewer vectors than the step needs.
    #[error("{what} needs at least {needed} rows, found {found}{hint}")]
    TooFewRows {
        /// The step and why it needs that many.
        what: String,
        /// Rows needed.
        needed: usize,
        /// Rows given.
        found: usize,
        /// A remedy; empty, or starting with a separator.
        hint: String,
    },
    /// An argument out of its range, or two that contradict each other.
    #[error("{0}")]
    Invalid(String),
    /// A file of another program's format that is damaged or cannot be imported.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Expected and found, with the offset.
        what: String,
    },
    /// Ground truth that cannot be understood, or names what is not there.
    #[error("ground truth {}: {what}", path.display())]
    GroundTruth {
        /// File or directory.
        path: PathBuf,
        /// Expected and found.
        what: String,
    },
}

impl Error {
    /// Adapter for `map_err` on file operations.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| ocelli_index::Error::io(path, op, cause).into()
    }
}

/// A function that keeps the error of an outcome.
pub(crate) type Keep<'a> = dyn FnMut(Result<()>) -> ocelli_index::Result<()> + 'a;

/// Runs a function of the index whose callback may fail with an error of this crate: the callback
/// hands its outcome to the function that `run` is given, which keeps the error.
///
/// # Errors
/// The callback's; else those of `run`.
pub(crate) fn carry<T>(run: impl FnOnce(&mut Keep<'_>) -> ocelli_index::Result<T>) -> Result<T> {
    let mut failed = None;
    let outcome = run(&mut |outcome| {
        outcome.map_err(|error| {
            failed = Some(error);
            ocelli_index::Error::invalid("stopped")
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}
