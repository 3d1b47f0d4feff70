//! The members of a tar file.

use std::fs::{File, Metadata};
use std::io::{BufReader, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::keys::{SeenKeys, key_of};
use super::{Photo, Source, read_image};
use crate::error::{Error, Result};

/// An opened tar file.
#[derive(Debug)]
pub(super) struct TarPhotos {
    path: PathBuf,
    reader: BufReader<File>,
}

impl TarPhotos {
    /// Opens a tar file; compressed ones are refused by their first bytes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut start = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
        reader.rewind().map_err(Error::io(path, "read"))?;
        let packed = match start.as_slice() {
            [0x1f, 0x8b, ..] => "gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
            [0xfd, b'7', b'z', b'X'] => "xz",
            [b'B', b'Z', b'h', ..] => "bzip2",
            _ => {
                return Ok(TarPhotos { path: path.to_owned(), reader });
            }
        };
        let what = format!("{}: compressed with {packed}; unpack it first", path.display());
        Err(Error::invalid(what))
    }

    /// Facts of the file itself.
    pub(super) fn metadata(&self) -> Result<Metadata> {
        self.reader.get_ref().metadata().map_err(Error::io(&self.path, "read"))
    }

    /// Hands every regular member that is wanted to `take`, in the file's order, with its number.
    pub(super) fn for_each(
        self,
        wanted: &mut impl FnMut(u64) -> Result<bool>,
        take: &mut impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut number = 0;
        let path = &self.path;
        let damaged =
            |e: std::io::Error| Error::invalid(format!("{}: damaged tar: {e}", path.display()));
        let mut archive = Archive::new(self.reader);
        let mut seen = SeenKeys::default();
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
                continue;
            }
            let name = entry.path_bytes().into_owned();
            let lossy = String::from_utf8_lossy(&name).into_owned();
            let Some(key) = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| key_of(Path::new(name), Path::new("")))
            else {
                let reason = "its name is not UTF-8, or empty, so that it cannot be a key";
                let source = Source::Refused(reason.to_owned());
                let photo = Photo { key: lossy, id: None, bbox: None, source, origin: None };
                number += 1;
                if wanted(number - 1)? && take(number - 1, photo).is_break() {
                    return Ok(());
                }
                continue;
            };
            if key.split('/').any(|part| part.starts_with('.') && part != "..") {
                continue;
            }
            if !seen.insert(&key) {
                let what = format!("{}: member {key:?} occurs a second time", path.display());
                return Err(Error::invalid(what));
            }
            number += 1;
            if !wanted(number - 1)? {
                continue;
            }
            let modified_ms =
                entry.header().mtime().ok().and_then(|s| i64::try_from(s).ok()?.checked_mul(1000));
            let source = match kind {
                EntryType::Regular | EntryType::Continuous => {
                    let size = entry.size();
                    // What is left of a refused member is skipped by the archive.
                    let read = read_image(&mut entry, size);
                    match read {
                        // A short member means that the file ends inside it.
                        Ok(bytes) if (bytes.len() as u64) < size => {
                            let what = format!("it ends inside the member {key:?}");
                            return Err(damaged(std::io::Error::other(what)));
                        }
                        Ok(bytes) => Source::Bytes(bytes, modified_ms),
                        Err(reason) => Source::Refused(reason),
                    }
                }
                EntryType::Link | EntryType::Symlink => {
                    Source::Refused("a link inside a tar; links are not followed".to_owned())
                }
                other => Source::Refused(format!("a tar member of the kind {other:?}, not a file")),
            };
            let photo = Photo { key, id: None, bbox: None, source, origin: None };
            if take(number - 1, photo).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
