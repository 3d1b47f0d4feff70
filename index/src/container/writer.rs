//! Writes a container: temporary name, checksums as the bytes go by, fsync, rename.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::footer::{Footer, tiles};
use super::{FileKind, SECTION_ALIGN, Section, SectionKind, TILE_BYTES};
use crate::error::{Error, Result};
use crate::hash::{Hash, Hasher};

/// What [`Writer::finish`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file, under its final name.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub checksum: Hash,
}

/// A file under a temporary name in its final folder; removed when dropped before it is published.
struct Temporary {
    path: PathBuf,
    file: Option<File>,
}

impl Temporary {
    fn create(folder: &Path, stem: &str) -> Result<Self> {
        // The process id and a counter keep attempts apart; the name is gone after the rename, so
        // nothing that lasts depends on them.
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{stem}.{}-{n}.tmp", std::process::id()));
        let file = File::create_new(&path).map_err(|e| Error::io(&path, "create", e))?;
        Ok(Self { path, file: Some(file) })
    }

    fn file(&mut self) -> Result<&mut File> {
        let path = &self.path;
        self.file
            .as_mut()
            .ok_or_else(|| Error::invalid(format!("{}: written after publishing", path.display())))
    }

    /// fsync, rename to `target`, fsync of the folder.
    fn publish(mut self, target: &Path) -> Result<()> {
        let path = self.path.clone();
        // A rename would replace a device or a folder's link as readily as a file.
        if fs::metadata(target).is_ok_and(|m| !m.is_file()) {
            return Err(Error::invalid(format!(
                "{}: exists and is no regular file, so it is not replaced",
                target.display()
            )));
        }
        self.file()?.sync_all().map_err(|e| Error::io(&path, "fsync", e))?;
        fs::rename(&path, target).map_err(|e| Error::io(target, "rename a new file to", e))?;
        self.file = None; // Published: nothing left to remove.
        let folder = folder_of(target);
        File::open(folder).and_then(|d| d.sync_all()).map_err(|e| Error::io(folder, "fsync", e))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: a leftover temporary name is harmless, and there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The folder that a file stands in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Writes `bytes` to `path` so that readers see the old content or the new, never a mixture:
/// temporary name, fsync, rename, fsync of the folder.
///
/// # Errors
/// [`Error::Io`]; the old content then stands.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let stem = path.file_name().map_or_else(|| "file".into(), |n| n.to_string_lossy().into_owned());
    let mut temporary = Temporary::create(folder_of(path), &stem)?;
    let at = temporary.path.clone();
    temporary.file()?.write_all(bytes).map_err(|e| Error::io(&at, "write", e))?;
    temporary.publish(path)
}

/// Writes one container, section by section.
pub struct Writer {
    temporary: Temporary,
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
    /// Starts a container of `kind` under a temporary name in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written to.
    pub fn create(folder: &Path, kind: FileKind) -> Result<Self> {
        Ok(Self {
            temporary: Temporary::create(folder, kind.name())?,
            kind,
            tile: Vec::with_capacity(TILE_BYTES),
            checks: Vec::new(),
            digest: Hasher::new(),
            at: 0,
            sections: Vec::new(),
            open: false,
        })
    }

    /// Begins a section, ending the one before. `required`: readers that do not know it must refuse.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&mut self, kind: SectionKind, required: bool) -> Result<()> {
        self.end()?;
        self.sections.push(Section::new(kind, required, self.at, 0));
        self.open = true;
        Ok(())
    }

    /// Appends bytes to the section begun last.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
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
    /// [`Error::Io`].
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
        let path = self.temporary.path.clone();
        self.temporary.file()?.write_all(&self.tile).map_err(|e| Error::io(&path, "write", e))?;
        self.tile.clear();
        Ok(())
    }

    /// Writes the checksums and the footer, fsyncs, and renames to the path that `name` gives for the
    /// file's checksum. A file of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left behind then, and what stood under the name still stands.
    pub fn finish(mut self, name: impl FnOnce(&Hash) -> PathBuf) -> Result<Written> {
        self.end()?;
        if !self.tile.is_empty() {
            self.flush_tile()?;
        }
        let data_bytes = self.at;
        debug_assert_eq!(self.checks.len() as u64, tiles(data_bytes));
        let checks: Vec<u8> = self.checks.iter().flat_map(|c| c.to_le_bytes()).collect();
        let footer =
            Footer { data_bytes, checks_crc: crc32c::crc32c(&checks), sections: self.sections };
        let end = [checks, footer.encode(self.kind)?].concat();
        self.digest.update(&end);
        let temporary = self.temporary.path.clone();
        self.temporary.file()?.write_all(&end).map_err(|e| Error::io(&temporary, "write", e))?;
        let checksum = self.digest.finish();
        let path = name(&checksum);
        self.temporary.publish(&path)?;
        Ok(Written { path, bytes: data_bytes + end.len() as u64, checksum })
    }
}
