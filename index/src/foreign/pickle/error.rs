//! Errors of reading a pickle.

/// Result of reading a pickle.
pub type Result<T> = std::result::Result<T, PickleError>;

/// Expected and found, in one line; the caller adds the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// The pickle names a class or function that is not on the list. Nothing of it was run.
    #[error(
        "the pickle wants {0}, which is not among the few classes of tensors, arrays and \
         dictionaries that are read; nothing was run"
    )]
    Refused(String),
    /// Damaged, truncated, or in a form that is not read.
    #[error("{0}")]
    Bad(String),
}

impl PickleError {
    pub(super) fn bad(what: impl Into<String>) -> PickleError {
        PickleError::Bad(what.into())
    }
}

/// For `ok_or_else` where something is cut off.
pub(super) fn truncated() -> PickleError {
    PickleError::bad("pickle: the file is truncated or damaged")
}
