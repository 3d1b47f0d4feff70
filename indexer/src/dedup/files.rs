//! What has become of an image file since it was encoded.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ocelli_pictures::photos::modified_ms;

use super::rows::Facts;

/// A file, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// The file of a row as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The file's folder without symlinks, and its name; of a symlink, the file that it leads to.
    pub(super) place: PathBuf,
    pub(super) inode: Inode,
    /// Names that the file has.
    pub(super) links: u64,
    pub(super) bytes: u64,
    /// Whether the row's path is a symlink.
    pub(super) is_symlink: bool,
}

/// Why a row has no file that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The row names no file.
    Unnamed,
    /// There is no regular file of this name, or it cannot be looked at.
    Missing,
    /// Size or time of change are not those of the file that was encoded.
    Changed,
}

impl Unfit {
    /// The reason for people.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unnamed => "no file is known",
            Self::Missing => "the file is missing",
            Self::Changed => "the file was changed since it was encoded",
        }
    }
}

/// Looks at the file of a row. Reads no content.
pub(super) fn look(facts: &Facts) -> Result<Found, Unfit> {
    let path = facts.path.as_deref().ok_or(Unfit::Unnamed)?;
    let own = fs::symlink_metadata(path).map_err(|_| Unfit::Missing)?;
    let is_symlink = own.is_symlink();
    let file = if is_symlink { fs::metadata(path).map_err(|_| Unfit::Missing)? } else { own };
    if !file.is_file() {
        return Err(Unfit::Missing);
    }
    if !is_as_it_was(facts.bytes, facts.modified_ms, &file) {
        return Err(Unfit::Changed);
    }
    let place = if is_symlink { fs::canonicalize(path).ok() } else { place_of(path) };
    Ok(Found {
        place: place.ok_or(Unfit::Missing)?,
        inode: Inode { device: file.dev(), inode: file.ino() },
        links: file.nlink(),
        bytes: file.len(),
        is_symlink,
    })
}

/// Whether a file has the size and the time of change (in milliseconds since 1970) that were
/// encoded, as far as they are known.
pub(super) fn is_as_it_was(bytes: Option<u64>, modified: Option<i64>, file: &Metadata) -> bool {
    let same_size = bytes.is_none_or(|bytes| bytes == file.len());
    same_size && modified.zip(modified_ms(file)).is_none_or(|(then, now)| then == now)
}

/// The path with its folder without symlinks.
fn place_of(path: &Path) -> Option<PathBuf> {
    let folder = match path.parent()? {
        folder if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}
