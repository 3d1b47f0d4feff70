//! Files that get their name only when they are complete.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::temporary;
use crate::base::error::{Error, Result};

/// A new file of some store, written piece by piece. It gets its name when it is complete; dropped
/// before that, it leaves nothing behind.
pub trait NewFile: fmt::Debug + Send + Sync {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, a full disk included.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes what was written durable, without giving it a name: what can fail on a full disk has
    /// then been done.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
    fn sync(&mut self) -> Result<()>;

    /// Makes the file durable and gives it `name` in its folder, or the name that it was created
    /// for; a file of that name is replaced. Returns the file's path.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Invalid`]; the file that had the name is then unchanged.
    fn publish(self: Box<Self>, name: Option<&str>) -> Result<PathBuf>;
}

/// A file that is written under a temporary name in its final folder and renamed when it is
/// complete, so that readers see the old content or the new, never a mixture. Dropped before that,
/// it leaves nothing behind; what a killed process left, the next writer in the folder removes.
/// Writes are buffered.
#[derive(Debug)]
pub struct AtomicFile {
    temporary: PathBuf,
    /// The final name; none if it follows from the content.
    target: Option<PathBuf>,
    /// None once it is published. Open means locked.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts the file that will be at `path`. Its folder must exist.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] if `path` exists and is no regular file: a rename would
    /// replace a device as readily as a file.
    pub fn create(path: &Path) -> Result<Self> {
        check_replaceable(path)?;
        let name = path.file_name().ok_or_else(|| {
            Error::invalid(format!("{}: expected the name of a file", path.display()))
        })?;
        let mut file = Self::start(folder_of(path), &name.to_string_lossy())
            .map_err(|e| Error::io(path, "create", e))?;
        file.target = Some(path.to_owned());
        Ok(file)
    }

    /// Starts a file in `folder` whose name is not known yet.
    pub(crate) fn create_in(folder: &Path, stem: &str) -> Result<Self> {
        Self::start(folder, stem).map_err(|e| Error::io(folder, "create a file in", e))
    }

    fn start(folder: &Path, stem: &str) -> io::Result<Self> {
        temporary::sweep(folder);
        let (temporary, file) = temporary::create(folder, stem)?;
        Ok(Self { temporary, target: None, file: Some(BufWriter::new(file)) })
    }

    /// The name of this file in errors: its final name where that is known.
    fn name(&self) -> &Path {
        self.target.as_deref().unwrap_or(&self.temporary)
    }

    /// Appends bytes; [`Write::write_all`] with an error that names the file.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|e| Error::io(self.name(), "write", e))
    }

    /// Makes what was written durable, without giving it the name: what can fail on a full disk has
    /// then been done.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
    pub fn sync(&mut self) -> Result<()> {
        let name = self.target.as_deref().unwrap_or(&self.temporary);
        let Some(file) = &mut self.file else { return Ok(()) };
        file.flush().map_err(|e| Error::io(name, "write", e))?;
        file.get_ref().sync_all().map_err(|e| Error::io(name, "fsync", e))
    }

    /// Makes the file durable and gives it its name, replacing a file of that name: fsync,
    /// rename, fsync of the folder. Returns the name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Invalid`]; the file that had the name is then unchanged.
    pub fn publish(mut self) -> Result<PathBuf> {
        match self.target.take() {
            Some(target) => self.publish_as(&target).map(|()| target),
            None => Err(Error::invalid(format!("{}: has no final name", self.temporary.display()))),
        }
    }

    /// [`Self::publish`] under a name in the file's own folder.
    fn publish_as(mut self, target: &Path) -> Result<()> {
        check_replaceable(target)?;
        if let Some(file) = &mut self.file {
            file.flush().map_err(|e| Error::io(target, "write", e))?;
            file.get_ref().sync_all().map_err(|e| Error::io(target, "fsync", e))?;
        }
        fs::rename(&self.temporary, target)
            .map_err(|e| Error::io(target, "rename a new file to", e))?;
        self.file = None; // Published: nothing left to remove.
        let folder = folder_of(target);
        File::open(folder).and_then(|d| d.sync_all()).map_err(|e| Error::io(folder, "fsync", e))
    }
}

impl NewFile for AtomicFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        Self::append(self, bytes)
    }

    fn sync(&mut self) -> Result<()> {
        Self::sync(self)
    }

    fn publish(self: Box<Self>, name: Option<&str>) -> Result<PathBuf> {
        let Some(name) = name else { return Self::publish(*self) };
        let path = folder_of(&self.temporary).join(name);
        self.publish_as(&path).map(|()| path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("written after publishing")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is buffered is not wanted any more.
            drop(file.into_parts());
            // Best effort: the next writer in the folder tries again.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Refuses a path of something that is no regular file: a folder, a device, a pipe.
fn check_replaceable(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(Error::invalid(format!(
            "{}: exists and is not a regular file, so it is not replaced",
            path.display()
        ))),
        // A missing file will be made; an unreadable one is an error later.
        _ => Ok(()),
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Writes `bytes` to `path` as an [`AtomicFile`].
///
/// # Errors
/// [`Error::Io`], [`Error::Invalid`]; the old content is then unchanged.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.append(bytes)?;
    file.publish().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_content_stands_until_the_new_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a file");
        write_atomically(&path, b"old").unwrap();
        let mut abandoned = AtomicFile::create(&path).unwrap();
        abandoned.append(&[7; 100_000]).unwrap();
        drop(abandoned);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut file = AtomicFile::create(&path).unwrap();
        write!(file, "new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary name is left");
    }

    /// Before the work, not after it; and the message speaks of the user's name, not of a
    /// temporary.
    #[test]
    fn targets_that_cannot_be_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path(), Path::new("/dev/null"), &dir.path().join(".."), Path::new("")] {
            let error = AtomicFile::create(path).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
        }
        let path = dir.path().join("nowhere/a");
        let error = AtomicFile::create(&path).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}: cannot create: No such", path.display())),
            "{error}"
        );
    }
}
