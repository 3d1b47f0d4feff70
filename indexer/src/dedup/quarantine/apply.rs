//! Takes the files of a removal list.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::facts::{Facts, Unfit, prove, without_links};
use super::journal::{JOURNAL, State, Take};
use super::list::{Removal, each_removal};
use super::place::{Moved, move_new, rename_new};
use super::recover::{Quarantine, number_of, put_in_place};
use super::report::{ApplyReport, Counted, Problems};
use super::undo::bring_back;
use super::{Action, Steps};
use crate::{Error, Result};

/// How a removal list is applied.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// Relative paths start here, and no file outside of it is touched.
    pub root: PathBuf,
    /// The quarantine: a folder that is there and empty, or not there, or an earlier quarantine.
    pub quarantine: PathBuf,
    /// What happens to a file.
    pub action: Action,
    /// Files are touched; else all is looked at and nothing is written.
    pub touch: bool,
}

/// Takes the files of a removal list, JSON lines of [`Removal`]. A second run goes on where the
/// first was stopped.
///
/// Memory: some 40 bytes for each line of the list, and 40 for each file in the quarantine.
///
/// # Errors
/// [`Error::File`] for a list that cannot be understood, or that removes a file which it keeps
/// elsewhere, and for a damaged journal: nothing is touched then. [`Error::Invalid`] for a folder
/// that is no quarantine. [`Error::Index`] if the journal cannot be written: nothing is touched any
/// more. A file that cannot be taken is no error: it is counted.
pub fn apply(list: &Path, options: &ApplyOptions) -> Result<ApplyReport> {
    apply_in(list, options, &Steps::ALL)
}

/// [`apply`] in steps.
pub(super) fn apply_in(
    list: &Path,
    options: &ApplyOptions,
    steps: &Steps<'_>,
) -> Result<ApplyReport> {
    let root = &options.root;
    let root = fs::canonicalize(root).map_err(Error::io("open the root", root))?;
    check(list, &root)?;
    let mut quarantine = Quarantine::open(&options.quarantine, options.touch)?;
    if let Some(quarantine) = quarantine.as_mut().filter(|_| options.touch) {
        quarantine.settle(steps)?;
    }
    let taken = quarantine.as_ref().map(Quarantine::taken).transpose()?.unwrap_or_default();
    let report = ApplyReport {
        quarantine: options.quarantine.clone(),
        action: options.action,
        applied: options.touch,
        listed: Counted::default(),
        taken: Counted::default(),
        freed_bytes: 0,
        already: 0,
        linked: 0,
        missing: 0,
        changed: 0,
        kept_missing: 0,
        different: 0,
        kept_itself: 0,
        not_regular: 0,
        outside: 0,
        failed: 0,
        problems: Problems::default(),
    };
    let mut run = Run {
        root,
        action: options.action,
        quarantine,
        touch: options.touch,
        taken,
        names_left: HashMap::new(),
        last_kept: None,
        report,
        steps,
    };
    each_removal(list, |removal| run.one(&removal))?;
    if let Some(quarantine) = &run.quarantine {
        quarantine.journal.finish()?;
    }
    Ok(run.report)
}

/// Whether a file lies in a quarantine, this one or another: whoever empties that would lose it.
fn is_in_a_quarantine(path: &Path) -> bool {
    let resolved = fs::canonicalize(path);
    let path = resolved.as_deref().unwrap_or(path);
    path.ancestors().skip(1).any(|folder| folder.join(JOURNAL).is_file())
}

/// Reads the whole list before anything is touched: each line is one, and no file is to go that
/// another line keeps.
fn check(list: &Path, root: &Path) -> Result<()> {
    let mut goes = HashSet::new();
    each_removal(list, |removal| {
        goes.insert(number_of(&root.join(&removal.path)));
        Ok(())
    })?;
    each_removal(list, |removal| {
        if goes.contains(&number_of(&root.join(&removal.kept))) {
            return Err(Error::File {
                path: list.to_owned(),
                what: format!(
                    "expected files to be kept that are not to go, found {} as both",
                    removal.kept.display()
                ),
            });
        }
        Ok(())
    })
}

/// Files are taken one after another.
struct Run<'a> {
    root: PathBuf,
    action: Action,
    quarantine: Option<Quarantine>,
    touch: bool,
    /// Numbers of the paths of files in quarantine.
    taken: HashSet<u128>,
    /// Of files with several names: the names that were not taken. Some 40 bytes each.
    names_left: HashMap<(u64, u64), u64>,
    /// The kept file of the line before, as listed.
    last_kept: Option<(PathBuf, ocelli_index::Hash, Facts)>,
    report: ApplyReport,
    steps: &'a Steps<'a>,
}

impl Run<'_> {
    /// Takes the file of a line, or counts why not.
    fn one(&mut self, removal: &Removal) -> Result<()> {
        self.report.listed.add(removal.bytes);
        let path = self.root.join(&removal.path);
        let file = match self.proven(&path, removal) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.report.already += 1;
                return Ok(());
            }
            Err(unfit) => {
                self.unfit(&path, &unfit);
                return Ok(());
            }
        };
        let Some(kept) = self.kept(removal) else {
            self.report.kept_missing += 1;
            let why = "expected the kept file as the list says, found none or another";
            self.report.problems.add(&self.root.join(&removal.kept), why);
            return Ok(());
        };
        if !self.is_to_go(removal, &file, &kept) {
            return Ok(());
        }
        let (sha256, action) = (removal.sha256, self.action);
        let take = Take { file, sha256, action, kept };
        if !self.touch || self.take(&take)? {
            self.taken.insert(number_of(&take.file.path));
            self.count(&take.file);
        }
        Ok(())
    }

    /// The file of a line, if it may be touched and is what the list says; none if it was taken
    /// before.
    fn proven(&self, path: &Path, removal: &Removal) -> std::result::Result<Option<Facts>, Unfit> {
        let resolved = without_links(path)?;
        let quarantine = self.quarantine.as_ref().map(|quarantine| &quarantine.folder);
        let is_in_quarantine = quarantine.is_some_and(|folder| resolved.starts_with(folder));
        if !resolved.starts_with(&self.root) || is_in_quarantine {
            return Err(Unfit::Outside);
        }
        if self.taken.contains(&number_of(&resolved)) {
            return Ok(None);
        }
        prove(&resolved, Some(removal.bytes), &removal.sha256).map(Some)
    }

    /// The kept file of a line, proven; read once if lines with the same follow each other.
    fn kept(&mut self, removal: &Removal) -> Option<Facts> {
        if let Some((path, sha256, facts)) = &self.last_kept {
            let same = (path, sha256) == (&removal.kept, &removal.kept_sha256);
            if same && facts.still_at(&facts.path).unwrap_or(false) {
                return Some(facts.clone());
            }
        }
        let path = self.root.join(&removal.kept);
        if is_in_a_quarantine(&path) {
            return None;
        }
        let facts = prove(&path, None, &removal.kept_sha256).ok()?;
        self.last_kept = Some((removal.kept.clone(), removal.kept_sha256, facts.clone()));
        Some(facts)
    }

    /// Whether a proven file may be taken; counts why not.
    fn is_to_go(&mut self, removal: &Removal, file: &Facts, kept: &Facts) -> bool {
        if file.is_same_file(kept) && (file.path == kept.path || file.links < 2) {
            self.report.kept_itself += 1;
            self.report.problems.add(&file.path, "it is the kept file itself, by another path");
            return false;
        }
        if self.action == Action::Move {
            return true;
        }
        if self.action == Action::HardLink && file.is_same_file(kept) {
            self.report.linked += 1;
            return false;
        }
        if removal.sha256 != removal.kept_sha256 {
            self.report.different += 1;
            self.report.problems.add(&file.path, "its content is not that of the kept file");
            return false;
        }
        true
    }

    /// Moves a file into the quarantine, and puts what is wanted in its place. False if it is where
    /// it was, which is counted.
    fn take(&mut self, take: &Take) -> Result<bool> {
        let Some(quarantine) = self.quarantine.as_mut() else { return Ok(false) };
        let number = quarantine.journal.take(take, self.steps)?;
        let (place, temporary) = (quarantine.place(number), quarantine.unfinished(number));
        let path = &take.file.path;
        match move_new(&take.file, &place, &temporary, &take.sha256, self.steps)? {
            Moved::Done => {}
            Moved::Failed(error) => {
                quarantine.journal.mark(number, State::Back)?;
                self.report.failed += 1;
                self.report.problems.add(path, format!("cannot be moved: {error}"));
                return Ok(false);
            }
        }
        // Renamed, it is the file that was proven, unless it was written to in between. A copy was
        // compared.
        let moved = fs::symlink_metadata(&place).map_err(Error::io("find", &place))?;
        let is_renamed = moved.dev() == take.file.device;
        if is_renamed && !take.file.still_at(&place).map_err(Error::io("find", &place))? {
            rename_new(&place, path).map_err(Error::io("put back", path))?;
            quarantine.journal.mark(number, State::Back)?;
            self.unfit(path, &Unfit::Changed);
            return Ok(false);
        }
        if let Err(error) = put_in_place(quarantine, number, take, self.steps)? {
            self.report.failed += 1;
            self.report.problems.add(path, format!("cannot be linked: {error}"));
            let back = bring_back(quarantine, number, take, self.steps)?;
            back.map_err(Error::io("put back", path))?;
            quarantine.journal.mark(number, State::Back)?;
            return Ok(false);
        }
        quarantine.journal.mark(number, State::Taken)?;
        Ok(true)
    }

    /// Counts a file that was taken, or would be.
    fn count(&mut self, file: &Facts) {
        self.report.taken.add(file.bytes);
        if file.links > 1 {
            let left = self.names_left.entry((file.device, file.inode)).or_insert(file.links);
            *left = left.saturating_sub(1);
            if *left > 0 {
                return;
            }
        }
        self.report.freed_bytes += file.bytes;
    }

    fn unfit(&mut self, path: &Path, unfit: &Unfit) {
        let report = &mut self.report;
        let (count, why) = match unfit {
            Unfit::Missing => (&mut report.missing, "expected a file, found none".to_owned()),
            Unfit::NotRegular => {
                let why = "expected a regular file, found a symlink, a folder or a device";
                (&mut report.not_regular, why.to_owned())
            }
            Unfit::Outside => {
                let why = "expected a file below the root, and not in the quarantine";
                (&mut report.outside, why.to_owned())
            }
            Unfit::Changed => {
                let why = "expected the size and the content of the list, found others";
                (&mut report.changed, why.to_owned())
            }
            Unfit::Unreadable(error) => (&mut report.failed, format!("cannot be read: {error}")),
        };
        *count += 1;
        report.problems.add(path, why);
    }
}
