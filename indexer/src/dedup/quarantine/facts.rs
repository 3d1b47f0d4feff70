//! What a file is right now: looked at through an open file, and never through a symlink.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ocelli_index::Hash;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::names;

/// The facts by which a file is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The folder without symlinks, and the name.
    #[serde(with = "names")]
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    /// Names that the file has.
    pub links: u64,
    pub bytes: u64,
    /// Permissions.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970 of the last change and of the last access.
    pub modified: (i64, i64),
    pub accessed: (i64, i64),
}

/// Why a file is not what was expected.
#[derive(Debug)]
pub(super) enum Unfit {
    /// There is no file of this name.
    Missing,
    /// A symlink, a folder, a device.
    NotRegular,
    /// It lies outside of the folder that may be touched.
    Outside,
    /// The size or the content is another.
    Changed,
    /// The system does not let it be read.
    Unreadable(io::Error),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Unreadable(error),
        }
    }
}

impl Facts {
    fn of(path: PathBuf, found: &Metadata) -> Self {
        Self {
            path,
            device: found.dev(),
            inode: found.ino(),
            links: found.nlink(),
            bytes: found.len(),
            mode: found.mode() & 0o7777,
            modified: (found.mtime(), found.mtime_nsec()),
            accessed: (found.atime(), found.atime_nsec()),
        }
    }

    /// Whether both are names of one file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the file of this name is still this one, with nothing written to it.
    pub fn still_at(&self, path: &Path) -> io::Result<bool> {
        let found = fs::symlink_metadata(path)?;
        let now = Self::of(path.to_owned(), &found);
        Ok(found.is_file()
            && self.is_same_file(&now)
            && (self.bytes, self.modified) == (now.bytes, now.modified))
    }
}

/// The folder of `path` without symlinks, and its name.
pub(super) fn without_links(path: &Path) -> Result<PathBuf, Unfit> {
    let name = path.file_name().ok_or(Unfit::NotRegular)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(fs::canonicalize(folder)?.join(name))
}

/// Opens a regular file for reading; a symlink is none.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), Unfit> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(Unfit::NotRegular);
    }
    // Not blocking: a pipe may have taken the name just now.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(Unfit::NotRegular);
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if found.is_file() { Ok((file, found)) } else { Err(Unfit::NotRegular) }
}

/// Reads a file and says what it is, if it has this content.
pub(super) fn prove(path: &Path, bytes: Option<u64>, sha256: &Hash) -> Result<Facts, Unfit> {
    let path = without_links(path)?;
    let (mut file, found) = open(&path)?;
    if bytes.is_some_and(|bytes| bytes != found.len()) {
        return Err(Unfit::Changed);
    }
    if Hash::of_reader(&mut file)? != *sha256 {
        return Err(Unfit::Changed);
    }
    let facts = Facts::of(path, &found);
    // What was written while it was read, or took its name.
    match facts.still_at(&facts.path) {
        Ok(true) => Ok(facts),
        Ok(false) => Err(Unfit::Changed),
        Err(error) => Err(error.into()),
    }
}
