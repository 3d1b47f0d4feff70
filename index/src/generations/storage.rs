//! Where an index directory lives: small named objects, some of them changed by compare-and-swap.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::files::container::write_atomically;

/// Named objects under one root. Names are relative and use `/`.
///
/// Synchronous on purpose: an index is opened and committed from compute threads.
pub trait Storage: Send + Sync {
    /// The object's bytes, or `None` where there is no such object.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

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

    /// Names of the objects in a folder, sorted; empty where there is no such folder. Temporary
    /// names (those with a leading dot) are left out.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// The local file of an object that is to be mapped.
    ///
    /// # Errors
    /// [`Error::Io`] if it must be fetched and cannot be.
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

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `change` while no other process of this machine is in here.
    fn locked<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(".lock");
        let lock = File::create(&path).map_err(|e| Error::io(&path, "create", e))?;
        lock.lock().map_err(|e| Error::io(&path, "lock", e))?;
        change() // The lock goes with the file.
    }
}

impl Storage for LocalStorage {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, "read", e)),
        }
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
            write_atomically(&self.root.join(name), new)
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

    fn local_path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.root.join(name))
    }
}
