//! Attributes of image files as the encoder saw them, by image.

use std::path::Path;

use crate::attributes::{Value, names, record};
use crate::base::error::{Error, Result};

/// Facts of an image file as it was when it was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// SHA-256 of the file's bytes.
    pub sha256: [u8; 32],
    /// Size of the file.
    pub bytes: u64,
    /// Modification time in milliseconds since 1970, if one is known.
    pub modified_ms: Option<i64>,
    /// Stored width in pixels, before any rotation.
    pub width: u32,
    /// Stored height in pixels.
    pub height: u32,
}

/// Bytes of one image in the section: hash, bytes, modification time, width, height.
pub(super) const RECORD: usize = 56;

/// Stored where no modification time is known.
const UNKNOWN: i64 = i64::MIN;

impl Attributes {
    pub(super) fn to_bytes(self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        let (sha256, rest) = out.split_at_mut(32);
        sha256.copy_from_slice(&self.sha256);
        let (bytes, rest) = rest.split_at_mut(8);
        bytes.copy_from_slice(&self.bytes.to_le_bytes());
        let (modified, rest) = rest.split_at_mut(8);
        modified.copy_from_slice(&self.modified_ms.unwrap_or(UNKNOWN).to_le_bytes());
        let (width, height) = rest.split_at_mut(4);
        width.copy_from_slice(&self.width.to_le_bytes());
        height.copy_from_slice(&self.height.to_le_bytes());
        out
    }

    /// The same facts as a record of columns ([`crate::attributes::record`]).
    pub fn to_record(self) -> Vec<u8> {
        let whole = |v: u64| Value::Int(i64::try_from(v).unwrap_or(i64::MAX));
        let mut fields = record::Fields::from([
            (names::BYTES.to_owned(), whole(self.bytes)),
            (names::HEIGHT.to_owned(), whole(self.height.into())),
            (names::SHA256.to_owned(), Value::Bytes32(self.sha256)),
            (names::WIDTH.to_owned(), whole(self.width.into())),
        ]);
        if let Some(ms) = self.modified_ms {
            fields.insert(names::MODIFIED_MS.to_owned(), Value::Int(ms));
        }
        // Names and values are sound.
        record::encode(&fields).unwrap_or_default()
    }

    /// Reads a record; `record` has [`RECORD`] bytes wherever it comes from a section of the right
    /// length.
    pub(super) fn from_bytes(path: &Path, record: &[u8]) -> Result<Self> {
        let short = || Error::corrupt(path, "attributes: a record is cut short".to_owned());
        let (sha256, rest) = record.split_first_chunk::<32>().ok_or_else(short)?;
        let (bytes, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (modified, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (width, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let height = rest.first_chunk::<4>().ok_or_else(short)?;
        let modified = i64::from_le_bytes(*modified);
        Ok(Self {
            sha256: *sha256,
            bytes: u64::from_le_bytes(*bytes),
            modified_ms: (modified != UNKNOWN).then_some(modified),
            width: u32::from_le_bytes(*width),
            height: u32::from_le_bytes(*height),
        })
    }
}
