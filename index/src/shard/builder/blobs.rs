//! Strings of bytes one after the other, each behind its length.

use crate::base::error::Result;

/// The place of every so many strings is known.
pub(super) const STEP: usize = 32;
/// Bytes of a length.
pub(super) const LENGTH_BYTES: usize = 4;

/// Strings of bytes: each behind its length in four bytes, and the place of every 32nd.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    bytes: Vec<u8>,
    starts: Vec<u64>,
    len: usize,
}

impl Blobs {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Removes all strings; their memory is kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.len = 0;
    }

    /// Appends a string of less than 4 GiB.
    pub fn push(&mut self, blob: &[u8]) {
        if self.len.is_multiple_of(STEP) {
            self.starts.push(self.bytes.len() as u64);
        }
        self.bytes.extend((blob.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(blob);
        self.len += 1;
    }

    /// All strings with their lengths.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The place of every 32nd string in [`Self::bytes`].
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// String `i`, or an empty one past the end.
    pub fn get(&self, i: usize) -> &[u8] {
        if i >= self.len {
            return &[];
        }
        let mut at = self.starts[i / STEP] as usize;
        for _ in 0..i % STEP {
            at += LENGTH_BYTES + length(&self.bytes[at..]);
        }
        &self.bytes[at + LENGTH_BYTES..][..length(&self.bytes[at..])]
    }
}

/// The length with which `bytes` begins.
fn length(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b) as usize)
}

/// String `i` of those whose bytes and starts `read` and `start` give, as [`Blobs`] has them.
pub(super) fn find(
    i: usize,
    start: impl Fn(usize) -> Result<u64>,
    read: impl Fn(u64, usize) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut at = start(i / STEP)?;
    for _ in 0..i % STEP {
        at += (LENGTH_BYTES + length(&read(at, LENGTH_BYTES)?)) as u64;
    }
    let len = length(&read(at, LENGTH_BYTES)?);
    read(at + LENGTH_BYTES as u64, len)
}
