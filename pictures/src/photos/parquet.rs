//! The rows of Parquet files: a column of image bytes or of paths, beside it keys and ids.
//!
//! A row group is opened when the first of its rows is wanted, and rows that are not wanted are
//! skipped without being copied. A row with a bad image, key or id is handed on with the
//! reason.

use std::fs::{File, Metadata};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use ocelli_index::foreign::{self, ParquetColumn, ParquetKind};
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::keys::{Seen, key_of};
use super::{Origin, Photo, Source, open_input, too_large};
use crate::error::{Error, Result};
use crate::limits::MAX_FILE_BYTES;

/// Rows that are read at once: an image each, which bounds the memory.
const BLOCK: usize = 16;

/// The columns that are read. A name is that of a column, or the path of a field (`image.bytes`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParquetColumns {
    /// Column of the images: binary for the bytes of a file, text for a path, or a struct of
    /// `bytes` and `path` as the `datasets` library writes it, where the path counts if the bytes
    /// are null. None: `image`.
    pub image: Option<String>,
    /// Column of keys, text. None: a row whose image is in a file of its own is called by the path,
    /// one that holds the bytes by the Parquet file's name and the row's number, whatever path
    /// stands beside.
    pub key: Option<String>,
    /// Column of ids, integers below 2⁶³. None: there are no ids.
    pub id: Option<String>,
}

/// A Parquet file, or all of a directory.
#[derive(Debug)]
pub(super) struct ParquetPhotos {
    root: Root,
    files: Vec<Rows>,
}

/// The folder where relative paths start.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Whether relative paths may leave it.
    follow_links: bool,
}

impl Root {
    /// The key of an image at `path`, a path as a row has it.
    fn key_of(&self, path: &str) -> Option<String> {
        match is_url(path) {
            true => Some(path.to_owned()),
            false => key_of(&self.path.join(path), &self.path),
        }
    }

    /// The image at `path`, a path as a row has it, or the reason why it is not opened.
    fn file(&self, path: &str) -> Source {
        if path.is_empty() {
            return Source::Refused("an empty path".to_owned());
        }
        if is_url(path) {
            let reason = "its path is a URL; only files are read: fetch the images first";
            return Source::Refused(reason.to_owned());
        }
        if !self.follow_links && self.is_left_by(Path::new(path)) {
            let reason = "its path leads out of the folder (--follow-links follows it)";
            return Source::Refused(reason.to_owned());
        }
        Source::File(self.path.join(path))
    }

    /// Whether a relative path leads out by its `..`, as it is written or through a link. Links
    /// without `..` are followed, because the owner of the folder made them.
    fn is_left_by(&self, path: &Path) -> bool {
        if path.is_absolute() || !path.components().any(|part| part == Component::ParentDir) {
            return false;
        }
        let mut depth = 0;
        for part in path.components() {
            match part {
                Component::ParentDir if depth == 0 => return true,
                Component::ParentDir => depth -= 1,
                Component::Normal(_) => depth += 1,
                _ => {}
            }
        }
        let root = match self.path.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.path,
        };
        match (root.canonicalize(), root.join(path).canonicalize()) {
            (Ok(root), Ok(target)) => !target.starts_with(root),
            // What is not there is told when it is read.
            _ => false,
        }
    }
}

/// Whether a path begins with a scheme, as `https://` or `s3://`.
fn is_url(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// One file with its columns found, as numbers of leaves.
#[derive(Debug)]
struct Rows {
    path: PathBuf,
    /// Relative to the root, for people and for keys.
    name: String,
    rows: u64,
    image: Option<usize>,
    /// Paths of images, instead of bytes or where these are null.
    image_path: Option<usize>,
    key: Option<usize>,
    id: Option<usize>,
}

/// The name of a row.
#[derive(Default)]
struct Name {
    /// Where there is a column of keys, and the row has one that will do.
    key: Option<String>,
    /// The same of ids.
    id: Option<u64>,
    /// Why the row is refused.
    refusal: Option<String>,
}

impl ParquetPhotos {
    /// Finds the files and their columns.
    pub(super) fn open(path: &Path, columns: &ParquetColumns, follow_links: bool) -> Result<Self> {
        let metadata = path.metadata().map_err(Error::io(path, "read"))?;
        let (root, paths) = match metadata.is_dir() {
            true => (path.to_owned(), files_below(path)?),
            // A bare file name has the parent "", which joins as the current folder.
            false => (path.parent().unwrap_or(Path::new("")).to_owned(), vec![path.to_owned()]),
        };
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let name = key_of(&path, &root).unwrap_or_else(|| path.display().to_string());
            files.push(Rows::find(path, name, columns)?);
        }
        Ok(ParquetPhotos { root: Root { path: root, follow_links }, files })
    }

    /// Rows of all files, as their footers say; reading proves it.
    pub(super) fn count(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Facts of the files, with their names.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (&str, Option<Metadata>)> {
        self.files.iter().map(|file| (file.name.as_str(), file.path.metadata().ok()))
    }

    /// Hands every row that is wanted to `take`, file by file, with its number.
    pub(super) fn for_each<E: From<Error>>(
        self,
        wanted: &mut impl FnMut(u64) -> std::result::Result<bool, E>,
        take: &mut impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> std::result::Result<(), E> {
        let mut seen = Seen::default();
        let mut first = 0;
        for file in &self.files {
            if file.for_each(first, &self.root, &mut seen, wanted, take)?.is_break() {
                break;
            }
            first += file.rows;
        }
        Ok(())
    }
}

/// Every `*.parquet` below a directory, in the order of the paths.
fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let fits = |path: &Path| path.extension().is_some_and(|x| x == "parquet");
    let left_out = |link: &Path| {
        tracing::warn!(link = %link.display(), "left out: it leads back to a folder above it");
    };
    let files = foreign::files_below(root, fits, left_out)
        .map_err(|(path, e)| Error::io(&path, "list")(e))?;
    if files.is_empty() {
        let what = format!("{}: expected *.parquet files, found none", root.display());
        return Err(Error::invalid(what));
    }
    Ok(files)
}

impl Rows {
    fn find(path: PathBuf, name: String, columns: &ParquetColumns) -> Result<Rows> {
        let file = open(&path)?;
        let facts = file.metadata().file_metadata();
        let leaves = facts.schema_descr().columns();
        let refuse = |what: String| Error::invalid(format!("{}: {what}", path.display()));
        let names = || {
            let names: Vec<String> = leaves.iter().map(|c| c.path().string()).collect();
            names.join(", ")
        };
        let find = |wanted: &str| leaves.iter().position(|c| c.path().string() == wanted);
        let kind = |leaf: usize| ParquetKind::of(&leaves[leaf]);
        let missing = |wanted: &str, flag: &str| {
            refuse(format!("no column {wanted:?} ({flag} NAME); the columns are {}", names()))
        };
        let named = |wanted: &str, flag: &str, what: &str, kinds: &[ParquetKind]| {
            let leaf = find(wanted).ok_or_else(|| missing(wanted, flag))?;
            match kind(leaf).is_some_and(|kind| kinds.contains(&kind)) {
                true => Ok(leaf),
                false => {
                    Err(refuse(format!("column {wanted:?} ({flag}): expected one {what} a row")))
                }
            }
        };
        let texts = [ParquetKind::Text, ParquetKind::Bytes];
        let wanted = columns.image.as_deref().unwrap_or("image");
        let flag = "--image-column";
        let (image, image_path) = match (find(wanted), wanted) {
            (Some(_), _) => {
                let what = "binary value (an image file) or text (its path)";
                let leaf = named(wanted, flag, what, &texts)?;
                match kind(leaf) {
                    Some(ParquetKind::Text) => (None, Some(leaf)),
                    // The bytes of a struct have its path beside them.
                    _ => (
                        Some(leaf),
                        wanted.strip_suffix(".bytes").and_then(|of| path_in(leaves, of)),
                    ),
                }
            }
            (None, of) => {
                let bytes = find(&format!("{of}.bytes"));
                if bytes.is_none() && path_in(leaves, of).is_none() {
                    return Err(missing(wanted, flag));
                }
                if bytes.is_some() {
                    named(&format!("{of}.bytes"), flag, "binary value (an image file)", &texts)?;
                }
                (bytes, path_in(leaves, of))
            }
        };
        let key = columns.key.as_ref().map(|name| named(name, "--key-column", "text", &texts));
        let integers = [ParquetKind::Integers];
        let id = columns.id.as_ref().map(|name| named(name, "--id-column", "integer", &integers));
        let (key, id) = (key.transpose()?, id.transpose()?);
        let rows = u64::try_from(facts.num_rows())
            .map_err(|_| refuse(format!("damaged: {} rows", facts.num_rows())))?;
        Ok(Rows { path, name, rows, image, image_path, key, id })
    }

    fn error(&self, what: &str) -> Error {
        Error::invalid(format!("{}: {what}", self.path.display()))
    }

    /// Whether the key of each row is its path.
    fn is_named_by_path(&self) -> bool {
        self.key.is_none() && self.image.is_none()
    }

    /// `first` is the number of the first row in the whole input.
    fn for_each<E: From<Error>>(
        &self,
        first: u64,
        root: &Root,
        seen: &mut Seen,
        wanted: &mut impl FnMut(u64) -> std::result::Result<bool, E>,
        take: &mut impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> std::result::Result<ControlFlow<()>, E> {
        let file = open(&self.path)?;
        let mut row = 0;
        for group in 0..file.num_row_groups() {
            let mut left = u64::try_from(file.metadata().row_group(group).num_rows()).unwrap_or(0);
            let mut readers: Option<Readers> = None;
            // Rows before the next one that the readers have not been moved over.
            let mut behind = 0;
            while left > 0 {
                let (is_wanted, n) = stretch(first + row, left, wanted)?;
                left -= n as u64;
                let has_names = self.key.is_some() || self.id.is_some() || self.is_named_by_path();
                if !is_wanted && !has_names {
                    behind += n;
                    row += n as u64;
                    continue;
                }
                let open = match &mut readers {
                    Some(open) => open,
                    none => none.insert(Readers::open(self, &file, group)?),
                };
                let names = open.names(self, n, root, seen)?;
                if !is_wanted {
                    behind += n;
                    row += n as u64;
                    continue;
                }
                open.skip_images(self, behind)?;
                behind = 0;
                let photos = open.read(self, names, row, root, seen)?;
                for (row, photo) in (row..).zip(photos) {
                    if take(first + row, photo).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                row += n as u64;
            }
        }
        if row != self.rows {
            let what = format!("damaged Parquet: expected {} rows, found {row}", self.rows);
            return Err(self.error(&what).into());
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether the next rows are wanted, and how many of them alike: at most [`BLOCK`], and `left`.
fn stretch<E>(
    number: u64,
    left: u64,
    wanted: &mut impl FnMut(u64) -> std::result::Result<bool, E>,
) -> std::result::Result<(bool, usize), E> {
    let first = wanted(number)?;
    let mut n = 1;
    while n < BLOCK && (n as u64) < left && wanted(number + n as u64)? == first {
        n += 1;
    }
    Ok((first, n))
}

/// The leaf of the paths in a struct.
fn path_in(leaves: &[impl AsRef<ColumnDescriptor>], of: &str) -> Option<usize> {
    let path = format!("{of}.path");
    leaves.iter().position(|c| {
        c.as_ref().path().string() == path && ParquetKind::of(c.as_ref()) == Some(ParquetKind::Text)
    })
}

/// Readers of one row group, all at the same row.
struct Readers {
    image: Option<ParquetColumn>,
    image_path: Option<ParquetColumn>,
    key: Option<ParquetColumn>,
    /// The paths once more where they are the keys, which are read of rows that are not wanted too.
    path_key: Option<ParquetColumn>,
    id: Option<ParquetColumn>,
}

impl Readers {
    fn open(rows: &Rows, file: &SerializedFileReader<File>, group: usize) -> Result<Readers> {
        let column = |leaf: Option<usize>| {
            let column = leaf.map(|leaf| ParquetColumn::open(file, group, leaf));
            column.transpose().map_err(|what| rows.error(&what))
        };
        Ok(Readers {
            image: column(rows.image)?,
            image_path: column(rows.image_path)?,
            key: column(rows.key)?,
            path_key: column(rows.image_path.filter(|_| rows.is_named_by_path()))?,
            id: column(rows.id)?,
        })
    }

    /// Moves the columns of images over `n` rows whose names were read.
    fn skip_images(&mut self, rows: &Rows, n: usize) -> Result<()> {
        for column in [&mut self.image, &mut self.image_path].into_iter().flatten() {
            if n > 0 {
                column.skip(n).map_err(|what| rows.error(&what))?;
            }
        }
        Ok(())
    }

    /// The names of the next `n` rows.
    fn names(&mut self, rows: &Rows, n: usize, root: &Root, seen: &mut Seen) -> Result<Vec<Name>> {
        let error = |what: String| rows.error(&what);
        let keys = self.key.as_mut().map(|column| column.keys(n)).transpose().map_err(error)?;
        let ids = self.id.as_mut().map(|column| column.ids(n)).transpose().map_err(error)?;
        let (mut keys, mut ids) = (keys.map(Vec::into_iter), ids.map(Vec::into_iter));
        let paths = self.path_key.as_mut().map(|column| column.bytes(n)).transpose();
        let mut paths = paths.map_err(error)?.map(Vec::into_iter);
        let name = |_| {
            let path = paths.as_mut().and_then(Iterator::next).flatten();
            let of_path = path.and_then(|path| root.key_of(path.as_utf8().ok()?));
            let key = keys.as_mut().and_then(Iterator::next).transpose();
            let key = key.map(|key| key.or(of_path));
            let id = ids.as_mut().and_then(Iterator::next).transpose();
            match (key, id) {
                (Ok(key), Ok(id)) => {
                    let refusal = seen.take(key.as_deref(), id).err();
                    Name { key, id, refusal }
                }
                (Err(reason), id) => {
                    Name { key: None, id: id.unwrap_or_default(), refusal: Some(reason) }
                }
                (Ok(key), Err(reason)) => Name { key, id: None, refusal: Some(reason) },
            }
        };
        Ok((0..n).map(name).collect())
    }

    /// The next rows, which have these names and of which `row` is the first. What is missing in a
    /// row is a reason of its own.
    fn read(
        &mut self,
        rows: &Rows,
        names: Vec<Name>,
        row: u64,
        root: &Root,
        seen: &mut Seen,
    ) -> Result<Vec<Photo>> {
        let n = names.len();
        let values = |column: &mut Option<ParquetColumn>| match column {
            Some(column) => column.bytes(n).map_err(|what| rows.error(&what)),
            None => Ok(vec![None; n]),
        };
        let images = values(&mut self.image)?.into_iter().zip(values(&mut self.image_path)?);
        let photo = |((row, name), (image, path)): (
            (u64, Name),
            (Option<ByteArray>, Option<ByteArray>),
        )| {
            let of_path = match (&image, &path) {
                (None, Some(path)) if rows.key.is_none() => {
                    path.as_utf8().ok().and_then(|path| root.key_of(path))
                }
                _ => None,
            };
            let mut source = source(image, path, root);
            let Name { key, id, mut refusal } = name;
            let key = key.unwrap_or_else(|| {
                let key = of_path.unwrap_or_else(|| format!("{}#{row}", rows.name));
                if rows.key.is_none() && refusal.is_none() {
                    refusal = seen.take(Some(&key), None).err();
                }
                key
            });
            if let Some(reason) = refusal {
                source = Source::Unfit(reason);
            }
            let origin = Some(Origin { file: rows.name.clone(), unit: "row", row });
            Photo { key, id, bbox: None, rotate: None, source, origin }
        };
        Ok((row..).zip(names).zip(images).map(photo).collect())
    }
}

/// Where the image of a row is: in its bytes, or else at its path.
fn source(bytes: Option<ByteArray>, path: Option<ByteArray>, root: &Root) -> Source {
    match (bytes, path.as_ref().map(ByteArray::as_utf8)) {
        (Some(bytes), _) => match bytes.len() as u64 {
            found if found > MAX_FILE_BYTES => Source::Refused(too_large(found)),
            _ => Source::Bytes(bytes.data().to_vec(), None),
        },
        (None, Some(Ok(path))) => root.file(path),
        (None, Some(Err(_))) => Source::Refused("its path is not UTF-8".to_owned()),
        (None, None) => Source::Refused("the image is null".to_owned()),
    }
}

fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = open_input(path)?;
    foreign::guard("Parquet", || SerializedFileReader::new(file))
        .map_err(|what| Error::invalid(format!("{}: {what}", path.display())))
}
