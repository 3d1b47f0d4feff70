//! Maps a container and proves its bytes before they are used.
//!
//! The structure is proven when the file is opened; each 64 KiB tile when it is first touched.
//! Bytes that vanish under their reader are zeros, and [`Reader::intact`] reports it.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::fault::Mapped;
use super::footer::{Footer, MAGIC, TRAILER_BYTES, tiles};
use super::resident;
use super::{FileKind, SECTION_ALIGN, Section, SectionKind, TILE_BYTES};
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};

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
        let trailer = self.map.bytes().len() - TRAILER_BYTES;
        self.map.mark(trailer as u64);
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

    /// Proves every tile, those in padding included.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first bad tile.
    pub fn verify(&self) -> Result<()> {
        (0..tiles(self.footer.data_bytes) as usize).try_for_each(|tile| self.prove_now(tile))
    }

    /// Number of tiles: runs of 64 KiB that have a checksum each.
    pub(crate) fn tiles(&self) -> usize {
        tiles(self.footer.data_bytes) as usize
    }

    /// Proves some tiles, whether they were proven before or not. Returns what is wrong with each
    /// bad one, at most `most` of them.
    pub(crate) fn bad_tiles(&self, tiles: Range<usize>, most: usize) -> Vec<Error> {
        tiles.filter_map(|tile| self.prove_now(tile).err()).take(most).collect()
    }

    /// [`Self::verify`] that holds no more than a few MiB of the file in memory.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_released(&self) -> Result<()> {
        const TILES: usize = 64;
        for tile in 0..tiles(self.footer.data_bytes) as usize {
            self.prove_now(tile)?;
            if tile % TILES == TILES - 1 {
                self.release();
            }
        }
        self.release();
        Ok(())
    }

    /// Proves every tile that is not proven yet: afterwards no read can fail for its bytes.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(crate) fn prove_all(&self) -> Result<()> {
        match tiles(self.footer.data_bytes) as usize {
            0 => Ok(()),
            tiles => self.prove(0, tiles - 1),
        }
    }

    /// SHA-256 of the whole file; reads all of it. Bytes that cannot be read count as zeros, so
    /// that it is another one then.
    pub fn checksum(&self) -> Hash {
        let mut digest = Hasher::new();
        for tile in self.all().chunks(TILE_BYTES) {
            digest.update(tile);
            self.count();
        }
        digest.finish()
    }

    /// SHA-256 of what follows the sections: the checksums of all tiles, and the footer. It
    /// tells files of other content apart without reading it: 4 bytes of each 64 KiB are read.
    pub fn seal(&self) -> Hash {
        let mut digest = Hasher::new();
        digest.update(&self.all()[self.footer.data_bytes as usize..]);
        digest.finish()
    }

    /// The table of checksums.
    fn checks(&self) -> &[u8] {
        let start = self.footer.data_bytes as usize;
        &self.all()[start..start + 4 * tiles(self.footer.data_bytes) as usize]
    }

    #[inline]
    fn is_ready(&self, tile: usize) -> bool {
        is_set(&self.ready, tile)
    }

    /// Counts a tile that was touched, where mapped pages have a limit.
    fn count(&self) {
        if !resident::is_limited() {
            return;
        }
        if !self.counts.swap(true, Ordering::Relaxed) {
            resident::join(&self.map, &self.ready);
        }
        resident::touched();
    }

    /// Proves the tiles `first..=last` unless they already are. Two threads may prove the same one;
    /// that is only work.
    #[inline(never)]
    fn prove(&self, first: usize, last: usize) -> Result<()> {
        for tile in first..=last {
            if self.is_ready(tile) {
                continue;
            }
            if is_set(&self.proven, tile) {
                self.count();
            } else {
                self.prove_now(tile)?;
                set(&self.proven, tile);
            }
            set(&self.ready, tile);
        }
        Ok(())
    }

    #[cold]
    fn prove_now(&self, tile: usize) -> Result<()> {
        let start = tile * TILE_BYTES;
        let end = (start + TILE_BYTES).min(self.footer.data_bytes as usize);
        let check = &self.checks()[4 * tile..4 * tile + 4];
        let want = u32::from_le_bytes([check[0], check[1], check[2], check[3]]);
        let found = crc32c::crc32c(&self.all()[start..end]);
        self.count();
        // Zeros in the place of what cannot be read have a checksum too.
        self.intact()?;
        if found == want {
            return Ok(());
        }
        let within: Vec<&str> = self
            .footer
            .sections
            .iter()
            .filter(|s| s.offset < end as u64 && s.offset + s.len > start as u64)
            .map(|s| s.known().map_or("unknown section", SectionKind::name))
            .collect();
        Err(Error::corrupt(
            &self.path,
            format!(
                "bytes {start}..{end} ({}): CRC-32C {found:08x}, expected {want:08x}",
                if within.is_empty() { "padding".to_owned() } else { within.join(", ") }
            ),
        ))
    }
}

#[inline]
fn is_set(bits: &[AtomicU64], i: usize) -> bool {
    // Relaxed: the bit guards no other memory; the mapped bytes never change.
    bits[i / 64].load(Ordering::Relaxed) >> (i % 64) & 1 == 1
}

fn set(bits: &[AtomicU64], i: usize) {
    bits[i / 64].fetch_or(1 << (i % 64), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::{MappedLimit, Writer};
    use super::*;
    use ocelli_test_support::step;

    /// Under a limit of mapped pages the same bytes are read, in whatever order, and few tiles are
    /// ready at any time.
    #[test]
    fn a_limit_of_mapped_pages_changes_nothing_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        let mut w = Writer::create(&path, FileKind::Part).unwrap();
        w.begin(SectionKind::Vectors, true).unwrap();
        let number = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for i in 0..1 << 20 {
            w.write(&number(i).to_le_bytes()).unwrap();
        }
        w.finish().unwrap();
        let limit = MappedLimit::new(1 << 20);
        assert!(MappedLimit::in_force().unwrap() <= 1 << 20);
        let r = Reader::open(&path, FileKind::Part).unwrap();
        let section = *r.require(SectionKind::Vectors).unwrap();
        let ready = |r: &Reader| -> u32 {
            r.ready.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
        };
        for step in 0..200_000u64 {
            let i = number(step) % (1 << 20);
            assert_eq!(r.read_word(&section, 8 * i).unwrap(), number(i));
            assert!(ready(&r) <= 16 + 1, "{} tiles are ready", ready(&r));
        }
        assert_eq!(r.checksum(), Hash::of(&fs::read(&path).unwrap()));
        r.verify().unwrap();
        r.intact().unwrap();
        drop(limit);
    }

    fn sample(folder: &Path) -> PathBuf {
        let mut w = Writer::create(&folder.join("a.part"), FileKind::Part).unwrap();
        w.section(SectionKind::Meta, true, b"{}").unwrap();
        w.begin(SectionKind::Vectors, true).unwrap();
        for i in 0..40_000u32 {
            w.write(&i.to_le_bytes()).unwrap();
        }
        w.finish().unwrap().path
    }

    /// An input that is given as output by mistake is not lost.
    #[test]
    fn other_files_are_not_replaced_and_pipes_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let photo = dir.path().join("photo.jpg");
        fs::write(&photo, b"\xff\xd8\xff").unwrap();
        let part = sample(dir.path());
        for (path, kind, what) in
            [(&photo, FileKind::Part, "no file of Ocelli's"), (&part, FileKind::Model, "a part")]
        {
            let before = fs::read(path).unwrap();
            let error = Writer::create(path, kind).err().unwrap().to_string();
            assert!(error.contains("would replace") && error.contains(what), "{error}");
            assert_eq!(fs::read(path).unwrap(), before);
        }
        Writer::create(&part, FileKind::Part).unwrap();

        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = Reader::open(&pipe, FileKind::Part).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[test]
    fn what_was_written_comes_back_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let r = Reader::open(&sample(dir.path()), FileKind::Part).unwrap();
        assert_eq!(r.read_all(SectionKind::Meta).unwrap(), b"{}");
        let numbers: &[u32] = r.read_numbers(SectionKind::Vectors, 40_000).unwrap();
        assert!(numbers.iter().enumerate().all(|(i, &n)| n == i as u32));
        assert!(r.sections().iter().all(|s| s.offset % 4096 == 0));
        r.verify().unwrap();
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a.part"], "no temporary name is left");
        assert!(matches!(
            Reader::open(&dir.path().join("a.part"), FileKind::Shard),
            Err(Error::WrongKind { .. })
        ));
    }

    /// Another kind of file is named.
    #[test]
    fn another_kind_of_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.whitening");
        for (bytes, name) in [
            (&b""[..], "found an empty file"),
            (b"<html><body>Sign in", "found an HTML page"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "found a Git LFS pointer"),
            (&[b' '; 1000], "found a file of blanks"),
        ] {
            fs::write(&path, bytes).unwrap();
            let message = Reader::open_any(&path).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("a.whitening"), "{message}");
        }
    }

    /// A flipped bit anywhere is reported, at open or by `verify`; never as a newer version.
    #[test]
    fn every_flipped_byte_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let good = fs::read(&path).unwrap();
        let bad_path = dir.path().join("bad.part");
        // All bytes of the end, where the structure is, and a sample of the rest.
        let tail = good.len() - 400;
        for at in (0..tail).step_by(step(997)).chain(tail..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&bad_path, &bad).unwrap();
            let outcome = Reader::open(&bad_path, FileKind::Part).and_then(|r| r.verify());
            assert!(
                matches!(outcome, Err(Error::Corrupt { .. } | Error::NotOcelli { .. })),
                "byte {at}: {outcome:?}"
            );
        }
    }

    #[test]
    fn every_truncation_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let good = fs::read(sample(dir.path())).unwrap();
        let bad_path = dir.path().join("bad.part");
        for len in (0..good.len()).step_by(step(1009)).chain(good.len() - 100..good.len()) {
            fs::write(&bad_path, &good[..len]).unwrap();
            assert!(Reader::open(&bad_path, FileKind::Part).is_err(), "{len} bytes");
        }
    }

    /// A newer file and a damaged one have different errors, since the CRC is checked first.
    #[test]
    fn a_newer_version_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        let n = bytes.len();
        let body_len = u32::from_le_bytes(bytes[n - 16..n - 12].try_into().unwrap()) as usize;
        let body_at = n - 16 - body_len;
        bytes[body_at] = 2;
        let crc = crc32c::crc32c(&bytes[body_at..n - 12]);
        bytes[n - 12..n - 8].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            Reader::open(&path, FileKind::Part),
            Err(Error::NewerVersion { found: 2, supported: 1, .. })
        ));
    }

    #[test]
    fn an_unfinished_writer_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = Writer::create(&dir.path().join("a"), FileKind::Part).unwrap();
        w.section(SectionKind::Meta, true, &[0; 100_000]).unwrap();
        drop(w);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
