//! Takes files away so that they can be put back: copies that were found go into a quarantine.
//!
//! [`apply`] reads a removal list ([`Removal`]). Right before it touches a file it reads the file
//! and the one that stays, and goes on only if both are what the list says. A file is moved into
//! the quarantine; a hard link or a reflink of the file that stays may take its place. [`undo`]
//! puts everything back. Nothing is ever overwritten or deleted that is not in the quarantine,
//! whole and on disk.
//!
//! A quarantine is a folder:
//!
//! ```text
//! QUARANTINE/journal.jsonl   what was done, and what was about to be done
//! QUARANTINE/files/0         the first file that was taken, with its permissions and times
//! QUARANTINE/files/1         …
//! ```
//!
//! Each step is in the journal, on disk, before it is done. A process that was killed leaves at
//! most one step half done; the next [`apply`] or [`undo`] sees from the files how far it came.
//! Within one file system a file is renamed, so it keeps everything that it has. Across file
//! systems it is copied with its permissions, times and owner, read again and compared, and only
//! then removed; extended attributes do not travel.
//!
//! Symlinks are not followed: a path that is one is counted and left alone, as is one whose folder
//! lies outside of [`ApplyOptions::root`] once symlinks are resolved.

mod apply;
mod facts;
mod journal;
mod list;
mod names;
mod place;
mod recover;
mod report;
mod undo;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use self::apply::{ApplyOptions, apply};
pub use self::list::Removal;
pub use self::report::{ApplyReport, Counted, Problem, Problems, UndoReport};
pub use self::undo::undo;

/// Name of the folder of files in a quarantine.
const FILES: &str = "files";

/// What happens to a file that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes into the quarantine, and its place is empty.
    #[default]
    Move,
    /// A hard link of the file that stays takes its place. Only for files of the same content.
    HardLink,
    /// A copy that shares the blocks of the file that stays takes its place, with the permissions
    /// and times of the file. Only for files of the same content, on file systems that can
    /// (Btrfs, XFS).
    Reflink,
}

/// Called before each step with what it is; a test makes it fail, as a crash would.
struct Steps<'a>(&'a dyn Fn(&str) -> io::Result<()>);

impl Steps<'_> {
    /// The steps of a run that nothing stops.
    const ALL: Steps<'static> = Steps(&|_| Ok(()));

    fn at(&self, step: &str) -> Result<()> {
        (self.0)(step).map_err(|cause| Error::File {
            path: PathBuf::from(step),
            what: format!("stopped: {cause}"),
        })
    }
}
