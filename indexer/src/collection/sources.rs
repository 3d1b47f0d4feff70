//! The photos of a collection, as they are on disk now.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use ocelli_pictures::decode;
use ocelli_pictures::photos::Source as PhotoSource;
use ocelli_pictures::photos::{Input, Names, Photo, Photos, Selection, modified_ms};

use super::settings::{Source, SourceKind};
use super::state::Seen;
use crate::{Error, Result};

/// Bytes at the start of a file by which its kind is told.
const HEAD: u64 = 512;

/// Photos that the sources hold, and what else was in them.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Photos by their keys.
    pub(super) photos: BTreeMap<String, Seen>,
    /// What cannot be taken, with the reason: a broken link, a key that is there twice.
    pub(super) refused: Vec<(String, String)>,
    /// Files that were left out by their names.
    pub(super) skipped: u64,
}

/// Adds the photos at `paths` to `sources`: those that are named for the first time.
///
/// # Errors
/// A path that is not there; one that is neither a folder, a list nor a photo; a folder in another
/// one of the collection.
pub(super) fn add(sources: &mut Vec<Source>, paths: &[PathBuf]) -> Result<()> {
    let is_first = sources.is_empty();
    let mut new: Vec<(PathBuf, SourceKind)> = Vec::new();
    for path in paths {
        let real = fs::canonicalize(path).map_err(Error::io("find", path))?;
        let known = sources.iter().map(|source| &source.path).chain(new.iter().map(|n| &n.0));
        if known.into_iter().any(|known| *known == real) {
            continue;
        }
        let kind = kind_of(path)?;
        new.push((real, kind));
    }
    let folders = new.iter().filter(|(_, kind)| *kind != SourceKind::Photo).count();
    // With one folder keys are the paths in it. A folder that joins later has its name before them.
    let with_names = !is_first || folders > 1;
    for (path, kind) in new {
        refuse_nested(sources, &path, kind)?;
        let mut prefix = String::new();
        if with_names && kind != SourceKind::Photo {
            prefix = free_prefix(sources, &path)?;
        }
        sources.push(Source { path, kind, prefix });
    }
    Ok(())
}

/// Two folders with photos in common would give them two keys.
fn refuse_nested(sources: &[Source], path: &Path, kind: SourceKind) -> Result<()> {
    for source in sources.iter().filter(|source| source.kind != SourceKind::List) {
        let inner_of = source.kind == SourceKind::Folder && path.starts_with(&source.path);
        if inner_of || (kind == SourceKind::Folder && source.path.starts_with(path)) {
            let (inner, outer) =
                if inner_of { (path, &*source.path) } else { (&*source.path, path) };
            return Err(Error::Invalid(format!(
                "{}: lies in {}, whose photos are in the collection too: name only one of them (a \
                 run with --only takes the others out)",
                inner.display(),
                outer.display()
            )));
        }
    }
    Ok(())
}

/// The name of a folder or list, with a number behind it where another one has it.
fn free_prefix(sources: &[Source], path: &Path) -> Result<String> {
    let name = path.file_stem().filter(|_| path.is_file()).or(path.file_name());
    let name = name.unwrap_or_default().to_str().ok_or_else(|| {
        Error::Invalid(format!(
            "{}: its name is not UTF-8, so that it gives no keys",
            path.display()
        ))
    })?;
    let base = if name.is_empty() { "root" } else { name };
    let is_free = |name: &String| sources.iter().all(|source| source.prefix != *name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = [base.to_owned()].into_iter().chain(numbered);
    // Some number is free.
    Ok(names.find(is_free).unwrap_or_default())
}

fn kind_of(path: &Path) -> Result<SourceKind> {
    if path.is_dir() {
        return Ok(SourceKind::Folder);
    }
    let mut head = Vec::new();
    let file = ocelli_index::foreign::open_regular(path).map_err(Error::io("read", path))?;
    read_head(file, &mut head).map_err(Error::io("read", path))?;
    if decode::sniff(&head).is_ok() {
        return Ok(SourceKind::Photo);
    }
    let refuse = |what: &str| Err(Error::File { path: path.to_owned(), what: what.to_owned() });
    if head.starts_with(b"PAR1") || head.get(257..262) == Some(b"ustar") {
        return refuse(
            "photos inside of a tar or Parquet file: expected a folder, a list or a photo; for \
             these files use `ocelli encode` and `ocelli build`",
        );
    }
    if head.contains(&0) {
        return refuse("expected a folder, a photo, or a list of photos, found other bytes");
    }
    Ok(SourceKind::List)
}

fn read_head(file: File, head: &mut Vec<u8>) -> std::io::Result<usize> {
    file.take(HEAD).read_to_end(head)
}

/// Looks through all sources. What lies in `out` is none of the photos.
///
/// # Errors
/// A folder or a list that is gone: its photos would leave the collection.
pub(super) fn scan(sources: &[Source], out: &Path) -> Result<Scan> {
    let mut scan = Scan::default();
    for source in sources {
        match source.kind {
            SourceKind::Photo => {
                let name = source.path.file_name().unwrap_or_default();
                match (name.to_str(), look(&source.path)) {
                    (Some(key), Ok(seen)) => scan.take(key.to_owned(), seen),
                    // A photo that is gone leaves the collection.
                    (_, Err(_)) => {}
                    (None, _) => scan.refused.push((
                        name.to_string_lossy().into_owned(),
                        "its name is not UTF-8, so that it cannot be a key".to_owned(),
                    )),
                }
            }
            SourceKind::Folder | SourceKind::List => scan.take_all(source, out)?,
        }
    }
    Ok(scan)
}

impl Scan {
    fn take_all(&mut self, source: &Source, out: &Path) -> Result<()> {
        let gone = |e: Error| {
            Error::Invalid(format!(
                "{e}; its photos are in the collection: bring it back, or name the others with \
                 --only to take them out"
            ))
        };
        let (input, names) = match source.kind {
            SourceKind::List => {
                let names = Names::new(&["*".to_owned()], &[]);
                (Input::List(source.path.clone()), names)
            }
            _ => (Input::Directory(source.path.clone()), Names::new(&[], &[])),
        };
        let names = names.map_err(|e| Error::Invalid(e.to_string()))?;
        let photos = Photos::select(&input, &Selection { names, strict: false })
            .map_err(|e| gone(Error::Invalid(e.to_string())))?;
        let skipped = photos.skipped();
        let mut has_ids = false;
        let take = |_, photo: Photo| {
            has_ids |= photo.id.is_some();
            self.take_photo(source, photo, out);
            ControlFlow::Continue(())
        };
        photos
            .for_each(|_| Ok::<_, ocelli_pictures::Error>(true), take)
            .map_err(|e| gone(Error::Invalid(e.to_string())))?;
        self.skipped += skipped.load(Ordering::Relaxed);
        if has_ids {
            return Err(Error::Invalid(format!(
                "{}: it has ids, and `ocelli index` gives ids itself: leave them out, or use \
                 `ocelli encode --list` and `ocelli build`",
                source.path.display()
            )));
        }
        Ok(())
    }

    fn take_photo(&mut self, source: &Source, photo: Photo, out: &Path) {
        let Photo { key, bbox, rotate, source: from, origin, .. } = photo;
        let key = match source.prefix.as_str() {
            "" => key,
            prefix => format!("{prefix}/{key}"),
        };
        let place = |key: String| match (&origin, key.is_empty()) {
            (Some(origin), true) => origin.to_string(),
            _ => key,
        };
        if let Err(e) = ocelli_index::check_key(&key).map_err(|e| e.to_string())
            && !key.is_empty()
        {
            self.refused.push((source.path.display().to_string(), e));
            return;
        }
        match from {
            PhotoSource::File(path) if path.starts_with(out) => {}
            PhotoSource::File(path) => match look(&path) {
                Ok(seen) => {
                    let bounding_box = bbox.map(|b| [b.x0, b.y0, b.x1, b.y1]);
                    let rotate = rotate.map(|rotate| rotate.degrees());
                    self.take(key, Seen { bounding_box, rotate, ..seen });
                }
                Err(e) => self.refused.push((key, format!("cannot read: {e}"))),
            },
            PhotoSource::Refused(reason) | PhotoSource::Unfit(reason) => {
                // That flag is of another command.
                let follow = "--follow-links follows it";
                let reason = reason.replace(follow, "name its target as a photo or in a list");
                self.refused.push((place(key), reason));
            }
            // Folders and lists give files.
            PhotoSource::Bytes(..) => {}
        }
    }

    fn take(&mut self, key: String, seen: Seen) {
        if let Some(first) = self.photos.get(&key) {
            let reason =
                format!("its key occurs a second time, first for {}", first.path.display());
            self.refused.push((key, reason));
        } else {
            self.photos.insert(key, seen);
        }
    }
}

/// One look at a file.
fn look(path: &Path) -> std::io::Result<Seen> {
    let metadata = path.metadata()?;
    Ok(Seen {
        path: path.to_owned(),
        bytes: metadata.len(),
        modified_ms: modified_ms(&metadata),
        bounding_box: None,
        rotate: None,
    })
}
