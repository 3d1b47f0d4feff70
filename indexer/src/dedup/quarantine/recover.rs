//! The folder of a quarantine, and what became of a step that a crash cut off.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::facts::Facts;
use super::journal::{JOURNAL, Journal, State, Take};
use super::place::{reflink_new, remove_if_there, sync_parent};
use super::{Action, FILES, Steps};
use crate::{Error, Result};

/// An open quarantine.
#[derive(Debug)]
pub(super) struct Quarantine {
    /// The folder, without symlinks.
    pub folder: PathBuf,
    pub journal: Journal,
}

/// A number for a path; two paths share one with a probability of 2⁻¹²⁸.
pub(super) fn number_of(path: &Path) -> u128 {
    xxh3_128(path.as_os_str().as_bytes())
}

impl Quarantine {
    /// Opens a quarantine. One that is not there, or an empty folder, becomes one if `create` says
    /// so; else there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a folder that has other files; those of [`Journal::open`].
    pub fn open(folder: &Path, create: bool) -> Result<Option<Self>> {
        if !folder.join(JOURNAL).exists() {
            let others = match fs::read_dir(folder) {
                Ok(mut others) => others.next().is_some(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(Error::io("read", folder)(error)),
            };
            if others {
                return Err(Error::Invalid(format!(
                    "{}: expected a quarantine or an empty folder, found other files",
                    folder.display()
                )));
            }
            if !create {
                return Ok(None);
            }
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let folder = fs::canonicalize(folder).map_err(Error::io("open", folder))?;
        let journal = Journal::open(&folder, create)?;
        let files = folder.join(FILES);
        if create && !files.exists() {
            fs::create_dir(&files).map_err(Error::io("create", &files))?;
            sync_parent(&files).map_err(Error::io("fsync", &folder))?;
        }
        Ok(Some(Self { folder, journal }))
    }

    /// Where a file is while it is in quarantine.
    pub fn place(&self, number: usize) -> PathBuf {
        self.folder.join(FILES).join(number.to_string())
    }

    /// The name of a copy that is not yet whole.
    pub fn unfinished(&self, number: usize) -> PathBuf {
        self.folder.join(FILES).join(format!("{number}.tmp"))
    }

    /// The same beside the place of a file.
    pub fn unfinished_beside(&self, take: &Take, number: usize) -> PathBuf {
        let name = format!(".ocelli-{:08x}-{number}.tmp", number_of(&self.folder) as u32);
        take.file.path.with_file_name(name)
    }

    /// Numbers of the paths of all files in quarantine. Takes some 20 bytes of memory for each.
    ///
    /// # Errors
    /// Those of [`Journal::entry`].
    pub fn taken(&self) -> Result<HashSet<u128>> {
        let mut taken = HashSet::new();
        for number in 0..self.journal.len() {
            if self.journal.state(number) != State::Back {
                taken.insert(number_of(&self.journal.entry(number)?.file.path));
            }
        }
        Ok(taken)
    }

    /// Ends what a crash has cut off: a file that is in quarantine stays there, and what takes its
    /// place is made; any other is where it was.
    ///
    /// # Errors
    /// Those of the journal; [`Error::Index`] where the system refuses.
    pub fn settle(&mut self, steps: &Steps<'_>) -> Result<()> {
        for number in 0..self.journal.len() {
            if self.journal.state(number) != State::Open {
                continue;
            }
            let take = self.journal.entry(number)?;
            self.sweep(number, &take).map_err(Error::io("remove a copy of", &take.file.path))?;
            let state = self.half_done(number, &take);
            if state == State::Taken {
                // What cannot be put in its place is missing there; the file itself is safe.
                let _ = put_in_place(self, number, &take, steps)?;
            }
            self.journal.mark(number, state)?;
        }
        Ok(())
    }

    /// Removes copies that are not whole.
    pub fn sweep(&self, number: usize, take: &Take) -> io::Result<()> {
        remove_if_there(&self.unfinished(number))?;
        match remove_if_there(&self.unfinished_beside(take, number)) {
            // The folder is gone, or may not be written to: then there is none.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
            removed => removed,
        }
    }

    /// Where the files say that an open entry stands. A file that is in both places is taken out of
    /// the quarantine: it is untouched where it was.
    fn half_done(&self, number: usize, take: &Take) -> State {
        let place = self.place(number);
        if fs::symlink_metadata(&place).is_err() {
            return State::Back;
        }
        if take.file.still_at(&take.file.path).unwrap_or(false) {
            let _ = fs::remove_file(&place);
            return State::Back;
        }
        State::Taken
    }
}

/// Puts a link of the kept file where a taken file was, if its action says so and nothing is there.
///
/// # Errors
/// Only those of `steps`; what the system refuses is the outcome.
pub(super) fn put_in_place(
    quarantine: &Quarantine,
    number: usize,
    take: &Take,
    steps: &Steps<'_>,
) -> Result<io::Result<()>> {
    let (kept, path): (&Facts, &Path) = (&take.kept, &take.file.path);
    if take.action == Action::Move {
        return Ok(Ok(()));
    }
    steps.at("before the link")?;
    let linked = match kept.still_at(&kept.path) {
        Ok(true) if take.action == Action::HardLink => fs::hard_link(&kept.path, path),
        Ok(true) => {
            let temporary = quarantine.unfinished_beside(take, number);
            reflink_new(&kept.path, path, &temporary, &take.file)
        }
        Ok(false) => Err(io::Error::other("the kept file has changed")),
        Err(error) => Err(error),
    };
    steps.at("after the link")?;
    Ok(linked.and_then(|()| sync_parent(path)))
}
