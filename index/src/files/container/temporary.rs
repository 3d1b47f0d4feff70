//! Temporary names: never the same twice, locked while their writer lives, and removed once it is
//! gone.
//!
//! A process id does not identify a writer: in a container every program is process 1. A lock
//! (`flock`) does: the kernel releases it when the process that held it ends, however it ends. So a
//! writer locks its temporary file from the first moment to the last, and a writer that starts
//! a file in a folder first removes the temporary files there that are not locked ([`sweep`]).
//!
//! Between making a file and locking it there is a moment in which another process may take it for
//! abandoned. That process needs the lock before it removes anything. So a writer that gets the
//! lock, and then still finds its file under its name, can no longer lose it: a later process
//! does not get the lock. A writer that does not get the lock, or finds its name gone, takes
//! another name. Names are random and never used again, so that a name cannot be that of
//! another writer's file.
//!
//! On a file system without locks no process gets one, and nothing is removed. On one whose locks
//! do not reach other machines, a free lock proves nothing about a file that another machine made.
//! Names therefore say which machine made them, and those of another one are left alone until
//! they have not been written to for [`FOREIGN_KEPT`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use crate::base::error::{Error, Result};

/// The time that an unlocked temporary file of another machine must have lain untouched before it
/// is removed: longer than any writer leaves its file alone.
const FOREIGN_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes of the final name that a temporary name repeats, for people. File systems allow 255 in
/// all.
const MAX_STEM_BYTES: usize = 200;

/// Names tried before a writer gives up. More than one is tried only where a sweeper came between.
const ATTEMPTS: usize = 100;

/// Makes a new file in `folder` under a temporary name with `stem` in it, and locks it. The lock
/// goes with the file: closed, the name counts as abandoned.
pub(super) fn create(folder: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    for _ in 0..ATTEMPTS {
        let path = folder.join(new_name(stem)?);
        let file = match File::create_new(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        };
        if is_held(&file, &path)? {
            return Ok((path, file));
        }
        // Gone, or about to go; if not, the next sweep finds it.
        let _ = fs::remove_file(&path);
    }
    Err(io::Error::other("another process removes temporary files as they are made"))
}

/// A new file in `folder`, for reading and writing, that has no name: it ends with its last use.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn scratch_file(folder: &Path) -> Result<File> {
    let (path, file) =
        create(folder, "scratch").map_err(|e| Error::io(folder, "create a file in", e))?;
    fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
    Ok(file)
}

/// Locks a file that was just made. False if another process was faster.
fn is_held(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => path.try_exists(),
        Err(TryLockError::WouldBlock) => Ok(false),
        // A file system without locks: no process gets one, so none removes the file.
        Err(TryLockError::Error(_)) => Ok(true),
    }
}

/// Removes the temporary files in `folder` whose writers are gone. What cannot be judged, or not
/// removed, is left: it takes room and does no harm.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(maker) = name.to_str().and_then(maker_of) else { continue };
        // Asked before opening: opening a pipe would wait for its reader.
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            remove_abandoned(&entry.path(), maker == MACHINE.as_str());
        }
    }
}

fn remove_abandoned(path: &Path, is_of_this_machine: bool) {
    if let Some(_lock) = abandoned(path, is_of_this_machine) {
        let _ = fs::remove_file(path);
    }
}

/// A temporary file whose writer is gone, locked.
fn abandoned(path: &Path, is_of_this_machine: bool) -> Option<File> {
    // For writing, since NFS gives no exclusive lock on a file that is open for reading.
    let file = OpenOptions::new().write(true).open(path).ok()?;
    let untouched = |metadata: fs::Metadata| metadata.modified().ok()?.elapsed().ok();
    let is_old =
        || file.metadata().ok().and_then(untouched).is_some_and(|time| time >= FOREIGN_KEPT);
    let is_gone = file.try_lock().is_ok() && (is_of_this_machine || is_old());
    is_gone.then_some(file)
}

/// Whether a file is a temporary one that [`sweep`] would remove.
pub(super) fn is_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let maker = name.and_then(maker_of);
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    is_file && maker.is_some_and(|maker| abandoned(path, maker == MACHINE.as_str()).is_some())
}

/// Eight hexadecimal digits that all processes of this machine have in common, in whatever
/// container, and other machines have not. Equal everywhere where the system has no such number.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{digits:0>8}").to_ascii_lowercase()
});

/// `.STEM.ocelli-MACHINE-RANDOM.tmp`.
fn new_name(stem: &str) -> io::Result<String> {
    let random = getrandom::u64().map_err(io::Error::from)?;
    let end = stem.floor_char_boundary(MAX_STEM_BYTES);
    Ok(format!(".{}.ocelli-{}-{random:016x}.tmp", &stem[..end], *MACHINE))
}

/// The machine in a name that [`new_name`] made; none in any other name.
fn maker_of(name: &str) -> Option<&str> {
    let (_, tail) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once(".ocelli-")?;
    let (machine, random) = tail.split_once('-')?;
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    (is_hex(machine, 8) && is_hex(random, 16)).then_some(machine)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::SystemTime;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// What a killed writer leaves is removed; what a living one has, and what is not ours, stays.
    #[test]
    fn only_the_files_of_the_dead_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let (left, file) = create(folder, "a.part").unwrap();
        drop(file);
        let (kept, living) = create(folder, "a.part").unwrap();
        sweep(folder);
        assert!(left != kept && !left.exists() && kept.exists());
        let foreign = [
            ".a.part.1-0.tmp",
            ".a.part.tmp",
            "a.ocelli-00000000-0000000000000000.tmp",
            ".a.ocelli-0000000-0000000000000000.tmp",
            ".a.ocelli-00000000-000000000000000G.tmp",
            ".a.ocelli-00000000-0000000000000000",
        ];
        for name in foreign {
            fs::write(folder.join(name), "not ours").unwrap();
        }
        sweep(folder);
        assert_eq!(names(folder).len(), foreign.len() + 1, "{:?}", names(folder));
        assert!(kept.exists());
        drop(living);
        sweep(folder);
        assert!(!kept.exists());
    }

    /// Locks may not reach another machine, so its files must be old as well.
    #[test]
    fn files_of_other_machines_are_kept_for_days() {
        let dir = tempfile::tempdir().unwrap();
        let machine = if MACHINE.as_str() == "00000000" { "00000001" } else { "00000000" };
        let name = |n: u32| dir.path().join(format!(".a.ocelli-{machine}-{n:016x}.tmp"));
        let (new, old) = (File::create(name(1)).unwrap(), File::create(name(2)).unwrap());
        old.set_modified(SystemTime::now() - FOREIGN_KEPT - Duration::from_secs(60)).unwrap();
        drop((new, old));
        sweep(dir.path());
        assert!(name(1).exists() && !name(2).exists());
    }

    /// Sweepers that never rest do not take a file away from a writer that has it.
    #[test]
    fn writers_and_sweepers_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            let (path, file) = create(folder, "x").unwrap();
                            assert!(path.exists());
                            thread::yield_now();
                            assert!(path.exists(), "a sweeper took a living writer's file");
                            drop(file);
                        }
                    })
                })
                .collect();
            let sweeper = scope.spawn(|| {
                while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                    sweep(folder);
                }
                writers.into_iter().for_each(|writer| writer.join().unwrap());
            });
            sweeper.join().unwrap();
        });
        sweep(folder);
        assert!(names(folder).is_empty(), "{:?}", names(folder));
    }

    #[test]
    fn long_names_have_room() {
        let dir = tempfile::tempdir().unwrap();
        for stem in ["x".repeat(255), format!("x{}", "ä".repeat(127))] {
            let (path, _file) = create(dir.path(), &stem).unwrap();
            assert!(maker_of(path.file_name().unwrap().to_str().unwrap()).is_some());
        }
    }
}
