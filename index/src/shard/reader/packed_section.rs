//! Packed arrays of a mapped file.

use std::ops::Range;

use crate::base::error::{Error, Result};
use crate::files::container::{Reader, Section, SectionKind};
use crate::files::packed;

/// A packed array in a section, read element by element so that only touched tiles are proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedSection {
    pub section: Section,
    /// Byte of the section where the array begins.
    start: u64,
    width: u32,
    pub len: u32,
}

impl PackedSection {
    /// The array of `len` elements that begins at byte `start` of a section and ends with it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the section is missing or of another length.
    pub fn new(file: &Reader, kind: SectionKind, start: u64, width: u32, len: u32) -> Result<Self> {
        let section = *file.require(kind)?;
        let want = start + packed::bytes_for(len as usize, width) as u64;
        if width > packed::MAX_WIDTH || section.len != want {
            return Err(Error::corrupt(
                file.path(),
                format!("{}: {} bytes, expected {want}", kind.name(), section.len),
            ));
        }
        Ok(Self { section, start, width, len })
    }

    /// Asks for the memory of element `i`, which will be wanted soon.
    #[inline]
    pub fn prefetch(&self, file: &Reader, i: u32) {
        file.prefetch(&self.section, self.at(i).0);
    }

    /// The bytes of the file that hold elements `from .. from + len`, which may reach past its end
    /// if these do.
    pub fn place(&self, from: u32, len: u32) -> Range<u64> {
        let start = self.section.offset + self.at(from).0;
        start..start + (u64::from(len) * u64::from(self.width)).div_ceil(8) + 8
    }

    /// Element `i`, proven.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also past the end.
    #[inline]
    pub fn get(&self, file: &Reader, i: u32) -> Result<u64> {
        if i >= self.len {
            return Err(self.past_the_end(file, i));
        }
        let (byte, shift) = self.at(i);
        let word = file.read_word(&self.section, byte)?;
        Ok((word >> shift) & self.mask())
    }

    /// [`Self::get`] of an element that [`Self::prove`] has proven.
    #[inline]
    pub fn get_proven(&self, file: &Reader, i: u32) -> Result<u64> {
        let (byte, shift) = self.at(i);
        let word = file.reread(&self.section, byte, 8).and_then(|b| b.first_chunk::<8>());
        let word = word.ok_or_else(|| self.past_the_end(file, i))?;
        Ok((u64::from_le_bytes(*word) >> shift) & self.mask())
    }

    /// Proves elements `from .. from + len`.
    pub fn prove(&self, file: &Reader, from: u32, len: u32) -> Result<()> {
        let (Some(last), true) = (len.checked_sub(1), from <= self.len && len <= self.len - from)
        else {
            return if len == 0 { Ok(()) } else { Err(self.past_the_end(file, from)) };
        };
        let (first, last) = (self.at(from).0, self.at(from + last).0);
        file.read(&self.section, first, last + 8 - first).map(|_| ())
    }

    /// Byte where an element's word begins, and its first bit in that.
    #[inline]
    fn at(&self, i: u32) -> (u64, u64) {
        let bit = u64::from(i) * u64::from(self.width);
        (self.start + bit / 8, bit % 8)
    }

    #[inline]
    fn mask(&self) -> u64 {
        (1u64 << self.width) - 1
    }

    #[cold]
    fn past_the_end(&self, file: &Reader, i: u32) -> Error {
        Error::corrupt(file.path(), format!("element {i} of an array of {}", self.len))
    }
}

/// First position in `0..len` for which `less` is false, where `less` is true for a prefix.
pub(super) fn partition_point(len: u32, mut less: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let mid = low + (high - low) / 2;
        if less(mid)? {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    Ok(low)
}
