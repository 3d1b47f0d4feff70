//! Puts back what was taken.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::facts::{Facts, Unfit, prove};
use super::journal::{State, Take};
use super::place::{Moved, move_new, replace_same, restore_times};
use super::recover::Quarantine;
use super::report::{Counted, Problems, UndoReport};
use super::{Action, FILES, Steps};
use crate::{Error, Result};

/// Puts all files of a quarantine back in their places, the last first, with the permissions and
/// times that they had. A second run goes on where the first was stopped. The journal stays; the
/// same folder can be a quarantine again.
///
/// A place that another file has by now is left to it, and the file stays in the quarantine. So
/// does a file that has changed there.
///
/// # Errors
/// [`Error::Invalid`] for a folder that is no quarantine, [`Error::File`] for a damaged journal,
/// [`Error::Index`] if the journal cannot be written. A file that cannot be put back is no error:
/// it is counted.
pub fn undo(quarantine: &Path) -> Result<UndoReport> {
    undo_in(quarantine, &Steps::ALL)
}

/// [`undo`] in steps.
pub(super) fn undo_in(folder: &Path, steps: &Steps<'_>) -> Result<UndoReport> {
    let Some(mut quarantine) = Quarantine::open(folder, false)? else {
        let folder = folder.display();
        return Err(Error::Invalid(format!("{folder}: expected a quarantine, found no journal")));
    };
    let mut report = UndoReport {
        quarantine: folder.to_owned(),
        entries: quarantine.journal.len() as u64,
        restored: Counted::default(),
        already: 0,
        occupied: 0,
        lost: 0,
        failed: 0,
        problems: Problems::default(),
    };
    for number in (0..quarantine.journal.len()).rev() {
        if quarantine.journal.state(number) == State::Back {
            report.already += 1;
            continue;
        }
        let take = quarantine.journal.entry(number)?;
        if one(&quarantine, number, &take, &mut report, steps)? {
            quarantine.journal.mark(number, State::Back)?;
        }
    }
    quarantine.journal.finish()?;
    // Only an empty one goes.
    let _ = fs::remove_dir(quarantine.folder.join(FILES));
    Ok(report)
}

/// Puts one file back. False if it is not in its place afterwards.
fn one(
    quarantine: &Quarantine,
    number: usize,
    take: &Take,
    report: &mut UndoReport,
    steps: &Steps<'_>,
) -> Result<bool> {
    let (path, place) = (&take.file.path, quarantine.place(number));
    if let Err(error) = quarantine.sweep(number, take) {
        report.failed += 1;
        report.problems.add(path, format!("cannot be put back: {error}"));
        return Ok(false);
    }
    if fs::symlink_metadata(&place).is_err() {
        // Begun, and not taken; or back, and the process was killed before it could say so.
        let is_open = quarantine.journal.state(number) == State::Open;
        if is_open || prove(path, Some(take.file.bytes), &take.sha256).is_ok() {
            report.already += 1;
            return Ok(true);
        }
        report.lost += 1;
        report.problems.add(path, "expected it in the quarantine or in its place, found neither");
        return Ok(false);
    }
    match bring_back(quarantine, number, take, steps)? {
        Ok(()) => {
            report.restored.add(take.file.bytes);
            return Ok(true);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            report.occupied += 1;
            report.problems.add(path, "expected an empty place, found another file");
        }
        Err(error) => {
            report.failed += 1;
            report.problems.add(path, format!("cannot be put back: {error}"));
        }
    }
    Ok(false)
}

/// Puts the file of an entry back in its place, in place of the link that was made there.
///
/// # Errors
/// Only those of `steps`. The outcome is [`io::ErrorKind::AlreadyExists`] where another file is.
pub(super) fn bring_back(
    quarantine: &Quarantine,
    number: usize,
    take: &Take,
    steps: &Steps<'_>,
) -> Result<io::Result<()>> {
    let (path, place) = (&take.file.path, quarantine.place(number));
    let file = match prove(&place, Some(take.file.bytes), &take.sha256) {
        // Its own times are those that it had when it was taken.
        Ok(file) => Facts { accessed: take.file.accessed, ..file },
        Err(Unfit::Unreadable(error)) => return Ok(Err(error)),
        Err(_) => return Ok(Err(io::Error::other("it has changed in the quarantine"))),
    };
    let temporary = quarantine.unfinished_beside(take, number);
    let outcome = match what_is_at(path, &file, take) {
        There::Nothing => {
            if let Err(error) = path.parent().map_or(Ok(()), fs::create_dir_all) {
                return Ok(Err(error));
            }
            match move_new(&file, path, &temporary, &take.sha256, steps)? {
                Moved::Done => Ok(()),
                Moved::Failed(error) => Err(error),
            }
        }
        There::Itself => fs::remove_file(&place),
        There::Link => replace_same(&file, path, &temporary, &take.sha256, steps)?,
        There::Other => Err(io::ErrorKind::AlreadyExists.into()),
    };
    if outcome.is_ok() {
        restore_times(path, &take.file);
    }
    Ok(outcome)
}

/// What is in the place of a file that is in quarantine.
enum There {
    Nothing,
    /// The file as well: a crash came between its copy and its removal.
    Itself,
    /// What was put in its place, with the same content.
    Link,
    Other,
}

fn what_is_at(path: &Path, file: &Facts, take: &Take) -> There {
    let there = match prove(path, Some(take.file.bytes), &take.sha256) {
        Ok(there) => there,
        Err(Unfit::Missing) => return There::Nothing,
        Err(_) => return There::Other,
    };
    let like = |other: &Facts| (there.mode, there.modified) == (other.mode, other.modified);
    // As the kept file is now: a device may have another number since the journal was written.
    let is_kept = there.is_same_file(&take.kept)
        || fs::symlink_metadata(&take.kept.path)
            .is_ok_and(|kept| (kept.dev(), kept.ino()) == (there.device, there.inode));
    if there.is_same_file(file) || (like(&take.file) && take.action != Action::Reflink) {
        // By two names, or copied.
        let is_link = take.action == Action::HardLink && is_kept;
        return if is_link { There::Link } else { There::Itself };
    }
    match take.action {
        Action::HardLink if is_kept => There::Link,
        Action::Reflink if like(&take.file) => There::Link,
        _ => There::Other,
    }
}
