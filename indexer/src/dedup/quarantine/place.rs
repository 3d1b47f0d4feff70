//! Moves files without ever replacing one.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ocelli_index::Hash;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::Steps;
use super::facts::Facts;
use crate::Result;

/// Brings the names in a folder to disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Brings the names in the folder of a file to disk.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Gives a file another name, which nothing has yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::CrossesDevices`], and others.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot refuse: a second name can be given without replacing.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// How a file came to its new place.
pub(super) enum Moved {
    /// The file is there.
    Done,
    /// The file is where it was.
    Failed(io::Error),
}

/// Moves a file to a place that nothing has: by its name, or to another file system by a copy that
/// is compared with `sha256` before the file goes. `temporary` is a name beside `to` for the copy.
///
/// # Errors
/// Only those of `steps`; what the system refuses is the outcome.
pub(super) fn move_new(
    file: &Facts,
    to: &Path,
    temporary: &Path,
    sha256: &Hash,
    steps: &Steps<'_>,
) -> Result<Moved> {
    steps.at("before the rename")?;
    match rename_new(&file.path, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Ok(Moved::Failed(error)),
        Ok(()) => {
            steps.at("after the rename")?;
            let synced = sync_parent(to).and_then(|()| sync_parent(&file.path));
            return Ok(match synced {
                Ok(()) => Moved::Done,
                Err(error) => match rename_new(to, &file.path) {
                    Ok(()) => Moved::Failed(error),
                    // It is in the quarantine, whence `undo` brings it back.
                    Err(_) => Moved::Done,
                },
            });
        }
    }
    if let Err(error) = copy_new(file, temporary, sha256) {
        let _ = fs::remove_file(temporary);
        return Ok(Moved::Failed(error));
    }
    steps.at("after the copy")?;
    if let Err(error) = rename_new(temporary, to).and_then(|()| sync_parent(to)) {
        let _ = fs::remove_file(temporary);
        return Ok(Moved::Failed(error));
    }
    steps.at("before the removal of what was copied")?;
    // What was written to the file since then is not in the copy.
    let removed = match file.still_at(&file.path) {
        Ok(true) => fs::remove_file(&file.path),
        Ok(false) => Err(io::Error::other("it changed while it was copied")),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        let _ = fs::remove_file(to);
        return Ok(Moved::Failed(error));
    }
    steps.at("after the removal of what was copied")?;
    // If this fails, the name may come back with the power; the copy is there all the same.
    let _ = sync_parent(&file.path);
    Ok(Moved::Done)
}

/// Copies a file with its permissions, times and, as far as the process may, its owner, to a name
/// that nothing has; reads the copy again. On disk when it returns.
fn copy_new(file: &Facts, to: &Path, sha256: &Hash) -> io::Result<()> {
    remove_if_there(to)?;
    let (mut from, found) = match super::facts::open(&file.path) {
        Ok(opened) => opened,
        Err(_) => return Err(io::Error::other("it changed before it was copied")),
    };
    let mut copy = create_new(to)?;
    io::copy(&mut from, &mut copy)?;
    let _ = fchown(&copy, Some(found.uid()), Some(found.gid()));
    finish(&copy, file)?;
    if Hash::of_reader(&mut File::open(to)?)? != *sha256 {
        return Err(io::Error::other("the copy is not what was copied"));
    }
    Ok(())
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Gives a new file the permissions and times of another, and brings it to disk.
fn finish(new: &File, like: &Facts) -> io::Result<()> {
    new.set_permissions(Permissions::from_mode(like.mode))?;
    let times = FileTimes::new();
    let times = times.set_modified(time(like.modified)).set_accessed(time(like.accessed));
    new.set_times(times)?;
    new.sync_all()
}

/// The time of so many seconds and nanoseconds since 1970.
fn time((seconds, nanoseconds): (i64, i64)) -> SystemTime {
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    start + part
}

/// Gives a file the times that another had: reading it has changed one of them. As far as the
/// process may.
pub(super) fn restore_times(path: &Path, like: &Facts) {
    let times = FileTimes::new();
    let times = times.set_modified(time(like.modified)).set_accessed(time(like.accessed));
    if let Ok((file, _)) = super::facts::open(path) {
        let _ = file.set_times(times);
    }
}

/// Replaces a file that was proven to have this content by another of the same.
pub(super) fn replace_same(
    file: &Facts,
    to: &Path,
    temporary: &Path,
    sha256: &Hash,
    steps: &Steps<'_>,
) -> Result<io::Result<()>> {
    steps.at("before what is there is replaced")?;
    let replaced = match fs::rename(&file.path, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_new(file, temporary, sha256)
                .and_then(|()| fs::rename(temporary, to))
                .and_then(|()| sync_parent(to))
                .and_then(|()| fs::remove_file(&file.path))
        }
        renamed => renamed,
    };
    steps.at("after what was there was replaced")?;
    Ok(replaced.and_then(|()| sync_parent(to)))
}

/// Makes a file at `to` that shares the blocks of `kept`, with the permissions and times of `like`.
pub(super) fn reflink_new(
    kept: &Path,
    to: &Path,
    temporary: &Path,
    like: &Facts,
) -> io::Result<()> {
    remove_if_there(temporary)?;
    let made = (|| {
        let new = create_new(temporary)?;
        rustix::fs::ioctl_ficlone(&new, File::open(kept)?)?;
        finish(&new, like)?;
        rename_new(temporary, to)
    })();
    if made.is_err() {
        let _ = fs::remove_file(temporary);
    }
    made
}

/// Removes a temporary file of a run that was killed.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
