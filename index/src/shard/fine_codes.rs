//! The finer codes of one shard: where they lie, and which codec made them.

use std::ops::Range;
use std::path::Path;

use ocelli_vector::prefetch_all;

use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{Reader, Section, SectionKind};
use crate::model::Model;
use crate::model::fine::{FineCodec, HEADER_BYTES};

/// First bytes of the section of finer codes in a shard.
pub(crate) fn header(codec: &FineCodec) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..32].copy_from_slice(&codec.hash().bytes());
    out[32..36].copy_from_slice(&(codec.code_bytes() as u32).to_le_bytes());
    out
}

/// The finer codes of an opened shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FineCodes {
    section: Section,
    /// The kind of the section.
    kind: SectionKind,
    hash: Hash,
    code_bytes: u64,
}

impl FineCodes {
    /// The finer codes of a shard of `rows` rows, if it has any, checked against the fine codec of
    /// `model`, if that has one.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::FineCodecMismatch`].
    pub fn open(file: &Reader, rows: u32, model: &Model) -> Result<Option<Self>> {
        let kinds = [SectionKind::FineCodes, SectionKind::StoredVectors];
        let mut found = kinds.into_iter().filter_map(|k| Some((k, *file.find(k)?)));
        let (Some((kind, section)), other) = (found.next(), found.next()) else {
            return Ok(None);
        };
        let corrupt =
            |what: String| Err(Error::corrupt(file.path(), format!("{}: {what}", kind.name())));
        if other.is_some() {
            return corrupt("there are stored vectors too, expected one of the two".into());
        }
        if section.len < HEADER_BYTES as u64 {
            return corrupt(format!("{} bytes, the header has {HEADER_BYTES}", section.len));
        }
        let head = file.read(&section, 0, HEADER_BYTES as u64)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(&head[..32]);
        let code_bytes = u64::from(u32::from_le_bytes([head[32], head[33], head[34], head[35]]));
        let want = HEADER_BYTES as u64 + u64::from(rows) * code_bytes;
        if section.len != want || head[36..].iter().any(|&b| b != 0) {
            return corrupt(format!(
                "{} bytes, expected {want} for {rows} codes of {code_bytes}; or a byte that must \
                 be zero is not",
                section.len
            ));
        }
        let codes = Self { section, kind, hash: Hash::from_bytes(hash), code_bytes };
        if let Some(codec) = model.fine_codec() {
            codes.check(file.path(), codec)?;
        }
        Ok(Some(codes))
    }

    /// Checks that this codec made the codes.
    ///
    /// # Errors
    /// [`Error::FineCodecMismatch`] if not; [`Error::Corrupt`] if they say so but have another
    /// shape.
    pub fn check(&self, path: &Path, codec: &FineCodec) -> Result<()> {
        if self.hash != codec.hash() {
            return Err(Error::FineCodecMismatch {
                path: path.to_owned(),
                expected: format!("{} ({})", codec.hash(), codec.name()),
                found: self.hash,
            });
        }
        if (self.code_bytes, self.kind) != (codec.code_bytes() as u64, codec.section()) {
            return Err(Error::corrupt(
                path,
                format!(
                    "{}: codes of {} bytes, expected {} of {}",
                    self.kind.name(),
                    self.code_bytes,
                    codec.section().name(),
                    codec.code_bytes()
                ),
            ));
        }
        Ok(())
    }

    /// Hash of the codec that made them.
    pub fn codec(&self) -> Hash {
        self.hash
    }

    /// Code of a slot, proven.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a slot past the end.
    #[inline]
    pub fn get<'a>(&self, file: &'a Reader, slot: u32) -> Result<&'a [u8]> {
        if self.code_bytes == 0 {
            return Ok(&[]);
        }
        let at = HEADER_BYTES as u64 + u64::from(slot) * self.code_bytes;
        file.read(&self.section, at, self.code_bytes)
    }

    /// The bytes of the file that hold a slot's code, which may reach past its end if that does.
    pub fn place(&self, slot: u32) -> Range<u64> {
        let start = HEADER_BYTES as u64 + u64::from(slot) * self.code_bytes;
        self.section.offset + start..self.section.offset + start + self.code_bytes
    }

    /// Asks for the cache lines of a slot's code, which is not looked at: it may be unproven.
    #[inline]
    pub fn prefetch(&self, file: &Reader, slot: u32) {
        if self.code_bytes == 0 {
            return;
        }
        let at = HEADER_BYTES as u64 + u64::from(slot) * self.code_bytes;
        let bytes = file.read_proven(&self.section);
        if let Some(code) = bytes.get(at as usize..(at + self.code_bytes) as usize) {
            prefetch_all(code);
        }
    }
}
