//! The finer codes of one shard: where they stand, and whose they are.

use std::path::Path;
use std::sync::Arc;

use ocelli_vector::prefetch_all;

use super::Refinement;
use crate::container::{FileKind, Reader, Section, SectionKind};
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::manifest::IndexDir;
use crate::model::Model;
use crate::shard::Shard;

/// What stands in front of the codes, and of a model's numbers: one cache line, so that codes whose
/// length divides 64, or is a multiple of it, lie on as few lines as they can.
pub(crate) const HEADER_BYTES: usize = 64;

/// First bytes of the section of finer codes in a shard.
pub(crate) fn header(refinement: &Refinement) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..32].copy_from_slice(&refinement.hash().bytes());
    out[32..36].copy_from_slice(&(refinement.code_bytes() as u32).to_le_bytes());
    out
}

/// The finer codes of an opened shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FineCodes {
    section: Section,
    /// Which kind of section it is.
    kind: SectionKind,
    hash: Hash,
    code_bytes: u64,
}

impl FineCodes {
    /// Those of a shard of `rows` rows, if it has them; held against the refinement of `model`, if
    /// that has one.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::RefinementMismatch`].
    pub fn open(file: &Reader, rows: u32, model: &Model) -> Result<Option<Self>> {
        let kinds = [SectionKind::RefineCodes, SectionKind::StoredVectors];
        let mut found = kinds.into_iter().filter_map(|k| Some((k, *file.find(k)?)));
        let (Some((kind, section)), other) = (found.next(), found.next()) else {
            return Ok(None);
        };
        let corrupt =
            |what: String| Err(Error::corrupt(file.path(), format!("{}: {what}", kind.name())));
        if other.is_some() {
            return corrupt("stored vectors stand beside them, expected one of the two".into());
        }
        if section.len < HEADER_BYTES as u64 {
            return corrupt(format!("{} bytes, the header has {HEADER_BYTES}", section.len));
        }
        let head = file.read(&section, 0, HEADER_BYTES as u64)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(&head[..32]);
        let code_bytes = u64::from(u32::from_le_bytes([head[32], head[33], head[34], head[35]]));
        let want = HEADER_BYTES as u64 + u64::from(rows) * code_bytes;
        if code_bytes == 0 || section.len != want || head[36..].iter().any(|&b| b != 0) {
            return corrupt(format!(
                "{} bytes, expected {want} for {rows} codes of {code_bytes}; or a byte that must be zero is not",
                section.len
            ));
        }
        let codes = Self { section, kind, hash: Hash::from_bytes(hash), code_bytes };
        if let Some(refinement) = model.refinement() {
            codes.check(file.path(), refinement)?;
        }
        Ok(Some(codes))
    }

    /// Whether they are codes of this refinement.
    ///
    /// # Errors
    /// [`Error::RefinementMismatch`] if not; [`Error::Corrupt`] if they say so but have another
    /// shape.
    pub fn check(&self, path: &Path, refinement: &Refinement) -> Result<()> {
        if self.hash != refinement.hash() {
            return Err(Error::RefinementMismatch {
                path: path.to_owned(),
                expected: format!("{} ({})", refinement.hash(), refinement.name()),
                found: self.hash,
            });
        }
        if (self.code_bytes, self.kind) != (refinement.code_bytes() as u64, refinement.section()) {
            return Err(Error::corrupt(
                path,
                format!(
                    "{}: codes of {} bytes, expected {} of {}",
                    self.kind.name(),
                    self.code_bytes,
                    refinement.section().name(),
                    refinement.code_bytes()
                ),
            ));
        }
        Ok(())
    }

    /// Code of a slot, proven.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a slot past the end.
    #[inline]
    pub fn get<'a>(&self, file: &'a Reader, slot: u32) -> Result<&'a [u8]> {
        let at = HEADER_BYTES as u64 + u64::from(slot) * self.code_bytes;
        file.read(&self.section, at, self.code_bytes)
    }

    /// Asks for the cache lines of a slot's code, which is not looked at: it may be unproven.
    #[inline]
    pub fn prefetch(&self, file: &Reader, slot: u32) {
        let at = HEADER_BYTES as u64 + u64::from(slot) * self.code_bytes;
        let bytes = file.read_proven(&self.section);
        if let Some(code) = bytes.get(at as usize..(at + self.code_bytes) as usize) {
            prefetch_all(code);
        }
    }
}

/// The model of a generation, with the refinement that its shards name. It stands in a file of its
/// own, from which only the refinement is read.
///
/// # Errors
/// [`Error::Io`] if that file is not there; [`Error::Corrupt`]; [`Error::RefinementMismatch`] if
/// shards name different ones.
pub(crate) fn refined_model<'a>(
    dir: &IndexDir,
    mut model: Arc<Model>,
    shards: impl Iterator<Item = &'a Shard>,
) -> Result<Arc<Model>> {
    for shard in shards {
        let Some(codes) = shard.fine() else { continue };
        if model.refinement().is_none() {
            let path = dir.refined_model_path(&model.hash(), &codes.hash);
            let file = Reader::open(&path, FileKind::Model)?;
            let refinement = Refinement::read(&file, &model)?.ok_or_else(|| {
                let name = SectionKind::RefineCodebooks.name();
                Error::corrupt(&path, format!("section \"{name}\" is missing"))
            })?;
            // Nobody else has it while it is being opened.
            let alone = Arc::into_inner(model)
                .ok_or_else(|| Error::invalid("refinement: the model is used already"))?;
            model = Arc::new(alone.with_refinement(refinement)?);
        }
        if let Some(refinement) = model.refinement() {
            codes.check(shard.path(), refinement)?;
        }
    }
    Ok(model)
}
