//! What was done with the files of a list.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Action, names};

/// Files that are named in a report, of those with a problem.
const NAMED: usize = 100;

/// Files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Number of files.
    pub files: u64,
    /// Sum of the sizes of the files.
    pub bytes: u64,
}

impl Counted {
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A file that was left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    #[serde(with = "names")]
    pub path: PathBuf,
    /// What was expected and what was found.
    pub why: String,
}

/// The first files with a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, path: &Path, why: impl Into<String>) {
        if self.0.len() < NAMED {
            self.0.push(Problem { path: path.to_owned(), why: why.into() });
        }
    }

    /// The problems.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.0
    }
}

/// What [`apply`](super::apply()) did, or would do. Every line of the list is in one of the counts
/// from `taken` to `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplyReport {
    /// The quarantine.
    #[serde(with = "names")]
    pub quarantine: PathBuf,
    /// What happens to a file.
    pub action: Action,
    /// Whether files were touched; if not, what follows is what would be done.
    pub applied: bool,
    /// Lines of the list.
    pub listed: Counted,
    /// Files in quarantine now, by this run.
    pub taken: Counted,
    /// What is free once the quarantine is removed: of a file with several names nothing, until the
    /// last of them was taken.
    pub freed_bytes: u64,
    /// Files that an earlier run has taken, or an earlier line.
    pub already: u64,
    /// Names of the file that stays itself, where a hard link was asked for.
    pub linked: u64,
    /// Files that are not there.
    pub missing: u64,
    /// Files of another size or content than the list says.
    pub changed: u64,
    /// Files whose kept file is not there, or has changed.
    pub kept_missing: u64,
    /// Files of which a link was asked for, and whose content is not that of the kept file.
    pub different: u64,
    /// Files that are the kept file itself, by another path.
    pub kept_itself: u64,
    /// Symlinks, folders and devices.
    pub not_regular: u64,
    /// Files outside of the root, or in the quarantine.
    pub outside: u64,
    /// Files that the system did not let be read, moved or linked.
    pub failed: u64,
    /// The first of those that were left alone.
    pub problems: Problems,
}

/// Report of [`undo`](super::undo()). Every entry of the journal is in one of the counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UndoReport {
    /// The quarantine.
    #[serde(with = "names")]
    pub quarantine: PathBuf,
    /// Entries of the journal.
    pub entries: u64,
    /// Files that are back in their places, by this run.
    pub restored: Counted,
    /// Files that were back already, or never taken.
    pub already: u64,
    /// Files whose place another file has; they stay in the quarantine.
    pub occupied: u64,
    /// Files that are neither in the quarantine nor in their places.
    pub lost: u64,
    /// Files that the system did not let be moved; they stay in the quarantine.
    pub failed: u64,
    /// The first of those that are not back.
    pub problems: Problems,
}
