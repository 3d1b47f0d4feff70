//! Finding images: a directory, a list file, a tar, or Parquet files, in a fixed order.
//!
//! Every image has a key, which is its name in the index: the path relative to the root (the
//! directory, the list file's folder, the tar), with `/` between the parts. A key occurs once.
//!
//! A file that cannot be read, or is no image by its first bytes, does not end the walk: it is
//! handed on with the reason. The same holds for an item whose key, id or line is not valid, unless
//! the selection is strict. A list, a tar or a Parquet file that is itself broken is an error.

mod directory;
mod keys;
mod list;
mod names;
mod parquet;
mod tar;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use ocelli_index::{Hash, Hasher};
pub use parquet::ParquetColumns;

use crate::decode;
use crate::error::{Error, Result};
use crate::geometry::PixelBox;
use crate::limits::MAX_FILE_BYTES;
use crate::views::Rotation;
pub use names::Names;

/// A source of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Every regular file below a directory, in the order of the keys' bytes. Symbolic links within
    /// it are followed; loops, links that lead out of it, pipes, sockets and devices are refused.
    /// Left out are names that begin with a dot and what Ocelli itself writes (`*.part`,
    /// `*.rejected.jsonl`, `rejected.jsonl`); everything else is tried by content, whatever its
    /// extension.
    Directory(PathBuf),
    /// The same, and links that lead out of the directory are followed too.
    LinkedDirectory(PathBuf),
    /// A text file, in its own order: each line a path, or a JSON object
    /// `{"path": …, "key": …, "id": …, "box": [x0, y0, x1, y1], "rotate": 90}` with only the
    /// path required.
    /// Relative paths start at the list file's folder. Empty lines are skipped.
    List(PathBuf),
    /// An uncompressed tar file, or several one after the other, in its own order, read once from
    /// front to back. A hard link has the bytes of the earlier member that it names.
    Tar(PathBuf),
    /// A Parquet file, or all `*.parquet` below a directory in the order of their paths, row by
    /// row. Paths in it start at the file's folder, or at the directory; relative ones that leave
    /// it are refused. A key or an id that occurs a second time is a reason to refuse its row.
    Parquet {
        /// The file or the directory.
        path: PathBuf,
        /// The columns that are read.
        columns: ParquetColumns,
        /// Whether relative paths may leave the folder.
        follow_links: bool,
    },
}

/// One image to encode.
#[derive(Debug)]
pub struct Photo {
    /// Its name in the index; unique within the input.
    pub key: String,
    /// The user's id, below 2⁶³. Every image of an input has one, or none has.
    pub id: Option<u64>,
    /// The part of the image that is encoded, in stored pixels.
    pub bbox: Option<PixelBox>,
    /// The turn that makes the image upright, in place of its EXIF orientation.
    pub rotate: Option<Rotation>,
    /// The place of the photo's bytes.
    pub source: Source,
    /// Where it was found, if the key does not tell it.
    pub origin: Option<Origin>,
}

/// The place of an item in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, as messages name it.
    pub file: String,
    /// What is counted in it: "line", "member" or "row".
    pub unit: &'static str,
    /// Its number: of lines from 1, of members and rows from 0.
    pub row: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.file, self.unit, self.row)
    }
}

/// Where an image's bytes are.
#[derive(Debug)]
pub enum Source {
    /// In a file of their own, not yet opened.
    File(PathBuf),
    /// Here, with the modification time in milliseconds since 1970 if one is known.
    Bytes(Vec<u8>, Option<i64>),
    /// Nowhere, because this is known to be no image; the reason.
    Refused(String),
    /// Not looked for, because its key, its id or its line in the input is not valid; the reason.
    Unfit(String),
}

/// What is taken of an input.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The names that are taken. All rows of Parquet files are.
    pub names: Names,
    /// Whether an item whose key, id or line is not valid is an error of the whole input.
    pub strict: bool,
}

impl Selection {
    /// Whether `file`, which need not be there yet, would be one of the photos of `input`: it lies
    /// in the directory, and its name is not left out.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn takes(&self, input: &Input, file: &Path) -> Result<bool> {
        let (Input::Directory(root) | Input::LinkedDirectory(root)) = input else {
            return Ok(false);
        };
        let key = directory::key_below(root, file)?;
        Ok(key.is_some_and(|key| self.names.take(&key)))
    }
}

/// The images of an input, found but not read.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use ocelli_pictures::Error;
/// use ocelli_pictures::photos::{Input, Photos};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("a.jpg"), "no image")?;
/// let photos = Photos::find(&Input::Directory(folder.path().to_owned()))?;
/// photos.for_each(
///     |_number| Ok::<_, Error>(true),
///     |_number, photo| {
///         assert_eq!(photo.key, "a.jpg");
///         assert!(photo.source.read().unwrap_err().starts_with("not an image"));
///         ControlFlow::Continue(())
///     },
/// )?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Photos {
    inner: Inner,
    strict: bool,
    skipped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Inner {
    Listed(Vec<Photo>),
    Tar(tar::TarPhotos),
    Parquet(parquet::ParquetPhotos),
}

impl Photos {
    /// Looks through a directory or a list, or opens a tar or Parquet files. No image is opened
    /// yet.
    ///
    /// # Errors
    /// The input cannot be read; if the selection is strict, a line of a list is not valid.
    pub fn select(input: &Input, selection: &Selection) -> Result<Photos> {
        let Selection { names, strict } = selection;
        let mut photos = Photos {
            inner: match input {
                Input::Directory(root) => Inner::Listed(directory::find(root, false)?),
                Input::LinkedDirectory(root) => Inner::Listed(directory::find(root, true)?),
                Input::List(path) => Inner::Listed(list::read(path)?),
                Input::Tar(path) => Inner::Tar(tar::TarPhotos::open(path, names.clone())?),
                Input::Parquet { path, columns, follow_links } => {
                    Inner::Parquet(parquet::ParquetPhotos::open(path, columns, *follow_links)?)
                }
            },
            strict: *strict,
            skipped: Arc::default(),
        };
        if let Inner::Listed(listed) = &mut photos.inner {
            let found = listed.len();
            // A line without a key cannot be chosen by it.
            listed.retain(|photo| photo.key.is_empty() || names.take(&photo.key));
            photos.skipped.store((found - listed.len()) as u64, Ordering::Relaxed);
            if *strict {
                listed.iter().try_for_each(require_fit)?;
            }
        }
        Ok(photos)
    }

    /// As [`Self::select`] with the default selection: all names except `*.json` and `*.txt`, not
    /// strict.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn find(input: &Input) -> Result<Photos> {
        Self::select(input, &Selection { names: Names::new(&[], &[])?, strict: false })
    }

    /// Counts what is left out by name; complete when the input has been read.
    #[must_use]
    pub fn skipped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.skipped)
    }

    /// Number of images, if it is known before reading.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match &self.inner {
            Inner::Listed(photos) => Some(photos.len() as u64),
            Inner::Tar(_) => None,
            Inner::Parquet(rows) => Some(rows.count()),
        }
    }

    /// The images in order, if they are known without reading the input: those of a directory or a
    /// list.
    #[must_use]
    pub fn listed(&self) -> Option<&[Photo]> {
        match &self.inner {
            Inner::Listed(photos) => Some(photos),
            Inner::Tar(_) | Inner::Parquet(_) => None,
        }
    }

    /// Hands every image whose number (from 0) is `wanted` to `take`, in order, until it breaks.
    /// What is not wanted is not read. `wanted` is asked in order too, a few images ahead, and may
    /// be asked twice.
    ///
    /// # Errors
    /// A damaged tar or Parquet file; if the selection is strict, an item whose key or id is not
    /// valid; the errors of `wanted`.
    pub fn for_each<E: From<Error>>(
        self,
        mut wanted: impl FnMut(u64) -> std::result::Result<bool, E>,
        mut take: impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> std::result::Result<(), E> {
        let mut unfit = Ok(());
        let mut take = |number, photo: Photo| {
            if self.strict {
                unfit = require_fit(&photo);
                if unfit.is_err() {
                    return ControlFlow::Break(());
                }
            }
            take(number, photo)
        };
        match self.inner {
            Inner::Listed(photos) => {
                for (number, photo) in (0..).zip(photos) {
                    if wanted(number)? && take(number, photo).is_break() {
                        break;
                    }
                }
            }
            Inner::Tar(photos) => photos.for_each(&self.skipped, &mut wanted, &mut take)?,
            Inner::Parquet(rows) => rows.for_each(&mut wanted, &mut take)?,
        }
        Ok(unfit?)
    }

    /// A hash of what the images are, as far as it can be told without reading them: keys, ids,
    /// boxes, turns, sizes and modification times of the files.
    ///
    /// # Errors
    /// A tar that is gone.
    pub fn fingerprint(&self) -> Result<Hash> {
        let mut hasher = Hasher::new();
        match &self.inner {
            Inner::Tar(tar) => {
                // What is left out has no number, so that the patterns decide what is in which
                // part.
                hasher.update(format!("{}\n", tar.names().text()).as_bytes());
                stamp(&mut hasher, &tar.metadata()?);
            }
            Inner::Parquet(rows) => {
                for (name, metadata) in rows.stamps() {
                    hasher.update(format!("{name:?}\n").as_bytes());
                    if let Some(metadata) = metadata {
                        stamp(&mut hasher, &metadata);
                    }
                }
            }
            Inner::Listed(photos) => {
                for photo in photos {
                    let line = format!("{:?} {:?} {:?}\n", photo.key, photo.id, photo.bbox);
                    hasher.update(line.as_bytes());
                    // Lists without turns keep the fingerprints that they had.
                    if let Some(rotate) = photo.rotate {
                        hasher.update(format!("{rotate:?}\n").as_bytes());
                    }
                    if let Source::File(path) = &photo.source
                        && let Ok(metadata) = path.metadata()
                    {
                        stamp(&mut hasher, &metadata);
                    }
                }
            }
        }
        Ok(hasher.finish())
    }
}

impl Source {
    /// The image file's bytes, proven to begin like an image of a supported format. Of anything
    /// else only the first few bytes are read.
    ///
    /// # Errors
    /// The reason why there are none, for `rejected.jsonl`.
    pub fn read(self) -> std::result::Result<ImageFile, String> {
        match self {
            Source::Refused(reason) | Source::Unfit(reason) => Err(reason),
            Source::Bytes(bytes, modified_ms) => {
                decode::sniff(&bytes).map_err(|e| e.to_string())?;
                Ok(ImageFile { bytes, modified_ms })
            }
            Source::File(path) => read_file(&path),
        }
    }
}

/// Makes an item that is not valid an error of the whole input.
fn require_fit(photo: &Photo) -> Result<()> {
    let Source::Unfit(reason) = &photo.source else { return Ok(()) };
    let place = photo.origin.as_ref().map_or(String::new(), |origin| format!("{origin}: "));
    let key = match photo.key.as_str() {
        "" => String::new(),
        key => format!(" ({})", ocelli_text::quoted(key)),
    };
    Err(Error::invalid(format!("{place}{reason}{key}")))
}

/// The bytes of an image file.
#[derive(Debug)]
pub struct ImageFile {
    /// All of them.
    pub bytes: Vec<u8>,
    /// When the file was last written, in milliseconds since 1970, where that is known.
    pub modified_ms: Option<i64>,
}

/// Opens an input, which has to be a regular file.
fn open_input(path: &Path) -> Result<File> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !path.metadata().map_err(Error::io(path, "read"))?.is_file() {
        return Err(Error::invalid(format!("{}: not a regular file", path.display())));
    }
    File::open(path).map_err(Error::io(path, "read"))
}

/// When a file was last written, in milliseconds since 1970, if the system says.
#[must_use]
pub fn modified_ms(metadata: &Metadata) -> Option<i64> {
    let time = metadata.modified().ok()?;
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_millis()).ok().map(|ms| -ms),
    }
}

fn stamp(hasher: &mut Hasher, metadata: &Metadata) {
    let line = format!("{} {:?}\n", metadata.len(), modified_ms(metadata));
    hasher.update(line.as_bytes());
}

/// Reads the image file at `path`, which has to be a regular file of a known format, and of no more
/// bytes than an image may have.
///
/// # Errors
/// Why it cannot be read, for people.
pub fn read_file(path: &Path) -> std::result::Result<ImageFile, String> {
    let unreadable = |e: std::io::Error| format!("cannot read: {e}");
    // Asked before opening: opening a pipe would wait for its writer.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let bytes = read_image(file, metadata.len())?;
    Ok(ImageFile { bytes, modified_ms: modified_ms(&metadata) })
}

/// Why a file of `found` bytes is not read.
fn too_large(found: u64) -> String {
    format!("file of {found} bytes, the limit is {MAX_FILE_BYTES}")
}

/// Reads an image file of about `length` bytes. The length may lie: the bytes are counted.
fn read_image(mut from: impl Read, length: u64) -> std::result::Result<Vec<u8>, String> {
    let unreadable = |e: std::io::Error| format!("cannot read: {e}");
    let mut bytes = Vec::new();
    from.by_ref().take(decode::SNIFF_BYTES as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    decode::sniff(&bytes).map_err(|e| e.to_string())?;
    if length > MAX_FILE_BYTES {
        return Err(too_large(length));
    }
    // A wrong length costs a megabyte of reservation at most; real bytes grow the rest.
    bytes.reserve(length.min(1 << 20) as usize);
    from.take(MAX_FILE_BYTES + 1 - bytes.len() as u64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
