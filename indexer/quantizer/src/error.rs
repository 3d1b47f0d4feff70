//! Errors between Ocelli and FAISS.

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal of this crate, or an exception of FAISS.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// FAISS threw an exception or gave a result that cannot be right.
    #[error("FAISS failed at {op}: {message}")]
    Faiss {
        /// The operation of FAISS.
        op: &'static str,
        /// FAISS's message, or what was expected and found.
        message: String,
    },
    /// An argument is out of its range; names what was expected and found.
    #[error("{0}")]
    Invalid(String),
}
