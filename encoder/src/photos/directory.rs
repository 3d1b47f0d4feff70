//! Every image file below a directory.

use std::io;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::keys::key_of;
use super::{Photo, Source};
use crate::error::{Error, Result};

/// The files below `root`, in the order of their keys' bytes.
pub(super) fn find(root: &Path) -> Result<Vec<Photo>> {
    let metadata = root.metadata().map_err(Error::io(root, "read"))?;
    if !metadata.is_dir() {
        let what = format!("{}: not a directory (--list takes a list file)", root.display());
        return Err(Error::invalid(what));
    }
    let walk = WalkDir::new(root).follow_links(true).min_depth(1);
    let mut photos = Vec::new();
    for entry in walk.into_iter().filter_entry(|e| !is_hidden(e)) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && !is_own_output(&entry) => {
                photos.push(photo(root, entry.path(), None));
            }
            Ok(_) => {}
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
            }
        }
    }
    photos.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(photos)
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
    Photo { key, id: None, bbox: None, source, origin: None }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Files that an earlier job may have left among the photos.
fn is_own_output(entry: &DirEntry) -> bool {
    let name = entry.file_name().as_encoded_bytes();
    name.ends_with(b".part") || name.ends_with(b".rejected.jsonl") || name == b"rejected.jsonl"
}
