//! Writes a container: temporary name, checksums as the bytes go by, fsync, rename.

use std::fs;
use std::path::{Path, PathBuf};

use super::atomic::{AtomicFile, NewFile};
use super::footer::{Footer, tiles};
use super::{FileKind, Reader, SECTION_ALIGN, Section, SectionKind, TILE_BYTES};
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};

/// The file that [`Writer::finish`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file, under its final name.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub checksum: Hash,
    /// SHA-256 of what follows the sections ([`super::Reader::seal`]).
    pub seal: Hash,
}

/// A container that is complete and durable, and does not have its name yet. Dropped, it
/// leaves nothing behind.
#[derive(Debug)]
pub struct Sealed {
    file: Box<dyn NewFile>,
    /// The facts of the file; its path is added when it is published.
    end: Written,
}

impl Sealed {
    /// Gives the file the name that it was created for. A file of that name is replaced.
    ///
    /// # Errors
    /// Those of [`AtomicFile::publish`].
    pub fn publish(self) -> Result<Written> {
        let path = self.file.publish(None)?;
        Ok(Written { path, ..self.end })
    }
}

/// Refuses to replace a file of another kind, which is an input given as output by mistake. A
/// container that is damaged may be made anew.
fn refuse_other(path: &Path, kind: FileKind) -> Result<()> {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0);
    if !is_file {
        return Ok(());
    }
    let found = match Reader::open(path, kind) {
        Err(Error::WrongKind { found, .. }) => format!("a {found}"),
        Err(Error::NotOcelli { .. }) => "no file of Ocelli's".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::invalid(format!(
        "{}: a new {} would replace this file, which is {found}: give another name, or remove it",
        path.display(),
        kind.name()
    )))
}

/// Writes one container, section by section.
pub struct Writer {
    file: Box<dyn NewFile>,
    kind: FileKind,
    /// Bytes not yet handed to the file; never longer than one tile.
    tile: Vec<u8>,
    checks: Vec<u32>,
    digest: Hasher,
    /// Bytes handed over or buffered so far.
    at: u64,
    sections: Vec<Section>,
    open: bool,
}

impl Writer {
    /// Starts the container of `kind` that [`Self::finish`] will put at `path`. Its folder must
    /// exist.
    ///
    /// # Errors
    /// Those of [`AtomicFile::create`]; [`crate::Error::Invalid`] where the path is that of
    /// something that is no container of this kind: a photo, a list, or a part where a model is to
    /// be written.
    pub fn create(path: &Path, kind: FileKind) -> Result<Self> {
        refuse_other(path, kind)?;
        Ok(Self::new(Box::new(AtomicFile::create(path)?), kind))
    }

    /// Starts a container in `folder` that [`Self::finish_as`] will name by its content.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the folder cannot be written to.
    pub fn create_in(folder: &Path, kind: FileKind) -> Result<Self> {
        Ok(Self::new(Box::new(AtomicFile::create_in(folder, kind.name())?), kind))
    }

    /// Starts a container in a new file of some store.
    pub fn new(file: Box<dyn NewFile>, kind: FileKind) -> Self {
        Self {
            file,
            kind,
            tile: Vec::with_capacity(TILE_BYTES),
            checks: Vec::new(),
            digest: Hasher::new(),
            at: 0,
            sections: Vec::new(),
            open: false,
        }
    }

    /// Begins a section, ending the one before. `required`: readers that do not know it must
    /// refuse.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn begin(&mut self, kind: SectionKind, required: bool) -> Result<()> {
        self.end()?;
        self.sections.push(Section::new(kind, required, self.at, 0));
        self.open = true;
        Ok(())
    }

    /// Appends bytes to the section begun last.
    ///
    /// # Errors
    /// [`crate::Error::Io`], a full disk included.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        while !bytes.is_empty() {
            let n = bytes.len().min(TILE_BYTES - self.tile.len());
            self.tile.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.tile.len() == TILE_BYTES {
                self.flush_tile()?;
            }
        }
        Ok(())
    }

    /// A whole section at once.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn section(&mut self, kind: SectionKind, required: bool, bytes: &[u8]) -> Result<()> {
        self.begin(kind, required)?;
        self.write(bytes)
    }

    /// Ends the open section and pads to the next section's start.
    fn end(&mut self) -> Result<()> {
        if self.open {
            if let Some(s) = self.sections.last_mut() {
                s.len = self.at - s.offset;
            }
            self.open = false;
        }
        let pad = (self.at.next_multiple_of(SECTION_ALIGN) - self.at) as usize;
        self.write(&[0; SECTION_ALIGN as usize][..pad])
    }

    fn flush_tile(&mut self) -> Result<()> {
        self.checks.push(crc32c::crc32c(&self.tile));
        self.digest.update(&self.tile);
        self.file.append(&self.tile)?;
        self.tile.clear();
        Ok(())
    }

    /// Writes the checksums and the footer and gives the file the name that it was created for. A
    /// file of that name is replaced.
    ///
    /// # Errors
    /// Those of [`AtomicFile::publish`]; nothing is left behind then, and a file that had the name
    /// is unchanged.
    pub fn finish(self) -> Result<Written> {
        self.seal()?.publish()
    }

    /// [`Self::finish`] without its last step: everything is written and durable, and the name is
    /// still to be given.
    ///
    /// # Errors
    /// [`crate::Error::Io`], a full disk included; nothing is left behind then.
    pub fn seal(mut self) -> Result<Sealed> {
        let end = self.end_file()?;
        self.file.sync()?;
        Ok(Sealed { file: self.file, end })
    }

    /// [`Self::finish`] under the name that `name` gives for the file's checksum, in the folder
    /// that the file was started in.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_as(mut self, name: impl FnOnce(&Hash) -> String) -> Result<Written> {
        let end = self.end_file()?;
        let path = self.file.publish(Some(&name(&end.checksum)))?;
        Ok(Written { path, ..end })
    }

    /// Writes what follows the sections. The file has no path yet.
    fn end_file(&mut self) -> Result<Written> {
        self.end()?;
        if !self.tile.is_empty() {
            self.flush_tile()?;
        }
        let data_bytes = self.at;
        debug_assert_eq!(self.checks.len() as u64, tiles(data_bytes));
        let checks: Vec<u8> = self.checks.iter().flat_map(|c| c.to_le_bytes()).collect();
        let sections = std::mem::take(&mut self.sections);
        let footer = Footer { data_bytes, checks_crc: crc32c::crc32c(&checks), sections };
        let end = [checks, footer.encode(self.kind)?].concat();
        self.digest.update(&end);
        self.file.append(&end)?;
        let checksum = std::mem::take(&mut self.digest).finish();
        let (path, bytes) = (PathBuf::new(), data_bytes + end.len() as u64);
        Ok(Written { path, bytes, checksum, seal: Hash::of(&end) })
    }
}
