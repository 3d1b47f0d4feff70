//! The model's file, and its hash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fine::FineCodec;
use super::groups::{self, CoarseGroups};
use super::{Metric, Model, ModelParts};
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};
use crate::base::named::as_text;
use crate::files::container::{FileKind, Reader, SectionKind, Writer, Written};
use crate::files::floats::Floats;
use crate::files::metadata::{read_meta, read_spec, write_meta};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    hash: Hash,
    /// Canonical text.
    spec: String,
    #[serde(with = "as_text")]
    metric: Metric,
    renormalize: bool,
    dim: usize,
    d: usize,
    nlist: usize,
    m: usize,
    ksub: usize,
    training: BTreeMap<String, String>,
}

impl Model {
    /// Writes the model atomically, with its fine codec. Centroids are grouped first where there
    /// are at least [`groups::MIN_NLIST`] and they are in no groups yet. A model that was read is
    /// proven before, its hash included: a damaged model is not written again under a hash that it
    /// does not have.
    ///
    /// # Errors
    /// [`Error::Io`]; those of [`Self::verify`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = Writer::create(path, FileKind::Model)?;
        self.write_to(file, self.fine_codec.as_ref()).map(drop)
    }

    /// [`Self::write`] to a new file, with a fine codec or without.
    pub(crate) fn write_to(&self, file: Writer, codec: Option<&FineCodec>) -> Result<Written> {
        if self.file.is_some() {
            self.verify()?;
        }
        let p = &self.parts;
        let groups = match &self.groups {
            None if p.nlist >= groups::MIN_NLIST => Some(self.made_groups()),
            groups => groups.as_ref(),
        };
        self.write_sections(file, codec, groups.map(CoarseGroups::bytes))
    }

    /// Writes the sections of a model with this fine codec and these groups.
    pub(crate) fn write_sections(
        &self,
        mut file: Writer,
        codec: Option<&FineCodec>,
        groups: Option<&[u8]>,
    ) -> Result<Written> {
        let p = &self.parts;
        write_meta(
            &mut file,
            &Meta {
                hash: self.hash,
                spec: p.spec.canonical(),
                metric: p.metric,
                renormalize: p.renormalize,
                dim: p.dim,
                d: p.d,
                nlist: p.nlist,
                m: p.m,
                ksub: p.ksub,
                training: p.training.clone(),
            },
        )?;
        if let Some(mean) = &p.mean {
            file.section(SectionKind::Mean, true, bytemuck::cast_slice(mean))?;
        }
        if let Some(rotation) = &p.rotation {
            file.section(SectionKind::Rotation, true, bytemuck::cast_slice(rotation))?;
        }
        file.section(SectionKind::Coarse, true, bytemuck::cast_slice(&p.coarse))?;
        file.section(SectionKind::Codebooks, true, bytemuck::cast_slice(&p.codebooks))?;
        if let Some(groups) = groups {
            file.section(SectionKind::CoarseGroups, false, groups)?;
        }
        if let Some(codec) = codec {
            file.section(SectionKind::FineCodebooks, false, &codec.to_bytes())?;
        }
        self.intact()?;
        file.finish()
    }

    /// Reads a model and proves every byte of it by its checksums. Below [`groups::MIN_NLIST`]
    /// lists it is copied and its hash computed again. The centroids of larger models stay mapped,
    /// and [`Self::verify`] computes their hash, since it would take longer than everything else.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::Corrupt`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(Reader::open(path, FileKind::Model)?)
    }

    /// [`Self::open`] for an opened container.
    pub(crate) fn read(file: Reader) -> Result<Self> {
        let file = Arc::new(file);
        let meta: Meta = read_meta(&file)?;
        let product = |a: usize, b: usize| a.saturating_mul(b);
        let numbers = |kind, n| file.read_numbers::<f32>(kind, n).map(<[f32]>::to_vec);
        let optional = |kind, n| file.find(kind).map(|_| numbers(kind, n)).transpose();
        let mut coarse = Floats::mapped(&file, SectionKind::Coarse, product(meta.nlist, meta.d))?;
        if meta.nlist < groups::MIN_NLIST {
            coarse = coarse.to_vec().into();
        }
        let parts = ModelParts {
            spec: read_spec(&file, &meta.spec)?,
            metric: meta.metric,
            mean: optional(SectionKind::Mean, meta.dim)?,
            rotation: optional(SectionKind::Rotation, product(meta.d, meta.dim))?,
            renormalize: meta.renormalize,
            dim: meta.dim,
            d: meta.d,
            nlist: meta.nlist,
            coarse,
            m: meta.m,
            ksub: meta.ksub,
            codebooks: numbers(SectionKind::Codebooks, product(meta.ksub, meta.d))?,
            training: meta.training,
        };
        let mut model = Self::assemble(parts, Some(meta.hash))
            .map_err(|e| Error::corrupt(file.path(), e.to_string()))?;
        model.file = Some(Arc::clone(&file));
        let (nlist, d) = (model.parts.nlist, model.parts.d);
        model.groups = CoarseGroups::open(&file, nlist, d, model.hash)?;
        file.prove_all()?;
        if nlist < groups::MIN_NLIST {
            model.verify()?;
            // No part of the model is mapped any more.
            model.file = model.groups.is_some().then(|| Arc::clone(&file));
        }
        if let Some(codec) = FineCodec::read(&file, model.hash, d)? {
            codec.fits(&model.parts).map_err(|e| Error::corrupt(file.path(), e.to_string()))?;
            model.fine_codec = Some(codec);
        }
        file.intact()?;
        Ok(model)
    }

    /// The model with one more fact about its training, which its hash does not cover.
    #[must_use]
    pub fn with_note(mut self, name: &str, text: &str) -> Self {
        self.parts.training.insert(name.to_owned(), text.to_owned());
        self
    }

    /// Computes the hash again over everything that it covers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not the one that the model's file names.
    pub fn verify(&self) -> Result<()> {
        let found = hash_of(&self.parts);
        self.intact()?;
        if found == self.hash {
            return Ok(());
        }
        let path = self.file.as_ref().map_or(Path::new("model"), |file| file.path());
        Err(Error::corrupt(path, format!("its content hashes to {found}, expected {}", self.hash)))
    }
}

/// Hash over everything that defines codes and scores: shapes, spec, metric, transform, centroids,
/// codebooks. Training notes and derived sections stay outside.
pub(super) fn hash_of(p: &ModelParts) -> Hash {
    let mut h = Hasher::new();
    h.update(
        format!(
            "ocelli-model 1\nspec={}\nmetric={}\nrenormalize={}\ndim={}\nd={}\nnlist={}\nm={}\n\
             ksub={}\nmean={}\nrotation={}\n",
            p.spec.hash(),
            p.metric,
            p.renormalize,
            p.dim,
            p.d,
            p.nlist,
            p.m,
            p.ksub,
            p.mean.is_some(),
            p.rotation.is_some(),
        )
        .as_bytes(),
    );
    for numbers in numbers(p) {
        h.update(bytemuck::cast_slice(numbers));
    }
    h.finish()
}

/// The model's arrays in the order in which they are hashed; empty if it lacks one.
pub(super) fn numbers(p: &ModelParts) -> [&[f32]; 4] {
    let [mean, rotation] = [&p.mean, &p.rotation].map(|n| n.as_deref().unwrap_or_default());
    [mean, rotation, &p.coarse, &p.codebooks]
}
