//! The objects of a chain: files, each proven by its hash whenever it is read or written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ocelli_index::container::AtomicFile;
use ocelli_index::{Error as IndexError, Hasher};

use super::super::BackupFile;
use super::generations::{Generations, number_of};
use super::owner::is_damage;
use super::{Chain, MAX_LIST};
use crate::{Error, Result};

/// Bytes that are copied at a time.
pub(super) const PIECE: usize = 1 << 20;

/// An object of a chain, as it is found.
#[derive(Debug)]
pub(in crate::lifecycle::backup) enum Object {
    Whole,
    Missing,
    /// The reason is given.
    Damaged(String),
}

/// Whether an object of this name is stored compressed.
fn is_compressed(name: &str) -> bool {
    name.ends_with(".json")
}

impl Chain {
    /// The path of an object that is named by its content alone.
    fn plain_object(&self, file: &BackupFile) -> PathBuf {
        let ending = if is_compressed(&file.name) { ".gz" } else { "" };
        self.root.join("objects").join(format!("{}{ending}", file.sha256))
    }

    /// The path of the file of a generation, which has its number and branch; none for another
    /// file, or if the chain does not have it.
    fn placed_object(&self, file: &BackupFile) -> Option<PathBuf> {
        let number = number_of(&file.name)?;
        let branch = self.generations.read().branch(number, &file.sha256)?;
        Some(self.root.join(Generations::name(number, branch, &file.sha256)))
    }

    /// The path of the object of a file: where it is, or where it will be. Chains of format 1 have
    /// generations among the other objects.
    pub(super) fn object(&self, file: &BackupFile) -> PathBuf {
        let plain = self.plain_object(file);
        match self.placed_object(file) {
            Some(placed) if placed.exists() || !plain.exists() => placed,
            _ => plain,
        }
    }

    /// Looks for the object of a file: at its size, or with `prove` at all of its bytes.
    ///
    /// # Errors
    /// An object that may not or cannot be read.
    pub(in crate::lifecycle::backup) fn look(
        &self,
        file: &BackupFile,
        prove: bool,
    ) -> Result<Object> {
        let path = self.object(file);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Object::Missing),
            Err(error) => {
                let error = Error::io("look at", &path)(error);
                return match is_damage(&error) {
                    true => Ok(Object::Damaged(error.to_string())),
                    false => Err(error),
                };
            }
        };
        if !is_compressed(&file.name) && found.len() != file.bytes {
            let what = format!("{} bytes, expected {}", found.len(), file.bytes);
            return Ok(Object::Damaged(format!("{}: {what}", path.display())));
        }
        match prove.then(|| self.copy(file, |_| Ok(()))) {
            Some(Err(error)) if is_damage(&error) => Ok(Object::Damaged(error.to_string())),
            Some(Err(error)) => Err(error),
            _ => Ok(Object::Whole),
        }
    }

    /// Copies a file into the chain and proves it meanwhile. Returns the bytes written.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if the bytes are not those that the file's hash names; nothing is
    /// then there.
    pub(in crate::lifecycle::backup) fn put(
        &self,
        file: &BackupFile,
        opened: &File,
        root: &Path,
    ) -> Result<u64> {
        let source = root.join(&file.name);
        let path = self.placed_object(file).unwrap_or_else(|| self.plain_object(file));
        let mut out = AtomicFile::create(&path)?;
        let mut written = 0;
        let mut emit = |bytes: &[u8]| {
            written += bytes.len() as u64;
            out.append(bytes).map_err(Error::from)
        };
        let opened = io::BufReader::with_capacity(PIECE, opened);
        if is_compressed(&file.name) {
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            prove(file, &source, opened, |bytes| {
                packed.write_all(bytes).map_err(Error::io("compress", &source))
            })?;
            emit(&packed.finish().map_err(Error::io("compress", &source))?)?;
        } else {
            prove(file, &source, opened, emit)?;
        }
        out.publish()?;
        Ok(written)
    }

    /// Gives a generation that format 1 has among the other objects a name of its own too. Returns
    /// false where the file system cannot, and the file must be copied.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub(in crate::lifecycle::backup) fn settle(&self, file: &BackupFile) -> Result<bool> {
        let Some(placed) = self.placed_object(file).filter(|placed| !placed.exists()) else {
            return Ok(true);
        };
        match fs::hard_link(self.plain_object(file), &placed) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Ok(false),
            _ => {
                let folder = placed.parent().unwrap_or(&self.root);
                let synced = File::open(folder).and_then(|folder| folder.sync_all());
                synced.map_err(Error::io("write", folder)).map(|()| true)
            }
        }
    }

    /// Hands out the bytes of a file's object, piece by piece, and proves them. They count when
    /// this returns.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if the object is damaged; those of `take`.
    pub(in crate::lifecycle::backup) fn copy(
        &self,
        file: &BackupFile,
        take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let path = self.object(file);
        let opened = File::open(&path).map_err(Error::io("open", &path))?;
        match is_compressed(&file.name) {
            true => prove(file, &path, GzDecoder::new(opened), take),
            false => prove(file, &path, opened, take),
        }
    }

    /// Whether an error is about a file of the chain that is lost or damaged.
    pub(in crate::lifecycle::backup) fn has_lost(&self, error: &Error) -> bool {
        let Error::Index(index) = error else { return false };
        is_damage(error) && index.path().is_some_and(|path| path.starts_with(&self.root))
    }
}

/// Reads a file to its end, hands its bytes out, and compares them with what is known of it.
fn prove(
    file: &BackupFile,
    path: &Path,
    mut from: impl Read,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    // A generation's size is in no list.
    let unknown = file.bytes == 0 && number_of(&file.name).is_some();
    let limit = if unknown { MAX_LIST } else { file.bytes };
    let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let mut piece = vec![0; PIECE.min(most)];
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    loop {
        let read = match from.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What does not decompress.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Err(IndexError::corrupt(path, error.to_string()).into());
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        if read == 0 {
            break;
        }
        bytes += read as u64;
        if bytes > limit {
            break;
        }
        hasher.update(&piece[..read]);
        take(&piece[..read])?;
    }
    let found = hasher.finish();
    if (unknown || bytes == file.bytes) && found == file.sha256 {
        return Ok(());
    }
    let size = if unknown { String::new() } else { format!("{} of ", file.bytes) };
    let what = format!("{bytes} bytes of SHA-256 {found}, expected {size}{}", file.sha256);
    Err(IndexError::corrupt(path, what).into())
}
