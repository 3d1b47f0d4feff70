//! A pack: one file with everything that turns a photo into a code.
//!
//! A pack names its network, and holds for each size of codes a whitening and a model, so that an
//! index of one photo needs no training. The weights of the network are in the pack or come from
//! elsewhere by their hash. The card says where each piece came from.

mod card;
mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use self::card::{NetworkCard, PackCard, Threshold, TrainedOn, VariantCard};
pub use self::file::NewPack;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{Reader, Section};
use crate::model::Model;
use crate::spec::{DescriptorSpec, NetworkSpec};
use crate::whitening::Whitening;

/// An opened pack: its pieces fit together.
#[derive(Debug)]
pub struct Pack {
    file: Reader,
    files: Section,
    card: PackCard,
    network: NetworkSpec,
    variants: Vec<PackVariant>,
    /// Start and length of the weights in `files`.
    weights: Option<(u64, u64)>,
}

/// A whitening and the model behind it.
#[derive(Debug)]
pub struct PackVariant {
    card: VariantCard,
    whitening: Option<Whitening>,
    model: Model,
}

impl Pack {
    /// The file of the pack; the name that was given, for a pack from bytes.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The card.
    pub fn card(&self) -> &PackCard {
        &self.card
    }

    /// The spec of region vectors without whitening.
    pub fn network(&self) -> &NetworkSpec {
        &self.network
    }

    /// All variants, from few bytes to many.
    pub fn variants(&self) -> &[PackVariant] {
        &self.variants
    }

    /// The variant whose codes have this many bytes; by default that of the card.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the bytes that there are.
    pub fn variant(&self, code_bytes: Option<usize>) -> Result<&PackVariant> {
        let wanted = code_bytes.unwrap_or(self.card.default_code_bytes);
        self.variants.iter().find(|v| v.card.code_bytes == wanted).ok_or_else(|| {
            Error::not_found(format!(
                "{}: no codes of {wanted} bytes: expected {}",
                self.path().display(),
                self.choices(&self.variants.iter().collect::<Vec<_>>())
            ))
        })
    }

    /// The variant for descriptors of a spec: that of `code_bytes`, or else the only one, or the
    /// card's default among several.
    ///
    /// # Errors
    /// [`Error::SpecMismatch`] with the fields that differ from the nearest variant's spec;
    /// [`Error::Invalid`] if several fit and none is the default.
    pub fn variant_of(
        &self,
        spec: &DescriptorSpec,
        code_bytes: Option<usize>,
    ) -> Result<&PackVariant> {
        let fitting: Vec<&PackVariant> =
            self.variants.iter().filter(|v| v.spec() == spec).collect();
        let wanted = code_bytes.unwrap_or(self.card.default_code_bytes);
        let chosen = fitting.iter().find(|v| v.card.code_bytes == wanted);
        match (chosen, fitting.as_slice(), code_bytes) {
            (Some(chosen), ..) => Ok(chosen),
            (None, [only], None) => Ok(only),
            (None, [_, _, ..], None) => Err(Error::invalid(format!(
                "{}: several variants fit these descriptors: choose code bytes from {}",
                self.path().display(),
                self.choices(&fitting)
            ))),
            _ => {
                let near = self.variants.iter().find(|v| v.spec().dim() == spec.dim());
                let near = match code_bytes {
                    Some(_) => self.variant(code_bytes)?,
                    None => near.map_or_else(|| self.variant(None), Ok)?,
                };
                let what =
                    format!("{}, codes of {} bytes", self.path().display(), near.card.code_bytes);
                DescriptorSpec::same_or_err(&what, near.spec(), spec).map(|()| near)
            }
        }
    }

    fn choices(&self, variants: &[&PackVariant]) -> String {
        let bytes: Vec<String> = variants.iter().map(|v| v.card.code_bytes.to_string()).collect();
        format!("{} (default {})", bytes.join(", "), self.card.default_code_bytes)
    }

    /// SHA-256 of the whole file; reads all of it.
    pub fn hash(&self) -> Hash {
        self.file.checksum()
    }

    /// The weights of the network, a safetensors file, where the pack holds them; proven.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn weights(&self) -> Result<Option<&[u8]>> {
        self.weights.map(|(from, len)| self.file.read(&self.files, from, len)).transpose()
    }

    /// Whether the pack holds the weights of its network.
    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// Proves every checksum, and the hash of every model.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        self.variants.iter().try_for_each(|v| v.model.verify())
    }

    /// The opened container.
    pub(crate) fn file(&self) -> &Reader {
        &self.file
    }
}

impl PackVariant {
    /// The facts of this variant.
    pub fn card(&self) -> &VariantCard {
        &self.card
    }

    /// Bytes of a code.
    pub fn code_bytes(&self) -> usize {
        self.card.code_bytes
    }

    /// The whitening; none where the network's descriptors are not whitened further.
    pub fn whitening(&self) -> Option<&Whitening> {
        self.whitening.as_ref()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The spec of the descriptors that the model codes.
    pub fn spec(&self) -> &DescriptorSpec {
        &self.model.parts().spec
    }
}

/// The spec of descriptors of a network behind a whitening, which is given with its hash.
fn whitened(network: &NetworkSpec, whitening: Option<(&Whitening, Hash)>) -> DescriptorSpec {
    let mut spec = network.clone();
    if let Some((whitening, hash)) = whitening {
        spec.whitening = Some(hash);
        spec.dim = u32::try_from(whitening.dim_out()).unwrap_or(u32::MAX);
    }
    DescriptorSpec::Network(spec)
}

/// The card of a variant.
///
/// # Errors
/// [`Error::SpecMismatch`] if the whitening was learned on vectors of another network, or the model
/// on descriptors of another network or whitening.
fn card_of(
    network: &NetworkSpec,
    whitening: Option<&Whitening>,
    model: &Model,
) -> Result<VariantCard> {
    let code_bytes = model.layout().columns();
    if let Some(whitening) = whitening {
        DescriptorSpec::same_or_err(
            &format!("the spec that the whitening for {code_bytes} bytes was learned on"),
            &DescriptorSpec::Network(network.clone()),
            &whitening.learned_on,
        )?;
    }
    let hash = whitening.map(Whitening::hash);
    let (p, spec) = (model.parts(), whitened(network, whitening.zip(hash)));
    DescriptorSpec::same_or_err(
        &format!("the spec of the model for {code_bytes} bytes"),
        &spec,
        &p.spec,
    )?;
    Ok(VariantCard {
        code_bytes,
        dim: p.dim,
        nlist: p.nlist,
        ksub: p.ksub,
        whitening: hash,
        model: model.hash(),
        spec: spec.hash(),
    })
}

/// A path's place in errors where there is no file.
fn named(name: &str) -> PathBuf {
    PathBuf::from(name)
}
