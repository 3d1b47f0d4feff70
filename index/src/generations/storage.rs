//! The one door to an index directory: named objects, some of them changed by compare-and-swap.
//!
//! Everything that this crate reads of an index, or writes to one, goes through a [`Storage`].
//! [`LocalStorage`] is a folder; an object store can have the same methods.

use std::any::Any;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::error::{Error, Result};
use crate::files::container::{AtomicFile, NewFile, write_atomically};

/// The folders of an index.
pub const FOLDERS: [&str; 5] = ["models", "shards", "generations", "tombstones", "deletes"];
/// The folder of the records of erasures, made with the first of them.
pub const ERASED: &str = "erased";

/// A version of an object. It is equal to another one only if the object, and the right to read it,
/// are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// A version with a name that the store gives it, such as an ETag.
    pub fn new(name: String) -> Self {
        Self(name)
    }
}

/// Size and age of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Size in bytes.
    pub bytes: u64,
    /// Time since it was written; zero where the store does not know, or the clock went back.
    pub age: Duration,
}

/// Named objects under one root. Names are relative and use `/`, as in `models/<hash>.model`.
///
/// Synchronous on purpose: an index is opened and committed from compute threads.
pub trait Storage: fmt::Debug + Send + Sync {
    /// The folder of the objects, or the name of their place in messages.
    fn root(&self) -> &Path;

    /// Checks that the root exists.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not; [`Error::Io`].
    fn check(&self) -> Result<()>;

    /// Makes what must exist before the first object is written, such as folders.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn prepare(&self) -> Result<()>;

    /// Bytes `range` of an object, as far as the object reaches; `None` if there is no such
    /// object. One call reads one version of an object that is being replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>>;

    /// All bytes of an object, or `None` if there is no such object.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read_range(name, 0..u64::MAX)
    }

    /// Starts an object in `folder` that is written piece by piece, under `name` where that is
    /// known already. It exists from the moment when it is published ([`NewFile::publish`]), and
    /// then replaces an object of that name.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn start(&self, folder: &str, name: Option<&str>) -> Result<Box<dyn NewFile>>;

    /// Writes an object that must not exist yet, or exist with equal bytes.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it exists with other bytes; [`Error::Io`].
    fn create(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Replaces an object if its bytes are still `expected` (`None`: it does not exist).
    ///
    /// # Errors
    /// [`Error::Conflict`] if they are not; [`Error::Io`].
    fn swap(&self, name: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<()>;

    /// Names of the objects in a folder, sorted; empty if there is no such folder. Temporary
    /// names (those with a leading dot) are left out.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// The version of an object, or `None` if there is no such object.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn version(&self, name: &str) -> Result<Option<Version>>;

    /// Size and age of an object, or `None` if there is no such object.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn facts(&self, name: &str) -> Result<Option<ObjectFacts>>;

    /// Removes an object. Nothing happens if there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, name: &str) -> Result<()>;

    /// Waits until nobody removes objects (`sole` false: for a writer, who names objects that are
    /// there), or until nobody writes (`sole` true: for one who removes), and keeps it so for as
    /// long as the result lives. A store without such locks leaves it to its users.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn guard(&self, sole: bool) -> Result<Box<dyn Any + Send>> {
        let _ = sole;
        Ok(Box::new(()))
    }

    /// The local file of an object that is to be mapped. A store elsewhere brings the object here
    /// first. The file need not exist where the object does not.
    ///
    /// # Errors
    /// [`Error::Io`] if the object must be brought and cannot be.
    fn local_path(&self, name: &str) -> Result<PathBuf>;
}

/// A folder of the local file system. Swaps are a lock, a comparison and a rename.
#[derive(Clone, Debug)]
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    /// Storage under `root`, which should exist.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Runs `change` while no other process of this machine changes an object.
    fn locked<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(".lock");
        let lock = File::create(&path).map_err(|e| Error::io(&path, "create", e))?;
        lock.lock().map_err(|e| Error::io(&path, "lock", e))?;
        change() // The lock goes with the file.
    }
}

impl Storage for LocalStorage {
    fn root(&self) -> &Path {
        &self.root
    }

    fn check(&self) -> Result<()> {
        let root = &self.root;
        let found = match fs::metadata(root) {
            Ok(found) => found.is_dir(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(Error::io(root, "look at", e)),
        };
        if !found {
            return Err(Error::not_found(format!("{}: no such index directory", root.display())));
        }
        Ok(())
    }

    fn prepare(&self) -> Result<()> {
        for folder in FOLDERS {
            let path = self.root.join(folder);
            fs::create_dir_all(&path).map_err(|e| Error::io(&path, "create", e))?;
        }
        Ok(())
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(name);
        let failed = |e| Error::io(&path, "read", e);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let end = range.end.min(file.metadata().map_err(failed)?.len());
        let mut bytes = vec![0; end.saturating_sub(range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(failed)?;
        Ok(Some(bytes))
    }

    fn start(&self, folder: &str, name: Option<&str>) -> Result<Box<dyn NewFile>> {
        let place = self.root.join(folder);
        Ok(Box::new(match name {
            Some(name) => AtomicFile::create(&place.join(name))?,
            None => AtomicFile::create_in(&place, folder)?,
        }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.locked(|| match self.read(name)? {
            Some(found) if found == bytes => Ok(()),
            Some(_) => Err(Error::Conflict {
                what: format!(
                    "{} exists already with other content",
                    self.root.join(name).display()
                ),
            }),
            None => write_atomically(&self.root.join(name), bytes),
        })
    }

    fn swap(&self, name: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<()> {
        let text = |bytes: Option<&[u8]>| {
            bytes.map_or("nothing".to_owned(), |b| {
                format!("{:?}", String::from_utf8_lossy(b).trim())
            })
        };
        self.locked(|| {
            let found = self.read(name)?;
            if found.as_deref() != expected {
                return Err(Error::Conflict {
                    what: format!(
                        "{} was changed by somebody else: expected {}, found {}",
                        self.root.join(name).display(),
                        text(expected),
                        text(found.as_deref())
                    ),
                });
            }
            let path = self.root.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
            }
            write_atomically(&path, new)
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.root.join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&path, "list", e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| Error::io(&path, "list", e))?.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with('.') {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Device, inode, size, and the times of the last change of the bytes and of the inode.
    fn version(&self, name: &str) -> Result<Option<Version>> {
        let path = self.root.join(name);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, "look at", e)),
        };
        let written = format!("{}.{}", found.mtime(), found.mtime_nsec());
        let changed = format!("{}.{}", found.ctime(), found.ctime_nsec());
        let file = format!("{} {} {}", found.dev(), found.ino(), found.len());
        Ok(Some(Version::new(format!("{file} {written} {changed}"))))
    }

    fn facts(&self, name: &str) -> Result<Option<ObjectFacts>> {
        let path = self.root.join(name);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, "look at", e)),
        };
        let age = found.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        Ok(Some(ObjectFacts { bytes: found.len(), age }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&path, "remove", e)),
            _ => Ok(()),
        }
    }

    fn guard(&self, sole: bool) -> Result<Box<dyn Any + Send>> {
        let path = self.root.join(".guard");
        let file = File::create(&path).map_err(|e| Error::io(&path, "create", e))?;
        let locked = if sole { file.lock() } else { file.lock_shared() };
        locked.map_err(|e| Error::io(&path, "lock", e))?;
        Ok(Box::new(file)) // The lock goes with the file.
    }

    fn local_path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.root.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_the_object_ends() {
        let tmp = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(tmp.path());
        storage.create("a", b"0123456789").unwrap();
        let read = |range| storage.read_range("a", range).unwrap();
        assert_eq!(read(2..5).as_deref(), Some(&b"234"[..]));
        assert_eq!(read(8..100).as_deref(), Some(&b"89"[..]));
        assert_eq!(read(100..200).as_deref(), Some(&b""[..]));
        assert_eq!(storage.read("a").unwrap().as_deref(), Some(&b"0123456789"[..]));
        assert_eq!(storage.read("b").unwrap(), None);
    }

    #[test]
    fn an_object_that_was_not_published_is_none() {
        let tmp = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(tmp.path());
        storage.prepare().unwrap();
        let mut file = storage.start("shards", None).unwrap();
        file.append(b"abc").unwrap();
        assert!(storage.list("shards").unwrap().is_empty());
        file.publish(Some("x.shard")).unwrap();
        assert_eq!(storage.list("shards").unwrap(), ["x.shard"]);
        assert_eq!(storage.read("shards/x.shard").unwrap().as_deref(), Some(&b"abc"[..]));
    }
}
