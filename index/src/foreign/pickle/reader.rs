//! Bytes of a pickle, read with every length checked against what is left.

use super::error::{PickleError, Result, truncated};

/// A position in a buffer.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or_else(truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(truncated)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| PickleError::bad("pickle: a short read"))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    /// A length of `N` bytes, little-endian, then as many bytes.
    pub(super) fn counted<const N: usize>(&mut self) -> Result<&'a [u8]> {
        let mut wide = [0u8; 8];
        let read = self.array::<N>()?;
        wide.iter_mut().zip(read).for_each(|(to, from)| *to = from);
        let len = usize::try_from(u64::from_le_bytes(wide)).map_err(|_| truncated())?;
        self.take(len)
    }

    /// Up to the end of the line, which is left away.
    pub(super) fn line(&mut self) -> Result<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|&b| b == b'\n').ok_or_else(truncated)?;
        let line = self.take(len)?;
        self.at += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line).map_err(|_| PickleError::bad("pickle: a line is no text"))
    }
}
