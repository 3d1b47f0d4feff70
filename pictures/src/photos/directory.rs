//! Every image file below a directory.

use std::ffi::OsStr;
use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::keys::key_of;
use super::{Photo, Source};
use crate::error::{Error, Result};

/// The files below `root`, in the order of their keys' bytes. Symbolic links that lead out of it
/// are refused, each with its reason, unless `follow_links` allows them.
pub(super) fn find(root: &Path, follow_links: bool) -> Result<Vec<Photo>> {
    let metadata = root.metadata().map_err(Error::io(root, "read"))?;
    if !metadata.is_dir() {
        let what = format!("{}: not a directory (--list takes a list file)", root.display());
        return Err(Error::invalid(what));
    }
    let within = match follow_links {
        true => None,
        false => Some(root.canonicalize().map_err(Error::io(root, "read"))?),
    };
    let mut walk = WalkDir::new(root).follow_links(true).min_depth(1).into_iter();
    let mut photos = Vec::new();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The root itself: nothing could be listed at all.
            Err(e) if e.depth() == 0 => {
                return Err(Error::io(root, "list")(e.into()));
            }
            Err(e) => {
                let path = e.path().unwrap_or(root).to_owned();
                let reason = match e.loop_ancestor() {
                    Some(_) => "a symbolic link to a directory above it".to_owned(),
                    None => format!("cannot read: {}", io::Error::from(e)),
                };
                photos.push(photo(root, &path, Some(reason)));
                continue;
            }
        };
        let directory = entry.file_type().is_dir();
        let leads_to = within.as_ref().and_then(|within| leads_outside(&entry, within));
        if directory && (is_hidden(&entry) || leads_to.is_some()) {
            walk.skip_current_dir();
        }
        if is_hidden(&entry) {
            continue;
        }
        if let Some(target) = leads_to {
            let reason = format!(
                "a symbolic link out of the folder, to {} (--follow-links follows it)",
                target.display()
            );
            photos.push(photo(root, entry.path(), Some(reason)));
        } else if entry.file_type().is_file() {
            if !is_own_output(&entry) {
                photos.push(photo(root, entry.path(), None));
            }
        } else if !directory {
            // Never opened: reading a pipe would wait for its writer.
            let reason = format!("{}, not a regular file", kind(entry.file_type()));
            photos.push(photo(root, entry.path(), Some(reason)));
        }
    }
    photos.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(photos)
}

/// The key that a file would have among those that [`find`] finds, if it would be one of them. Of
/// folders that are not there yet only the names count.
pub(super) fn key_below(root: &Path, file: &Path) -> Result<Option<String>> {
    let root = root.canonicalize().map_err(Error::io(root, "read"))?;
    let path = std::path::absolute(file).map_err(Error::io(file, "look at"))?;
    let there = path.ancestors().skip(1).find_map(|at| Some((at, at.canonicalize().ok()?)));
    let Some((at, place)) = there else { return Ok(None) };
    let place = place.join(path.strip_prefix(at).unwrap_or(&path));
    let Ok(below) = place.strip_prefix(&root) else { return Ok(None) };
    let is_hidden = below.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
    if is_hidden || below.file_name().is_none_or(is_own_name) {
        return Ok(None);
    }
    Ok(key_of(below, Path::new("")))
}

/// Where a symbolic link leads, if that is not below `within`, a canonical path. What lies behind a
/// link that was followed is no link itself.
fn leads_outside(entry: &DirEntry, within: &Path) -> Option<PathBuf> {
    if !entry.path_is_symlink() {
        return None;
    }
    let target = entry.path().canonicalize().ok()?;
    (!target.starts_with(within)).then_some(target)
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_fifo() {
        "a named pipe (FIFO)"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_block_device() || file_type.is_char_device() {
        "a device"
    } else {
        "something unknown"
    }
}

fn photo(root: &Path, path: &Path, refused: Option<String>) -> Photo {
    let (key, refused) = match key_of(path, root) {
        Some(key) => (key, refused),
        None => {
            let lossy = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
            (lossy, Some("its name is not UTF-8, so that it cannot be a key".to_owned()))
        }
    };
    let source = match refused {
        Some(reason) => Source::Refused(reason),
        None => Source::File(path.to_owned()),
    };
    Photo { key, id: None, bbox: None, rotate: None, source, origin: None }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Files that an earlier job may have left among the photos.
fn is_own_output(entry: &DirEntry) -> bool {
    is_own_name(entry.file_name())
}

fn is_own_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".part") || name.ends_with(b".rejected.jsonl") || name == b"rejected.jsonl"
}
