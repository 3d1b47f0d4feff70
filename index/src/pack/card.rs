//! The card of a pack: what is in it, and where each piece came from.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::spec::{DescriptorSpec, NetworkSpec};

/// The card of a pack, for programs and people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackCard {
    /// Name of the pack: 1 to 128 letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// The program that wrote the pack.
    pub made_by: String,
    /// The network, and where its weights come from.
    pub network: NetworkCard,
    /// Bytes of the variant that is taken where none is asked for.
    pub default_code_bytes: usize,
    /// The variants, from few bytes to many.
    pub variants: Vec<VariantCard>,
    /// Cosines from which on two photos are in a relation; empty if none was measured.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// The photos that whitenings and models were trained on.
    #[serde(default)]
    pub trained_on: Vec<TrainedOn>,
    /// Anything else that a user should know, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The network of a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCard {
    /// Canonical text of the spec of region vectors without whitening.
    pub spec: String,
    /// Name of the network, under which its weights are fetched and kept: `efficientnet-lite0`.
    pub name: String,
    /// The package that publishes the weights, with its version.
    #[serde(default)]
    pub package: Option<String>,
    /// The file of that package.
    #[serde(default)]
    pub package_file: Option<String>,
    /// SHA-256 of that file.
    #[serde(default)]
    pub package_sha256: Option<Hash>,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: Option<String>,
}

/// One variant of a pack: a whitening, and a model behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantCard {
    /// Bytes of a code.
    pub code_bytes: usize,
    /// Dimension of a descriptor.
    pub dim: usize,
    /// Lists of the model.
    pub nlist: usize,
    /// Codewords of a sub-quantizer: 256 or 16.
    pub ksub: usize,
    /// Hash of the whitening; none where the network's descriptors are not whitened further.
    pub whitening: Option<Hash>,
    /// Hash of the model.
    pub model: Hash,
    /// Hash of the spec of the descriptors.
    pub spec: Hash,
}

/// A cosine from which on two photos are in a relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The variant that it belongs to; none: exact descriptors.
    #[serde(default)]
    pub code_bytes: Option<usize>,
    /// The relation: `same-file`, `near-copy`, `edited`, `same-scene`.
    pub relation: String,
    /// The cosine, −1 to 1.
    pub cosine: f32,
    /// How the cosine was measured: on what, and what it reaches there.
    pub measured: String,
}

/// Photos that a pack was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// The photos.
    pub what: String,
    /// Number of the photos.
    pub photos: u64,
    /// Licence of the photos.
    pub licence: String,
}

/// Longest name of a pack or a network.
const MAX_NAME_BYTES: usize = 128;
/// Most variants of a pack.
pub(super) const MAX_VARIANTS: usize = 64;

impl PackCard {
    /// The spec of region vectors without whitening.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the card's text is no spec of a network, or names a whitening.
    pub fn network_spec(&self) -> Result<NetworkSpec> {
        match DescriptorSpec::parse(&self.network.spec)? {
            DescriptorSpec::Network(network) if network.whitening.is_none() => Ok(network),
            DescriptorSpec::Network(_) => Err(Error::invalid(
                "pack: expected a network's spec without whitening, found one with a whitening",
            )),
            DescriptorSpec::Foreign { name, .. } => Err(Error::invalid(format!(
                "pack: expected a network's spec, found that of foreign vectors {name:?}"
            ))),
        }
    }

    /// Refuses values out of range and a default that no variant has.
    pub(super) fn check(&self) -> Result<()> {
        check_name("pack", &self.name)?;
        check_name("network", &self.network.name)?;
        self.network_spec()?;
        let bytes: Vec<usize> = self.variants.iter().map(|v| v.code_bytes).collect();
        if bytes.is_empty() || bytes.len() > MAX_VARIANTS || !bytes.is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid(format!(
                "pack: expected 1 to {MAX_VARIANTS} variants of different code bytes in rising \
                 order, found {bytes:?}"
            )));
        }
        if !bytes.contains(&self.default_code_bytes) {
            return Err(Error::invalid(format!(
                "pack: default_code_bytes {}: expected one of {bytes:?}",
                self.default_code_bytes
            )));
        }
        for threshold in &self.thresholds {
            let known = threshold.code_bytes.is_none_or(|n| bytes.contains(&n));
            if !known || !(-1.0..=1.0).contains(&threshold.cosine) {
                return Err(Error::invalid(format!(
                    "pack: threshold {:?}: expected a cosine of -1 to 1 and code_bytes of a \
                     variant, found {} and {:?}",
                    threshold.relation, threshold.cosine, threshold.code_bytes
                )));
            }
        }
        Ok(())
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} name {name:?}: expected 1 to {MAX_NAME_BYTES} letters, digits, '.', '_' or '-'"
    )))
}
