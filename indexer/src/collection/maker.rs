//! What turns photos into descriptors and codes.

use std::ffi::OsString;
use std::path::PathBuf;

use ocelli_index::Model;

use crate::BoxError;

/// Runs `ocelli-encoder` with these arguments to its end. The function is told how many images are
/// done, of how many.
pub type EncodeFn<'a> =
    &'a dyn Fn(&[OsString], &dyn Fn(u64, u64)) -> Result<(), BoxError>;

/// A network with its settings, and the model of its descriptors' codes.
#[derive(Debug)]
pub struct Maker {
    /// The name, for people.
    pub name: String,
    /// Hash of the file that holds both, as text.
    pub hash: String,
    /// That file; None if it is part of the programs.
    pub file: Option<PathBuf>,
    /// Bytes of a code.
    pub code_bytes: usize,
    /// Dimension of a descriptor.
    pub dim: usize,
    /// The model.
    pub model: Model,
}
