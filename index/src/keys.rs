//! Keys by ordinal: blocks of 128, each compressed on its own.
//!
//! Layout of the section: `u64` offsets of the blocks from the section's start, one more than there
//! are blocks; then the blocks. A block is the `u32` length of its raw bytes, then a zstd frame; its
//! raw bytes are the `u32` lengths of its keys, then the keys one after the other (UTF-8).

use crate::container::{Reader, SectionKind};
use crate::error::{Error, Result};

/// Keys in a block: a page of typical paths, so that reading one key decompresses little.
pub const BLOCK_KEYS: usize = 128;
/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 16 * 1024;
/// A block that claims more raw bytes than this is refused before any memory is taken.
const MAX_BLOCK_BYTES: usize = BLOCK_KEYS * (MAX_KEY_BYTES + 4);
const ZSTD_LEVEL: i32 = 3;

/// Refuses a key that is too long.
///
/// # Errors
/// [`Error::Invalid`] with the key's length.
pub fn check(key: &str) -> Result<()> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid(format!(
            "key of {} bytes, at most {MAX_KEY_BYTES} are allowed: {}…",
            key.len(),
            key.chars().take(40).collect::<String>()
        )));
    }
    Ok(())
}

/// The section's bytes for `keys`, which [`check`] accepted.
///
/// # Errors
/// [`Error::Invalid`] if the compressor fails.
pub fn encode<'a>(keys: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<u8>> {
    let keys: Vec<&str> = keys.collect();
    let blocks = keys.chunks(BLOCK_KEYS);
    let head = 8 * (blocks.len() + 1);
    let mut offsets = Vec::with_capacity(blocks.len() + 1);
    let mut body = Vec::new();
    let mut raw = Vec::new();
    for block in blocks {
        offsets.push((head + body.len()) as u64);
        raw.clear();
        for key in block {
            raw.extend_from_slice(&(key.len() as u32).to_le_bytes());
        }
        for key in block {
            raw.extend_from_slice(key.as_bytes());
        }
        let frame = zstd::bulk::compress(&raw, ZSTD_LEVEL)
            .map_err(|e| Error::invalid(format!("keys cannot be compressed: {e}")))?;
        body.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        body.extend_from_slice(&frame);
    }
    offsets.push((head + body.len()) as u64);
    let mut out: Vec<u8> = offsets.iter().flat_map(|o| o.to_le_bytes()).collect();
    out.append(&mut body);
    Ok(out)
}

/// Reads the keys of a file with `count` of them.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    file: &'a Reader,
    count: usize,
}

impl<'a> Keys<'a> {
    /// The keys of `file`, which holds `count`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the section is missing or too short for its offsets.
    pub fn new(file: &'a Reader, count: usize) -> Result<Self> {
        let section = file.require(SectionKind::Keys)?;
        let head = 8 * (count.div_ceil(BLOCK_KEYS) as u64 + 1);
        if section.len < head {
            return Err(Error::corrupt(
                file.path(),
                format!("keys: {} bytes, expected at least {head} for {count} keys", section.len),
            ));
        }
        Ok(Self { file, count })
    }

    /// Key number `i`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] if `i` is past the end.
    pub fn get(&self, i: usize) -> Result<String> {
        if i >= self.count {
            return Err(Error::not_found(format!(
                "{}: no key {i} of {}",
                self.file.path().display(),
                self.count
            )));
        }
        let mut block = self.block(i / BLOCK_KEYS)?;
        Ok(block.swap_remove(i % BLOCK_KEYS))
    }

    /// All keys in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn all(&self) -> Result<Vec<String>> {
        let mut out = Vec::with_capacity(self.count);
        for b in 0..self.count.div_ceil(BLOCK_KEYS) {
            out.append(&mut self.block(b)?);
        }
        Ok(out)
    }

    /// The keys of one block.
    fn block(&self, b: usize) -> Result<Vec<String>> {
        let corrupt =
            |what: &str| Error::corrupt(self.file.path(), format!("keys, block {b}: {what}"));
        let section = self.file.require(SectionKind::Keys)?;
        let number =
            |at: &[u8]| at.try_into().map(u64::from_le_bytes).map_err(|_| corrupt("offset"));
        let ends = self.file.read(section, 8 * b as u64, 16)?;
        let (start, end) = (number(&ends[..8])?, number(&ends[8..])?);
        let len = end
            .checked_sub(start)
            .filter(|&l| l >= 4)
            .ok_or_else(|| corrupt("offsets are not ascending"))?;
        let bytes = self.file.read(section, start, len)?;
        // A copy, since a decompressor may read twice what must not change between.
        let bytes = bytes.to_vec();
        self.file.intact()?;
        let (raw_len, frame) = bytes.split_at(4);
        let raw_len =
            raw_len.try_into().map(u32::from_le_bytes).map_err(|_| corrupt("length"))? as usize;
        if raw_len > MAX_BLOCK_BYTES {
            return Err(corrupt("claims more bytes than a block may have"));
        }
        let raw =
            zstd::bulk::decompress(frame, raw_len).map_err(|e| corrupt(&format!("zstd: {e}")))?;
        let keys = (self.count - b * BLOCK_KEYS).min(BLOCK_KEYS);
        if raw.len() != raw_len || raw_len < 4 * keys {
            return Err(corrupt("other length than claimed"));
        }
        let (lens, mut rest) = raw.split_at(4 * keys);
        let mut out = Vec::with_capacity(keys);
        for len in lens.as_chunks::<4>().0 {
            let (key, tail) = rest
                .split_at_checked(u32::from_le_bytes(*len) as usize)
                .ok_or_else(|| corrupt("a key leaves the block"))?;
            out.push(
                std::str::from_utf8(key).map_err(|_| corrupt("a key is no UTF-8"))?.to_owned(),
            );
            rest = tail;
        }
        if rest.is_empty() { Ok(out) } else { Err(corrupt("bytes after the last key")) }
    }
}
