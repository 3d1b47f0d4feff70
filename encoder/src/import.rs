//! Other programs' weights to a safetensors file that a [`Network`] opens.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelli_index::Layer;
use ocelli_index::container::write_atomically;
use ocelli_network::{Network, NetworkOptions};
use ocelli_text::{MAX_CHARS, printable};
use ocelli_weights::convert::{Array, ConvertOptions, Converted, convert};
use ocelli_weights::write::safetensors_bytes;
use ocelli_weights::{Backbone, Error as WeightsError, Weights};
use serde::Serialize;

use crate::error::{Error, Result};

/// A larger file is a wrong name: the largest network here has 0.6 GB (VGG-19 with its classifier).
const MAX_CHECKPOINT_BYTES: u64 = 8 << 30;

/// What became of a file. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct ImportReport {
    /// The file that was written.
    #[serde(skip)]
    pub out: PathBuf,
    /// `torchvision`, `efficientnet-pytorch`, `dirtorch`, `cnnimageretrieval` or `caffe`.
    pub format: String,
    /// Backbone, such as `resnet101`.
    pub arch: String,
    /// The last layer that the weights hold.
    pub last_stage: Layer,
    /// Everything that the file's metadata say, by key.
    pub metadata: BTreeMap<String, String>,
    /// Tensors written.
    pub tensors: usize,
    /// Dimension of a descriptor.
    pub dim: usize,
    /// Tensors that are known and not needed (classifiers, counters).
    pub left_out: Vec<String>,
    /// Tensors that nothing is known about: they are not in the file, and the network may lack
    /// them.
    pub unplaced: Vec<String>,
    /// Further remarks for the user.
    pub notes: Vec<String>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wrote {}: {} from {}, up to layer {}, {} tensors, descriptors of {}",
            self.out.display(),
            self.arch,
            self.format,
            self.last_stage,
            self.tensors,
            self.dim
        )?;
        for (key, value) in &self.metadata {
            let [key, value] = [key, value].map(|text| printable(text, MAX_CHARS));
            write!(f, "\n  {key} = {value}")?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\nnot needed: {} (classifiers, counters)", self.left_out.len())?;
        }
        if !self.unplaced.is_empty() {
            write!(f, "\nNOT PLACED, and not in the file: {}", self.unplaced.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}

/// Reads `input` (PyTorch or Caffe, told apart by content) and writes `out`, which appears under
/// its name only when a network was made from it.
///
/// # Errors
/// `BadWeights` for a file that cannot be read (a pickle that wants something run is refused by
/// name), or that holds no backbone that is known; `MissingTensor`, `TensorShape` where the
/// backbone is incomplete; `Index` where a file cannot be read or written.
pub fn import(input: &Path, out: &Path, options: &ConvertOptions) -> Result<ImportReport> {
    import_from(input, out, options, &[])
}

/// As [`import`], with metadata that say where the file comes from.
///
/// # Errors
/// As [`import`].
pub fn import_from(
    input: &Path,
    out: &Path,
    options: &ConvertOptions,
    sources: &[(&str, String)],
) -> Result<ImportReport> {
    let bad = |what: String| WeightsError::BadWeights { path: input.to_path_buf(), what };
    let mut file = File::open(input).map_err(Error::io(input, "read"))?;
    let found = file.metadata().map_err(Error::io(input, "read"))?;
    if !found.is_file() || found.len() > MAX_CHECKPOINT_BYTES {
        return Err(bad(format!(
            "expected a regular file of at most {MAX_CHECKPOINT_BYTES} bytes, found {}",
            if found.is_file() {
                format!("{} bytes", found.len())
            } else {
                "something else".to_owned()
            }
        ))
        .into());
    }
    let mut bytes = Vec::new();
    file.by_ref()
        .take(MAX_CHECKPOINT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(Error::io(input, "read"))?;
    let converted = convert(&bytes, options).map_err(|error| bad(error.to_string()))?;
    drop(bytes);
    let (bytes, report) = checked(input, out, converted, sources)?;
    write_atomically(out, &bytes)?;
    Ok(report)
}

/// The file's bytes, once a network has been made from them.
fn checked(
    input: &Path,
    out: &Path,
    converted: Converted,
    sources: &[(&str, String)],
) -> Result<(Vec<u8>, ImportReport)> {
    let Converted { format, mut tensors, mut metadata, left_out, mut unplaced, notes } = converted;
    let draft = |tensors: &BTreeMap<String, Array>, metadata: &BTreeMap<String, String>| {
        let tensors = tensors.iter().map(|(name, array)| (name.clone(), array.clone()));
        safetensors_bytes(&tensors.collect::<Vec<_>>(), metadata.clone())
    };
    // The network says what it has no place for.
    let weights = Weights::parse(input, &draft(&tensors, &metadata))?;
    let backbone = Backbone::of(&weights)?;
    for name in backbone.unknown_names(&weights) {
        tensors.remove(name);
        unplaced.push(name.to_owned());
    }
    unplaced.sort();
    metadata.insert("ocelli.arch".to_owned(), backbone.name());
    metadata.insert("ocelli.source".to_owned(), format.to_owned());
    metadata.extend(sources.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let bytes = draft(&tensors, &metadata);
    let network = Network::load(&Weights::parse(input, &bytes)?, &NetworkOptions::default())?;
    let report = ImportReport {
        out: out.to_owned(),
        format: format.to_owned(),
        arch: backbone.name(),
        last_stage: network.identity().last_stage,
        metadata,
        tensors: tensors.len(),
        dim: network.descriptor_dim(),
        left_out,
        unplaced,
        notes,
    };
    Ok((bytes, report))
}
