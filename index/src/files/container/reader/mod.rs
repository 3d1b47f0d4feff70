//! Maps a container and proves its bytes before they are used.
//!
//! The structure is proven when the file is opened; each 64 KiB tile when it is first touched.
//! Bytes that vanish under their reader are zeros, and [`Reader::intact`] reports it.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::fault::Mapped;
use super::footer::{Footer, MAGIC, TRAILER_BYTES, tiles};
use super::{FileKind, SECTION_ALIGN, Section, SectionKind, TILE_BYTES};
use crate::base::error::{Error, Result};

mod ahead;
mod prove;
#[cfg(test)]
mod tests;

/// A mapped container.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    map: Arc<Mapped>,
    /// The container's bytes in the map: all, unless it lies within another file.
    range: Range<usize>,
    kind: FileKind,
    footer: Footer,
    /// One bit a tile: its checksum was right.
    proven: Vec<AtomicU64>,
    /// One bit a tile: it is proven, and counted where mapped pages have a limit.
    ready: Arc<[AtomicU64]>,
    /// Whether the mapping takes part in the limit of mapped pages.
    counts: AtomicBool,
}

impl Reader {
    /// Maps the file and proves its footer and its table of checksums; no data are read yet.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotOcelli`], [`Error::NewerVersion`], [`Error::Corrupt`], or
    /// [`Error::WrongKind`] if the file is of another kind than `expected`.
    pub fn open(path: &Path, expected: FileKind) -> Result<Self> {
        Self::open_any(path)?.of_kind(expected)
    }

    fn of_kind(self, expected: FileKind) -> Result<Self> {
        if self.kind == expected {
            return Ok(self);
        }
        Err(Error::WrongKind {
            path: self.path,
            expected: expected.name().to_owned(),
            found: self.kind.name().to_owned(),
        })
    }

    /// [`Self::open`] for a file of any kind.
    ///
    /// # Errors
    /// As [`Self::open`], but for the kind.
    pub fn open_any(path: &Path) -> Result<Self> {
        // Before it is opened: a pipe would be waited for.
        let meta = fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
        if !meta.is_file() {
            return Err(Error::NotOcelli {
                path: path.to_owned(),
                what: "not a regular file".into(),
            });
        }
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let map = Mapped::new(&file).map_err(|e| Error::io(path, "map", e))?;
        let range = 0..map.bytes().len();
        Self::of_map(path.to_owned(), Arc::new(map), range)
    }

    /// [`Self::open`] for a container in memory, which is copied; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bytes(name: &Path, bytes: &[u8], expected: FileKind) -> Result<Self> {
        // Nothing and other formats are refused before they are copied.
        Footer::decode(name, bytes)?;
        let map = Mapped::copy_of(bytes).map_err(|e| Error::io(name, "make room for", e))?;
        Self::of_map(name.to_owned(), Arc::new(map), 0..bytes.len())?.of_kind(expected)
    }

    /// A container that lies within a section of this one, at `from .. from + len`, where `from` is
    /// a multiple of [`SECTION_ALIGN`]. `name` follows the path of this file in errors. The inner
    /// container's own checksums prove its bytes.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Corrupt`] if the bytes leave the section.
    pub fn open_within(
        &self,
        section: &Section,
        (from, len): (u64, u64),
        name: &str,
        expected: FileKind,
    ) -> Result<Self> {
        let inside = from.checked_add(len).is_some_and(|end| end <= section.len);
        if !inside || !from.is_multiple_of(SECTION_ALIGN) {
            return Err(self.refuse(section, from, len));
        }
        let start = self.range.start + (section.offset + from) as usize;
        let mut path = self.path.clone().into_os_string();
        path.push(format!("#{name}"));
        let range = start..start + len as usize;
        Self::of_map(path.into(), Arc::clone(&self.map), range)?.of_kind(expected)
    }

    fn of_map(path: PathBuf, map: Arc<Mapped>, range: Range<usize>) -> Result<Self> {
        let (footer, kind) = Footer::decode(&path, &map.bytes()[range.clone()])?;
        let words = (tiles(footer.data_bytes) as usize).div_ceil(64);
        let bits = || (0..words).map(|_| AtomicU64::new(0));
        let reader = Self {
            path,
            map,
            range,
            kind,
            proven: bits().collect(),
            ready: bits().collect(),
            counts: AtomicBool::new(false),
            footer,
        };
        let found = crc32c::crc32c(reader.checks());
        if found != reader.footer.checks_crc {
            return Err(Error::corrupt(
                &reader.path,
                format!(
                    "table of checksums at offset {}: CRC-32C {found:08x}, expected {:08x}",
                    reader.footer.data_bytes, reader.footer.checks_crc
                ),
            ));
        }
        reader.intact()?;
        Ok(reader)
    }

    /// The container's bytes.
    #[inline]
    fn all(&self) -> &[u8] {
        &self.map.bytes()[self.range.clone()]
    }

    /// Whether all bytes that this thread has read so far were those of the file. Call it after
    /// bytes were used and before the result is used: bytes of a file that is cut while it is
    /// mapped, or is on a disk that fails, turn into zeros. It costs two loads and no system call.
    ///
    /// A file that was cut never heals: open it again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset.
    #[inline]
    pub fn intact(&self) -> Result<()> {
        // A cut that ends inside a page raises no signal for the rest of that page: it reads as
        // zeros. But pages behind are gone by then, and the magic is in the last one.
        let whole = self.map.last() == MAGIC;
        if whole && self.map.fault().is_none() { Ok(()) } else { Err(self.broken()) }
    }

    #[cold]
    fn broken(&self) -> Error {
        let len = self.map.bytes().len();
        // A page that is refused in a file of its size: the system failed to read it. That says
        // nothing of the bytes, and a file that was cut is shorter.
        if let Some(offset) = self.map.fault()
            && fs::metadata(&self.path).is_ok_and(|found| found.len() >= len as u64)
        {
            let cause = std::io::Error::other(format!(
                "offset {offset} cannot be read any more, though the file has its size: the disk \
                 failed, or the way to it; look after it and open the file again"
            ));
            return Error::io(&self.path, "read", cause);
        }
        self.map.mark((len - TRAILER_BYTES) as u64);
        let offset = self.map.fault().unwrap_or_default();
        Error::corrupt(
            &self.path,
            format!(
                "offset {offset} cannot be read any more: since it was opened the file was cut, \
                 or its disk failed; put it back and open it again"
            ),
        )
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the file.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.range.len() as u64
    }

    /// The sections, in file order, those that this version does not know included.
    pub fn sections(&self) -> &[Section] {
        &self.footer.sections
    }

    /// The section of a kind, if the file has it.
    pub fn find(&self, kind: SectionKind) -> Option<&Section> {
        self.footer.sections.iter().find(|s| s.kind == kind.number())
    }

    /// The section of a kind.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file lacks it.
    pub fn require(&self, kind: SectionKind) -> Result<&Section> {
        self.find(kind).ok_or_else(|| {
            Error::corrupt(&self.path, format!("section \"{}\" is missing", kind.name()))
        })
    }

    /// Bytes `from .. from + len` of a section, proven. A result computed from them
    /// counts once [`Self::intact`] has returned `Ok`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they leave the section, a checksum is wrong, or the file vanished.
    #[inline]
    pub fn read(&self, section: &Section, from: u64, len: u64) -> Result<&[u8]> {
        let inside = from.checked_add(len).is_some_and(|end| end <= section.len);
        if !inside || self.map.fault().is_some() {
            return Err(self.refuse(section, from, len));
        }
        // Sections lie within the data, which lie within the map: proven when the file was opened.
        let start = (section.offset + from) as usize;
        let end = start + len as usize;
        if len > 0 {
            let (first, last) = (start / TILE_BYTES, (end - 1) / TILE_BYTES);
            // Nearly always one tile, proven long ago.
            if first != last || !self.is_ready(first) {
                self.prove(first, last)?;
            }
        }
        Ok(&self.all()[start..end])
    }

    /// The eight bytes at `from` of a section, little-endian: [`Self::read`] for what is read one
    /// by one. A fault of the file shows in [`Self::intact`], which the caller calls in any
    /// case.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[inline]
    pub(crate) fn read_word(&self, section: &Section, from: u64) -> Result<u64> {
        // A section lies within the data, which lie within the map: a sum that wraps is in no tile.
        let start = section.offset.wrapping_add(from) as usize;
        let (first, last) = (start / TILE_BYTES, start.wrapping_add(7) / TILE_BYTES);
        let bytes = self.all().get(start..).and_then(|b| b.first_chunk::<8>());
        let inside = from.checked_add(8).is_some_and(|end| end <= section.len);
        match bytes {
            Some(bytes) if inside && first == last && self.is_ready(first) => {
                Ok(u64::from_le_bytes(*bytes))
            }
            _ => self.read_word_slowly(section, from),
        }
    }

    #[cold]
    fn read_word_slowly(&self, section: &Section, from: u64) -> Result<u64> {
        let mut word = [0u8; 8];
        word.copy_from_slice(self.read(section, from, 8)?);
        Ok(u64::from_le_bytes(word))
    }

    /// Gives back the memory of what was read so far, which counts as this process's. What is read
    /// again comes from the file again, and stays proven. For those who read a large file from one
    /// end to the other.
    pub fn release(&self) {
        self.map.release();
    }

    /// Asks for the memory at `from` of a section, which will be read soon. Reads and proves
    /// nothing.
    #[inline]
    pub(crate) fn prefetch(&self, section: &Section, from: u64) {
        ocelli_vector::prefetch(self.all(), (section.offset + from) as usize);
    }

    /// The reason that these bytes cannot be read.
    #[cold]
    fn refuse(&self, section: &Section, from: u64, len: u64) -> Error {
        if self.map.fault().is_some() {
            return self.broken();
        }
        let name = section.known().map_or("section", SectionKind::name);
        Error::corrupt(
            &self.path,
            format!("{name}: bytes {from}+{len} leave a section of {} bytes", section.len),
        )
    }

    /// Bytes `from .. from + len` of a section that [`Self::read`] has proven before, which is not
    /// asked again; `None` if they leave the file. As with [`Self::read_word`], a fault
    /// shows in [`Self::intact`].
    #[inline]
    pub(crate) fn reread(&self, section: &Section, from: u64, len: u64) -> Option<&[u8]> {
        let start = section.offset.wrapping_add(from);
        self.all().get(start as usize..start.wrapping_add(len) as usize)
    }

    /// A whole section that [`Self::read_all`] has proven before, without another check.
    #[inline]
    pub(crate) fn read_proven(&self, section: &Section) -> &[u8] {
        // Sections lie within the data, which lie within the map: proven when the file was opened.
        &self.all()[section.offset as usize..(section.offset + section.len) as usize]
    }

    /// A whole section, proven.
    ///
    /// # Errors
    /// As [`Self::require`] and [`Self::read`].
    pub fn read_all(&self, kind: SectionKind) -> Result<&[u8]> {
        let section = self.require(kind)?;
        self.read(section, 0, section.len)
    }

    /// A whole section as plain numbers.
    ///
    /// # Errors
    /// As [`Self::read_all`]; [`Error::Corrupt`] if it is not `expected` elements long.
    pub fn read_numbers<T: bytemuck::Pod>(
        &self,
        kind: SectionKind,
        expected: usize,
    ) -> Result<&[T]> {
        let bytes = self.read_all(kind)?;
        let numbers: Option<&[T]> = bytemuck::try_cast_slice(bytes).ok();
        numbers.filter(|n| n.len() == expected).ok_or_else(|| {
            Error::corrupt(
                &self.path,
                format!(
                    "{}: {} bytes, expected {expected} elements of {} bytes",
                    kind.name(),
                    bytes.len(),
                    size_of::<T>()
                ),
            )
        })
    }
}
