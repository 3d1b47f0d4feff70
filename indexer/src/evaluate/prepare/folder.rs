//! The folder of what is made: one run at a time works in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Error, Result};

/// File by which a folder is known as one of an earlier run. A run holds a lock on it.
const MARK: &str = ".ocelli-work";
const MARK_TEXT: &str = "Ocelli keeps lists, descriptors and indexes of a data set in this folder. \
                         It may be removed.\n";
/// Start of the names of folders in which the encoder writes.
const NEW: &str = ".new-";

/// A lock on a folder of what is made: while it is held, no other run changes the files there. It
/// ends with the value, or with the process.
#[derive(Debug)]
pub struct WorkLock {
    /// The locked file. Closing it gives the lock back.
    _file: File,
}

/// A folder that this run alone works in.
pub(super) struct Folder {
    /// Canonical path.
    pub(super) path: PathBuf,
    /// A folder in it for what is not complete yet. An encoder that outlives its run writes to the
    /// folder of that run, which the next run removes.
    new: TempDir,
    pub(super) lock: WorkLock,
}

impl Folder {
    /// Makes the folder, or takes that of an earlier run, and removes what a killed run left
    /// incomplete.
    ///
    /// # Errors
    /// A folder of other files, so that none of them is replaced; one that another run works in.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let path = fs::canonicalize(path).map_err(Error::io("read", path))?;
        refuse_other_files(&path)?;
        let lock = lock(&path)?;
        remove_incomplete(&path)?;
        let new = tempfile::Builder::new().prefix(NEW).tempdir_in(&path);
        let new = new.map_err(Error::io("create a folder in", &path))?;
        Ok(Folder { path, new, lock })
    }

    /// Where a file of the folder is written until it is complete.
    pub(super) fn new_path(&self, out: &Path) -> PathBuf {
        self.new.path().join(out.file_name().unwrap_or_default())
    }
}

/// Refuses a folder that has files and no mark.
fn refuse_other_files(folder: &Path) -> Result<()> {
    let mark = folder.join(MARK);
    // The mark's own temporary name, as a killed run may have left it.
    let temporary = format!(".{MARK}.");
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let found = entry.map_err(Error::io("read", folder))?.file_name();
        if found.as_encoded_bytes().starts_with(temporary.as_bytes()) {
            continue;
        }
        // Asked after the entry was seen: a run that starts at the same time makes the mark before
        // it makes anything else.
        if mark.exists() {
            return Ok(());
        }
        return Err(Error::Invalid(format!(
            "{}: expected an empty folder or one of an earlier run, found one with {}",
            folder.display(),
            found.display()
        )));
    }
    Ok(())
}

/// Makes the mark if it is missing, and locks it.
fn lock(folder: &Path) -> Result<WorkLock> {
    let mark = folder.join(MARK);
    let mut options = OpenOptions::new();
    let opened = options.read(true).append(true).create(true).open(&mark);
    let mut file = opened.map_err(Error::io("open", &mark))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Invalid(format!(
                "{}: expected a folder that no other run works in, found one that another run has \
                 locked: wait for its end, or give another folder",
                folder.display()
            )));
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", &mark)(e)),
    }
    if file.metadata().map_err(Error::io("read", &mark))?.len() == 0 {
        file.write_all(MARK_TEXT.as_bytes()).map_err(Error::io("write", &mark))?;
    }
    Ok(WorkLock { _file: file })
}

/// Removes folders in which encoders of earlier runs wrote, whether or not they still do. One that
/// cannot be removed takes room and does no harm.
fn remove_incomplete(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
