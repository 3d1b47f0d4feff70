//! The health of an index directory: what is wrong with it, and the command that mends it.

mod files;
mod mend;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ocelli_index::{Error as IndexError, FileTrouble, Generation, IndexDir, Snapshot};
use serde::Serialize;

use self::files::{Found, References, look};
use self::mend::Mender;
use super::compact::{SMALL_SHARDS, is_small};
use super::verify::prove;
use crate::{ProgressFn, Result};

/// Share of deleted rows above which an index is called full of them.
pub const MANY_DELETED: f64 = 0.2;

/// The part of the directory that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The directory itself.
    Directory,
    /// The file CURRENT.
    Current,
    /// A generation's file.
    Generation,
    /// A generation's file of a later version of Ocelli.
    NewerGeneration,
    /// A model.
    Model,
    /// A shard.
    Shard,
    /// A set of deleted rows.
    Tombstones,
    /// The log of what was deleted.
    DeleteLog,
    /// Files that do not agree with each other, each sound by itself.
    Agreement,
    /// The right to read or write a file.
    Permissions,
    /// Files of a process that was killed while it wrote them.
    Temporary,
    /// Work on a plan that was not ended.
    Plan,
    /// Files that no generation needs.
    Unreferenced,
    /// Many small shards.
    SmallShards,
    /// Many deleted rows.
    DeletedRows,
}

/// The weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The current generation cannot be used as it is, or will not be after a restart.
    Damage,
    /// An earlier generation cannot be used, or a search costs more than it must.
    Warning,
    /// Disk is used for nothing.
    Note,
}

/// Something that is wrong with a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Weight of the finding.
    pub severity: Severity,
    /// The part of the directory.
    pub part: Part,
    /// The file or folder.
    pub path: PathBuf,
    /// The fault, in one line.
    pub what: String,
    /// Commands that mend it, the best first: one of them is enough. Words in capitals stand for
    /// what only the user knows.
    pub mend: Vec<String>,
}

/// The health of a directory.
#[derive(Clone, Debug, Serialize)]
pub struct HealthReport {
    /// The index directory.
    pub index: PathBuf,
    /// The current generation, where there is one that can be read.
    pub generation: Option<u64>,
    /// Generations that are sound: they can be made current.
    pub sound: Vec<u64>,
    /// Bytes that were read and proven; 0 for a quick look.
    pub bytes: u64,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

impl HealthReport {
    /// Whether the current generation can be used.
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Damage)
    }
}

/// Bounds of an examination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// Files are opened and compared, but their bytes are not proven.
    pub quick: bool,
    /// Threads; 0: one per core.
    pub threads: usize,
}

/// Whether a folder is an index directory, whole or damaged.
pub fn looks_like_index(path: &Path) -> bool {
    let has = |name: &str| path.join(name).exists();
    has("CURRENT") || has("generations") || (has("models") && has("shards"))
}

/// Examines the index directory `root`. Whatever is wrong with it is a finding, not an error.
///
/// # Errors
/// No such directory; threads that cannot be started.
pub fn examine(
    root: &Path,
    options: &HealthOptions,
    progress: ProgressFn<'_>,
) -> Result<HealthReport> {
    let dir = IndexDir::open(root)?;
    let found = look(root);
    let mut state = State::read(&dir);
    let (faults, bytes) = state.faults(&dir, options, progress)?;
    let bad: BTreeSet<PathBuf> =
        faults.iter().filter_map(|(_, error)| error.path().map(Path::to_owned)).collect();
    let unsound: BTreeSet<u64> = faults
        .iter()
        .filter(|(_, error)| error.path().is_none())
        .map(|&(number, _)| number)
        .collect();
    let sound: Vec<u64> = state
        .readable
        .iter()
        .filter(|(number, generation)| {
            let needed = References::of(&dir, generation).paths(root);
            !unsound.contains(number) && needed.is_disjoint(&bad)
        })
        .map(|(&number, _)| number)
        .collect();
    let mender = Mender::new(root, &sound, state.numbers.len());
    let mut findings = Vec::new();
    state.current_file(root, &mender, &mut findings);
    for (number, error) in &faults {
        let hurts = state.hurts_current(&dir, *number, error.path());
        let unusable = state.in_need_of(&dir, *number, error.path());
        findings.push(of_fault(root, &unusable, hurts, error, &mender));
    }
    of_files(&dir, &state, &found, &mender, &mut findings);
    if let Some(current) = state.current.as_ref().filter(|c| sound.contains(&c.number)) {
        of_shards(root, &dir, current, &mender, &mut findings);
    }
    findings.sort_by(|a, b| (a.severity, a.part, &a.path).cmp(&(b.severity, b.part, &b.path)));
    findings.dedup_by(|a, b| a.part == b.part && a.path == b.path && a.what == b.what);
    Ok(HealthReport {
        index: root.to_owned(),
        generation: state.current.map(|current| current.number),
        sound,
        bytes,
        findings,
    })
}

/// CURRENT and the generations, as far as they can be read.
struct State {
    numbers: Vec<u64>,
    readable: BTreeMap<u64, Generation>,
    current: Option<Generation>,
    /// The reason why CURRENT names nothing.
    lost: Option<IndexError>,
}

impl State {
    fn read(dir: &IndexDir) -> Self {
        let numbers = dir.generations().unwrap_or_default();
        let read = |&number: &u64| Some((number, dir.generation(number).ok()?));
        let (current, lost) = match dir.current() {
            Ok(current) => (current, None),
            Err(error) => (None, Some(error)),
        };
        Self { readable: numbers.iter().filter_map(read).collect(), numbers, current, lost }
    }

    /// Faults of the files of generations, and the bytes that were proven.
    fn faults(
        &mut self,
        dir: &IndexDir,
        options: &HealthOptions,
        progress: ProgressFn<'_>,
    ) -> Result<(Vec<(u64, IndexError)>, u64)> {
        if !options.quick {
            let proven = prove(dir, &self.numbers, options.threads, progress)?;
            return Ok((proven.faults, proven.bytes));
        }
        let mut faults = Vec::new();
        for &number in self.numbers.iter().rev() {
            match Snapshot::open_degraded(dir.root(), Some(number), None) {
                Ok(snapshot) => faults.extend(snapshot.missing().map(|m| (number, m.error))),
                Err(error) => faults.push((number, error)),
            }
        }
        Ok((faults, 0))
    }

    /// Whether the current generation is the one at fault, or needs the file. Where none is
    /// current, all that is damaged counts.
    fn hurts_current(&self, dir: &IndexDir, number: u64, path: Option<&Path>) -> bool {
        let Some(current) = &self.current else { return true };
        let needs = |path| References::of(dir, current).paths(dir.root()).contains(path);
        number == current.number || path.is_some_and(needs)
    }

    /// Generations that a fault keeps from being used.
    fn in_need_of(&self, dir: &IndexDir, number: u64, path: Option<&Path>) -> Vec<u64> {
        let needs = |generation: &Generation| {
            let needed = References::of(dir, generation).paths(dir.root());
            path.is_some_and(|path| needed.contains(path))
        };
        let mut numbers: BTreeSet<u64> =
            self.readable.iter().filter(|(_, g)| needs(g)).map(|(number, _)| *number).collect();
        numbers.insert(number);
        numbers.into_iter().collect()
    }

    /// Tells where CURRENT is lost or leads nowhere.
    fn current_file(&self, root: &Path, mender: &Mender, findings: &mut Vec<Finding>) {
        let path = root.join("CURRENT");
        let what = match (&self.lost, &self.current) {
            (None, Some(_)) => return,
            (None, None) if self.numbers.is_empty() => {
                return findings.push(Finding {
                    severity: Severity::Damage,
                    part: Part::Directory,
                    what: format!("{}: the index has no generation", root.display()),
                    path: root.to_owned(),
                    mend: mender.anew(),
                });
            }
            (None, None) => format!("{}: there is no CURRENT", root.display()),
            (Some(error), _) if error.trouble() == Some(FileTrouble::Refused) => {
                return findings.push(Finding {
                    severity: Severity::Damage,
                    part: Part::Permissions,
                    what: error.to_string(),
                    mend: mender.readable(error.path().unwrap_or(&path)),
                    path,
                });
            }
            // The generation's own file has a finding of its own.
            (Some(error), _) => format!("{}: names no sound generation: {error}", path.display()),
        };
        let mend = mender.go_back();
        findings.push(Finding {
            severity: Severity::Damage,
            part: Part::Current,
            path,
            what,
            mend,
        });
    }
}

/// The finding of a fault.
fn of_fault(
    root: &Path,
    unusable: &[u64],
    hurts: bool,
    error: &IndexError,
    mender: &Mender,
) -> Finding {
    let path = error.path().unwrap_or(root).to_owned();
    let folder = path.strip_prefix(root).ok().and_then(|inner| inner.components().next());
    let folder = folder.map(|first| first.as_os_str().to_string_lossy().into_owned());
    let refused = error.trouble() == Some(FileTrouble::Refused);
    let part = match (error, folder.as_deref()) {
        _ if refused => Part::Permissions,
        (IndexError::NewerVersion { .. }, Some("generations")) => Part::NewerGeneration,
        (_, Some("generations")) => Part::Generation,
        (_, Some("models")) => Part::Model,
        (_, Some("shards")) => Part::Shard,
        (_, Some("tombstones")) => Part::Tombstones,
        (_, Some("deletes")) => Part::DeleteLog,
        (_, Some("CURRENT")) => Part::Current,
        _ => Part::Agreement,
    };
    let mend = match part {
        Part::Permissions => mender.readable(&path),
        Part::NewerGeneration => mender.newer(hurts),
        _ => mender.lost_file(&path, unusable, hurts),
    };
    let severity = if hurts { Severity::Damage } else { Severity::Warning };
    Finding { severity, part, path, what: error.to_string(), mend }
}

/// Findings about files that no generation names, and rights.
fn of_files(
    dir: &IndexDir,
    state: &State,
    found: &Found,
    mender: &Mender,
    findings: &mut Vec<Finding>,
) {
    let root = dir.root();
    for (path, what) in &found.refused {
        findings.push(Finding {
            severity: Severity::Damage,
            part: Part::Permissions,
            path: path.clone(),
            what: format!("{}: {what}", path.display()),
            mend: mender.readable(path),
        });
    }
    for folder in &found.work {
        findings.push(Finding {
            severity: Severity::Note,
            part: Part::Plan,
            path: folder.clone(),
            what: format!(
                "{}: work on a plan, in which nothing was written for a week: start its \
                 tasks again, or have it removed",
                folder.display()
            ),
            mend: mender.gc(),
        });
    }
    let mut note = |part, what: &str, paths: Vec<&PathBuf>, bytes: u64| {
        if let Some(first) = paths.first() {
            findings.push(Finding {
                severity: Severity::Note,
                part,
                path: (*first).clone(),
                what: format!(
                    "{} {what}, {} bytes; the first is {}",
                    ocelli_text::counted(paths.len() as u64, "file"),
                    ocelli_text::thousands(bytes),
                    first.display()
                ),
                mend: mender.gc(),
            });
        }
    };
    let sum = |paths: &[&PathBuf]| paths.iter().filter_map(|path| found.files.get(*path)).sum();
    let temporary: Vec<&PathBuf> = found.temporary.keys().collect();
    let bytes = found.temporary.values().sum();
    note(Part::Temporary, "left by writers that were killed", temporary, bytes);
    // A generation that cannot be read may need any of them.
    if state.readable.len() == state.numbers.len() {
        let mut needed = BTreeSet::new();
        for generation in state.readable.values() {
            needed.extend(References::of(dir, generation).paths(root));
        }
        let spare: Vec<&PathBuf> =
            found.files.keys().filter(|path| !needed.contains(*path)).collect();
        let bytes = sum(&spare);
        note(Part::Unreferenced, "that no generation needs", spare, bytes);
    }
}

/// Findings about the shards of the current generation.
fn of_shards(
    root: &Path,
    dir: &IndexDir,
    current: &Generation,
    mender: &Mender,
    findings: &mut Vec<Finding>,
) {
    let largest = current.shards.iter().map(|shard| shard.rows).max().unwrap_or(0);
    let count = current.shards.iter().filter(|shard| is_small(shard.rows, largest)).count();
    let mut warn = |part, what: String| {
        findings.push(Finding {
            severity: Severity::Warning,
            part,
            path: root.to_owned(),
            what,
            mend: mender.compact(),
        });
    };
    if count > SMALL_SHARDS {
        let what = format!(
            "{count} of {} shards are small, more than {SMALL_SHARDS}: each costs a search \
             time of its own",
            current.shards.len()
        );
        warn(Part::SmallShards, what);
    }
    let all: u64 = current.shards.iter().map(|shard| shard.rows).sum();
    let living = Snapshot::open_in(dir, Some(current.number)).map_or(all, |s| s.rows());
    let deleted = all - living.min(all);
    if deleted as f64 > MANY_DELETED * all as f64 {
        let what = format!(
            "{} of {} rows are deleted, but take disk, and time in a search",
            ocelli_text::thousands(deleted),
            ocelli_text::thousands(all)
        );
        warn(Part::DeletedRows, what);
    }
}
