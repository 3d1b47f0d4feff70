//! Errors of converting a file of weights.

use ocelli_index::foreign::pickle::PickleError;

/// Result of this module.
pub type Result<T> = std::result::Result<T, ConvertError>;

/// Expected and found, in one line; the caller adds the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A pickle names a class or function that weights have no use for. Nothing of it was run.
    #[error(
        "the pickle wants {0}, which is not among the few classes of tensors, arrays and \
         dictionaries that are read; nothing was run. Save the state_dict alone, if this file is \
         to be trusted"
    )]
    Refused(String),
    /// Damaged, truncated, or in a form that is not read.
    #[error("{0}")]
    Bad(String),
}

impl ConvertError {
    pub(super) fn bad(what: impl Into<String>) -> ConvertError {
        ConvertError::Bad(what.into())
    }
}

impl From<PickleError> for ConvertError {
    fn from(error: PickleError) -> ConvertError {
        match error {
            PickleError::Refused(name) => ConvertError::Refused(name),
            PickleError::Bad(what) => ConvertError::Bad(what),
        }
    }
}

/// For `ok_or_else` where something is cut off.
pub(super) fn truncated(what: &str) -> impl FnOnce() -> ConvertError + use<'_> {
    move || ConvertError::bad(format!("{what}: the file is truncated or damaged"))
}
