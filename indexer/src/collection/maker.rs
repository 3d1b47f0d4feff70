//! What turns photos into descriptors and codes.

use std::ffi::OsString;
use std::path::PathBuf;

use ocelli_index::{Model, Pack};

use crate::{BoxError, Result};

/// Runs `ocelli-encoder` with these arguments to its end. The function is told how many images are
/// done, of how many.
pub type EncodeFn<'a> =
    &'a dyn Fn(&[OsString], &dyn Fn(u64, u64)) -> std::result::Result<(), BoxError>;

/// A pack, and the size of codes that is taken of it.
#[derive(Clone, Copy)]
pub struct Maker<'p> {
    /// The pack.
    pub pack: &'p Pack,
    /// Its bytes, where it is part of the programs and no file.
    pub built_in: Option<&'static [u8]>,
    /// The model of the codes.
    pub model: &'p Model,
    /// Bytes of a code.
    pub code_bytes: usize,
}

impl<'p> Maker<'p> {
    /// The variant of `pack` with codes of `code_bytes`, or the one that the pack chooses.
    ///
    /// # Errors
    /// A size of codes that the pack lacks.
    pub fn new(
        pack: &'p Pack,
        built_in: Option<&'static [u8]>,
        code_bytes: Option<usize>,
    ) -> Result<Self> {
        let variant = pack.variant(code_bytes)?;
        Ok(Maker { pack, built_in, model: variant.model(), code_bytes: variant.code_bytes() })
    }

    /// Name of the pack.
    pub(super) fn name(&self) -> &str {
        &self.pack.card().name
    }

    /// Hash of the pack, as text.
    pub(super) fn hash(&self) -> String {
        self.pack.hash().to_string()
    }

    /// The file beside the pack that may hold the weights of its network.
    pub(super) fn weights_beside(&self) -> PathBuf {
        self.pack.path().with_file_name(self.weights_name())
    }

    /// Name of that file.
    pub(super) fn weights_name(&self) -> String {
        format!("{}.safetensors", self.pack.card().network.name)
    }
}
