//! The directory of a collection, and the lock on it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder with everything that is not the index itself.
const PHOTOS: &str = "photos";
/// The file by which a directory is known as a collection. A run that changes it holds a lock on
/// it.
const LOCK: &str = "lock";

/// Paths below the directory of a collection.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Absolute; canonical if the directory exists.
    pub(super) root: PathBuf,
}

/// A lock on a collection. It ends with the value, or with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Folder {
    /// The directory at `path`, which need not exist.
    ///
    /// # Errors
    /// A path that cannot be made absolute.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let root = match fs::canonicalize(path) {
            Ok(root) => root,
            Err(_) => std::path::absolute(path).map_err(Error::io("find", path))?,
        };
        Ok(Folder { root })
    }

    /// The directory of a collection that exists.
    ///
    /// # Errors
    /// No directory, or one that is no collection.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let folder = Self::at(path)?;
        if folder.settings().is_file() {
            return Ok(folder);
        }
        let found = match path.metadata() {
            Err(e) => format!("found none: {e}"),
            Ok(metadata) if !metadata.is_dir() => "found a file".to_owned(),
            Ok(_) if path.join("CURRENT").exists() => {
                "found an index that `ocelli build` made: ask it by `ocelli serve` and \
                 `ocelli query`"
                    .to_owned()
            }
            Ok(_) => "found another directory".to_owned(),
        };
        Err(Error::Invalid(format!(
            "{}: expected a directory that `ocelli index PHOTOS --out DIR` made, {found}",
            path.display()
        )))
    }

    /// Makes the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// A directory of other files, so that none of them is replaced; one that another run changes.
    pub(super) fn lock(&self) -> Result<Lock> {
        self.refuse_other_files()?;
        let photos = self.photos();
        fs::create_dir_all(&photos).map_err(Error::io("create", &photos))?;
        let path = photos.join(LOCK);
        let mut options = OpenOptions::new();
        let opened = options.read(true).append(true).create(true).open(&path);
        let file = opened.map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Invalid(format!(
                "{}: another `ocelli index` is at work there; wait for its end, or give another \
                 directory",
                self.root.display()
            ))),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
        }
    }

    /// Refuses a directory that has files and is no collection.
    pub(super) fn refuse_other_files(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(Error::io("read", &self.root))?,
        };
        if self.photos().join(LOCK).is_file() {
            return Ok(());
        }
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &self.root))?;
            // A run that was killed at once may have left an empty folder.
            let is_ours = entry.file_name() == PHOTOS
                && fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
            if !is_ours {
                return Err(Error::Invalid(format!(
                    "{}: expected a new directory or one that `ocelli index` made, found one with \
                     {}; give another one by --out",
                    self.root.display(),
                    entry.file_name().display()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn photos(&self) -> PathBuf {
        self.root.join(PHOTOS)
    }

    pub(super) fn settings(&self) -> PathBuf {
        self.photos().join("collection.json")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.photos().join("state.jsonl")
    }

    pub(super) fn rejected(&self) -> PathBuf {
        self.photos().join("rejected.jsonl")
    }

    /// Where the pack is kept.
    pub(super) fn pack(&self) -> PathBuf {
        self.root.join("collection.pack")
    }

    /// The folder of a batch.
    pub(super) fn batch(&self, number: u32) -> PathBuf {
        self.photos().join(format!("{number:08}"))
    }

    /// Numbers of the batches that are there, ascending.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(super) fn batches(&self) -> Result<Vec<u32>> {
        let photos = self.photos();
        let entries = match fs::read_dir(&photos) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("read", &photos))?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::io("read", &photos))?.file_name();
            let number = name.to_str().filter(|name| name.len() == 8);
            numbers.extend(number.and_then(|name| name.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}
